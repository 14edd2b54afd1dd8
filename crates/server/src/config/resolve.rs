//! What the settings mean: shares become bytes, sections become the options of the parts that they are for, and what
//! contradicts itself is refused.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use admission::{Access, LimitOverrides, Policy};
use dialects::ByteLimits;
use dialects::outgoing::Signal;
use ipnet::IpNet;
use model::re2::Anchored;
use model::{LabelLimits, TenantName};
use promql::Feature;
use scrape::ScrapeConfig;

use super::exposures::{Exposure, ExposureConfig};
use super::lines::LineListener;
use super::machine::Machine;
use super::section::{Section, When};
use super::settings::{
    Acme, Auth, ClientAuth, Dialect, Durability, Http, Limits, Log, Settings, Storage, Store, TenantLimits,
    TenantSettings,
};
use super::statsd::Statsd;
use super::tree::Origin;
use super::{Problem, Size};
use crate::cors::Origins;

/// The resolved configuration: what the server runs with.
#[derive(Clone, Debug)]
pub struct Config {
    /// Address of the one port.
    pub listen: SocketAddr,
    /// Further addresses at which the same is served, each with its key.
    pub also_listen: Vec<(&'static str, SocketAddr)>,
    /// Directory of everything that is stored.
    pub data_dir: PathBuf,
    /// What is sent on, and where.
    pub outputs: Vec<forward::Settings>,
    /// URL without a slash at its end, for printed links.
    pub external_url: String,
    /// Networks whose `X-Forwarded-*` headers are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Level and format of the log.
    pub log: Log,
    /// Bounds of connections.
    pub http: Http,
    /// With what `listen` speaks TLS; none = it speaks plainly.
    pub tls: Option<TlsConfig>,
    /// Threads that serve them.
    pub http_threads: usize,
    /// Who may read the query API from a page in a browser.
    pub cors: Origins,
    /// Bytes that bodies may take at once.
    pub ingest_bytes: u64,
    /// Threads that decode large bodies.
    pub ingest_threads: usize,
    /// Bodies that may wait for one of them.
    pub ingest_queue: usize,
    /// When a query is ended.
    pub query_timeout: Duration,
    /// Queries that run at once.
    pub query_concurrency: usize,
    /// How far back a selector looks.
    pub query_lookback: Duration,
    /// What is experimental in PromQL and on.
    pub query_features: Vec<Feature>,
    /// Threads that may work on one query.
    pub query_threads: usize,
    /// Points that each series of a range query may have.
    pub query_max_points: usize,
    /// Bytes that all queries together may hold.
    pub query_bytes: u64,
    /// Time between two samples of Weir's own metrics; zero = they are not stored.
    pub self_monitoring_interval: Duration,
    /// The store's options.
    pub storage: tsdb::Options,
    /// Tenants of whom nothing is kept.
    pub passing: Vec<TenantName>,
    /// Those of them whose log lines some output sends on.
    pub passing_lines: Vec<TenantName>,
    /// Access, virtual hosts and limits, for [`admission::Authority`].
    pub policy: Policy,
    /// What tenants have chosen of the protocols.
    pub choices: DialectSettings,
    /// Listeners of StatsD.
    pub statsd: Vec<Statsd>,
    /// Listeners of Graphite.
    pub graphite: Vec<LineListener>,
    /// Listeners of OpenTSDB's lines.
    pub opentsdb: Vec<LineListener>,
    /// Pages of metrics.
    pub exposures: Vec<ExposureConfig>,
    /// What is scraped. Labels for what leaves this server stand in `settings.pasted.global`.
    pub scrape: Vec<ScrapeConfig>,
    /// The protocols.
    pub dialects: HashMap<&'static str, DialectConfig>,
    /// What was typed, for reloads.
    pub settings: Settings,
}

/// What tenants have chosen of the protocols.
#[derive(Clone, Debug, Default)]
pub struct DialectSettings {
    all: Arc<dialects::Settings>,
    tenants: HashMap<TenantName, Arc<dialects::Settings>>,
}

impl DialectSettings {
    fn new(settings: &Settings) -> Self {
        let of = |own: &TenantSettings| {
            Arc::new(dialects::Settings {
                datadog: own.datadog.over(&settings.datadog),
                influx: own.influx.over(&settings.influx),
                otlp: own.otlp.over(&settings.otlp),
                splunk: own.splunk.over(&settings.splunk),
                betterstack: own.betterstack.over(&settings.betterstack),
            })
        };
        let tenants = settings.tenants.iter();
        Self {
            all: of(&TenantSettings::default()),
            tenants: tenants.map(|(name, own)| (name.clone(), of(own))).collect(),
        }
    }

