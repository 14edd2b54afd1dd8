//! What a target answers, read as Prometheus reads it: the rows of a page, for whoever scrapes.
//!
//! [`accept`] says what is understood, [`format()`] tells by the answer's media type what came, and [`read`] gives the rows
//! to a [`Sink`]. A page is taken whole or not at all: the first line that cannot be read fails it, with its number. What
//! only peers' mistakes need is tolerated (`Nan`, CRLF, no last line feed, blank lines, types of OpenMetrics in Prometheus'
//! text); what only OpenMetrics' rules between lines forbid is told by [`strict`], not here.
//!
//! A row's series is the text of the page, since whoever has seen that text knows the series; [`labels`] splits it. It is
//! written anew only where two texts must be one series: `le="1"` of a classic histogram and `quantile="1"` of a summary
//! are `1.0`, as Prometheus 3 has them.
//!
//! ```
//! use dialects::scraped::{Format, Options, Row, Sink, Value, read};
//! struct Printed(Vec<String>);
//! impl Sink for Printed {
//!     fn row(&mut self, row: Row<'_>) {
//!         let Value::Float(value) = row.value else { return };
//!         self.0.push(format!("{} = {value}", row.series));
//!     }
//!     fn metadata(&mut self, family: &str, metadata: model::Metadata) {
//!         self.0.push(format!("{family} is a {}", metadata.kind.as_str()));
//!     }
//! }
//! let mut printed = Printed(Vec::new());
//! let page = b"# TYPE jobs gauge\njobs{queue=\"a\"} 3\n";
//! read(Format::Prometheus, page, &Options::default(), &mut printed).unwrap();
//! assert_eq!(printed.0, ["jobs{queue=\"a\"} = 3", "jobs is a gauge"]);
//! ```

mod bound;
#[cfg(test)]
mod conformance;
mod created;
mod exercise;
mod families;
mod negotiate;
mod protobuf;
mod series;
pub mod strict;
mod text;

#[cfg(test)]
mod round_trip;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use model::batch::Exemplar;
use model::{Histogram, Metadata};

pub use exercise::exercise;
pub use negotiate::{Format, Protocol, UnknownMedia, UnknownProtocol, accept, format};
pub use series::labels;

/// How a page is read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Whether native histograms of protobuf are taken; else their classic parts stand for them.
    pub native_histograms: bool,
    /// Whether the classic parts of a native histogram are taken beside it (`always_scrape_classic_histograms`).
    pub classic_beside_native: bool,
    /// Whether rows are told when their series began. `_created` of OpenMetrics is no row then.
    pub start_timestamps: bool,
    /// When the page was asked for, in milliseconds since the Unix epoch: the time of exemplars that have none and whose
    /// row has none.
    pub scraped_ms: i64,
}

/// One row.
#[derive(Clone, Debug)]
pub struct Row<'a> {
    /// `name{a="b"}`, as on the page or made in its likeness, never with a line feed: see [`labels`].
    pub series: &'a str,
    /// Its value.
    pub value: Value,
    /// Milliseconds since the Unix epoch, where the page says so.
    pub timestamp_ms: Option<i64>,
    /// When the series began, in milliseconds since the Unix epoch; 0 = not known.
    pub start_ms: i64,
    /// Its exemplars.
    pub exemplars: &'a [Exemplar],
}

/// A row's value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A number.
    Float(f64),
    /// A native histogram.
    Histogram(Arc<Histogram>),
}

/// Takes what stands on a page.
pub trait Sink {
    /// A row, in the order of the page.
    fn row(&mut self, row: Row<'_>);

    /// What is said of a family, once for each, when all rows were given. The name is the family's: that of a histogram's
    /// `_bucket` has no suffix, and that of a counter in OpenMetrics no `_total`.
    fn metadata(&mut self, family: &str, metadata: Metadata);

    /// Whether nothing more is wanted. Reading ends then, without an error and without metadata.
    fn has_enough(&self) -> bool {
        false
    }

    /// An exemplar that is against the rules and was left out of its row.
    fn bad_exemplar(&mut self, what: &'static str) {
        let _ = what;
    }
}

/// Occurs when a page is not what its format allows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {what}")]
pub struct Violation {
    /// Where.
    pub place: Place,
    /// What is wrong, with the beginning of the line where that helps.
    pub what: String,
}

/// A place on a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A line, from 1 on.
    Line(u64),
    /// An offset in protobuf.
    Byte(usize),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(number) => write!(f, "line {number}"),
            Self::Byte(offset) => write!(f, "byte {offset}"),
        }
    }
}

/// Gives the rows of `body` to `sink`. After an error what the sink was given is part of a page, and not to be stored.
pub fn read(format: Format, body: &[u8], options: &Options, sink: &mut dyn Sink) -> Result<(), Violation> {
    match format {
        Format::Prometheus | Format::OpenMetrics => text::read(format, body, options, sink),
        Format::Protobuf => protobuf::read(body, options, sink)
            .map_err(|error| Violation { place: Place::Byte(error.offset), what: error.what }),
    }
}
