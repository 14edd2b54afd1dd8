//! The workloads: how many series with how many samples, and the requests that bring them.

use std::fmt::Write;
use std::ops::Range;

use super::real::Real;
use super::remote_write::{self, Body};
use super::sent::Value;
use super::{latencies, mix, requests};

/// Milliseconds between two samples of a series.
pub const STEP_MS: i64 = 15_000;

/// The instance of a real machine's series.
const REAL: &str = "real";

/// What the samples are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Floats, [`mix`].
    Mix,
    /// Native histograms, [`latencies`].
    Latencies,
    /// Counters, buckets and gauges, [`requests`].
    Requests,
}

/// A made-up workload: so many series, each with so many samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Its letter.
    pub name: &'static str,
    /// What its samples are.
    pub kind: Kind,
    /// Series.
    pub series: usize,
    /// Samples of each.
    pub steps: usize,
    /// Samples in a request.
    pub per_request: usize,
    /// Steps after which every series gets another label; 0 = never.
    pub churn: usize,
}

/// The made-up workloads, by letter.
pub const SHAPES: &[Shape] = &[
    Shape { name: "A", kind: Kind::Mix, series: 1_200, steps: 8_000, per_request: 2_000, churn: 0 },
    Shape { name: "B", kind: Kind::Mix, series: 20_000, steps: 480, per_request: 10_000, churn: 0 },
    Shape { name: "B2", kind: Kind::Mix, series: 20_000, steps: 480, per_request: 2_000, churn: 0 },
    Shape { name: "C", kind: Kind::Mix, series: 200_000, steps: 48, per_request: 10_000, churn: 0 },
    Shape { name: "D", kind: Kind::Mix, series: 20_000, steps: 480, per_request: 10_000, churn: 24 },
    Shape { name: "E", kind: Kind::Mix, series: 1_000_000, steps: 6, per_request: 10_000, churn: 0 },
    Shape { name: "F", kind: Kind::Latencies, series: 2_000, steps: 480, per_request: 500, churn: 0 },
    Shape { name: "G", kind: Kind::Requests, series: 3_000, steps: 4_000, per_request: 3_000, churn: 0 },
];

impl Shape {
    /// The one with this letter.
    pub fn named(name: &str) -> Option<Self> {
        SHAPES.iter().find(|shape| shape.name == name).copied()
    }

    /// A small part of it, one instance at least, to show that a benchmark works.
    #[must_use]
    pub fn small(&self) -> Self {
        Self {
            series: (self.series / 100).max(self.series_of_instance()),
            steps: (self.steps / 40).max(4),
            per_request: self.per_request / 10,
            churn: if self.churn == 0 { 0 } else { (self.churn / 40).max(2) },
            ..*self
        }
    }

    /// Series that have their instance in common.
    fn series_of_instance(&self) -> usize {
        match self.kind {
            Kind::Mix => mix::SERIES_PER_HOST,
            Kind::Latencies => latencies::SERIES_PER_HOST,
            Kind::Requests => requests::SERIES_PER_HOST,
        }
    }
}

/// What is sent: series with their samples, the same at every run.
#[derive(Debug)]
pub enum Workload {
    /// A made-up one.
    Made(Shape),
    /// The values of a real machine.
    Recorded(Real),
}

/// Requests of a workload, ready to be sent, one list for each connection.
#[derive(Debug)]
pub struct Bodies {
    /// Packed bodies, in order; each series stands in one list alone, so its samples stay in order.
    pub lists: Vec<Vec<Vec<u8>>>,
    /// Timestamp of the first samples.
    pub first_ms: i64,
    /// Timestamp of the last samples.
    pub last_ms: i64,
}

