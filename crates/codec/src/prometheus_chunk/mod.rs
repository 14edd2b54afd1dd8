//! Chunks as Prometheus' `tsdb/chunkenc` lays them out, for those who are sent them: remote read.
//!
//! Three encodings, all streams of bits behind a count of samples: floats (times as deltas of deltas, values as XOR with
//! the one before), native histograms with whole counts, and ones with float counts. A histogram chunk says its buckets
//! once, so a sample with others needs a chunk of its own; so does one that comes after a reset of the counter, because
//! whoever reads a chunk takes for granted that there is none inside. Weir stores nothing in this form.
//!
//! ```
//! use codec::prometheus_chunk::{FloatChunk, decode_floats};
//! let mut chunk = FloatChunk::new();
//! chunk.push(1_700_000_000_000, 1.5);
//! chunk.push(1_700_000_015_000, 1.5);
//! let bytes = chunk.into_bytes();
//! assert_eq!(decode_floats(&bytes).unwrap(), [(1_700_000_000_000, 1.5), (1_700_000_015_000, 1.5)]);
//! ```

mod bits;
mod floats;
mod histograms;
mod layout;

pub use floats::{FloatChunk, decode_floats};
pub use histograms::{HistogramChunk, decode_histograms};

/// How a chunk's bytes are to be read, as Prometheus numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Floats.
    Xor = 1,
    /// Native histograms with whole counts.
    Histogram = 2,
    /// Native histograms with float counts.
    FloatHistogram = 3,
}

impl Encoding {
    /// The encoding with this number.
    pub fn from_number(number: u64) -> Option<Self> {
        [Self::Xor, Self::Histogram, Self::FloatHistogram].into_iter().find(|e| *e as u64 == number)
    }
}

/// Samples after which Prometheus begins a new chunk.
pub const SAMPLES_MAX: usize = 120;

/// What must hold for any bytes, for the fuzz target: a chunk is read or refused, and what was read is written and read
/// again as the same.
///
/// # Panics
/// When it is not.
pub fn exercise(input: &[u8]) {
    let Some((choice, bytes)) = input.split_first() else { return };
    if choice % 3 == 0 {
        let Ok(samples) = decode_floats(bytes) else { return };
        let mut chunk = FloatChunk::new();
        samples.iter().for_each(|(ms, value)| chunk.push(*ms, *value));
        let again = decode_floats(&chunk.into_bytes()).expect("what was written can be read");
        let bits =
            |samples: &[(i64, f64)]| samples.iter().map(|(t, v)| (*t, v.to_bits())).collect::<Vec<_>>();
        assert_eq!(bits(&again), bits(&samples));
        return;
    }
    let encoding = if choice % 3 == 1 { Encoding::Histogram } else { Encoding::FloatHistogram };
    let Ok(samples) = decode_histograms(encoding, bytes) else { return };
    for (ms, histogram) in &samples {
        let chunk = HistogramChunk::begin(*ms, histogram);
        assert_eq!(chunk.encoding(), encoding);
        let again = decode_histograms(encoding, &chunk.into_bytes()).expect("what was written can be read");
        assert_eq!((again[0].0, &again[0].1), (*ms, histogram));
    }
}
