//! What was sent, once more, to be compared with what came back.
//!
//! Samples are not kept: they come from seeds and are made again, a piece at a time, small enough that a server's limits
//! are not met when it is read back at once.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::histogram::Histogram;
use super::workload::{Kind, STEP_MS, Series, Workload};

/// Floats of a piece at most.
const FLOATS_MAX: usize = 400_000;

/// Histograms of a piece at most: each is some 4 kB of JSON.
const HISTOGRAMS_MAX: usize = 8_000;

/// A sample's value.
#[derive(Clone, Debug)]
pub enum Value {
    /// A float.
    Float(f64),
    /// A native histogram.
    Histogram(Histogram),
}

/// Bit for bit; a NaN loses its payload in JSON.
impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Float(a), Self::Float(b)) => a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan(),
            (Self::Histogram(a), Self::Histogram(b)) => a == b,
            _ => false,
        }
    }
}

/// A series' labels.
pub type Labels = BTreeMap<String, String>;

/// Series with their samples: timestamp in ms, value.
pub type Samples = BTreeMap<Labels, Vec<(i64, Value)>>;

/// A part of a workload: all samples of one instance in a window of time.
#[derive(Debug)]
pub struct Piece {
    /// Finds the series.
    pub selector: String,
    /// First timestamp.
    pub first_ms: i64,
    /// Last timestamp.
    pub last_ms: i64,
    /// What was sent.
    pub samples: Samples,
}

/// Shows a workload whose first samples are at `first_ms` in pieces, until one of them is not wanted.
pub fn each_piece<E>(
    workload: &Workload,
    first_ms: i64,
    mut look: impl FnMut(&Piece) -> Result<(), E>,
) -> Result<(), E> {
    let per_instance = workload.series_of_instance();
    let samples_max = if workload.kind() == Kind::Latencies { HISTOGRAMS_MAX } else { FLOATS_MAX };
    let window = (samples_max / per_instance).max(1);
    for first in (0..workload.series()).step_by(per_instance) {
        let indices = first..(first + per_instance).min(workload.series());
        let mut series: Vec<Series<'_>> = indices.map(|index| workload.series_at(index)).collect();
        for begin in (0..workload.steps()).step_by(window) {
            let steps = begin..(begin + window).min(workload.steps());
            let ms = |step: usize| first_ms + step as i64 * STEP_MS;
            let mut samples = Samples::new();
            let mut instance = String::new();
            for one in &mut series {
                for (run, pod) in workload.runs(steps.clone()) {
                    let labels: Labels =
                        one.labels(pod).into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
                    instance.clone_from(&labels["instance"]);
                    let sent = run.map(|step| (ms(step), one.next(ms(step))));
                    samples.entry(labels).or_default().extend(sent);
                }
            }
            let selector = format!("{{job=\"{}\",instance=\"{instance}\"}}", workload.job());
            look(&Piece { selector, first_ms: ms(steps.start), last_ms: ms(steps.end - 1), samples })?;
        }
    }
    Ok(())
}

/// How many samples of either are not in the other, bit for bit.
pub fn differences(sent: &Samples, found: &Samples) -> usize {
    differences_by(sent, found, |sent, found| sent == found)
}

/// How many samples of either have none in the other at the same time with, as told by `same`, the same value.
pub fn differences_by(a: &Samples, b: &Samples, same: impl Fn(&Value, &Value) -> bool) -> usize {
    let none = Vec::new();
    let only_b = b.iter().filter(|(labels, _)| !a.contains_key(*labels)).map(|(_, samples)| samples.len());
    let of_a = a.iter().map(|(labels, samples)| in_series(samples, b.get(labels).unwrap_or(&none), &same));
    of_a.chain(only_b).sum()
}

