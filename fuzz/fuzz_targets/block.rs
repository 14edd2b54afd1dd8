//! The reader of blocks, over pages that the input fills.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| tsdb::exercise::block(&sim::env(0), input));
