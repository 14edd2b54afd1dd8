//! Outputs whose receivers add what comes again: they get a value per series and window of ten seconds.
//!
//! Running totals of the log become what they grew by (`aggregation::added`). When windows are over, their requests are made
//! and stored in the cursor's file, together with what the windows remember and how far the log was read; only then are they
//! sent, one after the other, until they are taken. A crash at any moment leaves either rows that are read again into the same
//! windows, or requests that are sent again byte for byte: a receiver that knows repeated requests adds nothing twice.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aggregation::added::{Closed, LATENESS_MS, Nature, Read, Row, Source, Windows};
use codec::chunk::Corrupt;
use codec::chunk::bytes::{Reader, put_bytes, put_varint};
use codec::inflate::{Encoding, inflate};
use codec::pack::pack;
use dialects::outgoing::Version;
use hashbrown::HashMap;
use model::{Labels, Origin, Sample, SeriesId, TenantId};
use tsdb::{Entry, Follower, Pairs, Step};
use wal::Position;

use crate::choose::{Chooser, Decision, REMEMBERED};
use crate::content::Content;
use crate::counts::{Counts, Dropped};
use crate::cursor::{self, Cursor, Stored, holder};
use crate::family::Families;
use crate::load::Load;
use crate::output::Context;
use crate::post::Post;
use crate::reader::LOOK;
use crate::shard::{Made, Shard, Stopped, Tried};
use crate::shared::Shared;
use crate::whole::Whole;

/// How often windows are looked at while there is more to read.
const LOOKED: Duration = Duration::from_secs(1);
/// How often the file is written at least while there is nothing to send: the log is held from where it says.
const KEPT: Duration = Duration::from_secs(1);
/// Making and writing the file takes one of so many parts of the time at most, however much windows remember.
const KEPT_PART: u32 = 20;
/// Bytes of requests, with what they were made of, that are stored and sent before more windows are looked at.
const OUTBOX_BYTES_MAX: usize = 16 << 20;
/// See `OUTBOX_BYTES_MAX`.
const OUTBOX_REQUESTS_MAX: usize = 1_000;
/// How long it is believed what a series is.
const BELIEVED: Duration = Duration::from_secs(60);
/// Between tries to write the file.
const REWRITE: Duration = Duration::from_secs(1);
/// Of the form in which the state of windows is stored. Nothing that was released wrote one below.
const STATE_VERSION: u8 = 2;

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
    let remembered = encode(&windows);
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
            swept: shared.now(),
            at: cursor.position,
            now: shared.now(),
        },
        read_to: cursor.position,
        due: Duration::ZERO,
        remembered,
        encoded_in: Duration::ZERO,
        follower,
    };
    // What is not sent when the output stops is in the file.
    let _ = adding.run(cursor.outbox);
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
    /// When the file is written next though there is nothing new to send.
    due: Duration,
    /// What windows remembered when something was made of them.
    remembered: Vec<u8>,
    /// How long it took to encode that.
    encoded_in: Duration,
}

/// What was made of windows that are over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    All,
    /// There may be more.
    More,
}

/// Rows for which a request had no place.
#[derive(Default)]
struct Left {
    unsaid: u64,
    too_old: u64,
}

/// Puts rows into windows.
struct Taker<'o> {
    shared: &'o Shared,
    chooser: Chooser,
    families: Families,
    windows: BTreeMap<TenantId, Windows>,
    series: HashMap<(TenantId, SeriesId), Known, foldhash::fast::RandomState>,
    /// When series that give no rows any more were last forgotten.
    swept: Duration,
    at: Position,
    now: Duration,
}

/// What is known of a series.
struct Known {
    labels: Labels,
    nature: Nature,
    /// When its nature was asked for.
    asked: Duration,
    /// When its last row came.
    used: Duration,
}

