//! What is known of a series' family.
//!
//! The log tells metadata when it changes; what was known before a start is asked from the store. A name's answer is kept
//! for a while, since most rows are of names that were just asked for.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use model::{Metadata, MetricType, TenantId};
use tsdb::Store;

/// How long an answer is believed.
const BELIEVED: Duration = Duration::from_secs(60);
/// Names remembered; with more all are asked anew.
const NAMES_MAX: usize = 100_000;

/// A family and what is known of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Family {
    pub(crate) name: Box<str>,
    pub(crate) metadata: Metadata,
}

/// Families by the names of their series.
pub(crate) struct Families {
    store: Store,
    known: HashMap<TenantId, HashMap<Box<str>, Known>>,
    names: usize,
}

struct Known {
    family: Option<Arc<Family>>,
    asked: Duration,
    /// When it was last given to a request that says it once for all series.
    said: Option<Duration>,
}

impl Families {
    pub(crate) fn new(store: Store) -> Self {
        Self { store, known: HashMap::new(), names: 0 }
    }

    /// The family of a series called `name`.
    pub(crate) fn of(&mut self, tenant: TenantId, name: &str, now: Duration) -> Option<Arc<Family>> {
        self.known(tenant, name, now).family.clone()
    }

    /// As [`Families::of`], unless it was given within `interval` before.
    pub(crate) fn of_at_times(
        &mut self,
        tenant: TenantId,
        name: &str,
        now: Duration,
        interval: Duration,
    ) -> Option<Arc<Family>> {
        let known = self.known(tenant, name, now);
        if known.said.is_some_and(|said| now.saturating_sub(said) < interval) {
            return None;
        }
        let family = known.family.clone()?;
        known.said = Some(now);
        Some(family)
    }

    /// Metadata changed: names of the tenant are asked anew.
    pub(crate) fn changed(&mut self, tenant: TenantId) {
        if let Some(names) = self.known.remove(&tenant) {
            self.names -= names.len();
        }
    }

    fn known(&mut self, tenant: TenantId, name: &str, now: Duration) -> &mut Known {
        if self.names > NAMES_MAX {
            self.known.clear();
            self.names = 0;
        }
        let names = self.known.entry(tenant).or_default();
        let is_good = |known: &Known| now.saturating_sub(known.asked) < BELIEVED;
        if !names.get(name).is_some_and(is_good) {
            let family = family_of(&self.store, tenant, name).map(Arc::new);
            let said = names.get(name).filter(|known| known.family == family).and_then(|known| known.said);
            self.names +=
                usize::from(names.insert(name.into(), Known { family, asked: now, said }).is_none());
        }
        names.get_mut(name).expect("it is there now")
    }
}

/// Suffixes that series have and their families do not, and the types for which that is so.
const PARTS: [(&str, &[MetricType]); 6] = [
    ("_bucket", &[MetricType::Histogram, MetricType::GaugeHistogram]),
    ("_sum", &[MetricType::Histogram, MetricType::Summary]),
    ("_count", &[MetricType::Histogram, MetricType::Summary]),
    ("_gsum", &[MetricType::GaugeHistogram]),
    ("_gcount", &[MetricType::GaugeHistogram]),
    ("_total", &[MetricType::Counter]),
];

fn family_of(store: &Store, tenant: TenantId, name: &str) -> Option<Family> {
    if let Some(metadata) = store.metadata_of(tenant, name) {
        return Some(Family { name: name.into(), metadata });
    }
    PARTS.iter().find_map(|(suffix, kinds)| {
        let family = name.strip_suffix(suffix).filter(|family| !family.is_empty())?;
        let metadata = store.metadata_of(tenant, family).filter(|metadata| kinds.contains(&metadata.kind))?;
        Some(Family { name: family.into(), metadata })
    })
}
