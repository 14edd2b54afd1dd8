//! From lines to the store: what all connections of a listener share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use admission::Tenant;
use dialects::{Decode, Received, Said, Say, Verdict};
use model::batch::Items;
use model::{Batch, Counts, Reason, Signal, TenantName};
use tokio::sync::oneshot;
use tsdb::{AppendError, Appended, Committed, WriteContext, WriteError};

use crate::app::App;
use crate::ingest;
use crate::tally::Tally;

/// How long lines wait that the store does not take now.
const PAUSE: Duration = Duration::from_millis(100);

/// Times that lines are tried again once Weir is stopping.
pub(super) const LAST_TRIES: u32 = 20;

/// A listener's way into the store.
#[derive(Debug)]
pub(super) struct Intake {
    pub(super) app: Arc<App>,
    pub(super) dialect: &'static str,
    tenant: TenantName,
    decode: Decode,
    answer: Say,
}

/// Lines that wait for the disk.
struct Queued {
    appended: Appended,
    items: Items,
    echo: Option<String>,
    durable: oneshot::Receiver<Result<Committed, WriteError>>,
}

/// Why lines are not in the store's queue.
enum NotQueued {
    /// What is short now need not be later: they are tried again.
    Later,
    /// There is nobody whose they could be.
    NoTenant,
}

impl Intake {
    pub(super) fn new(app: &Arc<App>, dialect: &'static str, tenant: TenantName) -> Self {
        let (_, decode, answer) = dialects::lines_of(dialect).expect("a dialect with lines");
        Self { app: Arc::clone(app), dialect, tenant, decode, answer }
    }

