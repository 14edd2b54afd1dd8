//! A series' samples cut into chunks: whenever the kind of samples changes, when a chunk is full, and when a histogram
//! cannot follow the one before it.

use codec::prometheus_chunk::{Encoding, FloatChunk, HistogramChunk, SAMPLES_MAX};

use super::rows::{Row, Rows};

/// A chunk with the times of its first and last sample.
#[derive(Clone, Debug)]
pub(super) struct Chunk {
    pub(super) min_ms: i64,
    pub(super) max_ms: i64,
    pub(super) encoding: Encoding,
    pub(super) bytes: Vec<u8>,
}

/// A chunk that takes more samples.
enum Open<'a> {
    Floats(FloatChunk),
    Histograms(HistogramChunk<'a>),
}

impl Open<'_> {
    fn finish(self, min_ms: i64, max_ms: i64) -> Chunk {
        match self {
            Self::Floats(chunk) => {
                Chunk { min_ms, max_ms, encoding: Encoding::Xor, bytes: chunk.into_bytes() }
            }
            Self::Histograms(chunk) => {
                Chunk { min_ms, max_ms, encoding: chunk.encoding(), bytes: chunk.into_bytes() }
            }
        }
    }
}

/// Hands each chunk of a series to `each`, by time.
pub(super) fn cut<E>(rows: Rows<'_>, mut each: impl FnMut(Chunk) -> Result<(), E>) -> Result<(), E> {
    let mut open: Option<Open<'_>> = None;
    let (mut min_ms, mut max_ms) = (0, 0);
    for row in rows.iter() {
        let (Row::Float(ms, _) | Row::Histogram(ms, _)) = row;
        let taken = match (&mut open, row) {
            (Some(Open::Floats(chunk)), Row::Float(ms, value)) if chunk.samples() < SAMPLES_MAX => {
                chunk.push(ms, value);
                true
            }
            (Some(Open::Histograms(chunk)), Row::Histogram(ms, histogram))
                if chunk.samples() < SAMPLES_MAX && chunk.takes(histogram) =>
            {
                chunk.push(ms, histogram);
                true
            }
            _ => false,
        };
        if !taken {
            let next = match row {
                Row::Float(ms, value) => {
                    let mut chunk = FloatChunk::new();
                    chunk.push(ms, value);
                    Open::Floats(chunk)
                }
                Row::Histogram(ms, histogram) => Open::Histograms(HistogramChunk::begin(ms, histogram)),
            };
            if let Some(full) = open.replace(next) {
                each(full.finish(min_ms, max_ms))?;
            }
            min_ms = ms;
        }
        max_ms = ms;
    }
    open.map_or(Ok(()), |last| each(last.finish(min_ms, max_ms)))
}
