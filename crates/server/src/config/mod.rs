//! The configuration: one `weir.yaml`, every key with a default, overridden by `WEIR_SECTION__KEY` and by flags.
//!
//! Two stages. [`Settings`] is what was typed, valid key by key ([`Sources::load`]); [`Config`] is what it means on this
//! machine, valid as a whole ([`Config::resolve`]). The rest of the server sees [`Config`] only. Each key stands in one
//! table (`settings.rs`), from which the parser, the default, `weir serve --print-config`, docs/config.md and the rules
//! of a reload are made.

use std::fmt;

mod betterstack;
mod datadog;
mod docs;
mod effective;
mod exposures;
mod influx;
mod lines;
mod load;
mod machine;
mod otlp;
mod pasted;
mod resolve;
mod section;
mod settings;
mod splunk;
mod statsd;
mod suggest;
mod tree;
mod typed;
pub mod units;
mod value;

pub use betterstack::Betterstack;
pub use datadog::Datadog;
pub use docs::{commented_defaults, markdown};
pub use effective::{effective, without_password};
pub use exposures::{Exposure, ExposureConfig};
pub use influx::Influx;
pub use lines::LineListener;
pub use load::Sources;
pub use machine::Machine;
pub use otlp::Otlp;
pub use pasted::{Pasted, Placed};
pub use resolve::{AcmeConfig, Config, DialectConfig, DialectSettings, Identity, TlsConfig};
pub use section::{Key, Section, When};
pub use settings::{
    Acme, Auth, ClientAuth, Dialect, Durability, Format, General, Http, Ingest, Level, Limits, Log, Query,
    SelfMonitoring, Settings, Storage, Store, Tenant, TenantLimits, TenantSettings, Tls,
};
pub use splunk::Splunk;
pub use statsd::Statsd;
pub use tree::Origin;
pub use value::{Directory, Domain, Pattern, Share, Size};

/// Something wrong in the configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Problem {
    /// Where it was given.
    pub origin: Origin,
    /// The key with its sections: `storage.flush_bytes`; empty when the whole file is meant.
    pub key: String,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { origin, key, message } = self;
        if key.is_empty() {
            write!(f, "{origin}: {message}")
        } else {
            write!(f, "{origin}: {key}: {message}")
        }
    }
}

#[cfg(test)]
mod tests;
