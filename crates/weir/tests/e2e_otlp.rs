//! OpenTelemetry's own SDKs against the real binary: over HTTP in both encodings and over gRPC, packed and not, with totals
//! and with deltas, what they recorded is what PromQL reads back.
#![allow(clippy::disallowed_methods, reason = "a test of processes reads the clock")]

mod started;

use std::process::Command;

use started::{Weir, run, script};
use xtask::clients;
use xtask::load::http::free_address;
use xtask::rig::writer::now_ms;

/// A Weir with a port for gRPC, and what a client's script is given: the address for HTTP, that for gRPC, the token.
fn start() -> (Weir, [String; 3]) {
    let grpc = free_address().expect("an address");
    let weir = Weir::start(&format!("otlp: {{grpc_listen: \"{grpc}\"}}\n"));
    let arguments = [weir.url(), grpc.to_string(), weir.token.clone()];
    (weir, arguments)
}

/// What every job recorded, read back.
fn check_jobs(weir: &Weir, jobs: &[String]) {
    for (expression, value) in [
        (r#"shop_requests_total{instance="i1", path="/a"}"#, "7"),
        ("shop_open", "3"),
        ("shop_wait_milliseconds_count", "3"),
        ("shop_wait_milliseconds_sum", "711"),
        (r#"shop_wait_milliseconds_bucket{le="10"}"#, "2"),
        (r#"shop_wait_milliseconds_bucket{le="+Inf"}"#, "3"),
        ("histogram_count(shop_size_bytes)", "3"),
        ("histogram_sum(shop_size_bytes)", "7"),
    ] {
        let mut wanted: Vec<String> = jobs.iter().map(|job| format!("{{job={job}}} {value}")).collect();
        wanted.sort();
        let found = weir.query(&format!("sum by (job) ({expression})"), now_ms() / 1000 + 5);
        assert_eq!(found, wanted, "{expression}");
    }
}

/// How many log lines were accepted.
fn lines(weir: &Weir) -> Option<f64> {
    weir.own("weir_samples_accepted_total{tenant=\"default\",kind=\"log_line\"}")
}

#[test]
fn e2e_python_exporters_are_read_back() {
    let clients = match clients::python("opentelemetry-exporter-otlp==1.45.2") {
        Ok(clients) => clients,
        Err(why) => return xtask::test::skipped("e2e_python_exporters_are_read_back", &why),
    };
    let (weir, arguments) = start();
    let mut command = Command::new("python3");
    command.arg(script("otlp/send.py")).args(arguments).env("PYTHONPATH", &clients);
    let said = run(&mut command);
    let (wrong, told): (Vec<&String>, Vec<&String>) = said.iter().partition(|line| line.starts_with("wrong"));
    assert!(told.iter().all(|line| line.ends_with(" SUCCESS")), "{said:#?}");
    assert!(wrong.iter().all(|line| line.ends_with(" FAILURE")), "{said:#?}");
    assert_eq!((told.len(), wrong.len()), (6 * 2 + 4 * 2, 2 * 2), "{said:#?}");
    let jobs = ["http", "grpc"]
        .map(|protocol| ["none", "gzip", "none-delta"].map(|rest| format!("{protocol}-{rest}")));
    check_jobs(&weir, jobs.as_flattened());
    assert_eq!(lines(&weir), Some(8.0));
}

#[test]
fn e2e_node_exporters_are_read_back() {
    let clients = match clients::node("@opentelemetry/sdk-node@0.223.0") {
        Ok(clients) => clients,
        Err(why) => return xtask::test::skipped("e2e_node_exporters_are_read_back", &why),
    };
    let (weir, arguments) = start();
    let mut command = Command::new("node");
    let said = run(command.arg(script("otlp/send.js")).arg(&clients).args(arguments));
    assert!(said.iter().all(|line| line.ends_with(" SUCCESS")), "{said:#?}");
    let jobs = ["http", "proto", "grpc"]
        .map(|encoding| ["none", "gzip", "none-delta"].map(|rest| format!("node-{encoding}-{rest}")));
    check_jobs(&weir, jobs.as_flattened());
    assert_eq!(lines(&weir), Some(12.0));
}
