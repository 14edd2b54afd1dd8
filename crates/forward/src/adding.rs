//! Outputs whose receivers add what comes again: they get a value per series and window of ten seconds.
//!
//! Running totals of the log become what they grew by (`aggregation::added`). When windows are over, their requests are made
//! and stored in the cursor's file, together with what the windows remember and how far the log was read; only then are they
//! sent, one after the other, until they are taken. A crash at any moment leaves either rows that are read again into the same
//! windows, or requests that are sent again byte for byte: a receiver that knows repeated requests adds nothing twice.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aggregation::added::{Closed, Nature, Read, Windows};
use codec::chunk::Corrupt;
use codec::chunk::bytes::{Reader, put_bytes, put_varint};
use dialects::outgoing::Version;
use hashbrown::HashMap;
use model::{Labels, Origin, Sample, SeriesId, TenantId};
use tsdb::{Entry, Follower, Pairs, Step};
use wal::Position;

use crate::choose::{Chooser, Decision};
use crate::counts::{Counts, Dropped};
use crate::cursor::{self, Cursor, Stored, holder};
use crate::family::Families;
use crate::load::Load;
use crate::output::Context;
use crate::post::Post;
use crate::reader::LOOK;
use crate::shard::{Made, Shard, Stopped, Tried};
use crate::shared::Shared;

/// How often windows are looked at while there is more to read.
const LOOKED: Duration = Duration::from_secs(1);
/// How long it is believed what a series is.
const BELIEVED: Duration = Duration::from_secs(60);
/// Between tries to write the file.
const REWRITE: Duration = Duration::from_secs(1);

/// Runs the output until it stops.
pub(crate) fn run(shared: &Arc<Shared>, context: &Context, post: &Arc<dyn Post>, stored: &Mutex<Cursor>) {
    let cursor = stored.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let windows = decode(&cursor.windows).unwrap_or_else(|_| {
        tracing::error!(
            output = shared.settings.name,
            "what the output's windows remembered is damaged: totals begin anew"
        );
        BTreeMap::new()
    });
    let follower = context.store.follow(shared.settings.stream(), cursor.position);
    let adding = Adding {
        shared,
        context,
        shard: Shard { shared: Arc::clone(shared), post: Arc::clone(post) },
        stored,
        taker: Taker {
            shared,
            chooser: Chooser::new(Arc::clone(&shared.settings), Arc::clone(&context.name_of)),
            families: Families::new(context.store.clone()),
            windows,
            series: HashMap::default(),
            origin: Origin::SENDER,
            at: cursor.position,
            now: shared.now(),
        },
        read_to: cursor.position,
        follower,
    };
    // What is not sent when the output stops is in the file.
    let _ = adding.run(&cursor.outbox);
}

struct Adding<'o> {
    shared: &'o Arc<Shared>,
    context: &'o Context,
    shard: Shard,
    stored: &'o Mutex<Cursor>,
    follower: Follower,
    taker: Taker<'o>,
    /// Everything before it is in windows.
    read_to: Position,
}

/// Puts rows into windows.
struct Taker<'o> {
    shared: &'o Shared,
    chooser: Chooser,
    families: Families,
    windows: BTreeMap<TenantId, Windows>,
    series: HashMap<(TenantId, SeriesId), (Labels, Nature, Duration), foldhash::fast::RandomState>,
    /// Of all rows since windows were closed: the ways of their requests' rows together.
    origin: Origin,
    at: Position,
    now: Duration,
}

