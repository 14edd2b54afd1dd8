//! Every dialect of the registry: the first byte picks one, or `WEIR_DIALECT=text` does, which keeps a corpus apart.
#![no_main]

use std::sync::LazyLock;

use dialects::{ALL, Dialect, exercise::exercise};
use libfuzzer_sys::fuzz_target;

static CHOSEN: LazyLock<Option<&Dialect>> = LazyLock::new(|| {
    let name = std::env::var("WEIR_DIALECT").ok()?;
    Some(ALL.iter().find(|dialect| dialect.name == name).expect("WEIR_DIALECT names a dialect"))
});

fuzz_target!(|input: &[u8]| {
    if let Some(dialect) = *CHOSEN {
        exercise(dialect, input);
    } else if let Some((first, rest)) = input.split_first() {
        exercise(ALL[usize::from(*first) % ALL.len()], rest);
    }
});
