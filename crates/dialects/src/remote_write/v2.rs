//! Remote write 2.0: `io.prometheus.write.v2.Request`, labels by reference into one table of symbols.
//!
//! Each symbol is looked at once per request: checked for UTF-8 and hashed. A series' key is the hash of its symbols'
//! hashes, so it does not depend on where in the table a request put them. The table is read before the series, in a
//! walk of its own, because nothing in protobuf says that field 4 lies before field 5.

use std::borrow::Cow;

use codec::hash::key128;
use codec::proto::{FIXED64, LEN, Reader, VARINT, WireError, key, known};
use model::batch::{LabelSource, MetadataRow};
use model::labels::METRIC_NAME;
use model::{Batch, Labels, Metadata, MetricType, Reason, Sample, Signal};

use super::histogram;
use crate::rows::{self, Full, Room, Rows};

const SYMBOLS: u32 = key(4, LEN);
const TIMESERIES: u32 = key(5, LEN);
const KNOWN: u64 = known(&[4, 5]);

/// Keeps keys of this message apart from those of other shapes.
const KEY_DOMAIN: u64 = 0x7277_3220_7379_6d73;

/// Decodes a `Request`.
pub(super) fn decode<'a>(body: &'a [u8], batch: &mut Batch<'a>) -> Result<(), WireError> {
    let mut room = Room::new();
    let symbols = Symbols::read(body, batch.seed, &mut room)?;
    let mut request = Reader::new(body);
    let mut scratch = Scratch::default();
    while let Some(key) = request.key()? {
        match key {
            TIMESERIES => {
                let message = request.message()?;
                room.take_for(128, &message)?;
                series(message, &symbols, &mut scratch, &mut room, batch)?;
            }
            _ => request.skip(key, 0)?,
        }
    }
    Ok(())
}

struct Symbols<'a>(Vec<Symbol<'a>>);

struct Symbol<'a> {
    /// `None` when it is not UTF-8.
    text: Option<&'a str>,
    hash: [u8; 16],
}

/// Why label references name no labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum BadReference {
    #[error("odd number of label references")]
    Odd,
    #[error("label reference out of the symbol table's range")]
    OutOfRange,
    #[error("label name or value is not valid UTF-8")]
    NotUtf8,
}

impl<'a> Symbols<'a> {
    fn read(body: &'a [u8], seed: u64, room: &mut Room) -> Result<Self, WireError> {
        let mut symbols = Self(Vec::new());
        let mut request = Reader::new(body);
        while let Some(key) = request.key()? {
            if key != SYMBOLS {
                // A series is known and in its place here, as long as it is a message.
                request.skip(key, if key == TIMESERIES { 0 } else { KNOWN })?;
                continue;
            }
            let symbol = request.bytes()?;
            if symbols.0.is_empty() && !symbol.is_empty() {
                return Err(request.error("first symbol is not the empty string"));
            }
            room.take_for(2 * size_of::<Symbol<'_>>(), &request)?;
            let hash = key128(seed ^ KEY_DOMAIN, symbol).to_le_bytes();
            symbols.0.push(Symbol { text: std::str::from_utf8(symbol).ok(), hash });
        }
        Ok(symbols)
    }

    #[inline]
    fn get(&self, reference: u64) -> Result<&Symbol<'a>, BadReference> {
        let index = usize::try_from(reference).map_err(|_| BadReference::OutOfRange)?;
        self.0.get(index).ok_or(BadReference::OutOfRange)
    }

    #[inline]
    fn text(&self, reference: u64) -> Result<&'a str, BadReference> {
        self.get(reference)?.text.ok_or(BadReference::NotUtf8)
    }

    /// The labels that `references` name, each handed to `push`.
    #[inline]
    fn pairs(&self, references: &[u64], mut push: impl FnMut(&'a str, &'a str)) -> Result<(), BadReference> {
        let (pairs, rest) = references.as_chunks::<2>();
        if !rest.is_empty() {
            return Err(BadReference::Odd);
        }
        for [name, value] in pairs {
            push(self.text(*name)?, self.text(*value)?);
        }
        Ok(())
    }

    /// Checks that `references` name labels, and gathers their symbols' hashes.
    #[inline]
    fn check(&self, references: &[u64], hashes: &mut Vec<u8>) -> Result<(), BadReference> {
        hashes.clear();
        if references.len() % 2 == 1 {
            return Err(BadReference::Odd);
        }
        for reference in references {
            let symbol = self.get(*reference)?;
            symbol.text.ok_or(BadReference::NotUtf8)?;
            hashes.extend_from_slice(&symbol.hash);
        }
        Ok(())
    }

    /// The text of a symbol that was checked.
    #[inline]
    fn checked(&self, reference: u64) -> Cow<'a, str> {
        Cow::Borrowed(self.0[reference as usize].text.unwrap_or(""))
    }
}

