//! Simulation of the whole engine from a seed: a disk that fails, a clock that jumps, and an oracle that remembers.
//!
//! A store that takes its clock, disk and dice from [`env::Env`] runs here unchanged. [`files::SimFiles`] is a disk
//! whose every unsynced byte and name is at risk, [`clock::SimClock`] a clock that steps, [`random::SimRandom`] dice
//! that a seed decides. [`naive::NaiveStore`] says by the rules what a store must answer, [`ledger::Ledger`] what it
//! may answer after a crash. Tests of `wal` and `tsdb` use these without the feature `world`; with it the module
//! `world` drives the real store through thousands of seeded lives.
//!
//! ```
//! use env::Files;
//! use std::path::Path;
//! let disk = sim::files::SimFiles::new(7);
//! let file = disk.create(Path::new("log")).unwrap();
//! file.write_at(b"hello", 0).unwrap();
//! file.sync_data().unwrap();
//! disk.sync_dir(Path::new("")).unwrap();
//! disk.crash();
//! assert_eq!(env::read_all(&disk, Path::new("log")).unwrap(), b"hello");
//! ```

pub mod files;

pub mod clock;
pub mod random;

pub mod request;

pub mod naive;

pub mod ledger;

pub mod lines;

#[cfg(feature = "world")]
pub mod world;

/// Steps of so much through everything that can be damaged; of one when `WEIR_EVERY_BIT` is set, which takes minutes.
pub fn thinned(step: usize) -> usize {
    if std::env::var_os("WEIR_EVERY_BIT").is_some() { 1 } else { step }
}

/// An empty disk, a clock that shows some seconds and dice, of one seed.
pub fn env(seed: u64) -> env::Env {
    env::Env {
        clock: std::sync::Arc::new(clock::SimClock::new(1_000_000)),
        files: std::sync::Arc::new(files::SimFiles::new(seed)),
        random: std::sync::Arc::new(random::SimRandom::new(seed)),
    }
}
