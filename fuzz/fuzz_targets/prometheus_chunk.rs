//! Chunks as Prometheus lays them out: the first byte picks an encoding.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| codec::prometheus_chunk::exercise(input));
