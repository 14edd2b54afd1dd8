//! Data's way in, on one screen: credential → tenant, rate, byte permit → body → inflate → decode → append → ticket →
//! verdict → reply.
//!
//! Whatever refuses a request does so through the dialect's own reply. From the append on nothing can be cancelled: a
//! sender that leaves takes only the answer with it, and what became of its samples is counted all the same.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use admission::{Grant, Permit, Refused, Scope};
use axum::body::{Body, Bytes};
use dialects::{ByteLimits, Decode, Dialect, Encoding, Received, Refusal, ReplyTo, Verdict};
use http::request::Parts;
use http::{Request, StatusCode, header};
use model::batch::Items;
use model::{Batch, Origin, Reason, Signal, Temporality};
use sha2::{Digest, Sha256};
use tokio::sync::oneshot;
use tsdb::{AppendError, Appended, Committed, Ticket, WriteContext, WriteError};

use crate::app::App;
use crate::body::{self, ReadError};
use crate::pool::PoolError;
use crate::respond::{self, Answer};
use crate::tally::Tally;
use crate::{gate, grpc, outputs};

/// Bodies up to this many bytes are decoded where they are; larger ones would keep the runtime from other sockets.
const INLINE_BYTES_MAX: usize = 64 << 10;
/// The same for what they inflate to, as declared; a body that does not declare it is taken for a large one.
const INLINE_INFLATED_MAX: u64 = 1 << 20;
/// Memory that a thread keeps for the next body.
const KEPT_BYTES_MAX: usize = 4 << 20;

/// One route on which a dialect takes bodies.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The protocol.
    pub dialect: &'static Dialect,
    /// Its body limits, as configured.
    pub limits: ByteLimits,
    /// What lies around the body's message.
    pub frame: Frame,
    /// What is done with the body.
    pub task: Task,
    /// Verdict to answer.
    pub reply: ReplyTo,
}

/// What lies around a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Nothing: the body is the message.
    Bare,
    /// gRPC's, which [`crate::grpc`] takes away.
    Grpc,
}

