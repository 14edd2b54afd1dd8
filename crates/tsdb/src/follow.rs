//! Reading the log behind the writer: what outputs send on.
//!
//! A [`Follower`] gives what was acknowledged from a position on, in the order of the log, whatever became of it since: it
//! needs neither head nor blocks. A series is told once and then by reference ([`Series`]), which stays good for as long
//! as somebody holds it; labels are kept once each, as numbers, so a hundred thousand series take some ten megabytes.
//!
//! What an output has not sent yet is held back ([`Store::hold_log`]): segments from there on are not removed, and a
//! start passes them over.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use hashbrown::HashTable;
use model::batch::{Exemplar, HistogramSample};
use model::{LabelsRef, Metadata, Origin, Sample, SeriesId, TenantId};
use wal::{Next, Position, Stream, Tail};

use crate::head::table::series_id;
use crate::logs::{self, LogRecord};
use crate::record::{self, Record, Row, Unreadable};
use crate::store::{Inner, Store};

/// A series of the log.
#[derive(Debug, PartialEq, Eq)]
pub struct Series {
    /// Whose it is.
    pub tenant: TenantId,
    /// The same in log, head and blocks.
    pub id: SeriesId,
    /// Numbers of its labels in [`Pairs`], in the order of their names.
    labels: Box<[u32]>,
}

/// Something that was acknowledged.
#[derive(Debug)]
pub enum Entry<'f> {
    /// A float; stale markers too.
    Sample {
        /// Its series.
        series: &'f Arc<Series>,
        /// The row.
        sample: Sample,
        /// Who sent it on.
        origin: &'f Origin,
    },
    /// A native histogram.
    Histogram {
        /// Its series.
        series: &'f Arc<Series>,
        /// The row.
        sample: &'f HistogramSample,
        /// Who sent it on.
        origin: &'f Origin,
    },
    /// An exemplar.
    Exemplar {
        /// Its series.
        series: &'f Arc<Series>,
        /// The row.
        exemplar: &'f Exemplar,
        /// Who sent it on.
        origin: &'f Origin,
    },
    /// What became known of a family, or changed. Told when it was sent, so not after every start.
    Metadata {
        /// Whose it is.
        tenant: TenantId,
        /// The family.
        family: &'f str,
        /// Type, unit and help.
        metadata: &'f Metadata,
    },
    /// A log line.
    Line {
        /// The line with its stream.
        record: LogRecord<'f>,
        /// Who sent it on.
        origin: &'f Origin,
    },
}

/// How far a follower came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A frame, whose entries were told. What is read next is `next`.
    Frame {
        /// The position behind it.
        next: Position,
    },
    /// So many frames are damaged, or not there any more.
    Lost {
        /// Of those that were acknowledged.
        frames: u64,
        /// The position behind them.
        next: Position,
    },
    /// Nothing more was acknowledged.
    End,
}

/// Occurs when the log cannot be read on.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// Occurs when a newer Weir wrote a segment.
    #[error(transparent)]
    Read(#[from] wal::ReadError),
    /// Occurs when a newer Weir wrote a record that must not be skipped.
    #[error("the log has a record of kind {0}, which this Weir does not know")]
    Newer(u8),
}

/// A reader behind the writer. It belongs to one thread.
pub struct Follower {
    inner: Arc<Inner>,
    stream: Stream,
    tail: Tail,
    /// Frames before this one are read for the series that they define, and told nobody.
    from: u64,
    /// By slot: the series, and the segment that defined it last.
    series: Vec<Option<(Arc<Series>, u64)>>,
    segment: u64,
    pairs: Pairs,
    /// A record that this Weir does not know: nothing behind it is read.
    newer: Option<u8>,
}

