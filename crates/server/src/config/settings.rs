//! Every key of `weir.yaml`, once: the table from which parsing, defaults, docs and reloads are made.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use model::TenantName;
use promql::Feature;

use super::betterstack::Betterstack;
use super::datadog::Datadog;
use super::exposures::Exposure;
use super::influx::Influx;
use super::lines::LineListener;
use super::otlp::Otlp;
use super::pasted::Pasted;
use super::section::section;
use super::splunk::Splunk;
use super::statsd::Statsd;
use super::value::{Directory, Domain, ExternalUrl, Pattern, Share, Size, choice};

choice! {
    /// Whether requests need a token.
    Auth, "token or off" {
        /// Every request needs one.
        Token = "token" | "true",
        /// None is needed; for loopback only. YAML reads a bare `off` as false.
        Off = "off" | "false",
    }
}

choice! {
    /// What is logged.
    Level, "error, warn, info, debug or trace" {
        /// What failed.
        Error = "error",
        /// And what may fail next.
        Warn = "warn",
        /// And starts, stops, reloads.
        Info = "info",
        /// And requests.
        Debug = "debug",
        /// And everything.
        Trace = "trace",
    }
}

choice! {
    /// How a log line looks.
    Format, "text or json" {
        /// For people.
        Text = "text",
        /// For collectors.
        Json = "json",
    }
}

choice! {
    /// When an accepted sample is durable.
    Durability, "fsync, interval or os" {
        /// Before the answer.
        Fsync = "fsync",
        /// Within `durability_interval`.
        Interval = "interval",
        /// When the kernel likes.
        Os = "os",
    }
}

choice! {
    /// Where what a tenant sends is kept.
    Store, "local or none" {
        /// In the data directory.
        Local = "local",
        /// Nowhere: it is sent on.
        None = "none",
    }
}

choice! {
    /// Whether clients show certificates of their own.
    ClientAuth, "none, optional or required" {
        /// They are not asked.
        None = "none",
        /// They are asked; one that is shown must be good.
        Optional = "optional",
        /// Without a good one there is no connection.
        Required = "required",
    }
}

section! {
    /// The process.
    General {
        /// Address of the one port that speaks every protocol.
        listen: SocketAddr = "127.0.0.1:9347", Restart;
        /// Directory that holds everything that Weir stores.
        data_dir: PathBuf = "weir-data", Restart;
        /// `token`: every request needs a token. `off`: none does and X-Scope-OrgID picks the tenant; only while
        /// `listen` is a loopback address.
        auth: Auth = "token", Restart;
        /// URL under which users reach Weir, for printed links. Default: the address it listens on.
        external_url: ExternalUrl = "", Reload;
        /// Proxies in front of Weir. X-Forwarded-For, -Proto and -Host are believed from these only.
        trusted_proxies: Vec<IpNet> = "", Reload;
        /// With a domain, TENANT.DOMAIN and dd.TENANT.DOMAIN are virtual hosts that must agree with the token.
        domain: Domain = "", Reload;
        /// Memory for head, caches, bodies and queries together: a size, or a share of the machine's (or the
        /// container's) memory.
        memory_limit: Share = "60%", Restart;
    }
}

section! {
    /// Log lines go to stderr, in UTC. They never hold a credential, a label value or a body above debug.
    Log {
        /// error, warn, info, debug or trace.
        level: Level = "info", Reload;
        /// text or json.
        format: Format = "text", Restart;
    }
}

