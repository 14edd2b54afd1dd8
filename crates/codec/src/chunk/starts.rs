//! The column of start times in ms (0 = unknown), which most series do not have.
//!
//! A column without any known start takes no byte: whether it is there is said by whoever holds the chunk. A known
//! start rarely changes, so the integer column makes it constant or a handful of exceptions.

use super::bytes::Reader;
use super::{Corrupt, Packing, integers};

/// Whether the column says anything.
pub fn is_known(starts: &[i64]) -> bool {
    starts.iter().any(|start| *start != 0)
}

/// Appends a column of starts.
pub fn encode(packing: Packing, starts: &[i64], out: &mut Vec<u8>) {
    integers::encode_as(packing, starts, out);
}

/// Reads `rows` starts, appending them.
pub fn decode(reader: &mut Reader<'_>, rows: usize, out: &mut Vec<i64>) -> Result<(), Corrupt> {
    integers::decode(reader, rows, out)
}