    /// What `tenant` has chosen, or all have.
    pub fn of(&self, tenant: &TenantName) -> Arc<dialects::Settings> {
        Arc::clone(self.tenants.get(tenant).unwrap_or(&self.all))
    }
}

/// With what TLS is spoken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsConfig {
    /// Where certificates come from.
    pub identity: Identity,
    /// Authorities of clients, and whether each must show a certificate; none = nobody is asked.
    pub clients: Option<(PathBuf, ClientAuth)>,
}

/// Where certificates come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// From files that somebody else renews.
    Files {
        /// The chain.
        cert: PathBuf,
        /// Its key.
        key: PathBuf,
    },
    /// From an authority that is asked for them.
    Acme(AcmeConfig),
}

/// How certificates are ordered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcmeConfig {
    /// URL of the authority's directory.
    pub directory: String,
    /// The folder of what comes from there.
    pub folder: String,
    /// URLs under which the authority may reach somebody.
    pub contact: Vec<String>,
    /// Where http-01 is answered; none = tls-alpn-01 on the port of TLS.
    pub http_listen: Option<SocketAddr>,
    /// Authorities by which the directory is known; none = the system's.
    pub directory_ca: Option<PathBuf>,
    /// Time between two looks for names without a good certificate.
    pub look: Duration,
    /// Time after the first failure before the next order; it doubles with each.
    pub retry: Duration,
}

/// What the configuration says about one protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DialectConfig {
    /// Whether its routes answer.
    pub enabled: bool,
    /// Its body limits: no body within them is too large for `ingest.in_flight_bytes`.
    pub limits: ByteLimits,
    /// Whether they are lower than configured for that.
    pub lowered: bool,
}

