//! How an output is, for the API and for self-metrics.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde::Serialize;
use tsdb::Store;

use crate::counts::Dropped;
use crate::settings::Settings;
use crate::shared::Shared;

/// An output at a moment.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// Its name.
    pub name: String,
    /// Its protocol.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Where it sends to, without credentials and what its query says.
    pub url: String,
    /// Rows that were taken.
    pub sent: u64,
    /// Rows in requests that were repeated.
    pub retried: u64,
    /// Bytes of bodies.
    pub bytes: u64,
    /// Rows dropped, by reason.
    pub dropped: Vec<(&'static str, u64)>,
    /// Requests by the class of their answers.
    pub requests: Vec<(&'static str, u64)>,
    /// Frames of the log that could not be read.
    pub lost_frames: u64,
    /// Times that it began anew.
    pub restarts: u64,
    /// Age of the oldest thing that is not sent.
    pub lag_seconds: f64,
    /// Bytes of the log that are not sent.
    pub lag_bytes: u64,
    /// Rows that were read and are not sent.
    pub pending: u64,
    /// Requests that may be under way at once.
    pub shards: u64,
    /// When the receiver last took something, in ms since the Unix epoch; 0 = never.
    pub last_success_ms: i64,
    /// When it last did not.
    pub last_failure_ms: i64,
    /// What was said then.
    pub last_error: String,
    /// Whether the last request failed.
    pub is_failing: bool,
}

impl Status {
    pub(crate) fn of(shared: &Arc<Shared>, store: &Store) -> Self {
        let (settings, counts, contact) = (&shared.settings, &shared.counts, shared.contact());
        let cursor = shared.progress.cursor();
        let (lag_ms, lag_bytes) = match cursor >= store.log_end(settings.stream()) {
            true => (0, 0),
            // Looked at once a second: since then something may have come.
            false => (
                shared.marks().lag_ms(cursor, shared.env.clock.now_ms()),
                shared.lag_bytes.load(Ordering::Relaxed).max(1),
            ),
        };
        Self {
            name: settings.name.clone(),
            kind: settings.speaker.name,
            url: outbound::without_query_values(&settings.url.to_string()),
            sent: counts.sent(),
            retried: counts.retried(),
            bytes: counts.bytes(),
            dropped: Dropped::ALL.map(|reason| (reason.as_str(), counts.dropped(reason))).to_vec(),
            requests: counts.requests().collect(),
            lost_frames: counts.lost_frames(),
            restarts: counts.restarts(),
            lag_seconds: lag_ms as f64 / 1000.0,
            lag_bytes,
            pending: shared.progress.rows(),
            shards: shared.shards.load(Ordering::Relaxed) as u64,
            last_success_ms: contact.success_ms,
            last_failure_ms: contact.failure_ms,
            last_error: contact.error,
            is_failing: contact.is_failing,
        }
    }

    /// Of an output that could not be started.
    pub(crate) fn not_started(settings: &Settings, error: &str, at_ms: i64) -> Self {
        Self {
            name: settings.name.clone(),
            kind: settings.speaker.name,
            url: settings.url.to_string(),
            sent: 0,
            retried: 0,
            bytes: 0,
            dropped: Vec::new(),
            requests: Vec::new(),
            lost_frames: 0,
            restarts: 0,
            lag_seconds: 0.0,
            lag_bytes: 0,
            pending: 0,
            shards: 0,
            last_success_ms: 0,
            last_failure_ms: at_ms,
            last_error: format!("cannot be started: {error}"),
            is_failing: true,
        }
    }
}
