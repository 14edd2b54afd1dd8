//! Chunks of native histograms.
//!
//! Whole counts are deltas of deltas, each bucket's count being itself a difference to the bucket before it; float
//! counts are XOR, each with its own history. A stale marker has no buckets and ends its chunk.

use model::Histogram;
use model::histogram::{BucketCounts, ResetHint};

use super::Encoding;
use super::bits::{BitReader, BitWriter, Xor};
use super::layout::{self, Layout};
use crate::chunk::Corrupt;

/// Bytes of the header: the number of samples, what is known about resets.
const HEADER: usize = 3;

/// A chunk in the making.
#[derive(Clone, Debug)]
pub struct HistogramChunk<'a> {
    bits: BitWriter,
    samples: u16,
    ms: i64,
    delta_ms: i64,
    sum: Xor,
    counts: Counts,
    last: &'a Histogram,
}

/// The counts of the last sample.
#[derive(Clone, Debug)]
enum Counts {
    /// Count, zero bucket, buckets.
    Whole(Vec<Whole>),
    /// The same.
    Float(Vec<Xor>),
}

/// A whole number and its last difference.
#[derive(Clone, Copy, Debug, Default)]
struct Whole {
    value: i64,
    delta: i64,
}

impl Whole {
    fn first(value: i64) -> Self {
        Self { value, delta: 0 }
    }

    fn write(&mut self, value: i64, out: &mut BitWriter) {
        let delta = value.wrapping_sub(self.value);
        out.varbit(delta.wrapping_sub(self.delta));
        *self = Self { value, delta };
    }

    fn read(&mut self, reader: &mut BitReader<'_>) -> Result<(), Corrupt> {
        self.delta = self.delta.wrapping_add(reader.varbit()?);
        self.value = self.value.wrapping_add(self.delta);
        Ok(())
    }
}

impl<'a> HistogramChunk<'a> {
    /// With its first sample.
    pub fn begin(ms: i64, first: &'a Histogram) -> Self {
        let mut bits = BitWriter::after(&[0, 0, header(first.reset_hint)]);
        if first.is_stale() {
            layout::write_empty(&mut bits);
        } else {
            layout::write(first, &mut bits);
        }
        bits.varbit(ms);
        let counts = match first.counts {
            BucketCounts::Integer { .. } => Counts::begin_whole(first, &mut bits),
            BucketCounts::Float { .. } => Counts::begin_float(first, &mut bits),
        };
        Self { bits, samples: 1, ms, delta_ms: 0, sum: Xor::after(first.sum), counts, last: first }
    }

    /// How its bytes are to be read.
    pub fn encoding(&self) -> Encoding {
        match self.counts {
            Counts::Whole(_) => Encoding::Histogram,
            Counts::Float(_) => Encoding::FloatHistogram,
        }
    }

    /// How many samples it has.
    pub fn samples(&self) -> usize {
        usize::from(self.samples)
    }

    /// Whether a sample may follow the last one in this chunk.
    pub fn takes(&self, next: &Histogram) -> bool {
        let last = self.last;
        let same_kind = matches!(
            (&last.counts, &next.counts),
            (BucketCounts::Integer { .. }, BucketCounts::Integer { .. })
                | (BucketCounts::Float { .. }, BucketCounts::Float { .. })
        );
        let gauges = [last, next].map(|h| h.reset_hint == ResetHint::Gauge);
        if !same_kind || gauges[0] != gauges[1] || last.is_stale() || next.reset_hint == ResetHint::Reset {
            return false;
        }
        next.is_stale() || layout::same(last, next) && (gauges[0] || !was_reset(&last.counts, &next.counts))
    }

    /// Appends a sample that the chunk [takes](Self::takes).
    ///
    /// # Panics
    /// At the 65,536th.
    pub fn push(&mut self, ms: i64, histogram: &'a Histogram) {
        debug_assert!(self.takes(histogram), "another chunk is needed");
        let delta_ms = ms.wrapping_sub(self.ms);
        self.bits.varbit(delta_ms.wrapping_sub(self.delta_ms));
        (self.ms, self.delta_ms, self.last) = (ms, delta_ms, histogram);
        self.samples = self.samples.checked_add(1).expect("a chunk has fewer samples");
        let Self { bits, counts, sum, .. } = self;
        match counts {
            Counts::Whole(_) if histogram.is_stale() => {
                // Nobody reads the counts of a marker.
                bits.write(0, 2);
                sum.write(histogram.sum, bits);
            }
            Counts::Whole(last) => {
                let values = whole(histogram);
                let (head, buckets) = last.split_at_mut(2);
                head.iter_mut().zip(&values).for_each(|(count, value)| count.write(*value, bits));
                sum.write(histogram.sum, bits);
                buckets.iter_mut().zip(&values[2..]).for_each(|(count, value)| count.write(*value, bits));
            }
            Counts::Float(last) => {
                let values = floats(histogram);
                let (head, buckets) = last.split_at_mut(2);
                head.iter_mut().zip(&values).for_each(|(count, value)| count.write(*value, bits));
                sum.write(histogram.sum, bits);
                buckets.iter_mut().zip(&values[2..]).for_each(|(count, value)| count.write(*value, bits));
            }
        }
    }

