//! Running totals of series that come as deltas.
//!
//! Deltas are added up where the order of the log is made: by the writer, while it builds a group. A total is proposed
//! until the group is durable and settled then, or dropped when the group failed: what a sender was not told to be there is
//! sent again. The log has the totals, never the deltas, each beside the sample that shows it, and all of them once more
//! where a flush has moved the beginning of the log; so a replay knows each series' last one. A series' floats and its
//! native histograms have a total each, and nothing to do with one another.

use std::sync::Arc;

use foldhash::{HashMap, HashMapExt};
use model::histogram::Unaddable;
use model::{Histogram, Reason, Signal};
use roaring::RoaringBitmap;

use crate::head::side::{HISTOGRAM_BYTES_MAX, value_bytes};

/// What was added to a series in a time.
#[derive(Clone, Debug)]
pub(crate) struct Delta<V> {
    pub(crate) slot: u32,
    /// Which of the request's items it came from.
    pub(crate) item: u32,
    /// When it began, in ms; 0 = where the one before ended.
    pub(crate) start_ms: i64,
    pub(crate) timestamp_ms: i64,
    pub(crate) value: V,
}

/// What was added to a series so far.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Total<V> {
    pub(crate) start_ms: i64,
    /// The end of the last delta.
    pub(crate) end_ms: i64,
    pub(crate) value: V,
}

/// Deltas of one request.
#[derive(Debug, Default)]
pub(crate) struct Deltas {
    pub(crate) floats: Vec<Delta<f64>>,
    pub(crate) histograms: Vec<Delta<Arc<Histogram>>>,
}

/// Bytes of a delta in the queue, and of the row that is made of it.
const DELTA_BYTES: u64 = 160;

impl Deltas {
    pub(crate) fn is_empty(&self) -> bool {
        self.floats.is_empty() && self.histograms.is_empty()
    }

    /// What comes in one request is late only when another request was before.
    pub(crate) fn sort(&mut self) {
        self.floats.sort_by_key(|delta| (delta.slot, delta.timestamp_ms));
        self.histograms.sort_by_key(|delta| (delta.slot, delta.timestamp_ms));
    }

    /// Bytes that they take while they wait.
    pub(crate) fn bytes(&self) -> u64 {
        let histograms = self.histograms.iter().map(|delta| value_bytes(&delta.value));
        (self.floats.len() + self.histograms.len()) as u64 * DELTA_BYTES + histograms.sum::<u64>()
    }
}

/// What can be added up.
pub(crate) trait Value: Clone {
    /// What a sample of it is.
    const SIGNAL: Signal;

    /// What is more by `delta`; nothing where a new total begins with the delta.
    fn plus(&self, delta: &Self) -> Result<Option<Self>, Reason>;

    /// Bytes beside those of the table that has it.
    fn bytes(&self) -> u64;
}

impl Value for f64 {
    const SIGNAL: Signal = Signal::Sample;

    fn plus(&self, delta: &Self) -> Result<Option<Self>, Reason> {
        let sum = self + delta;
        if sum.is_finite() { Ok(Some(sum)) } else { Err(Reason::InvalidValue) }
    }

    fn bytes(&self) -> u64 {
        0
    }
}

impl Value for Arc<Histogram> {
    const SIGNAL: Signal = Signal::Histogram;

    fn plus(&self, delta: &Self) -> Result<Option<Self>, Reason> {
        let mut sum = match Histogram::plus(self, delta) {
            Ok(sum) => sum,
            Err(Unaddable::Kinds) => return Ok(None),
            Err(Unaddable::Overflow) => return Err(Reason::InvalidValue),
        };
        while value_bytes(&sum) > HISTOGRAM_BYTES_MAX {
            sum = sum.coarser().ok_or(Reason::InvalidHistogram)?;
        }
        Ok(Some(Arc::new(sum)))
    }

    fn bytes(&self) -> u64 {
        value_bytes(self)
    }
}