/// What is done with a body.
#[derive(Clone, Copy, Debug)]
pub enum Task {
    /// It is decoded and stored.
    Store {
        /// Whether the dialect can take the request at all.
        accept: fn(&dialects::Request<'_>) -> Result<(), Refusal>,
        /// Bytes to batch.
        decode: Decode,
    },
    /// It is read, counted and dropped.
    Discard,
    /// Nobody reads it: the question is whether its credential may write.
    Check,
}

/// Takes one request in.
pub async fn ingest(app: Arc<App>, entry: Entry, request: Request<Body>) -> Answer {
    let began = app.env.clock.monotonic();
    let (parts, body) = request.into_parts();
    let parts = Arc::new(parts);
    let outcome = take(&app, entry, &parts, body).await;
    let mut answer = match outcome {
        Ok(verdict) => respond::reply((entry.reply)(&head(&parts), &verdict)),
        Err(early) => early.answer(&app, entry, &parts),
    };
    outputs::tell_instance(&app, &parts.headers, &mut answer);
    let took = app.env.clock.monotonic().saturating_sub(began);
    app.metrics.ack_seconds.with(&[entry.dialect.name]).observe(took);
    answer
}

async fn take(app: &Arc<App>, entry: Entry, parts: &Arc<Parts>, body: Body) -> Result<Verdict, Early> {
    let grant = gate::admit(app, parts, entry.dialect.credentials, Scope::Write)?;
    let decode = match entry.task {
        Task::Check => return Ok(Verdict::default()),
        Task::Discard => None,
        Task::Store { accept, decode } => {
            accept(&head(parts))?;
            Some(decode)
        }
    };
    let origin = outputs::origin(app, &parts.headers)?;
    let encodings = if decode.is_some() { entry.dialect.encodings(&head(parts))? } else { Vec::new() };
    let mut permit = permit(app, entry, &grant, &body)?;
    may_come(app, entry, &grant, parts)?;
    let window = app.config().http.body_timeout;
    let bytes = body::read(body, entry.limits.wire, &mut permit, &*app.env.clock, window).await?;
    let Some(decode) = decode else {
        app.metrics.not_kept.of_tenant(grant.tenant.name.as_str(), &[entry.dialect.name]).add(1);
        return Ok(Verdict::default());
    };
    let (bytes, encodings) = match entry.frame {
        Frame::Bare => (bytes, encodings),
        Frame::Grpc => grpc::message(&bytes, encodings, entry.limits.wire)?,
    };
    let parts = Arc::clone(parts);
    let work = Work { app: Arc::clone(app), entry, decode, parts, origin, encodings, bytes };
    Ok(store(app, work, permit, grant).await.unwrap_or_else(|refusal| {
        app.metrics.requests_refused.with(&[label(&refusal)]).add(1);
        Verdict::refused(refusal)
    }))
}

async fn store(app: &Arc<App>, work: Work, permit: Permit, grant: Grant) -> Result<Verdict, Refusal> {
    let Queued { appended, durable, echo, mut items, has_hosts, lines_wait } =
        work.run(permit, grant).await?;
    if has_hosts {
        save_hosts(app).await?;
    }
    match durable.await {
        Ok(Ok(_)) if lines_wait => Err(no_room_for_lines()),
        Ok(Ok(committed)) => {
            let appended = appended.settled(committed);
            items.refuse_all(&appended.refused_items);
            Ok(Verdict {
                accepted: appended.accepted,
                rejected: appended.rejected,
                refusal: None,
                echo,
                items,
            })
        }
        Ok(Err(error)) => Err(not_durable(app, &error)),
        // The writer is gone, which it is when Weir stops: the same request does better later.
        Err(_) => Err(overloaded("stopping")),
    }
}

/// On a thread that may wait for the disk.
async fn save_hosts(app: &Arc<App>) -> Result<(), Refusal> {
    let its = Arc::clone(app);
    let saved = app.decoding.run(move || its.hosts.save()).await;
    saved.map_err(|_| overloaded("decoding queue"))?.map_err(|error| {
        tracing::warn!(%error, "tags of hosts cannot be saved");
        overloaded("disk")
    })
}

/// Whether the client has not made too many requests of late, where its dialect says how many are.
fn may_come(app: &App, entry: Entry, grant: &Grant, parts: &Parts) -> Result<(), Refusal> {
    if entry.dialect.name != dialects::betterstack::DIALECT.name {
        return Ok(());
    }
    let limit = app.config().choices.of(&grant.tenant.name).betterstack.requests_per_minute;
    let Some(client) = gate::client(app, parts).filter(|_| limit > 0) else { return Ok(()) };
    app.clients.count(grant.tenant.id, client.address, limit, app.env.clock.monotonic()).map_err(|over| {
        app.refusals.note(&app.env, "client_rate", &client.address.to_string());
        let seconds = over.retry_after.as_millis().div_ceil(1000);
        Refusal::ManyRequests { retry_after_s: u32::try_from(seconds).unwrap_or(60) }
    })
}

/// Everything that can be refused before a byte of the body is read.
fn permit(app: &App, entry: Entry, grant: &Grant, body: &Body) -> Result<Permit, Refusal> {
    let now = app.env.clock.monotonic();
    let tenant = &grant.tenant;
    app.may_write()?;
    app.rates.check(tenant.id, &tenant.limits, now).map_err(|over| {
        app.refusals.note(&app.env, "over_rate", tenant.name.as_str());
        Refusal::OverRate { retry_after_s: u32::try_from(over.retry_after.as_secs()).unwrap_or(30) }
    })?;
    let wire = entry.limits.wire;
    let declared = body::declared(body).unwrap_or(0);
    if declared > wire as u64 {
        return Err(Refusal::TooBig { limit: wire });
    }
    app.bytes.take(tenant.id, declared, now).map_err(|_| overloaded("bodies in flight"))
}

/// A body that was read, on its way into the store.
struct Work {
    app: Arc<App>,
    entry: Entry,
    decode: Decode,
    parts: Arc<Parts>,
    /// Who sent it on.
    origin: Origin,
    /// In the order in which they are unpacked.
    encodings: Vec<Encoding>,
    bytes: Bytes,
}

/// A batch that waits for the disk.
struct Queued {
    appended: Appended,
    durable: oneshot::Receiver<Result<Committed, WriteError>>,
    /// What the answer repeats.
    echo: Option<String>,
    /// What became of what the sender counts.
    items: Items,
    /// Whether it told tags of hosts. Also those that are known may not have been saved yet.
    has_hosts: bool,
    /// Whether its lines found no room, and the sender must come again with them.
    lines_wait: bool,
}

impl Work {
    async fn run(self, permit: Permit, grant: Grant) -> Result<Queued, Refusal> {
        if self.is_small() {
            return self.decode_and_append(permit, &grant);
        }
        let app = Arc::clone(&self.app);
        let result = app.decoding.run(move || self.decode_and_append(permit, &grant)).await;
        result.unwrap_or_else(|error| match error {
            PoolError::Full => Err(overloaded("decoding queue")),
            PoolError::Panicked => {
                app.metrics.panics.add(1);
                Err(Refusal::Internal)
            }
        })
    }

