//! Pages at paths that the configuration names.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Response, Weir, scalr, typed};
use server::config::{Config, Machine, Settings};

fn start(exposures: &str) -> Weir {
    let weir = Weir::start_with(|settings| {
        settings.self_monitoring.interval = Duration::ZERO;
        settings.exposures = typed(exposures).exposures;
    });
    let stored = weir.post("/api/v1/import/prometheus", &scalr::page());
    assert_eq!(stored.status, 204, "{stored:?}");
    assert_eq!(weir.post("/api/v1/import/prometheus", "other 1\n").status, 204);
    weir
}

/// As a client of Go asks: no Accept, `Accept-Encoding: gzip`.
fn read(weir: &Weir, path: &str, prefer: &str) -> Response {
    let headers = format!("User-Agent: Go-http-client/1.1\r\n{prefer}");
    weir.request("GET", path, &weir.token, &headers, b"")
}

const ACCOUNT: &str = "/api/iacp/v3/metrics";

#[test]
fn an_exposure_stands_in_place_of_the_account() {
    let weir = start("exposures:\n  - path: /api/iacp/v3/metrics\n    match: ['{__name__=~\"scalr_.*\"}']\n");
    for profile in ["preview", "internal"] {
        let answer = read(&weir, ACCOUNT, &format!("prefer: profile={profile}\r\n"));
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(scalr::pairs(&answer.body), scalr::pairs(&scalr::page()));
        assert!(
            answer.head.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"),
            "{answer:?}"
        );
        assert!(answer.head.contains(&format!("preference-applied: profile={profile}\r\n")), "{answer:?}");
        assert!(answer.head.contains("vary: accept, prefer, accept-encoding\r\n"), "{answer:?}");
    }
    // The other path of the account goes on.
    assert!(read(&weir, "/api/v1/account/metrics", "").body.contains("\nweir_active_series 14\n"));
    assert_eq!(weir.get(ACCOUNT, "").status, 401);
    assert_eq!(weir.get(ACCOUNT, &weir.admin).status, 404);
    let other = weir.get(&format!("{ACCOUNT}?tenant=default"), &weir.admin);
    assert_eq!(other.body.matches("# TYPE scalr_").count(), 13);
    // And another tenant's page has nothing of this one's.
    assert_eq!(weir.get(ACCOUNT, &weir.system).body, "");
}

#[test]
fn the_order_of_the_selectors_is_that_of_the_families() {
    let names: Vec<String> = scalr::GAUGES.iter().map(|(name, _)| format!("scalr_{name}")).collect();
    let weir = start(&format!("exposures:\n  - path: /own/page\n    match: [{}]\n", names.join(", ")));
    assert_eq!(read(&weir, "/own/page", "").body, scalr::page());
}

#[test]
fn a_page_is_for_its_tenant_and_its_profiles() {
    let weir = start(
        "exposures:\n  - {path: /a, tenant: default, match: other}\n  - {path: /b, tenant: system}\n  \
         - {path: /c, profiles: [team], match: ['{__name__=~\"o.*\", job=\"\"}']}\n  \
         - {path: /d, max_age: 1ms}\n  - {path: /e, match: other, untyped_as: unknown}\n  \
         - {path: /api/v1/account/metrics, profiles: [team], match: other}\n",
    );
    let one = "# TYPE other gauge\nother 1\n";
    assert_eq!(read(&weir, "/a", "").body, one);
    assert_eq!(weir.get("/a", "").status, 401);
    assert_eq!(weir.get("/a", &weir.system).status, 403);
    assert_eq!(weir.get("/a?tenant=default", &weir.admin).body, one);
    assert_eq!(read(&weir, "/b", "").status, 403);
    assert_eq!(weir.get("/b", &weir.system).status, 200);
    assert_eq!(read(&weir, "/c", "").status, 404);
    assert_eq!(read(&weir, "/c", "Prefer: profile=internal\r\n").status, 404);
    let team = read(&weir, "/c", "Prefer: profile=team\r\n");
    assert_eq!(team.body, one);
    assert!(team.head.contains("preference-applied: profile=team\r\n"), "{team:?}");
    assert_eq!(read(&weir, "/d", "").body, "");
    assert_eq!(read(&weir, "/e", "").body, "# TYPE other untyped\nother 1\n");
    assert!(read(&weir, "/api/v1/account/metrics", "").body.contains("weir_active_series"));
    assert_eq!(read(&weir, "/api/v1/account/metrics", "Prefer: profile=team\r\n").body, one);
    let posted = weir.request("POST", "/a", &weir.token, "", b"");
    assert!(posted.status == 405 && posted.head.contains("allow: get\r\n"), "{posted:?}");
    assert_eq!(read(&weir, "/a/b", "").status, 404);
}

#[test]
fn a_reload_brings_pages_and_takes_them_away() {
    let weir = start("");
    assert_eq!(read(&weir, "/own", "").status, 404);
    let change = |text: &str| {
        let now = weir.app().config.load_full();
        let settings = Settings { exposures: typed(text).exposures, ..now.settings.clone() };
        let next = Config::resolve(settings, Machine { memory_bytes: 2 << 30, cores: 2 }).unwrap();
        assert_eq!(now.restart_needed(&next), Vec::<String>::new());
        weir.app().config.store(Arc::new(next));
    };
    change("exposures:\n  - {path: /own, match: other}\n");
    assert_eq!(read(&weir, "/own", "").body, "# TYPE other gauge\nother 1\n");
    change("");
    assert_eq!(read(&weir, "/own", "").status, 404);
}