/// Totals of the series in the head, by slot.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    pub(crate) floats: Running<f64>,
    pub(crate) histograms: Running<Arc<Histogram>>,
}

/// Totals of one kind.
#[derive(Debug)]
pub(crate) struct Running<V> {
    settled: HashMap<u32, Total<V>>,
    proposed: HashMap<u32, Total<V>>,
    /// Bytes of settled values.
    value_bytes: u64,
}

impl<V> Default for Running<V> {
    fn default() -> Self {
        Self { settled: HashMap::new(), proposed: HashMap::new(), value_bytes: 0 }
    }
}

/// Bytes of a slot and its total in a hash table, with slack.
const TOTAL_BYTES: u64 = 56;

impl Totals {
    /// What was proposed is durable.
    pub(crate) fn settle(&mut self) {
        self.floats.settle();
        self.histograms.settle();
    }

    /// What was proposed is not.
    pub(crate) fn drop_proposed(&mut self) {
        self.floats.proposed.clear();
        self.histograms.proposed.clear();
    }

    /// Series that leave the head start anew when they come again.
    pub(crate) fn forget(&mut self, slots: &RoaringBitmap) {
        self.floats.forget(slots);
        self.histograms.forget(slots);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.floats.settled.is_empty() && self.histograms.settled.is_empty()
    }

    /// Slots that have any.
    pub(crate) fn slots(&self) -> impl Iterator<Item = u32> {
        self.floats.settled.keys().chain(self.histograms.settled.keys()).copied()
    }

    /// Bytes held, estimated.
    pub(crate) fn bytes(&self) -> u64 {
        self.floats.bytes() + self.histograms.bytes()
    }
}

impl<V: Value> Running<V> {
    /// Adds a delta to its series' total as it is proposed so far. `may_take` says whether its value may take so many bytes
    /// more, and a row with the whole of it so many.
    pub(crate) fn propose(
        &mut self,
        delta: &Delta<V>,
        may_take: impl FnOnce(u64, u64) -> bool,
    ) -> Result<Total<V>, Reason> {
        let before = self.proposed.get(&delta.slot).or_else(|| self.settled.get(&delta.slot));
        let total = match before {
            Some(before) if delta.timestamp_ms <= before.end_ms => return Err(Reason::LateDelta),
            Some(before) => match before.value.plus(&delta.value)? {
                Some(value) => Total { start_ms: before.start_ms, end_ms: delta.timestamp_ms, value },
                None => Total::first(delta),
            },
            None => Total::first(delta),
        };
        let (bytes_before, bytes) = (before.map_or(0, |before| before.value.bytes()), total.value.bytes());
        if !may_take(bytes.saturating_sub(bytes_before), bytes) {
            return Err(Reason::Memory);
        }
        self.proposed.insert(delta.slot, total.clone());
        Ok(total)
    }

    fn settle(&mut self) {
        let mut proposed = std::mem::take(&mut self.proposed);
        proposed.drain().for_each(|(slot, total)| self.set(slot, total));
        self.proposed = proposed;
    }

    /// Takes what the log says.
    pub(crate) fn set(&mut self, slot: u32, total: Total<V>) {
        self.value_bytes += total.value.bytes();
        if let Some(before) = self.settled.insert(slot, total) {
            self.value_bytes -= before.value.bytes();
        }
    }

    fn forget(&mut self, slots: &RoaringBitmap) {
        self.settled.retain(|slot, total| {
            let stays = !slots.contains(*slot);
            if !stays {
                self.value_bytes -= total.value.bytes();
            }
            stays
        });
        if self.settled.len() < self.settled.capacity() / 4 {
            self.settled.shrink_to_fit();
        }
    }

    /// Settled ones in order of their slots.
    pub(crate) fn sorted(&self) -> Vec<(u32, Total<V>)> {
        let mut totals: Vec<_> = self.settled.iter().map(|(slot, total)| (*slot, total.clone())).collect();
        totals.sort_unstable_by_key(|(slot, _)| *slot);
        totals
    }

