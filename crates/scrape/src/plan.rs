//! From a job's configuration to a job that can run.

use std::sync::Arc;
use std::time::Duration;

use dialects::scraped;
use env::Env;
use outbound::{Client, ConfigError, Reach};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::config::{Escaping, ScrapeConfig};
use crate::discovery::Discovery;
use crate::fetch::{Packing, Pages};
use crate::job::{Command, Order};
use crate::labelling::{Conflicts, LabelBounds, LabelTerms};
use crate::life::Common;
use crate::page::{Terms, Timestamps};
use crate::report::Extra;
use crate::store::Store;
use crate::target::{self, TargetGroup};

/// What the targets of a job have in common.
pub(crate) fn order(config: &ScrapeConfig, store: &Arc<dyn Store>, env: &Env) -> Result<Order, ConfigError> {
    let client = Client::new(&config.http, Reach::Anything, env)?;
    let packing = if config.compression { Packing::Gzip } else { Packing::None };
    let limits = &config.limits;
    let size = |limit: u64| usize::try_from(limit).unwrap_or(usize::MAX);
    let common = Common {
        job: config.job_name.clone(),
        tenant: config.tenant.clone(),
        terms: Terms {
            timestamps: match (config.honor_timestamps, config.track_timestamps_staleness) {
                (false, _) => Timestamps::Ignored,
                (true, false) => Timestamps::Honoured,
                (true, true) => Timestamps::Tracked,
            },
            sample_limit: limits.samples,
            bucket_limit: size(limits.buckets),
            schema_max: schema_max(limits.bucket_factor_min),
            extra: if config.extra_metrics { Extra::With } else { Extra::Without },
        },
        fallback: config.fallback,
        fetch: Box::new(Pages::new(client, &accept(config), packing, limits.body_bytes)),
        store: Arc::clone(store),
        env: env.clone(),
    };
    let labels = LabelTerms {
        conflicts: if config.honor_labels { Conflicts::Honoured } else { Conflicts::Exported },
        rules: Arc::new(config.metric_relabel.clone()),
        names: config.names,
        bounds: LabelBounds {
            labels: size(limits.labels),
            name_bytes: size(limits.label_name_bytes),
            value_bytes: size(limits.label_value_bytes),
        },
    };
    Ok(Order { common: Arc::new(common), labels, target_limit: size(limits.targets) })
}

/// Schemas of native histograms whose bounds are powers.
const SCHEMA_MIN: i32 = -4;
const SCHEMA_MAX: i32 = 8;

fn accept(config: &ScrapeConfig) -> String {
    let escaping = match config.escaping {
        Escaping::AllowUtf8 => "allow-utf-8",
        Escaping::Underscores => "underscores",
        Escaping::Dots => "dots",
        Escaping::Values => "values",
    };
    scraped::accept(&config.protocols).replace("escaping=allow-utf-8", &format!("escaping={escaping}"))
}

/// The finest schema whose buckets grow by `factor` at least; 0 or 1 = any.
fn schema_max(factor: f64) -> i32 {
    if factor <= 1.0 {
        return SCHEMA_MAX;
    }
    let schema = (-factor.log2().log2()).floor();
    // Between the bounds it is a small whole number.
    schema.clamp(f64::from(SCHEMA_MIN), f64::from(SCHEMA_MAX)) as i32
}

/// How long the first targets of a job wait for those mechanisms that have not answered yet. Without it targets would go
/// and come back whenever a job is changed.
const FIRST_WAIT: Duration = Duration::from_secs(2);

/// Tells the job its targets, whenever one of the mechanisms finds others. Ends when the job does.
pub(crate) async fn find(
    config: Arc<ScrapeConfig>,
    mechanisms: Vec<(Discovery, watch::Sender<Vec<TargetGroup>>)>,
    commands: mpsc::Sender<Command>,
) {
    let changed = Arc::new(Notify::new());
    let mut tasks = JoinSet::new();
    let mut groups = Vec::new();
    for (mechanism, told) in mechanisms {
        let mut news = told.subscribe();
        groups.push(news.clone());
        tasks.spawn(mechanism.run(told));
        let changed = Arc::clone(&changed);
        tasks.spawn(async move {
            while news.changed().await.is_ok() {
                changed.notify_one();
            }
        });
    }
    let all_have_told = || groups.iter().all(|group| group.has_changed().unwrap_or(true));
    let first = async {
        while !all_have_told() {
            changed.notified().await;
        }
    };
    let _ = timeout(FIRST_WAIT, first).await;
    loop {
        let all: Vec<TargetGroup> = groups.iter().flat_map(|group| group.borrow().clone()).collect();
        let found = target::targets(&config, &all);
        for invalid in &found.invalid {
            let (source, index) = (&invalid.source, invalid.index);
            tracing::warn!(job = config.job_name, source, index, error = %invalid.error, "no target");
        }
        if commands.send(Command::Targets(found)).await.is_err() {
            return;
        }
        changed.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_grow_by_the_factor_at_least() {
        for (factor, schema) in [(0.0, 8), (1.0, 8), (1.0027, 8), (1.1, 2), (2.0, 0), (4.0, -1), (1e9, -4)] {
            assert_eq!(schema_max(factor), schema, "{factor}");
        }
    }
}
