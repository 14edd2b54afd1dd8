//! `cargo xtask bench memory`: resident memory a minute after the last answer, and after queries over everything.

use std::path::Path;

use anyhow::{Result, ensure};

use super::peer::Peer;
use super::report::Column;
use super::session::{self, Load, Plan, rested};
use crate::load::process::Process;
use crate::repo::Repo;

const ABOUT: &str = "\
From `/proc/PID/status`: VmRSS a minute after the last answer, and after three queries over every series (`count`, `topk`, \
`sum by` of a `rate`); VmHWM, the peak until then; RssAnon, which is VmRSS without the pages of mapped files, which the \
kernel takes back when it needs them. All series that there ever were count.";

const COLUMNS: &[Column] = &[
    Column::new("a minute after: RSS MB", 1e6, 0),
    Column::new("a minute after: anonymous MB", 1e6, 0),
    Column::new("a minute after: peak MB", 1e6, 0),
    Column::new("a minute after: RSS B/series", 1.0, 0),
    Column::new("after queries: RSS MB", 1e6, 0),
    Column::new("after queries: anonymous MB", 1e6, 0),
    Column::new("after queries: peak MB", 1e6, 0),
    Column::new("queries refused", 1.0, 0),
];

/// Runs the plan and prints tables.
pub fn memory(repo: &Repo, plan: &Plan) -> Result<()> {
    if cfg!(debug_assertions) && !plan.smoke {
        return session::again_optimised(repo);
    }
    let peers = session::peers(repo, plan)?;
    session::heading(repo, "memory", ABOUT, &peers, plan)?;
    let measure = |peer: &Peer, load: &Load, directory: &Path| measure(plan, peer, load, directory);
    session::tables(repo, plan, &peers, &["A", "C", "D", "E"], COLUMNS, measure)
}

fn measure(plan: &Plan, peer: &Peer, load: &Load, directory: &Path) -> Result<Vec<f64>> {
    let server = rested(plan, peer, load, directory)?;
    let rested = memory_of(&server.process)?;
    let all = load.selector();
    let queries =
        [format!("count({all})"), format!("topk(10, {all})"), format!("sum by (mode) (rate({all}[1m]))")];
    let mut refused = 0;
    for query in queries {
        let answer = server.instant(&query, load.bodies.last_ms + 1_000)?;
        if !answer.is_success() {
            eprintln!("    {} refused {query}: {:.200}", peer.name(), answer.text());
            refused += 1;
        }
    }
    ensure!(refused == 0 || !matches!(peer, Peer::Weir(_)), "Weir refused a query");
    let queried = memory_of(&server.process)?;
    let per_series = [rested[0] / load.workload.all_series() as f64];
    Ok([&rested[..], &per_series, &queried, &[f64::from(refused)]].concat())
}

/// Resident, resident without mapped files, the peak.
fn memory_of(process: &Process) -> Result<[f64; 3]> {
    let bytes = |line| anyhow::Ok(process.memory_bytes(line)? as f64);
    Ok([bytes("VmRSS")?, bytes("RssAnon")?, bytes("VmHWM")?])
}
