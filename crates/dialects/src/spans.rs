//! Spans of a native histogram's buckets: the same message in remote read and in the exposition.

use codec::proto::{write_message, write_number};
use codec::varint;
use model::histogram::Span;

/// Appends each span as a field of its own.
pub(crate) fn write(field: u32, spans: &[Span], out: &mut Vec<u8>) {
    for span in spans {
        write_message(field, out, |out| {
            write_number(1, varint::zigzag(i64::from(span.offset)), out);
            write_number(2, u64::from(span.length), out);
        });
    }
}
