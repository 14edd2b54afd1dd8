//! Sketches as an Agent sends them: `SketchPayload` of agent-payload.

use std::borrow::Cow;

use codec::proto::{FIXED64, LEN, Reader, VARINT, WireError, key, known};
use codec::varint::unzigzag;
use model::{Batch, Reason};

use super::{BINS_MAX, Sketches, Summary};
use crate::datadog::record::{Kind, Name, Record};
use crate::datadog::submission::{Submission, milliseconds, refuse, tag};
use crate::rows::{Full, Rows};
use crate::{Malformed, Received};

const SKETCHES: u32 = key(1, LEN);
const METADATA: u32 = key(2, LEN);

/// Decodes a `SketchPayload`.
pub(in crate::datadog) fn decode<'a>(
    received: &Received<'a>,
    batch: &mut Batch<'a>,
) -> Result<(), Malformed> {
    let mut submission = Submission::new(received, batch);
    let mut payload = Reader::new(received.body);
    let mut decoder = Decoder::default();
    while let Some(key) = payload.key()? {
        match key {
            SKETCHES => decoder.series(payload.message()?, &mut submission, batch)?,
            METADATA => drop(payload.message()?),
            _ => payload.skip(key, known(&[1, 2]))?,
        }
    }
    submission.finish(batch);
    Ok(())
}

/// Memory that one series leaves to the next.
#[derive(Default)]
struct Decoder {
    sketches: Sketches,
    keys: Vec<i32>,
    counts: Vec<u32>,
}

impl Decoder {
    fn series<'a>(
        &mut self,
        message: Reader<'a>,
        submission: &mut Submission<'a>,
        batch: &mut Batch<'a>,
    ) -> Result<(), WireError> {
        const METRIC: u32 = key(1, LEN);
        const HOST: u32 = key(2, LEN);
        const DISTRIBUTION: u32 = key(3, LEN);
        const TAG: u32 = key(4, LEN);
        const SKETCH: u32 = key(7, LEN);
        const METADATA: u32 = key(8, LEN);

        let rows = Rows::begin(batch);
        let first_tag = submission.source.tags.len();
        let (mut metric, mut host): (&[u8], &[u8]) = (b"", b"");
        let mut reader = message;
        while let Some(key) = reader.key()? {
            match key {
                METRIC => metric = reader.bytes()?,
                HOST => host = reader.bytes()?,
                TAG => {
                    submission.room.take_for(2 * size_of::<Cow<'_, str>>(), &reader)?;
                    submission.source.tags.push(tag(reader.bytes()?));
                }
                SKETCH => self.sketch(reader.message()?, submission, batch)?,
                DISTRIBUTION | METADATA => drop(reader.message()?),
                _ => reader.skip(key, known(&[1, 2, 3, 4, 7, 8]))?,
            }
        }
        let full = |Full| message.error(Full::WHAT);
        let tags = first_tag..submission.source.tags.len();
        let text = (std::str::from_utf8(metric), std::str::from_utf8(host));
        let (metric, host) = (text.0.unwrap_or(""), text.1.unwrap_or(""));
        let record = Record {
            name: Name::Metric(Cow::Borrowed(metric), ""),
            kind: Kind::Distribution,
            interval_s: 0,
            host: Cow::Borrowed(host),
            device: Cow::Borrowed(""),
            source_type: Cow::Borrowed(""),
            resources: 0..0,
            tags,
        };
        for _ in 0..3 {
            submission.room_for(&record).map_err(full)?;
        }
        if text.0.is_err() || text.1.is_err() {
            self.sketches.report(&record, batch);
            self.sketches.forget();
            refuse(rows, &record, Reason::InvalidLabels, "text that is not valid UTF-8", batch);
            return Ok(());
        }
        if !rows.is_empty(batch) {
            let metric = Cow::Borrowed(metric);
            submission.describe(metric, Kind::Distribution, "", batch).map_err(full)?;
        }
        let dropped = submission.dropped(&record);
        self.sketches.keep(rows, record, dropped, Submission::key, submission, batch);
        Ok(())
    }

    fn sketch<'a>(
        &mut self,
        mut message: Reader<'a>,
        submission: &mut Submission<'a>,
        batch: &mut Batch<'a>,
    ) -> Result<(), WireError> {
        const TIMESTAMP: u32 = key(1, VARINT);
        const COUNT: u32 = key(2, VARINT);
        const MIN: u32 = key(3, FIXED64);
        const MAX: u32 = key(4, FIXED64);
        const AVERAGE: u32 = key(5, FIXED64);
        const SUM: u32 = key(6, FIXED64);
        const KEYS: u32 = key(7, LEN);
        const KEY: u32 = key(7, VARINT);
        const COUNTS: u32 = key(8, LEN);
        const BIN_COUNT: u32 = key(8, VARINT);

        let mut summary = Summary::default();
        self.keys.clear();
        self.counts.clear();
        let key_of = |number| unzigzag(number) as i32;
        while let Some(key) = message.key()? {
            match key {
                TIMESTAMP => summary.timestamp_ms = milliseconds(message.varint()? as i64),
                COUNT => summary.count = message.varint()? as i64,
                MIN => summary.min = message.double()?,
                MAX => summary.max = message.double()?,
                // It is the sum divided by the count.
                AVERAGE => drop(message.double()?),
                SUM => summary.sum = message.double()?,
                KEYS => message.packed_varints(|number| push(&mut self.keys, key_of(number)))?,
                KEY => push(&mut self.keys, key_of(message.varint()?)),
                COUNTS => message.packed_varints(|count| push(&mut self.counts, count as u32))?,
                BIN_COUNT => push(&mut self.counts, message.varint()? as u32),
                _ => message.skip(key, known(&[1, 2, 3, 4, 5, 6, 7, 8]))?,
            }
        }
        if self.keys.len() != self.counts.len() {
            self.sketches.refuse();
            return Ok(());
        }
        for (key, count) in self.keys.iter().zip(&self.counts) {
            self.sketches.bin(*key, *count);
        }
        let pushed = self.sketches.push(summary, &mut submission.room, batch);
        pushed.map_err(|Full| message.error(Full::WHAT))
    }
}

/// Takes what belongs to one bin more than a sketch may have, by which it is refused, and nothing behind it.
fn push<T>(list: &mut Vec<T>, item: T) {
    if list.len() <= BINS_MAX {
        list.push(item);
    }
}
