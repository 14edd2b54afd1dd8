//! Answers that need no store: who Weir says it is, and valid empty answers for what it has none of yet.

use model::Budget;
use serde_json::json;

use super::error::ApiError;
use super::{Answered, Ask, Endpoint, encode};

/// The version of Prometheus whose API this is.
pub(super) const PROMETHEUS_VERSION: &str = "3.14.0";

/// What is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fixed {
    /// Versions.
    BuildInfo,
    /// Start, time, retention.
    RuntimeInfo,
    /// No rules.
    Rules,
    /// No alerts.
    Alerts,
    /// No Alertmanagers.
    Alertmanagers,
    /// No targets.
    Targets,
}

pub(super) fn fixed(ask: &Ask, _: &Budget) -> Result<Answered, ApiError> {
    let Endpoint::Fixed(fixed) = ask.endpoint else { unreachable!("only such endpoints come here") };
    let data = match fixed {
        Fixed::BuildInfo => json!({
            "version": PROMETHEUS_VERSION,
            "revision": concat!("weir ", env!("CARGO_PKG_VERSION")),
            "branch": "",
            "buildUser": "",
            "buildDate": "",
            "goVersion": "",
        }),
        Fixed::RuntimeInfo => runtime_info(ask),
        Fixed::Rules => json!({ "groups": [] }),
        Fixed::Alerts => json!({ "alerts": [] }),
        Fixed::Alertmanagers => json!({ "activeAlertmanagers": [], "droppedAlertmanagers": [] }),
        Fixed::Targets => json!({ "activeTargets": [], "droppedTargets": [], "droppedTargetCounts": {} }),
    };
    let mut out = encode::begin(0);
    out.push_str(&data.to_string());
    Ok(Answered::begun(out))
}

fn runtime_info(ask: &Ask) -> serde_json::Value {
    let text = |ms: i64| jiff::Timestamp::from_millisecond(ms).unwrap_or_default().to_string();
    let started_ms = (ask.app.metrics.start_time.get() * 1000.0) as i64;
    let days = ask.tenant.limits.retention_ms / (24 * 3600 * 1000);
    json!({
        "startTime": text(started_ms),
        "serverTime": text(ask.now_ms),
        "reloadConfigSuccess": true,
        "lastConfigTime": text(started_ms),
        "corruptionCount": ask.store.status().damaged_pages,
        "storageRetention": if days == 0 { "for ever".to_owned() } else { format!("{days}d") },
    })
}
