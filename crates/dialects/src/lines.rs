//! Log lines of a body on their way into the batch: what all dialects that keep something as a line have in common.

use std::borrow::Cow;
use std::ops::Range;

use model::Batch;
use model::batch::Pair;
use model::log::LogRow;

use crate::rows::{Full, Room, owned_bytes};

/// Where [`Lines::cutting`] cuts, in bytes.
const CUT_BYTES: usize = 1_000_000;

/// Fields of a line that the store takes, and their bytes: a line with more would be refused as a whole.
const FIELDS_MAX: usize = 256;
const FIELD_BYTES_MAX: usize = 256 << 10;

/// The lines of a body. They stay as long as they are: the store refuses one that is over its bound.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    last_stream: Range<usize>,
    over_long: OverLong,
}

/// What becomes of a line that is very long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum OverLong {
    #[default]
    Whole,
    Cut,
}

impl Lines {
    /// Lines of which what is over 1,000,000 bytes is cut off, as Datadog does.
    pub(crate) fn cutting() -> Self {
        Self { over_long: OverLong::Cut, ..Self::default() }
    }

    /// Keeps a line whose fields are the pairs from `fields` on. Empty values of `stream` are absent ones.
    pub(crate) fn push<'a>(
        &mut self,
        batch: &mut Batch<'a>,
        room: &mut Room,
        stream: impl IntoIterator<Item = (impl Into<Cow<'a, str>>, Cow<'a, str>)>,
        fields: usize,
        timestamp_ns: i64,
        line: Cow<'a, str>,
    ) -> Result<(), Full> {
        let fields = bounded(batch, fields);
        for (name, value) in stream {
            if !value.is_empty() {
                put(batch, room, name.into(), value)?;
            }
        }
        let (before, new) = batch.pairs.split_at(fields.end);
        if before.get(self.last_stream.clone()) == Some(new) {
            batch.pairs.truncate(fields.end);
        } else {
            self.last_stream = fields.end..batch.pairs.len();
        }
        let line = match self.over_long {
            OverLong::Whole => line,
            OverLong::Cut => {
                let (line, is_cut) = cut(line);
                batch.note("log_lines_cut", u64::from(is_cut));
                line
            }
        };
        keep(batch, room, self.last_stream.clone(), fields, timestamp_ns, line)
    }
}

/// Keeps a line of a stream whose labels are the pairs of `stream` already; its fields are the pairs from `fields` on.
pub(crate) fn push_to<'a>(
    batch: &mut Batch<'a>,
    room: &mut Room,
    stream: Range<usize>,
    fields: usize,
    timestamp_ns: i64,
    line: Cow<'a, str>,
) -> Result<(), Full> {
    let fields = bounded(batch, fields);
    keep(batch, room, stream, fields, timestamp_ns, line)
}

/// The pairs from `fields` on, as far as a line can have them.
fn bounded(batch: &mut Batch<'_>, fields: usize) -> Range<usize> {
    let dropped = drop_fields(batch, fields);
    batch.note("log_fields_dropped", dropped as u64);
    fields..batch.pairs.len()
}

