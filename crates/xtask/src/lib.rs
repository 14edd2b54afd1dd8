//! The chores of this repository, and the rigs that try to break the built binary.
//!
//! A library beside the small command line in `main.rs`, so that the rigs are the same code in `cargo xtask torture`
//! (long, by hand) and in the tests of the crate `weir` (short, every time). Nothing here is part of the product: it
//! may panic less politely, use `anyhow`, and read the real clock.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a repository tool talks to a terminal and measures real time"
)]

pub mod bench;
pub mod ci;
pub mod clients;
pub mod conformance;
pub mod load;
pub mod needs;
pub mod repo;
pub mod rig;
pub mod run;
pub mod test;
pub mod tidy;
