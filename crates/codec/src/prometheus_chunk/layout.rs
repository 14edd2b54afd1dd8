//! What a histogram chunk says once, before its samples: resolution, zero bucket, where the buckets lie.

use model::histogram::{CUSTOM_BOUNDS_SCHEMA, Histogram, Span};

use super::bits::{BitReader, BitWriter};
use crate::chunk::Corrupt;

/// Zero thresholds that are 2^(n - 244) are written as the byte n, from 1 to this.
const POWERS: u64 = 254;
/// The byte before any other threshold than 0.
const NO_POWER: u64 = 255;

/// Custom bounds up to this that are whole when they are multiplied by 1000 are written so.
const THOUSANDTHS_MAX: f64 = 33_554_430.0;

/// Everything but the samples of a chunk.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Layout {
    pub(super) schema: i32,
    pub(super) zero_threshold: f64,
    pub(super) positive_spans: Vec<Span>,
    pub(super) negative_spans: Vec<Span>,
    pub(super) custom_bounds: Vec<f64>,
}

impl Layout {
    /// How many positive buckets there are, and how many together. In a chunk with so many bits left: each takes one.
    pub(super) fn buckets(&self, left: usize) -> Result<(usize, usize), Corrupt> {
        let buckets = |spans: &[Span]| spans.iter().map(|span| u64::from(span.length)).sum::<u64>();
        let (positive, negative) = (buckets(&self.positive_spans), buckets(&self.negative_spans));
        if positive + negative > left as u64 {
            return Err(Corrupt);
        }
        Ok((positive as usize, (positive + negative) as usize))
    }
}

/// Whether two histograms may lie in one chunk, as far as their buckets go.
pub(super) fn same(a: &Histogram, b: &Histogram) -> bool {
    let bounds = |h: &Histogram| h.custom_bounds.iter().map(|bound| bound.to_bits()).collect::<Vec<_>>();
    (a.schema, a.zero_threshold.to_bits()) == (b.schema, b.zero_threshold.to_bits())
        && a.positive_spans == b.positive_spans
        && a.negative_spans == b.negative_spans
        && bounds(a) == bounds(b)
}

pub(super) fn write(histogram: &Histogram, out: &mut BitWriter) {
    write_threshold(histogram.zero_threshold, out);
    out.varbit(i64::from(histogram.schema));
    write_spans(&histogram.positive_spans, out);
    write_spans(&histogram.negative_spans, out);
    if histogram.schema == CUSTOM_BOUNDS_SCHEMA {
        out.varbit_unsigned(histogram.custom_bounds.len() as u64);
        histogram.custom_bounds.iter().for_each(|bound| write_bound(*bound, out));
    }
}

/// Of a stale marker, which has no buckets.
pub(super) fn write_empty(out: &mut BitWriter) {
    write_threshold(0.0, out);
    out.varbit(0);
    write_spans(&[], out);
    write_spans(&[], out);
}

pub(super) fn read(reader: &mut BitReader<'_>) -> Result<Layout, Corrupt> {
    let zero_threshold = read_threshold(reader)?;
    let schema = i32::try_from(reader.varbit()?).map_err(|_| Corrupt)?;
    let (positive_spans, negative_spans) = (read_spans(reader)?, read_spans(reader)?);
    let mut custom_bounds = Vec::new();
    if schema == CUSTOM_BOUNDS_SCHEMA {
        for _ in 0..count(reader)? {
            custom_bounds.push(read_bound(reader)?);
        }
    }
    Ok(Layout { schema, zero_threshold, positive_spans, negative_spans, custom_bounds })
}

fn write_threshold(threshold: f64, out: &mut BitWriter) {
    let power = power_of(threshold);
    match power {
        _ if threshold == 0.0 => out.write(0, 8),
        Some(power) => out.write(power, 8),
        None => {
            out.write(NO_POWER, 8);
            out.write(threshold.to_bits(), 64);
        }
    }
}