/// Both must be sorted by time; a time that stands twice in one of them is a difference.
fn in_series(a: &[(i64, Value)], b: &[(i64, Value)], same: &impl Fn(&Value, &Value) -> bool) -> usize {
    let (mut a, mut b) = (a.iter().peekable(), b.iter().peekable());
    let mut differences = 0;
    loop {
        let order = match (a.peek(), b.peek()) {
            (None, None) => return differences,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((x, _)), Some((y, _))) => x.cmp(y),
        };
        let one = if order == Ordering::Greater { None } else { a.next() };
        let other = if order == Ordering::Less { None } else { b.next() };
        let agree = one.zip(other).is_some_and(|((_, x), (_, y))| same(x, y));
        differences += usize::from(!agree);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::workload::SHAPES;

    /// All samples of a shape, as its pieces give them.
    fn all(workload: &Workload) -> (usize, Samples) {
        let (mut pieces, mut all) = (0, Samples::new());
        let add = |piece: &Piece| -> Result<(), ()> {
            pieces += 1;
            let times = || piece.samples.values().flatten().map(|(ms, _)| *ms);
            assert_eq!((times().min(), times().max()), (Some(piece.first_ms), Some(piece.last_ms)));
            for (labels, samples) in &piece.samples {
                assert!(piece.selector.contains(&labels["instance"]));
                all.entry(labels.clone()).or_default().extend(samples.iter().cloned());
            }
            Ok(())
        };
        each_piece(workload, 1_700_000_000_000, add).expect("all are wanted");
        (pieces, all)
    }

    #[test]
    fn pieces_hold_everything_once() {
        let of = |name: &str, series, steps| {
            let shape = *SHAPES.iter().find(|shape| shape.name == name).expect("a letter");
            Workload::Made(crate::load::workload::Shape { series, steps, ..shape })
        };
        // A: one instance, in windows. D: labels that change. F: histograms of two instances, in windows.
        for (workload, pieces) in [(of("A", 1_200, 700), 3), (of("D", 1_300, 30), 2), (of("F", 101, 81), 4)] {
            let (found, samples) = all(&workload);
            assert_eq!(found, pieces, "{}", workload.title());
            assert_eq!(samples.len(), workload.all_series());
            assert_eq!(samples.values().map(Vec::len).sum::<usize>(), workload.samples());
            assert_eq!(differences(&samples, &all(&workload).1), 0, "the same at every run");
        }
    }

    #[test]
    fn what_is_missing_altered_or_too_much_is_a_difference() {
        let labels = |name: &str| Labels::from([("__name__".to_owned(), name.to_owned())]);
        let of = |samples: &[(i64, f64)]| -> Vec<_> {
            samples.iter().map(|(ms, value)| (*ms, Value::Float(*value))).collect()
        };
        let sent = Samples::from([(labels("a"), of(&[(1, 1.0), (2, -0.0), (3, f64::NAN)]))]);
        let stale = f64::from_bits(0x7ff0_0000_0000_0002);
        let with = |name, samples: &[_]| Samples::from([(labels(name), of(samples))]);
        assert_eq!(differences(&sent, &with("a", &[(1, 1.0), (2, -0.0), (3, stale)])), 0);
        assert_eq!(differences(&sent, &with("a", &[(1, 1.0), (2, 0.0), (3, stale)])), 1, "another bit");
        assert_eq!(differences(&sent, &with("a", &[(2, -0.0), (3, stale), (4, 4.0)])), 2, "lost, too much");
        assert_eq!(differences(&sent, &with("a", &[(1, 1.0), (1, 1.0), (2, -0.0), (3, stale)])), 1, "twice");
        assert_eq!(differences(&sent, &with("b", &[(1, 1.0), (2, -0.0), (3, stale)])), 6, "another series");
    }

    #[test]
    fn a_histogram_is_another_when_anything_in_it_is() {
        let sent = Histogram { count: 4, sum: 0.1 + 0.2, zero_count: 1, buckets: vec![(-3, 1), (8, 2)] };
        let others = [
            Histogram { count: 5, ..sent.clone() },
            Histogram { sum: 0.3, ..sent.clone() },
            Histogram { zero_count: 0, ..sent.clone() },
            Histogram { buckets: vec![(-3, 1), (9, 2)], ..sent.clone() },
            Histogram { buckets: vec![(-3, 2), (8, 1)], ..sent.clone() },
        ];
        assert_eq!(Value::Histogram(sent.clone()), Value::Histogram(sent.clone()));
        for other in others {
            assert_ne!(Value::Histogram(sent.clone()), Value::Histogram(other));
        }
        assert_ne!(Value::Histogram(sent), Value::Float(4.0));
    }
}
