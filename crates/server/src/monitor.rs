//! Weir watches itself: numbers kept elsewhere are copied into the registry, and the whole registry is written into
//! the tenant `system` through the same decoder and the same append as anybody's text.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use dialects::{Kind, Received};
use model::Batch;
use tsdb::{Progress, Status, Store, WriteContext};

use crate::app::App;
use crate::metrics::{Metrics, text};
use crate::tally::Tally;

/// The tenant that Weir's own metrics belong to.
const SYSTEM: &str = "system";

/// Replayed and all segments of the log, while the store opens.
pub fn replayed(progress: &Progress) -> (u64, u64) {
    (progress.replayed.load(Ordering::Relaxed), progress.segments.load(Ordering::Relaxed))
}

/// Copies what is counted elsewhere into the registry.
pub fn refresh(app: &App) {
    let metrics = &app.metrics;
    metrics.build.with(&[env!("CARGO_PKG_VERSION")]).set(1.0);
    metrics.inflight_bytes.set(app.bytes.held() as f64);
    metrics.ingest_queue.set(app.decoding.waiting() as f64);
    metrics.memory_limit_bytes.set(app.config().storage.memory_bytes as f64);
    if let Ok(space) = app.env.files.space(&app.data_dir) {
        metrics.disk_free_bytes.set(space.free as f64);
        metrics.disk_total_bytes.set(space.total as f64);
    }
    if let Some(time) = cpu_time() {
        metrics.cpu_seconds.copy(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }
    if let Some(bytes) = resident_bytes() {
        metrics.memory_resident_bytes.set(bytes as f64);
    }
    for (name, ready) in crate::system::readiness(app) {
        metrics.ready.with(&[name]).set(f64::from(u8::from(ready)));
    }
    crate::outputs::refresh(app, metrics);
    let authority = app.authority();
    metrics.tenants.set(authority.tenants().count() as f64);
    if let Some(acme) = app.tls.as_ref().and_then(|tls| tls.acme()) {
        acme.tell(&authority);
    }
    refresh_targets(app);
    let (Some(store), Some(status)) = (app.store(), app.status()) else { return };
    copy_status(metrics, &status);
    metrics.active_series.clear();
    for tenant in authority.tenants() {
        let series = store.tenant_status(tenant.id).head_series;
        // Beyond the bound several tenants share one gauge: it is their sum.
        metrics.active_series.of_tenant(tenant.name.as_str(), &[]).add(series as f64);
    }
}

fn refresh_targets(app: &App) {
    let metrics = &app.metrics;
    let mut discovered = BTreeMap::<&str, (u64, u64)>::new();
    metrics.scrape_targets.clear();
    for pool in app.pools.all() {
        let (listing, tenant) = (pool.list(), pool.config.tenant.as_str());
        for life in &listing.active {
            metrics.scrape_targets.of_tenant(tenant, &[life.last().health.as_str()]).add(1.0);
        }
        metrics.scrape_targets.of_tenant(tenant, &["dropped"]).add(listing.dropped_count as f64);
        for (mechanism, counts) in pool.discovered() {
            let sum = discovered.entry(mechanism).or_default();
            *sum = (sum.0 + counts.refreshes(), sum.1 + counts.failures());
        }
    }
    for (mechanism, (refreshes, failures)) in discovered {
        metrics.scrape_discoveries.with(&[mechanism]).copy(refreshes);
        metrics.scrape_discovery_failures.with(&[mechanism]).copy(failures);
    }
}

fn copy_status(metrics: &Metrics, status: &Status) {
    metrics.head_series.set(status.head_series as f64);
    metrics.head_samples.set(status.head_samples as f64);
    metrics.head_bytes.set(status.head_bytes as f64);
    metrics.series_created.copy(status.series_created);
    metrics.series_evicted.copy(status.series_evicted);
    metrics.blocks.set(status.blocks as f64);
    metrics.block_bytes.set(status.block_bytes as f64);
    metrics.cache_bytes.set(status.cache_bytes as f64);
    metrics.flushes.copy(status.flushes);
    metrics.flush_failures.copy(status.flush_failures);
    metrics.flush_written_bytes.copy(status.flush_written_bytes);
    metrics.compactions.copy(status.compactions);
    metrics.compaction_failures.copy(status.compaction_failures);
    metrics.compaction_written_bytes.copy(status.compaction_written_bytes);
    metrics.compaction_memory_bytes.set(status.compaction_memory_bytes as f64);
    metrics.compaction_short_of_disk.set(f64::from(u8::from(status.compaction_short_of_disk)));
    metrics.wal_segments.set(status.wal_segments as f64);
    metrics.wal_replay_bytes.set(status.wal_replay_bytes as f64);
    metrics.wal_written_bytes.copy(status.wal_written_bytes);
    metrics.wal_commits.copy(status.wal_commits);
    metrics.wal_failures.copy(status.wal_failures);
    metrics.wal_sync_seconds.copy((status.wal_sync_seconds * 1e6) as u64);
    metrics.log_stream_bytes.set(status.log_bytes as f64);
    metrics.log_stream_limit_bytes.set(status.log_bytes_max as f64);
    metrics.log_stream_lines.copy(status.log_lines);
    metrics.write_queue_bytes.set(status.queue_bytes as f64);
    metrics.replay_damaged_frames.copy(status.replay_damaged_frames);
    metrics.open_seconds.set(status.open_seconds);
    metrics.quarantined.set(status.quarantined as f64);
    metrics.damaged_pages.copy(status.damaged_pages);
    metrics.tombstones.set(status.tombstones as f64);
    metrics.scrubbed_bytes.copy(status.scrubbed_bytes);
    metrics.scrub_pass_time.set(status.scrub_pass_ms as f64 / 1000.0);
    metrics.scrub_damaged.set(status.scrub_damaged as f64);
    metrics.retention_blocks.copy(status.retention_blocks);
    metrics.retention_paused.set(f64::from(u8::from(status.retention_paused)));
    metrics.disk_low.set(f64::from(u8::from(status.disk_low)));
}

/// Linux only; elsewhere the metric stays 0.
fn resident_bytes() -> Option<u64> {
    let text = env::real::read_text(std::path::Path::new("/proc/self/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

/// Linux only, to the clock tick; elsewhere the metric stays 0.
fn cpu_time() -> Option<Duration> {
    let text = env::real::read_text(std::path::Path::new("/proc/self/stat")).ok()?;
    // The name of the process, in parentheses, may hold anything; behind it stand the third field and those after.
    let mut fields = text.rsplit_once(')')?.1.split_whitespace().skip(11);
    let ticks = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    Some(Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64))
}

/// Writes the registry into the tenant `system`, every `interval`, until the task is dropped.
pub async fn write_regularly(app: Arc<App>, interval: Duration) {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(store) = app.store().filter(|_| !app.is_draining()) else { continue };
        refresh(&app);
        if !write(&app, store) {
            app.metrics.monitor_failures.add(1);
        }
    }
}

fn write(app: &App, store: &Store) -> bool {
    let exposition = text::openmetrics(&app.metrics);
    app.metrics.wal_sync_seconds_max.set(0.0);
    let authority = app.authority();
    let Some(tenant) = authority.tenant(SYSTEM) else { return false };
    let Some((dialect, route)) = dialects::find("POST", "/api/v1/import/prometheus") else { return false };
    let Kind::Ingest { decode, .. } = route.kind else { return false };
    let request = dialects::Request { content_type: text::OPENMETRICS, ..dialects::Request::default() };
    let (body, received_ms) = (exposition.as_bytes(), app.env.clock.now_ms());
    let received = Received { body, received_ms, ..Received::new(request) };
    let mut batch = Batch::new(store.seed());
    if let Err(error) = decode(&received, &mut batch) {
        tracing::error!(%error, dialect = dialect.name, "Weir's own metrics cannot be decoded");
        return false;
    }
    let tally = Tally::of(tenant.name.as_str(), &batch);
    let context = WriteContext {
        tenant: tenant.id,
        limits: &tenant.limits,
        epoch: tenant.epoch,
        now_ms: received.received_ms,
        digest: None,
    };
    match store.append(&context, &batch) {
        Ok((ticket, appended)) => {
            ticket.on_done({
                let count = tally.appended(&app.metrics, &appended);
                move |result| count(result.as_ref().ok())
            });
            true
        }
        Err(_) => {
            tally.refused(&app.metrics);
            false
        }
    }
}
