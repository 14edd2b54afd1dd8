//! No 2xx before its sync, seen from outside.
#![allow(clippy::print_stdout, reason = "what a rig found is for people")]

use std::path::Path;

use xtask::rig::order::{Report, order};
use xtask::rig::seed;

fn traced(test: &str, durability: &str) -> Option<Report> {
    if !xtask::run::exists("strace") {
        xtask::test::skipped(test, "strace is not installed");
        return None;
    }
    let report = order(Path::new(env!("CARGO_BIN_EXE_weir")), durability, seed());
    Some(report.unwrap_or_else(|error| panic!("{error:#}")))
}

#[test]
fn rig_no_answer_before_its_sync() {
    let Some(report) = traced("rig_no_answer_before_its_sync", "fsync") else { return };
    assert!(report.violations.is_empty(), "{report}");
    println!("{report}");
}

/// The rig itself: without syncs it must complain.
#[test]
fn rig_order_finds_missing_syncs() {
    let Some(report) = traced("rig_order_finds_missing_syncs", "os") else { return };
    assert!(!report.violations.is_empty(), "{report}");
}
