//! Lines as over telnet: `put metric timestamp value tag=value …`, and the few commands that clients send beside it.
//!
//! Only what goes wrong is answered, a line each. `exit` ends a connection, and no more than that: lines that came with it
//! are put as well, for over UDP they may be another sender's.

use std::borrow::Cow;
use std::fmt::Write as _;

use model::batch::{Pair, Temporality};
use model::{Batch, Reason, Sample, Signal};

use super::time;
use crate::named::{Named, Sent};
use crate::number;
use crate::rows::{Full, Room, Rows, shown};
use crate::{Malformed, Received, Said, Verdict};

/// What a line takes in the batch beside its tags, roughly.
const LINE_BYTES: usize = 128;

/// Stands in [`Batch::echo`] where a client says that it is done.
const EXIT: char = '\u{4}';

const VERSION: &str = concat!("weir ", env!("CARGO_PKG_VERSION"), "\n");
const HELP: &str = "available commands: exit help put version\n";

/// Decodes lines into `batch`.
pub(super) fn decode<'a>(received: &Received<'a>, batch: &mut Batch<'a>) -> Result<(), Malformed> {
    let body = received.body;
    let mut puts = Puts { tags: Vec::new(), named: Named::default(), room: Room::new() };
    let (mut start, mut said, mut exits) = (0, String::new(), false);
    while start < body.len() {
        let end = memchr::memchr(b'\n', &body[start..]).map_or(body.len(), |at| start + at);
        let line = body[start..end].trim_ascii();
        let command = line.split(u8::is_ascii_whitespace).next().unwrap_or_default();
        match command {
            b"" => {}
            b"version" => said.push_str(VERSION),
            b"help" => said.push_str(HELP),
            b"exit" => exits = true,
            b"put" => {
                batch.items.begin();
                puts.room.take(LINE_BYTES).map_err(|Full| Malformed { what: Full::WHAT, offset: start })?;
                let put = puts.put(&line[3..], batch);
                if let Err(why) = put.map_err(|Full| Malformed { what: Full::WHAT, offset: start })? {
                    batch.refuse_item(Signal::Sample, why.0, || format!("put: {}", why.1));
                }
            }
            command => {
                batch.items.begin();
                let command = String::from_utf8_lossy(&command[..command.len().min(64)]);
                batch.refuse_item(Signal::Sample, Reason::InvalidLine, || {
                    format!("unknown command: {command}.  Try `help'.")
                });
            }
        }
        start = end + 1;
    }
    if exits {
        said.push(EXIT);
    }
    batch.echo = Some(said).filter(|said| !said.is_empty());
    Ok(())
}

/// What is said of lines: what was asked for, and what went wrong.
pub(super) fn answer(verdict: &Verdict) -> Said {
    let echo = verdict.echo.as_deref().unwrap_or_default();
    let asked = echo.trim_end_matches(EXIT);
    let mut text = asked.to_owned();
    for detail in verdict.rejected.details() {
        let is_said = detail.starts_with("put: ") || detail.starts_with("unknown command: ");
        text.push_str(if is_said { "" } else { "put: " });
        text.extend(detail.chars().map(|c| if c == '\n' { ' ' } else { c }));
        text.push('\n');
    }
    if verdict.rejected.more() > 0 {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "put: {} more were refused", verdict.rejected.more());
    }
    Said { text, closes: asked.len() < echo.len() }
}

struct Puts<'a> {
    tags: Vec<Pair<'a>>,
    named: Named,
    room: Room,
}

type Put = Result<(), (Reason, String)>;

impl<'a> Puts<'a> {
    fn put(&mut self, line: &'a [u8], batch: &mut Batch<'a>) -> Result<Put, Full> {
        self.tags.clear();
        let (metric, sample) = match self.read(line) {
            Ok(read) => read,
            Err(why) => return Ok(Err(why)),
        };
        let rows = Rows::begin(batch);
        batch.samples.push(sample);
        let sent = Sent {
            name: Cow::Borrowed(metric),
            tags: &self.tags,
            extra: None,
            temporality: Temporality::Cumulative,
        };
        self.named.keep(batch, &mut self.room, rows, sent)?;
        Ok(Ok(()))
    }

    fn read(&mut self, line: &'a [u8]) -> Result<(&'a str, Sample), (Reason, String)> {
        let illegal = |what: String| (Reason::InvalidLine, format!("illegal argument: {what}"));
        let line = std::str::from_utf8(line).map_err(|_| illegal("not UTF-8".to_owned()))?;
        let mut words = line.split_ascii_whitespace();
        let (Some(metric), Some(timestamp), Some(value)) = (words.next(), words.next(), words.next()) else {
            let got = line.split_ascii_whitespace().count() + 1;
            return Err(illegal(format!("not enough arguments (need least 4, got {got})")));
        };
        let timestamp_ms = time::to_ms(timestamp)
            .ok_or_else(|| illegal(format!("Invalid timestamp: {}", shown(timestamp))))?;
        let value = number::decimal(value.as_bytes())
            .ok_or_else(|| (Reason::InvalidValue, format!("invalid value: {}", shown(value))))?;
        for tag in words {
            match tag.split_once('=') {
                Some((key, value)) if !key.is_empty() => self.tags.push((key.into(), value.into())),
                _ => return Err(illegal(format!("invalid tag: {}", shown(tag)))),
            }
        }
        Ok((metric, Sample { timestamp_ms, value, start_ms: 0 }))
    }
}
