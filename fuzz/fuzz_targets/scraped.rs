//! Pages as a scraper reads them; the first byte picks the form and the options.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| dialects::scraped::exercise(input));
