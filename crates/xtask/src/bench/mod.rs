//! Benchmarks of the whole binary against its peers. Each prints what it ran, so that a table in `bench/RESULTS.md`
//! can be made again.

pub mod build;
pub mod churn;
pub mod disk;
pub mod ingest;
pub mod memory;
mod peer;
pub mod query;
mod report;
pub mod restart;
pub mod session;
pub mod tenants;
