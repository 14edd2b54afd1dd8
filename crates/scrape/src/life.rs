//! One target while it is scraped: what its page had, how it is, and one scrape from the request to the store.
//!
//! A scrape is a task of its own that lives as long as it takes; between two of them a target is what it has to remember.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dialects::scraped::Protocol;
use env::Env;
use model::{Batch, Metadata, TenantName};
use tokio::time::{Instant, sleep_until};

use crate::error::ScrapeError;
use crate::families::Families;
use crate::fetch::{Fetch, Fetched};
use crate::labelling::Labelling;
use crate::page::{Page, Terms};
use crate::report::Health;
use crate::seen::Seen;
use crate::store::{Durable, Lost, Paid, Store, Told};
use crate::take::Work;
use crate::target::Target;

/// What a page is taken to have before it was ever read.
const FIRST_PAGE_BYTES: u64 = 32 << 10;

/// A store that is full is asked again after this long.
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// What the targets of a job have in common.
pub struct Common {
    /// The job.
    pub job: String,
    /// Whose samples they are.
    pub tenant: TenantName,
    /// How pages are taken.
    pub terms: Terms,
    /// What a page is in when it does not say so.
    pub fallback: Option<Protocol>,
    /// Who gets pages.
    pub fetch: Box<dyn Fetch>,
    /// Who takes rows.
    pub store: Arc<dyn Store>,
    /// Clock.
    pub env: Env,
}

impl std::fmt::Debug for Common {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Common").field("job", &self.job).finish_non_exhaustive()
    }
}

/// How a target was when it was scraped last.
#[derive(Clone, Debug, Default)]
pub struct Last {
    /// How it is.
    pub health: Health,
    /// Why the scrape failed, or empty.
    pub error: String,
    /// When it began, in milliseconds since the Unix epoch; 0 = never.
    pub at_ms: i64,
    /// How long it took.
    pub took: Duration,
}

/// A target that is scraped.
#[derive(Debug)]
pub struct Life {
    /// The target.
    pub target: Arc<Target>,
    pub(crate) labelling: Arc<Labelling>,
    /// Of the same target under other rules, too: one that is being scraped when they change loses nothing.
    pub(crate) memory: Arc<Memory>,
    last: Mutex<Last>,
    page_bytes: AtomicU32,
}

/// What a target has to remember. No lock is held while a page is read: whoever scrapes takes out what it needs.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// Taken out while a page is read.
    seen: Mutex<Option<Seen>>,
    pub(crate) families: Mutex<Families>,
    running: AtomicBool,
}

/// What a page had the last time, taken out of a target's memory. It is put back when this is dropped.
#[derive(Debug)]
pub(crate) struct Out<'m> {
    memory: &'m Memory,
    pub(crate) seen: Option<Seen>,
}

impl Memory {
    pub(crate) fn take_out(&self) -> Out<'_> {
        Out { memory: self, seen: lock(&self.seen).take() }
    }
}

impl Drop for Out<'_> {
    fn drop(&mut self) {
        *lock(&self.memory.seen) = self.seen.take();
    }
}

/// When a scrape is.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// The time of its samples, in milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// When it began, by the clock that never jumps.
    pub began: Instant,
}

impl Life {
    /// A target that was not scraped yet.
    pub fn new(target: Arc<Target>, labelling: Arc<Labelling>) -> Self {
        Self {
            target,
            labelling,
            memory: Arc::default(),
            last: Mutex::default(),
            page_bytes: AtomicU32::new(0),
        }
    }

    /// The same target under other rules, with what `before` remembers: series that are called otherwise now end.
    pub fn after(before: &Self, target: Arc<Target>, labelling: Arc<Labelling>) -> Self {
        let life = Self { memory: Arc::clone(&before.memory), ..Self::new(target, labelling) };
        *lock(&life.last) = before.last();
        life
    }

    /// How it was when it was scraped last.
    pub fn last(&self) -> Last {
        lock(&self.last).clone()
    }

    pub(crate) fn set_last(&self, last: Last) {
        *lock(&self.last) = last;
    }

    /// What its page says of families.
    pub fn families(&self) -> Vec<(String, Metadata)> {
        lock(&self.memory.families).list()
    }

    /// Marks the target as being scraped; `None` when it is.
    pub fn begin(self: &Arc<Self>) -> Option<Running> {
        (!self.memory.running.swap(true, Ordering::AcqRel)).then(|| Running(Arc::clone(self)))
    }

