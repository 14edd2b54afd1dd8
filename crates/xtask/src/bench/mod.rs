//! Benchmarks of the whole binary against its peers. Each prints what it ran, so that a table in `bench/RESULTS.md`
//! can be made again.

pub mod build;
pub mod ingest;
mod peer;
mod report;
