//! The one HTTP client of Weir: what is scraped, discovered and sent on goes through it.
//!
//! It is set up with Prometheus' own keys ([`HttpConfig`]), and every request says how long it may take and how many bytes
//! it may bring ([`Bounds`]). Names are resolved once and each address is checked against a [`Reach`] before it is
//! connected to, redirects stay on their host and take no credentials elsewhere, and no error or log line shows a
//! credential. Connections are kept for the next request to the same place.
//!
//! Beside the client stand the words in which Prometheus' configuration is written, for whoever reads blocks of it:
//! durations, sizes, secrets, relabelling rules, and structures that are written inline in others ([`Inline`]).

mod body;
mod client;
pub mod config;
mod connect;
mod credentials;
pub mod duration;
mod error;
mod given;
mod inline;
mod pool;
mod proxy;
mod reach;
pub mod relabel;
mod request;
mod secret;
mod size;
mod trust;
mod url;

pub use client::Client;
pub use config::{ConfigError, HttpConfig};
pub use error::SendError;
pub use inline::{INLINE, Inline};
pub use reach::Reach;
pub use relabel::RelabelConfig;
pub use request::{Bounds, Request, Response, Unreadable};
pub use secret::{HIDDEN, Secret};
pub use size::Size;
pub use url::{Scheme, Url, UrlError, hide_password, hide_password_and_query, without_query_values};