impl Workload {
    /// Its letter, or `REAL`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Made(shape) => shape.name,
            Self::Recorded(_) => "REAL",
        }
    }

    /// What it is, in a line.
    pub fn title(&self) -> String {
        let (name, series, steps) = (self.name(), self.series(), self.steps());
        let shape = match self {
            Self::Made(shape) => shape,
            Self::Recorded(_) => {
                return format!("Workload REAL: {series} series × {steps} samples of a real machine's /proc");
            }
        };
        let samples = if shape.kind == Kind::Latencies { "native histograms" } else { "samples" };
        let mut title =
            format!("Workload {name}: {series} series × {steps} {samples}, {} a request", shape.per_request);
        if shape.churn > 0 {
            let _ =
                write!(title, ", other series every {} samples, {} in all", shape.churn, self.all_series());
        }
        title
    }

    /// Series at a time.
    pub fn series(&self) -> usize {
        match self {
            Self::Made(shape) => shape.series,
            Self::Recorded(real) => real.labels.len(),
        }
    }

    /// Series that there ever are.
    pub fn all_series(&self) -> usize {
        match self {
            Self::Made(Shape { churn: every @ 1.., series, steps, .. }) => series * steps.div_ceil(*every),
            _ => self.series(),
        }
    }

    /// Samples of a series, or of all that follow each other in its place.
    pub fn steps(&self) -> usize {
        match self {
            Self::Made(shape) => shape.steps,
            Self::Recorded(real) => real.rows(),
        }
    }

    /// All samples.
    pub fn samples(&self) -> usize {
        self.series() * self.steps()
    }

    /// What its samples are.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Made(shape) => shape.kind,
            Self::Recorded(_) => Kind::Mix,
        }
    }

    /// The job that all its series have, and no others.
    pub fn job(&self) -> &'static str {
        match self.kind() {
            Kind::Mix => mix::JOB,
            Kind::Latencies => latencies::JOB,
            Kind::Requests => requests::JOB,
        }
    }

    /// Its requests for so many connections, the last samples at `end_ms`.
    pub fn bodies(&self, connections: usize, end_ms: i64) -> Bodies {
        let last_ms = end_ms - end_ms % STEP_MS - self.beside_ms();
        let first_ms = last_ms - (self.steps() as i64 - 1) * STEP_MS;
        let share = self.series().div_ceil(connections);
        let lists = (0..connections).map(|nth| {
            let range = nth * share..((nth + 1) * share).min(self.series());
            self.list(range, first_ms)
        });
        Bodies { lists: lists.collect(), first_ms, last_ms }
    }

    /// How far its samples lie beside the multiples of a step. Subqueries look at whole minutes, and whether a sample on
    /// the edge of a window belongs to it differs between versions of Prometheus.
    fn beside_ms(&self) -> i64 {
        if self.kind() == Kind::Requests { STEP_MS / 2 } else { 0 }
    }

    fn list(&self, range: Range<usize>, first_ms: i64) -> Vec<Vec<u8>> {
        let per_request = match self {
            Self::Made(shape) => shape.per_request,
            Self::Recorded(_) => 2_000,
        };
        let mut series: Vec<Series<'_>> = range.map(|index| self.series_at(index)).collect();
        let mut requests = Vec::new();
        let mut body = Body::default();
        for (run, pod) in self.runs(0..self.steps()) {
            let labels: Vec<Vec<u8>> = series.iter().map(|one| wire_labels(&one.labels(pod))).collect();
            for step in run {
                let timestamp = first_ms + step as i64 * STEP_MS;
                for (one, labels) in series.iter_mut().zip(&labels) {
                    match one.next(timestamp) {
                        Value::Float(value) => body.series(labels, &[(timestamp, value)]),
                        Value::Histogram(histogram) => body.histogram(labels, timestamp, &histogram),
                    }
                    if body.samples == per_request {
                        requests.push(body.packed());
                        body.clear();
                    }
                }
            }
        }
        if body.samples > 0 {
            requests.push(body.packed());
        }
        requests
    }

    /// A series from its beginning.
    pub(super) fn series_at(&self, index: usize) -> Series<'_> {
        match self {
            Self::Made(Shape { kind: Kind::Mix, .. }) => Series::Mix(mix::Series::new(index)),
            Self::Made(Shape { kind: Kind::Latencies, steps, .. }) => {
                Series::Latencies(latencies::Series::new(index, *steps))
            }
            Self::Made(Shape { kind: Kind::Requests, steps, .. }) => {
                Series::Requests(requests::Series::new(index, *steps))
            }
            Self::Recorded(real) => Series::Recorded { real, index, row: 0 },
        }
    }

    /// Series that have their instance in common.
    pub(super) fn series_of_instance(&self) -> usize {
        match self {
            Self::Made(shape) => shape.series_of_instance(),
            Self::Recorded(real) => real.labels.len(),
        }
    }

    /// The runs of steps among these in which series keep their labels, each with the pod that is one of them.
    pub(super) fn runs(&self, steps: Range<usize>) -> impl Iterator<Item = (Range<usize>, Option<usize>)> {
        let churn = match self {
            Self::Made(Shape { churn: every @ 1.., .. }) => Some(*every),
            _ => None,
        };
        let mut rest = steps;
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let pod = churn.map(|every| rest.start / every);
            let end = churn.map_or(rest.end, |every| rest.end.min((rest.start / every + 1) * every));
            let run = rest.start..end;
            rest.start = end;
            Some((run, pod))
        })
    }
}

