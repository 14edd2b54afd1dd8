//! The windows of one tenant's keys.
//!
//! A key is found by a hash of the bytes that name it on the wire. Several hashes may lead to one key (another order of
//! tags): they are aliases, found out once by describing what the bytes mean. The open window lies where the clock puts
//! it; what comes after its end and before its flush still counts in it, so whoever adds flushes first when it is due.

use hashbrown::{HashMap, HashTable};
use model::Labels;

use crate::closed::Closed;
use crate::distinct::{Distinct, MEMBER_BYTES};
use crate::distribution::{CELL_BYTES, Distribution};
use crate::entry::{ALIASES_MAX, Class, Described, Entry, State};
use crate::{FORGET_MS, WINDOW_MS};

/// Bounds on the memory of one tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Keys at once.
    pub keys: usize,
    /// Bytes of labels and of what the open window has seen.
    pub bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { keys: 100_000, bytes: 128 << 20 }
    }
}

/// What was seen. Numbers are finite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Observation<'a> {
    /// A counter grew by this, weighted by its sample rate.
    Count(f64),
    /// A counter grew by this in the window that began then, in ms since the epoch.
    CountAt(f64, i64),
    /// A gauge is this.
    Gauge(f64),
    /// A gauge is this much more than it was; one that is not known was 0.
    GaugeBy(f64),
    /// A gauge was this then, in ms since the epoch.
    GaugeAt(f64, i64),
    /// Values of a distribution, and how many observations each stands for.
    Values(&'a [f64], f64),
    /// The hash of a member of a set.
    Member(u64),
}

impl Observation<'_> {
    fn class(&self) -> Class {
        match self {
            Self::Count(_) | Self::CountAt(..) => Class::Counter,
            Self::Gauge(_) | Self::GaugeBy(_) | Self::GaugeAt(..) => Class::Gauge,
            Self::Values(..) => Class::Distribution,
            Self::Member(_) => Class::Set,
        }
    }
}

/// Why an observation was not taken. `as_str` is the value of the self-metrics' label `reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refused {
    /// Occurs when there are as many keys as there may be, and this is a new one.
    Keys,
    /// Occurs when the tenant's bytes are all taken, and this needs some.
    Memory,
    /// Occurs when the key has no series: its labels cannot be made.
    Labels,
    /// Occurs when a sum is not finite any more.
    Overflow,
}

impl Refused {
    /// Every reason.
    pub const ALL: [Refused; 4] = [Self::Keys, Self::Memory, Self::Labels, Self::Overflow];

    /// The value of the self-metrics' label `reason`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Keys => "keys",
            Self::Memory => "memory",
            Self::Labels => "labels",
            Self::Overflow => "overflow",
        }
    }
}

/// What a flush closed.
pub type Flushed = std::vec::IntoIter<Closed>;

/// Times of one key that a window tells apart.
const STAMPS_MAX: usize = 1000;

/// Bytes of a value with its time.
const STAMP_BYTES: usize = size_of::<(i64, f64)>();

/// Bytes of an entry beside its labels, with the tables' slack.
const ENTRY_BYTES: usize = size_of::<Entry>() + 96;

/// One tenant's keys.
pub struct Windows {
    limits: Limits,
    /// When these windows began to exist: the first one is not whole.
    began_ms: i64,
    /// Where the open window begins, by the clock.
    start_ms: i64,
    entries: Vec<Option<Entry>>,
    free: Vec<u32>,
    /// From the hash of the wire to the entry.
    aliases: HashTable<(u128, u32)>,
    /// From type and first series to the entry.
    series: HashMap<(Class, Labels), u32, foldhash::fast::RandomState>,
    /// Bytes of entries and labels, which stay, and of the open window.
    bytes: usize,
    window_bytes: usize,
}

impl Windows {
    /// No keys yet.
    pub fn new(limits: Limits, now_ms: i64) -> Self {
        Self {
            limits,
            began_ms: now_ms,
            start_ms: aligned(now_ms),
            entries: Vec::new(),
            free: Vec::new(),
            aliases: HashTable::new(),
            series: HashMap::with_hasher(foldhash::fast::RandomState::default()),
            bytes: 0,
            window_bytes: 0,
        }
    }

    /// When the open window ends.
    pub fn end_ms(&self) -> i64 {
        self.start_ms + WINDOW_MS
    }

    /// Whether the open window is over: by its end, or because the clock was put back before it.
    #[inline]
    pub fn is_due(&self, now_ms: i64) -> bool {
        now_ms >= self.end_ms() || now_ms < self.start_ms
    }

    /// Keys that are known.
    pub fn keys(&self) -> usize {
        self.series.len()
    }

    /// Bytes that are held, roughly.
    pub fn bytes(&self) -> usize {
        self.bytes + self.window_bytes
    }

