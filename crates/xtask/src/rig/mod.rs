//! Rigs that break the built binary from outside and compare what it kept with what it promised.
//!
//! Each finds what the others cannot: [`torture`] kills the process at random and at exact system calls, [`powercut`]
//! takes the disk away under it, [`order`] watches the order of sync and answer, [`full`] fills the disk, [`hostile`]
//! asks what nobody should. Those that write share the [`ledger`]: what was sent, what was answered, and therefore what
//! must, may and must not be there.

pub mod full;
pub mod hostile;
pub mod ledger;
pub mod mount;
pub mod order;
pub mod powercut;
pub mod snapshots;
pub mod torture;
pub mod weir;
pub mod writer;

/// A seed for this run; whatever fails prints it. `WEIR_SEED` repeats one.
pub fn seed() -> u64 {
    let asked = std::env::var("WEIR_SEED").ok().and_then(|seed| seed.parse().ok());
    asked.unwrap_or_else(|| writer::now_ms().cast_unsigned())
}