impl Adding<'_> {
    fn run(mut self, outbox: &[Stored]) -> Result<(), Stopped> {
        if !outbox.is_empty() {
            self.send(outbox)?;
            self.store(Vec::new())?;
        }
        let mut looked = self.shared.now();
        while !self.shared.is_stopping() {
            self.taker.now = self.shared.now();
            self.taker.at = self.follower.position();
            let taker = &mut self.taker;
            let read = match self.follower.read(&mut |entry, pairs| taker.take(&entry, pairs)) {
                Ok(Step::Frame { next }) => {
                    self.read_to = next;
                    Read::InParts
                }
                Ok(Step::Lost { frames, next }) => {
                    Counts::add(&self.shared.counts.lost_frames, frames);
                    self.read_to = next;
                    Read::InParts
                }
                Ok(Step::End) => {
                    self.context.store.wait_log(
                        self.shared.settings.stream(),
                        self.follower.position(),
                        LOOK,
                    );
                    Read::ToItsEnd
                }
                Err(error) => {
                    self.shared.failed(&format!("the log cannot be read: {error}"));
                    std::thread::sleep(LOOK);
                    Read::InParts
                }
            };
            self.shared.progress.reach(self.read_to);
            if self.shared.now().saturating_sub(looked) >= LOOKED {
                looked = self.shared.now();
                self.close(read)?;
            }
        }
        self.store(Vec::new())
    }

    /// Sends what is over.
    fn close(&mut self, read: Read) -> Result<(), Stopped> {
        let now_ms = self.shared.env.clock.now_ms();
        let mut outbox = Vec::new();
        let mut all = std::mem::take(&mut self.taker.windows);
        for (tenant, windows) in &mut all {
            while let Some(closed) = windows.close(now_ms, read) {
                self.make(*tenant, &closed, &mut outbox);
            }
        }
        self.taker.windows = all;
        if outbox.is_empty() {
            return Ok(());
        }
        self.taker.origin = Origin::SENDER;
        self.store(outbox.clone())?;
        self.send(&outbox)?;
        self.store(Vec::new())
    }

    /// The requests of a window.
    fn make(&mut self, tenant: TenantId, closed: &Closed, outbox: &mut Vec<Stored>) {
        let rows_max = self.shared.settings.queues.rows_max;
        let new = |taker: &Taker<'_>| Load::new(taker.origin.clone(), taker.at, taker.now);
        let mut load = new(&self.taker);
        for row in &closed.rows {
            let name = row.labels.metric_name().unwrap_or("");
            let family = self.taker.families.of(tenant, name, self.taker.now);
            let number = load.push_series(row.labels.iter(), family, row.temporality);
            row.samples.iter().for_each(|sample| load.push_sample(number, *sample));
            if load.rows() >= rows_max {
                let full = std::mem::replace(&mut load, new(&self.taker));
                self.cut(&full, outbox);
            }
        }
        self.cut(&load, outbox);
    }

    /// Cuts a load into requests that the receiver takes.
    fn cut(&self, load: &Load, outbox: &mut Vec<Stored>) {
        let mut parts: Vec<Range<usize>> = std::iter::once(0..load.rows()).collect();
        while let Some(part) = parts.pop() {
            if part.is_empty() {
                continue;
            }
            match self.shard.make(load, part.clone()) {
                Ok(made) => {
                    self.shared.counts.drop(Dropped::Unsaid, made.unsaid);
                    self.shared.counts.drop(Dropped::SampleAge, made.too_old);
                    if !made.body.is_empty() {
                        let Made { rows, headers, body, .. } = made;
                        outbox.push(Stored { rows, headers, body: body.to_vec() });
                    }
                }
                Err(why) if part.len() == 1 => self.shard.refused(1, &why),
                Err(_) => {
                    let middle = part.start + part.len() / 2;
                    parts.push(middle..part.end);
                    parts.push(part.start..middle);
                }
            }
        }
    }

    /// Sends stored requests until they are taken.
    fn send(&self, outbox: &[Stored]) -> Result<(), Stopped> {
        for stored in outbox {
            let made = Made {
                headers: stored.headers.clone(),
                body: stored.body.clone().into(),
                version: Version::One,
                rows: stored.rows,
                unsaid: 0,
                too_old: 0,
            };
            let unwanted = || self.shared.below_floor(self.read_to);
            match self.context.runtime.block_on(self.shard.deliver(&made, &unwanted))? {
                Tried::Settled => {}
                // Its bytes are what makes it the same request.
                Tried::Halve(why) => self.shard.refused(stored.rows, &why),
                Tried::Downgrade => self.shard.refused(stored.rows, "the receiver knows no version of it"),
            }
        }
        Ok(())
    }

    /// Writes the file: before it is written nothing of `outbox` may be sent.
    fn store(&self, outbox: Vec<Stored>) -> Result<(), Stopped> {
        let Context { env, data_dir, store, .. } = self.context;
        let (name, stream) = (&self.shared.settings.name, self.shared.settings.stream());
        let cursor = Cursor {
            marks: self.shared.marks(),
            windows: encode(&self.taker.windows),
            outbox,
            ..Cursor::at(stream, self.read_to)
        };
        while let Err(error) = cursor::store(&*env.files, data_dir, name, &cursor) {
            tracing::error!(output = name, %error, "the output's cursor cannot be written: nothing is sent until it can");
            if self.shared.is_stopping() {
                return Err(Stopped);
            }
            self.context.runtime.block_on(self.shared.pause(REWRITE));
        }
        store.hold_log(&holder(name), stream, self.read_to);
        *self.stored.lock().unwrap_or_else(PoisonError::into_inner) = cursor;
        Ok(())
    }
}

