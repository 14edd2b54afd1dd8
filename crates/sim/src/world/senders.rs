//! Random requests: what real senders do, and what no sender should.
//!
//! Labels are permuted, carry empty values, come in several encodings; samples come in order, out of order, twice, for
//! the same timestamp with another value, too old, too far ahead; values are any bits. Some series are wrong and must
//! be refused. Both tenants send the same series with different values.

use std::sync::Arc;

use model::batch::{Exemplar, HistogramSample};
use model::histogram::{BucketCounts, CUSTOM_BOUNDS_SCHEMA, ResetHint, Span};
use model::{Histogram, Metadata, MetricType, STALE_NAN_BITS, Sample, TenantLimits};

use crate::lines::Line;
use crate::random::Rng;
use crate::request::{Encoding, Request, Row};

/// Milliseconds of an hour.
pub(super) const HOUR_MS: i64 = 3_600_000;

/// Where requests come from.
#[derive(Clone, Debug)]
pub struct Senders {
    rng: Rng,
    series: usize,
    /// What was sent lately, to be sent again.
    recent: Vec<Row>,
    /// Log lines so far: each has a number.
    lines: u64,
}

impl Senders {
    /// Senders of so many different series.
    pub fn new(rng: Rng, series: usize) -> Self {
        Self { rng, series, recent: Vec::new(), lines: 0 }
    }

    /// The next request.
    pub fn request(&mut self, now_ms: i64, limits: &TenantLimits) -> Request {
        let mut request = Request::default();
        for _ in 0..1 + self.rng.index(12) {
            let row = match self.rng.below(20) {
                0 => self.wrong_row(now_ms),
                1 | 2 if !self.recent.is_empty() => self.rng.pick(&self.recent).clone(),
                _ => self.row(now_ms, limits),
            };
            request.rows.push(row);
        }
        // A tenant at its series quota may not have metadata of more families either.
        if limits.active_series == u64::MAX && self.rng.chance(1, 4) {
            request.metadata.push((self.family(), self.metadata()));
        }
        if self.rng.chance(1, 3) {
            for _ in 0..1 + self.rng.index(6) {
                let line = self.line(now_ms, limits);
                request.lines.push(line);
            }
        }
        // Within one request, which of a float and a histogram of the same timestamp wins is nobody's promise.
        let floats = self.rng.chance(5, 6);
        for row in &mut request.rows {
            if floats { row.histograms.clear() } else { row.samples.clear() }
        }
        let row = self.rng.pick(&request.rows).clone();
        if self.recent.len() < 50 {
            self.recent.push(row);
        } else {
            let at = self.rng.index(50);
            self.recent[at] = row;
        }
        request
    }

    /// A line that was never sent before. Those of one request are mostly of one stream; some are wrong.
    fn line(&mut self, now_ms: i64, limits: &TenantLimits) -> Line {
        self.lines += 1;
        let mut stream = vec![("app".to_owned(), ["api", "db"][self.rng.index(2)].to_owned())];
        match self.rng.below(12) {
            0 => stream.push(("app".to_owned(), "again".to_owned())),
            1 => stream.insert(0, ("host".to_owned(), "ünï".to_owned())),
            2 => stream.push(("empty".to_owned(), String::new())),
            3 => stream.clear(),
            _ => {}
        }
        let fields = (0..self.rng.index(3)).map(|n| (format!("field_{n}"), "x".repeat(n * 30))).collect();
        let noise = if self.rng.chance(1, 12) { self.rng.index(4000) } else { self.rng.index(100) };
        let noise: String = (0..noise).map(|_| char::from(b' ' + self.rng.below(90) as u8)).collect();
        let timestamp_ns =
            self.time(now_ms, limits).saturating_mul(1_000_000).saturating_add(self.rng.range(0..1_000_000));
        Line { stream, fields, timestamp_ns, text: format!("line {} {noise}", self.lines) }
    }

    fn family(&mut self) -> String {
        format!("metric_{}", self.rng.below(4))
    }

    fn metadata(&mut self) -> Metadata {
        // Few enough that a family gets its old metadata back now and then.
        let kind = *self.rng.pick(&[MetricType::Counter, MetricType::Gauge]);
        Metadata { kind, unit: "s".into(), help: format!("help {}", self.rng.below(2)) }
    }

    fn row(&mut self, now_ms: i64, limits: &TenantLimits) -> Row {
        let number = self.rng.index(self.series);
        let mut row = Row::new(self.labels(number), *self.rng.pick(&Encoding::ALL));
        let mut at_ms = self.time(now_ms, limits);
        let samples_max = if self.rng.chance(1, 10) { 60 } else { 4 };
        for _ in 0..1 + self.rng.index(samples_max) {
            let (value, start_ms) = (self.value(), self.start(at_ms));
            row.samples.push(Sample { timestamp_ms: at_ms, value, start_ms });
            let histogram = Arc::new(self.histogram());
            row.histograms.push(HistogramSample { timestamp_ms: at_ms, start_ms, histogram });
            at_ms = match self.rng.below(12) {
                0 => at_ms,
                1 => self.time(now_ms, limits),
                2 => at_ms - self.rng.range(0..60_000),
                _ => at_ms + *self.rng.pick(&[1, 1000, 15_000, 15_000, 15_000]),
            };
        }
        if self.rng.chance(1, 10) {
            let labels = vec![("trace_id".to_owned(), format!("{:x}", self.rng.below(1000)))];
            row.exemplars.push(Exemplar { labels, value: self.value(), timestamp_ms: now_ms });
        }
        row
    }

