//! Scraping in a whole server: pages of a server of the test's own, queried back.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::pages::{Page, Pages};
use common::{Weir, until};
use scrape::ScrapeConfig;
use scrape::config::{Global, JobBlock, JobKeys, StaticGroup};

/// What makes a job another than the plain one.
type Change = fn(&mut JobKeys);

const INTERVAL: Duration = Duration::from_millis(200);

/// A job with one target.
fn job(name: &str, pages: &Pages, change: impl FnOnce(&mut JobKeys)) -> ScrapeConfig {
    let mut block = JobBlock::default();
    block.own.job_name = name.to_owned();
    block.own.scrape_interval = Some(INTERVAL);
    block.own.static_configs =
        vec![StaticGroup { targets: vec![pages.address.to_string()], ..StaticGroup::default() }];
    change(&mut block.own);
    ScrapeConfig::resolve(block, &Global::default()).unwrap()
}

fn start(jobs: Vec<ScrapeConfig>) -> Weir {
    let weir = Weir::begin_as(tempfile::tempdir().unwrap(), |_| {}, |config| config.scrape = jobs);
    weir.wait_until_ready();
    weir
}

/// What an expression is now: `labels value`, without the name, sorted.
fn ask(weir: &Weir, expression: &str) -> Vec<String> {
    let query = expression.bytes().map(|b| format!("%{b:02x}")).collect::<String>();
    let answer = weir.get(&format!("/api/v1/query?query={query}"), &weir.token).json();
    let result = answer["data"]["result"].as_array().unwrap_or_else(|| panic!("{answer}")).clone();
    let row = |row: &serde_json::Value| format!("{} {}", row["metric"], row["value"][1].as_str().unwrap());
    let mut rows: Vec<String> = result.iter().map(row).collect();
    rows.sort();
    rows
}

fn is(weir: &Weir, expression: &str, value: &str) -> bool {
    matches!(&ask(weir, expression)[..], [row] if row.ends_with(&format!(" {value}")))
}