    /// The chunk.
    pub fn into_bytes(mut self) -> Vec<u8> {
        self.bits.bytes_mut()[..2].copy_from_slice(&self.samples.to_be_bytes());
        self.bits.into_bytes()
    }
}

impl Counts {
    fn begin_whole(first: &Histogram, bits: &mut BitWriter) -> Self {
        let values = whole(first);
        // The count and the zero bucket are never below 0.
        values[..2].iter().for_each(|count| bits.varbit_unsigned(*count as u64));
        bits.write(first.sum.to_bits(), 64);
        values[2..].iter().for_each(|count| bits.varbit(*count));
        Self::Whole(values.into_iter().map(Whole::first).collect())
    }

    fn begin_float(first: &Histogram, bits: &mut BitWriter) -> Self {
        let values = floats(first);
        values[..2].iter().for_each(|count| bits.write(count.to_bits(), 64));
        bits.write(first.sum.to_bits(), 64);
        values[2..].iter().for_each(|count| bits.write(count.to_bits(), 64));
        Self::Float(values.into_iter().map(Xor::after).collect())
    }
}

/// What the header says about resets before the first sample.
fn header(hint: ResetHint) -> u8 {
    match hint {
        ResetHint::Unknown => 0,
        ResetHint::NotReset => 0b0100_0000,
        ResetHint::Reset => 0b1000_0000,
        ResetHint::Gauge => 0b1100_0000,
    }
}

/// Count, zero bucket, and each bucket as its difference to the one before it on its side.
fn whole(histogram: &Histogram) -> Vec<i64> {
    let BucketCounts::Integer { count, zero, positive, negative } = &histogram.counts else {
        return vec![0, 0];
    };
    if histogram.is_stale() {
        return vec![0, 0];
    }
    let mut values = vec![*count as i64, *zero as i64];
    for side in [positive, negative] {
        let before = [0].iter().chain(side);
        values.extend(side.iter().zip(before).map(|(count, before)| count.wrapping_sub(*before) as i64));
    }
    values
}

/// Count, zero bucket, buckets.
fn floats(histogram: &Histogram) -> Vec<f64> {
    match &histogram.counts {
        BucketCounts::Float { count, zero, positive, negative } if !histogram.is_stale() => {
            [*count, *zero].iter().chain(positive).chain(negative).copied().collect()
        }
        _ => vec![0.0, 0.0],
    }
}

/// Whether a count went down between two histograms with the same buckets.
fn was_reset(last: &BucketCounts, next: &BucketCounts) -> bool {
    fn any<T: PartialOrd>(last: (&T, &T, &[T], &[T]), next: (&T, &T, &[T], &[T])) -> bool {
        let lower = |(last, next): (&T, &T)| next < last;
        lower((last.0, next.0))
            || lower((last.1, next.1))
            || last.2.iter().zip(next.2).any(lower)
            || last.3.iter().zip(next.3).any(lower)
    }
    use BucketCounts::{Float, Integer};
    match (last, next) {
        (
            Integer { count, zero, positive, negative },
            Integer { count: c, zero: z, positive: p, negative: n },
        ) => any((count, zero, positive, negative), (c, z, p, n)),
        (
            Float { count, zero, positive, negative },
            Float { count: c, zero: z, positive: p, negative: n },
        ) => any((count, zero, positive, negative), (c, z, p, n)),
        _ => true,
    }
}

