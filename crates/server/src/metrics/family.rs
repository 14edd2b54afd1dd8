//! Counters, gauges, histograms, and families of them by label values.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Row;

/// Tenants told apart in one family; the rest counts as [`OTHER`].
const TENANTS_MAX: usize = 1000;
/// The label value of everyone beyond [`TENANTS_MAX`].
const OTHER: &str = "other";

/// Only goes up. May be set by whoever copies a count kept elsewhere.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts `by` more.
    pub fn add(&self, by: u64) {
        self.0.fetch_add(by, Ordering::Relaxed);
    }

    /// Takes over a count that is kept elsewhere.
    pub fn copy(&self, count: u64) {
        self.0.store(count, Ordering::Relaxed);
    }

    /// The count.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Sets the value.
    pub fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Ordering::Relaxed);
    }

    /// Sets the value unless it is larger already.
    pub fn raise(&self, value: f64) {
        let next = |bits| (f64::from_bits(bits) < value).then_some(value.to_bits());
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    }

    /// Changes the value.
    pub fn add(&self, by: f64) {
        let next = |bits| Some((f64::from_bits(bits) + by).to_bits());
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    }

    /// The value.
    pub fn get(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Relaxed))
    }
}

/// Upper bounds in seconds.
pub(super) const BUCKETS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// Times in buckets.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [Counter; BUCKETS.len() + 1],
    sum: Gauge,
}

impl Histogram {
    /// Counts one time.
    pub fn observe(&self, time: Duration) {
        let seconds = time.as_secs_f64();
        self.buckets[BUCKETS.partition_point(|bound| *bound < seconds)].add(1);
        self.sum.add(seconds);
    }
}

/// Values by label values.
#[derive(Debug)]
pub struct Family<T> {
    state: Mutex<State<T>>,
}

#[derive(Debug)]
struct State<T> {
    values: BTreeMap<Vec<String>, Arc<T>>,
    /// Tenants that are told apart.
    tenants: HashSet<String>,
}

impl<T> Default for Family<T> {
    fn default() -> Self {
        Self { state: Mutex::new(State { values: BTreeMap::new(), tenants: HashSet::new() }) }
    }
}

impl<T: Default> State<T> {
    fn with(&mut self, labels: &[&str]) -> Arc<T> {
        let key: Vec<String> = labels.iter().map(|label| (*label).to_owned()).collect();
        Arc::clone(self.values.entry(key).or_default())
    }

    /// Whether a tenant is told apart, which it is from now on if there is room.
    fn knows(&mut self, tenant: &str) -> bool {
        self.tenants.contains(tenant)
            || self.tenants.len() < TENANTS_MAX && self.tenants.insert(tenant.to_owned())
    }
}

impl<T: Default> Family<T> {
    /// The value with these labels, in the order of the row's. The number of different values is the caller's care;
    /// see [`Family::of_tenant`].
    pub fn with(&self, labels: &[&str]) -> Arc<T> {
        self.state().with(labels)
    }

    /// As [`Family::with`], where the first label is a tenant.
    pub fn of_tenant(&self, tenant: &str, labels: &[&str]) -> Arc<T> {
        let mut state = self.state();
        let mut all = vec![if state.knows(tenant) { tenant } else { OTHER }];
        all.extend_from_slice(labels);
        state.with(&all)
    }

    /// Forgets everything: for gauges that are set anew each time.
    pub fn clear(&self) {
        let mut state = self.state();
        state.values.clear();
        state.tenants.clear();
    }
}

impl Family<Counter> {
    /// Label values and counts of a tenant, where the first label is one; none when it is not told apart from others.
    pub fn values_of_tenant(&self, tenant: &str) -> Option<Vec<(Vec<String>, u64)>> {
        let mut state = self.state();
        let of = |(labels, count): (&Vec<String>, &Arc<Counter>)| {
            (labels.first().map(String::as_str) == Some(tenant)).then(|| (labels.clone(), count.get()))
        };
        state.knows(tenant).then(|| state.values.iter().filter_map(of).collect())
    }
}

impl<T> Family<T> {
    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where samples of an exposition go.
pub(crate) trait Sink {
    fn row(&mut self, row: &Row);
    fn sample(&mut self, row: &Row, suffix: &str, labels: &[String], le: Option<f64>, value: Value);
}

/// A sample's value: counts stay exact.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Value {
    Count(u64),
    Float(f64),
}

pub(crate) trait Exposed {
    fn expose(&self, row: &Row, sink: &mut dyn Sink);
}

trait One {
    fn samples(&self, row: &Row, labels: &[String], sink: &mut dyn Sink);
}

impl One for Counter {
    fn samples(&self, row: &Row, labels: &[String], sink: &mut dyn Sink) {
        // Seconds are summed up as microseconds: a counter of them has its row's unit.
        let value = match row.unit {
            "seconds" => Value::Float(Duration::from_micros(self.get()).as_secs_f64()),
            _ => Value::Count(self.get()),
        };
        sink.sample(row, row.kind.suffix(), labels, None, value);
    }
}

impl One for Gauge {
    fn samples(&self, row: &Row, labels: &[String], sink: &mut dyn Sink) {
        sink.sample(row, row.kind.suffix(), labels, None, Value::Float(self.get()));
    }
}

impl One for Histogram {
    fn samples(&self, row: &Row, labels: &[String], sink: &mut dyn Sink) {
        let mut count = 0;
        for (bucket, bound) in self.buckets.iter().zip(BUCKETS.iter().copied().chain([f64::INFINITY])) {
            count += bucket.get();
            sink.sample(row, "_bucket", labels, Some(bound), Value::Count(count));
        }
        sink.sample(row, "_count", labels, None, Value::Count(count));
        sink.sample(row, "_sum", labels, None, Value::Float(self.sum.get()));
    }
}

impl<T: One> Exposed for T {
    fn expose(&self, row: &Row, sink: &mut dyn Sink) {
        sink.row(row);
        self.samples(row, &[], sink);
    }
}

impl<T: One> Exposed for Family<T> {
    fn expose(&self, row: &Row, sink: &mut dyn Sink) {
        sink.row(row);
        let values: Vec<_> = {
            let state = self.state();
            state.values.iter().map(|(labels, value)| (labels.clone(), Arc::clone(value))).collect()
        };
        for (labels, value) in values {
            value.samples(row, &labels, sink);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenants_beyond_a_thousand_count_together() {
        let family: Family<Counter> = Family::default();
        for i in 0..1500 {
            family.of_tenant(&format!("t{i}"), &["sample"]).add(1);
            family.of_tenant(&format!("t{i}"), &["histogram"]).add(1);
        }
        family.of_tenant("t7", &["sample"]).add(1);
        assert_eq!(family.with(&["t7", "sample"]).get(), 2);
        let state = family.state();
        assert_eq!(state.values.len(), 2002);
        assert_eq!(state.values[&vec![OTHER.to_owned(), "sample".to_owned()]].get(), 500);
    }

    #[test]
    fn a_time_falls_into_the_bucket_that_bounds_it() {
        let histogram = Histogram::default();
        histogram.observe(Duration::from_millis(1));
        histogram.observe(Duration::from_millis(2));
        histogram.observe(Duration::from_secs(99));
        let counts: Vec<u64> = histogram.buckets.iter().map(Counter::get).collect();
        assert_eq!((counts[0], counts[1], counts[BUCKETS.len()]), (1, 1, 1));
    }
}
