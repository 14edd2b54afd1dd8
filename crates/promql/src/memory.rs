//! A source in memory: a few series in a list, for tests and examples.

use std::collections::VecDeque;
use std::sync::Arc;

use model::select::{Columns, HistogramPoint};
use model::{Budget, Hints, Histogram, Labels, Matcher, SeriesBlock, SeriesRef, TimeRange};

use crate::source::{SeriesSet, Source, SourceError};

/// One sample as it is put in.
#[derive(Clone, Debug)]
pub enum MemoryValue {
    /// A float.
    Float(f64),
    /// A native histogram.
    Histogram(Arc<Histogram>),
}

impl MemoryValue {
    fn histogram(&self) -> Option<&Histogram> {
        match self {
            Self::Float(_) => None,
            Self::Histogram(histogram) => Some(histogram),
        }
    }
}

#[derive(Clone, Debug)]
struct MemorySample {
    time_ms: i64,
    start_ms: i64,
    value: MemoryValue,
}

/// Series in memory. A selection looks at each of them.
#[derive(Clone, Debug, Default)]
pub struct MemorySource {
    series: Vec<(Labels, Vec<MemorySample>)>,
}

impl MemorySource {
    /// Without series.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a float.
    pub fn push(&mut self, labels: &Labels, time_ms: i64, value: f64) {
        self.push_value(labels, time_ms, 0, MemoryValue::Float(value));
    }

    /// Adds a sample with its start time (0 = unknown). One of the same series and time is replaced.
    pub fn push_value(&mut self, labels: &Labels, time_ms: i64, start_ms: i64, value: MemoryValue) {
        let at = match self.series.iter().rposition(|(other, _)| other == labels) {
            Some(at) => at,
            None => {
                self.series.push((labels.clone(), Vec::new()));
                self.series.len() - 1
            }
        };
        let samples = &mut self.series[at].1;
        let sample = MemorySample { time_ms, start_ms, value };
        match samples.binary_search_by_key(&time_ms, |s| s.time_ms) {
            Ok(at) => samples[at] = sample,
            Err(at) => samples.insert(at, sample),
        }
    }

    fn read(
        &self,
        at: usize,
        range: TimeRange,
        budget: &Budget,
        into: &mut Columns,
    ) -> Result<(), SourceError> {
        let samples = &self.series[at].1;
        let from = samples.partition_point(|s| s.time_ms < range.start_ms);
        let to = samples.partition_point(|s| s.time_ms <= range.end_ms).max(from);
        budget.charge((to - from) as u64 * size_of::<MemorySample>() as u64)?;
        for (at, sample) in (from..).zip(&samples[from..to]) {
            let row = into.timestamps.len() as u32;
            into.timestamps.push(sample.time_ms);
            into.starts.push(sample.start_ms);
            match &sample.value {
                MemoryValue::Float(value) => into.values.push(*value),
                MemoryValue::Histogram(histogram) => {
                    into.values.push(0.0);
                    let previous = at.checked_sub(1).and_then(|at| samples[at].value.histogram());
                    let hint = histogram.hint_after(previous);
                    into.histograms.push(HistogramPoint { row, histogram: Arc::clone(histogram), hint });
                }
            }
        }
        Ok(())
    }
}

impl Source for MemorySource {
    fn select<'a>(
        &'a self,
        matchers: &[Matcher],
        range: TimeRange,
        _: &Hints,
        budget: &'a Budget,
    ) -> Result<Box<dyn SeriesSet + 'a>, SourceError> {
        let fits =
            |labels: &Labels| matchers.iter().all(|m| m.matches(labels.get(&m.name).unwrap_or_default()));
        let found = (0..self.series.len()).filter(|at| fits(&self.series[*at].0)).collect();
        Ok(Box::new(MemorySet { source: self, found, range, budget }))
    }
}

struct MemorySet<'a> {
    source: &'a MemorySource,
    found: VecDeque<usize>,
    range: TimeRange,
    budget: &'a Budget,
}

impl SeriesSet for MemorySet<'_> {
    fn next_block(&mut self, block: &mut SeriesBlock) -> Result<bool, SourceError> {
        block.clear();
        while let Some(at) = self.found.pop_front() {
            self.source.read(at, self.range, self.budget, &mut block.columns)?;
            if !block.columns.timestamps.is_empty() {
                block.end_series(SeriesRef(at as u64));
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn labels(&mut self, series: SeriesRef) -> Result<Option<Labels>, SourceError> {
        let labels = usize::try_from(series.0).ok().and_then(|at| self.source.series.get(at));
        let unknown = || SourceError::Storage("unknown series".into());
        labels.map(|(labels, _)| Some(labels.clone())).ok_or_else(unknown)
    }

    fn series_left(&self) -> usize {
        self.found.len()
    }

    fn split<'a>(self: Box<Self>, parts: usize) -> Vec<Box<dyn SeriesSet + 'a>>
    where
        Self: 'a,
    {
        let Self { source, found, range, budget } = *self;
        let share = found.len().div_ceil(parts.max(1)).max(1);
        let found = Vec::from(found);
        let part = |found: &[usize]| -> Box<dyn SeriesSet + 'a> {
            Box::new(MemorySet { source, found: found.iter().copied().collect(), range, budget })
        };
        if found.is_empty() { vec![part(&[])] } else { found.chunks(share).map(part).collect() }
    }
}