    fn decode_and_append(self, mut permit: Permit, grant: &Grant) -> Result<Queued, Refusal> {
        let settings = self.app.config().choices.of(&grant.tenant.name);
        let hosts = self.app.hosts.of(grant.tenant.id);
        with_scratch(|scratch| {
            let body = self.inflate(&mut permit, &mut scratch.inflated)?;
            let mut batch = std::mem::take(&mut scratch.batch).recycled();
            let received_ms = self.app.env.clock.now_ms();
            let request = head(&self.parts);
            let received = Received { request, body, received_ms, settings: &settings, hosts: &hosts };
            let queued = self.decode_into(received, &mut batch, grant);
            scratch.batch = batch.recycled();
            queued
        })
    }

    fn is_small(&self) -> bool {
        // Zstandard declares the length of its first frame only.
        let [encoding] = self.encodings[..] else { return false };
        let declares = matches!(encoding, Encoding::Identity | Encoding::Snappy);
        let inflated = codec::inflate::declared_length(encoding, &self.bytes);
        self.bytes.len() <= INLINE_BYTES_MAX
            && declares
            && inflated.is_some_and(|bytes| bytes <= INLINE_INFLATED_MAX)
    }

    /// The body as its dialect reads it. What it inflates to is paid for step by step before it takes memory.
    fn inflate<'a>(&'a self, permit: &mut Permit, out: &'a mut Vec<u8>) -> Result<&'a [u8], Refusal> {
        let limit = self.entry.limits.decoded;
        // Nothing is nothing in any packing, but for the one that a dialect always has.
        let is_nothing = self.bytes.is_empty() && self.entry.dialect.encodings[0] == Encoding::Identity;
        let packed = self.encodings.iter().filter(|encoding| !is_nothing && **encoding != Encoding::Identity);
        let (wire, now) = (permit.amount(), self.app.env.clock.monotonic());
        // What a packing lay in, when there are several: both are held and paid while the next is unpacked.
        let mut outer = None;
        for encoding in packed {
            let before = permit.amount();
            let input = outer.as_deref().unwrap_or(&self.bytes[..]);
            let pay = |more| permit.grow(more, now).map_err(|_| overloaded("bodies in flight"));
            codec::inflate::inflate_paid(*encoding, input, limit, out, pay)?;
            permit.shrink_to(before + out.len() as u64);
            outer = Some(std::mem::take(out));
        }
        let Some(inflated) = outer else {
            return if self.bytes.len() > limit { Err(Refusal::TooBig { limit }) } else { Ok(&self.bytes) };
        };
        *out = inflated;
        permit.shrink_to(wire + out.len() as u64);
        Ok(out)
    }

    /// What tells a request with deltas from others: sent again, it counts once. SHA-256 of route and body, cut to 128 bits.
    fn digest(&self, batch: &Batch<'_>, received: &Received<'_>) -> Option<u128> {
        let deltas = || batch.series.iter().filter(|series| series.temporality == Temporality::Delta);
        let floats = deltas().flat_map(|series| &batch.samples[series.samples.clone()]);
        let histograms = deltas().flat_map(|series| &batch.histograms[series.histograms.clone()]);
        let times = floats.map(|sample| sample.timestamp_ms);
        let mut times = times.chain(histograms.map(|sample| sample.timestamp_ms)).peekable();
        times.peek()?;
        let mut hash = Sha256::new();
        // Where a delta's time is that of its reception, the same bytes are something new when they come later.
        if times.any(|timestamp_ms| timestamp_ms == received.received_ms) {
            hash.update(received.received_ms.to_le_bytes());
        }
        hash.update(self.parts.uri.path().as_bytes());
        hash.update([0]);
        // As it was before packing: a sender may pack it anew each time.
        hash.update(received.body);
        let digest: [u8; 32] = hash.finalize().into();
        let (half, _) = digest.split_first_chunk().expect("32 bytes have 16");
        Some(u128::from_le_bytes(*half))
    }

