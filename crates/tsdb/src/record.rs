//! Records: what the store puts into WAL frames.
//!
//! A record is its kind (1 byte; the high bit says that a reader which does not know the kind may skip it), the length
//! of its body (4 bytes, little-endian), and the body. Numbers in bodies are LEB128 varints, signed ones zigzagged.
//! A slot stands for the series that the latest definition before it in the same segment gave it.

use std::sync::Arc;

use codec::chunk::bytes::{Reader, put_bytes, put_varint, put_zigzag};
use codec::chunk::{Corrupt, histograms};
use model::batch::{Exemplar, HistogramSample};
use model::labels::LABELS_MAX;
use model::{Histogram, LabelsRef, Metadata, MetricType, Origin, SeriesId, TenantId};

use crate::block::NO_TENANT;
use crate::totals::Total;

/// A float sample on its way into the log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) slot: u32,
    pub(crate) timestamp_ms: i64,
    pub(crate) value: f64,
}

/// Something rare on its way into the log, in the order of the request.
#[derive(Clone, Debug)]
pub(crate) enum SideRow {
    Histogram(u32, HistogramSample),
    /// What the histograms of a series that comes as deltas add up to.
    Total(u32, HistogramSample),
    Exemplar(u32, Exemplar),
    /// The start timestamp of the float that stands at this index in the batch's rows.
    Start {
        row: usize,
        start_ms: i64,
    },
}

/// A record as it is read back.
#[derive(Debug)]
pub(crate) enum Record<'a> {
    Series {
        slot: u32,
        tenant: TenantId,
        id: SeriesId,
        labels: LabelsRef<'a>,
    },
    Samples(Vec<Row>),
    Histogram(u32, HistogramSample),
    Exemplar(u32, Exemplar),
    Metadata {
        tenant: TenantId,
        family: String,
        metadata: Metadata,
    },
    /// Start timestamps of floats in the preceding samples record, by index.
    Starts(Vec<(u32, i64)>),
    /// What was added to series so far, by slot.
    Totals(Vec<(u32, Total<f64>)>),
    HistogramTotal(u32, Total<Arc<Histogram>>),
    Digest(Digest),
    /// Who sent on what follows in the frame, up to the next one.
    Origin(Origin),
    /// Whether samples that follow in the frame, up to the next one, go no further than the log.
    Passes(bool),
}

/// A request with deltas that was taken: what came in this frame and the `frames` before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Digest {
    pub(crate) tenant: TenantId,
    pub(crate) digest: u128,
    /// Wall clock.
    pub(crate) taken_ms: i64,
    pub(crate) frames: u64,
}

pub(crate) const SERIES: u8 = 1;
const SAMPLES: u8 = 2;
const HISTOGRAM: u8 = 3;
const EXEMPLAR: u8 = 4;
const METADATA: u8 = 5;
const STARTS: u8 = 6;

/// Log lines: the only kind in the other stream ([`crate::logs`]).
pub(crate) const LINES: u8 = 7;

/// An older Weir may skip these: it takes no deltas.
const DIGEST: u8 = SKIPPABLE | 1;
const TOTALS: u8 = SKIPPABLE | 2;
const HISTOGRAM_TOTAL: u8 = SKIPPABLE | 3;

/// An older Weir may skip it: it sends nothing on.
pub(crate) const ORIGIN: u8 = SKIPPABLE | 4;

/// An older Weir may skip it, and keeps what it reads.
const PASSES: u8 = SKIPPABLE | 5;

/// The highest kind that this Weir knows.
pub(crate) const KIND_MAX: u8 = LINES;

/// Set in kinds that may be skipped by whoever does not know them.
pub(crate) const SKIPPABLE: u8 = 0x80;

/// Appends one record whose body `write` makes.
pub(crate) fn record(kind: u8, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    out.push(kind);
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    write(out);
    let length = u32::try_from(out.len() - at - 4).expect("frames are bounded");
    out[at..at + 4].copy_from_slice(&length.to_le_bytes());
}