impl Store {
    /// A follower that tells everything from `from` on; from the default position everything that the log still has. A
    /// position that this log never had, as one is that outlived what a power cut took of it, is taken for where the
    /// log ended when it was opened: rather twice than never.
    pub fn follow(&self, stream: Stream, from: Position) -> Follower {
        let inner = Arc::clone(&self.inner);
        let from = inner.log_ends.known(stream, from);
        let files = Arc::clone(&inner.env.files);
        let tail = Tail::new(files, &inner.stream_directory(stream), stream, from);
        let (series, pairs) = (Vec::new(), Pairs::default());
        Follower { inner, stream, tail, from: from.sequence, series, segment: 0, pairs, newer: None }
    }

    /// The position behind everything that was acknowledged.
    pub fn log_end(&self, stream: Stream) -> Position {
        self.inner.log_ends.of(stream)
    }

    /// Blocks up to `wait` until something is acknowledged behind `after`; whether something is.
    pub fn wait_log(&self, stream: Stream, after: Position, wait: Duration) -> bool {
        self.inner.log_ends.wait(stream, after, wait)
    }

    /// Keeps the log from `from` on, in place of what `holder` held before.
    pub fn hold_log(&self, holder: &str, stream: Stream, from: Position) {
        let before = self.inner.held_from(stream);
        let segment = self.inner.log_ends.known(stream, from).segment;
        let mut holds = self.inner.log_holds.lock().expect("lock");
        holds.retain(|hold| hold.holder != holder);
        holds.push(Hold { holder: holder.to_owned(), stream, segment });
        drop(holds);
        if stream == Stream::Metrics && self.inner.held_from(stream) > before {
            self.inner.trim_released();
        }
    }

    /// Ends a holder's hold.
    pub fn release_log(&self, holder: &str) {
        self.inner.log_holds.lock().expect("lock").retain(|hold| hold.holder != holder);
        self.inner.trim_released();
    }

    /// About how many bytes of the log lie behind `from`.
    pub fn log_bytes_behind(&self, stream: Stream, from: Position) -> io::Result<u64> {
        let (end, files) = (self.log_end(stream), &*self.inner.env.files);
        let directory = self.inner.stream_directory(stream);
        if from >= end {
            return Ok(0);
        }
        let mut bytes = 0;
        for number in wal::segments(files, &directory)?.into_iter().filter(|n| *n >= from.segment) {
            let length = match files.open(&directory.join(wal::file_name(number))) {
                Ok(file) => file.length()?,
                // Removed meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
                Err(error) => return Err(error),
            };
            bytes += if number == from.segment { self.part_behind(stream, from, length) } else { length };
        }
        Ok(bytes)
    }

    /// What of a segment's length lies behind the position, as if all frames were of one length.
    fn part_behind(&self, stream: Stream, from: Position, length: u64) -> u64 {
        let files = &*self.inner.env.files;
        let directory = self.inner.stream_directory(stream);
        let first = |number| wal::first_sequence(files, &directory, stream, number).ok().flatten();
        let end = self.log_end(stream);
        let next = if end.segment > from.segment { first(from.segment + 1) } else { None };
        let begin = first(from.segment).unwrap_or(from.sequence);
        let end = next.unwrap_or(end.sequence);
        let (all, left) = (end.saturating_sub(begin).max(1), end.saturating_sub(from.sequence));
        u64::try_from(u128::from(length) * u128::from(left) / u128::from(all)).unwrap_or(length).min(length)
    }
}