    fn decode_into<'a>(
        &self,
        received: Received<'a>,
        batch: &mut Batch<'a>,
        grant: &Grant,
    ) -> Result<Queued, Refusal> {
        let (app, tenant) = (&self.app, &*grant.tenant);
        let store = app.store().ok_or_else(|| overloaded("starting"))?;
        batch.seed = store.seed();
        batch.origin = self.origin.clone();
        (self.decode)(&received, batch)?;
        for (note, count) in &batch.notes {
            app.metrics.notes.of_tenant(tenant.name.as_str(), &[note]).add(*count);
        }
        let tally = Tally::of(tenant.name.as_str(), batch);
        app.rates.charge(tenant.id, &tenant.limits, tally.samples(), app.env.clock.monotonic());
        let context = WriteContext {
            tenant: tenant.id,
            limits: &tenant.limits,
            epoch: tenant.epoch,
            now_ms: received.received_ms,
            digest: self.digest(batch, &received),
        };
        let mut queued = store.append(&context, batch);
        let mut lines_wait = false;
        let has_others = !batch.series.is_empty() || !batch.hosts.is_empty();
        if has_others && matches!(queued, Err(AppendError::LogsFull)) {
            // Else what came beside the lines would wait for room that may never come. Where lines are things that the sender
            // counts, it is told to come again with them: what is stored then, is stored already.
            lines_wait = batch.items.sent() > 0;
            let lines = batch.logs.len() as u64;
            for row in batch.logs.drain(..) {
                batch.items.refuse_one(row.item);
            }
            batch.rejections.add(Signal::LogLine, Reason::LogsFull, lines);
            batch.rejections.explain(|| AppendError::LogsFull.to_string());
            app.refusals.note(&app.env, "logs_full", tenant.name.as_str());
            queued = store.append(&context, batch);
        }
        match queued {
            Ok((ticket, appended)) => {
                let durable = bridge(ticket, tally.appended(&app.metrics, &appended));
                let hosts = std::mem::take(&mut batch.hosts);
                let has_hosts = !hosts.is_empty();
                let refused = app.hosts.learn(tenant.id, hosts);
                if refused > 0 {
                    app.metrics.notes.of_tenant(tenant.name.as_str(), &["host_tags_not_kept"]).add(refused);
                }
                let items = std::mem::take(&mut batch.items);
                Ok(Queued { appended, durable, echo: batch.echo.take(), items, has_hosts, lines_wait })
            }
            Err(error) => {
                tally.refused(&app.metrics);
                Err(not_queued(app, grant, &error))
            }
        }
    }
}

/// Brings a ticket's completion from the writer's thread to a task. Counting happens there, whether or not the sender
/// still waits.
pub(crate) fn bridge(
    ticket: Ticket,
    tally: impl FnOnce(Option<&Committed>) + Send + 'static,
) -> oneshot::Receiver<Result<Committed, WriteError>> {
    let (done, durable) = oneshot::channel();
    ticket.on_done(move |result| {
        tally(result.as_ref().ok());
        let _ = done.send(result);
    });
    durable
}

/// What a thread keeps between bodies.
#[derive(Default)]
struct Scratch {
    batch: Batch<'static>,
    inflated: Vec<u8>,
}