fn wire_labels(labels: &[(&str, String)]) -> Vec<u8> {
    let pairs: Vec<(&str, &str)> = labels.iter().map(|(name, value)| (*name, value.as_str())).collect();
    remote_write::labels(&pairs)
}

/// A series and where it stands.
#[derive(Debug)]
pub(super) enum Series<'a> {
    Mix(mix::Series),
    Latencies(latencies::Series),
    Requests(requests::Series),
    Recorded { real: &'a Real, index: usize, row: usize },
}

impl Series<'_> {
    /// Its next sample.
    pub(super) fn next(&mut self, timestamp: i64) -> Value {
        match self {
            Self::Mix(series) => Value::Float(series.next(timestamp)),
            Self::Latencies(series) => Value::Histogram(series.next()),
            Self::Requests(series) => Value::Float(series.next()),
            Self::Recorded { real, index, row } => {
                *row += 1;
                Value::Float(real.values[*index][*row - 1])
            }
        }
    }

    /// Its labels, sorted by name.
    pub(super) fn labels(&self, pod: Option<usize>) -> Vec<(&'static str, String)> {
        match self {
            Self::Mix(series) => series.labels(pod),
            Self::Latencies(series) => series.labels(),
            Self::Requests(series) => series.labels(),
            Self::Recorded { real, index, .. } => {
                let others = [("instance", REAL.to_owned()), ("job", mix::JOB.to_owned())];
                let mut labels: Vec<_> = real.labels[*index].iter().cloned().chain(others).collect();
                labels.sort_unstable();
                labels
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sample_is_in_one_request() {
        for kind in [Kind::Mix, Kind::Latencies, Kind::Requests] {
            let shape = Shape { name: "test", kind, series: 301, steps: 5, per_request: 100, churn: 2 };
            let workload = Workload::Made(shape);
            let bodies = workload.bodies(2, 1_700_000_000_000);
            let sent: usize = bodies.lists.iter().flatten().map(|body| count(body)).sum();
            assert_eq!(sent, workload.samples());
            assert_eq!(bodies.last_ms - bodies.first_ms, 4 * STEP_MS);
        }
    }

    #[test]
    fn labels_change_at_the_same_steps_whatever_part_is_looked_at() {
        let shape = Shape { churn: 24, ..SHAPES[0] };
        let runs = |steps| Workload::Made(shape).runs(steps).collect::<Vec<_>>();
        assert_eq!(runs(0..50), [(0..24, Some(0)), (24..48, Some(1)), (48..50, Some(2))]);
        assert_eq!(runs(23..30), [(23..24, Some(0)), (24..30, Some(1))]);
        assert_eq!(Workload::Made(SHAPES[0]).runs(5..9).collect::<Vec<_>>(), [(5..9, None)]);
    }

    /// Top-level fields of a body: one for each series, and a series here has one sample.
    fn count(body: &[u8]) -> usize {
        let bytes = snap::raw::Decoder::new().decompress_vec(body).expect("snappy");
        let (mut at, mut count) = (0, 0);
        while at < bytes.len() {
            let (mut length, mut shift) = (0usize, 0);
            at += 1;
            loop {
                length |= usize::from(bytes[at] & 0x7f) << shift;
                shift += 7;
                at += 1;
                if bytes[at - 1] < 0x80 {
                    break;
                }
            }
            at += length;
            count += 1;
        }
        count
    }
}
