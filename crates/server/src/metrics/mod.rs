//! Weir's own metrics: one registry of names, types, units and help, with atomics behind each row.
//!
//! `registry!` makes both from the same lines: the table [`ROWS`], from which docs/metrics.md is generated, and the
//! struct [`Metrics`], whose fields are counted into. Whatever is measured elsewhere (the store's numbers) is copied
//! into its row by [`crate::monitor`] before each exposition. Label values come from closed sets or from tenant names;
//! of those the first 1,000 are told apart and the rest counts as `other`.

mod family;
pub mod proto_json;
pub mod text;

pub use family::{Counter, Family, Gauge, Histogram};

/// What kind of numbers a row holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only goes up.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Classic histogram of seconds.
    Histogram,
    /// Constant 1 with facts in labels.
    Info,
}

impl Kind {
    /// The type's name in OpenMetrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Info => "info",
        }
    }

    /// What its samples have behind the name of their row, but for the parts of a histogram.
    pub(super) fn suffix(self) -> &'static str {
        match self {
            Self::Counter => "_total",
            Self::Info => "_info",
            Self::Gauge | Self::Histogram => "",
        }
    }
}

/// One metric family.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Its name, without `_total`.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// Its unit: the last word of the name, or empty.
    pub unit: &'static str,
    /// Its label names.
    pub labels: &'static [&'static str],
    /// What it means.
    pub help: &'static str,
}