fn with_scratch<T>(work: impl FnOnce(&mut Scratch) -> T) -> T {
    thread_local! {
        static SCRATCH: RefCell<Scratch> = RefCell::default();
    }
    // Taken out, so that a panic in `work` leaves a fresh one behind.
    let mut scratch = SCRATCH.with(RefCell::take);
    let result = work(&mut scratch);
    scratch.inflated.clear();
    scratch.inflated.shrink_to(KEPT_BYTES_MAX);
    scratch.batch.samples.shrink_to(KEPT_BYTES_MAX / size_of::<model::Sample>());
    scratch.batch.series.shrink_to(KEPT_BYTES_MAX / 128);
    scratch.batch.pairs.shrink_to(KEPT_BYTES_MAX / 48);
    scratch.batch.histograms.shrink_to(KEPT_BYTES_MAX / size_of::<model::batch::HistogramSample>());
    scratch.batch.exemplars.shrink_to(KEPT_BYTES_MAX / size_of::<model::batch::Exemplar>());
    scratch.batch.metadata.shrink_to(KEPT_BYTES_MAX / size_of::<model::batch::MetadataRow<'_>>());
    scratch.batch.logs.shrink_to(KEPT_BYTES_MAX / size_of::<model::LogRow<'_>>());
    SCRATCH.with(|kept| kept.replace(scratch));
    result
}

/// The head as dialects see it.
pub fn head(parts: &Parts) -> dialects::Request<'_> {
    let text = |name: header::HeaderName| parts.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or("");
    dialects::Request {
        path: parts.uri.path(),
        query: parts.uri.query().unwrap_or(""),
        content_type: text(header::CONTENT_TYPE),
        content_encoding: text(header::CONTENT_ENCODING),
        channel: text(header::HeaderName::from_static("x-splunk-request-channel")),
        scheme: text(header::AUTHORIZATION).trim().split(' ').next().unwrap_or(""),
    }
}

fn overloaded(what: &'static str) -> Refusal {
    Refusal::Overloaded { retry_after_s: 1, what }
}

fn not_queued(app: &App, grant: &Grant, error: &AppendError) -> Refusal {
    let (what, seconds) = match error {
        AppendError::QueueFull => ("write queue", 1),
        AppendError::Memory => ("memory", 2),
        AppendError::Disk(_) => ("disk", 5),
        AppendError::Closing => ("stopping", 5),
        AppendError::Deleted => return deleted(app, grant),
        // Of log lines alone: nothing else is turned away for it.
        AppendError::LogsFull => {
            app.refusals.note(&app.env, "logs_full", grant.tenant.name.as_str());
            return no_room_for_lines();
        }
        AppendError::LogsFailing => return Refusal::Overloaded { retry_after_s: 5, what: "disk" },
    };
    app.shed.begin(app.env.clock.monotonic(), what, Duration::from_millis(200));
    Refusal::Overloaded { retry_after_s: seconds, what }
}

fn no_room_for_lines() -> Refusal {
    Refusal::Overloaded { retry_after_s: 60, what: "room for log lines" }
}

/// The answer that the sender's next request will get at the gate.
fn deleted(app: &App, grant: &Grant) -> Refusal {
    // The request was charged to it after its meter had gone.
    app.rates.forget(grant.tenant.id);
    match grant.token {
        Some(_) => Refusal::BadCredential,
        // Without tokens a name that is no tenant's is forbidden.
        None => Refusal::Forbidden,
    }
}

fn not_durable(app: &App, error: &WriteError) -> Refusal {
    tracing::warn!(%error, "an append did not become durable");
    app.shed.begin(app.env.clock.monotonic(), "disk", Duration::from_millis(200));
    Refusal::Overloaded { retry_after_s: 5, what: "disk" }
}

/// An answer that is given before the body was read to its end.
enum Early {
    Refused(Refused),
    Refusal(Refusal),
    Unread(ReadError),
}

impl From<Refused> for Early {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl From<Refusal> for Early {
    fn from(refusal: Refusal) -> Self {
        Self::Refusal(refusal)
    }
}

impl From<ReadError> for Early {
    fn from(error: ReadError) -> Self {
        Self::Unread(error)
    }
}

impl Early {
    fn answer(self, app: &App, entry: Entry, parts: &Parts) -> Answer {
        let refused = |refusal| respond::reply((entry.reply)(&head(parts), &Verdict::refused(refusal)));
        app.metrics.requests_refused.with(&[self.label()]).add(1);
        respond::closing(match self {
            Self::Refused(refused_) if refused_.is_bad_request() => {
                let mut answer = refused(Refusal::Undecodable(refused_.to_string()));
                *answer.status_mut() = StatusCode::BAD_REQUEST;
                answer
            }
            Self::Refused(Refused::NoCredential) => refused(Refusal::NoCredential),
            Self::Refused(Refused::BadCredential) => refused(Refusal::BadCredential),
            Self::Refused(_) => refused(Refusal::Forbidden),
            Self::Refusal(refusal) => refused(refusal),
            Self::Unread(ReadError::TooBig(limit)) => refused(Refusal::TooBig { limit }),
            Self::Unread(ReadError::Full(_)) => refused(overloaded("bodies in flight")),
            Self::Unread(ReadError::Broken) => {
                refused(Refusal::Undecodable("the body ended early".to_owned()))
            }
            // Not 408: a sender that does not retry it would throw good samples away.
            Self::Unread(ReadError::TooSlow) => refused(overloaded("time: the body came too slowly")),
        })
    }

    fn label(&self) -> &'static str {
        match self {
            Self::Refused(refused) => gate::label(*refused),
            Self::Refusal(refusal) => label(refusal),
            Self::Unread(ReadError::TooBig(_)) => "too_big",
            Self::Unread(ReadError::Full(_)) => "overloaded",
            Self::Unread(ReadError::TooSlow) => "too_slow",
            Self::Unread(ReadError::Broken) => "broken",
        }
    }
}

/// The value of the self-metrics' label `reason`.
fn label(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::NoCredential => "no_credential",
        Refusal::BadCredential => "bad_credential",
        Refusal::Forbidden => "forbidden",
        Refusal::TooBig { .. } => "too_big",
        Refusal::Undecodable(_) => "undecodable",
        Refusal::UnsupportedMedia(_) | Refusal::UnsupportedEncoding(_) => "unsupported",
        Refusal::OverRate { .. } => "over_rate",
        Refusal::ManyRequests { .. } => "client_rate",
        Refusal::Overloaded { .. } => "overloaded",
        Refusal::Internal => "internal",
    }
}
