//! Series of metric events. Those of one event share its dimensions, so their labels are made only where the store does not
//! know the series: a body that multiplies names by dimensions stays as small as it was sent.

use std::borrow::Cow;
use std::ops::Range;

use codec::hash::key128;
use model::batch::{LabelSource, MakeLabels, Pair, SeriesRow};
use model::labels::{LabelError, METRIC_NAME};
use model::{Batch, Sample};

use crate::rows::{Full, Room, Rows, owned_bytes};

/// Keep keys of dimensions, and of names with them, apart from those of other lists.
const DIMENSIONS_DOMAIN: u64 = 0x7370_6c75_6e6b_2064;
const SERIES_DOMAIN: u64 = 0x7370_6c75_6e6b_2073;

/// Dimensions that an event may have: tenants may have at most half as many labels by default.
pub(super) const DIMENSIONS_MAX: usize = 256;

/// A request's series.
#[derive(Debug, Default)]
pub(super) struct Metrics<'a> {
    dimensions: Vec<Pair<'a>>,
    /// Names, and where in `dimensions` the event's are.
    series: Vec<(Cow<'a, str>, Range<usize>)>,
}

/// An event whose dimensions are known.
#[derive(Debug)]
pub(super) struct Dimensions {
    range: Range<usize>,
    key: u128,
}

impl<'a> Metrics<'a> {
    /// Takes an event's dimensions. Empty values are no labels.
    pub(super) fn dimensions(
        &mut self,
        room: &mut Room,
        seed: u64,
        pairs: impl Iterator<Item = Pair<'a>>,
    ) -> Result<Dimensions, Full> {
        let start = self.dimensions.len();
        let mut bytes = Vec::new();
        for (name, value) in pairs.filter(|(_, value)| !value.is_empty()) {
            room.take(size_of::<Pair<'_>>() + owned_bytes(&name) + owned_bytes(&value))?;
            for text in [&name, &value] {
                bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
                bytes.extend_from_slice(text.as_bytes());
            }
            self.dimensions.push((name, value));
        }
        let key = key128(seed ^ DIMENSIONS_DOMAIN, &bytes);
        Ok(Dimensions { range: start..self.dimensions.len(), key })
    }

    /// Keeps a sample of a metric with an event's dimensions.
    pub(super) fn push(
        &mut self,
        batch: &mut Batch<'a>,
        room: &mut Room,
        of: &Dimensions,
        name: Cow<'a, str>,
        sample: Sample,
    ) -> Result<(), Full> {
        room.take(size_of::<SeriesRow<'_>>() + size_of::<Sample>() + 48 + owned_bytes(&name))?;
        let rows = Rows::begin(batch);
        batch.samples.push(sample);
        let key = key128(batch.seed ^ SERIES_DOMAIN, &[&of.key.to_le_bytes(), name.as_bytes()].concat());
        let number = u32::try_from(self.series.len()).map_err(|_| Full)?;
        rows.keep(batch, LabelSource::Made(number), key);
        self.series.push((name, of.range.clone()));
        Ok(())
    }

    /// Hands the labels over to the batch that has the rows.
    pub(super) fn finish(self, batch: &mut Batch<'a>) {
        batch.source = Some(Box::new(self));
    }
}

impl MakeLabels for Metrics<'_> {
    fn make<'b>(&'b self, number: u32, pairs: &mut Vec<Pair<'b>>) -> Result<(), LabelError> {
        let (name, range) = &self.series[number as usize];
        pairs.push((METRIC_NAME.into(), name.as_ref().into()));
        let dimensions = self.dimensions[range.clone()].iter();
        pairs.extend(dimensions.map(|(name, value)| (name.as_ref().into(), value.as_ref().into())));
        Ok(())
    }
}
