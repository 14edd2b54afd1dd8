//! A series' samples as the store gives them.

use std::sync::Arc;

use model::select::HistogramPoint;
use model::{Histogram, SeriesBlock};

/// The rows of one series of a block.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    timestamps: &'a [i64],
    values: &'a [f64],
    histograms: &'a [HistogramPoint],
    /// The row of the block that is this one's first.
    first: usize,
}

/// A sample.
#[derive(Clone, Copy, Debug)]
pub enum Row<'a> {
    /// Time in ms and value.
    Float(i64, f64),
    /// The same.
    Histogram(i64, &'a Arc<Histogram>),
}

impl<'a> Rows<'a> {
    /// Without samples.
    pub const NONE: Rows<'static> = Rows { timestamps: &[], values: &[], histograms: &[], first: 0 };

    /// The rows of the block's series with this number.
    pub fn of(block: &'a SeriesBlock, number: usize) -> Self {
        let rows = block.offsets[number] as usize..block.offsets[number + 1] as usize;
        let histograms = &block.columns.histograms;
        let from = histograms.partition_point(|point| (point.row as usize) < rows.start);
        let to = histograms.partition_point(|point| (point.row as usize) < rows.end);
        Self {
            timestamps: &block.columns.timestamps[rows.clone()],
            values: &block.columns.values[rows.clone()],
            histograms: &histograms[from..to],
            first: rows.start,
        }
    }

    /// How many samples there are.
    pub fn len(&self) -> usize {
        self.timestamps.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.timestamps.is_empty()
    }

    /// The histograms alone.
    pub fn histograms(&self) -> impl Iterator<Item = &'a Arc<Histogram>> + use<'a> {
        self.histograms.iter().map(|point| &point.histogram)
    }

    /// The samples by time.
    pub fn iter(&self) -> impl Iterator<Item = Row<'a>> + use<'a> {
        let Self { timestamps, values, first, .. } = *self;
        let mut histograms = self.histograms.iter().peekable();
        timestamps.iter().zip(values).enumerate().map(move |(row, (ms, value))| {
            match histograms.next_if(|point| point.row as usize == first + row) {
                Some(point) => Row::Histogram(*ms, &point.histogram),
                None => Row::Float(*ms, *value),
            }
        })
    }
}
