//! What a tenant uses and may use, told to those who may know.

mod common;

use std::time::Duration;

use common::{Response, Weir, typed, until};
use server::config::Settings;

const PATHS: [&str; 2] = ["/api/v1/account/metrics", "/api/iacp/v3/metrics"];

const NAMES: [&str; 20] = [
    "weir_active_series",
    "weir_series_limit",
    "weir_samples_ingested_count",
    "weir_samples_discarded_count",
    "weir_ingest_rate",
    "weir_ingest_rate_limit",
    "weir_log_bytes_ingested_count",
    "weir_storage_bytes",
    "weir_retention_seconds",
    "weir_queries_count",
    "weir_queries_concurrency",
    "weir_quota_max_concurrency",
    "weir_queries_queue_size",
    "weir_tokens_count",
    "weir_scrape_targets_count",
    "weir_scrape_targets_down",
    "weir_forwarders_count",
    "weir_forward_queue_bytes",
    "weir_rules_count",
    "weir_alerts_firing",
];

fn quiet(settings: &mut Settings) {
    settings.self_monitoring.interval = Duration::ZERO;
}

fn token(weir: &Weir, body: &str) -> String {
    let made = weir.request("POST", "/api/v1/admin/tokens", &weir.admin, "", body.as_bytes());
    made.json()["token"].as_str().unwrap_or_else(|| panic!("{made:?}")).to_owned()
}

/// Names in their order; each a gauge with a help and without labels.
fn names(page: &str) -> Vec<String> {
    let lines: Vec<&str> = page.lines().filter(|line| *line != "# EOF").collect();
    let name = |lines: &[&str]| {
        let name = lines[2].split(' ').next().unwrap().to_owned();
        let [help, kind] = [format!("# HELP {name} "), format!("# TYPE {name} gauge")];
        let has = |beginning: &str| lines[..2].iter().any(|line| line.starts_with(beginning));
        assert!(has(&help) && has(&kind), "{lines:?}");
        name
    };
    lines.chunks(3).map(name).collect()
}

fn value(answer: &Response, name: &str) -> f64 {
    let line = answer.body.lines().find(|line| line.split(' ').next() == Some(name));
    line.and_then(|line| line.split(' ').nth(1)?.parse().ok()).unwrap_or_else(|| panic!("{name}: {answer:?}"))
}

#[test]
fn every_gauge_is_told_in_the_form_that_is_accepted() {
    let weir = Weir::start_with(quiet);
    for path in PATHS {
        let plain = weir.get(path, &weir.token);
        assert_eq!(plain.status, 200, "{plain:?}");
        assert!(
            plain.head.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"),
            "{plain:?}"
        );
        assert!(plain.head.contains("preference-applied: profile=preview\r\n"), "{plain:?}");
        assert!(plain.head.contains("vary: accept, prefer, accept-encoding\r\n"), "{plain:?}");
        assert_eq!(names(&plain.body), NAMES);
        let open = "Accept: application/openmetrics-text;version=1.0.0\r\n";
        let open = weir.request("GET", path, &weir.token, open, b"");
        assert!(
            open.head
                .contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n")
        );
        assert!(open.body.ends_with("\n# EOF\n"), "{open:?}");
        assert_eq!(names(&open.body), NAMES);
    }
    let json = weir.get("/api/v1/account/metrics.json", &weir.token).json();
    let metrics = json["data"]["metrics"].as_object().unwrap();
    assert!(NAMES.iter().all(|name| metrics[*name].is_number()) && metrics.len() == NAMES.len(), "{json}");
    assert_eq!((&json["data"]["tenant"], &json["data"]["profile"]), (&"default".into(), &"preview".into()));
}

