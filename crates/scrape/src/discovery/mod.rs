//! Where targets come from: each mechanism tells all of its groups whenever they change.
//!
//! A mechanism that cannot say anything just now (a file half written, a server that is down) says nothing, and what it said
//! last goes on to count; how often that happens is counted.

mod ask;
mod dns;
mod file;
mod fixed;
mod http;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use env::Env;
use outbound::ConfigError;
use tokio::sync::watch;

use crate::config::ScrapeConfig;
pub use crate::target::TargetGroup;
pub use file::files_named;

/// One mechanism of a job, set up and not yet started.
#[derive(Debug)]
pub struct Discovery {
    way: Way,
    counts: Arc<Counts>,
}

#[derive(Debug)]
enum Way {
    Fixed(fixed::Fixed),
    File(file::File),
    Http(Box<http::Http>),
    Dns(dns::Dns),
}

/// How often a mechanism was asked, and in vain.
#[derive(Debug, Default)]
pub struct Counts {
    refreshes: AtomicU64,
    failures: AtomicU64,
}

impl Counts {
    /// Times that it was asked.
    pub fn refreshes(&self) -> u64 {
        self.refreshes.load(Ordering::Relaxed)
    }

    /// Times that it could not answer; each file and each name counts.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    fn refresh(&self) {
        self.refreshes.fetch_add(1, Ordering::Relaxed);
    }

    fn failure(&self, mechanism: &str, what: &str, error: &dyn std::fmt::Display) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(mechanism, what, %error, "targets cannot be discovered, those known go on");
    }
}

impl Discovery {
    /// The mechanisms of a job, in the order of its groups.
    pub fn of(config: &ScrapeConfig, env: &Env) -> Result<Vec<Self>, ConfigError> {
        let keys = &config.block.own;
        let mut ways = Vec::new();
        if !keys.static_configs.is_empty() {
            ways.push(Way::Fixed(fixed::Fixed::new(&keys.static_configs)));
        }
        ways.extend(keys.file_sd_configs.iter().map(|file| Way::File(file::File::new(file))));
        for http in &keys.http_sd_configs {
            ways.push(Way::Http(Box::new(http::Http::new(http, env)?)));
        }
        ways.extend(keys.dns_sd_configs.iter().map(|dns| Way::Dns(dns::Dns::new(dns, env))));
        Ok(ways.into_iter().map(|way| Self { way, counts: Arc::default() }).collect())
    }

    /// Its name in configurations and metrics.
    pub fn mechanism(&self) -> &'static str {
        match self.way {
            Way::Fixed(_) => "static",
            Way::File(_) => "file",
            Way::Http(_) => "http",
            Way::Dns(_) => "dns",
        }
    }

    /// Where it asks: what another one told that asked there is what this one would have told.
    pub fn place(&self) -> String {
        match &self.way {
            Way::Fixed(_) => String::new(),
            Way::File(file) => file.place(),
            Way::Http(http) => http.place(),
            Way::Dns(dns) => dns.place(),
        }
    }

    /// How often it was asked, from now on.
    pub fn counts(&self) -> Arc<Counts> {
        Arc::clone(&self.counts)
    }

    /// Tells its groups, all of them each time that they changed, until nobody listens. What `sink` holds before the first
    /// change was told at this place under another configuration, and stands for what cannot be found out.
    pub async fn run(self, sink: watch::Sender<Vec<TargetGroup>>) {
        let counts = &*self.counts;
        match self.way {
            Way::Fixed(fixed) => {
                sink.send_replace(fixed.groups());
                sink.closed().await;
            }
            Way::File(file) => file.run(&sink, counts).await,
            Way::Http(http) => http.run(&sink, counts).await,
            Way::Dns(dns) => dns.run(&sink, counts).await,
        }
    }
}

/// Targets of one mechanism. More are a mistake, and are refused as one.
const TARGETS_MAX: usize = 100_000;

/// Tells groups if they are others than before, or the first.
fn tell(
    sink: &watch::Sender<Vec<TargetGroup>>,
    last: &mut Option<Vec<TargetGroup>>,
    counts: &Counts,
    mechanism: &str,
    groups: Vec<TargetGroup>,
) {
    if last.as_ref() == Some(&groups) {
        return;
    }
    let targets: usize = groups.iter().map(|group| group.targets.len()).sum();
    if targets > TARGETS_MAX {
        let error = format!("{targets} targets, at most {TARGETS_MAX} are taken");
        counts.failure(mechanism, "all", &error);
    } else {
        sink.send_replace(groups.clone());
    }
    *last = Some(groups);
}

/// Waits; `None` when nobody listens any more.
async fn pause(sink: &watch::Sender<Vec<TargetGroup>>, time: Duration) -> Option<()> {
    tokio::select! {
        () = sink.closed() => None,
        () = tokio::time::sleep(time) => Some(()),
    }
}

#[cfg(test)]
mod tests;
