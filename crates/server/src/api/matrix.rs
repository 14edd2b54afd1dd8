//! Series of a range answer as JSON: most of what Weir ever sends.
//!
//! A large answer is written in several parts at once, by as many threads as the query may have. All series of a range
//! query have their samples at the same times, so the text of a time is made once.

use std::panic::resume_unwind;
use std::thread;

use promql::{MatrixSeries, Point};

use super::encode;

/// Samples that are worth a thread.
const PART: usize = 32 << 10;

/// Bytes of a sample as text, about.
const POINT_BYTES: usize = 32;

/// Times of which the text is kept: as many as a range query has steps, and some more.
const TIMES_MAX: usize = 16 << 10;

/// Appends the series as a list; at most so many threads write it.
pub(super) fn matrix(out: &mut String, series: &[MatrixSeries], threads: usize) {
    let points: usize = series.iter().map(|series| series.points.len()).sum();
    let count = (points / PART).clamp(1, threads.max(1));
    let parts = split(series, points.div_ceil(count));
    out.push('[');
    thread::scope(|scope| {
        let mut parts = parts.into_iter();
        let first = parts.next().unwrap_or_default();
        let spawned: Vec<_> = parts
            .map(|part| {
                let builder = thread::Builder::new().name("query-encode".into());
                (part, builder.spawn_scoped(scope, move || text(part, points / count)).ok())
            })
            .collect();
        list(out, first);
        for (part, thread) in spawned {
            out.push(',');
            match thread {
                Some(thread) => out.push_str(&thread.join().unwrap_or_else(|panic| resume_unwind(panic))),
                None => list(out, part),
            }
        }
    });
    out.push(']');
}

/// Cuts a list where so many samples are reached.
fn split(mut series: &[MatrixSeries], points: usize) -> Vec<&[MatrixSeries]> {
    let mut parts = Vec::new();
    while !series.is_empty() {
        let mut reached = 0;
        let enough = |one: &MatrixSeries| {
            reached += one.points.len();
            reached >= points
        };
        let (part, rest) = series.split_at(series.iter().position(enough).map_or(series.len(), |at| at + 1));
        parts.push(part);
        series = rest;
    }
    parts
}

fn text(series: &[MatrixSeries], points: usize) -> String {
    let mut out = String::with_capacity(points * POINT_BYTES);
    list(&mut out, series);
    out
}

fn list(out: &mut String, series: &[MatrixSeries]) {
    let mut times = Times::default();
    for (at, series) in series.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        one(out, series, &mut times);
    }
}

fn one(out: &mut String, series: &MatrixSeries, times: &mut Times) {
    out.push_str("{\"metric\":");
    encode::labels(out, &series.labels);
    if series.points.has_floats() {
        out.push_str(",\"values\":[");
        times.next = 0;
        let mut between = "";
        series.points.each_float(|ms, value| {
            out.push_str(between);
            times.begin(out, ms);
            encode::quoted_float(out, value);
            out.push(']');
            between = ",";
        });
        out.push(']');
    }
    if series.points.has_histograms() {
        out.push_str(",\"histograms\":");
        let histogram = |(ms, point)| match point {
            Point::Histogram(histogram) => Some((ms, histogram)),
            Point::Float(_) => None,
        };
        encode::list(out, series.points.iter().filter_map(histogram), |out, (ms, histogram)| {
            out.push('[');
            encode::time(out, ms);
            out.push(',');
            encode::histogram(out, &histogram);
            out.push(']');
        });
    }
    out.push('}');
}

/// Beginnings of samples up to the value as they were written for series before, sorted by time.
#[derive(Debug, Default)]
struct Times {
    /// A time and where its text ends.
    known: Vec<(i64, usize)>,
    text: String,
    /// Which of them comes next, probably.
    next: usize,
}

impl Times {
    /// Appends what stands before the value of a sample at `ms`. Times come in ascending order.
    fn begin(&mut self, out: &mut String, ms: i64) {
        while self.known.get(self.next).is_some_and(|(known, _)| *known < ms) {
            self.next += 1;
        }
        if self.next == self.known.len() && self.next < TIMES_MAX {
            write(&mut self.text, ms);
            self.known.push((ms, self.text.len()));
        }
        match self.known.get(self.next) {
            Some((known, end)) if *known == ms => {
                let start = self.next.checked_sub(1).map_or(0, |before| self.known[before].1);
                out.push_str(&self.text[start..*end]);
            }
            _ => write(out, ms),
        }
    }
}

fn write(out: &mut String, ms: i64) {
    out.push('[');
    encode::time(out, ms);
    out.push(',');
}

#[cfg(test)]
mod tests {
    use model::Labels;

    use super::*;

    fn series(name: &str, times: &[i64]) -> MatrixSeries {
        let points: Vec<(i64, Point)> =
            times.iter().map(|ms| (*ms, Point::Float(*ms as f64 / 8.0))).collect();
        MatrixSeries { labels: Labels::from_pairs([("a", name)]), points: points.into() }
    }

    #[test]
    fn times_are_written_as_they_are_whatever_was_written_before() {
        let all = [
            series("1", &[2_000, 4_500, 6_000]),
            series("2", &[1_000, 2_000, 3_000, 6_000, 7_000]),
            series("3", &[]),
            series("4", &[-500, 4_500, 8_000]),
        ];
        let mut out = String::new();
        matrix(&mut out, &all, 1);
        let wanted = "[{\"metric\":{\"a\":\"1\"},\"values\":[[2,\"250\"],[4.500,\"562.5\"],[6,\"750\"]]},\
            {\"metric\":{\"a\":\"2\"},\"values\":[[1,\"125\"],[2,\"250\"],[3,\"375\"],[6,\"750\"],[7,\"875\"]]},\
            {\"metric\":{\"a\":\"3\"}},\
            {\"metric\":{\"a\":\"4\"},\"values\":[[-0.500,\"-62.5\"],[4.500,\"562.5\"],[8,\"1000\"]]}]";
        assert_eq!(out, wanted);
    }

    #[test]
    fn parts_are_the_whole() {
        let times: Vec<i64> = (0..PART as i64 / 2).map(|step| step * 1_000).collect();
        let all: Vec<MatrixSeries> =
            (0..11).map(|n| series(&n.to_string(), &times[..times.len() - n * 1_000])).collect();
        let (mut one, mut several) = (String::new(), String::new());
        matrix(&mut one, &all, 1);
        matrix(&mut several, &all, 4);
        assert!(one == several, "{} and {} bytes", one.len(), several.len());
        let most = all.iter().map(|series| series.points.len()).sum::<usize>() / 4;
        assert_eq!(split(&all, most).len(), 4);
        assert_eq!(split(&[], 5).len(), 0);
        let mut none = String::new();
        matrix(&mut none, &[], 4);
        assert_eq!(none, "[]");
    }
}
