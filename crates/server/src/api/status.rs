//! Answers about Weir itself that need its store or its configuration: who it says it is, and how it is set up.

use std::collections::BTreeMap;

use model::Budget;
use serde_json::{Value, json};

use super::error::ApiError;
use super::{Answered, Ask, Endpoint, encode, features};
use crate::config::{effective, units};

/// The version of Prometheus whose API this is.
const PROMETHEUS_VERSION: &str = "3.14.0";

/// What is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Versions.
    BuildInfo,
    /// Start, time, retention.
    RuntimeInfo,
    /// The configuration in force.
    Config,
    /// The same under the names of Prometheus' flags.
    Flags,
    /// What this Weir can do.
    Features,
}

pub(super) fn status(ask: &Ask, _: &Budget) -> Result<Answered, ApiError> {
    let Endpoint::Status(status) = ask.endpoint else { unreachable!("only such endpoints come here") };
    let data = match status {
        Status::BuildInfo => build_info(),
        Status::RuntimeInfo => runtime_info(ask),
        // Other tenants' names and limits are nobody else's.
        Status::Config => json!({ "yaml": effective(&ask.config.settings, &ask.tenant.name) }),
        Status::Flags => json!(flags(ask)),
        Status::Features => json!(features::features(ask)),
    };
    let mut out = encode::begin(0);
    out.push_str(&data.to_string());
    Ok(Answered::begun(out))
}

/// Neither `features` nor `application` is among it: they make Grafana take Weir for Mimir.
pub(crate) fn build_info() -> Value {
    json!({
        "version": PROMETHEUS_VERSION,
        "revision": concat!("weir ", env!("CARGO_PKG_VERSION")),
        "branch": "",
        "buildUser": "",
        "buildDate": "",
        "goVersion": "",
    })
}

/// What is Go's is empty, and so is where Weir runs.
fn runtime_info(ask: &Ask) -> Value {
    let text = |ms: i64| jiff::Timestamp::from_millisecond(ms).unwrap_or_default().to_string();
    let metrics = &ask.app.metrics;
    let ms = |seconds: f64| (seconds * 1000.0) as i64;
    let (started_ms, reloaded_ms) = (ms(metrics.start_time.get()), ms(metrics.reload_time.get()));
    json!({
        "startTime": text(started_ms),
        "CWD": "",
        "hostname": "",
        "serverTime": text(ask.now_ms),
        "reloadConfigSuccess": metrics.reload_failed.get() == 0.0,
        "lastConfigTime": text(started_ms.max(reloaded_ms)),
        "corruptionCount": ask.store.status().damaged_pages,
        "goroutineCount": 0,
        "GOMAXPROCS": ask.config.query_threads,
        "GOMEMLIMIT": ask.config.storage.memory_bytes,
        "GOGC": "",
        "GODEBUG": "",
        "storageRetention": retention(ask),
    })
}

fn retention(ask: &Ask) -> String {
    let days = ask.tenant.limits.retention_ms / (24 * 3600 * 1000);
    if days == 0 { "for ever".to_owned() } else { format!("{days}d") }
}

/// Prometheus' flags that something in Weir's configuration corresponds to; paths of the machine are not told.
fn flags(ask: &Ask) -> BTreeMap<&'static str, String> {
    let config = &ask.config;
    let settings = &config.settings;
    let features: Vec<&str> = config.query_features.iter().map(|feature| feature.as_str()).collect();
    let milliseconds = |ms: i64| units::show_duration(std::time::Duration::from_millis(ms.unsigned_abs()));
    BTreeMap::from([
        ("enable-feature", features.join(",")),
        ("log.format", settings.log.format.as_str().to_owned()),
        ("log.level", settings.log.level.as_str().to_owned()),
        ("query.lookback-delta", units::show_duration(config.query_lookback)),
        ("query.max-concurrency", config.query_concurrency.to_string()),
        ("query.timeout", units::show_duration(config.query_timeout)),
        ("storage.tsdb.retention.size", units::show_size(ask.tenant.limits.max_bytes)),
        ("storage.tsdb.retention.time", milliseconds(ask.tenant.limits.retention_ms)),
        ("web.cors.origin", settings.http.cors_origin.0.clone().unwrap_or_else(|| ".*".to_owned())),
        ("web.enable-admin-api", true.to_string()),
        ("web.enable-lifecycle", false.to_string()),
        ("web.enable-otlp-receiver", ask.takes("otlp").to_string()),
        ("web.enable-remote-write-receiver", ask.takes("remote_write").to_string()),
        ("web.max-connections", config.http.max_connections.to_string()),
        ("web.read-timeout", units::show_duration(config.http.body_timeout)),
    ])
}
