//! Benchmarks of the whole binary against its peers. Each prints what it ran, so that a table in `bench/RESULTS.md`
//! can be made again.

pub mod agent;
mod answer;
pub mod build;
pub mod churn;
pub mod decode;
pub mod disk;
pub mod ingest;
pub mod memory;
mod parts;
mod peer;
pub mod query;
mod readback;
mod report;
pub mod restart;
mod running;
pub mod scrape;
pub mod session;
pub mod statsd;
pub mod table;
pub mod tenants;