section! {
    /// Bounds of connections.
    Http {
        /// Threads that read requests, decode bodies up to 64 KiB and write answers; 0 = one for every two cores: where
        /// there are more, small requests have them wake each other for little.
        threads: u32 = "0", Restart;
        /// Connections open at once, at most three in four of the descriptors that the process may have. For a new one
        /// beyond it an idle one is closed; when all are busy, the new one is answered 503.
        max_connections: u32 = "4096", Restart;
        /// A connection that has not sent all headers of a request by then is closed.
        header_timeout: Duration = "10s", Restart;
        /// Bytes of a request's headers together.
        header_bytes: Size = "64KiB", Restart;
        /// A request whose body brings nothing for this long is closed.
        body_timeout: Duration = "30s", Restart;
        /// A connection without a request is closed after this.
        idle_timeout: Duration = "2m", Restart;
        /// A connection is closed after its current request once it is this old.
        age_max: Duration = "1h", Restart;
        /// Origins whose pages in a browser may read the query API (CORS): a regular expression that matches the whole
        /// of an origin like `https://grafana.example.com`. Default: all, for reading takes a token that the page must
        /// know, and no cookie; with `auth: off` none.
        cors_origin: Pattern = "", Reload;
        /// How long running requests may take to end after SIGTERM.
        shutdown_timeout: Duration = "8s", Restart;
    }
}

section! {
    /// With a certificate and its key `listen` speaks TLS, and nothing else. See docs/tls.md.
    Tls {
        /// File with the certificate and those that lead to its authority, PEM. Read again at a reload, and when it has
        /// changed.
        cert: Option<PathBuf> = "", Reload;
        /// File with the certificate's private key, PEM.
        key: Option<PathBuf> = "", Reload;
        /// File with the authorities whose clients are let in, PEM.
        client_ca: Option<PathBuf> = "", Reload;
        /// Whether clients show certificates: none, optional or required. A token is needed all the same.
        client_auth: ClientAuth = "none", Reload;
    }
}

section! {
    /// Certificates that Weir gets and renews itself (ACME, RFC 8555), for DOMAIN and for TENANT.DOMAIN and
    /// dd.TENANT.DOMAIN of every tenant. In place of `tls.cert`. See docs/tls.md.
    Acme {
        /// Who signs: letsencrypt, letsencrypt-staging or the https URL of a directory.
        directory: Directory = "", Restart;
        /// Mail addresses that the authority may write to.
        contact: Vec<String> = "", Restart;
        /// Whether the authority's terms of service are accepted; they must be.
        accept_terms: bool = "false", Restart;
        /// Address at which challenges are answered over HTTP (http-01), port 80 for the authority. Default: they are
        /// answered on `listen` (tls-alpn-01), port 443 for the authority.
        http_listen: Option<SocketAddr> = "", Restart;
        /// File with the authorities by which the directory itself is known, PEM. Default: those of the system.
        directory_ca: Option<PathBuf> = "", Restart;
    }
}

section! {
    /// Bodies on their way in.
    Ingest {
        /// Bytes that bodies may take at once, on the wire and inflated; a share is of `memory_limit`. A body that needs
        /// more on its own is answered "too big": where it is less than a dialect's two limits together, both are
        /// lowered in proportion, and the log says so at the start.
        in_flight_bytes: Share = "10%", Restart;
        /// Threads that decode bodies over 64 KiB; 0 = one for each core.
        threads: u32 = "0", Restart;
        /// Bodies that may wait for one of these threads; more are answered "overloaded".
        queue: u32 = "256", Restart;
    }
}

section! {
    /// PromQL.
    Query {
        /// A query that takes longer is ended with an error.
        timeout: Duration = "2m", Reload;
        /// Queries that run at once; more wait for their turn, up to `timeout`.
        concurrency: u32 = "20", Restart;
        /// Threads that may work on one large query at once; 0 = as many as there are cores.
        threads: u32 = "0", Reload;
        /// How far back a selector looks for the last sample.
        lookback: Duration = "5m", Reload;
        /// Points that each series of a range query may have.
        max_points: u32 = "11000", Reload;
        /// Bytes that all queries together may hold; a share is of `memory_limit`.
        memory_bytes: Share = "20%", Restart;
        /// What is experimental in PromQL and wanted all the same, by the names of Prometheus' `--enable-feature`, in a list:
        /// promql-experimental-functions, promql-binop-fill-modifiers, promql-extended-range-selectors,
        /// promql-delayed-name-removal, use-start-timestamps, type-and-unit-labels.
        features: Vec<Feature> = "", Reload;
    }
}

