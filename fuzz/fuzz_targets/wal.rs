//! The log's reader, over segments that the input describes.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| wal::exercise::exercise(&sim::files::SimFiles::new(0), input));
