//! The configuration as users meet it: defaults, complaints with their places, layers, reloads.

use std::path::Path;
use std::time::Duration;

use admission::Access;
use model::{TenantLimits, TenantName};

use super::load::Layers;
use super::*;

const MACHINE: Machine = Machine { memory_bytes: 8 << 30, cores: 2 };

fn typed(text: &str, environment: &[(&str, &str)]) -> Result<Settings, Vec<String>> {
    let mut layers = Layers::default();
    layers.file(Path::new("weir.yaml"), text);
    let environment: Vec<_> = environment.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    layers.environment(&environment);
    if layers.problems.is_empty() { Ok(layers.settings) } else { Err(shown(&layers.problems)) }
}

fn shown(problems: &[Problem]) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}

fn config(text: &str) -> Config {
    Config::resolve(typed(text, &[]).unwrap(), MACHINE).unwrap()
}

fn refused(text: &str) -> Vec<String> {
    shown(&Config::resolve(typed(text, &[]).unwrap(), MACHINE).unwrap_err())
}

#[test]
fn the_defaults_are_those_of_the_parts() {
    let config = config("");
    let store = tsdb::Options { memory_bytes: 0, cache_bytes: 0, ..tsdb::Options::default() };
    let resolved = tsdb::Options { memory_bytes: 0, cache_bytes: 0, ..config.storage.clone() };
    assert_eq!(format!("{resolved:?}"), format!("{store:?}"));
    assert_eq!(config.policy.limits, TenantLimits::default());
    assert_eq!(config.listen.to_string(), "127.0.0.1:9347");
    assert_eq!(config.external_url, "http://127.0.0.1:9347");
    assert_eq!((config.http_threads, config.ingest_threads, config.query_max_points), (1, 2, 11_000));
    let memory = (8u64 << 30) / 100 * 60;
    assert_eq!(config.storage.memory_bytes, memory / 100 * 60);
    for row in dialects::ALL {
        assert_eq!(
            config.dialects[row.name],
            DialectConfig { enabled: true, limits: row.limits, lowered: false }
        );
    }
}

#[test]
fn a_file_says_what_is_different() {
    let config = config(
        "listen: localhost:1234\n\
         auth: off\n\
         trusted_proxies: [10.0.0.0/8, 192.168.1.1]\n\
         domain: Metrics.Example\n\
         memory_limit: 1GiB\n\
         log:\n  level: debug\n\
         http:\n\
         storage: {retention: 0, durability: interval, durability_interval: 250ms, flush_bytes: 64KiB}\n\
         tenants:\n  team-a:\n    limits: {active_series: 5, retention: 30d}\n  team-b:\n",
    );
    assert_eq!(config.listen.to_string(), "127.0.0.1:1234");
    assert_eq!(config.policy.access, Access::Open);
    assert_eq!(config.trusted_proxies.len(), 2);
    assert_eq!(config.policy.domain.as_deref(), Some("metrics.example"));
    assert_eq!(config.policy.limits.retention_ms, 0);
    assert_eq!(config.storage.durability, wal::Durability::Interval(Duration::from_millis(250)));
    assert_eq!(config.storage.memory_bytes, (1u64 << 30) / 100 * 60);
    assert_eq!(config.log.level, Level::Debug);
    let names: Vec<_> = config.policy.overrides.keys().map(TenantName::as_str).collect();
    assert!(names.contains(&"team-a") && names.contains(&"team-b"));
    let limits = config.policy.overrides[&TenantName::parse("team-a").unwrap()];
    assert_eq!((limits.active_series, limits.retention_ms), (Some(5), Some(30 * 86_400_000)));
}