impl Follower {
    /// Reads one frame and tells what is in it.
    ///
    /// # Errors
    /// When the disk fails: nothing was told then, and it may be tried again. When a newer Weir wrote what comes next, of which
    /// something may have been told: then this follower goes no further.
    pub fn read(&mut self, each: &mut dyn FnMut(Entry<'_>, &Pairs)) -> Result<Step, FollowError> {
        if let Some(kind) = self.newer {
            return Err(FollowError::Newer(kind));
        }
        let end = self.inner.log_ends.of(self.stream);
        loop {
            let lost = match self.tail.next(end)? {
                Next::End => return Ok(Step::End),
                Next::Lost(frames) => frames,
                Next::Segment(number) => {
                    self.enter(number);
                    continue;
                }
                Next::Frame { sequence, payload } => {
                    let told = sequence >= self.from;
                    let place = Place { told, segment: self.segment, id_seed: self.inner.id_seed };
                    let read = match self.stream {
                        Stream::Metrics => metrics(payload, place, &mut self.series, &mut self.pairs, each),
                        Stream::Logs if told => {
                            logs::each_line_sent_on(sequence, payload, &mut |record, origin| {
                                each(Entry::Line { record, origin }, &self.pairs);
                            })
                        }
                        Stream::Logs => Ok(()),
                    };
                    match read {
                        Ok(()) if told => return Ok(Step::Frame { next: self.tail.position() }),
                        Err(Unreadable::Corrupt) if told => 1,
                        Ok(()) | Err(Unreadable::Corrupt) => continue,
                        Err(Unreadable::UnknownKind(kind)) => {
                            self.newer = Some(kind);
                            return Err(FollowError::Newer(kind));
                        }
                    }
                }
            };
            return Ok(Step::Lost { frames: lost, next: self.tail.position() });
        }
    }

    /// Where it is.
    pub fn position(&self) -> Position {
        self.tail.position()
    }

    /// Series that the segment before did not name, and that nobody holds, go.
    fn enter(&mut self, number: u64) {
        let before = self.segment;
        self.segment = number;
        for entry in &mut self.series {
            let goes =
                |(series, named): &mut (Arc<Series>, u64)| *named < before && Arc::strong_count(series) == 1;
            if let Some((series, _)) = entry.take_if(goes) {
                self.pairs.release(&series.labels);
            }
        }
    }
}

/// Where a frame stands.
#[derive(Clone, Copy)]
struct Place {
    /// Whether its entries are told, or only its series noted.
    told: bool,
    segment: u64,
    id_seed: u64,
}

/// Reads a frame of the stream of metrics.
fn metrics(
    payload: &[u8],
    place: Place,
    series: &mut Vec<Option<(Arc<Series>, u64)>>,
    pairs: &mut Pairs,
    each: &mut dyn FnMut(Entry<'_>, &Pairs),
) -> Result<(), Unreadable> {
    let mut frame = Frame {
        place,
        series,
        pairs,
        rows: Vec::new(),
        starts: Vec::new(),
        origin: Origin::SENDER,
        lost: false,
    };
    record::read(payload, |record| frame.record(record, each))?;
    frame.flush(each);
    if frame.lost { Err(Unreadable::Corrupt) } else { Ok(()) }
}

struct Frame<'f> {
    place: Place,
    series: &'f mut Vec<Option<(Arc<Series>, u64)>>,
    pairs: &'f mut Pairs,
    /// Floats whose start timestamps may come in the next record.
    rows: Vec<Row>,
    starts: Vec<(u32, i64)>,
    origin: Origin,
    /// Whether something in it names a series that was defined in a frame that is lost.
    lost: bool,
}

impl Frame<'_> {
    fn record(&mut self, record: Record<'_>, each: &mut dyn FnMut(Entry<'_>, &Pairs)) {
        if let Record::Starts(starts) = record {
            self.starts = starts;
            return;
        }
        self.flush(each);
        match record {
            Record::Series { slot, tenant, id, labels } => self.define(slot, tenant, id, labels),
            _ if !self.place.told => {}
            Record::Samples(rows) => self.rows = rows,
            Record::Histogram(slot, sample) => {
                let origin = &self.origin;
                match of_slot(self.series, self.place, slot) {
                    Some(series) => each(Entry::Histogram { series, sample: &sample, origin }, self.pairs),
                    None => self.lost = true,
                }
            }
            Record::Exemplar(slot, exemplar) => {
                let origin = &self.origin;
                match of_slot(self.series, self.place, slot) {
                    Some(series) => each(Entry::Exemplar { series, exemplar: &exemplar, origin }, self.pairs),
                    None => self.lost = true,
                }
            }
            Record::Metadata { tenant, family, metadata } => {
                each(Entry::Metadata { tenant, family: &family, metadata: &metadata }, self.pairs);
            }
            Record::Origin(origin) => self.origin = origin,
            Record::Passes(_)
            | Record::Starts(_)
            | Record::Totals(_)
            | Record::HistogramTotal(..)
            | Record::Digest(_) => {}
        }
    }

    /// Tells the floats that wait.
    fn flush(&mut self, each: &mut dyn FnMut(Entry<'_>, &Pairs)) {
        let mut starts = std::mem::take(&mut self.starts).into_iter().peekable();
        for (index, row) in std::mem::take(&mut self.rows).into_iter().enumerate() {
            let its = starts.next_if(|(of, _)| *of as usize == index);
            let start_ms = its.map_or(0, |(_, start_ms)| start_ms);
            let Some(series) = of_slot(self.series, self.place, row.slot) else {
                self.lost = true;
                continue;
            };
            let sample = Sample { timestamp_ms: row.timestamp_ms, value: row.value, start_ms };
            each(Entry::Sample { series, sample, origin: &self.origin }, self.pairs);
        }
    }

    fn define(&mut self, slot: u32, tenant: TenantId, id: SeriesId, labels: LabelsRef<'_>) {
        // The id is recomputed rather than believed, as in a replay.
        if series_id(self.place.id_seed, tenant, labels) != id {
            self.lost = true;
            return;
        }
        let slot = slot as usize;
        if slot >= self.series.len() {
            self.series.resize_with(slot + 1, || None);
        }
        let segment = self.place.segment;
        match &mut self.series[slot] {
            Some((series, named)) if series.id == id => *named = segment,
            entry => {
                let labels = self.pairs.numbers(labels);
                let before = entry.replace((Arc::new(Series { tenant, id, labels }), segment));
                // Whoever still holds it reads its labels.
                if let Some((before, _)) = before {
                    self.pairs.release_later(before);
                }
            }
        }
    }
}

