//! Remote-write 1.0 bodies, encoded straight from the published message shapes and packed with snappy.
//!
//! Independent of Weir's own encoders and decoders on purpose: a misreading of the protocol must not cancel out.

/// Header lines of a remote-write 1.0 request.
pub const HEADERS: &str = "Content-Type: application/x-protobuf\r\nContent-Encoding: snappy\r\n\
    X-Prometheus-Remote-Write-Version: 0.1.0\r\nUser-Agent: weir-xtask\r\n";

/// A `WriteRequest` in the making.
#[derive(Clone, Debug, Default)]
pub struct Body {
    bytes: Vec<u8>,
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

fn sample_length(timestamp: i64) -> usize {
    10 + varint_length(timestamp.cast_unsigned())
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
}
