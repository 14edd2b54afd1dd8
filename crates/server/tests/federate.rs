//! `/federate`: what another Prometheus scrapes.

mod common;

use std::time::{SystemTime, UNIX_EPOCH};

use common::Weir;

fn now_ms() -> i64 {
    #[expect(clippy::disallowed_methods, reason = "samples are federated for five minutes")]
    let now = SystemTime::now();
    now.duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

/// A Weir with some samples, and when they are of.
fn filled() -> (Weir, i64) {
    let weir = Weir::start_with(|settings| settings.self_monitoring.interval = std::time::Duration::ZERO);
    let now = now_ms() - 10_000;
    let lines = format!(
        "# HELP requests_total Requests served.\n# TYPE requests_total counter\n\
         requests_total{{job=\"b\",instance=\"i\"}} 1 {before}\nrequests_total{{job=\"b\",instance=\"i\"}} 2.5 {now}\n\
         requests_total{{job=\"a\",instance=\"i\"}} 1e6 {now}\n\
         # TYPE temperature gauge\ntemperature 20 {now}\n\
         gone 1 {before}\ngone NaN {now}\nold 1 {old}\n\
         h_bucket{{le=\"1\"}} 3 {now}\nh_bucket{{le=\"+Inf\"}} 4 {now}\n\
         {{\"my.name\",\"a.b\"=\"c\"}} 7 {now}\n",
        before = now - 30_000,
        old = now - 400_000,
    );
    let stored = weir.post("/api/v1/import/prometheus", &lines);
    assert_eq!(stored.status, 204, "{stored:?}");
    (weir, now)
}

fn scrape(weir: &Weir, query: &str, headers: &str) -> common::Response {
    let path = format!("/federate{}", query.replace('"', "%22").replace('+', "%2B"));
    weir.request("GET", &path, &weir.token, headers, b"")
}

#[test]
fn the_newest_samples_are_told_as_text() {
    let (weir, now) = filled();
    let answer = scrape(&weir, "?match[]={__name__=~\".+\",__name__!=\"gone\"}", "");
    assert_eq!(answer.status, 200, "{answer:?}");
    let content_type = "content-type: text/plain; version=0.0.4; charset=utf-8; escaping=underscores\r\n";
    assert!(answer.head.contains(content_type), "{answer:?}");
    let wanted = format!(
        "# TYPE h_bucket untyped\nh_bucket{{le=\"+Inf\",instance=\"\"}} 4 {now}\nh_bucket{{le=\"1\",instance=\"\"}} 3 {now}\n\
         # TYPE my_name untyped\nmy_name{{a_b=\"c\",instance=\"\"}} 7 {now}\n\
         # HELP requests_total Requests served.\n# TYPE requests_total counter\n\
         requests_total{{instance=\"i\",job=\"a\"}} 1e+06 {now}\nrequests_total{{instance=\"i\",job=\"b\"}} 2.5 {now}\n\
         # TYPE temperature gauge\ntemperature{{instance=\"\"}} 20 {now}\n"
    );
    assert_eq!(answer.body, wanted);
    let path =
        "/prometheus/federate?match[]=temperature&match[]=requests_total{job%3D%22a%22}&match[]=temperature";
    let two = weir.get(path, &weir.token);
    assert_eq!(two.body.matches(&now.to_string()).count(), 2, "{two:?}");
    // An ordinary NaN is a value.
    assert!(scrape(&weir, "?match[]=gone", "").body.contains("gone{instance=\"\"} NaN "));
}

#[test]
fn labels_of_this_server_are_added() {
    let weir = Weir::start_with(|settings| {
        settings.self_monitoring.interval = std::time::Duration::ZERO;
        let labels = [("region", "eu"), ("job", "no"), ("instance", "weir")];
        settings.pasted.global.external_labels =
            labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    });
    let now = now_ms() - 10_000;
    let lines = format!("a{{job=\"b\"}} 1 {now}\na{{job=\"c\",instance=\"i\",region=\"us\"}} 2 {now}\n");
    assert_eq!(weir.post("/api/v1/import/prometheus", &lines).status, 204);
    let wanted = format!(
        "# TYPE a untyped\na{{instance=\"i\",job=\"c\",region=\"us\"}} 2 {now}\n\
         a{{job=\"b\",instance=\"weir\",region=\"eu\"}} 1 {now}\n"
    );
    assert_eq!(scrape(&weir, "?match[]=a", "").body, wanted);
}

#[test]
fn a_series_that_ended_is_not_told() {
    let (weir, now) = filled();
    let mut body = Vec::new();
    let mut block = model::SeriesBlock::default();
    block.clear();
    block.columns.push(now + 1, f64::from_bits(model::STALE_NAN_BITS));
    block.end_series(model::SeriesRef(0));
    let labels = model::Labels::from_pairs([("__name__", "temperature")]);
    dialects::remote_read::samples::write_series(
        &labels,
        dialects::remote_read::Rows::of(&block, 0),
        &mut body,
    );
    let packed = codec::pack::snappy(&body).unwrap();
    let stored = weir.request("POST", "/api/v1/write", &weir.token, "", &packed);
    assert_eq!(stored.status, 204, "{stored:?}");
    let answer = scrape(&weir, "?match[]=temperature", "");
    assert_eq!((answer.status, answer.body.as_str()), (200, ""));
}

#[test]
fn the_scraper_chooses_the_form() {
    let (weir, now) = filled();
    let accept =
        "Accept: application/openmetrics-text;version=1.0.0;escaping=allow-utf-8,text/plain;q=0.5\r\n";
    let answer = scrape(&weir, "?match[]={\"my.name\"}&match[]=requests_total{job=\"b\"}", accept);
    let seconds = format!("{}.{:03}", now / 1000, now % 1000);
    let seconds = seconds.trim_end_matches('0').trim_end_matches('.');
    let wanted = format!(
        "# TYPE \"my.name\" unknown\n{{\"my.name\",\"a.b\"=\"c\",instance=\"\"}} 7.0 {seconds}\n\
         # TYPE requests counter\n# HELP requests Requests served.\n\
         requests_total{{instance=\"i\",job=\"b\"}} 2.5 {seconds}\n# EOF\n"
    );
    assert_eq!(answer.body, wanted);
    assert!(answer.head.contains("application/openmetrics-text; version=1.0.0"), "{answer:?}");
    let accept = "Accept: application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited\r\n";
    let answer = scrape(&weir, "?match[]=temperature", accept);
    assert!(answer.head.contains("encoding=delimited; escaping=underscores\r\n"), "{answer:?}");
    assert!(answer.body.contains("temperature") && !answer.body.contains('#'), "{answer:?}");
}

#[test]
fn errors_are_text_and_nothing_asked_is_nothing_told() {
    let (weir, _) = filled();
    let nothing = scrape(&weir, "", "");
    assert_eq!((nothing.status, nothing.body.as_str()), (200, ""));
    let bad = scrape(&weir, "?match[]=up{", "");
    assert!(
        bad.status == 400 && bad.head.contains("text/plain") && bad.body.contains("parse error"),
        "{bad:?}"
    );
    let all = scrape(&weir, "?match[]={x=\"\"}", "");
    assert!(all.status == 400 && all.body.contains("non-empty matcher"), "{all:?}");
    assert_eq!(weir.get("/federate?match[]=up", "").status, 401);
    assert_eq!(weir.get("/federate?match[]=up", &weir.admin).status, 403);
    assert_eq!(weir.get("/federate?match[]=temperature", &weir.system).body, "");
    assert_eq!(weir.request("POST", "/federate", &weir.token, "", b"").status, 405);
}

#[test]
fn large_expositions_are_packed() {
    let (weir, now) = filled();
    let lines: String = (0..100).map(|n| format!("many{{n=\"{n}\"}} {n} {now}\n")).collect();
    assert_eq!(weir.post("/api/v1/import/prometheus", &lines).status, 204);
    assert_eq!(weir.get_gzipped("/federate?match[]=many"), scrape(&weir, "?match[]=many", "").body);
}