/// Appends a series' definition; its labels are in canonical form.
pub(crate) fn write_series(slot: u32, tenant: TenantId, id: SeriesId, labels: &str, out: &mut Vec<u8>) {
    record(SERIES, out, |out| {
        put_varint(out, u64::from(slot));
        put_varint(out, u64::from(tenant.0));
        out.extend_from_slice(&id.0.to_le_bytes());
        out.extend_from_slice(labels.as_bytes());
    });
}

/// Appends float samples. Neighbours in a request are mostly neighbours in slot and time, so each is told by its
/// distance from the one before; values lie as they are, lz4 and the block codec do better on them.
pub(crate) fn write_samples(rows: &[Row], out: &mut Vec<u8>) {
    record(SAMPLES, out, |out| {
        put_varint(out, rows.len() as u64);
        let (mut slot, mut time) = (0i64, 0i64);
        for row in rows {
            put_zigzag(out, i64::from(row.slot) - slot - 1);
            put_zigzag(out, row.timestamp_ms.wrapping_sub(time));
            out.extend_from_slice(&row.value.to_bits().to_le_bytes());
            (slot, time) = (i64::from(row.slot), row.timestamp_ms);
        }
    });
}

/// Appends a histogram sample.
pub(crate) fn write_histogram(slot: u32, sample: &HistogramSample, out: &mut Vec<u8>) {
    record(HISTOGRAM, out, |out| {
        put_varint(out, u64::from(slot));
        put_zigzag(out, sample.timestamp_ms);
        put_zigzag(out, sample.start_ms);
        histograms::encode(std::slice::from_ref(&sample.histogram), out);
    });
}

/// Appends an exemplar.
pub(crate) fn write_exemplar(slot: u32, exemplar: &Exemplar, out: &mut Vec<u8>) {
    record(EXEMPLAR, out, |out| {
        put_varint(out, u64::from(slot));
        put_zigzag(out, exemplar.timestamp_ms);
        out.extend_from_slice(&exemplar.value.to_bits().to_le_bytes());
        put_varint(out, exemplar.labels.len() as u64);
        for (name, value) in &exemplar.labels {
            put_bytes(out, name.as_bytes());
            put_bytes(out, value.as_bytes());
        }
    });
}

/// Appends a family's metadata.
pub(crate) fn write_metadata(tenant: TenantId, family: &str, metadata: &Metadata, out: &mut Vec<u8>) {
    record(METADATA, out, |out| {
        put_varint(out, u64::from(tenant.0));
        out.push(metadata.kind.number());
        for text in [family, &metadata.unit, &metadata.help] {
            put_bytes(out, text.as_bytes());
        }
    });
}

/// Appends start timestamps of rows in the samples record before.
pub(crate) fn write_starts(starts: &[(u32, i64)], out: &mut Vec<u8>) {
    record(STARTS, out, |out| {
        put_varint(out, starts.len() as u64);
        for (row, start_ms) in starts {
            put_varint(out, u64::from(*row));
            put_zigzag(out, *start_ms);
        }
    });
}

/// Appends what was added to series so far, in the order of slots at best.
pub(crate) fn write_totals(totals: impl ExactSizeIterator<Item = (u32, Total<f64>)>, out: &mut Vec<u8>) {
    record(TOTALS, out, |out| {
        put_varint(out, totals.len() as u64);
        let (mut before, mut end_ms) = (0i64, 0i64);
        for (slot, total) in totals {
            put_zigzag(out, i64::from(slot) - before - 1);
            put_zigzag(out, total.end_ms.wrapping_sub(end_ms));
            put_zigzag(out, total.end_ms.wrapping_sub(total.start_ms));
            out.extend_from_slice(&total.value.to_bits().to_le_bytes());
            (before, end_ms) = (i64::from(slot), total.end_ms);
        }
    });
}

/// Says that the histogram of the record before is its series' total.
pub(crate) fn write_shown_total(slot: u32, out: &mut Vec<u8>) {
    record(HISTOGRAM_TOTAL, out, |out| put_varint(out, u64::from(slot)));
}

/// Appends a total that no record beside it shows.
pub(crate) fn write_histogram_total(slot: u32, total: &Total<Arc<Histogram>>, out: &mut Vec<u8>) {
    record(HISTOGRAM_TOTAL, out, |out| {
        put_varint(out, u64::from(slot));
        put_zigzag(out, total.end_ms);
        put_zigzag(out, total.start_ms);
        histograms::encode(std::slice::from_ref(&total.value), out);
    });
}

