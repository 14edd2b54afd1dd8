//! What is evaluated: series as columns with one place for each step.
//!
//! A place without a sample holds the stale marker. Stale markers end a series at the selector and no arithmetic
//! makes one, so within the evaluator the pattern is free; a column is then one plain vector of floats.

use std::sync::Arc;

use model::select::Stop;
use model::{Budget, Labels, STALE_NAN_BITS};

use crate::eval::{Options, without_name};
use crate::histogram::FloatHistogram;

/// A place without a sample.
pub(crate) const ABSENT: f64 = f64::from_bits(STALE_NAN_BITS);

pub(crate) fn is_absent(value: f64) -> bool {
    value.to_bits() == STALE_NAN_BITS
}

/// A sample's value.
#[derive(Clone, Debug, PartialEq)]
pub enum Point {
    /// A float.
    Float(f64),
    /// A native histogram.
    Histogram(Arc<FloatHistogram>),
}

/// The evaluation times of an expression: `count` of them, `step_ms` apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Steps {
    pub(crate) start_ms: i64,
    pub(crate) step_ms: i64,
    pub(crate) count: usize,
}

impl Steps {
    /// From the first time to the last, both included.
    pub(crate) fn between(start_ms: i64, end_ms: i64, step_ms: i64) -> Self {
        let step_ms = step_ms.max(1);
        let span = end_ms.checked_sub(start_ms).filter(|span| *span >= 0);
        Self { start_ms, step_ms, count: span.map_or(0, |span| (span / step_ms) as usize + 1) }
    }

    pub(crate) fn at(&self, step: usize) -> i64 {
        self.start_ms + self.step_ms * step as i64
    }

    pub(crate) fn last_ms(&self) -> i64 {
        self.at(self.count.saturating_sub(1))
    }

    pub(crate) fn first_only(&self) -> Self {
        Self { count: self.count.min(1), ..*self }
    }

    pub(crate) fn times(&self) -> impl Iterator<Item = i64> {
        let steps = *self;
        (0..steps.count).map(move |step| steps.at(step))
    }
}

/// One value, or none, for each step.
#[derive(Clone, Debug, Default)]
pub(crate) struct Column {
    /// Floats; [`ABSENT`] where there is none.
    pub(crate) floats: Vec<f64>,
    /// Histograms, where the series has any: as long as `floats` or empty. A place never holds both.
    pub(crate) histograms: Vec<Option<Arc<FloatHistogram>>>,
}

impl Column {
    pub(crate) fn absent(steps: usize) -> Self {
        Self { floats: vec![ABSENT; steps], histograms: Vec::new() }
    }

    /// Makes every place absent, keeps the memory.
    pub(crate) fn reset(&mut self, steps: usize) {
        self.floats.clear();
        self.floats.resize(steps, ABSENT);
        self.histograms.clear();
    }

    pub(crate) fn of(floats: Vec<f64>) -> Self {
        Self { floats, histograms: Vec::new() }
    }

    pub(crate) fn histogram(&self, step: usize) -> Option<&Arc<FloatHistogram>> {
        self.histograms.get(step).and_then(Option::as_ref)
    }

    pub(crate) fn get(&self, step: usize) -> Option<Point> {
        if let Some(histogram) = self.histogram(step) {
            return Some(Point::Histogram(Arc::clone(histogram)));
        }
        Some(self.floats[step]).filter(|value| !is_absent(*value)).map(Point::Float)
    }

    pub(crate) fn is_present(&self, step: usize) -> bool {
        !is_absent(self.floats[step]) || self.histogram(step).is_some()
    }

    pub(crate) fn set(&mut self, step: usize, point: Point) {
        match point {
            Point::Float(value) => {
                self.floats[step] = value;
                if let Some(place) = self.histograms.get_mut(step) {
                    *place = None;
                }
            }
            Point::Histogram(histogram) => {
                self.histograms.resize(self.floats.len(), None);
                self.histograms[step] = Some(histogram);
                self.floats[step] = ABSENT;
            }
        }
    }

    pub(crate) fn clear(&mut self, step: usize) {
        self.floats[step] = ABSENT;
        if let Some(place) = self.histograms.get_mut(step) {
            *place = None;
        }
    }

    pub(crate) fn has_any(&self) -> bool {
        self.floats.iter().any(|value| !is_absent(*value)) || self.histograms.iter().any(Option::is_some)
    }

    /// What its histograms take. One that stands at several steps in a row is one.
    fn histogram_bytes(&self) -> usize {
        let mut last: Option<&Arc<FloatHistogram>> = None;
        let mut bytes = self.histograms.len() * size_of::<Option<Arc<FloatHistogram>>>();
        for histogram in self.histograms.iter().flatten() {
            if !last.is_some_and(|last| Arc::ptr_eq(last, histogram)) {
                bytes += histogram.bytes();
            }
            last = Some(histogram);
        }
        bytes
    }

