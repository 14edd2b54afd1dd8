//! What an account uses and what it may use, as gauges: numbers of the tenant alone. Nobody learns of others from them;
//! what is of the whole process is told to whoever operates it.

use admission::Tenant;
use model::Budget;
use tsdb::{Status, Store};

use super::today::{Counted, Day, Grown};
use super::usage::Usage;
use crate::api::error::ApiError;
use crate::app::App;
use crate::metrics::{Counter, Family};

/// A gauge.
pub(super) struct Gauge {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) value: f64,
}

fn gauge(name: &'static str, value: f64, help: &'static str) -> Gauge {
    Gauge { name, help, value }
}

/// What is known without the store, as of when the question came.
pub(super) struct Now {
    pub(super) queries_running: u64,
    pub(super) queries_waiting: u64,
    pub(super) tokens: usize,
}

impl Now {
    pub(super) fn of(app: &App, tenant: &Tenant, now_ms: i64) -> Self {
        let authority = app.authority();
        let tokens = authority.state().tokens.iter().filter(|token| token.tenant == Some(tenant.id));
        let live = tokens.filter(|token| token.expires_ms.is_none_or(|expires| now_ms < expires));
        Self {
            queries_running: app.queries.running(tenant.id),
            queries_waiting: app.queries.waiting(tenant.id),
            tokens: live.count(),
        }
    }
}

const SAMPLES: &[&str] = &["sample", "histogram"];

const ACCEPTED: Counted =
    Counted { metric: "weir_samples_accepted_total", labels: &["tenant", "kind"], kinds: SAMPLES };
const REJECTED: Counted =
    Counted { metric: "weir_samples_rejected_total", labels: &["tenant", "kind", "reason"], kinds: SAMPLES };
const LOG_BYTES: Counted =
    Counted { metric: "weir_log_accepted_bytes_total", labels: &["tenant"], kinds: &[] };
const QUERIES: Counted = Counted { metric: "weir_tenant_queries_total", labels: &["tenant"], kinds: &[] };

/// Every gauge that a tenant sees, in the order of the docs.
pub(super) fn of_tenant(
    app: &App,
    tenant: &Tenant,
    now: &Now,
    day: &Day<'_>,
    budget: &Budget,
) -> Result<Vec<Gauge>, ApiError> {
    let name = tenant.name.as_str();
    // None of a tenant beyond those that are told apart.
    let grown = |counted: &Counted, family: &Family<Counter>| -> Result<Option<Grown>, ApiError> {
        let Some(live) = family.values_of_tenant(name) else { return Ok(None) };
        day.grown(counted, name, live, budget).map(Some)
    };
    let accepted = grown(&ACCEPTED, &app.metrics.samples_accepted)?;
    let rejected = grown(&REJECTED, &app.metrics.samples_rejected)?;
    let log_bytes = grown(&LOG_BYTES, &app.metrics.log_accepted_bytes)?;
    let queries = grown(&QUERIES, &app.metrics.tenant_queries)?;
    let today = |grown: Option<Grown>| grown.map(|grown| grown.today);
    let limits = &tenant.limits;
    let series = day.store.tenant_status(tenant.id).head_series;
    let blocks: u64 = day.store.blocks_of(tenant.id).iter().map(|part| part.bytes).sum();
    let concurrency = app.config().query_concurrency;
    let usage = Usage::of(app, tenant);
    let Usage { scrape_targets, scrape_targets_down, forwarders, forward_queue_bytes, .. } = usage;
    let Usage { rules, alerts_firing, .. } = usage;
    let all = [
        (Some(series as f64), "weir_active_series", "Series that had a sample of late."),
        (Some(limits.active_series as f64), "weir_series_limit", "Series that may be active at once."),
        (today(accepted), "weir_samples_ingested_count", "Samples stored since midnight, UTC."),
        (today(rejected), "weir_samples_discarded_count", "Samples refused since midnight, UTC."),
        (
            accepted.map(|grown| grown.per_second),
            "weir_ingest_rate",
            "Samples stored a second, over the last minute.",
        ),
        (Some(limits.samples_per_second), "weir_ingest_rate_limit", "Samples a second that may come."),
        (today(log_bytes), "weir_log_bytes_ingested_count", "Bytes of log lines stored since midnight, UTC."),
        (Some(blocks as f64), "weir_storage_bytes", "Bytes of blocks on disk."),
        (
            Some(limits.retention_ms as f64 / 1000.0),
            "weir_retention_seconds",
            "How long samples are kept; 0 is for ever.",
        ),
        (today(queries), "weir_queries_count", "Questions asked since midnight, UTC."),
        (Some(now.queries_running as f64), "weir_queries_concurrency", "Questions that are being answered."),
        (
            Some(concurrency as f64),
            "weir_quota_max_concurrency",
            "Questions that may be answered at once; half while others wait.",
        ),
        (Some(now.queries_waiting as f64), "weir_queries_queue_size", "Questions that wait."),
        (Some(now.tokens as f64), "weir_tokens_count", "Tokens that are valid."),
        (Some(scrape_targets as f64), "weir_scrape_targets_count", "Targets that are scraped."),
        (Some(scrape_targets_down as f64), "weir_scrape_targets_down", "Targets whose last scrape failed."),
        (Some(forwarders as f64), "weir_forwarders_count", "Outputs that forward."),
        (
            Some(forward_queue_bytes as f64),
            "weir_forward_queue_bytes",
            "Bytes of the log that outputs have not sent.",
        ),
        (Some(rules as f64), "weir_rules_count", "Rules."),
        (Some(alerts_firing as f64), "weir_alerts_firing", "Alerts that fire."),
    ];
    let told = all.into_iter().filter_map(|(value, name, help)| Some(gauge(name, value?, help)));
    Ok(told.collect())
}

