//! What an output counts.

use std::sync::atomic::{AtomicU64, Ordering};

/// Why rows were not sent, or not taken. `as_str` is the value of the self-metrics' label `reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// The receiver will never take them.
    Refused,
    /// They waited longer than `max_lag_age`.
    LagAge,
    /// There were more than `max_lag_bytes` behind them.
    LagBytes,
    /// They were older than `queue_config.sample_age_limit` when they were to be sent.
    SampleAge,
    /// The receiver's protocol, or the output's settings, have no place for them.
    Unsaid,
    /// They came through the receiver.
    Loop,
    /// Their tenant has no name: it was removed.
    NoTenant,
}

impl Dropped {
    /// Every reason.
    pub const ALL: [Dropped; 7] = [
        Self::Refused,
        Self::LagAge,
        Self::LagBytes,
        Self::SampleAge,
        Self::Unsaid,
        Self::Loop,
        Self::NoTenant,
    ];

    /// The value of the self-metrics' label `reason`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::LagAge => "lag_age",
            Self::LagBytes => "lag_bytes",
            Self::SampleAge => "sample_age",
            Self::Unsaid => "unsaid",
            Self::Loop => "loop",
            Self::NoTenant => "no_tenant",
        }
    }
}

/// Classes of answers, by the first digit of the status; the first is for requests without an answer.
pub(crate) const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// Counts since the process began.
#[derive(Debug, Default)]
pub struct Counts {
    pub(crate) sent: AtomicU64,
    pub(crate) retried: AtomicU64,
    pub(crate) bytes: AtomicU64,
    pub(crate) lost_frames: AtomicU64,
    pub(crate) restarts: AtomicU64,
    dropped: [AtomicU64; Dropped::ALL.len()],
    requests: [AtomicU64; CLASSES.len()],
}

impl Counts {
    pub(crate) fn add(counter: &AtomicU64, by: u64) {
        counter.fetch_add(by, Ordering::Relaxed);
    }

    pub(crate) fn drop(&self, reason: Dropped, rows: u64) {
        Self::add(&self.dropped[reason as usize], rows);
    }

    /// Counts a request by its status; 0 is one without an answer.
    pub(crate) fn request(&self, status: u16) {
        Self::add(&self.requests[usize::from(status / 100).min(CLASSES.len() - 1)], 1);
    }

    /// Rows that a receiver took.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Rows in requests that were sent once more.
    pub fn retried(&self) -> u64 {
        self.retried.load(Ordering::Relaxed)
    }

    /// Bytes of requests' bodies.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Frames of the log that were damaged, or removed before they were read.
    pub fn lost_frames(&self) -> u64 {
        self.lost_frames.load(Ordering::Relaxed)
    }

    /// Times that the output began anew after a panic.
    pub fn restarts(&self) -> u64 {
        self.restarts.load(Ordering::Relaxed)
    }

    /// Rows dropped, by reason.
    pub fn dropped(&self, reason: Dropped) -> u64 {
        self.dropped[reason as usize].load(Ordering::Relaxed)
    }

    /// Requests by the class of their answers.
    pub fn requests(&self) -> impl Iterator<Item = (&'static str, u64)> {
        CLASSES.iter().copied().zip(self.requests.iter().map(|count| count.load(Ordering::Relaxed)))
    }
}
