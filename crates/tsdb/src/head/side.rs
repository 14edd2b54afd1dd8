//! What is rare beside floats: histograms, exemplars, start timestamps of the head's series.

use std::sync::Arc;

use foldhash::HashMap;
use model::Histogram;
use model::batch::{Exemplar, HistogramSample};

/// One series' rare things, in order of arrival.
#[derive(Clone, Debug, Default)]
pub(crate) struct Side {
    /// With the log position that the next float got when the histogram came: orders them among each other.
    pub(crate) histograms: Vec<(u64, HistogramSample)>,
    pub(crate) exemplars: Vec<Exemplar>,
    /// Log position of a float and its start timestamp.
    pub(crate) starts: Vec<(u64, i64)>,
}

/// By slot.
pub(crate) type SideMap = HashMap<u32, Side>;

/// The part that is written now and the part that a flush is writing to a block.
#[derive(Default)]
pub(crate) struct Sides {
    active: SideMap,
    frozen: Option<Arc<SideMap>>,
    active_bytes: u64,
    frozen_bytes: u64,
}

/// Bytes that a histogram takes beside its bucket counts.
const HISTOGRAM_BYTES: u64 = 200;

/// Largest native histogram, in bytes of memory: some 60,000 buckets. It must fit in a frame of the log.
pub(crate) const HISTOGRAM_BYTES_MAX: u64 = 512 << 10;

impl Sides {
    /// The series' part that takes new things.
    pub(crate) fn of(&mut self, slot: u32) -> &mut Side {
        self.active.entry(slot).or_default()
    }

    /// Adds to the estimate of bytes held.
    pub(crate) fn charge(&mut self, bytes: u64) {
        self.active_bytes += bytes;
    }

    /// Sets everything so far aside for a flush. What an earlier, failed flush had set aside stays with it.
    pub(crate) fn freeze(&mut self) -> Arc<SideMap> {
        let active = std::mem::take(&mut self.active);
        self.frozen_bytes += std::mem::take(&mut self.active_bytes);
        let frozen = self.frozen.get_or_insert_default();
        if !active.is_empty() {
            let all = Arc::make_mut(frozen);
            for (slot, side) in active {
                let into = all.entry(slot).or_default();
                into.histograms.extend(side.histograms);
                into.exemplars.extend(side.exemplars);
                into.starts.extend(side.starts);
            }
        }
        frozen.clone()
    }

    /// Forgets what was set aside: it is in a block.
    pub(crate) fn flushed(&mut self) {
        self.frozen = None;
        self.frozen_bytes = 0;
    }

    /// A series' rare things, both parts in order.
    pub(crate) fn get(&self, slot: u32) -> Option<Side> {
        let frozen = self.frozen.as_ref().and_then(|map| map.get(&slot));
        match (frozen, self.active.get(&slot)) {
            (None, None) => None,
            (Some(side), None) | (None, Some(side)) => Some(side.clone()),
            (Some(old), Some(new)) => {
                let mut both = old.clone();
                both.histograms.extend(new.histograms.iter().cloned());
                both.exemplars.extend(new.exemplars.iter().cloned());
                both.starts.extend(new.starts.iter().copied());
                Some(both)
            }
        }
    }

    /// Whether a series has anything here.
    pub(crate) fn contains(&self, slot: u32) -> bool {
        self.active.contains_key(&slot) || self.frozen.as_ref().is_some_and(|map| map.contains_key(&slot))
    }

    /// Whether nothing is here.
    pub(crate) fn is_empty(&self) -> bool {
        self.active.is_empty() && self.frozen.is_none()
    }

    /// Calls `each` with the slot and the time of every histogram.
    pub(crate) fn each_time(&self, mut each: impl FnMut(u32, i64)) {
        let maps = [Some(&self.active), self.frozen.as_deref()];
        for (slot, side) in maps.into_iter().flatten().flatten() {
            side.histograms.iter().for_each(|(_, sample)| each(*slot, sample.timestamp_ms));
        }
    }

    /// Bytes of both parts, estimated.
    pub(crate) fn bytes(&self) -> u64 {
        self.active_bytes + self.frozen_bytes
    }
}

/// Bytes that a histogram takes in memory, estimated.
pub(crate) fn histogram_bytes(sample: &HistogramSample) -> u64 {
    value_bytes(&sample.histogram)
}

/// As well, without the sample's times.
pub(crate) fn value_bytes(h: &Histogram) -> u64 {
    let buckets = match &h.counts {
        model::histogram::BucketCounts::Integer { positive, negative, .. } => positive.len() + negative.len(),
        model::histogram::BucketCounts::Float { positive, negative, .. } => positive.len() + negative.len(),
    };
    let spans = h.positive_spans.len() + h.negative_spans.len();
    HISTOGRAM_BYTES + 8 * (buckets + spans + h.custom_bounds.len()) as u64
}

/// Bytes that an exemplar takes in memory, estimated.
pub(crate) fn exemplar_bytes(exemplar: &Exemplar) -> u64 {
    64 + exemplar.labels.iter().map(|(n, v)| (n.len() + v.len() + 64) as u64).sum::<u64>()
}