/// Memory that one series leaves to the next.
#[derive(Default)]
struct Scratch {
    references: Vec<u64>,
    hashes: Vec<u8>,
    /// References of name, help and unit, and the type, of the last metadata: series of a family repeat it.
    metadata: Option<(u64, Described)>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Described {
    kind: u64,
    help: u64,
    unit: u64,
}

fn series<'a>(
    message: Reader<'a>,
    symbols: &Symbols<'a>,
    scratch: &mut Scratch,
    room: &mut Room,
    batch: &mut Batch<'a>,
) -> Result<(), WireError> {
    const LABELS: u32 = key(1, LEN);
    const LABEL: u32 = key(1, VARINT);
    const SAMPLES: u32 = key(2, LEN);
    const HISTOGRAMS: u32 = key(3, LEN);
    const EXEMPLARS: u32 = key(4, LEN);
    const METADATA: u32 = key(5, LEN);

    let rows = Rows::begin(batch);
    let mut reader = message;
    let mut described = Described::default();
    let mut complaints = Vec::new();
    scratch.references.clear();
    while let Some(key) = reader.key()? {
        match key {
            LABELS => {
                let mut references = reader.message()?;
                room.take_for(32 * references.rest().len(), &references)?;
                while !references.is_empty() {
                    scratch.references.push(references.varint()?);
                }
            }
            LABEL => {
                room.take_for(32, &reader)?;
                scratch.references.push(reader.varint()?);
            }
            SAMPLES => {
                room.take_for(size_of::<Sample>(), &reader)?;
                batch.samples.push(sample(reader.message()?)?);
            }
            HISTOGRAMS => match histogram::decode(reader.message()?, room)? {
                Ok(histogram) => batch.histograms.push(histogram),
                Err(error) => {
                    complaints.push((Signal::Histogram, Reason::InvalidHistogram, error.to_string()))
                }
            },
            EXEMPLARS => match exemplar(reader.message()?, symbols, room)? {
                Ok(exemplar) => batch.exemplars.push(exemplar),
                Err(what) => complaints.push((Signal::Exemplar, Reason::InvalidExemplar, what)),
            },
            METADATA => described = metadata(reader.message()?, described)?,
            _ => reader.skip(key, known(&[1, 2, 3, 4, 5]))?,
        }
    }
    let series = Series { offset: message.offset(), rows, described, complaints };
    series.finish(symbols, scratch, room, batch).map_err(|Full| message.error(Full::WHAT))
}

/// A series whose message has been read.
struct Series {
    offset: usize,
    rows: Rows,
    described: Described,
    complaints: Vec<(Signal, Reason, String)>,
}

impl Series {
    fn finish<'a>(
        mut self,
        symbols: &Symbols<'a>,
        scratch: &mut Scratch,
        room: &mut Room,
        batch: &mut Batch<'a>,
    ) -> Result<(), Full> {
        let pairs_start = batch.pairs.len();
        if let Err(error) = symbols.check(&scratch.references, &mut scratch.hashes) {
            self.reject(batch, Reason::InvalidLabels, &error.to_string(), None);
            return Ok(());
        }
        let (pairs, _) = scratch.references.as_chunks::<2>();
        batch
            .pairs
            .extend(pairs.iter().map(|[name, value]| (symbols.checked(*name), symbols.checked(*value))));
        let refused = |signal| self.complaints.iter().filter(|(s, _, _)| *s == signal).count();
        let samples = self.rows.samples(batch);
        let histograms = self.rows.histograms(batch) + refused(Signal::Histogram);
        let what = match (samples > 0, histograms > 0) {
            (true, true) => Some("samples and histograms in one series"),
            (false, false) => Some("neither samples nor histograms"),
            _ => None,
        };
        if let Some(what) = what {
            let shown = Labels::from_pairs(batch.pairs.drain(pairs_start..)).to_string();
            self.reject(batch, Reason::InvalidSeries, what, Some(&shown));
            return Ok(());
        }
        if !self.complaints.is_empty() {
            let shown = Labels::from_pairs(batch.pairs[pairs_start..].iter().cloned()).to_string();
            self.complain(batch, &shown);
        }
        self.describe(symbols, scratch, room, batch)?;
        let key = key128(batch.seed ^ KEY_DOMAIN, &scratch.hashes);
        self.rows.keep(batch, LabelSource::Pairs(pairs_start..batch.pairs.len()), key);
        Ok(())
    }

    /// Refuses the whole series, what was refused before for reasons of its own included.
    #[cold]
    fn reject(mut self, batch: &mut Batch<'_>, reason: Reason, what: &str, series: Option<&str>) {
        let at = format!("series at byte {}", self.offset);
        self.complain(batch, series.unwrap_or(&at));
        self.rows.reject(batch, reason);
        let described = u64::from(self.described != Described::default());
        batch.rejections.add(Signal::Metadata, reason, described);
        batch.rejections.explain(|| format!("{}: {what}", rows::shown(series.unwrap_or(&at))));
    }

    #[cold]
    fn complain(&mut self, batch: &mut Batch<'_>, series: &str) {
        for (signal, reason, what) in self.complaints.drain(..) {
            batch.rejections.add(signal, reason, 1);
            batch.rejections.explain(|| format!("{}: {what}", rows::shown(series)));
        }
    }

    /// The series' metadata as its family's, unless the series before said the same.
    #[inline]
    fn describe<'a>(
        &self,
        symbols: &Symbols<'a>,
        scratch: &mut Scratch,
        room: &mut Room,
        batch: &mut Batch<'a>,
    ) -> Result<(), Full> {
        if self.described == Described::default() {
            return Ok(());
        }
        let is_name = |pair: &&[u64; 2]| symbols.text(pair[0]) == Ok(METRIC_NAME);
        let Some([_, name]) = scratch.references.as_chunks::<2>().0.iter().find(is_name) else {
            return Ok(());
        };
        if scratch.metadata == Some((*name, self.described)) {
            return Ok(());
        }
        // Texts are copied, and a short series can refer to a long symbol again and again.
        let length = |reference| symbols.text(reference).map_or(0, str::len);
        room.take(128 + length(self.described.unit) + length(self.described.help))?;
        scratch.metadata = Some((*name, self.described));
        let row = || {
            let kind = MetricType::from_number(self.described.kind)?;
            let text = |reference| symbols.text(reference).ok();
            let (name, unit, help) = (text(*name)?, text(self.described.unit)?, text(self.described.help)?);
            let metadata = Metadata { kind, unit: unit.to_owned(), help: help.to_owned() };
            Some(MetadataRow { family: family(name, kind).into(), metadata })
        };
        match row() {
            Some(row) => batch.metadata.push(row),
            None => {
                batch.rejections.add(Signal::Metadata, Reason::InvalidMetadata, 1);
                batch.rejections.explain(|| {
                    format!("series at byte {}: metadata with an unknown type or reference", self.offset)
                });
            }
        }
        Ok(())
    }
}

