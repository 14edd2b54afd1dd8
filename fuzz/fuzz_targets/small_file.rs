//! The store's small files: manifest, metadata, FORMAT, SNAPSHOT.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| tsdb::exercise::small_file(&sim::env(0), input));
