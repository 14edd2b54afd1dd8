//! `weir push metrics`: a file or stdin in text format, in requests of whole lines.
//!
//! A server that says "come back later" is believed: the request is sent again after the time that it names. Lines
//! that it refuses are counted and do not stop the others.

use std::io::{self, IsTerminal, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use indicatif::{ProgressBar, ProgressStyle};

use crate::arguments::{Push, TextFormat};
use crate::client::{Answer, Client};
use crate::failure::{Code, Failure};
use crate::terminal::{say, tame};

const PATH: &str = "/api/v1/import/prometheus";
/// Bytes of a request at most, before compression: far below the server's limit, and enough for many samples.
const REQUEST_BYTES: usize = 4 << 20;
/// How often a request is sent again to a server that asks for patience.
const ATTEMPTS: u32 = 8;

/// `weir push`.
pub(crate) fn push(command: Push) -> Result<(), Failure> {
    let Push::Metrics { file, format, plain, no_progress, client: flags } = command;
    let client = crate::query::client(&flags)?;
    let mut input = Input::open(&file)?;
    let format = input.format(format)?;
    let progress = progress(&input, no_progress);
    let mut sender = Sender { client: &client, format, plain, refused: Vec::new() };
    let mut sent = 0;
    while let Some(lines) = input.next()? {
        sender.send(&lines.bytes, lines.first)?;
        sent += lines.bytes.len() as u64;
        progress.set_position(sent);
    }
    progress.finish_and_clear();
    sender.finish(input.line - 1)
}

fn progress(input: &Input, hidden: bool) -> ProgressBar {
    if hidden || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let (bar, template) = match input.length {
        Some(length) => {
            (ProgressBar::new(length), "{bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta} left")
        }
        None => (ProgressBar::new_spinner(), "{spinner} {bytes} {bytes_per_sec}"),
    };
    bar.with_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// Lines that make one request.
struct Lines {
    bytes: Vec<u8>,
    /// Number of the first one in the input.
    first: u64,
}

/// What is sent, cut into whole lines.
struct Input {
    reader: Box<dyn Read>,
    length: Option<u64>,
    /// Whether the last line of a file says that it is OpenMetrics; unknown for stdin.
    is_openmetrics: Option<bool>,
    /// Read and not sent yet.
    pending: Vec<u8>,
    ended: bool,
    /// Number of the first pending line.
    line: u64,
}

impl Input {
    fn open(path: &Path) -> Result<Self, Failure> {
        let start = |reader, length, is_openmetrics| Self {
            reader,
            length,
            is_openmetrics,
            pending: Vec::new(),
            ended: false,
            line: 1,
        };
        if path == Path::new("-") {
            return Ok(start(Box::new(io::stdin()), None, None));
        }
        let failed =
            |error: io::Error| Failure::new(Code::Failed, format_args!("{}: {error}", path.display()));
        let mut file = env::real::open_given(path).map_err(failed)?;
        // A pipe or a device cannot be looked at from its end.
        let Ok(length) = file.seek(SeekFrom::End(0)) else { return Ok(start(Box::new(file), None, None)) };
        let tail = file.seek(SeekFrom::Start(length.saturating_sub(64))).and_then(|_| {
            let mut tail = Vec::new();
            file.read_to_end(&mut tail)?;
            file.seek(SeekFrom::Start(0)).map(|_| tail)
        });
        let tail = tail.map_err(failed)?;
        let is_openmetrics = tail.trim_ascii_end().ends_with(b"# EOF");
        Ok(start(Box::new(file), Some(length), Some(is_openmetrics)))
    }

    /// The format that every request has to name, because a part of the input no longer shows it. None = the input is
    /// one request, and the server sees for itself.
    fn format(&mut self, asked: TextFormat) -> Result<Option<TextFormat>, Failure> {
        if asked != TextFormat::Auto {
            return Ok(Some(asked));
        }
        self.fill()?;
        let found =
            |is_openmetrics| if is_openmetrics { TextFormat::Openmetrics } else { TextFormat::Prometheus };
        match self.is_openmetrics {
            _ if self.ended && self.pending.len() <= REQUEST_BYTES => Ok(None),
            Some(is_openmetrics) => Ok(Some(found(is_openmetrics))),
            None => Err(Failure::new(
                Code::Usage,
                "stdin is more than one request: say --format prometheus or --format openmetrics",
            )),
        }
    }

    /// Reads until there is more than one request, or the end.
    fn fill(&mut self) -> io::Result<()> {
        let wanted = (REQUEST_BYTES + 1).saturating_sub(self.pending.len());
        if wanted > 0 && !self.ended {
            let read = self.reader.by_ref().take(wanted as u64).read_to_end(&mut self.pending)?;
            self.ended = read < wanted;
        }
        Ok(())
    }

    fn next(&mut self) -> Result<Option<Lines>, Failure> {
        self.fill()?;
        if self.pending.is_empty() {
            return Ok(None);
        }
        let end = if self.pending.len() <= REQUEST_BYTES {
            self.pending.len()
        } else {
            let newline = self.pending[..REQUEST_BYTES].iter().rposition(|&byte| byte == b'\n');
            let too_long = || {
                Failure::new(Code::Failed, format_args!("line {} is over {REQUEST_BYTES} bytes", self.line))
            };
            newline.ok_or_else(too_long)? + 1
        };
        let rest = self.pending.split_off(end);
        let bytes = std::mem::replace(&mut self.pending, rest);
        let first = self.line;
        self.line += bytes.iter().filter(|&&byte| byte == b'\n').count() as u64;
        self.line += u64::from(!bytes.ends_with(b"\n"));
        Ok(Some(Lines { bytes, first }))
    }
}

/// Requests, and what became of them.
struct Sender<'a> {
    client: &'a Client,
    format: Option<TextFormat>,
    plain: bool,
    /// What the server said of lines that it did not store.
    refused: Vec<String>,
}

impl Sender<'_> {
    fn send(&mut self, lines: &[u8], first: u64) -> Result<(), Failure> {
        let packed = if self.plain { lines.to_vec() } else { gzip(lines)? };
        let mut headers = Vec::new();
        if !self.plain {
            headers.push(("content-encoding", "gzip"));
        }
        match self.format {
            Some(TextFormat::Openmetrics) => {
                headers.push(("content-type", "application/openmetrics-text; version=1.0.0; charset=utf-8"));
            }
            Some(TextFormat::Prometheus) => headers.push(("content-type", "text/plain; version=0.0.4")),
            Some(TextFormat::Auto) | None => headers.push(("content-type", "text/plain")),
        }
        for attempt in 1.. {
            let answer = self.client.post(PATH, &headers, &packed)?;
            match answer.status {
                200..=299 => return Ok(()),
                // "stored 3 of 4 samples; …": the others of these lines are on disk.
                400 if answer.body.starts_with("stored ") => {
                    self.refused.extend(answer.body.lines().map(|line| tame(&shifted(line, first))));
                    return Ok(());
                }
                429 | 503 if attempt < ATTEMPTS => wait(&answer),
                _ => {
                    let message = format!(
                        "{}: lines from {first} on were not stored: {}",
                        self.client.base(),
                        answer.error()
                    );
                    return Err(Failure::new(Code::Failed, message));
                }
            }
        }
        Ok(())
    }

    fn finish(self, lines: u64) -> Result<(), Failure> {
        if self.refused.is_empty() {
            say(format_args!("{lines} lines stored"));
            return Ok(());
        }
        Err(Failure::several(Code::Partial, self.refused))
    }
}