/// Reads a chunk back: times and histograms, whose counts are of the encoding's kind. All but the first say that there
/// was no reset before them, unless they are gauges. A stale marker is nothing but that.
pub fn decode_histograms(encoding: Encoding, chunk: &[u8]) -> Result<Vec<(i64, Histogram)>, Corrupt> {
    let (header, rest) = chunk.split_first_chunk::<HEADER>().ok_or(Corrupt)?;
    let mut reader = BitReader::new(rest);
    let samples = u16::from_be_bytes([header[0], header[1]]);
    let mut hint = match header[2] >> 6 {
        0 => ResetHint::Unknown,
        1 => ResetHint::NotReset,
        2 => ResetHint::Reset,
        _ => ResetHint::Gauge,
    };
    let mut out = Vec::new();
    if samples == 0 {
        return Ok(out);
    }
    let layout = layout::read(&mut reader)?;
    let mut state = match encoding {
        Encoding::Xor => return Err(Corrupt),
        Encoding::Histogram => State::begin_whole(&layout, &mut reader)?,
        Encoding::FloatHistogram => State::begin_float(&layout, &mut reader)?,
    };
    out.push((state.ms, state.histogram(&layout, hint)));
    for _ in 1..samples {
        if hint != ResetHint::Gauge {
            hint = ResetHint::NotReset;
        }
        state.read_next(&mut reader)?;
        out.push((state.ms, state.histogram(&layout, hint)));
    }
    Ok(out)
}

/// What a reader knows of the last sample.
struct State {
    ms: i64,
    delta_ms: i64,
    sum: Xor,
    counts: Counts,
    /// How many of the buckets are positive.
    positive: usize,
}

impl State {
    fn begin_whole(layout: &Layout, reader: &mut BitReader<'_>) -> Result<Self, Corrupt> {
        let (positive, buckets) = layout.buckets(reader.left())?;
        let ms = reader.varbit()?;
        let mut counts = vec![
            Whole::first(reader.varbit_unsigned()? as i64),
            Whole::first(reader.varbit_unsigned()? as i64),
        ];
        let sum = Xor::after(f64::from_bits(reader.read(64)?));
        for _ in 0..buckets {
            counts.push(Whole::first(reader.varbit()?));
        }
        Ok(Self { ms, delta_ms: 0, sum, counts: Counts::Whole(counts), positive })
    }

    fn begin_float(layout: &Layout, reader: &mut BitReader<'_>) -> Result<Self, Corrupt> {
        let (positive, buckets) = layout.buckets(reader.left())?;
        let ms = reader.varbit()?;
        let mut float = || Ok(Xor::after(f64::from_bits(reader.read(64)?)));
        let mut counts = vec![float()?, float()?];
        let sum = float()?;
        for _ in 0..buckets {
            counts.push(float()?);
        }
        Ok(Self { ms, delta_ms: 0, sum, counts: Counts::Float(counts), positive })
    }

    fn read_next(&mut self, reader: &mut BitReader<'_>) -> Result<(), Corrupt> {
        self.delta_ms = self.delta_ms.wrapping_add(reader.varbit()?);
        self.ms = self.ms.wrapping_add(self.delta_ms);
        match &mut self.counts {
            Counts::Whole(counts) => {
                counts[..2].iter_mut().try_for_each(|count| count.read(reader))?;
                self.sum.read(reader)?;
                if !model::is_stale(self.sum.value()) {
                    counts[2..].iter_mut().try_for_each(|count| count.read(reader))?;
                }
            }
            Counts::Float(counts) => {
                counts[..2].iter_mut().try_for_each(|count| count.read(reader))?;
                self.sum.read(reader)?;
                if !model::is_stale(self.sum.value()) {
                    counts[2..].iter_mut().try_for_each(|count| count.read(reader))?;
                }
            }
        }
        Ok(())
    }

    fn histogram(&self, layout: &Layout, reset_hint: ResetHint) -> Histogram {
        let sum = self.sum.value();
        let (none, stale) = (Layout::default(), model::is_stale(sum));
        let layout = if stale { &none } else { layout };
        let counts = match &self.counts {
            Counts::Whole(_) if stale => {
                BucketCounts::Integer { count: 0, zero: 0, positive: Vec::new(), negative: Vec::new() }
            }
            Counts::Float(_) if stale => {
                BucketCounts::Float { count: 0.0, zero: 0.0, positive: Vec::new(), negative: Vec::new() }
            }
            Counts::Whole(counts) => {
                let (positive, negative) = counts[2..].split_at(self.positive);
                let (count, zero) = (counts[0].value as u64, counts[1].value as u64);
                BucketCounts::Integer { count, zero, positive: added(positive), negative: added(negative) }
            }
            Counts::Float(counts) => {
                let values: Vec<f64> = counts.iter().map(Xor::value).collect();
                let (positive, negative) = values[2..].split_at(self.positive);
                let (positive, negative) = (positive.to_vec(), negative.to_vec());
                BucketCounts::Float { count: values[0], zero: values[1], positive, negative }
            }
        };
        Histogram {
            schema: layout.schema,
            zero_threshold: layout.zero_threshold,
            sum,
            reset_hint,
            positive_spans: layout.positive_spans.clone(),
            negative_spans: layout.negative_spans.clone(),
            counts,
            custom_bounds: layout.custom_bounds.clone(),
        }
    }
}

