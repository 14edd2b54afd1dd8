//! From a batch's log lines to records that wait for the writer: limits, and everything that can be done before it.

use std::ops::Range;

use model::{Batch, Labels, Origin, Reason, Signal, TenantId};

use super::record;
use super::stream::FRAME_BYTES;
use crate::append::{WriteContext, window};
use crate::refused::Refused;

/// Bytes of a line at most: what the longest dialect takes (Datadog cuts its own at 1 MB). A longer one is refused.
pub const LINE_BYTES_MAX: usize = 1 << 20;

/// Fields of a line at most.
pub const FIELDS_MAX: usize = 256;

/// Bytes of a line's fields together at most.
pub const FIELD_BYTES_MAX: usize = 256 << 10;

/// Bytes of a stream's labels at most, whatever the tenant may have otherwise.
const STREAM_BYTES_MAX: usize = 128 << 10;

/// Bytes of lines at which a record ends. With one more line, the longest, a record and what stands before it in its
/// frame fit into the frame.
const RECORD_BYTES: usize = 256 << 10;

const _: () = assert!(
    FRAME_BYTES + RECORD_BYTES + LINE_BYTES_MAX + FIELD_BYTES_MAX + STREAM_BYTES_MAX + (64 << 10)
        < wal::PAYLOAD_BYTES_MAX
);

/// Lines of one append, as records.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    /// In the order of the request, each short enough for a frame.
    pub(crate) records: Vec<Vec<u8>>,
    pub(crate) count: u64,
}

impl Lines {
    pub(crate) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Bytes that they take while they wait.
    pub(crate) fn bytes(&self) -> u64 {
        self.records.iter().map(|record| 24 + record.capacity() as u64).sum()
    }
}

/// Takes what of a batch's lines the tenant may write now; the rest is in `refused`.
pub(crate) fn take(context: &WriteContext<'_>, batch: &Batch<'_>, refused: &mut Refused) -> Lines {
    let mut run = Run {
        origin: &batch.origin,
        tenant: context.tenant,
        lines: Lines::default(),
        stream: None,
        body: Vec::new(),
        before_ns: 0,
    };
    let window = window(context);
    for row in &batch.logs {
        let timestamp_ms = row.timestamp_ns.div_euclid(1_000_000);
        let fields = batch.pairs[row.fields.clone()].iter().map(|(n, v)| (n.as_ref(), v.as_ref()));
        let field_bytes =
            fields.clone().map(|(name, value): (&str, &str)| name.len() + value.len()).sum::<usize>();
        let refusal = if row.line.len() > LINE_BYTES_MAX {
            let bytes = row.line.len();
            Some((Reason::LineTooLong, format!("log line of {bytes} bytes, the limit is {LINE_BYTES_MAX}")))
        } else if fields.len() > FIELDS_MAX || field_bytes > FIELD_BYTES_MAX {
            let count = fields.len();
            Some((
                Reason::LabelLimit,
                format!(
                    "log line with {count} fields of {field_bytes} bytes, the limits are {FIELDS_MAX} and {FIELD_BYTES_MAX}"
                ),
            ))
        } else if !window.contains(timestamp_ms) {
            let reason = if timestamp_ms > window.end_ms { Reason::TooFarAhead } else { Reason::TooOld };
            Some((
                reason,
                format!("log line at {timestamp_ms} ms is outside of what the tenant may write now"),
            ))
        } else {
            run.enter(&row.stream, context, batch).err()
        };
        match refusal {
            None => run.line(row.timestamp_ns, fields, &row.line),
            Some((reason, why)) => {
                refused.add(Signal::LogLine, reason, 1, row.item);
                refused.explain(|| why);
            }
        }
    }
    run.end();
    run.lines
}

/// Lines of one stream that come one behind the other.
struct Run<'b> {
    origin: &'b Origin,
    tenant: TenantId,
    lines: Lines,
    /// Where its labels stand in the batch, and what they are.
    stream: Option<(Range<usize>, Labels)>,
    body: Vec<u8>,
    before_ns: i64,
}

impl Run<'_> {
    /// Goes on with this stream.
    fn enter(
        &mut self,
        stream: &Range<usize>,
        context: &WriteContext<'_>,
        batch: &Batch<'_>,
    ) -> Result<(), (Reason, String)> {
        if self.stream.as_ref().is_some_and(|(range, _)| range == stream) {
            return Ok(());
        }
        let mut pairs: Vec<_> =
            batch.pairs[stream.clone()].iter().map(|(n, v)| (n.as_ref(), v.as_ref())).collect();
        let mut limits = context.limits.labels;
        limits.total_bytes = limits.total_bytes.min(STREAM_BYTES_MAX);
        let labels = Labels::of_stream(&mut pairs, &limits)
            .map_err(|error| (Reason::from(&error), format!("stream of log lines: {error}")))?;
        if self.stream.as_ref().is_none_or(|(_, before)| *before != labels) {
            self.end();
        }
        self.stream = Some((stream.clone(), labels));
        Ok(())
    }

    fn line<'f>(
        &mut self,
        timestamp_ns: i64,
        fields: impl ExactSizeIterator<Item = (&'f str, &'f str)>,
        line: &str,
    ) {
        record::write_line(self.before_ns, timestamp_ns, fields, line, &mut self.body);
        self.before_ns = timestamp_ns;
        self.lines.count += 1;
        if self.body.len() >= RECORD_BYTES {
            self.end();
        }
    }

    fn end(&mut self) {
        if let Some((_, labels)) = self.stream.as_ref().filter(|_| !self.body.is_empty()) {
            let mut out = Vec::with_capacity(self.body.len() + labels.as_canonical().len() + 16);
            record::write_origin(self.origin, &mut out);
            record::write(self.tenant, labels.as_canonical(), &self.body, &mut out);
            self.lines.records.push(out);
            self.body.clear();
            self.before_ns = 0;
        }
    }
}