#[test]
fn everything_wrong_is_named_with_its_line() {
    let wrong = typed(
        "lisen: 1\n\
         storage:\n  flush_byts: 1MiB\n  retention: 10\n\
         # comment\n\
         log: debug\n\
         strangers_in_town: []\n\
         tenants:\n  Bad:\n    limits: {}\n  ok:\n    limit: {}\n\
         trusted_proxies: [10.0.0.0/8, nonsense]\n",
        &[],
    );
    assert_eq!(
        wrong.unwrap_err(),
        [
            "weir.yaml:1: lisen: unknown key, did you mean listen?",
            "weir.yaml:3: storage.flush_byts: unknown key, did you mean storage.flush_bytes?",
            "weir.yaml:4: storage.retention: expected a duration like 30s, 10m or 400d, found \"10\"",
            "weir.yaml:6: log: expected a map of keys",
            "weir.yaml:7: strangers_in_town: unknown key",
            "weir.yaml:10: tenants.Bad: invalid tenant name: 1 to 63 of a-z, 0-9 and '-', not beginning or ending \
             with '-'",
            "weir.yaml:12: tenants.ok.limit: unknown key, did you mean tenants.ok.limits?",
            "weir.yaml:13: trusted_proxies: expected a network like 10.0.0.0/8, found \"nonsense\"",
        ]
    );
}