/// What the profile `internal` adds for the tenant.
pub(super) fn internal(tenant: &Tenant, store: &Store) -> Vec<Gauge> {
    let blocks = store.blocks_of(tenant.id).len();
    let families = store.metadata(tenant.id).len();
    vec![
        gauge("weir_blocks_count", blocks as f64, "Blocks with samples."),
        gauge(
            "weir_metadata_families_count",
            families as f64,
            "Metrics of which type, unit or help is known.",
        ),
        gauge("weir_ingest_burst_limit", tenant.limits.samples_burst, "Samples that may come at once."),
        gauge(
            "weir_query_limit_bytes",
            tenant.limits.query_bytes as f64,
            "Bytes that one question may hold.",
        ),
    ]
}

/// And for whoever operates Weir: the whole process, under the names of its own metrics.
pub(super) fn of_process(app: &App, status: &Status) -> Vec<Gauge> {
    let held = app.bytes.held();
    vec![
        gauge("weir_head_series", status.head_series as f64, "Series in the head, of all tenants."),
        gauge("weir_head_bytes", status.head_bytes as f64, "Memory of the head."),
        gauge("weir_blocks", status.blocks as f64, "Live blocks."),
        gauge("weir_block_bytes", status.block_bytes as f64, "Bytes of live blocks."),
        gauge("weir_wal_segments", status.wal_segments as f64, "Segments of the write-ahead log."),
        gauge("weir_wal_replay_bytes", status.wal_replay_bytes as f64, "Bytes that a restart would read."),
        gauge("weir_write_queue_bytes", status.queue_bytes as f64, "Bytes that wait for the writer."),
        gauge("weir_ingest_inflight_bytes", held as f64, "Bytes of bodies that are taken in."),
        gauge("weir_ingest_queue_jobs", app.decoding.waiting() as f64, "Bodies that wait to be decoded."),
        gauge(
            "weir_compaction_memory_bytes",
            status.compaction_memory_bytes as f64,
            "Memory of the merge of blocks that runs.",
        ),
        gauge("weir_quarantined_files", status.quarantined as f64, "Files found damaged since the start."),
    ]
}
