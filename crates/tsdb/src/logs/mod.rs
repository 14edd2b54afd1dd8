//! The log's second stream: log lines, durable from their acknowledgement on.
//!
//! Lines go through the same queue and the same writer as samples, into segments of their own (`wal/logs`), and are
//! held there: nothing takes them out yet but whoever reads the whole ([`read`]). What is held is bounded
//! (`log_bytes`); at the bound lines are refused and samples go on. A record carries its stream's labels, so a frame
//! stands for itself and a damaged one costs the lines in it and no others.

mod intake;
mod reader;
mod record;
mod stream;

use std::path::{Path, PathBuf};

pub use intake::{FIELD_BYTES_MAX, FIELDS_MAX, LINE_BYTES_MAX};
pub use reader::read;
pub use record::LogRecord;

pub(crate) use intake::{Lines, take};
pub(crate) use record::{each_line, each_line_sent_on};
pub(crate) use stream::{Held, commit, go_on, writer};

const QUARANTINED: &str = "logs-";

/// Where the segments lie in a data directory.
pub(crate) fn directory(data: &Path) -> PathBuf {
    data.join("wal").join("logs")
}

/// The name of a segment in quarantine, where those of samples lie too.
pub(crate) fn quarantined_name(number: u64) -> String {
    format!("{QUARANTINED}{}", wal::file_name(number))
}

/// Whether a file in quarantine is a segment of this stream.
pub(crate) fn is_quarantined_name(name: &str) -> bool {
    name.strip_prefix(QUARANTINED).is_some_and(|name| wal::parse_file_name(name).is_some())
}
