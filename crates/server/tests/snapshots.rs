//! Snapshots over HTTP: what was acknowledged before is inside, with its tenants and tokens; who may; what is refused.

mod common;

use std::sync::mpsc::sync_channel;

use common::{Weir, until};
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
    for (path, form) in [("tsdb/snapshot?skip_head=x", ""), ("tsdb/snapshot", "skip_head=x")] {
        let (status, refused) = ask(&weir, "POST", &format!("/prometheus/api/v1/admin/{path}"), form);
        assert_eq!((status, refused["errorType"].as_str()), (400, Some("bad_data")), "{refused}");
    }
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

/// Snapshots and deletes ran on the threads that decode bodies, of which there are as many as cores: two slow ones, and
/// no body of more than 64 KiB was decoded any more.
#[test]
fn slow_upkeep_keeps_no_body_waiting_and_is_bounded() {
    let weir = Weir::start();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let delete = "/api/v1/admin/tsdb/delete_series?match[]=up";
    std::thread::scope(|scope| {
        let (begun, has_begun) = sync_channel(1);
        // When this test fails it is dropped, and nobody waits any more.
        let (go, may_go) = sync_channel::<()>(1);
        let slow = scope.spawn(|| {
            runtime.block_on(weir.app().upkeep.run(move || {
                begun.send(()).unwrap();
                may_go.recv()
            }))
        });
        has_begun.recv().unwrap();
        let waiting: Vec<_> = (0..4)
            .map(|nth| {
                let path = if nth % 2 == 0 { PATH } else { delete };
                scope.spawn(|| weir.request("POST", path, &weir.admin, "", b"").status)
            })
            .collect();
        until("all wait", || weir.app().upkeep.waiting() == waiting.len());
        for path in [PATH, delete] {
            let refused = weir.request("POST", path, &weir.admin, "", b"");
            assert_eq!(refused.status, 503, "{refused:?}");
            assert!(refused.head.contains("retry-after: ") && refused.body.contains("wait"), "{refused:?}");
        }
        let body: String = (0..20_000).map(|n| format!("large{{n=\"{n}\"}} 1\n")).collect();
        assert!(body.len() > 64 << 10);
        assert_eq!(weir.post(IMPORT, &body).status, 204);
        assert_eq!(ask(&weir, "POST", "/api/v1/admin/tenants", r#"{"name": "acme"}"#).0, 201);
        // It is not refused: what cannot be done at once is done later.
        assert_eq!(ask(&weir, "DELETE", "/api/v1/admin/tenants/acme", "").0, 200);
        go.send(()).unwrap();
        assert_eq!(slow.join().unwrap(), Ok(Ok(())));
        let statuses: Vec<_> = waiting.into_iter().map(|one| one.join().unwrap()).collect();
        assert_eq!(statuses, [201, 204, 201, 204]);
    });
}
