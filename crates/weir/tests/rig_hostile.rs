//! Queries that nobody should ask.
#![allow(clippy::print_stdout, reason = "what a rig found is for people")]

use std::path::Path;

#[test]
fn rig_hostile_queries_are_answered_or_refused_by_name() {
    let happened = xtask::rig::hostile::hostile(Path::new(env!("CARGO_BIN_EXE_weir")));
    println!("{}", happened.unwrap_or_else(|error| panic!("{error:#}")));
}
