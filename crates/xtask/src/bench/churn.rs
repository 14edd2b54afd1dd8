//! `cargo xtask bench churn`: what a new series costs.
//!
//! CPU of a new series is the CPU of the workload less what its samples cost when no series is new, by the series that
//! are new.

use std::path::Path;

use anyhow::Result;

use super::peer::Peer;
use super::report::Column;
use super::session::{self, Load, Plan, send};
use crate::load::mix::{Shape, WORKLOADS};
use crate::load::process;
use crate::repo::Repo;

const COLUMNS: &[Column] = &[
    Column::new("CPU µs/sample", 1.0, 3),
    Column::new("CPU µs/new series", 1.0, 2),
    Column::new("RSS MB", 1e6, 0),
    Column::new("disk MB", 1e6, 1),
];

/// Runs the plan and prints tables.
pub fn churn(repo: &Repo, plan: &Plan) -> Result<()> {
    if cfg!(debug_assertions) && !plan.smoke {
        return session::again_optimised(repo);
    }
    let peers = session::peers(repo, plan)?;
    let mut text = session::heading(repo, "churn", &peers, plan);
    let steady = WORKLOADS.iter().find(|shape| shape.name == "B").copied().unwrap_or(WORKLOADS[0]);
    let steady = Load::of(&if plan.smoke { steady.small() } else { Shape { steps: 240, ..steady } });
    let measure = |peer: &Peer, load: &Load, directory: &Path| measure(peer, &steady, load, directory);
    text.push_str(&session::tables(repo, plan, &peers, &["D", "E"], COLUMNS, measure)?);
    println!("{text}");
    Ok(())
}

fn measure(peer: &Peer, steady: &Load, load: &Load, directory: &Path) -> Result<Vec<f64>> {
    let old = cpu(peer, steady, &tempfile::tempdir()?.path().join("steady"))?.0 / steady.samples as f64;
    let (seconds, rss) = cpu(peer, load, directory)?;
    let of_series = (seconds - old * load.samples as f64) / load.series as f64;
    Ok(vec![
        seconds * 1e6 / load.samples as f64,
        of_series * 1e6,
        rss,
        process::disk_bytes(&directory.join("data")) as f64,
    ])
}

/// CPU seconds until everything is queryable and synced, and resident bytes then.
fn cpu(peer: &Peer, load: &Load, directory: &Path) -> Result<(f64, f64)> {
    std::fs::create_dir_all(directory)?;
    let server = peer.start(directory)?;
    let before = server.process.cpu_seconds()?;
    send(&server, &load.bodies, peer.connections())?;
    server.settle()?;
    Ok((server.process.cpu_seconds()? - before, server.process.memory_bytes("VmRSS")? as f64))
}