/// Appends a request's digest.
pub(crate) fn write_digest(digest: &Digest, out: &mut Vec<u8>) {
    record(DIGEST, out, |out| {
        put_varint(out, u64::from(digest.tenant.0));
        out.extend_from_slice(&digest.digest.to_le_bytes());
        put_zigzag(out, digest.taken_ms);
        put_varint(out, digest.frames);
    });
}

/// Says who sent on what follows in the frame.
pub(crate) fn write_origin(origin: &Origin, out: &mut Vec<u8>) {
    record(ORIGIN, out, |out| {
        out.push(origin.hops);
        put_varint(out, origin.via.len() as u64);
        origin.via.iter().for_each(|instance| out.extend_from_slice(&instance.to_le_bytes()));
    });
}

/// Says whether samples that follow in the frame go no further than the log.
pub(crate) fn write_passes(passes: bool, out: &mut Vec<u8>) {
    record(PASSES, out, |out| out.push(u8::from(passes)));
}

/// Why a frame cannot be read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// A record is not what its kind says.
    Corrupt,
    /// A kind that this Weir does not know and must not skip: a newer one wrote it.
    UnknownKind(u8),
}

impl From<Corrupt> for Unreadable {
    fn from(Corrupt: Corrupt) -> Self {
        Self::Corrupt
    }
}

/// Calls `each` for every record of a frame; returns how many skippable records of unknown kind there were.
pub(crate) fn read<'a>(payload: &'a [u8], mut each: impl FnMut(Record<'a>)) -> Result<u64, Unreadable> {
    let mut reader = Reader::new(payload);
    let (mut skipped, mut histogram) = (0, None);
    while !reader.is_empty() {
        let kind = reader.byte()?;
        let length = u32::from_le_bytes(reader.array()?);
        let mut body = Reader::new(reader.take(length as usize)?);
        match kind {
            SERIES => each(read_series(&mut body)?),
            SAMPLES => each(Record::Samples(read_samples(&mut body)?)),
            HISTOGRAM => {
                let slot = body.number()?;
                let sample = read_histogram(&mut body)?;
                histogram = Some((slot, sample.clone()));
                each(Record::Histogram(slot, sample));
            }
            EXEMPLAR => each(read_exemplar(&mut body)?),
            METADATA => each(read_metadata(&mut body)?),
            STARTS => each(Record::Starts(read_starts(&mut body)?)),
            TOTALS => each(Record::Totals(read_totals(&mut body)?)),
            HISTOGRAM_TOTAL => each(read_histogram_total(&mut body, histogram.take())?),
            DIGEST => each(Record::Digest(read_digest(&mut body)?)),
            ORIGIN => each(Record::Origin(read_origin(&mut body)?)),
            PASSES => each(Record::Passes(body.byte()? != 0)),
            kind if kind & SKIPPABLE != 0 => skipped += 1,
            kind => return Err(Unreadable::UnknownKind(kind)),
        }
    }
    Ok(skipped)
}

pub(crate) fn read_origin(body: &mut Reader<'_>) -> Result<Origin, Corrupt> {
    let hops = body.byte()?;
    let count = body.count_of(8)?;
    let via = (0..count).map(|_| Ok(u64::from_le_bytes(body.array()?))).collect::<Result<_, Corrupt>>()?;
    Ok(Origin { hops, via })
}

fn read_series<'a>(body: &mut Reader<'a>) -> Result<Record<'a>, Corrupt> {
    let slot = body.number()?;
    let tenant = TenantId(body.number()?);
    if tenant == NO_TENANT {
        return Err(Corrupt);
    }
    let id = SeriesId(u128::from_le_bytes(body.array()?));
    let text = std::str::from_utf8(body.rest()).map_err(|_| Corrupt)?;
    let labels = LabelsRef::from_canonical(text).ok_or(Corrupt)?;
    if !(1..=LABELS_MAX).contains(&labels.iter().count()) {
        return Err(Corrupt);
    }
    Ok(Record::Series { slot, tenant, id, labels })
}