macro_rules! registry {
    ($( $field:ident: $kind:ident $name:literal $unit:literal [$($label:literal),*] $help:literal; )*) => {
        /// Every metric, in the order of the exposition and of the docs.
        pub static ROWS: &[Row] = &[
            $( Row { name: $name, kind: Kind::$kind, unit: $unit, labels: &[$($label),*], help: $help }, )*
        ];

        /// The values.
        #[derive(Debug, Default)]
        pub struct Metrics {
            $( #[doc = $help] pub $field: registry!(@type $kind [$($label),*]), )*
        }

        impl Metrics {
            /// Hands every sample to `sink`, row by row.
            pub(crate) fn each(&self, sink: &mut dyn family::Sink) {
                let mut rows = ROWS.iter();
                $( if let Some(row) = rows.next() { family::Exposed::expose(&self.$field, row, sink); } )*
            }
        }
    };
    (@type Counter []) => { Counter };
    (@type Gauge []) => { Gauge };
    (@type Info [$($label:literal),*]) => { Family<Gauge> };
    (@type Counter [$($label:literal),+]) => { Family<Counter> };
    (@type Gauge [$($label:literal),+]) => { Family<Gauge> };
    (@type Histogram [$($label:literal),+]) => { Family<Histogram> };
    (@type Histogram []) => { Histogram };
}

registry! {
    build: Info "weir_build" "" ["version"] "Weir's version.";
    start_time: Gauge "weir_start_time_seconds" "seconds" [] "When this process started, in seconds since the Unix epoch.";
    ready: Gauge "weir_ready" "" ["component"] "Whether a component is ready: 1 or 0.";

    connections: Gauge "weir_connections" "" [] "Open HTTP connections.";
    connections_accepted: Counter "weir_connections_accepted" "" [] "HTTP connections accepted.";
    connections_evicted: Counter "weir_connections_evicted" "" [] "Connections without a request that made way for new ones, because there were as many as allowed.";
    connections_refused: Counter "weir_connections_refused" "" [] "Connections answered 503 and closed, because as many as allowed were busy.";
    accept_failures: Counter "weir_accept_failures" "" [] "Connections that could not be accepted: no descriptors or no memory.";
    framing_refused: Counter "weir_framing_refused" "" ["reason"] "Requests refused for how they were framed.";
    tls_handshake_failures: Counter "weir_tls_handshake_failures" "" ["reason"] "Connections that ended before TLS was spoken, by reason.";
    tls_reloads: Counter "weir_tls_reloads" "" ["outcome"] "Times that changed certificate files were read; after a failure the certificate before goes on.";
    tls_expiry: Gauge "weir_tls_certificate_expiry_timestamp_seconds" "seconds" ["name"] "When a certificate ends, in seconds since the Unix epoch; name is the first of an ordered certificate's names, or `static`.";
    acme_orders: Counter "weir_acme_orders" "" ["outcome"] "Orders of certificates.";
    acme_missing: Gauge "weir_acme_certificates_missing" "" [] "Certificates that are wanted and that there are not yet.";
    requests: Counter "weir_requests" "" ["dialect", "code"] "HTTP requests answered; dialect is `query`, `admin`, `system` or `none` where no ingest dialect answered.";
    not_found: Counter "weir_not_found" "" [] "Requests for paths that nothing answers.";
    panics: Counter "weir_request_panics" "" [] "Requests that ended in a panic and were answered 500.";
    ack_seconds: Histogram "weir_ack_seconds" "seconds" ["dialect"] "Time from the head of an ingest request to its answer.";

    auth_failures: Counter "weir_auth_failures" "" ["reason"] "Requests without a credential that counts.";
    samples_received: Counter "weir_samples_received" "" ["tenant", "kind"] "Samples decoded, by kind (sample, histogram, exemplar, metadata, log_line); equals accepted + rejected.";
    samples_accepted: Counter "weir_samples_accepted" "" ["tenant", "kind"] "Samples stored.";
    samples_rejected: Counter "weir_samples_rejected" "" ["tenant", "kind", "reason"] "Samples decoded and not stored, by reason.";
    log_accepted_bytes: Counter "weir_log_accepted_bytes" "bytes" ["tenant"] "Bytes of log lines stored; of a request of which lines were refused, the others' part of it.";
    notes: Counter "weir_ingest_notes" "" ["tenant", "note"] "Things that were kept otherwise than they were sent, or not kept beside what was, by what was done.";
    not_kept: Counter "weir_received_not_kept" "" ["tenant", "dialect"] "Requests that carry nothing that Weir stores and are answered all the same, because their senders would repeat them for ever.";
    unknown_routes: Counter "weir_datadog_unknown_route" "" ["path"] "Requests of Datadog senders for paths that nothing answers; of paths the first hundred are told apart.";
    dd_seconds: Histogram "dd_api_request_duration_seconds" "seconds" ["route", "method", "status_code"] "Time from the head of a Datadog request to its answer.";
    requests_refused: Counter "weir_requests_refused" "" ["reason"] "Ingest requests of which nothing was taken, by reason.";
    inflight_bytes: Gauge "weir_ingest_inflight_bytes" "bytes" [] "Bytes of bodies that are being read, decoded or stored.";
    ingest_queue: Gauge "weir_ingest_queue_jobs" "jobs" [] "Bodies that wait for a decoding thread.";

    scrapes: Counter "weir_scrapes" "" ["tenant", "outcome"] "Scrapes of targets, by outcome: success, or why it failed.";
    scrape_seconds: Histogram "weir_scrape_seconds" "seconds" [] "Time from the beginning of a scrape until its page was read.";
    scrape_samples: Counter "weir_scrape_samples" "" ["tenant"] "Rows on pages of targets, those that rules drop among them.";
    scrape_lost: Counter "weir_scrape_lost_samples" "" ["tenant", "reason"] "Samples of scrapes that were read and could not be stored, by reason.";
    scrape_skipped: Counter "weir_scrape_skipped" "" [] "Times at which a target was due and its scrape before was still under way, or nothing could begin.";
    scrape_invalid_targets: Counter "weir_scrape_invalid_targets" "" [] "Targets that were found and of which none could be made: no address, no valid URL.";
    scrape_discoveries: Counter "weir_scrape_discovery_refreshes" "" ["mechanism"] "Times that targets were looked for, by mechanism (static, file, http, dns).";
    scrape_discovery_failures: Counter "weir_scrape_discovery_failures" "" ["mechanism"] "Times that a mechanism, a file or a name of it could not be read; what it said last goes on to count.";
    scrape_targets: Gauge "weir_scrape_targets" "" ["tenant", "state"] "Targets that are scraped, by how they were the last time (up, down, unknown), and those that rules dropped.";

    statsd_datagrams: Counter "weir_statsd_datagrams" "" ["transport"] "Datagrams read from StatsD sockets; frames of a stream among them.";
    statsd_dropped: Counter "weir_statsd_dropped_datagrams" "" [] "Datagrams that the kernel dropped because they came faster than they were read.";
    statsd_truncated: Counter "weir_statsd_truncated_datagrams" "" [] "Datagrams over 64 KiB, of which only the beginning was read.";
    statsd_lines: Counter "weir_statsd_lines" "" ["tenant", "kind"] "StatsD lines that could be read, by type (c, g, h, ms, d, s, event, service_check).";
    statsd_malformed: Counter "weir_statsd_malformed_lines" "" ["tenant", "reason"] "StatsD lines that could not be read, by reason.";
    statsd_refused: Counter "weir_statsd_refused_lines" "" ["tenant", "reason"] "StatsD lines that were read and not taken into a window, by reason (keys, memory, labels, overflow, waiting).";
    statsd_keys: Gauge "weir_statsd_keys" "" ["tenant"] "Metrics with their tags that StatsD windows know.";
    statsd_memory_bytes: Gauge "weir_statsd_memory_bytes" "bytes" ["tenant"] "Memory of StatsD windows.";
    statsd_flush_seconds: Histogram "weir_statsd_flush_seconds" "seconds" [] "Time to make samples of a StatsD window.";
    statsd_flush_failures: Counter "weir_statsd_flush_failures" "" [] "Times that the store did not take what StatsD windows saw; it is tried again.";
    statsd_waiting: Gauge "weir_statsd_waiting_rows" "rows" ["tenant"] "Samples and log lines from StatsD that wait for the store.";
    statsd_lost: Counter "weir_statsd_lost_rows" "rows" ["tenant", "reason"] "Samples and log lines from StatsD that the store never took.";
    statsd_streams: Gauge "weir_statsd_streams" "" [] "Open connections to StatsD stream sockets.";
    statsd_streams_closed: Counter "weir_statsd_streams_closed" "" ["reason"] "Connections to StatsD stream sockets that were closed from here, or in the middle of a datagram.";

    lines_connections: Gauge "weir_line_connections" "" ["dialect"] "Open TCP connections to listeners for lines.";
    lines_connections_closed: Counter "weir_line_connections_closed" "" ["dialect", "reason"] "TCP connections to listeners for lines that were closed from here, or in the middle of a line, by reason (too_many, idle, cut, error).";
    lines_datagrams: Counter "weir_line_datagrams" "" ["dialect"] "Datagrams read by listeners for lines.";
    lines_dropped: Counter "weir_line_dropped_datagrams" "" ["dialect"] "Datagrams for listeners for lines that the kernel dropped because they came faster than they were read.";
    lines_truncated: Counter "weir_line_truncated_datagrams" "" ["dialect"] "Datagrams over 64 KiB, of which only the beginning was read.";

    tenant_queries: Counter "weir_tenant_queries" "" ["tenant"] "Questions to the query API that were asked of the store, by tenant.";
    forward_sent: Counter "weir_forward_sent_samples" "samples" ["output"] "Samples and log lines that an output's receiver took.";
    forward_dropped: Counter "weir_forward_dropped_samples" "samples" ["output", "reason"] "Samples and log lines that an output did not send, or its receiver did not take, by reason (refused, lag_age, lag_bytes, sample_age, unsaid, loop, no_tenant).";
    forward_retried: Counter "weir_forward_retried_samples" "samples" ["output"] "Samples and log lines in requests that were sent once more.";
    forward_bytes: Counter "weir_forward_sent_bytes" "bytes" ["output"] "Bytes of requests' bodies that were answered.";
    forward_requests: Counter "weir_forward_requests" "" ["output", "status"] "Requests of outputs by the class of the answer's status (none, 1xx to 5xx).";
    forward_lag_seconds: Gauge "weir_forward_lag_seconds" "seconds" ["output"] "Age of the oldest thing that an output has not sent.";
    forward_lag_bytes: Gauge "weir_forward_lag_bytes" "bytes" ["output"] "Bytes of the write-ahead log that an output has not sent.";
    forward_pending: Gauge "weir_forward_pending_samples" "samples" ["output"] "Samples and log lines that an output has read and not sent.";
    forward_shards: Gauge "weir_forward_shards" "" ["output"] "Requests that an output may have under way at once.";
    forward_last_success: Gauge "weir_forward_last_success_time_seconds" "seconds" ["output"] "When an output's receiver last took something; 0 when it never did.";
    forward_last_failure: Gauge "weir_forward_last_failure_time_seconds" "seconds" ["output"] "When an output's receiver last did not take something; 0 when that never was.";
    forward_lost_frames: Counter "weir_forward_lost_frames" "" ["output"] "Frames of the write-ahead log that an output could not read because they are damaged or gone.";
    forward_restarts: Counter "weir_forward_restarts" "" ["output"] "Times that an output began anew after a panic.";
    forward_refused_requests: Counter "weir_forward_refused_requests" "requests" [] "Requests of other Weirs refused because they had gone round in a circle.";

    queries: Counter "weir_queries" "" ["endpoint", "outcome"] "Queries by endpoint and outcome.";
    query_seconds: Histogram "weir_query_seconds" "seconds" ["endpoint"] "Time that queries took, waiting included.";
    queries_active: Gauge "weir_queries_active" "" [] "Queries that are being evaluated.";
    queries_waiting: Gauge "weir_queries_waiting" "" [] "Queries that wait for a slot.";

    tenants: Gauge "weir_tenants" "" [] "Tenants.";
    active_series: Gauge "weir_active_series" "" ["tenant"] "Series in the head.";
    head_series: Gauge "weir_head_series" "" [] "Series in the head, all tenants together.";
    head_samples: Gauge "weir_head_samples" "" [] "Samples in the head.";
    head_bytes: Gauge "weir_head_bytes" "bytes" [] "Memory of the head.";
    series_created: Counter "weir_series_created" "" [] "Series that entered the head.";
    series_evicted: Counter "weir_series_evicted" "" [] "Series that left the head.";
    blocks: Gauge "weir_blocks" "" [] "Live blocks.";
    block_bytes: Gauge "weir_block_bytes" "bytes" [] "Bytes of live blocks.";
    cache_bytes: Gauge "weir_page_cache_bytes" "bytes" [] "Memory of cached block pages.";
    flushes: Counter "weir_flushes" "" [] "Flushes of the head to a block.";
    flush_failures: Counter "weir_flush_failures" "" [] "Flushes that failed.";
    flush_written_bytes: Counter "weir_flush_written_bytes" "bytes" [] "Bytes of blocks written by flushes.";
    compactions: Counter "weir_compactions" "" [] "Merges of blocks.";
    compaction_failures: Counter "weir_compaction_failures" "" [] "Merges of blocks that failed.";
    compaction_written_bytes: Counter "weir_compaction_written_bytes" "bytes" [] "Bytes of blocks written by merges.";
    compaction_memory_bytes: Gauge "weir_compaction_memory_bytes" "bytes" [] "Memory of a merge: indexes of what it writes, rows that it puts together.";
    compaction_short_of_disk: Gauge "weir_compaction_short_of_disk" "" [] "1 while a merge waits because the disk has too little room for it; smaller ones go on.";
    wal_segments: Gauge "weir_wal_segments" "" [] "Segments of the write-ahead log on disk.";
    wal_replay_bytes: Gauge "weir_wal_replay_bytes" "bytes" [] "Bytes of the write-ahead log that a restart would read.";
    wal_written_bytes: Counter "weir_wal_written_bytes" "bytes" [] "Bytes written to the write-ahead log.";
    wal_commits: Counter "weir_wal_commits" "" [] "Group commits.";
    wal_failures: Counter "weir_wal_failures" "" [] "Group commits that failed.";
    wal_sync_seconds: Counter "weir_wal_sync_seconds" "seconds" [] "Time spent in fdatasync.";
    wal_sync_seconds_max: Gauge "weir_wal_sync_seconds_max" "" [] "Slowest fdatasync in seconds, since Weir last stored its metrics.";
    log_stream_bytes: Gauge "weir_log_stream_bytes" "bytes" [] "Bytes of log lines that are held.";
    log_stream_limit_bytes: Gauge "weir_log_stream_limit_bytes" "bytes" [] "Bytes of log lines that may be held.";
    log_stream_lines: Counter "weir_log_stream_lines" "" [] "Log lines made durable.";
    write_queue_bytes: Gauge "weir_write_queue_bytes" "bytes" [] "Bytes that wait for the writer.";
    replay_damaged_frames: Counter "weir_replay_damaged_frames" "" [] "Damaged frames skipped by the replay at start.";
    open_seconds: Gauge "weir_open_seconds" "seconds" [] "Time that opening the store took.";
    quarantined: Gauge "weir_quarantined_files" "files" [] "Files found damaged, unreadable or missing since the start; damaged ones are in quarantine.";
    damaged_pages: Counter "weir_damaged_pages" "" [] "Pages that failed their checksum.";
    tombstones: Gauge "weir_tombstones" "" [] "Deletes of series that merges have not applied everywhere yet.";
    scrubbed_bytes: Counter "weir_scrubbed_bytes" "bytes" [] "Bytes of blocks read to look for damage.";
    scrub_pass_time: Gauge "weir_scrub_last_pass_timestamp_seconds" "seconds" [] "When all blocks had last been read to look for damage; 0 before the first time.";
    scrub_damaged: Gauge "weir_scrub_damaged_pages" "" [] "Damaged pages found that way in blocks that are still live.";
    retention_blocks: Counter "weir_retention_blocks" "" [] "Blocks removed by retention.";
    retention_paused: Gauge "weir_retention_paused" "" [] "1 while retention waits because the clock is in doubt.";

    disk_free_bytes: Gauge "weir_disk_free_bytes" "bytes" [] "Free bytes on the file system of the data directory.";
    disk_total_bytes: Gauge "weir_disk_total_bytes" "bytes" [] "Size of the file system of the data directory.";
    disk_low: Gauge "weir_disk_low" "" [] "1 while the disk is under its reserve.";
    cpu_seconds: Counter "weir_process_cpu_seconds" "seconds" [] "Time that the process has spent on processors, user and system together.";
    memory_resident_bytes: Gauge "weir_memory_resident_bytes" "bytes" [] "Resident memory of the process.";
    memory_limit_bytes: Gauge "weir_memory_limit_bytes" "bytes" [] "Memory limit of the store.";
    reloads: Counter "weir_reloads" "" ["outcome"] "Reloads of the configuration.";
    reload_failed: Gauge "weir_reload_failed" "" [] "1 while the last reload of the configuration is one that failed.";
    reload_time: Gauge "weir_reload_time_seconds" "seconds" [] "When the configuration was last reloaded with success.";
    monitor_failures: Counter "weir_monitor_failures" "" [] "Times that Weir could not store its own metrics.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_conventions() {
        for (i, row) in ROWS.iter().enumerate() {
            // A dashboard of old asks for that one by its name.
            assert!(row.name.starts_with("weir_") || row.name.starts_with("dd_api_"), "{}", row.name);
            assert!(!row.name.ends_with("_total"), "{}: the exposition adds _total", row.name);
            assert!(row.unit.is_empty() || row.name.ends_with(row.unit), "{}: unit {}", row.name, row.unit);
            assert!(row.help.ends_with('.'), "{}", row.name);
            assert!(ROWS[..i].iter().all(|other| other.name != row.name), "{} stands twice", row.name);
        }
    }
}
