//! Remote read: requests, and answers as a client reads them.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| dialects::remote_read::exercise(input));