    /// Writes markers for everything that the target had: it is gone.
    pub async fn end(self: Arc<Self>, common: Arc<Common>, at_ms: i64) {
        let deadline = Instant::now() + self.target.timeout;
        // A scrape that is not over yet has what it remembers.
        while self.memory.running.load(Ordering::Acquire) && Instant::now() < deadline {
            sleep_until(Instant::now() + ASK_AGAIN).await;
        }
        let mut durable = self.append_end(&common, at_ms);
        while matches!(durable, Err((Lost::Full(_), _))) && Instant::now() < deadline {
            sleep_until(Instant::now() + ASK_AGAIN).await;
            durable = self.append_end(&common, at_ms);
        }
        let lost = match durable {
            Ok(None) => None,
            Ok(Some(durable)) => durable.await.err().map(|why| (why, 0)),
            Err(lost) => Some(lost),
        };
        if let Some((why, samples)) = lost {
            common.store.tell(Told::Lost { tenant: &common.tenant, why, samples });
        }
    }

    /// Gives the markers to the store, if there are any; or why that does not take them, and how many they are.
    fn append_end(&self, common: &Common, at_ms: i64) -> Result<Option<Durable>, (Lost, u64)> {
        let Some(seed) = common.store.seed() else { return Ok(None) };
        if lock(&self.last).at_ms == 0 {
            return Ok(None);
        }
        let memory = self.memory.take_out();
        let page =
            Page::new(&common.terms, at_ms, &self.labelling, memory.seen.as_ref(), "", Batch::new(seed));
        let batch = page.end();
        let samples = batch.samples.len() as u64;
        let durable = common.store.append(&common.tenant, &batch, common.env.clock.now_ms());
        durable.map(Some).map_err(|why| (why, samples))
    }
}

/// A target that is being scraped.
#[derive(Debug)]
pub struct Running(Arc<Life>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.memory.running.store(false, Ordering::Release);
    }
}

impl Running {
    /// Scrapes the target once. `forced` is why it fails without being asked.
    pub async fn scrape(self, common: Arc<Common>, moment: Moment, forced: Option<ScrapeError>) {
        let life = &self.0;
        let deadline = moment.began + life.target.timeout;
        let (fetched, _paid) = match forced {
            Some(error) => (Err(error), None),
            None => life.fetch(&common, deadline).await,
        };
        let work = Work { life: Arc::clone(life), common: Arc::clone(&common), moment };
        let mut taken = work.run(fetched).await;
        while taken.is_full() && Instant::now() + ASK_AGAIN < deadline {
            sleep_until(Instant::now() + ASK_AGAIN).await;
            taken = work.run(taken.again()).await;
        }
        if let Some(why) = taken.lost {
            common.store.tell(Told::Lost { tenant: &common.tenant, why, samples: taken.samples });
            if why != Lost::NoTenant {
                // That it is down is a few rows, for which there may be room.
                taken = work.run(Err(why.into())).await;
            }
        }
        work.note(&taken);
        if let Some(durable) = taken.durable
            && let Err(why) = durable.await
        {
            work.undo(taken.before);
            common.store.tell(Told::Lost { tenant: &common.tenant, why, samples: taken.samples });
        }
    }
}

impl Life {
    async fn fetch(
        &self,
        common: &Common,
        deadline: Instant,
    ) -> (Result<Fetched, ScrapeError>, Option<Box<dyn Paid>>) {
        let expected = match self.page_bytes.load(Ordering::Relaxed) {
            0 => FIRST_PAGE_BYTES,
            bytes => u64::from(bytes),
        };
        let mut paid = loop {
            match common.store.pay(&common.tenant, expected) {
                Ok(paid) => break paid,
                Err(Lost::Full(_)) if Instant::now() + ASK_AGAIN < deadline => {
                    sleep_until(Instant::now() + ASK_AGAIN).await;
                }
                Err(why) => return (Err(why.into()), None),
            }
        };
        let within = deadline.saturating_duration_since(Instant::now());
        let fetched = common.fetch.fetch(&self.target, within).await;
        let fetched = fetched.and_then(|fetched| {
            let bytes = fetched.body.len() as u64;
            self.page_bytes.store(u32::try_from(bytes).unwrap_or(u32::MAX), Ordering::Relaxed);
            paid.settle(bytes).map(|()| fetched).map_err(ScrapeError::from)
        });
        (fetched, Some(paid))
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