    /// Takes an observation. `describe` is called when no key is known by this `hash`; it says `None` when the key cannot
    /// be a series.
    #[inline]
    pub fn add(
        &mut self,
        now_ms: i64,
        hash: u128,
        observation: Observation<'_>,
        describe: impl FnOnce() -> Option<Described>,
    ) -> Result<(), Refused> {
        // 0 stands where an entry has no alias.
        let hash = hash.max(1);
        let slot = match self.aliases.find(hash as u64, |(known, _)| *known == hash) {
            Some((_, slot)) => *slot,
            None => self.resolve(now_ms, hash, observation.class(), describe)?,
        };
        let room = Room {
            all: self.limits.bytes.saturating_sub(self.bytes()),
            // Values only make quantiles exact: half is for what cannot be done without.
            values: (self.limits.bytes / 2).saturating_sub(self.bytes()),
        };
        let entry = self.entries[slot as usize].as_mut().expect("aliases die with their entry");
        self.window_bytes += observe(entry, observation, room)?;
        // What is refused keeps no key alive.
        entry.seen_ms = now_ms;
        Ok(())
    }

    /// Closes the open window if it is over: what it has seen, key by key, and the end of keys that were not seen for
    /// [`FORGET_MS`]. The next window is that of `now_ms`.
    pub fn flush(&mut self, now_ms: i64) -> Flushed {
        if self.is_due(now_ms) { self.close(now_ms) } else { Vec::new().into_iter() }
    }

    /// Closes the open window although it is not over, before everything stops.
    pub fn close(&mut self, now_ms: i64) -> Flushed {
        // The process before this one may have written a part of the first window, at its start.
        let start_ms = self.start_ms.max(self.began_ms.min(self.end_ms() - 1));
        let end_ms = self.end_ms().min(now_ms.max(start_ms + 1));
        let mut closed = Vec::with_capacity(self.series.len());
        let mut kept = 0;
        for slot in 0..self.entries.len() {
            let Some(entry) = &mut self.entries[slot] else { continue };
            closed.extend(entry.close(start_ms, end_ms));
            // A clock that was put back makes nobody older.
            entry.seen_ms = entry.seen_ms.min(now_ms);
            if now_ms - entry.seen_ms >= FORGET_MS {
                closed.push(entry.end(start_ms, end_ms));
                self.forget(slot);
            } else {
                kept += entry.before.len() * STAMP_BYTES;
            }
        }
        self.window_bytes = kept;
        self.start_ms = aligned(now_ms);
        self.began_ms = self.began_ms.min(now_ms);
        closed.into_iter()
    }

    /// Closes the open window and ends all series: their keys mean others from now on.
    pub fn end(mut self, now_ms: i64) -> Flushed {
        let (start_ms, end_ms) = (self.start_ms, self.end_ms());
        let mut closed: Vec<Closed> = self.close(now_ms).collect();
        closed.extend(self.entries.iter().flatten().map(|entry| entry.end(start_ms, end_ms.min(now_ms))));
        closed.into_iter()
    }

    /// Finds the key that new bytes mean, or makes it.
    #[cold]
    fn resolve(
        &mut self,
        now_ms: i64,
        hash: u128,
        class: Class,
        describe: impl FnOnce() -> Option<Described>,
    ) -> Result<u32, Refused> {
        let described =
            describe().filter(|described| !described.outputs.is_empty()).ok_or(Refused::Labels)?;
        let identity = (class, described.outputs[0].labels.clone());
        let slot = match self.series.get(&identity) {
            Some(slot) => {
                let entry = self.entries[*slot as usize].as_mut().expect("series die with their entry");
                // A distribution that is a histogram now has more series than before.
                if described.outputs.len() > entry.described.outputs.len() {
                    self.bytes += described.bytes() - entry.described.bytes().min(described.bytes());
                    entry.described = described;
                    entry.is_written = false;
                }
                *slot
            }
            None => self.insert(now_ms, class, described)?,
        };
        let entry = self.entries[slot as usize].as_mut().expect("found or made");
        if let Some(place) = entry.aliases.iter_mut().find(|known| **known == 0) {
            *place = hash;
            self.aliases.insert_unique(hash as u64, (hash, slot), |(known, _)| *known as u64);
        }
        Ok(slot)
    }

