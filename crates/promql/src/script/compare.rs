//! Does an answer say what a case expects?

use std::collections::HashMap;

use model::Labels;

use crate::column::Point;
use crate::eval::{MatrixSeries, Value};
use crate::histogram::FloatHistogram;
use crate::script::series::SequenceValue;
use crate::text::labels_text;

/// Floats may differ by this share of their sum.
const TOLERANCE: f64 = 1e-6;

/// Where the expected values lie in time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place {
    pub(super) start_ms: i64,
    pub(super) end_ms: i64,
    pub(super) step_ms: i64,
}

/// What a case expects.
#[derive(Debug, Default)]
pub(super) struct Expected {
    pub(super) series: HashMap<Labels, (usize, Vec<SequenceValue>)>,
    pub(super) scalar: Option<f64>,
    pub(super) string: Option<String>,
    pub(super) range: Option<Place>,
    pub(super) ordered: bool,
}

type Compared = Result<(), String>;

impl Expected {
    pub(super) fn compare(&self, value: &Value, place: Place) -> Compared {
        match value {
            Value::Matrix(series) => self.matrix(series, place),
            Value::Vector(samples) => {
                if self.scalar.is_some() || self.string.is_some() || self.range.is_some() {
                    return Err(format!("expected no instant vector, got {samples:?}"));
                }
                for (position, sample) in samples.iter().enumerate() {
                    let Some((wanted, values)) = self.series.get(&sample.labels) else {
                        let labels = labels_text(&sample.labels);
                        return Err(format!("unexpected {labels} in result, has {}", shown(&sample.point)));
                    };
                    if self.ordered && *wanted != position + 1 {
                        let labels = labels_text(&sample.labels);
                        return Err(format!(
                            "expected {labels} at position {wanted}, was at {}",
                            position + 1
                        ));
                    }
                    let first = values.first().unwrap_or(&SequenceValue::Gap);
                    point(first, &sample.point)
                        .map_err(|e| format!("{}: {e}", labels_text(&sample.labels)))?;
                }
                self.all_seen(samples.iter().map(|sample| &sample.labels))
            }
            Value::Scalar(_, value) => match self.scalar {
                Some(scalar) if self.series.is_empty() => float(scalar, *value),
                _ => Err(format!("expected a vector or matrix, got the scalar {value}")),
            },
            Value::String(_, text) => match &self.string {
                Some(string) if string == text => Ok(()),
                other => Err(format!("expected the string {other:?}, got {text:?}")),
            },
        }
    }

    fn matrix(&self, all: &[MatrixSeries], place: Place) -> Compared {
        if self.ordered || self.scalar.is_some() || self.string.is_some() {
            return Err("expected an ordered result, a scalar or a string, got a matrix".into());
        }
        sorted(all)?;
        for series in all {
            let labels = labels_text(&series.labels);
            let Some((_, values)) = self.series.get(&series.labels) else {
                return Err(format!("unexpected {labels} in result, has {}", all_shown(series)));
            };
            let time = |at: usize| place.start_ms + at as i64 * place.step_ms;
            if !values.is_empty() && time(values.len() - 1) > place.end_ms {
                return Err(format!("{labels}: more values expected than the range has steps"));
            }
            let wanted = values.iter().enumerate().filter(|(_, value)| !matches!(value, SequenceValue::Gap));
            let wanted: Vec<(i64, &SequenceValue)> = wanted.map(|(at, value)| (time(at), value)).collect();
            if wanted.len() != series.points.len() {
                let (wanted, found) = (wanted.len(), all_shown(series));
                return Err(format!("{labels}: expected {wanted} points, got {found}"));
            }
            for ((time, value), (found_time, found)) in wanted.iter().zip(series.points.iter()) {
                if *time != found_time {
                    return Err(format!("{labels}: expected a point at {time}, got {}", all_shown(series)));
                }
                point(value, &found)
                    .map_err(|e| format!("{labels} at {time}: {e} in {}", all_shown(series)))?;
            }
        }
        self.all_seen(all.iter().map(|series| &series.labels))
    }

    fn all_seen<'l>(&self, labels: impl Iterator<Item = &'l Labels>) -> Compared {
        let seen: Vec<&Labels> = labels.collect();
        match self.series.keys().find(|wanted| !seen.contains(wanted)) {
            Some(missing) => Err(format!("expected {} not found", labels_text(missing))),
            // All that were seen are expected ones.
            None if seen.len() > self.series.len() => Err("a series is twice in the result".into()),
            None => Ok(()),
        }
    }
}

/// Matrices come sorted by their labels.
pub(super) fn sorted(series: &[MatrixSeries]) -> Compared {
    if series.is_sorted_by(|a, b| a.labels <= b.labels) {
        Ok(())
    } else {
        Err("matrix is not sorted by labels".into())
    }
}

fn shown(point: &Point) -> String {
    match point {
        Point::Float(value) => value.to_string(),
        Point::Histogram(histogram) => format!("{histogram} {:?}", histogram.reset_hint),
    }
}

fn all_shown(series: &MatrixSeries) -> String {
    let points = series.points.iter().map(|(time, point)| format!("{}@{time}", shown(&point)));
    points.collect::<Vec<_>>().join(" ")
}

fn point(expected: &SequenceValue, found: &Point) -> Compared {
    match (expected, found) {
        (SequenceValue::Float(expected), Point::Float(found)) => float(*expected, *found),
        (SequenceValue::Histogram(expected, hint_written), Point::Histogram(found)) => {
            if histograms_equal(expected, found) && (!hint_written || expected.reset_hint == found.reset_hint)
            {
                return Ok(());
            }
            let hint = expected.reset_hint;
            Err(format!("expected {expected} {hint:?}, got {}", shown(&Point::Histogram(found.clone()))))
        }
        (expected, found) => Err(format!("expected {expected:?}, got {}", shown(found))),
    }
}

fn float(expected: f64, found: f64) -> Compared {
    if floats_equal(expected, found) { Ok(()) } else { Err(format!("expected {expected}, got {found}")) }
}

fn floats_equal(a: f64, b: f64) -> bool {
    if model::is_stale(a) || model::is_stale(b) {
        return model::is_stale(a) && model::is_stale(b);
    }
    if (a.is_nan() && b.is_nan()) || a == b {
        return true;
    }
    let (sum, difference) = (a.abs() + b.abs(), (a - b).abs());
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < TOLERANCE * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < TOLERANCE
}

fn histograms_equal(expected: &FloatHistogram, found: &FloatHistogram) -> bool {
    let (mut a, mut b) = (expected.clone(), found.clone());
    a.compact();
    b.compact();
    let buckets = |a: &[(i32, f64)], b: &[(i32, f64)]| {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.0 == b.0 && floats_equal(a.1, b.1))
    };
    a.schema == b.schema
        && floats_equal(a.count, b.count)
        && floats_equal(a.sum, b.sum)
        && a.custom_bounds == b.custom_bounds
        && a.zero_threshold == b.zero_threshold
        && floats_equal(a.zero_count, b.zero_count)
        && buckets(&a.positive, &b.positive)
        && buckets(&a.negative, &b.negative)
}