#[test]
fn the_numbers_are_the_tenants_own() {
    let weir = Weir::start_with(|settings| {
        quiet(settings);
        settings.limits.active_series = 3;
        settings.limits.samples_per_second = 1000.5;
        settings.query.concurrency = 7;
    });
    let rejected = weir.post("/api/v1/import/prometheus", "a 1\nb{x=\"1\"} 2\nb{x=\"2\"} 3\nover 4\n");
    assert_eq!(rejected.status, 400, "{rejected:?}");
    let logs = br#"{"streams":[{"stream":{"a":"b"},"values":[["1","12345"]]}]}"#;
    let time = weir.app().env.clock.now_ms().to_string() + "000000";
    let logs = String::from_utf8_lossy(logs).replace("\"1\"", &format!("\"{time}\""));
    let json = "Content-Type: application/json\r\n";
    let stored = weir.request("POST", "/loki/api/v1/push", &weir.token, json, logs.as_bytes());
    assert_eq!(stored.status, 204, "{stored:?}");
    weir.get("/api/v1/query?query=1", &weir.token);
    weir.get("/api/v1/query?query=1", &weir.token);
    let answer = weir.get(PATHS[0], &weir.token);
    for (name, wanted) in [
        ("weir_active_series", 3.0),
        ("weir_series_limit", 3.0),
        ("weir_samples_ingested_count", 3.0),
        ("weir_samples_discarded_count", 1.0),
        ("weir_ingest_rate_limit", 1000.5),
        ("weir_log_bytes_ingested_count", 5.0),
        ("weir_storage_bytes", 0.0),
        ("weir_retention_seconds", 400.0 * 86400.0),
        ("weir_queries_count", 2.0),
        ("weir_queries_concurrency", 0.0),
        ("weir_quota_max_concurrency", 7.0),
        ("weir_tokens_count", 1.0),
    ] {
        assert_eq!(value(&answer, name), wanted, "{name}: {answer:?}");
    }
    assert!((0.05..=3.0).contains(&value(&answer, "weir_ingest_rate")), "{answer:?}");
    let again = weir.get(PATHS[0], &weir.token);
    assert_eq!(value(&again, "weir_queries_count"), 2.0, "this page is none: {again:?}");
    weir.app().store().unwrap().flush().unwrap();
    token(&weir, r#"{"tenant":"default","scopes":["read"]}"#);
    let answer = weir.get(PATHS[0], &weir.token);
    assert!(value(&answer, "weir_storage_bytes") > 0.0, "{answer:?}");
    assert_eq!(value(&answer, "weir_tokens_count"), 2.0);
    // Nothing of all that is the system tenant's.
    let other = weir.get(PATHS[0], &weir.system);
    for name in ["weir_active_series", "weir_samples_ingested_count", "weir_log_bytes_ingested_count"] {
        assert_eq!(value(&other, name), 0.0, "{name}: {other:?}");
    }
}

#[test]
fn targets_and_outputs_are_counted_for_their_tenant() {
    let pasted = typed(
        "scrape_configs:\n  - job_name: gone\n    scrape_interval: 200ms\n    scrape_timeout: 100ms\n    static_configs:\n      \
         - targets: ['127.0.0.1:1', '127.0.0.1:2']\nremote_write:\n  - url: http://127.0.0.1:1/write\n",
    );
    let weir = Weir::start_with(|settings| {
        quiet(settings);
        settings.pasted = pasted.pasted;
    });
    let own = |name| value(&weir.get(PATHS[0], &weir.token), name);
    until("both targets are known to be down", || own("weir_scrape_targets_down") == 2.0);
    assert_eq!((own("weir_scrape_targets_count"), own("weir_forwarders_count")), (2.0, 1.0));
    let other = weir.get(PATHS[0], &weir.system);
    assert_eq!(value(&other, "weir_scrape_targets_count"), 0.0, "{other:?}");
}

#[test]
fn a_restart_takes_nothing_of_the_day_away() {
    let often = |settings: &mut Settings| settings.self_monitoring.interval = Duration::from_millis(50);
    let weir = Weir::start_with(often);
    assert_eq!(weir.post("/api/v1/import/prometheus", "a 1\nb 2\n").status, 204);
    let written = "/api/v1/query?query=weir_samples_accepted_total{tenant=\"default\",kind=\"sample\"}";
    let written = written.replace('"', "%22");
    until("Weir wrote its own metrics", || weir.get(&written, &weir.system).body.contains("\"2\""));
    let weir = Weir::start_in(weir.stop(), often);
    assert_eq!(value(&weir.get(PATHS[0], &weir.token), "weir_samples_ingested_count"), 2.0);
    assert_eq!(weir.post("/api/v1/import/prometheus", "a 1\n").status, 204);
    let answer = weir.get(PATHS[0], &weir.token);
    assert_eq!(value(&answer, "weir_samples_ingested_count"), 3.0, "{answer:?}");
    until("the new count is written", || weir.get(&written, &weir.system).body.contains("\"1\""));
    assert_eq!(value(&weir.get(PATHS[0], &weir.token), "weir_samples_ingested_count"), 3.0);
}

#[test]
fn profiles_tell_more_to_those_who_may_know() {
    let weir = Weir::start_with(quiet);
    let ask = |token: &str, path: &str, prefer: &str| {
        weir.request("GET", path, token, &format!("Prefer: {prefer}\r\n"), b"")
    };
    let applied = |answer: &Response, profile: &str| {
        assert!(answer.head.contains(&format!("preference-applied: profile={profile}\r\n")), "{answer:?}");
    };
    for path in PATHS {
        let own = ask(&weir.token, path, "profile=internal");
        applied(&own, "internal");
        let more = names(&own.body);
        assert_eq!(more[..NAMES.len()], NAMES);
        assert!(more.contains(&"weir_blocks_count".to_owned()), "{more:?}");
        assert!(!own.body.contains("weir_wal_segments"), "that is of all tenants: {own:?}");
        for unheard in ["profile=unheard", "respond-async", "profile"] {
            let plain = ask(&weir.token, path, unheard);
            applied(&plain, "preview");
            assert_eq!(names(&plain.body), NAMES, "{unheard}");
        }
        let operator =
            ask(&weir.admin, &format!("{path}?tenant=default"), "respond-async, profile=\"internal\"");
        applied(&operator, "internal");
        assert!(operator.body.contains("\nweir_wal_segments "), "{operator:?}");
        assert!(
            !ask(&weir.admin, &format!("{path}?tenant=default"), "profile=preview").body.contains("weir_wal")
        );
    }
}

#[test]
fn who_may_not_know_is_told_so_in_the_paths_own_way() {
    let weir = Weir::start_with(quiet);
    let writes = token(&weir, r#"{"tenant":"default","scopes":["write"]}"#);
    for (path, forbidden) in [(PATHS[0], 403), ("/api/v1/account/metrics.json", 403), (PATHS[1], 404)] {
        for unknown in ["", "0123456789abcdef0123456789abcdef"] {
            let answer = weir.get(path, unknown);
            assert_eq!(answer.status, 401, "{path}: {answer:?}");
            assert!(
                answer.head.contains("www-authenticate: ") && answer.head.contains("bearer"),
                "{answer:?}"
            );
        }
        assert_eq!(weir.get(path, &writes).status, forbidden, "{path}");
        assert_eq!(weir.get(path, &weir.admin).status, forbidden, "{path}: it names no tenant");
        assert_eq!(weir.get(&format!("{path}?tenant=system"), &weir.token).status, forbidden, "{path}");
        assert_eq!(weir.get(&format!("{path}?tenant=nobody"), &weir.admin).status, forbidden, "{path}");
        assert_eq!(weir.get(&format!("{path}?tenant=default"), &weir.token).status, 200, "{path}");
        assert_eq!(weir.get(&format!("{path}?tenant=system"), &weir.admin).status, 200, "{path}");
        assert_eq!(weir.request("POST", path, &weir.token, "", b"").status, 405, "{path}");
    }
}
