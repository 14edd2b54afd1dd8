//! What of an account is counted by parts of Weir that work on their own: scraping, forwarding, rules.

use admission::Tenant;

use crate::app::App;

/// Numbers of one tenant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    /// Targets that are scraped.
    pub(super) scrape_targets: u64,
    /// Those whose last scrape failed.
    pub(super) scrape_targets_down: u64,
    /// Outputs.
    pub(super) forwarders: u64,
    /// Bytes of the log that they have not sent.
    pub(super) forward_queue_bytes: u64,
    /// Rules.
    pub(super) rules: u64,
    /// Alerts that fire.
    pub(super) alerts_firing: u64,
}

impl Usage {
    /// Of `tenant`, now. Each of these parts tells its numbers here once Weir has it.
    pub(super) fn of(_: &App, _: &Tenant) -> Self {
        Self::default()
    }
}
