//! Prometheus' text and OpenMetrics, line by line, in one pass.

use std::borrow::Cow;

use model::MetricType;
use model::batch::Exemplar;
use model::labels::truncated;

use super::created::{self, Created};
use super::families::{Comment, Families};
use super::{Format, Options, Place, Row, Sink, Value, Violation, bound, series};
use crate::rows;
use crate::text::format;
use crate::text::line::{self, Line, LineExemplar};

/// How many line feeds a label's value may have in Prometheus' text, which does not forbid them.
const LINE_FEEDS_MAX: u32 = 16;

/// Gives the rows of `body` to `sink`.
pub(super) fn read(
    format: Format,
    body: &[u8],
    options: &Options,
    sink: &mut dyn Sink,
) -> Result<(), Violation> {
    // Checked at once when all is well; else each line for itself, for what stands in a comment may be anything.
    let text = std::str::from_utf8(body).ok();
    let mut page = Page {
        format,
        options: *options,
        families: Families::default(),
        family: Cow::Borrowed(""),
        kind: MetricType::Unknown,
        created: if format == Format::OpenMetrics && options.start_timestamps {
            Created::on(body)
        } else {
            None
        },
        ended: false,
        series: String::new(),
        one_line: String::new(),
        exemplars: Vec::new(),
    };
    let (mut start, mut number) = (0, 1u64);
    while start < body.len() {
        let mut end = line_end(body, start);
        let mut line_feeds = 0;
        let taken = loop {
            let line = match text {
                Some(text) => Ok(&text[start..end]),
                None => std::str::from_utf8(&body[start..end]),
            };
            let taken = match line {
                Ok(line) => page.line(line, sink),
                Err(_) if is_words(&body[start..end]) => Ok(()),
                Err(_) => Err("text is not valid UTF-8"),
            };
            let is_open = taken == Err(line::UNENDED) && format == Format::Prometheus;
            if !is_open || line_feeds == LINE_FEEDS_MAX || end == body.len() {
                break taken;
            }
            line_feeds += 1;
            end = line_end(body, end + 1);
        };
        taken.map_err(|what| violation(number, &body[start..], what))?;
        if sink.has_enough() {
            return Ok(());
        }
        start = end + 1;
        number += 1 + u64::from(line_feeds);
    }
    if format == Format::OpenMetrics && !page.ended {
        return Err(Violation {
            place: Place::Line(number),
            what: "page does not end with # EOF".to_owned(),
        });
    }
    page.families.tell(sink);
    Ok(())
}

/// Where the line ends that begins at `start`.
fn line_end(body: &[u8], start: usize) -> usize {
    memchr::memchr(b'\n', &body[start..]).map_or(body.len(), |length| start + length)
}

/// Whether a line is a comment that says nothing of a family.
fn is_words(line: &[u8]) -> bool {
    let Some(text) = line.trim_ascii_start().strip_prefix(b"#") else { return false };
    let text = text.trim_ascii_start();
    ![b"HELP", b"TYPE", b"UNIT"].iter().any(|word| text.starts_with(*word))
}

#[cold]
fn violation(number: u64, rest: &[u8], what: &'static str) -> Violation {
    let line = String::from_utf8_lossy(&rest[..line_end(rest, 0).min(256)]);
    let line = truncated(line.trim());
    Violation { place: Place::Line(number), what: format!("{what}: {line}") }
}

struct Page<'a> {
    format: Format,
    options: Options,
    families: Families<'a>,
    /// The family whose type was said last, and the type.
    family: Cow<'a, str>,
    kind: MetricType,
    /// When series began, where the page says so.
    created: Option<Created>,
    ended: bool,
    /// A series whose bound is not as on the page.
    series: String,
    /// A series with line feeds, which stand there escaped.
    one_line: String,
    exemplars: Vec<Exemplar>,
}

impl<'a> Page<'a> {
    fn line(&mut self, line: &'a str, sink: &mut dyn Sink) -> Result<(), &'static str> {
        let text = line.trim_start_matches([' ', '\t']);
        if text.starts_with('#') && !self.ended {
            match self.families.comment(text, self.format)? {
                Comment::End => self.ended = true,
                Comment::Type(family, kind) => (self.family, self.kind) = (family, kind),
                Comment::Said | Comment::Nothing => {}
            }
            return Ok(());
        }
        let text = text.trim_end_matches([' ', '\t', '\r']);
        if text.is_empty() {
            return Ok(());
        }
        if self.ended {
            return Err("text after # EOF");
        }
        let format = match self.format {
            Format::OpenMetrics => format::Format::OpenMetrics,
            _ => format::Format::Prometheus,
        };
        let line = line::parse(text, format)?;
        if !line.named {
            return Err("metric name is missing");
        }
        if line.has_hexadecimal(text) {
            return Err("value is not a number");
        }
        self.sample(line, sink);
        Ok(())
    }

    fn sample(&mut self, line: Line<'a>, sink: &mut dyn Sink) {
        let mut start_ms = 0;
        if let Some(created) = &self.created {
            if created::is_created(line.series, &self.family, self.kind) {
                return;
            }
            start_ms = created.of(line.series, &self.family, self.kind);
        }
        self.exemplars.clear();
        if let Some(exemplar) = line.exemplar {
            let sample_ms = line.timestamp_ms.unwrap_or(self.options.scraped_ms);
            match own(exemplar, sample_ms) {
                Ok(exemplar) => self.exemplars.push(exemplar),
                Err(what) => sink.bad_exemplar(what),
            }
        }
        let mut series = line.series;
        if memchr::memchr(b'\n', series.as_bytes()).is_some() {
            self.one_line = series::escaped(series);
            series = &self.one_line;
        }
        let label = bound::label_of(self.kind);
        let anew = !label.is_empty() && bound::rewrite(series, label, &mut self.series);
        sink.row(Row {
            series: if anew { &self.series } else { series },
            value: Value::Float(line.value),
            timestamp_ms: line.timestamp_ms,
            start_ms,
            exemplars: &self.exemplars,
        });
    }
}

fn own(exemplar: LineExemplar<'_>, sample_ms: i64) -> Result<Exemplar, &'static str> {
    let LineExemplar { labels, value, timestamp_ms } = exemplar;
    let borrowed: Vec<_> = labels.iter().map(|(n, v)| (Cow::as_ref(n), Cow::as_ref(v))).collect();
    rows::exemplar(borrowed, value, timestamp_ms.unwrap_or(sample_ms))
}