    /// How many places have a sample.
    pub(crate) fn count(&self) -> usize {
        let floats = self.floats.iter().filter(|value| !is_absent(**value)).count();
        floats + self.histograms.iter().flatten().count()
    }

    /// The samples with their steps.
    pub(crate) fn points(&self) -> impl Iterator<Item = (usize, Point)> {
        (0..self.floats.len()).filter_map(|step| self.get(step).map(|point| (step, point)))
    }

    /// Applies a function to all floats and forgets the histograms.
    pub(crate) fn map_floats(&mut self, function: impl Fn(f64) -> f64) {
        self.histograms = Vec::new();
        for value in &mut self.floats {
            if !is_absent(*value) {
                *value = function(*value);
            }
        }
    }

    /// Takes the samples of another column over; false when both have one at the same step.
    pub(crate) fn take_over(&mut self, other: &Column) -> bool {
        let mut disjoint = true;
        for (step, point) in other.points() {
            disjoint &= !self.is_present(step);
            self.set(step, point);
        }
        disjoint
    }

    /// The first place, at every step.
    pub(crate) fn repeat_first(&self, steps: usize) -> Self {
        let histograms = match self.histogram(0) {
            Some(histogram) => vec![Some(Arc::clone(histogram)); steps],
            None => Vec::new(),
        };
        Self { floats: vec![self.floats[0]; steps], histograms }
    }
}

/// A series of an intermediate result.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) labels: Labels,
    /// The name is to be removed at the end (only where that is delayed).
    pub(crate) drop_name: bool,
    pub(crate) column: Column,
}

impl Row {
    pub(crate) fn new(labels: Labels, column: Column) -> Self {
        Self { labels, drop_name: false, column }
    }

    /// Takes the name from the series, or marks it for that at the end.
    pub(crate) fn lose_name(&mut self, options: Options) {
        self.drop_name = true;
        if !options.delayed_name_removal {
            self.labels = without_name(&self.labels);
        }
    }
}

/// What a label set takes.
pub(crate) fn labels_bytes(labels: &Labels) -> usize {
    // Two counters in front of the text, rounded up by the allocator.
    labels.as_canonical().len() + 32
}

/// Bytes taken from a budget for as long as this lives.
#[derive(Debug)]
pub(crate) struct Charge<'b> {
    budget: &'b Budget,
    bytes: u64,
}

impl<'b> Charge<'b> {
    pub(crate) fn none(budget: &'b Budget) -> Self {
        Self { budget, bytes: 0 }
    }

    pub(crate) fn add(&mut self, bytes: usize) -> Result<(), Stop> {
        self.budget.charge(bytes as u64)?;
        self.bytes += bytes as u64;
        Ok(())
    }

    /// For one more series of so many steps.
    pub(crate) fn add_row(&mut self, steps: usize) -> Result<(), Stop> {
        self.add(steps.saturating_mul(size_of::<f64>()).saturating_add(size_of::<Row>()))
    }

    pub(crate) fn absorb(&mut self, mut other: Charge<'b>) {
        self.bytes += std::mem::take(&mut other.bytes);
    }
}

impl Drop for Charge<'_> {
    fn drop(&mut self) {
        self.budget.release(self.bytes);
    }
}

/// Series of an intermediate result, and what they weigh.
#[derive(Debug)]
pub(crate) struct Rows<'b> {
    pub(crate) rows: Vec<Row>,
    pub(crate) charge: Charge<'b>,
}

impl<'b> Rows<'b> {
    pub(crate) fn none(budget: &'b Budget) -> Self {
        Self { rows: Vec::new(), charge: Charge::none(budget) }
    }

    /// The series of all parts, one part behind the other.
    pub(crate) fn of_parts(budget: &'b Budget, parts: Vec<Rows<'b>>) -> Self {
        let mut parts = parts.into_iter();
        let mut all = parts.next().unwrap_or_else(|| Self::none(budget));
        for part in parts {
            all.rows.extend(part.rows);
            all.charge.absorb(part.charge);
        }
        all
    }

    pub(crate) fn push(&mut self, row: Row) -> Result<(), Stop> {
        self.charge.add_row(row.column.floats.len())?;
        self.push_charged(row)
    }

    /// Adds a series whose places were charged before they were filled: what remains are its labels and histograms.
    pub(crate) fn push_charged(&mut self, row: Row) -> Result<(), Stop> {
        self.charge.add(labels_bytes(&row.labels) + row.column.histogram_bytes())?;
        self.rows.push(row);
        Ok(())
    }
}