    fn insert(&mut self, now_ms: i64, class: Class, described: Described) -> Result<u32, Refused> {
        if self.series.len() >= self.limits.keys {
            return Err(Refused::Keys);
        }
        let bytes = ENTRY_BYTES + described.bytes();
        if self.bytes() + bytes > self.limits.bytes {
            return Err(Refused::Memory);
        }
        let state = match class {
            Class::Counter => {
                State::Counter { sum: 0.0, total: 0.0, start_ms: self.start_ms.max(self.began_ms) }
            }
            Class::Gauge => State::Gauge { value: 0.0, is_set: false },
            Class::Set => State::Set(Distinct::default()),
            Class::Distribution => State::Distribution(None),
        };
        let identity = (class, described.outputs[0].labels.clone());
        let entry = Entry {
            described,
            class,
            state,
            stamped: Vec::new(),
            before: Vec::new(),
            aliases: [0; ALIASES_MAX],
            seen_ms: now_ms,
            is_written: false,
        };
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.entries.push(None);
                (self.entries.len() - 1) as u32
            }
        };
        self.entries[slot as usize] = Some(entry);
        self.series.insert(identity, slot);
        self.bytes += bytes;
        Ok(slot)
    }

    fn forget(&mut self, slot: usize) {
        let entry = self.entries[slot].take().expect("it was there");
        self.bytes -= ENTRY_BYTES + entry.described.bytes();
        for hash in entry.aliases.into_iter().filter(|hash| *hash != 0) {
            if let Ok(found) = self.aliases.find_entry(hash as u64, |(known, _)| *known == hash) {
                found.remove();
            }
        }
        self.series.remove(&(entry.class, entry.described.outputs[0].labels.clone()));
        self.free.push(slot as u32);
    }
}

fn aligned(now_ms: i64) -> i64 {
    now_ms.div_euclid(WINDOW_MS) * WINDOW_MS
}

/// Bytes that are left.
#[derive(Clone, Copy)]
struct Room {
    all: usize,
    values: usize,
}

impl Room {
    fn check(self, bytes: usize) -> Result<(), Refused> {
        if bytes <= self.all { Ok(()) } else { Err(Refused::Memory) }
    }
}

/// Puts an observation into its key; how many bytes it took.
#[inline]
fn observe(entry: &mut Entry, observation: Observation<'_>, room: Room) -> Result<usize, Refused> {
    match (&mut entry.state, observation) {
        (State::Counter { .. }, Observation::CountAt(value, at))
            if entry.described.outputs[0].role != crate::Role::Total =>
        {
            // The row of the last window is overwritten by that of this one.
            let known = entry.before.binary_search_by_key(&at, |(known, _)| *known);
            let written = known.map_or(0.0, |place| entry.before[place].1);
            stamp(&mut entry.stamped, at, room, |before| before.unwrap_or(written) + value)
        }
        // A running total has no past: it takes what has a time now.
        (State::Counter { sum, total, .. }, Observation::Count(value) | Observation::CountAt(value, _)) => {
            if !(*total + *sum + value).is_finite() {
                return Err(Refused::Overflow);
            }
            *sum += value;
            Ok(0)
        }
        (State::Gauge { value, is_set }, Observation::Gauge(now)) => {
            (*value, *is_set) = (now, true);
            Ok(0)
        }
        (State::Gauge { value, is_set }, Observation::GaugeBy(change)) => {
            if !(*value + change).is_finite() {
                return Err(Refused::Overflow);
            }
            (*value, *is_set) = (*value + change, true);
            Ok(0)
        }
        (State::Gauge { .. }, Observation::GaugeAt(value, at)) => {
            stamp(&mut entry.stamped, at, room, |_| value)
        }
        (State::Set(distinct), Observation::Member(member)) => {
            if !distinct.is_new(member) {
                return Ok(0);
            }
            room.check(MEMBER_BYTES)?;
            distinct.insert(member);
            Ok(MEMBER_BYTES)
        }
        (State::Distribution(distribution), Observation::Values(values, weight)) => {
            let mut taken = if distribution.is_none() { size_of::<Distribution>() } else { 0 };
            room.check(taken + values.len() * CELL_BYTES)?;
            let before = distribution.as_ref().map_or(0.0, |distribution| distribution.sum);
            if !values.iter().fold(before, |sum, value| sum + value * weight).is_finite() {
                return Err(Refused::Overflow);
            }
            let distribution = distribution.get_or_insert_default();
            for value in values {
                taken += distribution.add(*value, weight, room.values.saturating_sub(taken));
            }
            Ok(taken)
        }
        _ => unreachable!("a key's hash covers its type"),
    }
}

/// One value for each time, sorted: a later one is put together with the one before.
fn stamp(
    stamped: &mut Vec<(i64, f64)>,
    at: i64,
    room: Room,
    value: impl FnOnce(Option<f64>) -> f64,
) -> Result<usize, Refused> {
    let place = stamped.binary_search_by_key(&at, |(known, _)| *known);
    let value = value(place.ok().map(|place| stamped[place].1));
    if !value.is_finite() {
        return Err(Refused::Overflow);
    }
    match place {
        Ok(place) => {
            stamped[place].1 = value;
            Ok(0)
        }
        Err(_) if stamped.len() == STAMPS_MAX => Err(Refused::Memory),
        Err(place) => {
            room.check(STAMP_BYTES)?;
            stamped.insert(place, (at, value));
            Ok(STAMP_BYTES)
        }
    }
}
