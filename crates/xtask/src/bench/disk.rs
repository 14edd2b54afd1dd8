//! `cargo xtask bench disk`: bytes on disk, at rest and after everything was merged, and whether what is there is what
//! was sent.
//!
//! At rest is a minute after the last answer. Merging is forced: Weir by its own route, VictoriaMetrics by
//! `force_merge`; Prometheus merges nothing on request, its snapshot of the head stands for it.

use std::path::Path;

use anyhow::{Result, ensure};

use super::parts::Parts;
use super::peer::Peer;
use super::readback::inexact;
use super::report::Column;
use super::session::{self, Load, Plan, rested};
use crate::repo::Repo;

const ABOUT: &str = "\
At rest is a minute after the last answer. Merged is after everything was written and merged as far as the server does it \
on request; for Prometheus that is a snapshot, which has no log. Directories and logs are what `du` counts (Weir's hold its \
metrics of itself, too), data and index the lengths of files. Written is what the process had the kernel write until then. \
Inexact are samples that were then not read back as they were sent, bit for bit, missing ones too: by range selectors, \
from VictoriaMetrics by its export.";

const COLUMNS: &[Column] = &[
    Column::new("at rest: directory MB", 1e6, 1),
    Column::new("at rest: data MB", 1e6, 1),
    Column::new("at rest: index MB", 1e6, 1),
    Column::new("at rest: log MB", 1e6, 1),
    Column::new("merged: directory MB", 1e6, 1),
    Column::new("merged: log MB", 1e6, 1),
    Column::new("merged: data B/sample", 1.0, 3),
    Column::new("merged: index B/sample", 1.0, 3),
    Column::new("merged: data and index B/sample", 1.0, 3),
    Column::new("written B/sample", 1.0, 2),
    Column::new("inexact values", 1.0, 0),
];

/// Runs the plan and prints tables.
pub fn disk(repo: &Repo, plan: &Plan) -> Result<()> {
    if cfg!(debug_assertions) && !plan.smoke {
        return session::again_optimised(repo);
    }
    let peers = session::peers(repo, plan)?;
    session::heading(repo, "disk", ABOUT, &peers, plan)?;
    let measure = |peer: &Peer, load: &Load, directory: &Path| measure(plan, peer, load, directory);
    session::tables(repo, plan, &peers, &["A", "B", "C", "D", "F", "REAL"], COLUMNS, measure)
}

fn measure(plan: &Plan, peer: &Peer, load: &Load, directory: &Path) -> Result<Vec<f64>> {
    let server = rested(plan, peer, load, directory)?;
    let at_rest = Parts::of(peer, &server.data)?;
    let merged = Parts::of(peer, &server.merge()?)?;
    let written = server.process.written_bytes()?;
    let inexact = inexact(&server, load)?;
    ensure!(inexact == 0 || !matches!(peer, Peer::Weir(_)), "{inexact} samples are not what was sent");
    let samples = load.samples() as f64;
    Ok(vec![
        at_rest.directory as f64,
        at_rest.data as f64,
        at_rest.index as f64,
        at_rest.log as f64,
        merged.directory as f64,
        merged.log as f64,
        merged.data as f64 / samples,
        merged.index as f64 / samples,
        (merged.data + merged.index) as f64 / samples,
        written as f64 / samples,
        inexact as f64,
    ])
}
