//! Sends loads one after the other, each until it is taken or will never be.
//!
//! A series is always in the same shard, so its rows arrive in the order of the log: the next load begins when every part
//! of this one is settled.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use codec::pack::pack;
use dialects::Encoding;
use dialects::outgoing::{Answered, Options, Outcome, Version};
use model::Origin;
use tokio::sync::mpsc::Receiver;

use crate::counts::{Counts, Dropped};
use crate::load::Load;
use crate::pause::retry_after;
use crate::post::{Answer, Post};
use crate::shared::Shared;

pub(crate) struct Shard {
    pub(crate) shared: Arc<Shared>,
    pub(crate) post: Arc<dyn Post>,
}

/// Occurs when the output stops before a request was taken: it is sent again after the next start.
#[derive(Debug)]
pub(crate) struct Stopped;

/// A request as it goes over the wire.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Bytes,
    pub(crate) version: Version,
    /// Rows in it.
    pub(crate) rows: u64,
    /// Rows of the range for which there was no place.
    pub(crate) unsaid: u64,
    /// Rows of the range that were too old.
    pub(crate) too_old: u64,
}

/// What became of a try.
pub(crate) enum Tried {
    /// It is settled: taken, or counted as dropped.
    Settled,
    /// In halves.
    Halve(String),
    /// Again, in the version before.
    Downgrade,
}

impl Shard {
    /// Sends what comes until nothing comes any more.
    pub(crate) async fn run(self, mut loads: Receiver<Load>) {
        while let Some(load) = loads.recv().await {
            if self.send(&load).await.is_err() {
                return;
            }
            self.shared.progress.finish(load.first, load.rows() as u64);
        }
    }

    /// Sends a load's rows in requests as large as they may be.
    async fn send(&self, load: &Load) -> Result<(), Stopped> {
        let mut parts: Vec<Range<usize>> = std::iter::once(0..load.rows()).collect();
        while let Some(part) = parts.pop() {
            if let Some(why) = self.settle(load, part.clone()).await? {
                if part.len() == 1 {
                    self.refused(1, &why);
                    continue;
                }
                let middle = load.middle(part.clone());
                parts.push(middle..part.end);
                parts.push(part.start..middle);
            }
        }
        Ok(())
    }

    /// Sends a range of rows; some text when it is too much for one request.
    async fn settle(&self, load: &Load, part: Range<usize>) -> Result<Option<String>, Stopped> {
        loop {
            if let Some(reason) = self.unwanted(load) {
                self.shared.counts.drop(reason, part.len() as u64);
                return Ok(None);
            }
            let made = match self.make(load, part.clone()) {
                Ok(made) => made,
                Err(why) => return Ok(Some(why)),
            };
            let unwanted = || self.unwanted(load);
            match self.deliver(&made, &unwanted).await? {
                Tried::Settled => return Ok(None),
                Tried::Halve(why) => return Ok(Some(why)),
                Tried::Downgrade => {}
            }
        }
    }

    /// Why a load is not sent, if it is not.
    fn unwanted(&self, load: &Load) -> Option<Dropped> {
        match self.shared.is_loop(&load.origin) {
            true => Some(Dropped::Loop),
            false => self.shared.below_floor(load.last),
        }
    }

