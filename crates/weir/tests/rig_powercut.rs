//! Power cuts under the real binary, thirty on each file system.
#![allow(clippy::print_stdout, reason = "what a rig found is for people")]

use std::path::Path;

use xtask::rig::mount::{FileSystem, Mount};
use xtask::rig::powercut::{Syncs, powercut};
use xtask::rig::seed;

/// Five hundred by hand: `cargo xtask powercut --cycles=500`.
const CYCLES: u64 = 30;

fn cut(test: &str, kind: FileSystem) {
    if let Some(obstacle) = Mount::obstacle(kind) {
        return xtask::test::skipped(test, &obstacle);
    }
    let report = powercut(Path::new(env!("CARGO_BIN_EXE_weir")), kind, CYCLES, seed(), Syncs::Real);
    println!("{}", report.and_then(|report| report.check()).unwrap_or_else(|error| panic!("{error:#}")));
}

#[test]
fn rig_nothing_answered_is_lost_by_power_cuts_on_ext4() {
    cut("rig_nothing_answered_is_lost_by_power_cuts_on_ext4", FileSystem::Ext4);
}

#[test]
fn rig_nothing_answered_is_lost_by_power_cuts_on_xfs() {
    cut("rig_nothing_answered_is_lost_by_power_cuts_on_xfs", FileSystem::Xfs);
}

/// The rig itself: a Weir whose syncs do nothing must be found out.
#[test]
fn rig_power_cuts_find_missing_syncs() {
    let test = "rig_power_cuts_find_missing_syncs";
    if !xtask::run::exists("strace") {
        return xtask::test::skipped(test, "strace is not installed");
    }
    if let Some(obstacle) = Mount::obstacle(FileSystem::Ext4) {
        return xtask::test::skipped(test, &obstacle);
    }
    let binary = Path::new(env!("CARGO_BIN_EXE_weir"));
    // A data directory that does not open any more is a find, too.
    if let Ok(report) = powercut(binary, FileSystem::Ext4, 5, seed(), Syncs::Pretended) {
        assert!(report.lost() > 0, "syncs did nothing, and nothing was lost: {report}");
        println!("without syncs, as it must be: {report}");
    }
}
