//! Lines as they lie in frames: each record is a run of lines of one stream.

use codec::chunk::Corrupt;
use codec::chunk::bytes::{Reader, put_bytes, put_varint, put_zigzag};
use model::{LabelsRef, Origin, TenantId};

use crate::block::NO_TENANT;
use crate::record::{LINES, ORIGIN, SKIPPABLE, Unreadable, read_origin, record};

/// A log line as it is read back.
#[derive(Clone, Debug, PartialEq)]
pub struct LogRecord<'a> {
    /// Sequence of the frame that holds it: grows with the order in which lines were taken.
    pub sequence: u64,
    /// Whose it is.
    pub tenant: TenantId,
    /// Labels of its stream.
    pub stream: LabelsRef<'a>,
    /// Fields of this line alone, as they were sent: names may repeat.
    pub fields: Vec<(&'a str, &'a str)>,
    /// Nanoseconds since the Unix epoch.
    pub timestamp_ns: i64,
    /// The line.
    pub line: &'a str,
}

/// Begins a record of a stream's lines; what `lines` appends are its lines.
pub(super) fn write(tenant: TenantId, stream: &str, lines: &[u8], out: &mut Vec<u8>) {
    record(LINES, out, |out| {
        put_varint(out, u64::from(tenant.0));
        put_bytes(out, stream.as_bytes());
        out.extend_from_slice(lines);
    });
}

/// Appends a line of a record; `before_ns` is the time of the line before it there, 0 for the first.
pub(super) fn write_line<'f>(
    before_ns: i64,
    timestamp_ns: i64,
    fields: impl ExactSizeIterator<Item = (&'f str, &'f str)>,
    line: &str,
    out: &mut Vec<u8>,
) {
    put_zigzag(out, timestamp_ns.wrapping_sub(before_ns));
    put_varint(out, fields.len() as u64);
    for (name, value) in fields {
        put_bytes(out, name.as_bytes());
        put_bytes(out, value.as_bytes());
    }
    put_bytes(out, line.as_bytes());
}

/// Says who sent on the lines of the next record.
pub(super) fn write_origin(origin: &Origin, out: &mut Vec<u8>) {
    if !origin.is_sender() {
        crate::record::write_origin(origin, out);
    }
}

/// Calls `each` for every line of a frame.
pub(crate) fn each_line<'a>(
    sequence: u64,
    payload: &'a [u8],
    each: &mut dyn FnMut(LogRecord<'a>),
) -> Result<(), Unreadable> {
    each_line_sent_on(sequence, payload, &mut |line, _| each(line))
}

/// As [`each_line`], with who sent it on.
pub(crate) fn each_line_sent_on<'a>(
    sequence: u64,
    payload: &'a [u8],
    each: &mut dyn FnMut(LogRecord<'a>, &Origin),
) -> Result<(), Unreadable> {
    let mut reader = Reader::new(payload);
    let mut origin = Origin::SENDER;
    while !reader.is_empty() {
        let kind = reader.byte()?;
        let length = u32::from_le_bytes(reader.array()?);
        let mut body = Reader::new(reader.take(length as usize)?);
        match kind {
            LINES => {
                let origin = std::mem::take(&mut origin);
                lines(sequence, &mut body, &mut |line| each(line, &origin))?;
            }
            ORIGIN => origin = read_origin(&mut body)?,
            kind if kind & SKIPPABLE != 0 => {}
            kind => return Err(Unreadable::UnknownKind(kind)),
        }
    }
    Ok(())
}

fn lines<'a>(
    sequence: u64,
    body: &mut Reader<'a>,
    each: &mut dyn FnMut(LogRecord<'a>),
) -> Result<(), Corrupt> {
    let tenant = TenantId(body.number()?);
    if tenant == NO_TENANT {
        return Err(Corrupt);
    }
    let stream = LabelsRef::from_canonical(text(body)?).ok_or(Corrupt)?;
    let mut timestamp_ns = 0i64;
    while !body.is_empty() {
        timestamp_ns = timestamp_ns.wrapping_add(body.zigzag()?);
        let count = body.count_of(2)?;
        let fields = (0..count).map(|_| Ok((text(body)?, text(body)?))).collect::<Result<_, Corrupt>>()?;
        let line = text(body)?;
        each(LogRecord { sequence, tenant, stream, fields, timestamp_ns, line });
    }
    Ok(())
}

fn text<'a>(body: &mut Reader<'a>) -> Result<&'a str, Corrupt> {
    std::str::from_utf8(body.bytes()?).map_err(|_| Corrupt)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload() -> Vec<u8> {
        let (mut lines, mut payload) = (Vec::new(), Vec::new());
        write_line(0, i64::MAX, [("a", "1"), ("a", "")].into_iter(), "first", &mut lines);
        write_line(i64::MAX, i64::MIN, [].into_iter(), "", &mut lines);
        let stream = model::Labels::from_pairs([("app", "ünï")]);
        write(TenantId(3), stream.as_canonical(), &lines, &mut payload);
        payload
    }

    #[test]
    fn lines_come_back_as_they_were() {
        let payload = payload();
        let mut found = Vec::new();
        each_line(9, &payload, &mut |line| found.push(line)).unwrap();
        let stream = model::Labels::from_pairs([("app", "ünï")]);
        let line = |timestamp_ns, fields: &[(&'static str, &'static str)], line| LogRecord {
            sequence: 9,
            tenant: TenantId(3),
            stream: stream.as_ref(),
            fields: fields.to_vec(),
            timestamp_ns,
            line,
        };
        assert_eq!(found, [line(i64::MAX, &[("a", "1"), ("a", "")], "first"), line(i64::MIN, &[], "")]);
    }

    #[test]
    fn cut_and_unknown_records_are_told_apart() {
        let payload = payload();
        for cut in 1..payload.len() {
            assert_eq!(each_line(1, &payload[..cut], &mut |_| ()), Err(Unreadable::Corrupt), "{cut}");
        }
        let unknown = |kind| each_line(1, &[kind, 1, 0, 0, 0, 42], &mut |_| panic!("nothing is known"));
        assert_eq!(unknown(9), Err(Unreadable::UnknownKind(9)));
        assert_eq!(unknown(SKIPPABLE | 9), Ok(()));
    }
}
