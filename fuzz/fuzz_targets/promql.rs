//! PromQL: read, written and read again, evaluated.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| promql::exercise::expression(input));