#[test]
fn text_that_is_no_yaml_is_refused_with_its_line() {
    for text in ["a: [", "listen: x\nlisten: y\n", "- a\n", "a: b: c\n", "\u{0}", "&a [*a]"] {
        let problems = typed(text, &[]).unwrap_err();
        assert!(problems[0].starts_with("weir.yaml"), "{text:?} {problems:?}");
    }
    let deep = format!("log: {}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(typed(&deep, &[]).is_err());
}

#[test]
fn the_environment_comes_over_the_file_and_flags_over_both() {
    let environment = [
        ("WEIR_STORAGE__RETENTION", "30d"),
        ("WEIR_LISTEN", "0.0.0.0:1"),
        ("WEIR_TRUSTED_PROXIES", "10.0.0.0/8, ::1"),
        ("WEIR_TENANTS__TEAM_A__LIMITS__ACTIVE_SERIES", "7"),
        // What Kubernetes sets beside a service named weir, and what the command line itself reads.
        ("WEIR_PORT", "tcp://10.0.0.1:9347"),
        ("WEIR_SERVICE_HOST", "10.0.0.1"),
        ("WEIR_TOKEN", "secret"),
    ];
    let settings = typed("storage: {retention: 10d, idle: 2h}\nlisten: 127.0.0.1:2\n", &environment).unwrap();
    assert_eq!(settings.storage.retention, Duration::from_secs(30 * 86400));
    assert_eq!(settings.storage.idle, Duration::from_secs(7200));
    assert_eq!(settings.general.listen.to_string(), "0.0.0.0:1");
    assert_eq!(settings.general.trusted_proxies.len(), 2);
    assert_eq!(settings.tenants[&TenantName::parse("team-a").unwrap()].limits.active_series, Some(7));

    let sources = Sources {
        flags: vec![("listen", "listen", "127.0.0.1:3".to_owned())],
        environment: vec![("WEIR_LISTEN".to_owned(), "0.0.0.0:1".to_owned())],
        ..Sources::default()
    };
    assert_eq!(sources.load().unwrap().general.listen.to_string(), "127.0.0.1:3");
    assert_eq!(
        typed("", &[("WEIR_STORAGE__RETENTON", "1d"), ("WEIR_LOG__LEVEL", "loud")]).unwrap_err(),
        [
            "environment WEIR_STORAGE__RETENTON: storage.retenton: unknown key, did you mean storage.retention?",
            "environment WEIR_LOG__LEVEL: log.level: expected error, warn, info, debug or trace, found \"loud\"",
        ]
    );
}

#[test]
fn a_missing_file_that_was_named_is_a_problem() {
    let sources = Sources { file: Some("no/such/weir.yaml".into()), ..Sources::default() };
    let problems = shown(&sources.load().unwrap_err());
    assert!(problems[0].starts_with("no/such/weir.yaml: cannot be read: "), "{problems:?}");
}

#[test]
fn a_small_container_flushes_early() {
    let config = config("memory_limit: 100MB");
    assert_eq!(config.storage.memory_bytes, 60_000_000);
    assert_eq!(config.storage.flush_bytes, 15_000_000);
}

#[test]
fn bodies_are_limited_to_what_the_pool_can_hold() {
    // 413 for what fits never, 503 for what does not fit now: so the limits must be what fits.
    let config = config("ingest: {in_flight_bytes: 48MiB}");
    for row in dialects::ALL {
        let DialectConfig { limits, lowered, .. } = config.dialects[row.name];
        assert!(limits.wire + limits.decoded <= 48 << 20, "{limits:?}");
        assert!(limits.wire <= row.limits.wire && limits.decoded <= row.limits.decoded);
        assert_eq!(lowered, limits != row.limits);
        assert!(lowered == (row.limits.wire + row.limits.decoded > 48 << 20));
    }
}

#[test]
fn contradictions_are_refused() {
    assert_eq!(
        refused("auth: off\nlisten: 0.0.0.0:9347\n"),
        [
            "configuration: auth: off is for loopback only: `listen` must be a loopback address like 127.0.0.1:9347"
        ]
    );
    assert_eq!(
        refused("memory_limit: 1GiB\nquery: {memory_bytes: 800MiB}\n"),
        ["configuration: storage.memory_bytes: together with ingest and query it is more than memory_limit"]
    );
    assert_eq!(
        refused("storage: {flush_interval: 0}"),
        ["configuration: storage.flush_interval: must be more than 0"]
    );
    assert_eq!(refused("memory_limit: 1MiB").len(), 1);
}

#[test]
fn tls_has_one_source_of_certificates() {
    let wrong = |text: &str| {
        let problems = refused(text);
        problems[0].strip_prefix("configuration: ").unwrap().split_once(": ").unwrap().0.to_owned()
    };
    let acme = "acme: {directory: letsencrypt, accept_terms: true}\n";
    assert_eq!(wrong("tls: {cert: a}"), "tls.key");
    assert_eq!(wrong("tls: {key: a}"), "tls.key");
    assert_eq!(wrong("tls: {cert: a, key: b, client_auth: required}"), "tls.client_auth");
    assert_eq!(wrong("tls: {cert: a, key: b, client_ca: c}"), "tls.client_auth");
    assert_eq!(wrong("tls: {client_ca: c, client_auth: optional}"), "tls.client_ca");
    assert_eq!(wrong(&format!("domain: a.example\ntls: {{cert: a, key: b}}\n{acme}")), "acme.directory");
    assert_eq!(wrong(acme), "acme.directory");
    assert_eq!(wrong("acme: {http_listen: \"0.0.0.0:80\"}"), "acme.directory");
    assert_eq!(wrong("domain: a.example\nacme: {directory: letsencrypt}"), "acme.accept_terms");
    assert!(typed("acme: {directory: \"http://ca.example/\"}", &[]).is_err());

    let staging =
        "domain: a.example\nacme: {directory: letsencrypt-staging, accept_terms: true, contact: a@b.example}";
    let now = config(staging);
    let Some(TlsConfig { identity: Identity::Acme(ordered), clients: None }) = &now.tls else {
        panic!("{now:?}")
    };
    assert_eq!(ordered.directory, "https://acme-staging-v02.api.letsencrypt.org/directory");
    assert_eq!(
        (ordered.folder.as_str(), ordered.contact.as_slice()),
        ("letsencrypt-staging", &["mailto:a@b.example".to_owned()][..])
    );
    assert_eq!(now.external_url, "https://127.0.0.1:9347");
    assert_eq!(now.restart_needed(&config(&staging.replace("-staging", ""))), ["acme.directory"]);
    // Another certificate is taken at a reload; whether there is one at all is not.
    let files = config("tls: {cert: a, key: b}");
    assert!(files.restart_needed(&config("tls: {cert: c, key: d}")).is_empty());
    assert_eq!(files.restart_needed(&config("")), ["tls.cert"]);
}

#[test]
fn features_are_named_as_upstream_names_them() {
    use promql::Feature::{DelayedNameRemoval, ExperimentalFunctions};
    let on = |text| config(text).query_features;
    assert_eq!(on(""), []);
    let both = "query: {features: [promql-experimental-functions, promql-delayed-name-removal]}";
    assert_eq!(on(both), [ExperimentalFunctions, DelayedNameRemoval]);
    let variable = [("WEIR_QUERY__FEATURES", "promql-experimental-functions,promql-delayed-name-removal")];
    assert_eq!(typed("", &variable).unwrap().query.features, on(both));
    let wrong = |name: &str| typed(&format!("query: {{features: [{name}]}}"), &[]).unwrap_err().join("\n");
    let near = wrong("promql-experimental-function");
    assert!(near.ends_with("did you mean \"promql-experimental-functions\"?"), "{near}");
    let far = wrong("native-histograms");
    assert!(far.contains("unknown feature \"native-histograms\", there are promql-"), "{far}");
    assert!(config("").restart_needed(&config(both)).is_empty());
}

#[test]
fn a_reload_names_what_needs_a_restart() {
    let now = config("");
    assert!(now.restart_needed(&config("limits: {labels: 5}\ntenants: [x]\nlog: {level: warn}")).is_empty());
    let next = config("listen: 127.0.0.1:1\nstorage: {idle: 2h, retention: 1d}\nlimits: {labels: 5}");
    assert_eq!(now.restart_needed(&next), ["listen", "storage.idle"]);
    for row in dialects::ALL {
        let next = config(&format!("dialects: {{{}: {{enabled: false}}}}", row.name));
        assert_eq!(now.restart_needed(&next), [format!("dialects.{}.enabled", row.name)]);
        let same = config(&format!("dialects: {{{}: {{enabled: true}}}}", row.name));
        assert!(now.restart_needed(&same).is_empty());
    }
}

#[test]
fn the_printed_defaults_are_a_file_that_changes_nothing() {
    let text = commented_defaults();
    assert_eq!(typed(&text, &[]).unwrap(), Settings::default());
    // Uncommented, every default is read as itself. Names in brackets are placeholders.
    let uncommented: String = text
        .lines()
        .filter_map(|line| line.strip_prefix('#'))
        .filter(|line| {
            !line.trim_start().starts_with('#') && !line.starts_with(' ') || line.starts_with("  ")
        })
        .filter(|line| !line.trim_start().starts_with('#'))
        .take_while(|line| !line.starts_with("dialects"))
        .map(|line| format!("{line}\n"))
        .collect();
    assert_eq!(typed(&uncommented, &[]).unwrap(), Settings::default(), "{uncommented}");
}

#[test]
fn the_docs_are_those_of_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/config.md");
    if std::env::var_os("WEIR_WRITE_DOCS").is_some() {
        let directory = path.parent().unwrap();
        env::replace(&env::real::OsFiles, directory, "config.md", markdown().as_bytes()).unwrap();
    }
    let found = env::real::read_text(&path).unwrap_or_default();
    assert!(found == markdown(), "docs/config.md is old: run this test once with WEIR_WRITE_DOCS=1");
}

