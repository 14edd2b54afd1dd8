//! From a page that was fetched to the store: it is read, its rows are appended, and only what the store has taken is
//! remembered.

use std::sync::Arc;

use dialects::scraped;
use model::Batch;

use crate::error::ScrapeError;
use crate::families::Said;
use crate::fetch::Fetched;
use crate::life::{Common, Last, Life, Moment, lock};
use crate::page::{Done, Next, Page};
use crate::report::{Health, Report};
use crate::seen::{Ends, Seen};
use crate::store::{Durable, Lost, Told};

/// Pages up to this many bytes are read where they are; larger ones would keep the runtime from other sockets.
const INLINE_BYTES_MAX: usize = 64 << 10;

/// A page on its way into the store.
pub(crate) struct Work {
    pub(crate) life: Arc<Life>,
    pub(crate) common: Arc<Common>,
    pub(crate) moment: Moment,
}

/// What became of it.
pub(crate) struct Taken {
    report: Report,
    failure: Option<ScrapeError>,
    /// Why nothing was given to the store, not even that the target is down.
    pub(crate) lost: Option<Lost>,
    pub(crate) durable: Option<Durable>,
    /// Rows of the batch.
    pub(crate) samples: u64,
    /// What is remembered otherwise now.
    pub(crate) before: Before,
    fetched: Option<Fetched>,
}

/// What was remembered before a page was taken, where that is another thing than after it.
pub(crate) enum Before {
    /// The same page.
    Same,
    /// Another one.
    Page(Option<Seen>),
    /// The same one, whose series had not ended.
    Open,
}

/// What was read, and given to the store if that took it.
struct Given {
    taken: Taken,
    next: Next,
    said: Said,
}

impl Taken {
    pub(crate) fn is_full(&self) -> bool {
        matches!(self.lost, Some(Lost::Full(_)))
    }

    /// What was fetched, to be tried again.
    pub(crate) fn again(self) -> Result<Fetched, ScrapeError> {
        self.fetched.ok_or_else(|| self.failure.unwrap_or(ScrapeError::Lost(Lost::Closed)))
    }

    fn nothing(why: Lost) -> Self {
        Self {
            report: Report { health: Health::Down, ..Report::default() },
            failure: Some(why.into()),
            lost: Some(why),
            durable: None,
            samples: 0,
            before: Before::Same,
            fetched: None,
        }
    }
}

impl Work {
    /// Reads the page and gives its rows to the store, on a thread of its own kind when it is a large one.
    pub(crate) async fn run(&self, fetched: Result<Fetched, ScrapeError>) -> Taken {
        let is_small = fetched.as_ref().map_or(true, |fetched| fetched.body.len() <= INLINE_BYTES_MAX);
        if is_small {
            return self.take(fetched);
        }
        // To be tried again, should there be no room among those that compute.
        let kept = fetched.as_ref().ok().cloned();
        let (done, result) = tokio::sync::oneshot::channel();
        let work =
            Self { life: Arc::clone(&self.life), common: Arc::clone(&self.common), moment: self.moment };
        let job = Box::new(move || drop(done.send(work.take(fetched))));
        match self.common.store.compute(job).await {
            Ok(()) => result.await.unwrap_or_else(|_| Taken::nothing(Lost::Panicked)),
            Err(why) => Taken { fetched: kept, ..Taken::nothing(why) },
        }
    }

    fn take(&self, fetched: Result<Fetched, ScrapeError>) -> Taken {
        let (life, common) = (&*self.life, &*self.common);
        let Some(seed) = common.store.seed() else { return Taken::nothing(Lost::Closed) };
        let mut memory = life.memory.take_out();
        let Given { mut taken, next, said } = self.give(memory.seen.as_ref(), &fetched, Batch::new(seed));
        if taken.lost.is_none() {
            match next {
                Next::Again(entries, exemplars) => {
                    memory.seen.as_mut().expect("it was beside it").again(&entries, exemplars);
                }
                Next::Page(page) => taken.before = Before::Page(memory.seen.replace(page)),
                Next::Ended => {
                    if let Some(seen) = memory.seen.as_mut().filter(|seen| seen.ends == Ends::Open) {
                        seen.ends = Ends::Marked;
                        taken.before = Before::Open;
                    }
                }
            }
            if taken.failure.is_none() {
                lock(&life.memory.families).take(said);
            }
        }
        taken.fetched = fetched.ok();
        taken
    }

