//! Clients of dialects that are lines (Graphite, OpenTSDB) against the real binary: what they send comes back by PromQL.
#![allow(clippy::disallowed_methods, reason = "a test of processes reads the clock")]

mod started;

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use started::{Weir, run, script};
use xtask::clients;
use xtask::rig::writer::now_ms;

/// A port that nobody has now.
fn free_port() -> u16 {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    socket.local_addr().expect("an address").port()
}

/// Runs a client's script against a listener of `dialect`, and waits until what it sent is found.
fn is_read_back(dialect: &str, client: &Path, name: &str, expression: &str, wanted: &[String]) {
    let port = free_port();
    let weir = Weir::start(&format!("{dialect}:\n  listen: 127.0.0.1:{port}\n"));
    let now_s = now_ms() / 1000;
    let mut python = Command::new("python3");
    python.arg(script(name)).args(["127.0.0.1", &port.to_string(), &now_s.to_string()]);
    run(python.env("PYTHONPATH", client));
    let began = Instant::now();
    loop {
        let found = weir.query(expression, now_s);
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
                format!("system.{protocol}.foo.bar{{}} 42"),
                format!("system.{protocol}.foo.baz{{ding=dong,host=a_b}} 1.5"),
            ]
        })
        .collect();
    is_read_back("graphite", &client, "lines/graphyte_send.py", r#"{__name__=~"system.*"}"#, &wanted);
}

#[test]
fn e2e_potsdb_is_read_back() {
    let client = match clients::python("potsdb==1.0.3") {
        Ok(client) => client,
        Err(why) => return xtask::test::skipped("e2e_potsdb_is_read_back", &why),
    };
    let wanted = [("b", "42"), ("c", "1.5")].map(|(tag, value)| format!("potsdb.metric{{a={tag}}} {value}"));
    is_read_back("opentsdb", &client, "lines/potsdb_send.py", r#"{"potsdb.metric"}"#, &wanted);
}
