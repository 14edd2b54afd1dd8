//! Snapshots over HTTP: what was acknowledged before is inside, with its tenants and tokens; who may; what is refused.

mod common;

use common::Weir;
use serde_json::Value;

const PATH: &str = "/api/v1/admin/snapshots";
const IMPORT: &str = "/api/v1/import/prometheus";

fn ask(weir: &Weir, method: &str, path: &str, body: &str) -> (u16, Value) {
    let answer = weir.request(method, path, &weir.admin, "", body.as_bytes());
    (answer.status, answer.json())
}

fn one(weir: &Weir, token: &str, query: &str) -> String {
    let answer = weir.get(&format!("/api/v1/query?query={query}"), token).json();
    answer["data"]["result"][0]["value"][1].as_str().unwrap_or("nothing").to_owned()
}

/// Copies files as `cp -r` does: a snapshot needs nothing else.
fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[test]
fn a_snapshot_serves_what_was_acknowledged_before_it() {
    let weir = Weir::start();
    let body = r#"{"name": "acme"}"#;
    assert_eq!(ask(&weir, "POST", "/api/v1/admin/tenants", body).0, 201);
    assert_eq!(weir.post(IMPORT, "before 1\n# TYPE before gauge\nchanging 1\n").status, 204);
    let (status, made) = ask(&weir, "POST", PATH, r#"{"name": "first"}"#);
    assert_eq!((status, &made["name"], &made["blocks"]), (201, &"first".into(), &1.into()), "{made}");
    assert!(made["samples"].as_u64() >= Some(2) && made["bytes"].as_u64() > Some(0), "{made}");
    assert_eq!(weir.post(IMPORT, "after 1\nchanging 2\n").status, 204);

    let to = tempfile::tempdir().unwrap();
    copy(&weir.directory.path().join("snapshots/first"), to.path());
    // Tokens are as they were; their files, which hold secrets, are not copied.
    assert!(!to.path().join("admin-api-token").exists());
    for name in ["admin-api-token", "tenant-api-token-default", "tenant-api-token-system"] {
        std::fs::copy(weir.directory.path().join(name), to.path().join(name)).unwrap();
    }
    let restored = Weir::start_in(to, |_| {});
    assert_eq!(one(&restored, &weir.token, "before"), "1");
    assert_eq!(one(&restored, &weir.token, "changing"), "1");
    assert_eq!(one(&restored, &weir.token, "after"), "nothing");
    let tenants = ask(&restored, "GET", "/api/v1/admin/tenants", "").1;
    assert!(tenants.to_string().contains("acme"), "{tenants}");
    // What is written next is newer than what is there.
    assert_eq!(restored.post(IMPORT, "changing 3\n").status, 204);
    assert_eq!(one(&restored, &weir.token, "changing"), "3");
}

#[test]
fn snapshots_are_listed_and_deleted_by_those_who_may() {
    let weir = Weir::start();
    assert_eq!(weir.request("POST", PATH, &weir.token, "", b"").status, 403);
    assert_eq!(weir.request("GET", PATH, "", "", b"").status, 401);
    assert_eq!(ask(&weir, "GET", PATH, ""), (200, serde_json::json!({ "snapshots": [] })));
    let unnamed = ask(&weir, "POST", PATH, "");
    assert_eq!(unnamed.0, 201, "{}", unnamed.1);
    let (status, prometheus) = ask(&weir, "POST", "/api/v1/admin/tsdb/snapshot?skip_head=false", "");
    assert_eq!((status, &prometheus["status"]), (200, &"success".into()), "{prometheus}");
    let names = [unnamed.1["name"].as_str().unwrap(), prometheus["data"]["name"].as_str().unwrap()];
    let listed = |weir: &Weir| {
        let list = ask(weir, "GET", PATH, "").1["snapshots"].clone();
        let names = list.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap().to_owned());
        names.collect::<Vec<_>>()
    };
    assert_eq!(listed(&weir), names);
    assert_eq!(ask(&weir, "POST", PATH, &format!(r#"{{"name": "{}"}}"#, names[0])).0, 409);
    for bad in [r#"{"name": "../x"}"#, r#"{"name": "x.tmp"}"#, r#"{"nam": "x"}"#, "x"] {
        assert_eq!(ask(&weir, "POST", PATH, bad).0, 400, "{bad}");
    }
    assert_eq!(ask(&weir, "DELETE", &format!("{PATH}/{}", names[0]), "").0, 200);
    assert_eq!(ask(&weir, "DELETE", &format!("{PATH}/{}", names[0]), "").0, 404);
    assert_eq!(ask(&weir, "DELETE", &format!("{PATH}/..%2F..%2Fblocks"), "").0, 400);
    assert_eq!(listed(&weir), [names[1]]);
}