impl Taker<'_> {
    fn take(&mut self, entry: &Entry<'_>, pairs: &Pairs) {
        match entry {
            Entry::Sample { series, sample, origin } => self.sample(series, sample, origin, pairs),
            // Windows know floats only.
            Entry::Histogram { series, .. } | Entry::Exemplar { series, .. } => {
                if self.chooser.has_tenant(series.tenant, &self.shared.counts) {
                    self.shared.counts.drop(Dropped::Unsaid, 1);
                }
            }
            Entry::Metadata { tenant, .. } => self.families.changed(*tenant),
            Entry::Line { .. } => {}
        }
    }

    fn sample(&mut self, series: &tsdb::Series, sample: &Sample, origin: &Origin, pairs: &Pairs) {
        let (tenant, id) = (series.tenant, series.id);
        if !self.chooser.has_tenant(tenant, &self.shared.counts) {
            return;
        }
        let reason = match self.shared.is_loop(origin) {
            true => Some(Dropped::Loop),
            false => self.shared.below_floor(self.at),
        };
        if let Some(reason) = reason {
            return self.shared.counts.drop(reason, 1);
        }
        let decision = self.chooser.decide(tenant, id, self.now, || pairs.of(series));
        if *decision == Decision::Dropped {
            return;
        }
        let (now, families) = (self.now, &mut self.families);
        let (labels, nature, asked) = self.series.entry((tenant, id)).or_insert_with(|| {
            let labels = match decision {
                Decision::Under(labels) => labels.clone(),
                _ => Labels::from_pairs(pairs.of(series)),
            };
            // Asked before anything was known: asked again below.
            (labels, Nature::Gauge, Duration::MAX)
        });
        if *asked == Duration::MAX || now.saturating_sub(*asked) >= BELIEVED {
            let name = labels.metric_name().unwrap_or("");
            let family = families.of(tenant, name, now);
            (*nature, *asked) = (Nature::of(name, family.map(|family| family.metadata.kind)), now);
        }
        self.windows.entry(tenant).or_default().take(labels, sample, *nature);
        if !origin.is_sender() {
            self.origin.hops = self.origin.hops.max(origin.hops);
            let new = origin.via.iter().filter(|instance| !self.origin.via.contains(instance));
            let new: Vec<u64> = new.copied().collect();
            self.origin.via.extend(new);
        }
    }
}

fn encode(windows: &BTreeMap<TenantId, Windows>) -> Vec<u8> {
    let mut out = Vec::new();
    put_varint(&mut out, windows.len() as u64);
    for (tenant, windows) in windows {
        let mut bytes = Vec::new();
        windows.encode(&mut bytes);
        put_varint(&mut out, u64::from(tenant.0));
        put_bytes(&mut out, &bytes);
    }
    out
}

fn decode(bytes: &[u8]) -> Result<BTreeMap<TenantId, Windows>, Corrupt> {
    if bytes.is_empty() {
        return Ok(BTreeMap::new());
    }
    let mut reader = Reader::new(bytes);
    let mut all = BTreeMap::new();
    for _ in 0..reader.count_of(2)? {
        let tenant = TenantId(reader.number()?);
        all.insert(tenant, Windows::decode(reader.bytes()?).map_err(|_| Corrupt)?);
    }
    Ok(all)
}