section! {
    /// What each tenant may use; `tenants.<name>.limits` overrides it for one.
    Limits {
        /// Labels of a series, 4096 at most.
        labels: u64 = "128", Reload;
        /// Bytes of a label name.
        label_name_bytes: Size = "1KiB", Reload;
        /// Bytes of a label value.
        label_value_bytes: Size = "8KiB", Reload;
        /// Bytes of all names and values of a series together.
        labels_bytes: Size = "32KiB", Reload;
        /// Series in the head at once. Beyond it new series are rejected by name, existing ones go on.
        active_series: u64 = "10000000", Reload;
        /// Samples a second. A tenant over it is asked to come back later.
        samples_per_second: f64 = "10000000", Reload;
        /// Samples that may come at once on top of that.
        samples_burst: f64 = "50000000", Reload;
        /// How far ahead of the clock a sample may lie.
        future: Duration = "10m", Reload;
        /// Bytes that one query may hold.
        query_bytes: Size = "1GiB", Reload;
    }
}

section! {
    /// Limits of one tenant; what is not set is as in `limits` and `storage.retention`. What `weir tenant` sets comes on
    /// top.
    TenantLimits {
        /// As `limits.labels`.
        labels: Option<u64> = "", Reload;
        /// As `limits.label_name_bytes`.
        label_name_bytes: Option<Size> = "", Reload;
        /// As `limits.label_value_bytes`.
        label_value_bytes: Option<Size> = "", Reload;
        /// As `limits.labels_bytes`.
        labels_bytes: Option<Size> = "", Reload;
        /// As `limits.active_series`.
        active_series: Option<u64> = "", Reload;
        /// As `limits.samples_per_second`.
        samples_per_second: Option<f64> = "", Reload;
        /// As `limits.samples_burst`.
        samples_burst: Option<f64> = "", Reload;
        /// As `limits.future`.
        future: Option<Duration> = "", Reload;
        /// As `limits.query_bytes`.
        query_bytes: Option<Size> = "", Reload;
        /// As `storage.retention`.
        retention: Option<Duration> = "", Reload;
        /// As `storage.max_bytes`.
        max_bytes: Option<Size> = "", Reload;
    }
}

section! {
    /// What is on disk.
    Storage {
        /// How long samples are kept; 0 = for ever. Older samples are rejected.
        retention: Duration = "400d", Reload;
        /// Bytes of blocks that are kept of each tenant; 0 = any number. A tenant over it loses its oldest ones, but for
        /// those of the newest two hours; flushed blocks over more than a day do not count until they are cut.
        max_bytes: Size = "0", Reload;
        /// How long two readings of the clock must agree before retention deletes anything.
        retention_confirm: Duration = "1h", Restart;
        /// fsync: an answered sample survives a power cut. interval: it survives a crash of Weir, a power cut costs up
        /// to `durability_interval`. os: a power cut costs what the kernel had not written yet.
        durability: Durability = "fsync", Restart;
        /// Time between two syncs with `durability: interval`.
        durability_interval: Duration = "1s", Restart;
        /// Bytes of a segment of the write-ahead log.
        segment_bytes: Size = "128MiB", Restart;
        /// Bytes that may wait for the log; beyond it requests are answered "overloaded".
        queue_bytes: Size = "8MiB", Restart;
        /// Bytes of log lines that are held; beyond it requests with log lines are answered "overloaded", others are not.
        log_bytes: Size = "1GiB", Restart;
        /// Bytes of samples in memory at which they are written to a block; at most a quarter of `memory_bytes`.
        flush_bytes: Size = "64MiB", Restart;
        /// Age of the oldest sample in memory at which they are written to a block. When next to nothing comes for half a
        /// minute, they are written as soon as they take a sixteenth of `flush_bytes`.
        flush_interval: Duration = "10m", Restart;
        /// A series without a sample for this long leaves memory.
        idle: Duration = "1h", Restart;
        /// Bytes of head, cache, queue and a merge (a twelfth of it at most) together; a share is of `memory_limit`. From
        /// 80 % on, tenants that hold their even part of the series' memory make no new series, from 90 % on nobody does;
        /// existing ones go on.
        memory_bytes: Share = "60%", Restart;
        /// Bytes of cached block pages, out of `storage.memory_bytes`; a share is of `memory_limit`.
        cache_bytes: Share = "10%", Restart;
        /// Files of blocks that are kept open to be read again, at most one in eight of the descriptors that the process may
        /// have. Others are opened when they are read.
        open_blocks: u32 = "256", Restart;
        /// Blocks of one kind (as flushed, of the same two hours, of the same day) that are merged when there are so many.
        /// When next to nothing comes for half a minute, flushed ones of some size are merged however few they are.
        compaction_blocks: u32 = "8", Restart;
        /// Bytes of samples (16 each) that merging goes through in a second; four times as many blocks as are merged lift
        /// it.
        compaction_rate: Size = "64MiB", Restart;
        /// Time from the beginning of one reading of all blocks, which looks for damage, to that of the next. `0` = they are
        /// read by queries and merges only.
        scrub_interval: Duration = "7d", Restart;
        /// Bytes of blocks that are read for it in a second.
        scrub_rate: Size = "4MiB", Restart;
        /// Free bytes on the disk under which writes are refused.
        disk_reserve_bytes: Size = "64MiB", Restart;
    }
}