/// Counts from their differences.
fn added(differences: &[Whole]) -> Vec<u64> {
    let add = |sum: &mut u64, difference: &Whole| {
        *sum = sum.wrapping_add_signed(difference.value);
        Some(*sum)
    };
    differences.iter().scan(0, add).collect()
}

#[cfg(test)]
mod tests {
    use model::histogram::{CUSTOM_BOUNDS_SCHEMA, Span};

    use super::*;

    fn whole_histogram(by: u64) -> Histogram {
        let (positive, negative) = (vec![by, 1, 5 * by, 0], vec![2, 70_000 * by]);
        let zero = 3 + by;
        let count = zero + positive.iter().chain(&negative).sum::<u64>();
        Histogram {
            schema: 3,
            zero_threshold: 2f64.powi(-128),
            sum: 12.5 * by as f64,
            reset_hint: ResetHint::NotReset,
            positive_spans: vec![Span { offset: -3, length: 2 }, Span { offset: 7, length: 2 }],
            negative_spans: vec![Span { offset: 0, length: 2 }],
            counts: BucketCounts::Integer { count, zero, positive, negative },
            custom_bounds: Vec::new(),
        }
    }

    fn float_histogram(by: f64) -> Histogram {
        Histogram {
            schema: CUSTOM_BOUNDS_SCHEMA,
            zero_threshold: 0.0,
            sum: f64::NAN,
            reset_hint: ResetHint::Gauge,
            positive_spans: vec![Span { offset: 1, length: 2 }],
            negative_spans: Vec::new(),
            counts: BucketCounts::Float {
                count: 3.5 * by,
                zero: 0.0,
                positive: vec![1.25 * by, 2.25 * by],
                negative: vec![],
            },
            custom_bounds: vec![0.005, 0.1 + 0.2, 7.0],
        }
    }

    fn stale(like: &Histogram) -> Histogram {
        Histogram { sum: f64::from_bits(model::STALE_NAN_BITS), ..like.clone() }
    }

    fn written(samples: &[(i64, &Histogram)]) -> (Encoding, Vec<u8>) {
        let mut chunk = HistogramChunk::begin(samples[0].0, samples[0].1);
        for (ms, histogram) in &samples[1..] {
            assert!(chunk.takes(histogram));
            chunk.push(*ms, histogram);
        }
        assert_eq!(chunk.samples(), samples.len());
        (chunk.encoding(), chunk.into_bytes())
    }

    /// What Debian's prometheus 2.42 makes of these samples, taken from its remote read.
    #[test]
    fn the_bytes_are_prometheus_own() {
        let time = |sample: usize| 1_700_000_000_000 + 15_000 * sample as i64;
        let mut samples: Vec<Histogram> = [1, 1, 2, 500, 1 << 40].map(whole_histogram).into();
        samples.push(stale(&samples[0]));
        samples[0].reset_hint = ResetHint::Unknown;
        let mut rows: Vec<_> = (0..).map(time).zip(&samples).collect();
        rows[5].0 += 7;
        assert_eq!(hex(&written(&rows).1), PROMETHEUS_WHOLE);
        let samples: Vec<Histogram> = [1.0, 1.0, 2.5, 500.0].map(floating).into();
        let rows: Vec<_> = (0..).map(time).zip(&samples).collect();
        assert_eq!(hex(&written(&rows).1), PROMETHEUS_FLOAT);
    }

    const PROMETHEUS_WHOLE: &str = "000600749ca55961e327f0000c5e7f2b4007c88bed100a40000000000022a6ee5f222ddf07530007c88bbc75838df0bb\
        b7c88b83f8000000084ba01fc3e3a0f816be1f1f707fc04dafdfb25bf8000000084b69c1fe0222edfff7abd42dfc0001\
        fffffff835991845aff00007ffffffe0d7f7fff80000001f37f00027ffffff6417f7ffd80000009bf3fc0445bfffef58\
        15830e62f7d590000000000020";

