//! `load 5m`: series at equal distances from the epoch on.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::Labels;
use model::histogram::{CUSTOM_BOUNDS_SCHEMA, ResetHint};
use model::labels::METRIC_NAME;

use crate::MemoryValue;
use crate::duration;
use crate::histogram::FloatHistogram;
use crate::script::series::{self, SequenceValue};
use crate::script::{LoadedSample, LoadedSeries};

/// A `load` command.
pub(super) struct Load {
    gap_ms: i64,
    with_nhcb: bool,
    series: Vec<Line>,
}

struct Line {
    labels: Labels,
    values: Vec<SequenceValue>,
    /// Start times relative to each sample, in ms.
    starts: Vec<Option<i64>>,
}

impl Load {
    pub(super) fn parse(first: &str, body: &[&str]) -> Result<Self, String> {
        let (word, gap) = first.split_once(char::is_whitespace).ok_or("load needs a duration")?;
        let with_nhcb = word.ends_with("_with_nhcb");
        let mut load = Self { gap_ms: duration::parse(gap.trim())?, with_nhcb, series: Vec::new() };
        let mut starts: Option<(Labels, Vec<Option<i64>>)> = None;
        for line in body {
            if let Some((metric, values)) = line.split_once(char::is_whitespace)
                && let Some(metric) = metric.strip_suffix("@st")
            {
                starts = Some((series::labels(metric)?.0, start_times(values)?));
                continue;
            }
            let (labels, values) = series::parse(line)?;
            let starts = match starts.take() {
                Some((of, starts)) if of != labels || starts.len() != values.len() => {
                    return Err(format!("@st line does not fit {labels}"));
                }
                Some((_, starts)) => starts,
                None => Vec::new(),
            };
            load.series.retain(|line| line.labels != labels);
            load.series.push(Line { labels, values, starts });
        }
        Ok(load)
    }

    pub(super) fn add_to(&self, loaded: &mut Vec<LoadedSeries>) -> Result<(), String> {
        let mut added: Vec<LoadedSeries> = self.series.iter().map(|line| self.samples(line)).collect();
        if self.with_nhcb {
            added.extend(custom_histograms(&added)?);
        }
        for (labels, mut samples) in added {
            match loaded.iter_mut().find(|(other, _)| *other == labels) {
                Some((_, all)) => {
                    all.retain(|old| !samples.iter().any(|new| new.time_ms == old.time_ms));
                    all.append(&mut samples);
                    all.sort_by_key(|sample| sample.time_ms);
                }
                None => loaded.push((labels, samples)),
            }
        }
        Ok(())
    }

    fn samples(&self, line: &Line) -> LoadedSeries {
        let sample = |(at, value): (usize, &SequenceValue)| {
            let time_ms = at as i64 * self.gap_ms;
            let start_ms = line.starts.get(at).copied().flatten().map_or(0, |start| time_ms + start);
            let value = match value {
                SequenceValue::Gap => return None,
                SequenceValue::Float(value) => MemoryValue::Float(*value),
                SequenceValue::Histogram(histogram, _) => {
                    MemoryValue::Histogram(Arc::new((&**histogram).into()))
                }
            };
            Some(LoadedSample { time_ms, start_ms, value })
        };
        (line.labels.clone(), line.values.iter().enumerate().filter_map(sample).collect())
    }
}

/// `-1m`, `_x3`, `-30s-1mx2`: start times relative to the samples.
fn start_times(text: &str) -> Result<Vec<Option<i64>>, String> {
    let mut starts = Vec::new();
    for item in text.split_whitespace() {
        if item == "_" {
            starts.push(None);
            continue;
        }
        if let Some(count) = item.strip_prefix("_x") {
            let count: usize = count.parse().map_err(|_| "invalid repeat count")?;
            starts.extend(std::iter::repeat_n(None, count));
            continue;
        }
        let (offsets, count) = match item.rsplit_once('x') {
            Some((offsets, count)) => (offsets, count.parse::<i64>().map_err(|_| "invalid repeat count")?),
            None => (item, 0),
        };
        let divides = offsets.get(1..).and_then(|rest| rest.find(['+', '-'])).map(|at| at + 1);
        let (base, step) = offsets.split_at(divides.unwrap_or(offsets.len()));
        let millis = |text: &str| match (text, text.strip_prefix('-')) {
            ("", _) => Ok(0),
            (_, Some(rest)) => duration::parse(rest).map(|ms| -ms),
            (text, None) => duration::parse(text.strip_prefix('+').unwrap_or(text)),
        };
        let (base, step) = (millis(base)?, millis(step)?);
        starts.extend((0..=count).map(|at| Some(base + at * step)));
    }
    Ok(starts)
}

