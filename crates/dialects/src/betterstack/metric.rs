//! One metric as it is read: Better Stack's own forms, and those in which Vector's `http` sink writes its metrics.
//!
//! Fields come in any order, so what a metric is is known when all of it was read. The first thing that is wrong with it
//! stays, and costs the metric alone.

use std::borrow::Cow;

use model::Reason;

use super::moment::Moment;
use super::tree::{Tree, Value};
use crate::Malformed;
use crate::rows::Room;

/// Bytes that a bucket, quantile or sample takes while it is looked at.
const POINT_BYTES: usize = 2 * size_of::<(f64, f64)>();

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// `gauge: {value}`
    Gauge,
    /// `counter: {value}`
    Counter,
    /// `histogram: {count, sum, buckets: [{upper_limit, count}]}`, also as `aggregated_histogram`.
    Histogram,
    /// `summary: {count, sum, quantiles: [{quantile, value}]}`, also as `aggregated_summary`.
    Summary,
    /// `set: {values: [...]}`
    Set,
    /// `distribution: {samples: [{value, rate}], statistic: "histogram"}`
    Distribution,
    /// The same with `statistic: "summary"`.
    DistributionSummary,
}

impl Form {
    fn of(key: &str) -> Option<Self> {
        Some(match key {
            "gauge" => Self::Gauge,
            "counter" => Self::Counter,
            "histogram" | "aggregated_histogram" => Self::Histogram,
            "summary" | "aggregated_summary" => Self::Summary,
            "set" => Self::Set,
            "distribution" => Self::Distribution,
            _ => return None,
        })
    }

    /// The fields that it cannot be without, as bits of [`Draft::seen`].
    fn required(self) -> u8 {
        match self {
            Self::Gauge | Self::Counter => VALUE,
            Self::Histogram | Self::Summary => COUNT | SUM | POINTS,
            Self::Set | Self::Distribution | Self::DistributionSummary => POINTS,
        }
    }

    fn incomplete(self) -> &'static str {
        match self {
            Self::Gauge => "a gauge has a `value`",
            Self::Counter => "a counter has a `value`",
            Self::Histogram => "a histogram has `count`, `sum` and `buckets`",
            Self::Summary => "a summary has `count`, `sum` and `quantiles`",
            Self::Set => "a set has `values`",
            Self::Distribution | Self::DistributionSummary => "a distribution has `samples`",
        }
    }
}

const VALUE: u8 = 1;
const COUNT: u8 = 2;
const SUM: u8 = 4;
const POINTS: u8 = 8;

/// What is wrong with a metric.
pub(super) type Fault = (Reason, &'static str);

/// A metric as far as it was read.
#[derive(Debug, Default)]
pub(super) struct Draft<'a> {
    /// Its name.
    pub(super) name: Option<Cow<'a, str>>,
    /// What stands before its name.
    pub(super) namespace: Cow<'a, str>,
    /// Its tags, a map as it lies in the body.
    pub(super) tags: &'a [u8],
    /// Its time.
    pub(super) moment: Moment,
    /// How long it took, in ms; 0 = not said.
    pub(super) interval_ms: i64,
    /// Whether it says what was added since the one before.
    pub(super) is_delta: bool,
    /// What it is.
    pub(super) form: Option<Form>,
    /// Its value, where it has one; the number of elements of a set.
    pub(super) value: f64,
    /// How many observations it has.
    pub(super) count: f64,
    /// What they come to.
    pub(super) sum: f64,
    seen: u8,
    fault: Option<Fault>,
}

impl<'a> Draft<'a> {
    /// What is wrong with it, now that it was read.
    pub(super) fn fault(&self) -> Option<Fault> {
        let nameless = || {
            let name = self.name.as_deref().unwrap_or("");
            name.is_empty().then_some((Reason::MissingName, "no `name`"))
        };
        let form = || match self.form {
            None => Some((Reason::InvalidSeries, "neither gauge, counter, histogram nor summary")),
            Some(form) => {
                let required = form.required();
                (self.seen & required != required).then(|| (Reason::InvalidSeries, form.incomplete()))
            }
        };
        self.fault.or_else(nameless).or_else(form)
    }

    /// Whether it was meant as a metric: it has a name and some form.
    pub(super) fn is_metric(&self) -> bool {
        self.name.is_some() && self.form.is_some()
    }

    #[cold]
    fn refuse(&mut self, reason: Reason, what: &'static str) {
        self.fault.get_or_insert((reason, what));
    }

