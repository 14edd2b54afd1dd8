//! Deletes over HTTP: who may, what goes, what stays.

mod common;

use common::Weir;
use serde_json::{Value, json};

const PATH: &str = "/api/v1/admin/tsdb/delete_series";

fn filled() -> Weir {
    let weir = Weir::start_with(|settings| settings.storage.retention = std::time::Duration::ZERO);
    let lines =
        "up{job=\"a\"} 1 1700000000000\nup{job=\"a\"} 2 1700000060000\nup{job=\"b\"} 3 1700000000000\n";
    assert_eq!(weir.post("/api/v1/import/prometheus", lines).status, 204);
    weir
}

fn delete(weir: &Weir, query: &str, token: &str) -> common::Response {
    weir.request("POST", &format!("{PATH}?{query}"), token, "", b"")
}

fn values(weir: &Weir) -> Vec<(String, Value)> {
    let answer = weir.get("/api/v1/query?query=up[10m]&time=1700000100", &weir.token).json();
    let result = answer["data"]["result"].as_array().unwrap().clone();
    let one =
        |series: Value| (series["metric"]["job"].as_str().unwrap().to_owned(), series["values"].clone());
    result.into_iter().map(one).collect()
}

#[test]
fn a_range_of_a_series_is_deleted_and_what_is_sent_again_is_there() {
    let weir = filled();
    let answer = delete(&weir, "match[]=up%7Bjob=%22a%22%7D&start=1700000000&end=1700000030", &weir.admin);
    assert_eq!((answer.status, &*answer.body), (204, ""));
    let b = ("b".to_owned(), json!([[1_700_000_000, "3"]]));
    assert_eq!(values(&weir), [("a".to_owned(), json!([[1_700_000_060, "2"]])), b.clone()]);
    assert_eq!(delete(&weir, "match[]=%7Bjob=%22a%22%7D", &weir.admin).status, 204);
    assert_eq!(values(&weir), std::slice::from_ref(&b));
    let series = weir.get("/api/v1/label/job/values", &weir.token).json();
    assert_eq!(series["data"], json!(["b"]));
    assert_eq!(weir.post("/api/v1/import/prometheus", "up{job=\"a\"} 7 1700000000000\n").status, 204);
    assert_eq!(values(&weir), [("a".to_owned(), json!([[1_700_000_000, "7"]])), b]);
}

#[test]
fn everything_is_merged_on_request() {
    let weir = filled();
    let all = values(&weir);
    let compact = |token: &str| weir.request("POST", "/api/v1/admin/tsdb/compact", token, "", b"").status;
    assert_eq!(compact(&weir.token), 403);
    assert_eq!(compact(&weir.admin), 204);
    let store = weir.app().store().unwrap().status();
    assert_eq!((store.head_samples, store.compactions), (0, 1), "{store:?}");
    assert_eq!(values(&weir), all);
}

#[test]
fn only_the_admin_scope_deletes_and_only_what_is_named() {
    let weir = filled();
    let all = values(&weir);
    let ask = "match[]=up";
    assert_eq!(delete(&weir, ask, &weir.token).status, 403);
    assert_eq!(delete(&weir, ask, "0123456789abcdef0123456789abcdef").status, 401);
    let refused = |query: &str| {
        let answer = delete(&weir, query, &weir.admin);
        (answer.status, answer.json()["error"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(refused(""), (400, "no match[] parameter provided".to_owned()));
    let (status, error) = refused("match[]=%7Bjob=~%22.*%22%7D");
    assert_eq!((status, error.contains("at least one non-empty matcher")), (400, true), "{error}");
    assert_eq!(refused("match[]=up&start=9&end=3").0, 400);
    assert_eq!(refused("match[]=up&tenant=nobody"), (400, "there is no tenant \"nobody\"".to_owned()));
    assert_eq!(delete(&weir, "match[]=up&tenant=system", &weir.admin).status, 204, "another tenant's");
    assert_eq!(weir.get(&format!("{PATH}?{ask}"), &weir.admin).status, 405);
    assert_eq!(values(&weir), all);
}