/// A classic histogram's parts at one time.
#[derive(Default)]
struct Classic {
    buckets: Vec<(f64, f64)>,
    count: Option<f64>,
    sum: f64,
}

/// For each classic histogram among the series, the native one with its bounds.
fn custom_histograms(series: &[LoadedSeries]) -> Result<Vec<LoadedSeries>, String> {
    let mut found: BTreeMap<Labels, BTreeMap<i64, Classic>> = BTreeMap::new();
    for (labels, samples) in series {
        let name = labels.metric_name().unwrap_or_default();
        let suffix = ["_bucket", "_sum", "_count"].into_iter().find(|suffix| name.ends_with(suffix));
        let Some(suffix) = suffix else { continue };
        let le: Option<f64> = labels.get("le").and_then(|le| le.parse().ok()).filter(|le: &f64| !le.is_nan());
        if suffix == "_bucket" && le.is_none() {
            continue;
        }
        let base = &name[..name.len() - suffix.len()];
        let others = labels.iter().filter(|(name, _)| *name != METRIC_NAME && *name != "le");
        let histograms = found.entry(others.chain([(METRIC_NAME, base)]).collect()).or_default();
        for sample in samples {
            let MemoryValue::Float(value) = sample.value else { continue };
            let classic = histograms.entry(sample.time_ms).or_default();
            match suffix {
                "_bucket" => classic.buckets.push((le.unwrap_or_default(), value)),
                "_count" => classic.count = Some(value),
                _ => classic.sum = value,
            }
        }
    }
    let series = |(labels, histograms): (Labels, BTreeMap<i64, Classic>)| {
        let sample = |(time_ms, classic): (i64, Classic)| {
            let value = MemoryValue::Histogram(Arc::new((&classic.native()?).into()));
            Ok(LoadedSample { time_ms, start_ms: 0, value })
        };
        Ok((labels, histograms.into_iter().map(sample).collect::<Result<Vec<_>, String>>()?))
    };
    found.into_iter().map(series).collect()
}

impl Classic {
    fn native(mut self) -> Result<FloatHistogram, String> {
        self.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        self.buckets.dedup_by(|a, b| a.0 == b.0);
        let count = self.count.or(self.buckets.last().map(|bucket| bucket.1)).unwrap_or(0.0);
        if self.buckets.last().is_none_or(|bucket| bucket.0 != f64::INFINITY) {
            self.buckets.push((f64::INFINITY, count));
        }
        let mut below = 0.0;
        let mut positive = Vec::new();
        for (index, (_, cumulative)) in self.buckets.iter().enumerate() {
            if *cumulative < below {
                return Err("classic histogram is not cumulative".into());
            }
            positive.push((index as i32, cumulative - below));
            below = *cumulative;
        }
        if below != count {
            return Err("classic histogram's count does not fit its buckets".into());
        }
        let bounds = self.buckets.iter().map(|bucket| bucket.0).filter(|bound| bound.is_finite());
        let mut histogram = FloatHistogram {
            schema: CUSTOM_BOUNDS_SCHEMA,
            zero_threshold: 0.0,
            zero_count: 0.0,
            count,
            sum: self.sum,
            reset_hint: ResetHint::Unknown,
            positive,
            negative: Vec::new(),
            custom_bounds: bounds.collect(),
        };
        histogram.compact();
        Ok(histogram)
    }
}