/// The series of a slot, when this segment has defined it.
fn of_slot(series: &[Option<(Arc<Series>, u64)>], place: Place, slot: u32) -> Option<&Arc<Series>> {
    let (series, named) = series.get(slot as usize)?.as_ref()?;
    (*named == place.segment).then_some(series)
}

/// Labels of a follower's series, each kept once.
#[derive(Debug, Default)]
pub struct Pairs {
    /// Name and value in one text, the name's length, and how many series have the pair. Free places have an empty text.
    texts: Vec<(Box<str>, u32, u32)>,
    free: Vec<u32>,
    by_text: HashTable<u32>,
    hasher: foldhash::fast::RandomState,
    /// Series that lost their slots while somebody held them.
    held: Vec<Arc<Series>>,
}

impl Pairs {
    /// A series' labels in the order of their names, `__name__` among them.
    pub fn of<'p>(&'p self, series: &'p Series) -> impl ExactSizeIterator<Item = (&'p str, &'p str)> {
        series.labels.iter().map(|number| {
            let (text, name, _) = &self.texts[*number as usize];
            text.split_at(*name as usize)
        })
    }

    fn numbers(&mut self, labels: LabelsRef<'_>) -> Box<[u32]> {
        self.settle();
        labels.iter().map(|(name, value)| self.number(name, value)).collect()
    }

    fn number(&mut self, name: &str, value: &str) -> u32 {
        use std::hash::BuildHasher;
        let hash = self.hasher.hash_one((name, value));
        let texts = &mut self.texts;
        let is_it = |number: &u32| {
            let (text, length, _) = &texts[*number as usize];
            text.split_at(*length as usize) == (name, value)
        };
        if let Some(number) = self.by_text.find(hash, is_it) {
            texts[*number as usize].2 += 1;
            return *number;
        }
        let pair = ([name, value].concat().into_boxed_str(), name.len() as u32, 1);
        let number = match self.free.pop() {
            Some(number) => {
                texts[number as usize] = pair;
                number
            }
            None => {
                texts.push(pair);
                u32::try_from(texts.len() - 1).expect("fewer labels than memory has room for")
            }
        };
        let hasher = &self.hasher;
        self.by_text.insert_unique(hash, number, |number| {
            let (text, length, _) = &texts[*number as usize];
            hasher.hash_one(text.split_at(*length as usize))
        });
        number
    }

    fn release(&mut self, labels: &[u32]) {
        use std::hash::BuildHasher;
        for number in labels {
            let (text, length, series) = &mut self.texts[*number as usize];
            *series -= 1;
            if *series > 0 {
                continue;
            }
            let hash = self.hasher.hash_one(text.split_at(*length as usize));
            if let Ok(entry) = self.by_text.find_entry(hash, |other| other == number) {
                entry.remove();
            }
            *text = Box::default();
            *length = 0;
            self.free.push(*number);
        }
    }

    fn release_later(&mut self, series: Arc<Series>) {
        self.held.push(series);
    }

    /// Lets go of series that nobody holds any more.
    fn settle(&mut self) {
        if self.held.is_empty() {
            return;
        }
        let (gone, held) =
            std::mem::take(&mut self.held).into_iter().partition(|one| Arc::strong_count(one) == 1);
        self.held = held;
        let gone: Vec<Arc<Series>> = gone;
        gone.iter().for_each(|series| self.release(&series.labels));
    }
}