    /// Bytes of settled values.
    pub(crate) fn value_bytes(&self) -> u64 {
        self.value_bytes
    }

    /// Calls `each` with the slot and the bytes of each settled value.
    pub(crate) fn each(&self, mut each: impl FnMut(u32, u64)) {
        self.settled.iter().for_each(|(slot, total)| each(*slot, total.value.bytes()));
    }

    fn bytes(&self) -> u64 {
        self.settled.capacity() as u64 * TOTAL_BYTES + self.value_bytes
    }
}

impl<V: Value> Total<V> {
    /// The total of a series without one. When its sender does not say when it began, it began right before: so the first
    /// delta counts in full for whoever looks at starts, whether or not the series had a total before.
    fn first(delta: &Delta<V>) -> Self {
        let is_start = delta.start_ms != 0 && delta.start_ms < delta.timestamp_ms;
        let start_ms = if is_start { delta.start_ms } else { delta.timestamp_ms.saturating_sub(1) };
        Self { start_ms, end_ms: delta.timestamp_ms, value: delta.value.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::histogram::{BucketCounts, CUSTOM_BOUNDS_SCHEMA, ResetHint, Span};

    fn delta<V>(slot: u32, start_ms: i64, timestamp_ms: i64, value: V) -> Delta<V> {
        Delta { slot, item: 0, start_ms, timestamp_ms, value }
    }

    fn propose<V: Value>(totals: &mut Running<V>, delta: &Delta<V>) -> Result<Total<V>, Reason> {
        totals.propose(delta, |_, _| true)
    }

    #[test]
    fn totals_add_up_and_what_failed_was_never_there() {
        let mut totals = Totals::default();
        let total = |start_ms, end_ms, value| Ok(Total { start_ms, end_ms, value });
        assert_eq!(propose(&mut totals.floats, &delta(1, 5, 10, 2.0)), total(5, 10, 2.0));
        assert_eq!(propose(&mut totals.floats, &delta(1, 10, 20, 3.0)), total(5, 20, 5.0), "in one group");
        assert_eq!(propose(&mut totals.floats, &delta(1, 10, 20, 3.0)), Err(Reason::LateDelta));
        totals.settle();
        assert_eq!(propose(&mut totals.floats, &delta(1, 0, 30, 4.0)), total(5, 30, 9.0));
        totals.drop_proposed();
        assert_eq!(propose(&mut totals.floats, &delta(1, 0, 30, 1.0)), total(5, 30, 6.0));
        assert_eq!(propose(&mut totals.floats, &delta(1, 0, 15, 1.0)), Err(Reason::LateDelta));
        let large = delta(2, 0, 30, f64::MAX);
        assert_eq!(propose(&mut totals.floats, &large), total(29, 30, f64::MAX), "no start");
        assert_eq!(propose(&mut totals.floats, &delta(2, 0, 31, f64::MAX)), Err(Reason::InvalidValue));
        totals.settle();
        totals.forget(&RoaringBitmap::from([1]));
        assert_eq!(propose(&mut totals.floats, &delta(1, 30, 40, 7.0)), total(30, 40, 7.0), "anew");
    }

    /// Of one observation in each of some buckets from `first` on.
    fn histogram(schema: i32, first: i32, buckets: u32) -> Arc<Histogram> {
        let custom = schema == CUSTOM_BOUNDS_SCHEMA;
        Arc::new(Histogram {
            schema,
            zero_threshold: 0.0,
            sum: 1.0,
            reset_hint: ResetHint::Unknown,
            positive_spans: vec![Span { offset: first, length: buckets }],
            negative_spans: vec![],
            counts: BucketCounts::Integer {
                count: buckets.into(),
                zero: 0,
                positive: vec![1; buckets as usize],
                negative: vec![],
            },
            custom_bounds: if custom { (1..buckets).map(f64::from).collect() } else { vec![] },
        })
    }

    #[test]
    fn histograms_are_as_large_as_they_may_be() {
        let mut totals = Totals::default();
        let most = ((HISTOGRAM_BYTES_MAX - 208) / 8) as u32;
        let mut end_ms = 0;
        let mut add = |totals: &mut Totals, slot, value| {
            end_ms += 1;
            propose(&mut totals.histograms, &delta(slot, 0, end_ms, value))
        };
        add(&mut totals, 1, histogram(3, 0, most)).unwrap();
        let total = add(&mut totals, 1, histogram(3, 10, most)).unwrap();
        assert_eq!((total.value.schema, total.value.count()), (2, 2.0 * f64::from(most)));
        assert!(value_bytes(&total.value) <= HISTOGRAM_BYTES_MAX);
        // Buckets that far apart are no fewer at any schema.
        let spans = |from: i32| {
            let mut histogram = (*histogram(-4, 0, most / 2)).clone();
            histogram.positive_spans =
                (0..most / 2).map(|n| Span { offset: if n == 0 { from } else { 1 }, length: 1 }).collect();
            Arc::new(histogram)
        };
        add(&mut totals, 2, spans(0)).unwrap();
        assert_eq!(add(&mut totals, 2, spans(1_000_000)), Err(Reason::InvalidHistogram));
        totals.settle();
        let held: u64 = totals.histograms.sorted().iter().map(|(_, total)| value_bytes(&total.value)).sum();
        assert_eq!((totals.histograms.value_bytes(), totals.bytes() > held), (held, true));
        totals.forget(&RoaringBitmap::from([1, 2]));
        assert_eq!(totals.histograms.value_bytes(), 0);
    }

    #[test]
    fn another_kind_of_buckets_starts_anew() {
        let mut totals = Totals::default();
        let first = propose(&mut totals.histograms, &delta(1, 5, 10, histogram(3, 0, 2))).unwrap();
        assert_eq!(first.start_ms, 5);
        let custom = histogram(CUSTOM_BOUNDS_SCHEMA, 0, 3);
        assert_eq!(
            propose(&mut totals.histograms, &delta(1, 10, 20, custom.clone())),
            Ok(Total { start_ms: 10, end_ms: 20, value: custom })
        );
        let late = delta(1, 10, 20, histogram(3, 0, 2));
        assert_eq!(propose(&mut totals.histograms, &late), Err(Reason::LateDelta));
    }

    #[test]
    fn small_deltas_of_a_large_total_take_what_their_rows_take() {
        use crate::head::table::Table;
        use crate::room::TotalsRoom;
        let (table, bytes) = (Table::default(), 1 << 20);
        let mut room = TotalsRoom::new(16 * bytes, &Running::default(), &table);
        let [one, other] = [1, 2].map(model::TenantId);
        // An eighth of the memory for all, half of it for each.
        let shown = |room: &mut TotalsRoom, tenant| room.show(tenant, bytes / 4);
        assert_eq!([0; 6].map(|_| shown(&mut room, one)), [true, true, true, true, false, false]);
        assert_eq!([0; 5].map(|_| shown(&mut room, other)), [true, true, true, true, false]);
        assert!(!shown(&mut room, model::TenantId(3)), "all of it is taken");
    }

    #[test]
    fn what_may_not_grow_goes_on_as_it_is() {
        let mut totals = Running::default();
        let (one, three) = (histogram(3, 0, 1), histogram(3, 0, 3));
        assert_eq!(totals.propose(&delta(1, 0, 10, one.clone()), |_, _| false), Err(Reason::Memory));
        let asked = |growth, bytes| {
            assert_eq!((growth, bytes), (value_bytes(&one), value_bytes(&one)));
            true
        };
        let grows = |growth, _| growth == 0;
        totals.propose(&delta(1, 0, 10, one.clone()), asked).unwrap();
        let total = totals.propose(&delta(1, 0, 20, one.clone()), grows).unwrap();
        assert_eq!(total.value.count(), 2.0);
        assert_eq!(totals.propose(&delta(1, 0, 30, three), grows), Err(Reason::Memory));
    }
}
