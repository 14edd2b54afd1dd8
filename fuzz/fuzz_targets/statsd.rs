//! Lines of StatsD and DogStatsD; the first byte picks the flavor.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| dialects::statsd::exercise(input));
