//! Body to batch, in one pass.

use codec::hash::key128;
use model::batch::{LabelSource, SeriesRow};
use model::{Batch, Reason, Sample, Signal};

use super::labels::Fields;
use super::line::{Bad, Scanner, Value};
use super::options::{self, Precision};
use crate::rows::{Full, Room, Rows, shown};
use crate::{Malformed, Received};

/// Keeps keys of these lines apart from those of other dialects: the same bytes mean other labels there.
const KEY_DOMAIN: u64 = 0x696e_666c_7578_206c;

/// Bytes of measurement and tags that each field of a line may have for nothing: the store reads them anew for each field
/// that it does not know.
const FREE_BYTES: usize = 1 << 10;

/// What a field takes in the batch.
const FIELD_BYTES: usize = size_of::<SeriesRow<'_>>() + size_of::<Sample>() + size_of::<(u32, u32)>();

/// Decodes a body into `batch`.
pub(super) fn decode<'a>(received: &Received<'a>, batch: &mut Batch<'a>) -> Result<(), Malformed> {
    let (settings, body) = (&received.settings.influx, received.body);
    let database = options::database(&received.request);
    let mut lines = Lines {
        // What is chosen says what the same bytes mean.
        seed: key128(
            batch.seed ^ KEY_DOMAIN,
            format!("{:?} {:?} {database}", settings.value_field, settings.database_label).as_bytes(),
        ) as u64,
        scanner: Scanner::new(body),
        precision: options::precision(&received.request).unwrap_or(Precision::Nanoseconds),
        received_ms: received.received_ms,
        fields: Fields { body, settings, database, at: Vec::new() },
        texts: 0,
        room: Room::new(),
    };
    // Checked at once when all is well; else each line for itself, so that one bad line refuses only itself.
    let is_text = std::str::from_utf8(body).is_ok();
    while lines.scanner.next_line() {
        let start = lines.scanner.at;
        batch.items.begin();
        let rows = (batch.series.len(), batch.samples.len(), lines.texts);
        let read = match lines.line(batch) {
            Ok(()) if is_text => Ok(()),
            Ok(()) => std::str::from_utf8(&body[start..lines.scanner.at]).map(drop).map_err(|_| NOT_TEXT),
            Err(Unread::Bad(bad)) => Err(bad),
            Err(Unread::Full) => return Err(Malformed { what: Full::WHAT, offset: start }),
        };
        if let Err(bad) = read {
            batch.series.truncate(rows.0);
            batch.samples.truncate(rows.1);
            lines.fields.at.truncate(rows.0);
            lines.texts = rows.2;
            // A quote without an end would take all other lines with it.
            lines.scanner.skip_line();
            let line = &body[start..lines.scanner.at];
            batch.refuse_item(Signal::Sample, bad.reason, || unable_to_parse(line, bad.what));
        }
    }
    batch.note("influx_text_fields", lines.texts);
    batch.source = Some(Box::new(lines.fields));
    Ok(())
}

const NOT_TEXT: Bad = Bad { reason: Reason::InvalidLine, what: "invalid UTF-8" };

/// InfluxDB's words, with as much of the line as its sender needs to know it.
fn unable_to_parse(line: &[u8], what: &str) -> String {
    let line = String::from_utf8_lossy(&line[..line.len().min(256)]);
    format!("unable to parse '{}': {what}", shown(line.trim_end_matches(['\n', '\r'])))
}

struct Lines<'a> {
    seed: u64,
    scanner: Scanner<'a>,
    precision: Precision,
    received_ms: i64,
    fields: Fields<'a>,
    /// Fields that are text.
    texts: u64,
    room: Room,
}

/// Why a line is not read to its end.
enum Unread {
    Bad(Bad),
    /// Nothing of the body is taken.
    Full,
}

impl From<Bad> for Unread {
    fn from(bad: Bad) -> Self {
        Self::Bad(bad)
    }
}

impl From<Full> for Unread {
    fn from(Full: Full) -> Self {
        Self::Full
    }
}

impl Lines<'_> {
    /// Reads a line, up to its end. Where it is bad its fields stay charged, for they have been in the batch.
    #[inline]
    fn line(&mut self, batch: &mut Batch<'_>) -> Result<(), Unread> {
        let start = self.scanner.at;
        self.scanner.head(|_, _| Ok::<_, Bad>(()))?;
        let head = &self.fields.body[start..self.scanner.at];
        let field_bytes = FIELD_BYTES + head.len().saturating_sub(FREE_BYTES);
        let head = key128(self.seed, head);
        self.scanner.separator()?;
        let first = batch.samples.len();
        loop {
            let at = self.scanner.at;
            let key = self.scanner.field_key()?;
            match self.scanner.field_value()? {
                Value::Text => self.texts += 1,
                Value::Number(value) => {
                    self.room.take(field_bytes)?;
                    let number = self.fields.at.len() as u32;
                    self.fields.at.push((start as u32, at as u32));
                    let rows = Rows::begin(batch);
                    batch.samples.push(Sample { timestamp_ms: 0, value, start_ms: 0 });
                    // Both halves of the head's hash are in it, so that it is one of 128 bits.
                    rows.keep(batch, LabelSource::Made(number), key128(head as u64, key) ^ head);
                }
            }
            if !self.scanner.comma() {
                break;
            }
        }
        let timestamp = self.scanner.timestamp()?;
        let timestamp_ms = timestamp.map_or(self.received_ms, |timestamp| self.precision.to_ms(timestamp));
        for sample in &mut batch.samples[first..] {
            sample.timestamp_ms = timestamp_ms;
        }
        Ok(())
    }
}
