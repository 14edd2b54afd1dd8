//! Frames of log lines: they are read or named, and a store opens beside them.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| tsdb::exercise::lines(&sim::env(0), input));
