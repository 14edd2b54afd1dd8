//! What is known of the process whether its store is open or not: the replay of the log, what is amiss, its metrics.

use http::request::Parts;
use model::re2::Anchored;
use serde_json::json;

use super::error::{ApiError, Kind};
use super::params::Params;
use super::{Answered, encode};
use crate::app::App;
use crate::metrics::proto_json;
use crate::{gate, monitor, system};

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Process {
    /// How far the replay of the write-ahead log has come.
    WalReplay,
    /// What whoever looks after Weir should know now.
    Notifications,
    /// The same as it happens: nobody can subscribe, which Prometheus says in the same way when too many have.
    NotificationsLive,
    /// Weir's own metrics.
    SelfMetrics,
}

/// Whether the request may ask that.
pub(super) fn admit(app: &App, process: Process, parts: &Parts) -> Result<(), admission::Refused> {
    match process {
        // They tell of all tenants, as GET /metrics does.
        Process::SelfMetrics => gate::admit_self_metrics(app, parts),
        _ => gate::admit(app, parts, gate::ANSWER_CREDENTIALS, admission::Scope::Read).map(|_| ()),
    }
}

pub(super) fn answer(app: &App, process: Process, params: &Params) -> Result<Answered, ApiError> {
    let mut out = encode::begin(0);
    match process {
        Process::WalReplay => out.push_str(&wal_replay(app).to_string()),
        Process::Notifications => out.push_str(&notifications(app).to_string()),
        Process::NotificationsLive => return Ok(Answered::default()),
        Process::SelfMetrics => {
            let pattern = match params.get("metric_name_pattern") {
                "" => None,
                text => Some(Anchored::new(text).map_err(|error| {
                    ApiError::new(Kind::BadData, format!("invalid metric_name_pattern: {error}"))
                })?),
            };
            monitor::refresh(app);
            let wanted = |name: &str| pattern.as_ref().is_none_or(|pattern| pattern.is_match(name));
            out.push_str(&proto_json::families(&app.metrics, wanted).to_string());
        }
    }
    Ok(Answered::begun(out))
}

/// Segments by their place in the replay.
fn wal_replay(app: &App) -> serde_json::Value {
    let (replayed, segments) = monitor::replayed(&app.progress);
    let last = segments.saturating_sub(1);
    json!({ "min": 0, "max": last, "current": replayed.min(last) })
}

/// Everything that keeps Weir from being ready, as of now.
fn notifications(app: &App) -> serde_json::Value {
    let date = jiff::Timestamp::from_millisecond(app.env.clock.now_ms()).unwrap_or_default().to_string();
    let amiss = system::amiss(app);
    amiss.into_iter().map(|text| json!({ "text": text, "date": date, "active": true })).collect()
}