impl Config {
    /// Gives the settings their meaning on `machine`.
    pub fn resolve(settings: Settings, machine: Machine) -> Result<Self, Vec<Problem>> {
        let mut problems = contradictions(&settings, machine);
        let scrape = settings.pasted.resolve().unwrap_or_else(|found| {
            problems.extend(found);
            Vec::new()
        });
        let outputs = settings.pasted.resolve_outputs().unwrap_or_else(|found| {
            problems.extend(found);
            Vec::new()
        });
        if problems.is_empty() {
            problems.extend(nobody_takes(&passing(&settings), &outputs));
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let Settings { general, http, ingest, query, .. } = &settings;
        let memory = general.memory_limit.of(machine.memory_bytes);
        let threads = if ingest.threads == 0 { machine.cores } else { ingest.threads as usize };
        let tls = tls(&settings);
        let mut passing_lines = passing(&settings);
        passing_lines.retain(|name| is_taken(name, Signal::Logs, &outputs));
        let scheme = if tls.is_some() { "https" } else { "http" };
        let address = format!("{scheme}://{}", general.listen);
        Ok(Self {
            listen: general.listen,
            also_listen: settings.otlp.addresses().collect(),
            data_dir: general.data_dir.clone(),
            outputs,
            external_url: general.external_url.0.clone().unwrap_or(address),
            trusted_proxies: general.trusted_proxies.clone(),
            log: settings.log.clone(),
            http: http.clone(),
            tls,
            http_threads: if http.threads == 0 { machine.cores.div_ceil(2) } else { http.threads as usize },
            cors: origins(&settings),
            ingest_bytes: ingest.in_flight_bytes.of(memory),
            ingest_threads: threads,
            ingest_queue: ingest.queue as usize,
            query_timeout: query.timeout,
            query_concurrency: query.concurrency as usize,
            query_threads: if query.threads == 0 { machine.cores } else { query.threads as usize },
            query_lookback: query.lookback,
            query_features: query.features.clone(),
            query_max_points: query.max_points as usize,
            query_bytes: query.memory_bytes.of(memory),
            self_monitoring_interval: settings.self_monitoring.interval,
            storage: storage_options(&settings, memory),
            passing: passing(&settings),
            passing_lines,
            policy: policy(&settings),
            choices: DialectSettings::new(&settings),
            statsd: settings.statsd.clone(),
            graphite: settings.graphite.clone(),
            opentsdb: settings.opentsdb.clone(),
            exposures: settings.exposures.iter().map(ExposureConfig::new).collect(),
            scrape,
            dialects: dialects::ALL.iter().map(|row| (row.name, dialect(&settings, row, memory))).collect(),
            settings,
        })
    }

    /// Keys in which `next` differs and which take effect at a start only, sorted. Unless it is empty, a reload must
    /// apply nothing.
    pub fn restart_needed(&self, next: &Self) -> Vec<String> {
        let (now, next) = (&self.settings, &next.settings);
        let mut keys = Vec::new();
        restarts("", &now.general, &next.general, &mut keys);
        restarts("log.", &now.log, &next.log, &mut keys);
        restarts("http.", &now.http, &next.http, &mut keys);
        restarts("acme.", &now.acme, &next.acme, &mut keys);
        // A port that speaks TLS goes on doing so, with whatever certificate.
        if now.tls.cert.is_some() != next.tls.cert.is_some() {
            keys.push("tls.cert".to_owned());
        }
        restarts("ingest.", &now.ingest, &next.ingest, &mut keys);
        restarts("query.", &now.query, &next.query, &mut keys);
        restarts("limits.", &now.limits, &next.limits, &mut keys);
        restarts("storage.", &now.storage, &next.storage, &mut keys);
        restarts("datadog.", &now.datadog, &next.datadog, &mut keys);
        restarts("influx.", &now.influx, &next.influx, &mut keys);
        restarts("otlp.", &now.otlp, &next.otlp, &mut keys);
        restarts("splunk.", &now.splunk, &next.splunk, &mut keys);
        restarts("betterstack.", &now.betterstack, &next.betterstack, &mut keys);
        restarts("self_monitoring.", &now.self_monitoring, &next.self_monitoring, &mut keys);
        if now.statsd != next.statsd {
            keys.push("statsd".to_owned());
        }
        if now.graphite != next.graphite {
            keys.push("graphite".to_owned());
        }
        if now.opentsdb != next.opentsdb {
            keys.push("opentsdb".to_owned());
        }
        let default = Dialect::default();
        for row in dialects::ALL {
            let of = |settings: &Settings| settings.dialects.get(row.name).unwrap_or(&default).clone();
            restarts(&format!("dialects.{}.", row.name), &of(now), &of(next), &mut keys);
        }
        keys.sort();
        keys
    }
}

fn restarts<S: Section>(prefix: &str, now: &S, next: &S, keys: &mut Vec<String>) {
    let changed = now.changed(next).into_iter().filter(|key| key.when == When::Restart);
    keys.extend(changed.map(|key| format!("{prefix}{}", key.name)));
}

/// What cannot be meant together.
fn contradictions(settings: &Settings, machine: Machine) -> Vec<Problem> {
    let Settings { general, query, ingest, storage, http, tls, acme, .. } = settings;
    let memory = general.memory_limit.of(machine.memory_bytes);
    let store = storage.memory_bytes.of(memory);
    let parts =
        store.saturating_add(ingest.in_flight_bytes.of(memory)).saturating_add(query.memory_bytes.of(memory));
    let open = general.auth == Auth::Off && !general.listen.ip().is_loopback();
    let zero = Duration::ZERO;
    let asked = tls.client_auth != ClientAuth::None;
    let ordered = acme.directory.0.is_some();
    let speaks = ordered || tls.cert.is_some();
    let rules = [
        ("auth", open, "off is for loopback only: `listen` must be a loopback address like 127.0.0.1:9347"),
        ("memory_limit", memory < 64 << 20, "at least 64MiB is needed"),
        (
            "storage.memory_bytes",
            parts > memory,
            "together with ingest and query it is more than memory_limit",
        ),
        ("storage.cache_bytes", storage.cache_bytes.of(memory) > store, "is more than storage.memory_bytes"),
        ("storage.segment_bytes", storage.segment_bytes.0 < 64 << 10, "at least 64KiB is needed"),
        ("storage.queue_bytes", storage.queue_bytes.0 == 0, "must be more than 0"),
        ("storage.flush_bytes", storage.flush_bytes.0 == 0, "must be more than 0"),
        ("storage.flush_interval", storage.flush_interval == zero, "must be more than 0"),
        ("storage.durability_interval", storage.durability_interval == zero, "must be more than 0"),
        ("storage.open_blocks", storage.open_blocks == 0, "must be more than 0"),
        ("storage.compaction_blocks", storage.compaction_blocks < 2, "at least 2 are merged"),
        ("storage.compaction_rate", storage.compaction_rate.0 == 0, "must be more than 0"),
        ("storage.scrub_rate", storage.scrub_rate.0 == 0, "must be more than 0"),
        ("http.max_connections", http.max_connections == 0, "must be more than 0"),
        ("http.header_timeout", http.header_timeout == zero, "must be more than 0"),
        ("http.header_bytes", http.header_bytes.0 < 8 << 10, "at least 8KiB is needed"),
        ("http.body_timeout", http.body_timeout == zero, "must be more than 0"),
        ("tls.key", tls.cert.is_some() != tls.key.is_some(), "`cert` and `key` belong together"),
        ("tls.client_auth", asked != tls.client_ca.is_some(), "optional and required go with `client_ca`"),
        ("tls.client_ca", tls.client_ca.is_some() && !speaks, "there is no certificate for TLS"),
        ("acme.directory", ordered && tls.cert.is_some(), "certificates come from here or from tls.cert"),
        ("acme.directory", !ordered && *acme != Acme::default(), "is needed for the other keys"),
        ("acme.directory", ordered && general.domain.0.is_none(), "needs a `domain`"),
        ("acme.accept_terms", ordered && !acme.accept_terms, "must be true: read the authority's terms"),
        ("query.concurrency", query.concurrency == 0, "must be more than 0"),
        ("query.timeout", query.timeout == zero, "must be more than 0"),
        ("query.lookback", query.lookback == zero, "must be more than 0"),
        ("query.max_points", query.max_points == 0, "must be more than 0"),
        ("ingest.queue", ingest.queue == 0, "must be more than 0"),
    ];
    let elsewhere = |(key, address): (_, SocketAddr)| {
        let open = general.auth == Auth::Off && !address.ip().is_loopback();
        (key, open, "with `auth: off` it must be a loopback address like `listen`")
    };
    let broken = rules
        .into_iter()
        .chain(settings.otlp.addresses().map(elsewhere))
        .chain(settings.statsd.iter().flat_map(listener_rules))
        .chain(settings.graphite.iter().flat_map(|listener| {
            line_listener_rules(
                listener,
                [
                    "graphite.listen",
                    "graphite.max_connections",
                    "graphite.idle_timeout",
                    "graphite.receive_buffer",
                ],
            )
        }))
        .chain(settings.opentsdb.iter().flat_map(|listener| {
            line_listener_rules(
                listener,
                [
                    "opentsdb.listen",
                    "opentsdb.max_connections",
                    "opentsdb.idle_timeout",
                    "opentsdb.receive_buffer",
                ],
            )
        }))
        .filter(|(_, broken, _)| *broken);
    let whole =
        |key: String, message: &str| Problem { origin: Origin::Whole, key, message: message.to_owned() };
    let broken = broken.map(|(key, _, message)| whole(key.to_owned(), message));
    let tenants = || settings.tenants.iter().map(|(name, own)| (format!("tenants.{name}.otlp"), &own.otlp));
    let of_all = tenants().filter(|(_, own)| own.addresses().next().is_some());
    let of_all = of_all.map(|(section, _)| whole(section, "no tenant has an address of its own"));
    let otlp = tenants().chain([("otlp".to_owned(), &settings.otlp)]).filter_map(|(section, otlp)| {
        let (key, message) = otlp.contradiction()?;
        Some(whole(format!("{section}.{key}"), message))
    });
    let exposures = settings.exposures.iter().filter_map(Exposure::contradiction);
    let exposures = exposures.map(|(key, message)| whole(key.to_owned(), message));
    broken.chain(otlp).chain(of_all).chain(exposures).collect()
}

/// What must not be true of a listener of StatsD.
fn listener_rules(listener: &Statsd) -> [(&'static str, bool, &'static str); 4] {
    let is_open = listener.listen.is_some_and(|address| !address.ip().is_loopback());
    let same = listener.unix_datagram.is_some() && listener.unix_datagram == listener.unix_stream;
    [
        (
            "statsd.listen",
            is_open && !listener.allow_unauthenticated,
            "nobody shows a credential there, so it must be a loopback address like 127.0.0.1:8125; with \
             `allow_unauthenticated: true` whoever reaches it writes to the tenant",
        ),
        ("statsd.unix_stream", same, "is the path of unix_datagram"),
        ("statsd.receive_buffer", listener.receive_buffer.0 < 4 << 10, "at least 4KiB is needed"),
        ("statsd.max_keys", listener.max_keys == 0, "must be more than 0"),
    ]
}

/// What must not be true of a listener for lines, by its keys.
fn line_listener_rules(
    listener: &LineListener,
    [listen, max_connections, idle_timeout, receive_buffer]: [&'static str; 4],
) -> [(&'static str, bool, &'static str); 4] {
    let is_open = listener.listen.is_some_and(|address| !address.ip().is_loopback());
    [
        (
            listen,
            is_open && !listener.allow_unauthenticated,
            "nobody shows a credential there, so it must be a loopback address like 127.0.0.1:2003; with \
             `allow_unauthenticated: true` whoever reaches it writes to the tenant",
        ),
        (max_connections, listener.max_connections == 0, "must be more than 0"),
        (idle_timeout, listener.idle_timeout == Duration::ZERO, "must be more than 0"),
        (receive_buffer, listener.receive_buffer.0 < 4 << 10, "at least 4KiB is needed"),
    ]
}

fn tls(settings: &Settings) -> Option<TlsConfig> {
    let Settings { tls, acme, .. } = settings;
    let files = tls.cert.clone().zip(tls.key.clone()).map(|(cert, key)| Identity::Files { cert, key });
    let ordered = || {
        let contact = acme.contact.iter().map(|address| format!("mailto:{address}")).collect();
        Some(Identity::Acme(AcmeConfig {
            directory: acme.directory.0.clone()?,
            folder: acme.directory.folder(),
            contact,
            http_listen: acme.http_listen,
            directory_ca: acme.directory_ca.clone(),
            look: Duration::from_secs(5),
            retry: Duration::from_secs(120),
        }))
    };
    let identity = files.or_else(ordered)?;
    let clients = tls.client_ca.clone().map(|authorities| (authorities, tls.client_auth));
    Some(TlsConfig { identity, clients })
}

fn origins(settings: &Settings) -> Origins {
    match (&settings.http.cors_origin.0, settings.general.auth) {
        (None, Auth::Token) => Origins::Any,
        (None, Auth::Off) => Origins::None,
        // As in Prometheus, whose default this is: the answer does not name the origin, so it can be cached for all.
        (Some(pattern), _) if pattern == ".*" => Origins::Any,
        // The key was checked when it was read.
        (Some(pattern), _) => Anchored::new(pattern).map_or(Origins::None, Origins::Matching),
    }
}

fn storage_options(settings: &Settings, memory: u64) -> tsdb::Options {
    let storage = &settings.storage;
    let store = storage.memory_bytes.of(memory);
    tsdb::Options {
        segment_bytes: storage.segment_bytes.0,
        durability: match storage.durability {
            Durability::Fsync => wal::Durability::Fsync,
            Durability::Interval => wal::Durability::Interval(storage.durability_interval),
            Durability::Os => wal::Durability::Os,
        },
        queue_bytes: storage.queue_bytes.0,
        log_bytes: storage.log_bytes.0,
        // In a small container the head must not fill the store's memory before it is flushed.
        flush_bytes: storage.flush_bytes.0.min(store / 4),
        flush_interval: storage.flush_interval,
        idle: storage.idle,
        memory_bytes: store,
        cache_bytes: storage.cache_bytes.of(memory),
        open_blocks: storage.open_blocks as usize,
        compaction_blocks: storage.compaction_blocks as usize,
        compaction_bytes_per_second: storage.compaction_rate.0,
        scrub_interval: storage.scrub_interval,
        scrub_bytes_per_second: storage.scrub_rate.0,
        disk_reserve_bytes: storage.disk_reserve_bytes.0,
        holds: Vec::new(),
        passing: tsdb::Passing::default(),
        retention_confirm: storage.retention_confirm,
    }
}

fn passing(settings: &Settings) -> Vec<TenantName> {
    let passes =
        |(name, own): (&TenantName, &TenantSettings)| (own.own.store == Store::None).then(|| name.clone());
    settings.tenants.iter().filter_map(passes).collect()
}

fn is_taken(tenant: &TenantName, signal: Signal, outputs: &[forward::Settings]) -> bool {
    outputs.iter().any(|output| output.speaker.signal == signal && output.tenants.has(tenant))
}

/// What is kept nowhere must be sent somewhere.
fn nobody_takes(passing: &[TenantName], outputs: &[forward::Settings]) -> Vec<Problem> {
    let lost = passing.iter().filter(|name| !is_taken(name, Signal::Metrics, outputs));
    let problem = |name: &TenantName| Problem {
        origin: Origin::Whole,
        key: format!("tenants.{name}.store"),
        message: "none, and no output takes the tenant's metrics: what it sends would be lost".to_owned(),
    };
    lost.map(problem).collect()
}

fn policy(settings: &Settings) -> Policy {
    Policy {
        access: match settings.general.auth {
            Auth::Token => Access::Token,
            Auth::Off => Access::Open,
        },
        domain: settings.general.domain.0.clone(),
        limits: limits(&settings.limits, &settings.storage),
        overrides: settings
            .tenants
            .iter()
            .map(|(name, settings)| (name.clone(), overrides(&settings.limits)))
            .collect(),
    }
}

fn limits(limits: &Limits, storage: &Storage) -> model::TenantLimits {
    let size = |size: u64| usize::try_from(size).unwrap_or(usize::MAX);
    model::TenantLimits {
        labels: LabelLimits {
            labels: size(limits.labels),
            name_bytes: size(limits.label_name_bytes.0),
            value_bytes: size(limits.label_value_bytes.0),
            total_bytes: size(limits.labels_bytes.0),
        },
        active_series: limits.active_series,
        samples_per_second: limits.samples_per_second,
        samples_burst: limits.samples_burst,
        future_ms: milliseconds(limits.future),
        retention_ms: milliseconds(storage.retention),
        max_bytes: storage.max_bytes.0,
        query_bytes: limits.query_bytes.0,
    }
}

fn overrides(limits: &TenantLimits) -> LimitOverrides {
    let size = |size: Option<Size>| size.map(|size| size.0);
    LimitOverrides {
        labels: limits.labels,
        label_name_bytes: size(limits.label_name_bytes),
        label_value_bytes: size(limits.label_value_bytes),
        labels_bytes: size(limits.labels_bytes),
        active_series: limits.active_series,
        samples_per_second: limits.samples_per_second,
        samples_burst: limits.samples_burst,
        future_ms: limits.future.map(milliseconds),
        retention_ms: limits.retention.map(milliseconds),
        max_bytes: size(limits.max_bytes),
        query_bytes: size(limits.query_bytes),
    }
}

fn dialect(settings: &Settings, row: &dialects::Dialect, memory: u64) -> DialectConfig {
    let default = Dialect::default();
    let Dialect { enabled, wire_bytes, decoded_bytes } = settings.dialects.get(row.name).unwrap_or(&default);
    let size = |set: &Option<Size>, default| {
        set.map_or(default, |size| usize::try_from(size.0).unwrap_or(usize::MAX))
    };
    let typed = ByteLimits {
        wire: size(wire_bytes, row.limits.wire),
        decoded: size(decoded_bytes, row.limits.decoded),
    };
    let limits = within(typed, settings.ingest.in_flight_bytes.of(memory));
    DialectConfig { enabled: *enabled, limits, lowered: limits != typed }
}

/// Limits of bodies that `pool` bytes can hold, wire and inflated at once: a larger body would never fit, so it must be
/// refused for good and not be asked for again and again. Both give way in proportion.
fn within(limits: ByteLimits, pool: u64) -> ByteLimits {
    let (wire, decoded, pool) = (limits.wire as u128, limits.decoded as u128, u128::from(pool));
    if wire + decoded <= pool {
        return limits;
    }
    let share = |part: u128| usize::try_from(pool * part / (wire + decoded)).unwrap_or(usize::MAX);
    ByteLimits { wire: share(wire), decoded: share(decoded) }
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