fn read_samples(body: &mut Reader<'_>) -> Result<Vec<Row>, Corrupt> {
    // A row takes ten bytes at least.
    let count = body.count_of(10)?;
    let mut rows = Vec::with_capacity(count);
    let (mut slot, mut time) = (0i64, 0i64);
    for _ in 0..count {
        slot = body.zigzag()?.checked_add(slot + 1).ok_or(Corrupt)?;
        time = time.wrapping_add(body.zigzag()?);
        let value = f64::from_bits(u64::from_le_bytes(body.array()?));
        rows.push(Row { slot: u32::try_from(slot).map_err(|_| Corrupt)?, timestamp_ms: time, value });
    }
    Ok(rows)
}

fn read_histogram(body: &mut Reader<'_>) -> Result<HistogramSample, Corrupt> {
    let timestamp_ms = body.zigzag()?;
    let start_ms = body.zigzag()?;
    let mut one = Vec::new();
    histograms::decode(body, 1, &mut one)?;
    let histogram: Arc<_> = one.pop().ok_or(Corrupt)?;
    Ok(HistogramSample { timestamp_ms, start_ms, histogram })
}

/// `before` is the histogram of the record before.
fn read_histogram_total<'a>(
    body: &mut Reader<'_>,
    before: Option<(u32, HistogramSample)>,
) -> Result<Record<'a>, Corrupt> {
    let slot = body.number()?;
    let sample = if body.is_empty() {
        before.filter(|(other, _)| *other == slot).ok_or(Corrupt)?.1
    } else {
        read_histogram(body)?
    };
    let HistogramSample { timestamp_ms: end_ms, start_ms, histogram: value } = sample;
    Ok(Record::HistogramTotal(slot, Total { start_ms, end_ms, value }))
}

fn read_exemplar<'a>(body: &mut Reader<'_>) -> Result<Record<'a>, Corrupt> {
    let slot = body.number()?;
    let timestamp_ms = body.zigzag()?;
    let value = f64::from_bits(u64::from_le_bytes(body.array()?));
    let count = body.count_of(2)?;
    let mut labels = Vec::with_capacity(count);
    for _ in 0..count {
        labels.push((read_text(body)?, read_text(body)?));
    }
    Ok(Record::Exemplar(slot, Exemplar { labels, value, timestamp_ms }))
}

fn read_metadata<'a>(body: &mut Reader<'_>) -> Result<Record<'a>, Corrupt> {
    let tenant = TenantId(body.number()?);
    let kind = MetricType::from_number(u64::from(body.byte()?)).ok_or(Corrupt)?;
    let (family, unit, help) = (read_text(body)?, read_text(body)?, read_text(body)?);
    Ok(Record::Metadata { tenant, family, metadata: Metadata { kind, unit, help } })
}

fn read_starts(body: &mut Reader<'_>) -> Result<Vec<(u32, i64)>, Corrupt> {
    let count = body.count_of(2)?;
    (0..count).map(|_| Ok((body.number()?, body.zigzag()?))).collect()
}

fn read_totals(body: &mut Reader<'_>) -> Result<Vec<(u32, Total<f64>)>, Corrupt> {
    let count = body.count_of(11)?;
    let (mut slot, mut end_ms) = (0i64, 0i64);
    let mut total = || {
        slot = body.zigzag()?.checked_add(slot + 1).ok_or(Corrupt)?;
        end_ms = end_ms.wrapping_add(body.zigzag()?);
        let start_ms = end_ms.wrapping_sub(body.zigzag()?);
        let value = f64::from_bits(u64::from_le_bytes(body.array()?));
        Ok((u32::try_from(slot).map_err(|_| Corrupt)?, Total { start_ms, end_ms, value }))
    };
    (0..count).map(|_| total()).collect()
}

fn read_digest(body: &mut Reader<'_>) -> Result<Digest, Corrupt> {
    let tenant = TenantId(body.number()?);
    let digest = u128::from_le_bytes(body.array()?);
    Ok(Digest { tenant, digest, taken_ms: body.zigzag()?, frames: body.varint()? })
}