impl Adding<'_> {
    fn run(mut self, outbox: Vec<Stored>) -> Result<(), Stopped> {
        if !outbox.is_empty() {
            self.send(outbox)?;
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
            if self.shared.now().saturating_sub(looked) >= LOOKED {
                looked = self.shared.now();
                while self.close(read)? == Over::More && !self.shared.is_stopping() {}
            }
        }
        self.remember();
        self.store(Vec::new())
    }

    /// Sends what is over, as much as is stored at once.
    fn close(&mut self, read: Read) -> Result<Over, Stopped> {
        let now_ms = self.shared.env.clock.now_ms();
        let (mut outbox, mut bytes, mut over) = (Vec::new(), 0, Over::All);
        let mut all = std::mem::take(&mut self.taker.windows);
        'tenants: for (tenant, windows) in &mut all {
            while let Some(closed) = windows.close(now_ms, read) {
                let before = outbox.len();
                self.make(*tenant, &closed, &mut outbox);
                bytes += outbox[before..].iter().map(Stored::len).sum::<usize>();
                if bytes >= OUTBOX_BYTES_MAX || outbox.len() >= OUTBOX_REQUESTS_MAX {
                    over = Over::More;
                    break 'tenants;
                }
            }
        }
        self.taker.windows = all;
        if outbox.is_empty() {
            self.keep()?;
            return Ok(over);
        }
        self.remember();
        self.store(outbox.clone())?;
        self.send(outbox)?;
        Ok(over)
    }

    /// What windows remember now is what the file gets.
    fn remember(&mut self) {
        let began = self.shared.now();
        self.remembered = encode(&self.taker.windows);
        self.encoded_in = self.shared.now().saturating_sub(began);
    }

    /// Writes how far the log was read when there was nothing to send for a while.
    fn keep(&mut self) -> Result<(), Stopped> {
        let has_moved = self.shared.progress.cursor() != self.read_to;
        match has_moved && self.shared.now() >= self.due {
            true => {
                self.remember();
                self.store(Vec::new())
            }
            false => Ok(()),
        }
    }

    /// The requests of a window.
    fn make(&mut self, tenant: TenantId, closed: &Closed, outbox: &mut Vec<Stored>) {
        let rows_max = self.shared.settings.queues.rows_max;
        let new = |taker: &Taker<'_>| Load::new(closed.origin.clone(), taker.at, taker.now);
        let mut load = new(&self.taker);
        let mut rows: Vec<(Option<Whole>, &Row)> =
            closed.rows.iter().map(|row| (self.whole(row), row)).collect();
        rows.sort_by_key(|(whole, _)| *whole);
        for (whole, row) in rows {
            if load.ends_before(whole, rows_max) {
                let full = std::mem::replace(&mut load, new(&self.taker));
                self.cut_whole(tenant, &full, outbox);
            }
            self.put(tenant, row, &mut load);
        }
        self.cut_whole(tenant, &load, outbox);
    }

    /// What a row goes together with.
    fn whole(&self, row: &Row) -> Option<Whole> {
        self.shared.settings.keeps_parts_together().then(|| Whole::of(row.labels.iter()))
    }

    /// Adds a series' part of a window to a load.
    fn put(&mut self, tenant: TenantId, row: &Row, load: &mut Load) {
        let name = row.labels.metric_name().unwrap_or("");
        let family = self.taker.families.of(tenant, name, self.taker.now);
        let number = load.push_series(row.labels.iter(), family, row.temporality);
        self.whole(row).into_iter().for_each(|whole| load.belongs(whole));
        row.samples.iter().for_each(|sample| load.push_sample(number, *sample));
    }

    fn cut_whole(&self, tenant: TenantId, load: &Load, outbox: &mut Vec<Stored>) {
        let left = self.cut(tenant, load, std::iter::once(0..load.rows()).collect(), outbox);
        self.shared.counts.drop(Dropped::Unsaid, left.unsaid);
        self.shared.counts.drop(Dropped::SampleAge, left.too_old);
    }

    /// Cuts parts of a load, the last one first, into requests that the receiver takes.
    fn cut(
        &self,
        tenant: TenantId,
        load: &Load,
        mut parts: Vec<Range<usize>>,
        outbox: &mut Vec<Stored>,
    ) -> Left {
        let mut left = Left::default();
        while let Some(part) = parts.pop() {
            if part.is_empty() {
                continue;
            }
            match self.shard.make(load, part.clone()) {
                Ok(made) => {
                    left.unsaid += made.unsaid;
                    left.too_old += made.too_old;
                    if !made.body.is_empty() {
                        let Made { rows, headers, body, .. } = made;
                        let (parcel, _) = load.parcel(part, i64::MIN);
                        let content = Content::of(tenant, &load.origin, &parcel).encode();
                        outbox.push(Stored { rows, headers, body: body.to_vec(), content });
                    }
                }
                Err(why) if part.len() == 1 => self.shard.refused(1, &why),
                Err(_) => {
                    let middle = load.middle(part.clone());
                    parts.push(middle..part.end);
                    parts.push(part.start..middle);
                }
            }
        }
        left
    }

    /// The rows of a request that its receiver finds too large, in requests that are smaller; a single one is dropped.
    fn halve(&mut self, stored: &Stored, why: &str) -> Vec<Stored> {
        let mut halves = Vec::new();
        let Ok(content) = Content::decode(&stored.content) else {
            self.shard.refused(stored.rows, why);
            return halves;
        };
        let mut load = Load::new(content.origin, self.taker.at, self.taker.now);
        content.rows.iter().for_each(|row| self.put(content.tenant, row, &mut load));
        let rows = load.rows();
        if rows < 2 {
            self.shard.refused(stored.rows, why);
            return halves;
        }
        let middle = load.middle(0..rows);
        let left = self.cut(content.tenant, &load, vec![middle..rows, 0..middle], &mut halves);
        // Some were left out of the request already, and counted then.
        let known = (rows as u64).saturating_sub(stored.rows);
        self.shared.counts.drop(Dropped::Unsaid, left.unsaid.saturating_sub(known));
        let known = known.saturating_sub(left.unsaid);
        self.shared.counts.drop(Dropped::SampleAge, left.too_old.saturating_sub(known));
        halves
    }

    /// Sends stored requests until they are taken. What is not is in the file when the output stops.
    fn send(&mut self, outbox: Vec<Stored>) -> Result<(), Stopped> {
        let mut outbox = VecDeque::from(outbox);
        while let Some(stored) = outbox.pop_front() {
            match self.deliver(&stored) {
                Ok(Tried::Settled) => {
                    if self.shared.now() >= self.due {
                        self.store(outbox.iter().cloned().collect())?;
                    }
                }
                Ok(Tried::Halve(why)) => {
                    for half in self.halve(&stored, &why).into_iter().rev() {
                        outbox.push_front(half);
                    }
                    self.store(outbox.iter().cloned().collect())?;
                }
                Ok(Tried::Downgrade) => {
                    self.shard.refused(stored.rows, "the receiver knows no version of it");
                }
                Err(Stopped) => {
                    outbox.push_front(stored);
                    self.store(outbox.into())?;
                    return Err(Stopped);
                }
            }
        }
        self.store(Vec::new())
    }

    fn deliver(&self, stored: &Stored) -> Result<Tried, Stopped> {
        let made = Made {
            headers: stored.headers.clone(),
            body: stored.body.clone().into(),
            version: Version::One,
            rows: stored.rows,
            unsaid: 0,
            too_old: 0,
        };
        let unwanted = || self.shared.below_floor(self.read_to);
        self.context.runtime.block_on(self.shard.deliver(&made, &unwanted))
    }

    /// Writes the file: before it is written nothing of `outbox` may be sent.
    fn store(&mut self, outbox: Vec<Stored>) -> Result<(), Stopped> {
        let began = self.shared.now();
        let Context { env, data_dir, store, .. } = self.context;
        let (name, stream) = (&self.shared.settings.name, self.shared.settings.stream());
        let cursor = Cursor {
            marks: self.shared.marks(),
            windows: self.remembered.clone(),
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
        // What was read and is in no file is read again after a crash: the output is behind by it.
        self.shared.progress.reach(self.read_to);
        let ended = self.shared.now();
        self.due = ended + KEPT.max(KEPT_PART * (self.encoded_in + ended.saturating_sub(began)));
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
        self.sweep();
        let (now, families) = (self.now, &mut self.families);
        let decision = self.chooser.decide(tenant, id, now, || pairs.of(series));
        if *decision == Decision::Dropped {
            return;
        }
        let known = self.series.entry((tenant, id)).or_insert_with(|| {
            let labels = match decision {
                Decision::Under(labels) => labels.clone(),
                _ => Labels::from_pairs(pairs.of(series)),
            };
            // Asked before anything was known: asked again below.
            Known { labels, nature: Nature::Gauge, asked: Duration::MAX, used: now }
        });
        known.used = now;
        if known.asked == Duration::MAX || now.saturating_sub(known.asked) >= BELIEVED {
            let name = known.labels.metric_name().unwrap_or("");
            let family = families.of(tenant, name, now);
            known.nature = Nature::of(name, family.map(|family| family.metadata.kind));
            known.asked = now;
        }
        let source = Source { id, labels: &known.labels, origin };
        self.windows.entry(tenant).or_default().take(&source, sample, known.nature);
    }

    /// Forgets series that gave no rows for long.
    fn sweep(&mut self) {
        let now = self.now;
        if now.saturating_sub(self.swept) >= REMEMBERED {
            self.swept = now;
            self.series.retain(|_, known| now.saturating_sub(known.used) < REMEMBERED);
        }
    }
}