#[test]
fn statsd_is_one_listener_or_a_list() {
    assert!(config("").statsd.is_empty());
    let one = config("statsd: {listen: \"localhost:8125\", flavor: statsd}\n");
    assert_eq!(one.statsd.len(), 1);
    assert_eq!(one.statsd[0].listen, Some("127.0.0.1:8125".parse().unwrap()));
    let list = "statsd:\n  - listen: 127.0.0.1:8125\n  - {unix_stream: /run/s, tenant: team-a}\n";
    let settings = typed(list, &[("WEIR_STATSD__HOSTNAME", "web-1")]).unwrap();
    assert_eq!(settings.statsd.len(), 2);
    assert_eq!(settings.statsd[0].hostname.as_deref(), Some("web-1"));
    assert_eq!(settings.statsd[1].tenant.as_str(), "team-a");
    let wrong = typed("statsd:\n  - lisen: 127.0.0.1:8125\n  - {flavor: etsy, tenant: A}\n", &[]);
    assert_eq!(
        wrong.unwrap_err(),
        [
            "weir.yaml:2: statsd.lisen: unknown key, did you mean statsd.listen?",
            "weir.yaml:3: statsd.flavor: expected dogstatsd or statsd, found \"etsy\"",
            "weir.yaml:3: statsd.tenant: expected a tenant's name, found \"A\"",
        ]
    );
}

