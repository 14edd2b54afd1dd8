//! Where rows of pages go: through the gates that a request passes, into the store, into the counters.

use std::sync::Arc;
use std::time::Duration;

use admission::{Permit, Tenant};
use dialects::Refusal;
use model::{Batch, TenantName};
use scrape::store::{Boxed, Durable, Paid};
use scrape::{Lost, Told};
use tsdb::{AppendError, WriteContext};

use crate::app::App;
use crate::ingest::bridge;
use crate::pool::PoolError;
use crate::tally::Tally;

/// The server as whoever scrapes sees it.
pub(crate) struct Destination(pub(crate) Arc<App>);

impl Destination {
    fn tenant<T>(&self, name: &TenantName, with: impl FnOnce(&Tenant) -> Result<T, Lost>) -> Result<T, Lost> {
        self.0.authority().tenant(name.as_str()).ok_or(Lost::NoTenant).and_then(|tenant| with(tenant))
    }
}

impl scrape::Store for Destination {
    fn seed(&self) -> Option<u64> {
        self.0.store().filter(|_| !self.0.is_draining()).map(tsdb::Store::seed)
    }

    fn pay(&self, tenant: &TenantName, bytes: u64) -> Result<Box<dyn Paid>, Lost> {
        let app = &self.0;
        match app.may_write() {
            Ok(()) => {}
            Err(Refusal::Overloaded { what: "starting" | "stopping", .. }) => return Err(Lost::Closed),
            Err(Refusal::Overloaded { what, .. }) => return Err(Lost::Full(what)),
            Err(_) => return Err(Lost::Full("room")),
        }
        let now = app.env.clock.monotonic();
        self.tenant(tenant, |tenant| {
            app.rates.check(tenant.id, &tenant.limits, now).map_err(|_| Lost::Rate)?;
            let permit = app.bytes.take(tenant.id, bytes, now).map_err(|_| Lost::Full("bodies in flight"))?;
            Ok(Box::new(Held { app: Arc::clone(app), permit }) as Box<dyn Paid>)
        })
    }

    fn append(&self, tenant: &TenantName, batch: &Batch<'_>, now_ms: i64) -> Result<Durable, Lost> {
        let app = &self.0;
        let store = app.store().ok_or(Lost::Closed)?;
        self.tenant(tenant, |tenant| {
            let tally = Tally::of(tenant.name.as_str(), batch);
            let context = WriteContext {
                tenant: tenant.id,
                limits: &tenant.limits,
                epoch: tenant.epoch,
                now_ms,
                digest: None,
            };
            let (ticket, appended) = store.append(&context, batch).map_err(|error| match error {
                AppendError::QueueFull => Lost::Full("write queue"),
                AppendError::Memory => Lost::Full("memory"),
                AppendError::Disk(_) | AppendError::LogsFailing => Lost::Full("disk"),
                AppendError::LogsFull => Lost::Full("room for log lines"),
                AppendError::Closing => Lost::Closed,
                AppendError::Deleted => Lost::NoTenant,
            })?;
            app.rates.charge(tenant.id, &tenant.limits, tally.samples(), app.env.clock.monotonic());
            let durable = bridge(ticket, tally.appended(&app.metrics, &appended));
            Ok(Box::pin(async move {
                match durable.await {
                    Ok(Ok(_)) => Ok(()),
                    Ok(Err(_)) => Err(Lost::NotDurable),
                    Err(_) => Err(Lost::Closed),
                }
            }) as Durable)
        })
    }

    fn compute(&self, job: Box<dyn FnOnce() + Send>) -> Boxed<'_, Result<(), Lost>> {
        Box::pin(async {
            self.0.decoding.run(job).await.map_err(|error| match error {
                PoolError::Full => Lost::Full("decoding queue"),
                PoolError::Panicked => {
                    self.0.metrics.panics.add(1);
                    Lost::Panicked
                }
            })
        })
    }

    fn tell(&self, told: Told<'_>) {
        let metrics = &self.0.metrics;
        match told {
            Told::Scraped { tenant, took, samples, failure, .. } => {
                metrics.scrape_seconds.observe(took);
                metrics.scrape_samples.of_tenant(tenant.as_str(), &[]).add(samples);
                let outcome = failure.unwrap_or("success");
                metrics.scrapes.of_tenant(tenant.as_str(), &[outcome]).add(1);
            }
            Told::Lost { tenant, why, samples } => {
                metrics.scrape_lost.of_tenant(tenant.as_str(), &[why.as_str()]).add(samples);
            }
            Told::Skipped { .. } => metrics.scrape_skipped.add(1),
            Told::Targets { invalid, .. } => metrics.scrape_invalid_targets.add(invalid as u64),
        }
    }
}

/// Bytes of a page.
struct Held {
    app: Arc<App>,
    permit: Permit,
}

impl Paid for Held {
    fn settle(&mut self, bytes: u64) -> Result<(), Lost> {
        let now: Duration = self.app.env.clock.monotonic();
        let more = bytes.saturating_sub(self.permit.amount());
        self.permit.grow(more, now).map_err(|_| Lost::Full("bodies in flight"))?;
        self.permit.shrink_to(bytes);
        Ok(())
    }
}
