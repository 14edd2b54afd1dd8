//! The MessagePack wire reader.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| codec::msgpack::exercise(input));