    const PROMETHEUS_FLOAT: &str = "000400749ca55961e327f0000c5e7f2b40020060000000000001ff800000000000020148000000000001ffa000000000\
        0001ff00000000000001fe800000000000000000000000000001fe80000000000001fe80000000000007c1d4c001a87b\
        784dffee23bfd1c27fffdd61dd426b509ba84d6836eb7a49f6e257f406ba0d8a8e147fcdb851ff76b0a3feedc28ffbb4";

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn floating(by: f64) -> Histogram {
        Histogram {
            sum: if by == 2.5 { f64::NAN } else { 12.5 * by },
            reset_hint: ResetHint::Unknown,
            counts: BucketCounts::Float {
                count: 3.5 * by,
                zero: by,
                positive: vec![1.25 * by, 0.5 * by, 0.25 * by, 0.0],
                negative: vec![0.25 * by, 0.25 * by],
            },
            ..whole_histogram(1)
        }
    }

    #[test]
    fn both_kinds_come_back() {
        let kinds: [Vec<Histogram>; 2] = [
            [1, 1, 2, 500, 1 << 40].map(whole_histogram).into(),
            // A gauge may go down.
            [1.0, 1.0, 0.1, 1e300, 0.0].map(float_histogram).into(),
        ];
        for histograms in kinds {
            let times = [-5_000, 10_000, 25_000, 25_001, 1 << 45];
            let samples: Vec<(i64, &Histogram)> = times.into_iter().zip(&histograms).collect();
            let (encoding, chunk) = written(&samples);
            let read = decode_histograms(encoding, &chunk).unwrap();
            assert_eq!(read.iter().map(|(ms, h)| (*ms, h)).collect::<Vec<_>>(), samples);
            for end in 0..chunk.len() {
                assert_eq!(decode_histograms(encoding, &chunk[..end]), Err(Corrupt), "{end}");
            }
        }
    }

    #[test]
    fn a_stale_marker_ends_its_chunk() {
        for first in [whole_histogram(1), float_histogram(1.0)] {
            let marker = stale(&first);
            for samples in [vec![(1, &first), (2, &marker)], vec![(1, &marker)]] {
                let (encoding, chunk) = written(&samples);
                let read = decode_histograms(encoding, &chunk).unwrap();
                let (_, last) = read.last().unwrap();
                assert!(last.is_stale() && last.count() == 0.0 && last.positive_spans.is_empty());
                assert_eq!(read.len(), samples.len());
                assert_eq!(
                    encoding == Encoding::Histogram,
                    matches!(last.counts, BucketCounts::Integer { .. })
                );
            }
            assert!(!HistogramChunk::begin(1, &marker).takes(&first));
        }
    }

    #[test]
    fn what_cannot_follow_needs_a_chunk_of_its_own() {
        let first = whole_histogram(5);
        let chunk = HistogramChunk::begin(1, &first);
        let spans = vec![Span { offset: -3, length: 4 }];
        let cases = [
            (whole_histogram(5), true),
            (whole_histogram(4), false),
            (Histogram { reset_hint: ResetHint::Reset, ..whole_histogram(6) }, false),
            (Histogram { reset_hint: ResetHint::Gauge, ..whole_histogram(6) }, false),
            (Histogram { reset_hint: ResetHint::Unknown, ..whole_histogram(6) }, true),
            (Histogram { schema: 2, ..whole_histogram(6) }, false),
            (Histogram { zero_threshold: 0.0, ..whole_histogram(6) }, false),
            (Histogram { positive_spans: spans, ..whole_histogram(6) }, false),
            (float_histogram(1.0), false),
            (stale(&whole_histogram(1)), true),
        ];
        for (next, taken) in cases {
            assert_eq!(chunk.takes(&next), taken, "{next:?}");
        }
        // One bucket went down, although the count did not.
        let mut shifted = whole_histogram(5);
        if let BucketCounts::Integer { positive, .. } = &mut shifted.counts {
            (positive[0], positive[1]) = (positive[0] - 1, positive[1] + 1);
        }
        assert!(!chunk.takes(&shifted));
        let bounds = Histogram { custom_bounds: vec![1.0, 2.0, 3.0], ..float_histogram(1.0) };
        assert!(!HistogramChunk::begin(1, &float_histogram(1.0)).takes(&bounds));
    }

    #[test]
    fn any_bytes_are_read_or_refused() {
        let mut seed = 1u64;
        let good = [whole_histogram(1), float_histogram(1.0)].map(|h| written(&[(1, &h), (2, &h)]).1);
        for round in 0..20_000u64 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let mut bytes = vec![(round % 3) as u8];
            bytes.extend_from_slice(&good[(round % 2) as usize]);
            let at = (seed >> 33) as usize % bytes.len();
            bytes[at] ^= (seed >> 20) as u8;
            super::super::exercise(&bytes);
        }
    }
}
