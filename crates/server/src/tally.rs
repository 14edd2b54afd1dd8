//! Counting what became of a batch, so that received = accepted + rejected at every moment after its answer.
//!
//! A decoded batch is received; each of its items ends as accepted or rejected exactly once: by the decoder, by the
//! store, or all together when the append was refused or did not become durable.

use std::sync::Arc;

use model::{Batch, Counts, Signal};
use tsdb::{Appended, Committed};

use crate::metrics::Metrics;

/// A batch that was decoded and not counted yet.
#[derive(Debug)]
pub(crate) struct Tally {
    tenant: String,
    received: Counts,
    /// Decoded log lines, and their bytes.
    lines: (u64, u64),
}

impl Tally {
    /// Of a decoded batch, the decoder's rejections included.
    pub(crate) fn of(tenant: &str, batch: &Batch<'_>) -> Self {
        let (mut received, rejected) = (batch.counts(), batch.rejections.counts());
        for signal in Signal::ALL {
            *received.get_mut(signal) += rejected.get(signal);
        }
        let bytes = batch.logs.iter().map(|row| row.line.len() as u64).sum();
        Self { tenant: tenant.to_owned(), received, lines: (batch.logs.len() as u64, bytes) }
    }

    /// Samples, and log lines, that count against the tenant's rate.
    pub(crate) fn samples(&self) -> u64 {
        self.received.samples + self.received.histograms + self.received.log_lines
    }

    /// Nothing was queued.
    pub(crate) fn refused(self, metrics: &Metrics) {
        self.reject_all(metrics, "not_taken");
    }

    /// Queued: what to call with what became of it, `None` when it did not become durable.
    pub(crate) fn appended(
        self,
        metrics: &Arc<Metrics>,
        appended: &Appended,
    ) -> impl FnOnce(Option<&Committed>) + Send + 'static {
        let (metrics, appended) = (Arc::clone(metrics), appended.clone());
        move |committed| match committed {
            Some(committed) => {
                self.stored(&metrics, &appended.settled(committed.clone()));
            }
            None => self.reject_all(&metrics, "not_durable"),
        }
    }

    fn stored(self, metrics: &Metrics, appended: &Appended) {
        self.receive(metrics);
        for signal in Signal::ALL {
            let count = appended.accepted.get(signal);
            if count > 0 {
                metrics.samples_accepted.of_tenant(&self.tenant, &[signal.as_str()]).add(count);
            }
        }
        if let (lines @ 1.., bytes) = self.lines {
            let bytes = u128::from(bytes) * u128::from(appended.accepted.log_lines) / u128::from(lines);
            metrics.log_accepted_bytes.of_tenant(&self.tenant, &[]).add(bytes as u64);
        }
        for (signal, reason, count) in appended.rejected.by_reason() {
            let labels = [signal.as_str(), reason.as_str()];
            metrics.samples_rejected.of_tenant(&self.tenant, &labels).add(count);
        }
    }

    fn reject_all(self, metrics: &Metrics, reason: &str) {
        self.receive(metrics);
        for signal in Signal::ALL {
            let count = self.received.get(signal);
            if count > 0 {
                metrics.samples_rejected.of_tenant(&self.tenant, &[signal.as_str(), reason]).add(count);
            }
        }
    }

    fn receive(&self, metrics: &Metrics) {
        for signal in Signal::ALL {
            let count = self.received.get(signal);
            if count > 0 {
                metrics.samples_received.of_tenant(&self.tenant, &[signal.as_str()]).add(count);
            }
        }
    }
}
