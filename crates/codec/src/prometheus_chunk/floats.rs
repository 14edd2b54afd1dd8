//! Chunks of floats.

use super::bits::{BitReader, BitWriter, Xor, in_range};
use crate::chunk::Corrupt;
use crate::varint::{unzigzag, zigzag};

/// Widths of a delta of deltas behind 1, 2, 3 ones and a zero; behind four ones come 64 bits.
const WIDTHS: [u32; 3] = [14, 17, 20];

/// Bytes of the header: the number of samples.
const HEADER: usize = 2;

/// A chunk in the making.
#[derive(Clone, Debug)]
pub struct FloatChunk {
    bits: BitWriter,
    samples: u16,
    ms: i64,
    delta_ms: i64,
    value: Xor,
}

impl Default for FloatChunk {
    fn default() -> Self {
        Self::new()
    }
}

impl FloatChunk {
    /// Without samples.
    pub fn new() -> Self {
        Self { bits: BitWriter::after(&[0; HEADER]), samples: 0, ms: 0, delta_ms: 0, value: Xor::after(0.0) }
    }

    /// How many samples it has.
    pub fn samples(&self) -> usize {
        usize::from(self.samples)
    }

    /// Appends a sample, which lies behind the one before it.
    ///
    /// # Panics
    /// At the 65,536th.
    pub fn push(&mut self, ms: i64, value: f64) {
        let delta_ms = ms.wrapping_sub(self.ms);
        match self.samples {
            0 => {
                self.bits.varint(zigzag(ms));
                self.bits.write(value.to_bits(), 64);
                self.value = Xor::after(value);
            }
            1 => {
                self.bits.varint(delta_ms as u64);
                self.value.write(value, &mut self.bits);
            }
            _ => {
                self.delta_of_deltas(delta_ms.wrapping_sub(self.delta_ms));
                self.value.write(value, &mut self.bits);
            }
        }
        self.delta_ms = if self.samples == 0 { 0 } else { delta_ms };
        self.ms = ms;
        self.samples = self.samples.checked_add(1).expect("a chunk has fewer samples");
    }

    fn delta_of_deltas(&mut self, value: i64) {
        match WIDTHS.into_iter().position(|width| in_range(value, width)) {
            _ if value == 0 => self.bits.write(0, 1),
            Some(class) => {
                self.bits.write((1 << (class + 2)) - 2, class as u32 + 2);
                self.bits.write(value as u64, WIDTHS[class]);
            }
            None => {
                self.bits.write(0b1111, 4);
                self.bits.write(value as u64, 64);
            }
        }
    }

    /// The chunk.
    pub fn into_bytes(mut self) -> Vec<u8> {
        self.bits.bytes_mut()[..HEADER].copy_from_slice(&self.samples.to_be_bytes());
        self.bits.into_bytes()
    }
}

/// Reads a chunk back: times and values.
pub fn decode_floats(chunk: &[u8]) -> Result<Vec<(i64, f64)>, Corrupt> {
    let (header, rest) = chunk.split_first_chunk::<HEADER>().ok_or(Corrupt)?;
    let mut reader = BitReader::new(rest);
    let samples = usize::from(u16::from_be_bytes(*header));
    let mut out = Vec::with_capacity(samples.min(reader.left()));
    let (mut ms, mut delta_ms, mut value) = (0i64, 0i64, Xor::after(0.0));
    for sample in 0..samples {
        match sample {
            0 => {
                ms = unzigzag(reader.varint()?);
                value = Xor::after(f64::from_bits(reader.read(64)?));
            }
            _ => {
                delta_ms = if sample == 1 {
                    reader.varint()? as i64
                } else {
                    delta_ms.wrapping_add(read_delta_of_deltas(&mut reader)?)
                };
                ms = ms.wrapping_add(delta_ms);
                value.read(&mut reader)?;
            }
        }
        out.push((ms, value.value()));
    }
    Ok(out)
}

fn read_delta_of_deltas(reader: &mut BitReader<'_>) -> Result<i64, Corrupt> {
    match reader.ones(4)? {
        0 => Ok(0),
        4 => reader.signed(64),
        ones => reader.signed(WIDTHS[ones as usize - 1]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bits(samples: &[(i64, f64)]) -> Vec<(i64, u64)> {
        samples.iter().map(|(ms, value)| (*ms, value.to_bits())).collect()
    }

    fn written(samples: &[(i64, f64)]) -> Vec<u8> {
        let mut chunk = FloatChunk::new();
        samples.iter().for_each(|(ms, value)| chunk.push(*ms, *value));
        chunk.into_bytes()
    }

    #[test]
    fn any_times_and_any_bits_come_back() {
        let values = [0.0, -0.0, 1.0, 1.5, f64::MAX, f64::MIN_POSITIVE, f64::INFINITY, f64::NEG_INFINITY]
            .into_iter()
            .chain([model::STALE_NAN_BITS, 0x7ff8_0000_0000_0001, u64::MAX, 1, 2, 3].map(f64::from_bits));
        let gaps =
            [1, 15_000, 15_000, 14_999, 15_001, 1 << 13, 1 << 16, 1 << 19, 1 << 40, 1, 1, 2, 60_000, 5];
        let mut ms = i64::MIN;
        let samples: Vec<(i64, f64)> = values
            .zip(gaps.into_iter().cycle())
            .map(|(value, gap)| {
                ms = ms.wrapping_add(gap);
                (ms, value)
            })
            .chain([(i64::MAX - 1, 7.0), (i64::MAX, 7.0)])
            .collect();
        let chunk = written(&samples);
        assert_eq!(bits(&decode_floats(&chunk).unwrap()), bits(&samples));
        for end in 0..chunk.len() {
            assert_eq!(decode_floats(&chunk[..end]), Err(Corrupt), "{end}");
        }
        assert_eq!(decode_floats(&written(&[])), Ok(vec![]));
    }

    /// What Debian's prometheus 2.42 makes of these samples, taken from its remote read.
    #[test]
    fn the_bytes_are_prometheus_own() {
        let samples = [
            (0, 1.0f64.to_bits()),
            (15_000, 1.0f64.to_bits()),
            (30_000, 2.5f64.to_bits()),
            (45_001, 0x7ff8_0000_0000_0001),
            (60_000, 0x4059_0666_6666_6666),
            (60_001, f64::NEG_INFINITY.to_bits()),
            (140_000, (-0.0f64).to_bits()),
            (1_000_000, 0x4059_0666_6666_6666),
            (3_000_000, 0x4059_0666_6666_6667),
            (3_015_000, model::STALE_NAN_BITS),
        ];
        let samples = samples.map(|(ms, bits)| (1_700_000_000_000 + ms, f64::from_bits(bits)));
        let hex: String = written(&samples).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, PROMETHEUS);
    }

    const PROMETHEUS: &str = "000a80a0abfef9623ff00000000000009875309bffd8001c5f7ff80000000000037ffd7f420ccccccccccfb8ad583fbf\
        a9066666666667c270fd3ff8000000000000f00000000000be6e1b016419999999999f800000000008b2907f84000000\
        03fffffffffffc36c318befea4199999999994";
}
