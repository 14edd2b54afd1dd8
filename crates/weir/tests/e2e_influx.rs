//! InfluxDB's own clients against the real binary: what they write comes back by PromQL, and what they are answered is what
//! they want to read.
#![allow(clippy::disallowed_methods, reason = "a test of processes reads the clock")]

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use xtask::clients;
use xtask::load::http::{Connection, encoded};
use xtask::load::process::Process;
use xtask::rig::weir::Home;
use xtask::rig::writer::now_ms;

struct Weir {
    process: Process,
    token: String,
    _directory: tempfile::TempDir,
}

impl Weir {
    fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let data = directory.path().join("data");
        let home = Home::new(Path::new(env!("CARGO_BIN_EXE_weir")), directory.path(), &data, "");
        let process = home.start().expect("Weir starts");
        let token = home.token();
        Self { process, token, _directory: directory }
    }

    /// Base URL, token and time for a client.
    fn arguments(&self, now_s: i64) -> [String; 3] {
        [format!("http://{}", self.process.address), self.token.clone(), now_s.to_string()]
    }

    /// The series that an expression selects at `now_s`, in their order.
    fn query(&self, expression: &str, now_s: i64) -> Vec<String> {
        let mut connection = Connection::open(self.process.address, Some(&self.token)).expect("Weir answers");
        let question = format!("/api/v1/query?time={now_s}&query={}", encoded(expression));
        let answer = connection.get(&question).expect("an answer");
        let json: Value = serde_json::from_slice(&answer.body).expect("JSON");
        let rows = json["data"]["result"].as_array().unwrap_or_else(|| panic!("{expression}: {json}"));
        let mut shown: Vec<String> =
            rows.iter().map(|row| format!("{} {}", row["metric"], row["value"][1])).collect();
        shown.sort();
        shown
    }
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join("influx").join(name)
}

/// Runs a client's script and returns its lines.
fn run(command: &mut Command) -> Vec<String> {
    let output = command.output().expect("it starts");
    let (printed, errors) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{printed}\n{errors}");
    printed.lines().map(str::to_owned).collect()
}

/// Each line begins as it is wanted to.
fn check(lines: &[String], wanted: &[&str]) {
    assert_eq!(lines.len(), wanted.len(), "{lines:#?}");
    for (line, wanted) in lines.iter().zip(wanted) {
        assert!(line.starts_with(wanted), "{line}: wanted {wanted}");
    }
}

#[test]
fn e2e_influx_python_clients_are_read_back() {
    let name = "e2e_influx_python_clients_are_read_back";
    let paths: Result<Vec<_>, _> =
        ["influxdb==5.3.2", "influxdb-client==1.50.0"].into_iter().map(clients::python).collect();
    let paths = match paths {
        Ok(paths) => paths,
        Err(why) => return xtask::test::skipped(name, &why),
    };
    let (weir, now_s) = (Weir::start(), now_ms() / 1000);
    let mut command = Command::new("python3");
    command.arg(script("send.py")).args(weir.arguments(now_s));
    command.env("PYTHONPATH", std::env::join_paths(&paths).expect("paths"));
    check(
        &run(&mut command),
        &[
            "v1 ping ok 1.8",
            "v1 create ok None",
            "v1 list ok ['mydb']",
            "v1 write ok True",
            "v1 gzip ok True",
            r#"v1 bad status 400 {"error":"unable to parse 'bad v=x': invalid number"}"#,
            r#"v1 wrong status 401 {"error":"authorization failed"}"#,
            "v2 ping ok True",
            "v2 health ok pass",
            "v2 write ok None",
            "v2 gzip ok None",
            r#"v2 wrong status 401 {"code":"unauthorized""#,
        ],
    );
    let load = |name: &str, value: &str| {
        format!(r#"{{"__name__":"{name}","host":"a b,","re gion":"us=w"}} "{value}""#)
    };
    assert_eq!(
        weir.query(r#"{__name__=~"py1.*"}"#, now_s),
        [
            load("py1 load", "0.64"),
            load("py1 load_n", "3"),
            load("py1 load_ok", "1"),
            load("py1_gzip", "0.64"),
            load("py1_gzip_n", "3"),
            load("py1_gzip_ok", "1"),
        ]
    );
    let creek =
        |name: &str, value: &str| format!(r#"{{"__name__":"{name}","loc":"coyote creek"}} "{value}""#);
    assert_eq!(
        weir.query(r#"{__name__=~"py2.*"}"#, now_s),
        [
            creek("py2_f", "1.5"),
            creek("py2_gzip_f", "1.5"),
            creek("py2_gzip_level", "1"),
            creek("py2_level", "1"),
        ]
    );
    assert!(weir.query(r#"{__name__=~"wrong.*|bad.*"}"#, now_s + 5).is_empty());
}

#[test]
fn e2e_influx_node_clients_are_read_back() {
    let name = "e2e_influx_node_clients_are_read_back";
    let paths: Result<Vec<_>, _> =
        ["influx@5.12.0", "@influxdata/influxdb-client@1.35.0"].into_iter().map(clients::node).collect();
    let paths = match paths {
        Ok(paths) => paths,
        Err(why) => return xtask::test::skipped(name, &why),
    };
    let (weir, now_s) = (Weir::start(), now_ms() / 1000);
    let mut command = Command::new("node");
    command.arg(script("send.js")).args(&paths).args(weir.arguments(now_s));
    check(
        &run(&mut command),
        &[
            "v1 create ok null",
            "v1 list ok []",
            "v1 write ok null",
            // It does not escape the blank.
            "v1 bad status 400",
            "v1 wrong status 401",
            "v2 write ok null",
            "v2 wrong status 401",
        ],
    );
    assert_eq!(
        weir.query(r#"{__name__=~"npm.*"}"#, now_s),
        [
            r#"{"__name__":"npm1","host":"a b"} "0.5""#,
            r#"{"__name__":"npm1_on","host":"a b"} "1""#,
            r#"{"__name__":"npm2_f","loc":"a b"} "1.5""#,
            r#"{"__name__":"npm2_i","loc":"a b"} "2""#,
        ]
    );
}
