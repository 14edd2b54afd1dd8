//! `weir check metrics`: a page to the letter. Findings stand on stdout, a line each; how many there are is said on stderr.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use dialects::scraped::{Format, Protocol, accept, format, strict};

use crate::arguments::{Server, TextFormat};
use crate::client::{self, Fetched};
use crate::failure::{Code, Failure};
use crate::terminal::{put, say, tame};

/// The longest page that is read.
const PAGE_BYTES_MAX: u64 = 1 << 30;
/// Findings that are told; whoever has more has seen enough of them.
const FINDINGS_MAX: usize = 100;

/// Reads a page from `source` and tells what is wrong with it.
pub(crate) fn check(source: &str, asked: TextFormat, ca_cert: Option<PathBuf>) -> Result<(), Failure> {
    let page = Page::read(source, asked, ca_cert)?;
    let mut findings: Vec<String> =
        strict::check(page.format, &page.body, FINDINGS_MAX + 1).iter().map(ToString::to_string).collect();
    let more = findings.len() > FINDINGS_MAX;
    findings.truncate(FINDINGS_MAX);
    if let Some(complaint) = page.complaint {
        findings.insert(0, complaint);
    }
    for finding in &findings {
        put(&format!("{}\n", tame(finding)))?;
    }
    let name = if source == "-" { "stdin" } else { source };
    let format = match page.format {
        Format::Prometheus => "Prometheus' text",
        Format::OpenMetrics => "OpenMetrics",
        Format::Protobuf => "protobuf",
    };
    let failed = |message: String| Err(Failure::new(Code::Findings, message));
    match findings.len() {
        0 => put(&format!("{name}: {format}, in order\n")),
        1 => failed(format!("{name}: {format} with 1 violation")),
        count if more => failed(format!("{name}: {format} with more than {count} violations")),
        count => failed(format!("{name}: {format} with {count} violations")),
    }
}

struct Page {
    body: Vec<u8>,
    format: Format,
    /// What is wrong with the answer around it.
    complaint: Option<String>,
}

impl Page {
    fn read(source: &str, asked: TextFormat, ca_cert: Option<PathBuf>) -> Result<Self, Failure> {
        let failed = |error: io::Error| Failure::new(Code::Failed, format_args!("{source}: {error}"));
        let (body, said) = if source.starts_with("http://") || source.starts_with("https://") {
            let flags = Server { ca_cert, ..Server::default() };
            let Fetched { content_type, body } = client::fetch(source, &accept(&Protocol::USUAL), &flags)?;
            let shown = content_type.as_deref().map_or_else(|| "no Content-Type".to_owned(), tame);
            say(format_args!("weir: {source} answers {shown}"));
            (body, Some(format(content_type.as_deref(), None)))
        } else if source == "-" {
            let mut body = Vec::new();
            io::stdin().lock().take(PAGE_BYTES_MAX + 1).read_to_end(&mut body).map_err(failed)?;
            if body.len() as u64 > PAGE_BYTES_MAX {
                return Err(Failure::new(Code::Failed, "stdin: more than a page of 1 GiB"));
            }
            (body, None)
        } else {
            (env::real::read_given(Path::new(source), PAGE_BYTES_MAX).map_err(failed)?, None)
        };
        let asked = match asked {
            TextFormat::Auto => None,
            TextFormat::Prometheus => Some(Format::Prometheus),
            TextFormat::Openmetrics => Some(Format::OpenMetrics),
        };
        // A target that does not say what it answers is not scraped, whatever else is right with its page.
        let complaint = said.as_ref().and_then(|said| said.as_ref().err()).map(ToString::to_string);
        let said = said.and_then(Result::ok);
        let format = asked.or(said).unwrap_or_else(|| strict::guess(&body));
        Ok(Self { body, format, complaint })
    }
}