    /// Labels of a series, in any order, sometimes with an empty one.
    fn labels(&mut self, number: usize) -> Vec<(String, String)> {
        let mut labels = vec![
            ("__name__".to_owned(), format!("metric_{}", number % 4)),
            ("instance".to_owned(), format!("host-{number}")),
            ("job".to_owned(), ["api", "db", "ünï"][number % 3].to_owned()),
        ];
        if number.is_multiple_of(7) {
            labels.push(("long".to_owned(), "x".repeat(number * 20 % 3000 + 1)));
        }
        if self.rng.chance(1, 5) {
            labels.push(("empty".to_owned(), String::new()));
        }
        if self.rng.chance(1, 3) {
            self.rng.shuffle(&mut labels);
        }
        labels
    }

    fn wrong_row(&mut self, now_ms: i64) -> Row {
        let number = self.rng.index(self.series);
        let mut labels = self.labels(number);
        match self.rng.below(5) {
            0 => labels.retain(|(name, _)| name != "__name__"),
            1 => labels.push(("job".to_owned(), "again".to_owned())),
            2 => labels.push(("job".to_owned(), String::new())),
            3 => labels.push((String::new(), "nameless".to_owned())),
            _ => labels.extend((0..40).map(|i| (format!("label_{i:02}"), "x".to_owned()))),
        }
        self.rng.shuffle(&mut labels);
        let mut row = Row::new(labels, *self.rng.pick(&Encoding::ALL));
        for _ in 0..1 + self.rng.index(3) {
            row.samples.push(Sample { timestamp_ms: now_ms, value: self.value(), start_ms: 0 });
        }
        row
    }

    fn time(&mut self, now_ms: i64, limits: &TenantLimits) -> i64 {
        // The step of 15 s makes different requests meet at the same timestamps.
        let step_ms = 15_000;
        let recent = now_ms.div_euclid(step_ms) * step_ms;
        match self.rng.below(40) {
            0 => now_ms + limits.future_ms + self.rng.range(1..1_000_000_000_000),
            1 => now_ms + limits.future_ms - self.rng.range(0..60_000),
            2 if limits.retention_ms > 0 => now_ms - limits.retention_ms - self.rng.range(1..1000 * HOUR_MS),
            3 if limits.retention_ms > 0 => now_ms - limits.retention_ms + self.rng.range(0..60_000),
            4 => now_ms - self.rng.range(0..HOUR_MS),
            5 => recent - step_ms * self.rng.range(0..200),
            _ => recent - step_ms * self.rng.range(0..20),
        }
    }

    fn start(&mut self, at_ms: i64) -> i64 {
        if self.rng.chance(1, 8) { at_ms - self.rng.range(0..HOUR_MS) } else { 0 }
    }

    fn value(&mut self) -> f64 {
        match self.rng.below(14) {
            0 => f64::from_bits(STALE_NAN_BITS),
            1 => f64::NAN,
            2 => f64::from_bits(0x7ff8_0000_dead_beef),
            3 => f64::from_bits(0xfff0_0000_0000_0001),
            4 => *self.rng.pick(&[f64::INFINITY, f64::NEG_INFINITY, f64::MAX, f64::MIN]),
            5 => *self.rng.pick(&[0.0, -0.0, f64::MIN_POSITIVE, f64::from_bits(1)]),
            6 => f64::from_bits(self.rng.next_u64()),
            7 | 8 => self.rng.below(1 << 40) as f64 / 1000.0,
            _ => self.rng.below(1000) as f64,
        }
    }

    fn histogram(&mut self) -> Histogram {
        let custom = self.rng.chance(1, 4);
        let buckets = self.rng.index(6);
        let span =
            Span { offset: if custom { 0 } else { self.rng.range(-5..5) as i32 }, length: buckets as u32 };
        let positive: Vec<u64> = (0..buckets).map(|_| self.rng.below(100)).collect();
        let zero = if custom { 0 } else { self.rng.below(3) };
        let count = positive.iter().sum::<u64>() + zero;
        let counts = if self.rng.chance(1, 3) {
            BucketCounts::Float {
                count: count as f64,
                zero: zero as f64,
                positive: positive.iter().map(|n| *n as f64).collect(),
                negative: Vec::new(),
            }
        } else {
            BucketCounts::Integer { count, zero, positive, negative: Vec::new() }
        };
        let stale = self.rng.chance(1, 20);
        Histogram {
            schema: if custom { CUSTOM_BOUNDS_SCHEMA } else { self.rng.range(-4..9) as i32 },
            zero_threshold: if custom { 0.0 } else { 1e-128 },
            sum: if stale { f64::from_bits(STALE_NAN_BITS) } else { self.rng.below(1_000_000) as f64 / 7.0 },
            reset_hint: *self.rng.pick(&[ResetHint::Unknown, ResetHint::Gauge, ResetHint::NotReset]),
            positive_spans: if buckets > 0 { vec![span] } else { Vec::new() },
            negative_spans: Vec::new(),
            counts,
            custom_bounds: if custom { (0..6).map(f64::from).collect() } else { Vec::new() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::naive::Judgement;

    #[test]
    fn requests_hold_good_and_bad_and_valid_histograms() {
        let limits = TenantLimits { retention_ms: HOUR_MS, ..TenantLimits::default() };
        let mut senders = Senders::new(Rng::new(1), 10);
        let (mut taken, mut refused) = (0, 0);
        for _ in 0..300 {
            let request = senders.request(1_800_000_000_000, &limits);
            for sample in request.rows.iter().flat_map(|row| &row.histograms) {
                sample.histogram.validate().unwrap();
            }
            let encoded = request.encode();
            let judgement = Judgement::new(&limits, 1_800_000_000_000, &encoded.batch(1));
            taken += judgement.samples.len();
            refused += judgement.refused.len();
        }
        assert!(taken > 1000 && refused > 50, "{taken} {refused}");
    }
}
