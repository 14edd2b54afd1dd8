//! The server: listeners, routes from the dialect registry, the query API, self-monitoring, configuration, wiring.
//!
//! Everything below it is synchronous and pure; here is where sockets, tasks and threads are. Read in the order of a
//! request: [`listen`] lets it in, [`routes`] finds its owner, [`gate`] finds its tenant, then [`ingest`] stores it or
//! [`api`] answers it. [`run`](run()) starts all of it.

pub mod account;
pub mod admin;
pub mod api;
pub mod app;
mod body;
mod charged;
mod compress;
pub mod config;
pub mod control;
pub mod cors;
mod datagrams;
mod driver;
mod exposures;
pub mod gate;
pub mod grpc;
pub mod hosts;
pub mod ingest;
mod lines;
pub mod listen;
mod log;
pub mod metrics;
pub mod monitor;
mod outputs;
mod pieces;
pub mod pool;
pub mod proxies;
pub mod queries;
pub mod respond;
pub mod routes;
mod run;
mod scraping;
pub mod serve;
pub mod snapshots;
pub mod source;
mod statsd;
mod stream;
pub mod system;
mod tally;
pub mod tls;
pub mod unknown;
pub mod upkeep;

pub use run::run;
pub use serve::{ServeError, Server};
