//! Weir's own metrics: counted so that nothing is lost, exposed to whom they concern, stored like anybody's.

mod common;

use common::Weir;

fn sum(exposition: &str, name: &str, label: &str) -> u64 {
    let lines = exposition.lines().filter(|line| line.starts_with(name) && line.contains(label));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

#[test]
fn received_is_accepted_and_rejected() {
    let weir = Weir::start_with(|settings| settings.self_monitoring.interval = std::time::Duration::ZERO);
    assert_eq!(weir.post("/api/v1/import/prometheus", "a 1\nb{x=\"y\"} 2\n").status, 204);
    assert_eq!(
        weir.post("/api/v1/import/prometheus", "a 1\nthis is no line\nb 2 99999999999999\n").status,
        400
    );
    assert_eq!(weir.post("/api/v1/import/prometheus", &"x".repeat(200)).status, 400);
    let metrics = weir.get("/metrics", &weir.admin).body;
    let received = sum(&metrics, "weir_samples_received_total{", "tenant=\"default\"");
    let accepted = sum(&metrics, "weir_samples_accepted_total{", "tenant=\"default\"");
    let rejected = sum(&metrics, "weir_samples_rejected_total{", "tenant=\"default\"");
    assert!(accepted >= 3 && rejected >= 1, "{metrics}");
    assert_eq!(received, accepted + rejected, "{metrics}");
    assert_eq!(sum(&metrics, "weir_requests_total{dialect=\"text\",code=\"400\"}", ""), 2, "{metrics}");
}

#[test]
fn the_exposition_is_for_admin_and_the_system_tenant() {
    let weir = Weir::start();
    assert_eq!(weir.get("/metrics", "").status, 401);
    assert_eq!(weir.get("/metrics", &weir.token).status, 403);
    assert_eq!(weir.get("/metrics", &weir.system).status, 200);
    let answer = weir.get("/metrics", &weir.admin);
    assert!(answer.body.contains("weir_ready{component=\"store\"} 1\n"), "{}", answer.body);
}

#[test]
fn the_exposition_is_in_the_form_that_is_accepted() {
    let weir = Weir::start();
    let openmetrics = "application/openmetrics-text;version=1.0.0";
    let protobuf =
        "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";
    for (accept, is_openmetrics) in [
        ("*/*".to_owned(), false),
        (format!("{openmetrics};q=0.5,text/plain;version=0.0.4;q=0.4"), true),
        (format!("{openmetrics};q=0.3,text/plain;version=0.0.4;q=0.4"), false),
        // There is no protobuf here, so it is the next one.
        (format!("{protobuf},{openmetrics};q=0.5,text/plain;version=0.0.4;q=0.4"), true),
        (protobuf.to_owned(), false),
    ] {
        let answer = weir.request("GET", "/metrics", &weir.admin, &format!("Accept: {accept}\r\n"), b"");
        let found = answer.head.contains("\ncontent-type: application/openmetrics-text; version=1.0.0;");
        assert_eq!(found, is_openmetrics, "{accept}: {}", answer.head);
        assert_eq!(answer.body.ends_with("# EOF\n"), is_openmetrics, "{accept}");
        let text = answer.head.contains("\ncontent-type: text/plain; version=0.0.4;");
        assert_eq!(text, !is_openmetrics, "{accept}: {}", answer.head);
    }
}

#[test]
fn the_exposition_can_be_read_back_from_the_tenant_system() {
    let weir = Weir::start_with(|settings| {
        settings.self_monitoring.interval = std::time::Duration::from_millis(50);
    });
    for attempt in 0.. {
        let answer = weir.get("/api/v1/query?query=weir_build_info", &weir.system);
        if answer.json()["data"]["result"][0]["value"][1] == "1" {
            break;
        }
        assert!(attempt < 400, "{answer:?}");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert_eq!(
        weir.get("/api/v1/query?query=weir_build_info", &weir.token).json()["data"]["result"],
        serde_json::json!([])
    );
    let metrics = weir.get("/metrics", &weir.admin).body;
    assert_eq!(sum(&metrics, "weir_samples_rejected_total{tenant=\"system\"", ""), 0, "{metrics}");
    assert_eq!(sum(&metrics, "weir_monitor_failures_total", ""), 0);
}
