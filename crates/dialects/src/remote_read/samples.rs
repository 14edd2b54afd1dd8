//! `prometheus.ReadResponse`: all samples of all series in one message.

use codec::proto::{FIXED64, VARINT, write_bytes, write_key, write_message};
use codec::varint;
use model::Labels;

use super::histogram;
use super::rows::{Row, Rows};

/// Bytes of a sample at most, and what a label takes besides its text.
const SAMPLE_BYTES: usize = 24;
const LABEL_BYTES: usize = 16;

/// Appends the result of one query: `write` appends its series.
pub fn write_result<E>(
    out: &mut Vec<u8>,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
) -> Result<(), E> {
    let mut written = Ok(());
    write_message(1, out, |out| written = write(out));
    written
}

/// Appends a series to a result. Prometheus reads floats and histograms apart, each in order.
pub fn write_series(labels: &Labels, rows: Rows<'_>, out: &mut Vec<u8>) {
    write_message(1, out, |out| {
        write_labels(labels, out);
        for row in rows.iter() {
            if let Row::Float(ms, value) = row {
                write_message(2, out, |out| {
                    write_key(1, FIXED64, out);
                    out.extend_from_slice(&value.to_le_bytes());
                    write_key(2, VARINT, out);
                    varint::write(ms as u64, out);
                });
            }
        }
        for row in rows.iter() {
            if let Row::Histogram(ms, value) = row {
                write_message(4, out, |out| histogram::write(ms, value, out));
            }
        }
    });
}

/// Bytes that a series takes at most.
pub fn series_bytes_max(labels: &Labels, rows: Rows<'_>) -> usize {
    let histograms: usize = rows.histograms().map(|h| histogram::bytes_max(h)).sum();
    LABEL_BYTES * (labels.len() + 1) + labels.as_canonical().len() + SAMPLE_BYTES * rows.len() + histograms
}

/// Appends labels, sorted as they are.
pub(super) fn write_labels(labels: &Labels, out: &mut Vec<u8>) {
    for (name, value) in labels {
        write_message(1, out, |out| {
            write_bytes(1, name.as_bytes(), out);
            write_bytes(2, value.as_bytes(), out);
        });
    }
}
