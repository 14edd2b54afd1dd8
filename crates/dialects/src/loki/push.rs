//! Streams and entries on their way into the batch, whichever format they came in.

use std::borrow::Cow;
use std::ops::Range;

use model::batch::Pair;
use model::{Batch, Labels, Reason, Signal};

use crate::Malformed;
use crate::lines;
use crate::rows::{Full, Room, shown};

/// What a push without a single stream is answered, with 422.
pub(super) const NO_STREAM: &str = "error at least one valid stream is required for ingestion";

/// The longest line in bytes.
const LINE_BYTES_MAX: usize = 256 << 10;
/// Structured metadata of a line at most, and its bytes.
const METADATA_MAX: usize = 128;
const METADATA_BYTES_MAX: usize = 64 << 10;
/// What a refused entry takes: its number is kept.
const REFUSED_BYTES: usize = 2 * size_of::<u32>();

/// A push.
pub(super) struct Push<'a, 'b> {
    pub(super) batch: &'b mut Batch<'a>,
    pub(super) room: Room,
    received_ms: i64,
    streams: u64,
}

/// A stream whose entries follow.
pub(super) struct Stream {
    /// Its labels in [`Batch::pairs`], or why they are none.
    labels: Result<Range<usize>, String>,
    /// Whether the sender was told so.
    told: bool,
}

/// An entry as it came. Its structured metadata are pairs of the batch.
#[derive(Default)]
pub(super) struct Entry<'a> {
    /// When it happened; when it came, where nothing is said.
    pub(super) timestamp_ns: Option<i64>,
    pub(super) line: Cow<'a, str>,
    /// Set when it cannot be read.
    pub(super) wrong: Option<&'static str>,
}

impl<'a, 'b> Push<'a, 'b> {
    pub(super) fn new(received_ms: i64, batch: &'b mut Batch<'a>) -> Self {
        Self { batch, room: Room::new(), received_ms, streams: 0 }
    }

    /// A stream with these labels begins.
    pub(super) fn stream(&mut self, labels: Result<Vec<Pair<'a>>, String>) -> Result<Stream, Full> {
        self.streams += 1;
        let labels = match labels {
            Ok(labels) => Ok(self.put(labels)?),
            Err(what) => Err(format!("couldn't parse labels: {what}")),
        };
        Ok(Stream { labels, told: false })
    }

    fn put(&mut self, labels: Vec<Pair<'a>>) -> Result<Range<usize>, Full> {
        let start = self.batch.pairs.len();
        let unnamed = labels.iter().all(|(_, value)| value.is_empty());
        let stand_in = unnamed.then_some(("service_name".into(), "unknown_service".into()));
        for (name, value) in labels.into_iter().chain(stand_in) {
            if !value.is_empty() {
                lines::put(self.batch, &mut self.room, name, value)?;
            }
        }
        Ok(start..self.batch.pairs.len())
    }

    /// An entry begins; its structured metadata will be the pairs from here on.
    pub(super) fn begin(&mut self) -> usize {
        self.batch.items.begin();
        self.batch.pairs.len()
    }

    /// The entry that began is complete.
    pub(super) fn entry(
        &mut self,
        stream: &mut Stream,
        entry: Entry<'a>,
        metadata: usize,
    ) -> Result<(), Full> {
        let labels = match &stream.labels {
            Ok(labels) => labels.clone(),
            Err(what) => {
                self.room.take(REFUSED_BYTES)?;
                self.batch.pairs.truncate(metadata);
                self.batch.items.refuse();
                self.batch.rejections.add(Signal::LogLine, Reason::InvalidLabels, 1);
                if !std::mem::replace(&mut stream.told, true) {
                    self.batch.rejections.explain(|| what.clone());
                }
                return Ok(());
            }
        };
        if let Some(fault) = self.fault(&entry, metadata) {
            self.room.take(REFUSED_BYTES)?;
            let Batch { pairs, items, rejections, .. } = &mut *self.batch;
            pairs.truncate(metadata);
            items.refuse();
            rejections.add(Signal::LogLine, fault.reason(), 1);
            rejections.explain(|| fault.explain(&pairs[labels]));
            return Ok(());
        }
        let timestamp_ns = entry.timestamp_ns.unwrap_or(self.received_ms.saturating_mul(1_000_000));
        lines::push_to(self.batch, &mut self.room, labels, metadata, timestamp_ns, entry.line)
    }

    fn fault(&self, entry: &Entry<'a>, metadata: usize) -> Option<Fault> {
        if let Some(what) = entry.wrong {
            return Some(Fault::Wrong(what));
        }
        let length = entry.line.len();
        if length > LINE_BYTES_MAX {
            return Some(Fault::LineTooLong(length));
        }
        let fields = &self.batch.pairs[metadata..];
        if fields.len() > METADATA_MAX {
            return Some(Fault::TooManyFields(fields.len()));
        }
        let bytes = fields.iter().map(|(name, value)| name.len() + value.len()).sum();
        (bytes > METADATA_BYTES_MAX).then_some(Fault::FieldsTooLong(bytes))
    }

    /// Something stands where a stream should.
    pub(super) fn no_stream(&mut self) -> Result<(), Full> {
        self.room.take(REFUSED_BYTES)?;
        self.streams += 1;
        self.batch.items.begin();
        self.batch.refuse_item(Signal::LogLine, Reason::InvalidLine, || "a stream is no object".to_owned());
        Ok(())
    }

    /// The push is over.
    pub(super) fn end(self) -> Result<(), Malformed> {
        if self.streams == 0 {
            return Err(Malformed { what: NO_STREAM, offset: 0 });
        }
        Ok(())
    }
}

/// What is wrong with an entry.
#[derive(Clone, Copy)]
enum Fault {
    Wrong(&'static str),
    /// Its bytes.
    LineTooLong(usize),
    TooManyFields(usize),
    /// Their bytes.
    FieldsTooLong(usize),
}

impl Fault {
    fn reason(self) -> Reason {
        match self {
            Self::Wrong(_) => Reason::InvalidLine,
            Self::LineTooLong(_) => Reason::LineTooLong,
            Self::TooManyFields(_) | Self::FieldsTooLong(_) => Reason::LabelLimit,
        }
    }

    /// What the sender is told, of an entry of the stream with these labels.
    fn explain(self, labels: &[Pair<'_>]) -> String {
        // The rest of a longer one would not be shown.
        let labels = labels.iter().map(|(name, value)| (shown(name), shown(value)));
        let text = Labels::from_pairs(labels).to_string();
        let stream = shown(&text);
        match self {
            Self::Wrong(what) => format!("entry for stream '{stream}': {what}"),
            Self::LineTooLong(length) => format!(
                "max entry size '{LINE_BYTES_MAX}' bytes exceeded for stream '{stream}' while adding an entry with length '{length}' bytes"
            ),
            Self::TooManyFields(count) => format!(
                "stream '{stream}' has too many structured metadata labels: '{count}', limit: '{METADATA_MAX}'"
            ),
            Self::FieldsTooLong(bytes) => format!(
                "stream '{stream}' has too large structured metadata: '{bytes}' bytes, limit: '{METADATA_BYTES_MAX}' bytes"
            ),
        }
    }
}