/// Where each stream's acknowledged frames end.
#[derive(Debug, Default)]
pub(crate) struct LogEnds {
    ends: Mutex<(Position, Position)>,
    /// Where they were when the store was opened.
    opened: Mutex<(Position, Position)>,
    moved: Condvar,
}

impl LogEnds {
    pub(crate) fn of(&self, stream: Stream) -> Position {
        *of(&mut self.ends.lock().expect("lock"), stream)
    }

    /// The log was opened and ends there.
    pub(crate) fn open(&self, stream: Stream, end: Position) {
        *of(&mut self.opened.lock().expect("lock"), stream) = end;
        self.set(stream, end);
    }

    /// A position that this log has, or had.
    fn known(&self, stream: Stream, position: Position) -> Position {
        let opened = *of(&mut self.opened.lock().expect("lock"), stream);
        let outlived = position.segment < opened.segment && position.sequence > opened.sequence;
        if outlived || position > self.of(stream) { opened } else { position }
    }

    /// Frames before `end` are acknowledged.
    pub(crate) fn set(&self, stream: Stream, end: Position) {
        *of(&mut self.ends.lock().expect("lock"), stream) = end;
        self.moved.notify_all();
    }

    fn wait(&self, stream: Stream, after: Position, wait: Duration) -> bool {
        let ends = self.ends.lock().expect("lock");
        let is_behind = |ends: &mut (Position, Position)| of(ends, stream).sequence <= after.sequence;
        let mut ends = self.moved.wait_timeout_while(ends, wait, is_behind).expect("lock").0;
        !is_behind(&mut ends)
    }
}

fn of(ends: &mut (Position, Position), stream: Stream) -> &mut Position {
    match stream {
        Stream::Metrics => &mut ends.0,
        Stream::Logs => &mut ends.1,
    }
}

/// Somebody needs the log from a segment on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Who.
    pub holder: String,
    /// Which log.
    pub stream: Stream,
    /// From there on.
    pub segment: u64,
}

impl Inner {
    /// Removes what of the log nobody holds any more, unless a flush is under way, which does.
    fn trim_released(&self) {
        if let Ok(mut live) = self.manifest.try_lock()
            && live.is_in_both
        {
            self.trim(&mut live);
        }
    }

    /// The oldest segment that somebody holds; none = nobody does.
    pub(crate) fn held_from(&self, stream: Stream) -> Option<u64> {
        let holds = self.log_holds.lock().expect("lock");
        holds.iter().filter(|hold| hold.stream == stream).map(|hold| hold.segment).min()
    }

    fn stream_directory(&self, stream: Stream) -> PathBuf {
        match stream {
            Stream::Metrics => self.wal_directory(),
            Stream::Logs => logs::directory(&self.directory),
        }
    }
}
