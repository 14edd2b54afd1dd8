//! What of an account is counted by parts of Weir that work on their own: scraping, forwarding, and rules once there
//! are any.

use admission::Tenant;
use forward::{Chosen, Outputs, Settings};
use scrape::report::Health;

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
    /// Bytes of the log that those have not sent that are this tenant's alone.
    pub(super) forward_queue_bytes: u64,
    /// Rules.
    pub(super) rules: u64,
    /// Alerts that fire.
    pub(super) alerts_firing: u64,
}

impl Usage {
    /// Of `tenant`, now. Lengths of files may be asked for.
    pub(super) fn of(app: &App, tenant: &Tenant) -> Self {
        let lists = app.pools.of(&tenant.name).into_iter().map(|pool| pool.list().active);
        let targets: Vec<_> = lists.flatten().map(|life| life.last().health).collect();
        let down = targets.iter().filter(|health| **health == Health::Down);
        let config = app.config();
        let outputs = config.outputs.iter().filter(|output| output.tenants.has(&tenant.name));
        // Of an output that others have a part in, nobody is told how much waits.
        let alone = |output: &&Settings| match &output.tenants {
            Chosen::All => false,
            Chosen::Named(names) => names.len() == 1,
        };
        let alone: Vec<&str> = outputs.clone().filter(alone).map(|output| output.name.as_str()).collect();
        let status = if alone.is_empty() { None } else { app.outputs.get().map(Outputs::status) };
        let waiting = status.unwrap_or_default();
        let waiting = waiting.iter().filter(|status| alone.contains(&status.name.as_str()));
        Self {
            scrape_targets: targets.len() as u64,
            scrape_targets_down: down.count() as u64,
            forwarders: outputs.count() as u64,
            forward_queue_bytes: waiting.map(|status| status.lag_bytes).sum(),
            rules: 0,
            alerts_firing: 0,
        }
    }
}