/// A family's name from a series' name: classic histograms and summaries have one series name for each part.
fn family(name: &str, kind: MetricType) -> &str {
    let parts: &[&str] = match kind {
        MetricType::Histogram => &["_bucket", "_sum", "_count"],
        MetricType::GaugeHistogram => &["_bucket", "_gsum", "_gcount"],
        MetricType::Summary => &["_sum", "_count"],
        _ => &[],
    };
    parts.iter().find_map(|part| name.strip_suffix(part)).filter(|family| !family.is_empty()).unwrap_or(name)
}

#[inline]
fn sample(mut message: Reader<'_>) -> Result<Sample, WireError> {
    const VALUE: u32 = key(1, FIXED64);
    const TIMESTAMP: u32 = key(2, VARINT);
    const START_TIMESTAMP: u32 = key(3, VARINT);
    let mut sample = Sample { timestamp_ms: 0, value: 0.0, start_ms: 0 };
    while let Some(key) = message.key()? {
        match key {
            VALUE => sample.value = message.double()?,
            TIMESTAMP => sample.timestamp_ms = message.varint()? as i64,
            START_TIMESTAMP => sample.start_ms = message.varint()? as i64,
            _ => message.skip(key, known(&[1, 2, 3]))?,
        }
    }
    Ok(sample)
}

/// An exemplar; one that is not is refused by itself.
#[inline(never)]
fn exemplar(
    mut message: Reader<'_>,
    symbols: &Symbols<'_>,
    room: &mut Room,
) -> Result<Result<model::batch::Exemplar, String>, WireError> {
    const LABELS: u32 = key(1, LEN);
    const LABEL: u32 = key(1, VARINT);
    const VALUE: u32 = key(2, FIXED64);
    const TIMESTAMP: u32 = key(3, VARINT);
    // A reference is 1 byte at least; here 8, and half of a pair's 32.
    room.take_for(128 + 24 * message.rest().len(), &message)?;
    let mut references = Vec::new();
    let (mut value, mut timestamp_ms) = (0.0, 0);
    while let Some(key) = message.key()? {
        match key {
            LABELS => message.packed_varints(|reference| references.push(reference))?,
            LABEL => references.push(message.varint()?),
            VALUE => value = message.double()?,
            TIMESTAMP => timestamp_ms = message.varint()? as i64,
            _ => message.skip(key, known(&[1, 2, 3]))?,
        }
    }
    let mut labels = Vec::new();
    Ok(match symbols.pairs(&references, |name, value| labels.push((name, value))) {
        Ok(()) => rows::exemplar(labels, value, timestamp_ms).map_err(str::to_owned),
        Err(error) => Err(format!("exemplar: {error}")),
    })
}

/// A `Metadata` message; a second one in the same series is merged, as protobuf has it.
fn metadata(mut message: Reader<'_>, mut described: Described) -> Result<Described, WireError> {
    const TYPE: u32 = key(1, VARINT);
    const HELP: u32 = key(3, VARINT);
    const UNIT: u32 = key(4, VARINT);
    while let Some(key) = message.key()? {
        match key {
            TYPE => described.kind = message.varint()?,
            HELP => described.help = message.varint()?,
            UNIT => described.unit = message.varint()?,
            _ => message.skip(key, known(&[1, 3, 4]))?,
        }
    }
    Ok(described)
}