#[test]
fn lines_have_one_listener_or_a_list() {
    let one = config("graphite: {listen: \"localhost:2003\"}\n");
    assert_eq!(one.graphite[0].listen, Some("127.0.0.1:2003".parse().unwrap()));
    let list =
        config("graphite:\n  - listen: 127.0.0.1:2003\n  - {listen: \"127.0.0.1:2004\", tenant: team-a}\n");
    assert_eq!(list.graphite[1].tenant.as_str(), "team-a");
    assert!(refused("graphite: {listen: \"0.0.0.0:2003\"}\n")[0].contains("graphite.listen"));
    assert_eq!(refused("graphite: {max_connections: 0, idle_timeout: 0s}\n").len(), 2);
    assert_eq!(config("").restart_needed(&one), ["graphite"]);
    let other = config("opentsdb: {listen: \"127.0.0.1:4242\"}\n");
    assert_eq!(config("").restart_needed(&other), ["opentsdb"]);
    assert!(refused("opentsdb: {listen: \"0.0.0.0:4242\"}\n")[0].contains("opentsdb.listen"));
}

#[test]
fn statsd_off_loopback_is_refused_unless_it_is_meant() {
    let problem = &refused("statsd: {listen: \"0.0.0.0:8125\"}\n")[0];
    assert!(
        problem.contains("statsd.listen") && problem.contains("allow_unauthenticated: true"),
        "{problem}"
    );
    let meant = config("statsd: {listen: \"[::]:8125\", allow_unauthenticated: true}\n");
    assert!(meant.statsd[0].is_on());
    assert_eq!(refused("statsd: {unix_datagram: /run/s, unix_stream: /run/s}\n").len(), 1);
    let default = config("");
    assert_eq!(default.restart_needed(&meant), ["statsd"]);
}

#[test]
fn a_key_that_stands_twice_is_told_in_plain_words() {
    let twice = typed("storage:\n  retention: 1d\nstorage:\n  retention: 2d\n", &[]).unwrap_err();
    assert_eq!(twice, ["weir.yaml:3: the key storage stands twice in one map"]);
}

