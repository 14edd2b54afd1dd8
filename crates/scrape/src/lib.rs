//! Metrics that are fetched: targets are found, their pages read at their moments, and what they say is given to a store.
//!
//! The crate knows no store and no tenant's limits: rows go into a [`Store`] that the server implements. What a target is
//! comes from a configuration and from discovery; when it is scraped follows from its labels alone, so that load is spread
//! the same way before and after a restart.

pub mod config;
pub mod discovery;
mod error;
mod families;
pub mod fetch;
pub mod job;
pub mod jobs;
pub mod labelling;
mod life;
mod page;
mod plan;
pub mod report;
pub mod schedule;
mod seen;
pub mod store;
mod take;
pub mod target;
mod timetable;

pub use config::ScrapeConfig;
pub use error::ScrapeError;
pub use jobs::Jobs;
pub use life::{Common, Last, Life, Moment};
pub use page::{Terms, Timestamps};
pub use store::{Lost, Store, Told};
pub use target::{Found, Target, TargetGroup};

#[cfg(test)]
mod tests;