section! {
    /// Weir's own metrics, in the tenant `system` and on GET /metrics.
    SelfMonitoring {
        /// Time between two samples of them in the tenant `system`; 0 = they are not stored.
        interval: Duration = "15s", Restart;
    }
}

section! {
    /// One protocol.
    Dialect {
        /// Whether its routes answer.
        enabled: bool = "true", Restart;
        /// Bytes of a body on the wire. Default: the protocol's own limit. See
        /// `ingest.in_flight_bytes`.
        wire_bytes: Option<Size> = "", Restart;
        /// Bytes of a body after inflating. Default: the protocol's own limit. See
        /// `ingest.in_flight_bytes`.
        decoded_bytes: Option<Size> = "", Restart;
    }
}

/// All sections as typed: checked key by key, and not yet against each other or the machine.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    /// Keys without a section.
    pub general: General,
    /// `log`
    pub log: Log,
    /// `http`
    pub http: Http,
    /// `tls`
    pub tls: Tls,
    /// `acme`
    pub acme: Acme,
    /// `ingest`
    pub ingest: Ingest,
    /// `query`
    pub query: Query,
    /// `limits`
    pub limits: Limits,
    /// `storage`
    pub storage: Storage,
    /// `self_monitoring`
    pub self_monitoring: SelfMonitoring,
    /// `statsd`, one or a list.
    pub statsd: Vec<Statsd>,
    /// `graphite`, one or a list.
    pub graphite: Vec<LineListener>,
    /// `opentsdb`, one or a list.
    pub opentsdb: Vec<LineListener>,
    /// `exposures`, a list.
    pub exposures: Vec<Exposure>,
    /// `dialects.<name>`; those that are not named have their defaults.
    pub dialects: BTreeMap<&'static str, Dialect>,
    /// `datadog`
    pub datadog: Datadog,
    /// `influx`
    pub influx: Influx,
    /// `otlp`
    pub otlp: Otlp,
    /// `splunk`
    pub splunk: Splunk,
    /// `betterstack`
    pub betterstack: Betterstack,
    /// Blocks of Prometheus' configuration.
    pub pasted: Pasted,
    /// `tenants.<name>`; a tenant that is named exists.
    pub tenants: BTreeMap<TenantName, TenantSettings>,
}

section! {
    /// What is set for one tenant, beside its sections of the names that they have for all.
    Tenant {
        /// local, or none: what the tenant sends is acknowledged when it is on disk, sent on by the outputs that take it, and
        /// then goes. Queries find nothing of it. What was stored before stays for its retention.
        store: Store = "local", Reload;
    }
}

/// What is set for one tenant.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TenantSettings {
    /// Keys without a section.
    pub own: Tenant,
    /// `limits`
    pub limits: TenantLimits,
    /// `datadog`
    pub datadog: Datadog,
    /// `influx`
    pub influx: Influx,
    /// `otlp`
    pub otlp: Otlp,
    /// `splunk`
    pub splunk: Splunk,
    /// `betterstack`
    pub betterstack: Betterstack,
}
