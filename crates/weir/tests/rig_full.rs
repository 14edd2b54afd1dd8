//! A full disk refuses, reads, and recovers.
#![allow(clippy::print_stdout, reason = "what a rig found is for people")]

use std::path::Path;

use xtask::rig::mount::{FileSystem, Mount};

#[test]
fn rig_a_full_disk_refuses_and_recovers() {
    if let Some(obstacle) = Mount::obstacle(FileSystem::Memory(1 << 20)) {
        return xtask::test::skipped("rig_a_full_disk_refuses_and_recovers", &obstacle);
    }
    let happened = xtask::rig::full::full(Path::new(env!("CARGO_BIN_EXE_weir")), xtask::rig::seed());
    println!("{}", happened.unwrap_or_else(|error| panic!("{error:#}")));
}
