//! kill -9 of the real binary, a hundred times.
#![allow(clippy::print_stdout, reason = "what a rig found is for people")]

use std::path::Path;

use xtask::rig;

/// A thousand by hand: `cargo xtask torture --cycles=1000`.
const CYCLES: u64 = 100;

#[test]
fn rig_nothing_answered_is_lost_by_kill() {
    if !xtask::run::exists("strace") {
        xtask::test::skipped(
            "rig_nothing_answered_is_lost_by_kill",
            "strace is not installed: only random kills",
        );
    }
    let report = rig::torture::torture(Path::new(env!("CARGO_BIN_EXE_weir")), CYCLES, rig::seed());
    println!("{}", report.unwrap_or_else(|error| panic!("{error:#}")));
}
