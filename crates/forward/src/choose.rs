//! Which rows an output sends, and under which labels.
//!
//! Labels are rewritten once per series and remembered: nothing at all where the output rewrites none, and of series that
//! are dropped, or stay as they are, a few bytes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use model::relabel::{LabelSet, Verdict};
use model::{Labels, SeriesId, TenantId};

use crate::counts::{Counts, Dropped};
use crate::outputs::NameOf;
use crate::settings::Settings;

/// How long a series that gives no rows is remembered at least.
pub(crate) const REMEMBERED: Duration = Duration::from_secs(3600);

/// What becomes of a series.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Decision {
    Dropped,
    AsIs,
    Under(Labels),
}

pub(crate) struct Chooser {
    settings: Arc<Settings>,
    name_of: NameOf,
    tenants: HashMap<TenantId, bool>,
    series: HashMap<(TenantId, SeriesId), (Decision, Duration), foldhash::fast::RandomState>,
    swept: Duration,
}

impl Chooser {
    pub(crate) fn new(settings: Arc<Settings>, name_of: NameOf) -> Self {
        let (tenants, series) = (HashMap::new(), HashMap::default());
        Self { settings, name_of, tenants, series, swept: Duration::ZERO }
    }

    /// Whether a tenant's row is sent; counts it when nobody can tell. Numbers never come back under other names, so an
    /// answer holds.
    pub(crate) fn has_tenant(&mut self, tenant: TenantId, counts: &Counts) -> bool {
        if let Some(chosen) = self.tenants.get(&tenant) {
            return *chosen;
        }
        // Of a tenant that is gone nothing is sent; one that is not known yet is asked for again.
        let Some(name) = (self.name_of)(tenant) else {
            counts.drop(Dropped::NoTenant, 1);
            return false;
        };
        let chosen = self.settings.tenants.has(&name);
        self.tenants.insert(tenant, chosen);
        chosen
    }

    /// What becomes of a series, whose labels `labels` gives.
    pub(crate) fn decide<'p, I>(
        &mut self,
        tenant: TenantId,
        id: SeriesId,
        now: Duration,
        labels: impl FnOnce() -> I,
    ) -> &Decision
    where
        I: Iterator<Item = (&'p str, &'p str)>,
    {
        if self.settings.keeps_labels() {
            return &Decision::AsIs;
        }
        self.sweep(now);
        let settings = &self.settings;
        let (decision, used) =
            self.series.entry((tenant, id)).or_insert_with(|| (decided(settings, labels()), now));
        *used = now;
        decision
    }

    fn sweep(&mut self, now: Duration) {
        if now.saturating_sub(self.swept) >= REMEMBERED {
            self.swept = now;
            self.series.retain(|_, (_, used)| now.saturating_sub(*used) < REMEMBERED);
        }
    }
}

/// External labels first, then the rules, as Prometheus does it.
fn decided<'p>(settings: &Settings, labels: impl Iterator<Item = (&'p str, &'p str)>) -> Decision {
    let before: Vec<(&str, &str)> = labels.collect();
    let mut set: LabelSet<'_> = before.iter().copied().collect();
    for (name, value) in &settings.external_labels {
        if !set.has(name) {
            set.set(name.as_str(), value.as_str());
        }
    }
    if settings.relabel.apply(&mut set) == Verdict::Dropped || set.is_empty() {
        return Decision::Dropped;
    }
    match set.iter().eq(before.iter().copied()) {
        true => Decision::AsIs,
        false => Decision::Under(Labels::from_pairs(set.iter())),
    }
}
