//! Scraping: jobs of the configuration in force, from the start of the server until just before its store closes.
//!
//! One task applies the configuration whenever it changed. Ticks that come before the store is open are passed over.

mod destination;

use std::sync::Arc;

use scrape::Jobs;
use tokio::sync::watch;

use self::destination::Destination;
use crate::app::App;

/// Scrapes under way at once. Those that wait for a slow answer cost a connection and little else, and a bound that is
/// low would let targets that do not answer take the turns of those that do.
const PLACES_MAX: u64 = 4096;

/// Scrapes until `stopped`. `descriptors` is how many files and connections the process may have open.
pub(crate) async fn run(app: Arc<App>, descriptors: Option<u64>, mut stopped: watch::Receiver<bool>) {
    let mut reloaded = app.reloaded.subscribe();
    let places = descriptors.map_or(PLACES_MAX, |descriptors| (descriptors / 4).clamp(16, PLACES_MAX));
    let store = Arc::new(Destination(Arc::clone(&app)));
    let seed = instance(&app);
    let places = usize::try_from(places).unwrap_or(usize::MAX);
    let mut jobs = Jobs::new(store, app.env.clone(), seed, places, Arc::clone(&app.pools));
    loop {
        reloaded.mark_unchanged();
        let configs = app.config().scrape.clone();
        let authority = app.authority();
        for config in configs.iter().filter(|config| authority.tenant(config.tenant.as_str()).is_none()) {
            let (job, tenant) = (&config.job_name, &config.tenant);
            tracing::warn!(job, %tenant, "the tenant of this job does not exist, what it scrapes is lost");
        }
        drop(authority);
        for (job, error) in jobs.apply(&configs).await {
            tracing::error!(job, %error, "this job is not scraped");
        }
        tokio::select! {
            _ = stopped.changed() => return,
            changed = reloaded.changed() => if changed.is_err() { return },
        }
    }
}

/// Tells this instance from others that scrape the same targets: by the name of its machine and its external labels.
fn instance(app: &App) -> u64 {
    let mut text = rustix::system::uname().nodename().to_string_lossy().into_owned();
    for (name, value) in &app.config().settings.pasted.global.external_labels {
        text.push_str(&format!("\0{name}\0{value}"));
    }
    codec::hash::key128(0, text.as_bytes()) as u64
}
