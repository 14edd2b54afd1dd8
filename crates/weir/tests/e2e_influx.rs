//! InfluxDB's own clients against the real binary: what they write comes back by PromQL, and what they are answered is what
//! they want to read.
#![allow(clippy::disallowed_methods, reason = "a test of processes reads the clock")]

mod started;

use std::process::Command;

use started::{Weir, python_path, run, script};
use xtask::clients;
use xtask::rig::writer::now_ms;

/// Base URL, token and time for a client.
fn arguments(weir: &Weir, now_s: i64) -> [String; 3] {
    [weir.url(), weir.token.clone(), now_s.to_string()]
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
    let python = match python_path(&["influxdb==5.3.2", "influxdb-client==1.50.0"]) {
        Ok(python) => python,
        Err(why) => return xtask::test::skipped(name, &why),
    };
    let (weir, now_s) = (Weir::start(""), now_ms() / 1000);
    let mut command = Command::new("python3");
    command.arg(script("influx/send.py")).args(arguments(&weir, now_s));
    command.env("PYTHONPATH", python);
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
    let load = |name: &str, value: &str| format!("{name}{{host=a b,,re gion=us=w}} {value}");
    assert_eq!(
        weir.query(r#"{__name__=~"py1.*"}"#, now_s),
        [
            load("py1 load_n", "3"),
            load("py1 load_ok", "1"),
            load("py1 load", "0.64"),
            load("py1_gzip_n", "3"),
            load("py1_gzip_ok", "1"),
            load("py1_gzip", "0.64"),
        ]
    );
    let creek = |name: &str, value: &str| format!("{name}{{loc=coyote creek}} {value}");
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
    let (weir, now_s) = (Weir::start(""), now_ms() / 1000);
    let mut command = Command::new("node");
    command.arg(script("influx/send.js")).args(&paths).args(arguments(&weir, now_s));
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
        ["npm1_on{host=a b} 1", "npm1{host=a b} 0.5", "npm2_f{loc=a b} 1.5", "npm2_i{loc=a b} 2",]
    );
}
