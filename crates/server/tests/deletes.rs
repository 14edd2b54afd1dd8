//! Deletes over HTTP: who may, what goes, what stays.

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;

use common::{Response, Weir, until};
use env::Env;
use model::TenantId;
use serde_json::{Value, json};
use server::control::Control;

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

/// A tenant with a token that writes and reads.
fn tenant(weir: &Weir, name: &str) -> (TenantId, String) {
    let ask = |path: &str, body: Value| {
        let body = body.to_string();
        let answer = weir.request("POST", path, &weir.admin, "", body.as_bytes());
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.json()
    };
    let made = ask("/api/v1/admin/tenants", json!({ "name": name }));
    let token = json!({ "tenant": name, "scopes": ["write", "read"] });
    let token = ask("/api/v1/admin/tokens", token)["token"].as_str().unwrap().to_owned();
    let id = made["id"].as_u64().unwrap().try_into().unwrap();
    (TenantId(id), token)
}

/// A request whose body goes on when [`Slow::end`] sends the rest.
struct Slow(TcpStream);

impl Slow {
    const BODY: &str = "late 1\nlate{a=\"b\"} 2\n";

    /// Sends all but the last byte, and waits until the request is admitted.
    fn begin(weir: &Weir, tenant: TenantId, headers: &str) -> Self {
        let mut stream = weir.connect();
        let (all, most) = (Self::BODY.len(), &Self::BODY[..Self::BODY.len() - 1]);
        let head = format!(
            "POST /api/v1/import/prometheus HTTP/1.1\r\nHost: weir\r\nConnection: close\r\n{headers}Content-Length: {all}\r\n\r\n{most}"
        );
        stream.write_all(head.as_bytes()).unwrap();
        until("admitted", || weir.app().bytes.held_by(tenant) > 0);
        Self(stream)
    }

    fn end(mut self) -> Response {
        self.0.write_all(&Self::BODY.as_bytes()[Self::BODY.len() - 1..]).unwrap();
        let mut answer = Vec::new();
        self.0.read_to_end(&mut answer).unwrap();
        Response::parse(&String::from_utf8_lossy(&answer))
    }
}

fn delete_tenant(weir: &Weir, name: &str) {
    let answer = weir.request("DELETE", &format!("/api/v1/admin/tenants/{name}"), &weir.admin, "", b"");
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// A request that was admitted before its tenant was deleted, and ended after it, was answered with 204; its samples lay
/// in blocks for ever, since they had come after the tenant's floor and nobody could name the tenant any more.
#[test]
fn a_request_that_outlives_its_tenant_is_refused() {
    let weir = Weir::start();
    let (id, token) = tenant(&weir, "acme");
    let slow = Slow::begin(&weir, id, &format!("Authorization: Bearer {token}\r\n"));
    delete_tenant(&weir, "acme");
    let answer = slow.end();
    assert_eq!(answer.status, 401, "{answer:?}");
    assert!(answer.head.contains("www-authenticate"), "{answer:?}");
    let next = weir.request("POST", "/api/v1/import/prometheus", &token, "", Slow::BODY.as_bytes());
    assert_eq!((next.status, next.body), (answer.status, answer.body), "as if it had come later");
    assert_eq!(weir.post("/api/v1/import/prometheus", "up 1\n").status, 204, "others are not turned away");
    let store = weir.app().store().unwrap();
    store.flush().unwrap();
    assert_eq!((store.tenants_in_blocks().contains(&id), store.tenant_status(id).head_series), (false, 0));
}

#[test]
fn without_tokens_it_is_refused_as_the_name_of_no_tenant() {
    let weir = Weir::start_with(|settings| settings.general.auth = server::config::Auth::Off);
    let (id, _) = tenant(&weir, "acme");
    let header = "X-Scope-OrgID: acme\r\n";
    let slow = Slow::begin(&weir, id, header);
    delete_tenant(&weir, "acme");
    let answer = slow.end();
    let next = weir.request("POST", "/api/v1/import/prometheus", "", header, Slow::BODY.as_bytes());
    assert_eq!((answer.status, &answer.body), (403, &next.body));
    assert_eq!(answer.status, next.status);
}

/// What lies in blocks of tenants that are not there any more, from a version that took it, goes with the next start.
#[test]
fn data_of_a_tenant_that_was_deleted_long_ago_is_removed() {
    let weir = Weir::start();
    let (id, token) = tenant(&weir, "acme");
    assert_eq!(
        weir.request("POST", "/api/v1/import/prometheus", &token, "", Slow::BODY.as_bytes()).status,
        204
    );
    assert_eq!(weir.post("/api/v1/import/prometheus", "kept 1\n").status, 204);
    let directory = weir.stop();
    let (control, _) = Control::open(Env::real(), directory.path(), admission::Policy::default()).unwrap();
    control.change(|state| state.delete_tenant("acme")).unwrap();
    control.forget(id).unwrap();
    drop(control);
    let weir = Weir::start_in(directory, |_| {});
    let store = weir.app().store().unwrap();
    until("removed", || !store.tenants_in_blocks().contains(&id));
    let kept = weir.get("/api/v1/query?query=kept", &weir.token).json();
    assert_eq!(kept["data"]["result"][0]["value"][1], "1", "{kept}");
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
