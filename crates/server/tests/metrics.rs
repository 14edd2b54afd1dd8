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
    assert!(answer.head.contains("application/openmetrics-text"), "{}", answer.head);
    assert!(answer.body.ends_with("# EOF\n"));
    assert!(answer.body.contains("weir_ready{component=\"store\"} 1\n"), "{}", answer.body);
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
