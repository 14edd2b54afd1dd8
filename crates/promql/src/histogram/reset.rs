//! Was the counter behind a histogram reset before this sample?

use model::histogram::ResetHint;
use model::histogram::buckets::{common_bounds, rebound};

use crate::histogram::{Buckets, FloatHistogram};

impl FloatHistogram {
    /// Whether the counter was reset between `previous` and this sample: its hint says so, or something shrank, or
    /// the buckets became finer, which only a new start can do.
    pub(crate) fn is_reset_from(&self, previous: &Self) -> bool {
        match self.reset_hint {
            ResetHint::Reset => return true,
            ResetHint::NotReset => return false,
            ResetHint::Unknown | ResetHint::Gauge => {}
        }
        if self.count < previous.count {
            return true;
        }
        if self.has_custom_bounds() {
            if !previous.has_custom_bounds() {
                return true;
            }
            if self.custom_bounds != previous.custom_bounds {
                let common = common_bounds(&self.custom_bounds, &previous.custom_bounds);
                let now = rebound(&self.positive, &self.custom_bounds, &common);
                return shrank(&now, &rebound(&previous.positive, &previous.custom_bounds, &common));
            }
            return shrank(&self.positive, &previous.positive);
        }
        if self.schema > previous.schema || self.zero_threshold < previous.zero_threshold {
            return true;
        }
        let (zero_count, threshold) = previous.zero_count_within(self.zero_threshold);
        if threshold != self.zero_threshold || self.zero_count < zero_count {
            return true;
        }
        let mut before = previous.clone();
        before.widen_zero_bucket(self.zero_threshold);
        before.coarsen(self.schema);
        shrank(&self.positive, &before.positive) || shrank(&self.negative, &before.negative)
    }
}

/// Whether any bucket holds less than before.
fn shrank(now: &Buckets, before: &Buckets) -> bool {
    let mut now = now.iter().peekable();
    before.iter().any(|(index, count)| {
        while now.next_if(|(i, _)| i < index).is_some() {}
        match now.peek() {
            Some((i, current)) if i == index => current < count,
            _ => *count != 0.0,
        }
    })
}