fn read_text(body: &mut Reader<'_>) -> Result<String, Corrupt> {
    String::from_utf8(body.bytes()?.to_vec()).map_err(|_| Corrupt)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_come_back_bit_for_bit() {
        let rows = [
            Row { slot: 0, timestamp_ms: i64::MIN, value: -0.0 },
            Row { slot: 1, timestamp_ms: i64::MAX, value: f64::from_bits(0x7ff0_0000_0000_0002) },
            Row { slot: u32::MAX, timestamp_ms: 0, value: 1e-310 },
            Row { slot: 5, timestamp_ms: 15_000, value: f64::INFINITY },
        ];
        let mut payload = Vec::new();
        write_samples(&rows, &mut payload);
        let mut back = Vec::new();
        let skipped = read(&payload, |record| match record {
            Record::Samples(rows) => back.extend(rows),
            other => panic!("{other:?}"),
        });
        assert_eq!(skipped, Ok(0));
        let bits = |rows: &[Row]| {
            rows.iter().map(|r| (r.slot, r.timestamp_ms, r.value.to_bits())).collect::<Vec<_>>()
        };
        assert_eq!(bits(&back), bits(&rows));
    }

    #[test]
    fn totals_and_digests_come_back() {
        let total = |start_ms, end_ms, value| Total { start_ms, end_ms, value };
        let totals =
            [(0, total(i64::MIN, i64::MAX, -0.0)), (u32::MAX, total(5, 6, 1e300)), (3, total(0, 0, 2.5))];
        let digest = Digest { tenant: TenantId(3), digest: u128::MAX - 1, taken_ms: -1, frames: 300 };
        let mut payload = Vec::new();
        write_totals(totals.into_iter(), &mut payload);
        write_digest(&digest, &mut payload);
        let mut back = Vec::new();
        assert_eq!(read(&payload, |record| back.push(record)), Ok(0));
        match back.as_slice() {
            [Record::Totals(found), Record::Digest(other)] => {
                assert_eq!((found.as_slice(), *other), (&totals[..], digest));
            }
            other => panic!("{other:?}"),
        }
    }

    /// A series of the tenant that no block can have: the head took it and could never be flushed again.
    #[test]
    fn a_series_is_somebodys() {
        let labels = model::Labels::from_pairs([("__name__", "up")]);
        let read = |tenant| {
            let mut payload = Vec::new();
            write_series(3, tenant, SeriesId(7), labels.as_canonical(), &mut payload);
            read(&payload, |_| ())
        };
        assert_eq!(read(TenantId(NO_TENANT.0 - 1)), Ok(0));
        assert_eq!(read(NO_TENANT), Err(Unreadable::Corrupt));
    }

    /// A head cannot hold others.
    #[test]
    fn a_series_has_some_labels() {
        let read = |count: usize| {
            let names = (0..count).map(|n| (format!("n{n:04}"), "v"));
            let mut payload = Vec::new();
            write_series(
                3,
                TenantId(1),
                SeriesId(7),
                model::Labels::from_pairs(names).as_canonical(),
                &mut payload,
            );
            read(&payload, |_| ())
        };
        let bounds = [0, 1, LABELS_MAX, LABELS_MAX + 1].map(|count| read(count).is_ok());
        assert_eq!(bounds, [false, true, true, false]);
    }

    #[test]
    fn unknown_kinds_are_skipped_only_when_they_may_be() {
        let unknown = |kind| [kind, 1, 0, 0, 0, 42];
        assert_eq!(read(&unknown(SKIPPABLE | 9), |_| panic!("nothing is known")), Ok(1));
        assert_eq!(read(&unknown(9), |_| panic!("nothing is known")), Err(Unreadable::UnknownKind(9)));
    }

    #[test]
    fn cut_records_are_corrupt() {
        let mut payload = Vec::new();
        let labels = model::Labels::from_pairs([("__name__", "up")]);
        write_series(3, TenantId(1), SeriesId(7), labels.as_canonical(), &mut payload);
        write_samples(&[Row { slot: 3, timestamp_ms: 1, value: 1.0 }], &mut payload);
        let series_end = payload.len() - 5 - 11;
        for cut in (1..payload.len()).filter(|cut| *cut != series_end) {
            assert_eq!(read(&payload[..cut], |_| ()), Err(Unreadable::Corrupt), "{cut}");
        }
    }
}
