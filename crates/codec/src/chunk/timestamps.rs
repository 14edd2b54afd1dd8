//! The column of times in ms.
//!
//! Times are whole numbers, so the integer column is the format: a scrape at a regular step is linear and costs its
//! first time and the step whatever its length, jitter becomes packed differences, gaps become exceptions. No order
//! is assumed; any `i64` comes back.

use super::bytes::Reader;
use super::{Corrupt, Packing, integers};

/// Appends a column of times.
pub fn encode(packing: Packing, timestamps: &[i64], out: &mut Vec<u8>) {
    integers::encode_as(packing, timestamps, out);
}

/// Reads `rows` times, appending them.
pub fn decode(reader: &mut Reader<'_>, rows: usize, out: &mut Vec<i64>) -> Result<(), Corrupt> {
    integers::decode(reader, rows, out)
}