#[test]
fn exposures_are_checked() {
    let good = config(
        "exposures:\n  - path: /api/iacp/v3/metrics\n    match: ['{__name__=~\"a,b\"}', up]\n    profiles: [preview]\n  \
         - {path: /own/page.txt, tenant: default, match: 'up{job=\"x\",y=\"z\"}', max_age: 5m, untyped_as: unknown}\n",
    );
    assert_eq!(good.exposures.len(), 2);
    assert_eq!((good.exposures[0].sets.len(), good.exposures[0].age_ms), (2, 3_600_000));
    assert_eq!((good.exposures[1].sets[0].len(), good.exposures[1].age_ms), (3, 300_000));
    for (text, wanted) in [
        ("{match: up}", "configuration: exposures.path: is needed"),
        ("{path: /x, max_age: 0}", "configuration: exposures.max_age: must be more than 0"),
        ("{path: /x, max_age: 101y}", "configuration: exposures.max_age: must be 100 years at most"),
    ] {
        assert_eq!(refused(&format!("exposures:\n  - {text}\n")), [wanted], "{text}");
    }
    for own in [
        "/metrics",
        "/api/v1/query",
        "/api/v1/series/",
        "/api/v1/label/x/values",
        "/federate",
        "/api/v1/account/metrics.json",
    ] {
        let wanted = "configuration: exposures.path: Weir has something of its own there";
        assert_eq!(refused(&format!("exposures:\n  - path: {own}\n")), [wanted], "{own}");
    }
    for (text, wanted) in [
        (
            "{path: metrics}",
            "weir.yaml:2: exposures.path: expected a path like /metrics/team-a, found \"metrics\"",
        ),
        (
            "{path: /x/../metrics}",
            "weir.yaml:2: exposures.path: expected a path like /metrics/team-a, found \"/x/../metrics\"",
        ),
        (
            "{path: '/a?b'}",
            "weir.yaml:2: exposures.path: expected a path like /metrics/team-a, found \"/a?b\"",
        ),
        (
            "{path: /x, matches: up}",
            "weir.yaml:2: exposures.matches: unknown key, did you mean exposures.match?",
        ),
        ("{path: /x, tenant: A}", "weir.yaml:2: exposures.tenant: "),
        ("{path: /x, match: 'up{'}", "weir.yaml:2: exposures.match: \"up{\": "),
        (
            "{path: /x, match: {a: b}}",
            "weir.yaml:2: exposures.match: expected a list of selectors; each wants quotes",
        ),
        ("{path: /x, untyped_as: counter}", "weir.yaml:2: exposures.untyped_as: expected gauge or unknown"),
    ] {
        let problems = typed(&format!("exposures:\n  - {text}\n"), &[]).unwrap_err();
        assert!(problems.len() == 1 && problems[0].starts_with(wanted), "{text}: {problems:?}");
    }
}

/// What is kept nowhere must be sent somewhere.
#[test]
fn a_tenant_of_whom_nothing_is_kept_needs_an_output() {
    let none = "tenants: {edge: {store: none}, default: {}}\n";
    let problems = refused(none);
    assert!(problems[0].contains("tenants.edge.store: none, and no output"), "{problems:?}");
    let to =
        |tenant: &str| format!("{none}remote_write: [{{url: \"http://a.example/w\", tenant: {tenant}}}]\n");
    assert_eq!(refused(&to("default")), problems);
    let resolved = config(&to("edge"));
    let edge = TenantName::parse("edge").unwrap();
    assert_eq!((resolved.passing, resolved.passing_lines), (vec![edge.clone()], vec![]));
    let logs = "outputs: [{type: loki, name: l, url: \"http://a.example\", tenant: edge}]\n";
    assert_eq!(config(&(to("edge") + logs)).passing_lines, [edge]);
}

/// Labels of targets are text: a version of 1.10 was one of 1.1.
#[test]
fn numbers_stay_as_they_were_typed() {
    let text =
        "# ünï\nlog: {a: 1.10, b: [007, 1e3, 2.50], c: 0x10, d: -0, e: 1_000}\nf: &x 3.10\ng: 4.20 # four\n";
    let node = tree::Node::parse(Path::new("weir.yaml"), text).unwrap();
    let mut found = Vec::new();
    scalars(&node, &mut found);
    assert_eq!(found[..4], ["1.10", "007", "1e3", "2.50"]);
    assert_eq!(found.last().unwrap(), "4.20");
}

fn scalars(node: &tree::Node, found: &mut Vec<String>) {
    match &node.shape {
        tree::Shape::Scalar(text) => found.push(text.clone()),
        tree::Shape::List(items) => items.iter().for_each(|item| scalars(item, found)),
        tree::Shape::Map(entries) => entries.iter().for_each(|(_, item)| scalars(item, found)),
        tree::Shape::Empty => {}
    }
}