#[test]
fn a_page_is_fetched_as_prometheus_does_and_can_be_queried() {
    let pages = Pages::start();
    pages.set("/metrics", Page::text("# HELP x What it is.\n# TYPE x gauge\nx{a=\"b\"} 1.5\n"));
    let weir = start(vec![job("app", &pages, |_| {})]);
    until("a sample", || is(&weir, "x", "1.5"));
    let labels = format!(r#"{{"__name__":"x","a":"b","instance":"{}","job":"app"}} 1.5"#, pages.address);
    assert_eq!(ask(&weir, "x"), [labels]);
    for (series, value) in
        [("up", "1"), ("scrape_samples_scraped", "1"), ("scrape_samples_post_metric_relabeling", "1")]
    {
        assert!(is(&weir, series, value), "{series}: {:?}", ask(&weir, series));
    }
    assert_eq!(ask(&weir, "scrape_duration_seconds > 0").len(), 1);
    let head = &pages.asked()[0];
    for line in [
        "get /metrics http/1.1\r\n",
        "accept: application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.",
        "accept-encoding: gzip\r\n",
        "x-prometheus-scrape-timeout-seconds: 0.2\r\n",
        concat!("user-agent: weir/", env!("CARGO_PKG_VERSION"), "\r\n"),
    ] {
        assert!(head.contains(line), "{line} in {head}");
    }
    let metadata = weir.get("/api/v1/metadata?metric=x", &weir.token).json();
    assert_eq!(metadata["data"]["x"][0]["help"], "What it is.");
    let metrics = weir.get("/metrics", &weir.admin).body;
    assert!(metrics.contains("weir_scrapes_total{tenant=\"default\",outcome=\"success\"}"), "{metrics}");
    weir.stop();
}

#[test]
fn a_series_that_is_gone_is_stale_and_a_target_that_is_down_is_not_up() {
    let pages = Pages::start();
    pages.set("/metrics", Page::text("x 1\ny 2\n"));
    let weir = start(vec![job("app", &pages, |_| {})]);
    until("samples", || is(&weir, "x", "1") && is(&weir, "y", "2"));
    pages.set("/metrics", Page::text("y 3\n"));
    until("x has ended", || ask(&weir, "x").is_empty());
    until("y goes on", || is(&weir, "y", "3"));
    pages.set("/metrics", Page { status: 503, ..Page::text("") });
    until("it is down", || is(&weir, "up", "0"));
    assert_eq!(ask(&weir, "y"), [""; 0]);
    let targets = weir.get("/api/v1/targets", &weir.token).json();
    assert_eq!(targets["data"]["activeTargets"][0]["health"], "down");
    let error = "server returned HTTP status 503 Service Unavailable";
    assert_eq!(targets["data"]["activeTargets"][0]["lastError"], error);
    pages.set("/metrics", Page::text("x 4\ny 5\n"));
    until("it is back", || is(&weir, "x", "4") && is(&weir, "y", "5") && is(&weir, "up", "1"));
}

#[test]
fn limits_fail_the_scrape_by_name() {
    let pages = Pages::start();
    pages.set("/metrics", Page::text("x{a=\"1\"} 1\nx{a=\"22222222\"} 2\nx{a=\"3\",b=\"c\"} 3\n"));
    let limited: [(&str, Change, &str); 5] = [
        ("samples", |keys| keys.sample_limit = 2, "sample limit exceeded"),
        ("body", |keys| keys.body_size_limit = outbound::Size(20), "body size limit exceeded"),
        (
            "labels",
            |keys| keys.label_limit = 4,
            "label_limit exceeded (metric: x, number of labels: 5, limit: 4)",
        ),
        (
            "values",
            |keys| keys.label_value_length_limit = 7,
            "label_value_length_limit exceeded (metric: x, label name: a, length: 8, limit: 7)",
        ),
        (
            "targets",
            |keys| {
                keys.target_limit = 1;
                keys.static_configs[0].targets.push("127.0.0.1:1".to_owned());
            },
            "target_limit exceeded (number of targets: 2, limit: 1)",
        ),
    ];
    // Else the names of jobs and the address were too long as well.
    let relabel = outbound::RelabelConfig {
        target_label: "instance".into(),
        replacement: "i".into(),
        ..Default::default()
    };
    let jobs = limited.iter().map(|(name, change, _)| {
        job(name, &pages, |keys| {
            keys.relabel_configs = vec![relabel.clone()];
            if *name == "targets" {
                keys.relabel_configs.clear();
            }
            change(keys);
        })
    });
    let weir = start(jobs.collect());
    until("all were scraped", || ask(&weir, "up").len() == limited.len() + 1);
    assert_eq!(ask(&weir, "x"), [""; 0]);
    assert_eq!(ask(&weir, "up > 0"), [""; 0]);
    let targets = weir.get("/api/v1/targets?state=active", &weir.token).json();
    for (name, _, wanted) in limited {
        let all = targets["data"]["activeTargets"].as_array().unwrap();
        let errors: Vec<_> =
            all.iter().filter(|t| t["scrapePool"] == name).map(|t| &t["lastError"]).collect();
        assert!(errors.iter().all(|error| *error == wanted), "{name}: {errors:?}");
    }
}

#[test]
fn labels_are_honoured_renamed_and_dropped_as_the_job_says() {
    let pages = Pages::start();
    pages.set("/metrics", Page::text("x{job=\"theirs\",instance=\"\"} 1\ngo_x 2\n"));
    let rule = outbound::RelabelConfig {
        source_labels: vec!["__name__".into()],
        regex: "go_.*".into(),
        action: model::relabel::Action::Drop,
        ..Default::default()
    };
    let weir = start(vec![
        job("plain", &pages, |keys| keys.metric_relabel_configs = vec![rule]),
        job("honest", &pages, |keys| keys.honor_labels = true),
    ]);
    until("samples", || ask(&weir, "x").len() == 2 && ask(&weir, "go_x").len() == 1);
    let address = pages.address;
    assert_eq!(
        ask(&weir, "x"),
        [
            format!(r#"{{"__name__":"x","exported_job":"theirs","instance":"{address}","job":"plain"}} 1"#),
            r#"{"__name__":"x","job":"theirs"} 1"#.to_owned(),
        ]
    );
    assert_eq!(
        ask(&weir, "go_x"),
        [format!(r#"{{"__name__":"go_x","instance":"{address}","job":"honest"}} 2"#)]
    );
    assert!(is(&weir, "scrape_samples_post_metric_relabeling{job='plain'}", "1"));
}

#[test]
fn times_of_a_page_count_unless_the_job_says_otherwise() {
    let pages = Pages::start();
    let at_ms = env::Env::real().clock.now_ms() - 60_000;
    pages.set("/metrics", Page::text(&format!("x 1 {at_ms}\n")));
    let weir =
        start(vec![job("theirs", &pages, |_| {}), job("ours", &pages, |keys| keys.honor_timestamps = false)]);
    until("samples", || ask(&weir, "x").len() == 2);
    assert!(is(&weir, "timestamp(x{job='theirs'})", &format!("{}", at_ms as f64 / 1000.0)));
    assert_eq!(ask(&weir, "timestamp(x{job='ours'}) > time() - 30").len(), 1);
}

#[test]
fn a_page_may_come_packed_and_may_not_be_a_bomb() {
    let pages = Pages::start();
    let packed = |text: &str| {
        let body = codec::pack::pack(codec::inflate::Encoding::Gzip, text.as_bytes()).unwrap();
        let headers = "Content-Type: text/plain; version=0.0.4\r\nContent-Encoding: gzip\r\n".to_owned();
        Page { status: 200, headers, body }
    };
    pages.set("/good", packed("x 1\n"));
    pages.set("/bomb", packed(&"# x\n".repeat(1 << 20)));
    let weir = start(vec![
        job("good", &pages, |keys| keys.metrics_path = "/good".into()),
        job("bomb", &pages, |keys| {
            keys.metrics_path = "/bomb".into();
            keys.body_size_limit = outbound::Size(1 << 20);
        }),
    ]);
    until("both were scraped", || ask(&weir, "up").len() == 2);
    until("the page", || is(&weir, "x", "1"));
    assert!(is(&weir, "up{job='bomb'}", "0"));
}

#[test]
fn a_reload_keeps_what_did_not_change_and_ends_what_is_gone() {
    let pages = Pages::start();
    for path in ["/kept", "/gone", "/new"] {
        pages.set(path, Page::text("x 1\n"));
    }
    let at = |name: &str| job(name, &pages, |keys| keys.metrics_path = format!("/{name}"));
    let kept = at("kept");
    let weir = start(vec![kept.clone(), at("gone")]);
    until("both", || ask(&weir, "x").len() == 2);
    let mut config = server::config::Config::clone(&weir.app().config());
    config.scrape = vec![kept, at("new")];
    weir.app().config.store(Arc::new(config));
    weir.app().reloaded.send_replace(());
    until("the new one", || !ask(&weir, "x{job='new'}").is_empty());
    until("the series of the old one have ended", || ask(&weir, "{job='gone'}").is_empty());
    assert_eq!(ask(&weir, "count_over_time(up{job='kept'}[1m]) > 1").len(), 1);
    // What was new once is never new again: the one that did not change remembers its page.
    assert!(is(&weir, "sum_over_time(scrape_series_added{job='kept'}[1m])", "1"));
    let pools = weir.get("/api/v1/scrape_pools", &weir.token).json();
    assert_eq!(pools["data"]["scrapePools"], serde_json::json!(["kept", "new"]));
}

#[test]
fn a_tenant_sees_its_own_targets_only() {
    let pages = Pages::start();
    pages.set("/metrics", Page::text("# HELP x Help.\nx 1\n"));
    let drop = outbound::RelabelConfig {
        source_labels: vec!["__address__".into()],
        regex: "drop.*".into(),
        action: model::relabel::Action::Drop,
        ..Default::default()
    };
    let weir = start(vec![
        job("mine", &pages, |keys| {
            keys.relabel_configs = vec![drop];
            keys.static_configs[0].targets.push("dropped:1".into());
        }),
        job("theirs", &pages, |keys| keys.tenant = Some("system".into())),
    ]);
    until("a sample", || is(&weir, "x", "1"));
    let get = |path: &str| weir.get(path, &weir.token).json()["data"].clone();
    let targets = get("/api/v1/targets");
    let active = targets["activeTargets"].as_array().unwrap();
    assert_eq!(active.len(), 1);
    let address = pages.address.to_string();
    for (key, value) in [
        ("scrapePool", "mine"),
        ("scrapeUrl", &format!("http://{address}/metrics")),
        ("lastError", ""),
        ("health", "up"),
        ("scrapeInterval", "200ms"),
        ("scrapeTimeout", "200ms"),
    ] {
        assert_eq!(active[0][key], value, "{key}");
    }
    assert_eq!(active[0]["labels"], serde_json::json!({ "instance": address, "job": "mine" }));
    assert_eq!(active[0]["discoveredLabels"]["__address__"], *address);
    assert_eq!(targets["droppedTargetCounts"], serde_json::json!({ "mine": 1 }));
    assert_eq!(targets["droppedTargets"][0]["discoveredLabels"]["__address__"], "dropped:1");
    assert_eq!(get("/api/v1/targets?state=dropped")["activeTargets"], serde_json::json!([]));
    assert_eq!(get("/api/v1/targets?scrapePool=theirs")["activeTargets"], serde_json::json!([]));
    let said = get("/api/v1/targets/metadata?match_target=%7Bjob%3D%22mine%22%7D");
    assert_eq!((&said[0]["metric"], &said[0]["help"]), (&"x".into(), &"Help.".into()));
    assert_eq!(get("/api/v1/targets/metadata?match_target=%7Bjob%3D%22theirs%22%7D"), serde_json::json!([]));
    let steps =
        get("/api/v1/targets/relabel_steps?scrapePool=mine&labels=%7B%22__address__%22%3A%22drop%22%7D");
    assert_eq!(steps["steps"][0]["keep"], false);
    assert_eq!(steps["steps"][0]["rule"]["action"], "drop");
    let yaml = get("/api/v1/scrape_pools/config?scrapePool=mine")["yaml"].as_str().unwrap().to_owned();
    assert!(yaml.contains("job_name: mine") && yaml.contains("dropped:1"), "{yaml}");
    let other = weir.get("/api/v1/scrape_pools/config?scrapePool=theirs", &weir.token);
    assert_eq!((other.status, other.json()["errorType"].as_str()), (400, Some("bad_data")));
}