    /// Reads the value of the field `key`. Buckets, quantiles and samples go to `points`.
    pub(super) fn field<T: Tree<'a>>(
        &mut self,
        tree: &mut T,
        key: &str,
        points: &mut Vec<(f64, f64)>,
        room: &mut Room,
    ) -> Result<(), Malformed> {
        match key {
            "name" => match tree.scalar()? {
                Value::Text(name) => self.name = Some(name),
                _ => self.refuse(Reason::MissingName, "`name` is no text"),
            },
            "namespace" => match tree.scalar()? {
                Value::Text(namespace) => self.namespace = namespace,
                Value::Null => {}
                _ => self.refuse(Reason::InvalidLabels, "`namespace` is no text"),
            },
            "tags" => {
                let start = tree.start();
                let value = tree.scalar()?;
                match value {
                    Value::Map(_) => self.tags = tree.since(start),
                    Value::Null => self.tags = &[],
                    _ => self.refuse(Reason::InvalidLabels, "`tags` is no map"),
                }
            }
            "dt" | "timestamp" => {
                let moment = Moment::of(&tree.scalar()?);
                if moment != Moment::Unsaid {
                    self.moment = moment;
                }
            }
            "interval_ms" => {
                let interval = tree.scalar()?.number().unwrap_or(0.0);
                self.interval_ms = interval.max(0.0) as i64;
            }
            "kind" => match tree.scalar()? {
                Value::Text(kind) if kind == "incremental" => self.is_delta = true,
                Value::Text(kind) if kind == "absolute" => self.is_delta = false,
                Value::Null => {}
                _ => self.refuse(Reason::InvalidSeries, "`kind` is neither absolute nor incremental"),
            },
            "sketch" => {
                if let Value::Map(_) = tree.scalar()? {
                    self.form = Some(Form::Distribution);
                    self.refuse(
                        Reason::InvalidSeries,
                        "sketches are not taken: send distributions or histograms",
                    );
                }
            }
            _ => match Form::of(key) {
                Some(form) => self.content(tree, form, points, room)?,
                None => drop(tree.scalar()?),
            },
        }
        Ok(())
    }

    /// Reads what stands under a form's name.
    fn content<T: Tree<'a>>(
        &mut self,
        tree: &mut T,
        form: Form,
        points: &mut Vec<(f64, f64)>,
        room: &mut Room,
    ) -> Result<(), Malformed> {
        let length = match tree.value()? {
            Value::Map(length) => length,
            Value::Null => return Ok(()),
            other => {
                tree.skip(&other)?;
                self.refuse(Reason::InvalidSeries, "what stands under its type is no map");
                return Ok(());
            }
        };
        if self.form.is_some_and(|before| before != form) {
            self.refuse(Reason::InvalidSeries, "more than one of gauge, counter, histogram, summary");
        }
        (self.form, self.seen) = (Some(form), 0);
        points.clear();
        tree.map(length, |tree, key| match (form, key.as_ref()) {
            (Form::Gauge | Form::Counter, "value") => {
                self.value = self.number(&tree.scalar()?, VALUE);
                Ok(())
            }
            (Form::Histogram | Form::Summary, "count") => {
                self.count = self.number(&tree.scalar()?, COUNT);
                Ok(())
            }
            (Form::Histogram | Form::Summary, "sum") => {
                self.sum = self.number(&tree.scalar()?, SUM);
                Ok(())
            }
            (Form::Histogram, "buckets") => self.points(tree, "upper_limit", "count", points, room),
            (Form::Summary, "quantiles") => self.points(tree, "quantile", "value", points, room),
            (Form::Distribution, "samples") => self.points(tree, "value", "rate", points, room),
            (Form::Distribution, "statistic") => {
                if matches!(tree.scalar()?, Value::Text(statistic) if statistic == "summary") {
                    self.form = Some(Form::DistributionSummary);
                }
                Ok(())
            }
            (Form::Set, "values") => self.elements(tree),
            _ => tree.scalar().map(drop),
        })
    }

    /// The number that `value` is; the field `bit` is there then.
    fn number(&mut self, value: &Value<'_>, bit: u8) -> f64 {
        match value.number() {
            Some(number) => {
                self.seen |= bit;
                number
            }
            None => {
                if *value != Value::Null {
                    self.refuse(Reason::InvalidValue, "a value is no number");
                }
                0.0
            }
        }
    }

    /// Reads a list of maps of two numbers.
    fn points<T: Tree<'a>>(
        &mut self,
        tree: &mut T,
        first: &str,
        second: &str,
        points: &mut Vec<(f64, f64)>,
        room: &mut Room,
    ) -> Result<(), Malformed> {
        points.clear();
        let length = match tree.value()? {
            Value::List(length) => length,
            other => return tree.skip(&other),
        };
        self.seen |= POINTS;
        tree.list(length, |tree| {
            room.take(POINT_BYTES).map_err(|full| tree.full(full))?;
            let (mut point, length) = ((None, None), tree.value()?);
            match length {
                Value::Map(length) => tree.map(length, |tree, key| {
                    let value = tree.scalar()?;
                    match key.as_ref() {
                        key if key == first => point.0 = value.number(),
                        key if key == second => point.1 = value.number(),
                        _ => {}
                    }
                    Ok(())
                })?,
                other => tree.skip(&other)?,
            }
            match point {
                (Some(first), Some(second)) if !first.is_nan() => points.push((first, second)),
                _ => self.refuse(Reason::InvalidValue, "a bucket, quantile or sample is not two numbers"),
            }
            Ok(())
        })
    }

    /// Counts a set's elements.
    fn elements<T: Tree<'a>>(&mut self, tree: &mut T) -> Result<(), Malformed> {
        let length = match tree.value()? {
            Value::List(length) => length,
            other => return tree.skip(&other),
        };
        let mut count = 0.0;
        tree.list(length, |tree| {
            count += 1.0;
            tree.scalar().map(drop)
        })?;
        self.seen |= POINTS;
        self.value = count;
        Ok(())
    }
}
