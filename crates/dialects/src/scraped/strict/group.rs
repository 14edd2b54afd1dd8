//! The samples of one metric, which stand together: what must hold between them.

use std::collections::HashSet;

use codec::float;
use model::MetricType;

use super::kind::Kind;
use super::sample::{Sample, is_real};
use super::{Complaints, Rules};

/// What tells metrics of a family apart: their labels without those that tell parts of a metric apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key(Vec<(String, String)>);

impl Key {
    pub(super) fn of(sample: &Sample<'_>, part: Option<&str>) -> Self {
        let labels = sample.labels.iter().filter(|(name, value)| Some(&**name) != part && !value.is_empty());
        Self(labels.map(|(name, value)| (name.to_string(), value.to_string())).collect())
    }
}

/// A metric, as far as its samples were read.
#[derive(Default)]
pub(super) struct Group {
    /// Names and parts of the samples of this time.
    seen: HashSet<(String, String)>,
    /// The time of the last sample; none when it had none.
    last: Option<Option<f64>>,
    point: Point,
}

/// What of a metric stands at one time.
#[derive(Default)]
struct Point {
    line: u64,
    /// Bound and count of the last bucket.
    bucket: Option<(f64, f64)>,
    /// The last quantile.
    quantile: Option<f64>,
    /// The bucket that is everything.
    whole: Option<f64>,
    sum: Option<f64>,
    count: Option<f64>,
    has_negative_bounds: bool,
    has_total: bool,
}

impl Group {
    /// Takes a sample of the family `family`, whose name has this suffix.
    pub(super) fn take(
        &mut self,
        family: &str,
        suffix: &str,
        kind: Kind,
        sample: &Sample<'_>,
        complaints: &mut Complaints,
    ) {
        if kind.rules == Rules::OpenMetrics {
            self.order(family, kind, sample, complaints);
        }
        let part = kind.part(family).and_then(|part| sample.label(part)).unwrap_or("");
        let is_new = self.seen.insert((sample.name.to_string(), part.to_owned()));
        if !is_new && (kind.rules == Rules::Prometheus || sample.timestamp.is_none()) {
            complaints.add(format!("{}: the same series a second time", sample.name));
        }
        self.last = Some(sample.timestamp);
        self.point.line = complaints.line;
        if let Err(what) = self.point.take(family, suffix, kind, sample) {
            complaints.add(format!("{}: {what}", sample.name));
        }
    }

    /// Points of a metric have times or have none, and later ones follow.
    fn order(&mut self, family: &str, kind: Kind, sample: &Sample<'_>, complaints: &mut Complaints) {
        match (self.last, sample.timestamp) {
            (Some(Some(_)), None) | (Some(None), Some(_)) => {
                complaints.add(format!(
                    "{}: one sample of a metric has a timestamp, another has none",
                    sample.name
                ));
            }
            (Some(Some(before)), Some(now)) if now < before => {
                complaints.add(format!("{}: timestamps of a metric go back", sample.name));
            }
            _ => {}
        }
        if self.last.is_some_and(|last| last != sample.timestamp) {
            self.seen.clear();
            std::mem::take(&mut self.point).finish(family, kind, complaints);
        }
    }

    /// All of the metric was read.
    pub(super) fn finish(self, family: &str, kind: Kind, complaints: &mut Complaints) {
        self.point.finish(family, kind, complaints);
    }
}

impl Point {
    fn take(&mut self, family: &str, suffix: &str, kind: Kind, sample: &Sample<'_>) -> Result<(), String> {
        let value = sample.value;
        // A value that may not be is still there: what is told of it is not told of what follows from it.
        let said = match kind.rules {
            Rules::OpenMetrics => check_value(suffix, kind.kind, value),
            Rules::Prometheus => Ok(()),
        };
        let part = match suffix {
            "_bucket" => self.bucket(kind, sample),
            "" if kind.kind == MetricType::Summary => self.quantile(sample),
            "" if kind.kind == MetricType::StateSet && sample.label(family).is_none() => {
                Err(format!("a state without the label {family}"))
            }
            _ => Ok(()),
        };
        match suffix {
            "_sum" | "_gsum" => self.sum = Some(value),
            "_count" | "_gcount" => self.count = Some(value),
            "_total" => self.has_total = true,
            _ => {}
        }
        said.and(part)
    }