    /// A request of a range of rows; some text when it is over the receiver's bounds.
    pub(crate) fn make(&self, load: &Load, part: Range<usize>) -> Result<Made, String> {
        let settings = &self.shared.settings;
        let mut options = Options { ..settings.options.clone() };
        if self.shared.is_downgraded() {
            options.version = Version::One;
        }
        let now_ms = self.shared.env.clock.now_ms();
        let age_ms = settings.queues.sample_age.map(|age| i64::try_from(age.as_millis()).unwrap_or(i64::MAX));
        let oldest_ms = age_ms.map_or(i64::MIN, |age_ms| now_ms.saturating_sub(age_ms));
        let rows = part.len() as u64;
        let (parcel, too_old) = load.parcel(part, oldest_ms);
        let body = (settings.speaker.encode)(&parcel, &options);
        if body.bytes.len() > settings.speaker.body_bytes_max {
            return Err(format!("a request of {} bytes is too long for the receiver", body.bytes.len()));
        }
        let packed = pack(body.packing, &body.bytes).map_err(|error| error.to_string())?;
        if packed.len() > settings.speaker.packed_bytes_max {
            return Err(format!("a request of {} packed bytes is too long for the receiver", packed.len()));
        }
        let mut headers: Vec<(String, String)> = vec![("content-type".into(), body.media.into())];
        if body.packing != Encoding::Identity {
            headers.push(("content-encoding".into(), body.packing.as_str().into()));
        }
        headers.extend(body.headers.into_iter().map(|(name, value)| (name.to_owned(), value)));
        headers
            .extend(settings.headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone())));
        headers.extend(self.origin_headers(&load.origin));
        let is_empty = body.bytes.is_empty();
        let unsaid = if is_empty { rows - too_old } else { body.unsaid };
        Ok(Made {
            headers,
            body: if is_empty { Bytes::new() } else { packed.into() },
            version: options.version,
            rows: rows - too_old - unsaid,
            unsaid,
            too_old,
        })
    }

    fn origin_headers(&self, origin: &Origin) -> [(String, String); 2] {
        let via: Vec<String> = origin
            .via
            .iter()
            .chain([&self.shared.instance])
            .map(|instance| format!("{instance:016x}"))
            .collect();
        let hops = origin.hops.saturating_add(1);
        [("x-weir-hops".into(), hops.to_string()), ("x-weir-via".into(), via.join(","))]
    }

    /// Sends a request until the receiver has taken or refused it, or it is `unwanted`.
    pub(crate) async fn deliver(
        &self,
        made: &Made,
        unwanted: &(dyn Fn() -> Option<Dropped> + Sync),
    ) -> Result<Tried, Stopped> {
        let counts = &self.shared.counts;
        if made.body.is_empty() {
            self.settled(made);
            return Ok(Tried::Settled);
        }
        let mut headers = made.headers.clone();
        let mut attempt: u32 = 0;
        loop {
            attempt = attempt.saturating_add(1);
            if let Some(reason) = unwanted() {
                counts.drop(reason, made.rows + made.unsaid + made.too_old);
                return Ok(Tried::Settled);
            }
            let posted = tokio::select! {
                posted = self.post.post(&headers, made.body.clone()) => posted,
                () = self.shared.grace_over() => return Err(Stopped),
            };
            let (why, asked) = match posted {
                Ok(answer) => match self.judged(&answer, made) {
                    Ok(tried) => return Ok(tried),
                    Err(why) => {
                        let now_ms = self.shared.env.clock.now_ms();
                        (why, answer.header("retry-after").and_then(|text| retry_after(text, now_ms)))
                    }
                },
                Err(why) => {
                    counts.request(0);
                    (why, None)
                }
            };
            self.shared.failed(&why);
            if self.shared.is_stopping() {
                return Err(Stopped);
            }
            let wait = self.shared.settings.pauses.after(attempt, asked, &self.shared.env);
            self.shared.pause(wait).await;
            if self.shared.is_stopping() {
                return Err(Stopped);
            }
            Counts::add(&counts.retried, made.rows);
            headers.retain(|(name, _)| name != "retry-attempt");
            headers.push(("retry-attempt".into(), attempt.to_string()));
        }
    }

    /// What an answer means; an error when the same is to be sent once more.
    fn judged(&self, answer: &Answer, made: &Made) -> Result<Tried, String> {
        let counts = &self.shared.counts;
        counts.request(answer.status);
        Counts::add(&counts.bytes, made.body.len() as u64);
        if let Some(receiver) =
            answer.header("x-weir-instance").and_then(|id| u64::from_str_radix(id, 16).ok())
        {
            self.shared.meet(receiver);
        }
        let headers: Vec<(&str, &str)> =
            answer.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let answered =
            Answered { status: answer.status, headers: &headers, body: &answer.body, version: made.version };
        // The receiver is somewhere else: that is no word about the data.
        if (300..400).contains(&answer.status) {
            return Err(moved(answer));
        }
        match (self.shared.settings.speaker.judge)(&answered) {
            Outcome::Taken => {
                self.settled(made);
                self.shared.succeeded();
            }
            Outcome::TakenBut { refused, why } => {
                let refused = refused.min(made.rows);
                self.settled(&Made { rows: made.rows - refused, ..made.clone() });
                self.refused(refused, &why);
            }
            Outcome::Again(why) => return Err(why),
            Outcome::Halve(why) => return Ok(Tried::Halve(why)),
            Outcome::Downgrade(why) => {
                if made.version == Version::One {
                    self.refused(made.rows, &why);
                } else {
                    let output = &self.shared.settings.name;
                    tracing::info!(output, why, "the receiver does not know version 2.0: it gets 1.0");
                    self.shared.downgrade();
                    return Ok(Tried::Downgrade);
                }
            }
            Outcome::Drop(why) => self.refused(made.rows, &why),
        }
        Ok(Tried::Settled)
    }

    fn settled(&self, made: &Made) {
        let counts = &self.shared.counts;
        Counts::add(&counts.sent, made.rows);
        counts.drop(Dropped::Unsaid, made.unsaid);
        counts.drop(Dropped::SampleAge, made.too_old);
    }

    pub(crate) fn refused(&self, rows: u64, why: &str) {
        self.shared.counts.drop(Dropped::Refused, rows);
        self.shared.failed(why);
    }
}

/// Where a redirect that was not followed leads, without what may be a secret in it.
fn moved(answer: &Answer) -> String {
    let Some(location) = answer.header("location") else {
        return format!("{}: the receiver leads elsewhere", answer.status);
    };
    let location = location.split(['?', '#']).next().unwrap_or_default();
    let place = match location.split_once("://") {
        Some((scheme, rest)) => {
            let end = rest.find('/').unwrap_or(rest.len());
            let host = rest[..end].rsplit('@').next().unwrap_or_default();
            format!("{scheme}://{host}{}", &rest[end..])
        }
        None => location.to_owned(),
    };
    format!("{}: the receiver leads to {}", answer.status, model::labels::truncated(&place))
}
