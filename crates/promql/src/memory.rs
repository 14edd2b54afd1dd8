//! A source in memory: a few series in a list, for tests and examples.

use std::sync::Arc;

use model::select::HistogramPoint;
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

    fn block(&self, at: usize, range: TimeRange, budget: &Budget) -> Result<SeriesBlock, SourceError> {
        let samples = &self.series[at].1;
        let from = samples.partition_point(|s| s.time_ms < range.start_ms);
        let to = samples.partition_point(|s| s.time_ms <= range.end_ms).max(from);
        budget.charge((to - from) as u64 * size_of::<MemorySample>() as u64)?;
        let mut block = SeriesBlock {
            series: vec![SeriesRef(at as u64)],
            offsets: vec![0, (to - from) as u32],
            ..SeriesBlock::default()
        };
        for (row, sample) in samples[from..to].iter().enumerate() {
            block.timestamps.push(sample.time_ms);
            block.starts.push(sample.start_ms);
            match &sample.value {
                MemoryValue::Float(value) => block.values.push(*value),
                MemoryValue::Histogram(histogram) => {
                    block.values.push(0.0);
                    let histogram = Arc::clone(histogram);
                    block.histograms.push(HistogramPoint { row: row as u32, histogram });
                }
            }
        }
        Ok(block)
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
        Ok(Box::new(MemorySet { source: self, found, next: 0, range, budget }))
    }
}

struct MemorySet<'a> {
    source: &'a MemorySource,
    found: Vec<usize>,
    next: usize,
    range: TimeRange,
    budget: &'a Budget,
}

impl SeriesSet for MemorySet<'_> {
    fn next_block(&mut self) -> Result<Option<SeriesBlock>, SourceError> {
        while let Some(at) = self.found.get(self.next) {
            self.next += 1;
            let block = self.source.block(*at, self.range, self.budget)?;
            if !block.timestamps.is_empty() {
                return Ok(Some(block));
            }
        }
        Ok(None)
    }

    fn labels(&self, series: SeriesRef) -> Result<Labels, SourceError> {
        let labels = usize::try_from(series.0).ok().and_then(|at| self.source.series.get(at));
        labels.map(|(labels, _)| labels.clone()).ok_or_else(|| SourceError::Storage("unknown series".into()))
    }
}