    fn bucket(&mut self, kind: Kind, sample: &Sample<'_>) -> Result<(), String> {
        let text = sample.label("le").ok_or("bucket without the label le")?;
        let bound = bound(kind.rules, text).ok_or_else(|| format!("le={text:?} is no bound"))?;
        self.has_negative_bounds |= bound < 0.0;
        if bound == f64::INFINITY {
            self.whole = Some(sample.value);
        }
        let before = self.bucket.replace((bound, sample.value));
        match before {
            Some((before, _)) if bound <= before => {
                Err("buckets are not in the order of their bounds".to_owned())
            }
            Some((_, count)) if sample.value < count => {
                Err("bucket holds less than the one before it".to_owned())
            }
            _ => Ok(()),
        }
    }

    fn quantile(&mut self, sample: &Sample<'_>) -> Result<(), String> {
        let text = sample.label("quantile").ok_or("neither a sum, a count nor the label quantile")?;
        let quantile = float::parse(text).filter(|quantile| (0.0..=1.0).contains(quantile));
        let quantile = quantile.ok_or_else(|| format!("quantile={text:?} is not between 0 and 1"))?;
        let before = self.quantile.replace(quantile);
        if before.is_some_and(|before| quantile <= before) {
            return Err("quantiles are not in their order".to_owned());
        }
        Ok(())
    }

    /// What is missing of a metric is told where its last sample stands.
    fn finish(self, family: &str, kind: Kind, complaints: &mut Complaints) {
        let is_text = kind.rules == Rules::Prometheus;
        let mut missing = |what: &str| complaints.add_at(self.line, format!("{family}: {what}"));
        match kind.kind {
            MetricType::Histogram | MetricType::GaugeHistogram => {}
            MetricType::Counter if !is_text && !self.has_total => {
                return missing("counter without its _total");
            }
            _ => return,
        }
        let is_gauge = kind.kind == MetricType::GaugeHistogram;
        let Some(whole) = self.whole else { return missing("histogram without a bucket le=\"+Inf\"") };
        if self.count.is_some_and(|count| count != whole) {
            missing("histogram whose count is not its bucket le=\"+Inf\"");
        }
        if self.has_negative_bounds && !is_text && !is_gauge {
            if self.sum.is_some() {
                missing("histogram with a negative bound and a sum, which is no counter then");
            }
        } else if is_text || self.sum.is_some() || self.count.is_some() {
            if self.sum.is_none() {
                missing("histogram without a sum");
            }
            if self.count.is_none() {
                missing("histogram without a count");
            }
        }
        if is_gauge && !self.has_negative_bounds && self.sum.is_some_and(|sum| sum < 0.0) {
            missing("gaugehistogram with a negative sum and no negative bound");
        }
    }
}

/// What OpenMetrics says of values.
fn check_value(suffix: &str, kind: MetricType, value: f64) -> Result<(), String> {
    let is_count = matches!(suffix, "_bucket" | "_count" | "_gcount");
    match suffix {
        "_total" | "_sum" | "_count" | "_bucket" | "_gsum" | "_gcount" | "_created" if value.is_nan() => {
            Err("counts and sums are not NaN".to_owned())
        }
        "_total" | "_sum" | "_count" | "_bucket" | "_gcount" | "_created" if value < 0.0 => {
            Err("counts and sums are not negative".to_owned())
        }
        _ if is_count && kind != MetricType::GaugeHistogram && value.fract() != 0.0 => {
            Err("counts are whole numbers".to_owned())
        }
        "_info" if value != 1.0 => Err("an info's value is 1".to_owned()),
        "" if kind == MetricType::StateSet && value != 0.0 && value != 1.0 => {
            Err("a state's value is 0 or 1".to_owned())
        }
        "" if kind == MetricType::Summary && value < 0.0 => Err("a quantile is not negative".to_owned()),
        _ => Ok(()),
    }
}

/// A bucket's bound: a number, or all.
fn bound(rules: Rules, text: &str) -> Option<f64> {
    match rules {
        Rules::Prometheus => float::parse(text).filter(|bound| !bound.is_nan()),
        Rules::OpenMetrics if text == "+Inf" => Some(f64::INFINITY),
        Rules::OpenMetrics => is_real(text).then(|| float::parse(text)).flatten(),
    }
}
