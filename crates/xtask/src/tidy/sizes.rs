//! Files stay small enough to be read in one sitting.

use crate::repo::TextFile;

/// No source file is longer.
const LONGEST: usize = 900;

/// Longer files are listed by name.
const LONG: usize = 600;

/// Files over [`LONG`]; a line is removed when its file has shrunk.
const RATCHET: &[&str] = &["crates/model/src/re2.rs", "crates/tsdb/tests/blocks.rs"];

/// Complaints about length.
pub(crate) fn check(files: &[TextFile], figures: &mut Vec<String>) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut lengths = Vec::new();
    for file in files.iter().filter(|file| file.path.ends_with(".rs")) {
        let lines = file.text.lines().count();
        let listed = RATCHET.contains(&file.path.as_str());
        lengths.push(lines);
        if lines > LONGEST {
            complaints.push(format!("{}: {lines} lines, the longest allowed is {LONGEST}", file.path));
        } else if lines > LONG && !listed {
            complaints.push(format!("{}: {lines} lines; over {LONG} it must be split or listed", file.path));
        } else if lines <= LONG && listed {
            complaints.push(format!("{}: {lines} lines, take it off the list of long files", file.path));
        }
    }
    for listed in RATCHET {
        if !files.iter().any(|file| file.path == *listed) {
            complaints.push(format!("{listed} is on the list of long files and does not exist"));
        }
    }
    lengths.sort_unstable();
    if let (Some(median), Some(most)) = (lengths.get(lengths.len() / 2), lengths.get(lengths.len() * 9 / 10))
    {
        figures.push(format!("source files: {}, median {median} lines, 90 % up to {most}", lengths.len()));
    }
    complaints
}