/// What windows remember, packed: labels repeat, so it is a tenth of its length or less.
///
/// ```text
/// version (1) · tenants, each number · length before packing · length, and that as one zstd frame
/// ```
fn encode(windows: &BTreeMap<TenantId, Windows>) -> Vec<u8> {
    let mut out = vec![STATE_VERSION];
    put_varint(&mut out, windows.len() as u64);
    for (tenant, windows) in windows {
        let mut bytes = Vec::new();
        windows.encode(&mut bytes);
        put_varint(&mut out, u64::from(tenant.0));
        put_varint(&mut out, bytes.len() as u64);
        put_bytes(&mut out, &pack(Encoding::Zstd, &bytes).expect("zstd packs any length"));
    }
    out
}

fn decode(bytes: &[u8]) -> Result<BTreeMap<TenantId, Windows>, Corrupt> {
    if bytes.is_empty() {
        return Ok(BTreeMap::new());
    }
    let mut reader = Reader::new(bytes);
    if reader.byte()? != STATE_VERSION {
        return Err(Corrupt);
    }
    let (mut all, mut state) = (BTreeMap::new(), Vec::new());
    for _ in 0..reader.count_of(3)? {
        let tenant = TenantId(reader.number()?);
        let length = reader.length()?;
        inflate(Encoding::Zstd, reader.bytes()?, length, &mut state).map_err(|_| Corrupt)?;
        all.insert(tenant, Windows::decode(&state, LATENESS_MS).map_err(|_| Corrupt)?);
    }
    if reader.is_empty() { Ok(all) } else { Err(Corrupt) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_windows_remember_is_packed_and_comes_back_whole() {
        let (mut windows, mut plain) = (Windows::default(), Vec::new());
        for series in 0..2_000 {
            let (pod, path) = (format!("web-{}", series % 50), format!("/api/v1/things/{series}"));
            let labels =
                [("__name__", "http_requests_total"), ("job", "web"), ("pod", &pod), ("path", &path)];
            let labels = Labels::from_pairs(labels);
            for step in 0..3 {
                let timestamp_ms = 1_700_000_000_000 + step * 15_000 + series % 1_000;
                let sample = Sample { timestamp_ms, value: (series * step) as f64, start_ms: 0 };
                let source =
                    Source { id: SeriesId(series as u128), labels: &labels, origin: &Origin::SENDER };
                windows.take(&source, &sample, Nature::Total);
            }
        }
        windows.encode(&mut plain);
        let all: BTreeMap<_, _> = [(TenantId(1), windows), (TenantId(7), Windows::default())].into();
        let packed = encode(&all);
        assert!(packed.len() * 4 < plain.len(), "{} of {}", packed.len(), plain.len());
        assert_eq!(decode(&packed).unwrap(), all);
        assert_eq!(decode(&[]).unwrap(), BTreeMap::new());
        for length in 1..packed.len() {
            assert!(decode(&packed[..length]).is_err(), "{length}");
        }
        let other_version = [&[STATE_VERSION + 1], &packed[1..]].concat();
        assert!(decode(&other_version).is_err());
    }
}
