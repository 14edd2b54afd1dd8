//! The control files: tenants, tokens, limits.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use server::control::exercise::exercise;

fuzz_target!(|input: &[u8]| exercise(&sim::env(0), Path::new("/data"), input));
