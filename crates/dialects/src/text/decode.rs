//! Body to batch, line by line, in one pass.

use std::borrow::Cow;

use codec::hash::key128;
use model::batch::LabelSource;
use model::{Batch, Reason, Sample, Signal};

use super::format::Format;
use super::line::{self, Line, LineExemplar};
use super::metadata::Families;
use crate::rows::{self, Full, Room, Rows};
use crate::{Malformed, Received};

/// The longest line that is read.
pub(super) const LINE_BYTES_MAX: usize = 256 << 10;

/// Keeps keys of text apart from those of other dialects: the same bytes mean other labels there.
const KEY_DOMAIN: u64 = 0x7465_7874_2065_7870;

/// Decodes a body into `batch`.
pub(super) fn decode<'a>(received: &Received<'a>, batch: &mut Batch<'a>) -> Result<(), Malformed> {
    let format = Format::of(received.request.content_type, received.body);
    // Checked at once when all is well; else each line for itself, so that one bad line refuses only itself.
    let text = std::str::from_utf8(received.body).ok();
    let mut body = Body {
        format,
        received_ms: received.received_ms,
        families: Families::default(),
        ended: false,
        room: Room::new(),
        full: false,
    };
    let (mut start, mut number) = (0, 0u64);
    while start < received.body.len() {
        let end = memchr::memchr(b'\n', &received.body[start..]).map_or(received.body.len(), |at| start + at);
        number += 1;
        body.take(128 + 2 * (end - start));
        let line = match text {
            Some(text) => Ok(&text[start..end]),
            None => std::str::from_utf8(&received.body[start..end]).map_err(|_| "line is not valid UTF-8"),
        };
        if let Err((signal, reason, what)) = line.map_err(bad_line).and_then(|line| body.line(line, batch)) {
            batch.rejections.add(signal, reason, 1);
            batch.rejections.explain(|| format!("line {number}: {what}"));
        }
        if body.full {
            return Err(Malformed { what: Full::WHAT, offset: start });
        }
        start = end + 1;
    }
    Ok(())
}

type Complaint = (Signal, Reason, &'static str);

fn bad_line(what: &'static str) -> Complaint {
    (Signal::Sample, Reason::InvalidLine, what)
}

struct Body<'a> {
    format: Format,
    received_ms: i64,
    families: Families<'a>,
    ended: bool,
    room: Room,
    full: bool,
}

impl<'a> Body<'a> {
    fn take(&mut self, bytes: usize) {
        self.full |= self.room.take(bytes).is_err();
    }

    fn line(&mut self, text: &'a str, batch: &mut Batch<'a>) -> Result<(), Complaint> {
        let text = text.trim_matches([' ', '\t', '\r']);
        if text.is_empty() {
            return Ok(());
        }
        if self.ended {
            return Err(bad_line("text after # EOF"));
        }
        if text.len() > LINE_BYTES_MAX {
            return Err(bad_line("line of over 262144 bytes"));
        }
        if let Some(comment) = text.strip_prefix('#') {
            self.ended = self.format == Format::OpenMetrics && comment.trim() == "EOF";
            return self
                .families
                .comment(comment, batch)
                .map_err(|what| (Signal::Metadata, Reason::InvalidMetadata, what));
        }
        let line = line::parse(text, self.format).map_err(bad_line)?;
        if line.escaped || line.exemplar.is_some() {
            // These are copied: a label is 5 bytes at least, and 48 as an owned pair.
            self.take(24 * text.len());
        }
        if !line.named {
            return Err((Signal::Sample, Reason::MissingName, "metric name is missing"));
        }
        self.sample(line, batch)
    }

    fn sample(&self, line: Line<'a>, batch: &mut Batch<'a>) -> Result<(), Complaint> {
        let rows = Rows::begin(batch);
        let timestamp_ms = line.timestamp_ms.unwrap_or(self.received_ms);
        batch.samples.push(Sample { timestamp_ms, value: line.value, start_ms: 0 });
        let exemplar = line.exemplar.map(|exemplar| push_exemplar(exemplar, timestamp_ms, batch));
        let key = key128(batch.seed ^ KEY_DOMAIN, line.series.as_bytes());
        let labels = if line.escaped {
            let start = batch.pairs.len();
            line::unescape_series(line.series, |name, value| batch.pairs.push((name, value)));
            LabelSource::Pairs(start..batch.pairs.len())
        } else {
            LabelSource::Wire { bytes: line.series.as_bytes(), parse: line::parse_series }
        };
        rows.keep(batch, labels, key);
        exemplar.unwrap_or(Ok(()))
    }
}

fn push_exemplar(exemplar: LineExemplar<'_>, sample_ms: i64, batch: &mut Batch<'_>) -> Result<(), Complaint> {
    let LineExemplar { labels, value, timestamp_ms } = exemplar;
    let borrowed: Vec<_> = labels.iter().map(|(n, v)| (Cow::as_ref(n), Cow::as_ref(v))).collect();
    match rows::exemplar(borrowed, value, timestamp_ms.unwrap_or(sample_ms)) {
        Ok(exemplar) => {
            batch.exemplars.push(exemplar);
            Ok(())
        }
        Err(what) => Err((Signal::Exemplar, Reason::InvalidExemplar, what)),
    }
}