    /// Takes lines of a stream, and says what is to be said once they are durable. It waits for as long as the store does
    /// not take them.
    pub(super) async fn take(&self, lines: &[u8], too_long: u64) -> Said {
        let mut tries = LAST_TRIES;
        loop {
            match self.queue(lines, too_long) {
                Ok(Some(queued)) => {
                    if let Ok(Ok(committed)) = queued.durable.await {
                        let mut items = queued.items;
                        let appended = queued.appended.settled(committed);
                        items.refuse_all(&appended.refused_items);
                        return (self.answer)(&Verdict {
                            accepted: appended.accepted,
                            rejected: appended.rejected,
                            refusal: None,
                            echo: queued.echo,
                            items,
                        });
                    }
                    // The log failed: what it did not keep is sent again, as a client would.
                }
                Ok(None) => return Said::default(),
                Err(NotQueued::NoTenant) => return farewell(),
                Err(NotQueued::Later) => {}
            }
            if self.app.is_draining() {
                tries -= 1;
                if tries == 0 {
                    self.give_up(lines);
                    return farewell();
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Takes lines of datagrams. It waits only for room in the queue, and when everything ends for `patience` more of them
    /// all together.
    pub(super) fn take_datagrams(&self, lines: &[u8], stopping: &AtomicBool, patience: &mut u32) {
        loop {
            match self.queue(lines, 0) {
                Ok(_) | Err(NotQueued::NoTenant) => return,
                Err(NotQueued::Later) if !stopping.load(Ordering::Relaxed) => {}
                Err(NotQueued::Later) if *patience == 0 => return self.give_up(lines),
                Err(NotQueued::Later) => *patience -= 1,
            }
            thread::sleep(PAUSE);
        }
    }

    /// A line that ended before its end.
    pub(super) fn cut(&self) {
        let reason = Reason::InvalidLine;
        let rejected = [Signal::Sample.as_str(), reason.as_str()];
        let (metrics, tenant) = (&self.app.metrics, self.tenant.as_str());
        metrics.samples_received.of_tenant(tenant, &[Signal::Sample.as_str()]).add(1);
        metrics.samples_rejected.of_tenant(tenant, &rejected).add(1);
    }

    /// Decodes lines and puts them into the store's queue; nothing where they say nothing.
    fn queue(&self, lines: &[u8], too_long: u64) -> Result<Option<Queued>, NotQueued> {
        let app = &*self.app;
        let now = app.env.clock.monotonic();
        let authority = app.authority();
        let Some(tenant) = authority.tenant(self.tenant.as_str()) else {
            app.metrics.requests_refused.with(&["forbidden"]).add(1);
            app.refusals.note(&app.env, "no_tenant", self.tenant.as_str());
            return Err(NotQueued::NoTenant);
        };
        if app.store().is_none() || app.shed.active(now).is_some() {
            return Err(NotQueued::Later);
        }
        if app.rates.check(tenant.id, &tenant.limits, now).is_err() {
            app.refusals.note(&app.env, "over_rate", self.tenant.as_str());
            return Err(NotQueued::Later);
        }
        let _permit = app.bytes.take(tenant.id, lines.len() as u64, now).map_err(|_| NotQueued::Later)?;
        self.decoded(lines, too_long, |batch, received_ms| self.append(tenant, batch, received_ms))
    }

    fn append(
        &self,
        tenant: &Tenant,
        batch: &mut Batch<'_>,
        received_ms: i64,
    ) -> Result<Option<Queued>, NotQueued> {
        let app = &*self.app;
        let store = app.store().ok_or(NotQueued::Later)?;
        let (items, echo) = (std::mem::take(&mut batch.items), batch.echo.take());
        if let Some((_, reason, _)) = batch.rejections.by_reason().next() {
            app.refusals.note(&app.env, reason.as_str(), self.tenant.as_str());
        } else if batch.counts() == Counts::default() && echo.is_none() {
            return Ok(None);
        }
        let tally = Tally::of(tenant.name.as_str(), batch);
        let samples = tally.samples();
        let context = WriteContext {
            tenant: tenant.id,
            limits: &tenant.limits,
            epoch: tenant.epoch,
            now_ms: received_ms,
            digest: None,
        };
        match store.append(&context, batch) {
            Ok((ticket, appended)) => {
                app.rates.charge(tenant.id, &tenant.limits, samples, app.env.clock.monotonic());
                for (note, count) in &batch.notes {
                    app.metrics.notes.of_tenant(tenant.name.as_str(), &[note]).add(*count);
                }
                let durable = ingest::bridge(ticket, tally.appended(&app.metrics, &appended));
                Ok(Some(Queued { appended, items, echo, durable }))
            }
            Err(AppendError::Deleted) => Err(NotQueued::NoTenant),
            Err(_) => Err(NotQueued::Later),
        }
    }

    /// Counts lines that were never taken.
    fn give_up(&self, lines: &[u8]) {
        self.decoded(lines, 0, |batch, _| Tally::of(self.tenant.as_str(), batch).refused(&self.app.metrics));
    }

    fn decoded<T>(&self, lines: &[u8], too_long: u64, then: impl FnOnce(&mut Batch<'_>, i64) -> T) -> T {
        let (app, received_ms) = (&*self.app, self.app.env.clock.now_ms());
        let settings = app.config().choices.of(&self.tenant);
        let received = Received {
            body: lines,
            received_ms,
            settings: &settings,
            ..Received::new(dialects::Request::default())
        };
        let mut batch = Batch::new(app.store().map_or(0, tsdb::Store::seed));
        if let Err(malformed) = (self.decode)(&received, &mut batch) {
            batch.clear();
            batch.rejections.add(Signal::Sample, Reason::InvalidLine, 1);
            batch.rejections.explain(|| malformed.to_string());
        }
        for _ in 0..too_long {
            batch.items.begin();
            batch.refuse_item(Signal::Sample, Reason::LineTooLong, || "line is too long".to_owned());
        }
        then(&mut batch, received_ms)
    }
}

/// The connection ends, and nothing is said.
fn farewell() -> Said {
    Said { text: String::new(), closes: true }
}
