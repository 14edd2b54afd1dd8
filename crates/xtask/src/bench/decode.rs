//! `cargo xtask bench decode`: what a body of each dialect costs, decoded alone and all the way to its answer.
//!
//! VictoriaMetrics gets the bodies that its version takes, too. The decoder runs alone on one thread (`cargo bench -p dialects`); the way
//! to the answer is the CPU that the server took for the same body, sent again and again by one connection, all its threads
//! together: a sample's whole cost with log and sync, on one core.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::peer::Peer;
use super::session::{self, Plan, Profile};
use crate::load::process::Process;
use crate::repo::Repo;
use crate::rig::weir::{Home, connect};
use crate::run;

const ABOUT: &str = "\
Each body holds 2,000 things as its senders count them (series, data points, metrics, lines), uncompressed where the
dialect allows. Alone: the decoder on one thread, best round. To the answer: CPU seconds of the server for the same body over one connection, after
the series are known; so a figure per core, with log and sync. VictoriaMetrics has an answered body in memory, and its later
work is not counted.";

/// How long each body is sent.
const TIME: Duration = Duration::from_secs(3);

/// One dialect's body, and what decoding it alone took.
struct Case {
    name: String,
    path: String,
    content_type: String,
    body: Vec<u8>,
    things: f64,
    rows: f64,
    alone_ns: f64,
}

/// Runs and prints.
pub fn decode(repo: &Repo, plan: &Plan) -> Result<()> {
    let binary = session::built(repo, if plan.smoke { Profile::Debug } else { Profile::Release })?;
    let plan = &Plan { runs: 1, workloads: Vec::new(), servers: Vec::new(), ..plan.clone() };
    session::heading(repo, "decode", ABOUT, &[], plan)?;
    let directory = tempfile::tempdir()?;
    let bodies = directory.path().join("bodies");
    fs::create_dir(&bodies)?;
    let how = if plan.smoke { "test" } else { "bench" };
    run::shown(
        repo,
        &format!("cargo {how} --quiet -p dialects --bench decode -- --out {}", bodies.display()),
    )?;
    let cases = read(&bodies)?;
    ensure!(!cases.is_empty(), "there are no bodies");
    let config = "auth: off\nlimits: {samples_per_second: 1000000000000}\nstorage: {log_bytes: 100GiB}\n\
                  self_monitoring: {interval: 0s}\nbetterstack: {requests_per_minute: 0}\n";
    let home = Home::new(&binary, directory.path(), &directory.path().join("data"), config);
    let server = home.start()?;
    let peer = match run::exists("victoria-metrics") {
        true => Some(Peer::VictoriaMetrics.start(tempfile::tempdir_in(directory.path())?.keep().as_path())?),
        false => None,
    };
    let mut text = String::from(
        "| body | bytes a thing | alone: ns | M things/s | M samples/s | MB/s | to the answer: ns | M things/s | M samples/s | MB/s | VictoriaMetrics: ns | Weir ÷ VictoriaMetrics |\n\
         |---|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for case in &cases {
        // Lines have no answer.
        let ack_ns = match case.path.starts_with('/') {
            true => to_the_answer(&server, &case.path, case, plan)?,
            false => f64::NAN,
        };
        let theirs = match (&peer, at_victoria_metrics(case)) {
            (Some(peer), Some(path)) => {
                let ns = to_the_answer(&peer.process, path, case, plan)?;
                format!("{ns:.0} | {:.2}", ack_ns / ns)
            }
            _ => "– | –".to_owned(),
        };
        let bytes = case.body.len() as f64 / case.things;
        let figures = |ns: f64| {
            if ns.is_nan() {
                return "– | – | – | –".to_owned();
            }
            format!("{ns:.0} | {:.2} | {:.2} | {:.0}", 1e3 / ns, case.rows * 1e3 / ns, bytes * 1e3 / ns)
        };
        let (alone, answered) = (figures(case.alone_ns), figures(ack_ns));
        let _ = writeln!(text, "| {} | {bytes:.0} | {alone} | {answered} | {theirs} |", case.name);
    }
    plan.publish(&text)
}

fn read(directory: &Path) -> Result<Vec<Case>> {
    let index = fs::read_to_string(directory.join("index.tsv"))?;
    let case = |line: &str| {
        let fields: Vec<&str> = line.split('\t').collect();
        let [file, name, path, content_type, things, rows, alone] = fields[..] else {
            anyhow::bail!("{line:?} has {} fields", fields.len());
        };
        Ok(Case {
            name: name.to_owned(),
            path: path.to_owned(),
            content_type: content_type.to_owned(),
            body: fs::read(directory.join(file))?,
            things: things.parse()?,
            rows: rows.parse()?,
            alone_ns: alone.parse()?,
        })
    };
    index.lines().map(case).collect()
}

/// Remote write and Loki's protobuf are always packed.
fn on_the_wire(case: &Case) -> Result<Vec<u8>> {
    let is_packed = case.path.ends_with("/write") || case.path.ends_with("/push");
    match is_packed && case.content_type.starts_with("application/x-protobuf") {
        true => Ok(snap::raw::Encoder::new().compress_vec(&case.body)?),
        false => Ok(case.body.clone()),
    }
}

/// Where VictoriaMetrics takes the same body; its Debian version has neither OTLP nor Datadog's newer routes.
fn at_victoria_metrics(case: &Case) -> Option<&'static str> {
    const PATHS: [(&str, &str); 5] = [
        ("/api/v1/write", "/api/v1/write"),
        ("/api/v1/import/prometheus", "/api/v1/import/prometheus"),
        ("/api/v1/import", "/api/v1/import"),
        ("/write", "/write"),
        ("/api/v1/series", "/datadog/api/v1/series"),
    ];
    let known = PATHS.iter().find(|(ours, _)| *ours == case.path && !case.content_type.contains("write.v2"));
    known.map(|(_, theirs)| *theirs)
}

/// Nanoseconds of CPU that a server takes for each thing.
fn to_the_answer(server: &Process, path: &str, case: &Case, plan: &Plan) -> Result<f64> {
    let mut connection = connect(server.address, "default")?;
    let headers = match case.content_type.as_str() {
        "" => String::new(),
        media => format!("Content-Type: {media}\r\n"),
    };
    let wire = on_the_wire(case)?;
    let mut send = || -> Result<()> {
        let answer = connection.post(path, &headers, &wire)?;
        ensure!(answer.is_success(), "{}: {}", case.name, answer.text());
        Ok(())
    };
    send().context("the first time")?;
    let (before, begun, mut sent) = (server.cpu_seconds()?, Instant::now(), 0u32);
    loop {
        send()?;
        sent += 1;
        if plan.smoke || begun.elapsed() >= TIME {
            break;
        }
    }
    let cpu = server.cpu_seconds()? - before;
    Ok(cpu * 1e9 / (f64::from(sent) * case.things))
}
