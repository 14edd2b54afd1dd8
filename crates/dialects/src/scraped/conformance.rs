//! OpenMetrics' own parser cases, where they are at hand: every good one is taken; of the bad ones it is printed how many
//! are refused, for this is the lax reader.

#![allow(clippy::print_stdout)] // Says that it was skipped, and how lax it is.

use std::path::{Path, PathBuf};

use super::tests::Page;
use super::{Format, Options};

/// A case: where it lies, its page, whether it is good.
pub(super) struct Case {
    pub(super) folder: PathBuf,
    pub(super) page: Vec<u8>,
    pub(super) is_good: bool,
}

/// All cases; none where the folder is not beside the repository, which is printed.
pub(super) fn cases() -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/conformance/openmetrics");
    let Ok(cases) = std::fs::read_dir(&folder) else {
        println!("skipped: no OpenMetrics cases beside the repository");
        return Vec::new();
    };
    let read = |case: std::io::Result<std::fs::DirEntry>| {
        let folder = case.expect("a readable folder").path();
        let page = std::fs::read(folder.join("metrics")).expect("a case has metrics");
        let wanted = std::fs::read_to_string(folder.join("test.json")).expect("a case says what is wanted");
        let wanted = wanted.split_once("\"shouldParse\":").map(|(_, rest)| rest.trim());
        Case { folder, page, is_good: wanted.is_some_and(|rest| rest.starts_with("true")) }
    };
    let mut cases: Vec<Case> = cases.map(read).collect();
    cases.sort_by(|a, b| a.folder.cmp(&b.folder));
    assert!(cases.len() >= 211, "{} cases", cases.len());
    cases
}

#[test]
fn good_cases_are_taken() {
    let (mut bad, mut refused) = (0, 0);
    for case in cases() {
        let read = Page::of(Format::OpenMetrics, &case.page, &Options::default());
        if case.is_good {
            assert_eq!(read.map(drop), Ok(()), "{} is good", case.folder.display());
        } else {
            bad += 1;
            refused += u32::from(read.is_err());
        }
    }
    println!("OpenMetrics: {refused} of {bad} bad cases refused by the lax reader");
}