    /// What was taken did not become durable: what was remembered before counts, and families are told again.
    pub(crate) fn undo(&self, before: Before) {
        let mut memory = self.life.memory.take_out();
        match before {
            Before::Same => {}
            Before::Page(seen) => memory.seen = seen,
            Before::Open => memory.seen.iter_mut().for_each(|seen| seen.ends = Ends::Open),
        }
        memory.seen.iter_mut().for_each(Seen::forget_exemplars);
        lock(&self.life.memory.families).forget();
    }

    /// Reads the page beside the one before and gives its rows to the store.
    fn give(&self, last: Option<&Seen>, fetched: &Result<Fetched, ScrapeError>, batch: Batch<'_>) -> Given {
        let (life, common, at_ms) = (&*self.life, &*self.common, self.moment.at_ms);
        let body: &[u8] = fetched.as_ref().map_or(&[], |fetched| &fetched.body);
        // Texts of series are found again in the page where it is a text.
        let text = str::from_utf8(body).unwrap_or_default();
        let mut page = Page::new(&common.terms, at_ms, &life.labelling, last, text, batch.recycled());
        match fetched {
            Ok(fetched) => match scraped::format(fetched.content_type.as_deref(), common.fallback) {
                Ok(format) => {
                    let histograms = &life.target.histograms;
                    let options = scraped::Options {
                        native_histograms: histograms.native,
                        classic_beside_native: histograms.classic_beside_native,
                        start_timestamps: true,
                        scraped_ms: at_ms,
                    };
                    page.read(format, body, &options);
                }
                Err(error) => page.fail(error.into()),
            },
            Err(error) => page.fail(error.clone()),
        }
        let counts = page.counts();
        let report = Report {
            health: if page.failure().is_none() { Health::Up } else { Health::Down },
            took: self.moment.began.elapsed(),
            scraped: counts.scraped,
            kept: counts.kept,
            // What was not stored is no new series.
            added: if page.failure().is_none() { counts.added } else { 0 },
            timeout: life.target.timeout,
            sample_limit: common.terms.sample_limit,
            body_bytes: if matches!(fetched, Err(ScrapeError::BodySize)) { -1 } else { body.len() as i64 },
        };
        let said = lock(&life.memory.families).beside(page.metadata());
        let Done { batch, failure, next } = page.done(&report, said.telling());
        let samples = (batch.samples.len() + batch.histograms.len()) as u64;
        let (durable, lost) = match common.store.append(&common.tenant, &batch, common.env.clock.now_ms()) {
            Ok(durable) => (Some(durable), None),
            Err(why) => (None, Some(why)),
        };
        Given {
            taken: Taken { report, failure, lost, durable, samples, before: Before::Same, fetched: None },
            next,
            said,
        }
    }

    /// Tells how it went.
    pub(crate) fn note(&self, taken: &Taken) {
        let (life, common) = (&*self.life, &*self.common);
        let error = taken.failure.as_ref();
        if let Some(error) = error {
            tracing::debug!(job = common.job, url = %life.target.url, %error, "scrape failed");
        }
        life.set_last(Last {
            health: taken.report.health,
            error: error.map(ToString::to_string).unwrap_or_default(),
            at_ms: self.moment.at_ms,
            took: taken.report.took,
        });
        common.store.tell(Told::Scraped {
            job: &common.job,
            tenant: &common.tenant,
            took: taken.report.took,
            samples: taken.report.scraped,
            failure: error.map(ScrapeError::reason),
        });
    }
}
