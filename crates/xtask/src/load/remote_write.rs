//! Remote-write 1.0 bodies, encoded straight from the published message shapes and packed with snappy.
//!
//! Independent of Weir's own encoders and decoders on purpose: a misreading of the protocol must not cancel out.

use super::histogram::{Histogram, SCHEMA, ZERO_THRESHOLD};

/// Header lines of a remote-write 1.0 request.
pub const HEADERS: &str = "Content-Type: application/x-protobuf\r\nContent-Encoding: snappy\r\n\
    X-Prometheus-Remote-Write-Version: 0.1.0\r\nUser-Agent: weir-xtask\r\n";

/// A `WriteRequest` in the making.
#[derive(Clone, Debug, Default)]
pub struct Body {
    bytes: Vec<u8>,
    /// The histogram that is written, whose length must be known first.
    message: Vec<u8>,
    /// Samples so far.
    pub samples: usize,
}

impl Body {
    /// Appends a series with its samples: (timestamp in ms, value). `labels` is made by [`labels`].
    pub fn series(&mut self, labels: &[u8], samples: &[(i64, f64)]) {
        let mut length = labels.len();
        for (timestamp, _) in samples {
            length += 2 + sample_length(*timestamp);
        }
        self.bytes.push(0x0a);
        varint(&mut self.bytes, length as u64);
        self.bytes.extend_from_slice(labels);
        for (timestamp, value) in samples {
            self.bytes.push(0x12);
            varint(&mut self.bytes, sample_length(*timestamp) as u64);
            self.bytes.push(0x09);
            self.bytes.extend_from_slice(&value.to_le_bytes());
            self.bytes.push(0x10);
            varint(&mut self.bytes, timestamp.cast_unsigned());
        }
        self.samples += samples.len();
    }

    /// Appends a series with one native histogram.
    pub fn histogram(&mut self, labels: &[u8], timestamp: i64, histogram: &Histogram) {
        self.message.clear();
        write_histogram(&mut self.message, timestamp, histogram);
        let header = 1 + varint_length(self.message.len() as u64);
        self.bytes.push(0x0a);
        varint(&mut self.bytes, (labels.len() + header + self.message.len()) as u64);
        self.bytes.extend_from_slice(labels);
        self.bytes.push(0x22);
        varint(&mut self.bytes, self.message.len() as u64);
        self.bytes.extend_from_slice(&self.message);
        self.samples += 1;
    }

    /// The body as it goes over the wire.
    pub fn packed(&self) -> Vec<u8> {
        snap::raw::Encoder::new().compress_vec(&self.bytes).unwrap_or_default()
    }

    /// Starts anew, keeping the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.samples = 0;
    }
}

/// Labels as they lie in a `TimeSeries`; sorted by name by the caller.
pub fn labels(pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in pairs {
        let length = 2
            + varint_length(name.len() as u64)
            + varint_length(value.len() as u64)
            + name.len()
            + value.len();
        bytes.push(0x0a);
        varint(&mut bytes, length as u64);
        for (tag, text) in [(0x0a, name), (0x12, value)] {
            bytes.push(tag);
            varint(&mut bytes, text.len() as u64);
            bytes.extend_from_slice(text.as_bytes());
        }
    }
    bytes
}

/// A `Histogram` message. The counter's resets are left to be found out, as Prometheus' own sender does.
fn write_histogram(bytes: &mut Vec<u8>, timestamp: i64, histogram: &Histogram) {
    bytes.push(0x08);
    varint(bytes, histogram.count);
    bytes.push(0x19);
    bytes.extend_from_slice(&histogram.sum.to_le_bytes());
    bytes.push(0x20);
    varint(bytes, zigzag(i64::from(SCHEMA)));
    bytes.push(0x29);
    bytes.extend_from_slice(&ZERO_THRESHOLD.to_le_bytes());
    bytes.push(0x30);
    varint(bytes, histogram.zero_count);
    let (mut end, mut deltas, mut last) = (0, Vec::new(), 0);
    for span in histogram.spans() {
        // A span says where it begins, from the end of the one before.
        let (offset, length) =
            (zigzag(i64::from(span.start() - end)), (span.end() - span.start() + 1) as u64);
        bytes.push(0x5a);
        varint(bytes, (2 + varint_length(offset) + varint_length(length)) as u64);
        bytes.push(0x08);
        varint(bytes, offset);
        bytes.push(0x10);
        varint(bytes, length);
        end = span.end() + 1;
        for index in span {
            let count = histogram.bucket(index).cast_signed();
            varint(&mut deltas, zigzag(count - last));
            last = count;
        }
    }
    if !deltas.is_empty() {
        bytes.push(0x62);
        varint(bytes, deltas.len() as u64);
        bytes.extend_from_slice(&deltas);
    }
    bytes.push(0x78);
    varint(bytes, timestamp.cast_unsigned());
}

fn sample_length(timestamp: i64) -> usize {
    10 + varint_length(timestamp.cast_unsigned())
}

fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)).cast_unsigned()
}

fn varint_length(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

fn varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_byte_by_byte() {
        let mut body = Body::default();
        body.series(&labels(&[("__name__", "up")]), &[(150, 1.0)]);
        let label = b"\x0a\x0e\x0a\x08__name__\x12\x02up";
        let sample = b"\x12\x0c\x09\0\0\0\0\0\0\xf0\x3f\x10\x96\x01";
        let expected = [b"\x0a\x1e".as_slice(), label, sample].concat();
        assert_eq!(body.bytes, expected);
        let unpacked = snap::raw::Decoder::new().decompress_vec(&body.packed()).expect("snappy");
        assert_eq!(unpacked, body.bytes);
    }

    #[test]
    fn a_histogram_byte_by_byte() {
        let mut body = Body::default();
        // Bucket 1 is empty and sent; 2 to 6 are a gap.
        let buckets = vec![(-1, 2), (0, 5), (2, 1), (7, 300)];
        let histogram = Histogram { count: 309, sum: 1.0, zero_count: 1, buckets };
        body.histogram(&labels(&[("__name__", "up")]), 150, &histogram);
        let label = b"\x0a\x0e\x0a\x08__name__\x12\x02up";
        let expected = [
            b"\x0a\x42".as_slice(),
            label,
            b"\x22\x30",
            b"\x08\xb5\x02",
            b"\x19\0\0\0\0\0\0\xf0\x3f",
            b"\x20\x06",
            b"\x29\0\0\0\0\0\0\xf0\x37",
            b"\x30\x01",
            b"\x5a\x04\x08\x01\x10\x04",
            b"\x5a\x04\x08\x08\x10\x01",
            b"\x62\x06\x04\x06\x09\x02\xd6\x04",
            b"\x78\x96\x01",
        ];
        assert_eq!(body.bytes, expected.concat());
        assert_eq!(body.samples, 1);
    }
}
