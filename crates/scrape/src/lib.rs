//! Metrics that are fetched: targets are found, their pages read at their moments, and what they say is given to a store.
//!
//! The crate knows no store and no tenant's limits: rows go into a sink that the server implements. What a target is comes
//! from a configuration and from discovery; when it is scraped follows from its labels alone, so that load is spread the
//! same way before and after a restart.

pub mod config;
pub mod discovery;
pub mod schedule;
pub mod target;

pub use config::ScrapeConfig;
pub use target::{Found, Target, TargetGroup};