/// `line 3: …` of a request, as the line of the whole input.
fn shifted(line: &str, first: u64) -> String {
    let number = line.strip_prefix("line ").and_then(|rest| rest.split_once(':'));
    match number.and_then(|(number, rest)| Some((number.parse::<u64>().ok()?, rest))) {
        Some((number, rest)) => format!("line {}:{rest}", number.saturating_add(first - 1)),
        None => line.to_owned(),
    }
}

fn wait(answer: &Answer) {
    let seconds = answer.retry_after_s.unwrap_or(1).clamp(1, 30);
    say(format_args!("{}; again in {seconds} s", answer.error()));
    std::thread::sleep(Duration::from_secs(seconds));
}

fn gzip(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes)?;
    encoder.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(text: Vec<u8>) -> Input {
        let reader = Box::new(io::Cursor::new(text));
        Input { reader, length: None, is_openmetrics: None, pending: Vec::new(), ended: false, line: 1 }
    }

    fn parts(text: Vec<u8>) -> Vec<(u64, usize)> {
        let mut input = input(text);
        let mut parts = Vec::new();
        while let Some(lines) = input.next().unwrap() {
            parts.push((lines.first, lines.bytes.len()));
        }
        parts
    }

    #[test]
    fn requests_are_whole_lines_with_their_numbers() {
        assert_eq!(parts(Vec::new()), []);
        assert_eq!(parts(b"a 1\nb 2".to_vec()), [(1, 7)]);
        let line = [b"x".repeat(99), b"\n".to_vec()].concat();
        let many = line.repeat(REQUEST_BYTES / 100 * 2 + 7);
        let found = parts(many.clone());
        assert_eq!(found.iter().map(|(_, length)| length).sum::<usize>(), many.len());
        let full = REQUEST_BYTES / 100;
        assert_eq!(found[..2], [(1, full * 100), (1 + full as u64, full * 100)]);
        assert_eq!(found[2], (1 + 2 * full as u64, 700));
        assert_eq!(parts(b"x".repeat(REQUEST_BYTES)).len(), 1);
        assert!(input(b"x".repeat(REQUEST_BYTES + 1)).next().is_err());
    }

    #[test]
    fn refused_lines_are_named_by_their_place_in_the_input() {
        assert_eq!(shifted("line 3: no", 1), "line 3: no");
        assert_eq!(shifted("line 3: no", 1001), "line 1003: no");
        assert_eq!(shifted("stored 1 of 2", 7), "stored 1 of 2");
    }

    #[test]
    fn a_long_stdin_has_to_name_its_format() {
        assert_eq!(input(b"a 1\n".to_vec()).format(TextFormat::Auto).unwrap(), None);
        let long = || input(b"a 1\n".repeat(REQUEST_BYTES));
        assert!(long().format(TextFormat::Auto).is_err());
        assert_eq!(long().format(TextFormat::Prometheus).unwrap(), Some(TextFormat::Prometheus));
    }
}