fn keep<'a>(
    batch: &mut Batch<'a>,
    room: &mut Room,
    stream: Range<usize>,
    fields: Range<usize>,
    timestamp_ns: i64,
    line: Cow<'a, str>,
) -> Result<(), Full> {
    let end = line.trim_end_matches(['\n', '\r']).len();
    let line = shortened(line, end);
    room.take(size_of::<LogRow<'_>>() + owned_bytes(&line))?;
    let item = batch.items.current();
    batch.logs.push(LogRow { stream, fields, timestamp_ns, line, item });
    Ok(())
}

/// Drops the pairs from `fields` on that a line cannot have; how many.
fn drop_fields(batch: &mut Batch<'_>, fields: usize) -> usize {
    let (mut end, mut bytes) = (fields, 0);
    for at in fields..batch.pairs.len() {
        let (name, value) = &batch.pairs[at];
        let with_it = bytes + name.len() + value.len();
        if end - fields < FIELDS_MAX && with_it <= FIELD_BYTES_MAX {
            bytes = with_it;
            batch.pairs.swap(end, at);
            end += 1;
        }
    }
    let dropped = batch.pairs.len() - end;
    batch.pairs.truncate(end);
    dropped
}

/// Appends a pair.
pub(crate) fn put<'a>(
    batch: &mut Batch<'a>,
    room: &mut Room,
    name: Cow<'a, str>,
    value: Cow<'a, str>,
) -> Result<(), Full> {
    room.take(size_of::<Pair<'_>>() + owned_bytes(&name) + owned_bytes(&value))?;
    batch.pairs.push((name, value));
    Ok(())
}

/// A line as far as Datadog keeps it, and whether something was cut off. Its line break counts for nothing.
fn cut(line: Cow<'_, str>) -> (Cow<'_, str>, bool) {
    let whole = line.trim_end_matches(['\n', '\r']).len();
    let end = line.floor_char_boundary(whole.min(CUT_BYTES));
    (shortened(line, end), end < whole)
}

fn shortened(line: Cow<'_, str>, end: usize) -> Cow<'_, str> {
    match line {
        Cow::Borrowed(line) => Cow::Borrowed(&line[..end]),
        Cow::Owned(mut line) => {
            line.truncate(end);
            Cow::Owned(line)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_between_characters() {
        let (line, is_cut) = cut(Cow::Owned("ü".repeat(CUT_BYTES)));
        assert_eq!((line.len(), is_cut), (CUT_BYTES, true));
        let (line, is_cut) = cut(Cow::Owned(format!("x{}", "ü".repeat(CUT_BYTES))));
        assert_eq!((line.len(), is_cut), (CUT_BYTES - 1, true));
        assert_eq!(cut("a\nb\r\n".into()), ("a\nb".into(), false));
    }

    /// What a dialect makes of a line of so many bytes, with a line break behind it.
    fn kept(path: &str, before: &str, bytes: usize, after: &str) -> (usize, Vec<(&'static str, u64)>) {
        let request = crate::Request { path, content_type: "application/json", ..crate::Request::default() };
        let route = crate::owner("POST", &request).unwrap().1;
        let crate::Kind::Ingest { decode, .. } = route.kind else { panic!("{path}") };
        let body = format!("{before}{}{after}", "x".repeat(bytes));
        let mut batch = Batch::new(1);
        let received = crate::Received { body: body.as_bytes(), ..crate::Received::new(request) };
        decode(&received, &mut batch).unwrap();
        (batch.logs[0].line.len(), batch.notes.clone())
    }

    #[test]
    fn only_datadog_cuts() {
        let otlp = r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":""#;
        let over = CUT_BYTES + 1;
        for (path, before, after) in [
            ("/services/collector/event", r#"{"event":""#, "\\n\"}"),
            ("/services/collector/raw", "", "\r\n"),
            ("/betterstack", r#"{"message":""#, "\"}"),
            ("/v1/logs", otlp, "\"}}]}]}]}"),
        ] {
            assert_eq!(kept(path, before, over, after), (over, vec![]), "{path}");
        }
        let cut = kept("/api/v2/logs", r#"[{"message":""#, over, "\"}]");
        assert_eq!(cut, (CUT_BYTES, vec![("log_lines_cut", 1)]));
    }

    #[test]
    fn fields_that_a_line_cannot_have_are_dropped() {
        let long = "x".repeat(FIELD_BYTES_MAX);
        let mut batch = Batch::new(1);
        for value in ["a", &long, "b"].into_iter().chain(["c"; FIELDS_MAX]) {
            put(&mut batch, &mut Room::new(), "f".into(), value.into()).unwrap();
        }
        assert_eq!(drop_fields(&mut batch, 1), 2);
        let first: Vec<_> = batch.pairs[..4].iter().map(|(_, value)| value.as_ref()).collect();
        assert_eq!((first, batch.pairs.len()), (vec!["a", "b", "c", "c"], 1 + FIELDS_MAX));
    }

    #[test]
    fn lines_of_one_stream_share_its_labels() {
        let (mut batch, mut lines, mut room) = (Batch::new(1), Lines::default(), Room::new());
        for service in ["a", "a", "", "a"] {
            let fields = batch.pairs.len();
            put(&mut batch, &mut room, "f".into(), "1".into()).unwrap();
            let stream = [("job", "x".into()), ("service", service.into())];
            lines.push(&mut batch, &mut room, stream, fields, 1, "m".into()).unwrap();
        }
        let streams: Vec<_> = batch.logs.iter().map(|row| row.stream.clone()).collect();
        assert_eq!(streams, [1..3, 1..3, 5..6, 7..9]);
        let fields: Vec<_> = batch.logs.iter().map(|row| row.fields.clone()).collect();
        assert_eq!(fields, [0..1, 3..4, 4..5, 6..7]);
    }
}
