//! Clients of dialects that are lines (Graphite, OpenTSDB) against the real binary: what they send comes back by PromQL.
#![allow(clippy::disallowed_methods, reason = "a test of processes reads the clock")]

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use xtask::clients;
use xtask::load::http::{Connection, encoded};
use xtask::load::process::Process;
use xtask::rig::weir::Home;
use xtask::rig::writer::now_ms;

/// A port that nobody has now.
fn free_port() -> u16 {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    socket.local_addr().expect("an address").port()
}

/// The series that an expression selects at `now_s`, in their order.
fn query(process: &Process, token: &str, expression: &str, now_s: i64) -> Vec<String> {
    let mut connection = Connection::open(process.address, Some(token)).expect("Weir answers");
    let question = format!("/api/v1/query?time={now_s}&query={}", encoded(expression));
    let answer = connection.get(&question).expect("an answer");
    let json: Value = serde_json::from_slice(&answer.body).expect("JSON");
    let rows = json["data"]["result"].as_array().unwrap_or_else(|| panic!("{expression}: {json}"));
    let mut shown: Vec<String> =
        rows.iter().map(|row| format!("{} {}", row["metric"], row["value"][1])).collect();
    shown.sort();
    shown
}

/// Runs a client's script against a listener of `dialect`, and waits until what it sent is found.
fn is_read_back(dialect: &str, client: &Path, script: &str, expression: &str, wanted: &[String]) {
    let directory = tempfile::tempdir().expect("a directory");
    let (data, port) = (directory.path().join("data"), free_port());
    let config = format!("{dialect}:\n  listen: 127.0.0.1:{port}\n");
    let home = Home::new(Path::new(env!("CARGO_BIN_EXE_weir")), directory.path(), &data, &config);
    let (process, now_s) = (home.start().expect("Weir starts"), now_ms() / 1000);
    let output = Command::new("python3")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lines").join(script))
        .args(["127.0.0.1", &port.to_string(), &now_s.to_string()])
        .env("PYTHONPATH", client)
        .output()
        .expect("python3 starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (token, began) = (home.token(), Instant::now());
    loop {
        let found = query(&process, &token, expression, now_s);
        if found == wanted {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "{found:#?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn e2e_graphyte_is_read_back() {
    let client = match clients::python("graphyte==1.7.1") {
        Ok(client) => client,
        Err(why) => return xtask::test::skipped("e2e_graphyte_is_read_back", &why),
    };
    let wanted: Vec<String> = ["tcp", "udp"]
        .into_iter()
        .flat_map(|protocol| {
            [
                format!(r#"{{"__name__":"system.{protocol}.foo.bar"}} "42""#),
                format!(r#"{{"__name__":"system.{protocol}.foo.baz","ding":"dong","host":"a_b"}} "1.5""#),
            ]
        })
        .collect();
    is_read_back("graphite", &client, "graphyte_send.py", r#"{__name__=~"system.*"}"#, &wanted);
}

#[test]
fn e2e_potsdb_is_read_back() {
    let client = match clients::python("potsdb==1.0.3") {
        Ok(client) => client,
        Err(why) => return xtask::test::skipped("e2e_potsdb_is_read_back", &why),
    };
    let wanted = [("b", "42"), ("c", "1.5")]
        .map(|(tag, value)| format!(r#"{{"__name__":"potsdb.metric","a":"{tag}"}} "{value}""#));
    is_read_back("opentsdb", &client, "potsdb_send.py", r#"{"potsdb.metric"}"#, &wanted);
}
