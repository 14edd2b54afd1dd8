//! Records of the log: a store is opened on them, flushes, merges, and starts again.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| tsdb::exercise::replay(&sim::env(0), input));