/// The n of a threshold of 2^(n - 244).
fn power_of(threshold: f64) -> Option<u64> {
    const MANTISSA: u64 = (1 << 52) - 1;
    let bits = threshold.to_bits();
    // The exponent is kept with 1023 added; sign and mantissa are 0.
    let power = (bits >> 52).checked_sub(1023 - 244)?;
    (bits & MANTISSA == 0 && (1..=POWERS).contains(&power)).then_some(power)
}

fn read_threshold(reader: &mut BitReader<'_>) -> Result<f64, Corrupt> {
    match reader.read(8)? {
        0 => Ok(0.0),
        NO_POWER => Ok(f64::from_bits(reader.read(64)?)),
        power => Ok(f64::from_bits((power + 1023 - 244) << 52)),
    }
}

fn write_spans(spans: &[Span], out: &mut BitWriter) {
    out.varbit_unsigned(spans.len() as u64);
    for span in spans {
        out.varbit_unsigned(u64::from(span.length));
        out.varbit(i64::from(span.offset));
    }
}

fn read_spans(reader: &mut BitReader<'_>) -> Result<Vec<Span>, Corrupt> {
    let mut spans = Vec::new();
    for _ in 0..count(reader)? {
        let length = u32::try_from(reader.varbit_unsigned()?).map_err(|_| Corrupt)?;
        let offset = i32::try_from(reader.varbit()?).map_err(|_| Corrupt)?;
        spans.push(Span { offset, length });
    }
    Ok(spans)
}

/// A number of things that take at least a bit each.
fn count(reader: &mut BitReader<'_>) -> Result<u64, Corrupt> {
    let count = reader.varbit_unsigned()?;
    if count > reader.left() as u64 { Err(Corrupt) } else { Ok(count) }
}

fn write_bound(bound: f64, out: &mut BitWriter) {
    let thousandths = bound * 1000.0;
    let whole = thousandths.round();
    if (0.0..=THOUSANDTHS_MAX).contains(&thousandths) && whole / 1000.0 == bound && !bound.is_sign_negative()
    {
        out.varbit_unsigned(whole as u64 + 1);
    } else {
        out.write(0, 1);
        out.write(bound.to_bits(), 64);
    }
}

fn read_bound(reader: &mut BitReader<'_>) -> Result<f64, Corrupt> {
    match reader.varbit_unsigned()? {
        0 => Ok(f64::from_bits(reader.read(64)?)),
        number => Ok((number - 1) as f64 / 1000.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_and_bounds_come_back() {
        let powers = (-250..20).map(|power| 2f64.powi(power));
        let thresholds: Vec<f64> = powers.chain([0.0, 1e-3, f64::MAX, 5e-324, 3.0]).collect();
        let bounds = [0.0, -0.0, 0.005, 0.0005, 1.0, 33_554.43, 33_554.431, 1e300, -5.0, 0.1 + 0.2];
        let mut out = BitWriter::default();
        thresholds.iter().for_each(|threshold| write_threshold(*threshold, &mut out));
        bounds.iter().for_each(|bound| write_bound(*bound, &mut out));
        let bytes = out.into_bytes();
        let mut reader = BitReader::new(&bytes);
        for threshold in thresholds {
            assert_eq!(read_threshold(&mut reader), Ok(threshold));
        }
        for bound in bounds {
            assert_eq!(read_bound(&mut reader).map(f64::to_bits), Ok(bound.to_bits()));
        }
    }

    /// Upstream: the default threshold of 2^-128 is the byte 116.
    #[test]
    fn the_usual_threshold_is_one_byte() {
        assert_eq!(power_of(2f64.powi(-128)), Some(116));
        assert_eq!((power_of(2f64.powi(-243)), power_of(2f64.powi(10))), (Some(1), Some(254)));
        assert_eq!((power_of(2f64.powi(-244)), power_of(2f64.powi(11)), power_of(-1.0)), (None, None, None));
    }
}
