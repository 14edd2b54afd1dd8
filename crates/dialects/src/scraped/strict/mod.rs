//! The strict reader: every breach of OpenMetrics 1.0, or of Prometheus' text 0.0.4, with its line.
//!
//! For those who write pages, not for scraping: [`super::read`] takes much of what is told here. A line that cannot be read
//! is told of and left out; what it would have meant for the lines around it is not guessed. Names in quotes, which came
//! with Prometheus' text 1.0.0 and which scrapers ask of OpenMetrics 1.0.0 by `escaping=allow-utf-8`, are no breach.
//!
//! ```
//! use dialects::scraped::{Format, strict};
//! let page = b"# TYPE jobs counter\njobs 3\n# EOF\n";
//! let violations = strict::check(Format::OpenMetrics, page, 10);
//! assert_eq!(
//!     violations[0].to_string(),
//!     "line 2: jobs is a name of the counter jobs of line 1, whose series are jobs_total, jobs_created"
//! );
//! ```

mod cursor;
mod families;
mod group;
mod kind;
mod metadata;
mod sample;

#[cfg(test)]
mod tests;

use model::labels::truncated;

use super::{Format, Options, Place, Row, Sink, Violation};
use families::Families;
use metadata::Metadata;

use crate::text::format::{Format as Rules, has_exemplar};

/// The first `most` breaches of the rules of `format`; of protobuf, whose rules are those of its messages, the first one.
pub fn check(format: Format, body: &[u8], most: usize) -> Vec<Violation> {
    let rules = match format {
        Format::Prometheus => Rules::Prometheus,
        Format::OpenMetrics => Rules::OpenMetrics,
        Format::Protobuf => {
            return super::read(format, body, &WHOLE, &mut Nobody).err().into_iter().collect();
        }
    };
    let mut complaints = Complaints { violations: Vec::new(), most, line: 0 };
    text(rules, body, &mut complaints);
    // What is missing of a metric is known only when its family is over.
    complaints.violations.sort_by_key(|(line, _)| *line);
    let violation = |(line, what)| Violation { place: Place::Line(line), what };
    complaints.violations.into_iter().map(violation).collect()
}

/// The format of a page of which nothing is said: OpenMetrics where only that has something like it. An empty page is one
/// of OpenMetrics without its end.
pub fn guess(body: &[u8]) -> Format {
    let begins = |start: &[u8]| body.starts_with(start);
    let has = |line: &[u8]| memchr::memmem::find(body, line).is_some();
    let is_openmetrics = body.is_empty()
        || begins(b"# EOF")
        || begins(b"# UNIT ")
        || has(b"\n# EOF")
        || has(b"\n# UNIT ")
        || has_exemplar(body);
    if is_openmetrics { Format::OpenMetrics } else { Format::Prometheus }
}

const WHOLE: Options =
    Options { native_histograms: true, classic_beside_native: true, start_timestamps: true, scraped_ms: 0 };

/// A sink of pages that are only looked at.
struct Nobody;

impl Sink for Nobody {
    fn row(&mut self, _: Row<'_>) {}
    fn metadata(&mut self, _: &str, _: model::Metadata) {}
}

/// What was found so far.
struct Complaints {
    /// Lines, and what is wrong.
    violations: Vec<(u64, String)>,
    most: usize,
    /// The line that is looked at.
    line: u64,
}

impl Complaints {
    /// Something is wrong with this line.
    fn add(&mut self, what: impl Into<String>) {
        self.add_at(self.line, what);
    }

    /// Something is wrong with a line that was seen before.
    fn add_at(&mut self, line: u64, what: impl Into<String>) {
        if !self.is_full() {
            self.violations.push((line, what.into()));
        }
    }

    fn is_full(&self) -> bool {
        self.violations.len() >= self.most
    }
}

fn text(rules: Rules, body: &[u8], complaints: &mut Complaints) {
    let mut families = Families::new(rules);
    let mut ended = false;
    let lines = body.strip_suffix(b"\n").unwrap_or(body).split(|byte| *byte == b'\n');
    for line in lines.filter(|_| !body.is_empty()) {
        complaints.line += 1;
        if complaints.is_full() {
            return;
        }
        if ended {
            return complaints.add("text after # EOF");
        }
        match std::str::from_utf8(line) {
            Ok(line) if rules == Rules::OpenMetrics && line == "# EOF" => ended = true,
            Ok(line) => take(rules, line, &mut families, complaints),
            Err(_) => complaints.add("text is not valid UTF-8"),
        }
    }
    families.finish(complaints);
    complaints.line = complaints.line.max(1);
    match rules {
        Rules::OpenMetrics if !ended => complaints.add("page does not end with # EOF"),
        Rules::Prometheus if !body.is_empty() && !body.ends_with(b"\n") => {
            complaints.add("last line has no line feed");
        }
        _ => {}
    }
}

fn take<'a>(rules: Rules, line: &'a str, families: &mut Families<'a>, complaints: &mut Complaints) {
    let text = match rules {
        Rules::Prometheus => line.trim_matches([' ', '\t']),
        Rules::OpenMetrics => line,
    };
    if text.is_empty() {
        if rules == Rules::OpenMetrics {
            complaints.add("blank line");
        }
        return;
    }
    let taken = if text.starts_with('#') {
        Metadata::parse(rules, text).map(|metadata| {
            if let Some(metadata) = metadata {
                families.metadata(metadata, complaints);
            }
        })
    } else {
        sample::parse(rules, text).map(|sample| families.sample(&sample, complaints))
    };
    if let Err(what) = taken {
        complaints.add(format!("{what}: {}", truncated(line)));
    }
}
