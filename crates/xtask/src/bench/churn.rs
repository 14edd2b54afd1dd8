//! `cargo xtask bench churn`: what a new series costs.
//!
//! Two workloads give two equations: the CPU of each is so much for a sample and so much for a new series. The steady one
//! has few new series and many samples. CPU is read after everything was flushed, and once more after everything was
//! merged, because what a server puts off is not saved.

use std::path::Path;

use anyhow::Result;

use super::peer::Peer;
use super::report::Column;
use super::session::{self, Load, Plan, send};
use crate::load::workload::{SHAPES, Shape};
use crate::repo::Repo;

const ABOUT: &str = "\
CPU of the server from the first request to when everything is in the form in which it is kept (Weir and Prometheus: a snapshot, \
which flushes the head; VictoriaMetrics: its parts on disk), and to when everything is merged, too, where the server does that on request. What a new series costs \
is solved from two workloads, this one and one in which a series has 240 samples: CPU = samples × a + new series × b. \
Resident memory is that after the flush.";

const COLUMNS: &[Column] = &[
    Column::new("CPU µs/sample, answered", 1e-6, 3),
    Column::new("CPU µs/sample, flushed", 1e-6, 3),
    Column::new("CPU µs/new series, flushed", 1e-6, 2),
    Column::new("CPU µs/new series, merged", 1e-6, 2),
    Column::new("RSS MB", 1e6, 0),
    Column::new("RSS MB, peak", 1e6, 0),
];

/// Runs the plan and prints tables.
pub fn churn(repo: &Repo, plan: &Plan) -> Result<()> {
    if cfg!(debug_assertions) && !plan.smoke {
        return session::again_optimised(repo);
    }
    let peers = session::peers(repo, plan)?;
    session::heading(repo, "churn", ABOUT, &peers, plan)?;
    let steady = Shape { steps: 240, ..Shape::named("B").unwrap_or(SHAPES[0]) };
    let steady = session::made(plan, steady);
    let measure = |peer: &Peer, load: &Load, directory: &Path| measure(plan, peer, &steady, load, directory);
    session::tables(repo, plan, &peers, &["D", "E"], COLUMNS, measure)
}

/// CPU seconds and bytes of memory of one workload.
struct Cost {
    samples: f64,
    series: f64,
    answered: f64,
    flushed: f64,
    merged: f64,
    rss: f64,
    peak: f64,
}

fn measure(plan: &Plan, peer: &Peer, steady: &Load, load: &Load, directory: &Path) -> Result<Vec<f64>> {
    let steady = cost(plan, peer, steady, tempfile::tempdir()?.path())?;
    let cost = cost(plan, peer, load, directory)?;
    let of_series = |cpu: fn(&Cost) -> f64| of_series(&steady, &cost, cpu);
    Ok(vec![
        cost.answered / cost.samples,
        cost.flushed / cost.samples,
        of_series(|cost| cost.flushed),
        of_series(|cost| cost.merged),
        cost.rss,
        cost.peak,
    ])
}

fn cost(plan: &Plan, peer: &Peer, load: &Load, directory: &Path) -> Result<Cost> {
    let server = peer.start(directory)?;
    let process = &server.process;
    let before = process.cpu_seconds()?;
    let since = || anyhow::Ok(process.cpu_seconds()? - before);
    send(&server, &load.bodies, peer.connections())?;
    let answered = since()?;
    plan.settle(&server)?;
    server.flush()?;
    let flushed = since()?;
    let (rss, peak) = (process.memory_bytes("VmRSS")? as f64, process.memory_bytes("VmHWM")? as f64);
    let mut merged = f64::NAN;
    // A snapshot is all that Prometheus gives, and that was taken.
    if *peer != Peer::Prometheus {
        server.merge()?;
        merged = since()?;
    }
    Ok(Cost {
        samples: load.samples() as f64,
        series: load.workload.all_series() as f64,
        answered,
        flushed,
        merged,
        rss,
        peak,
    })
}

/// `b` of CPU = samples × a + series × b, which both workloads obey.
fn of_series(one: &Cost, other: &Cost, cpu: fn(&Cost) -> f64) -> f64 {
    // Both divided by their samples: subtracting leaves the series alone.
    let per_sample = |cost: &Cost| (cpu(cost) / cost.samples, cost.series / cost.samples);
    let ((cpu_one, series_one), (cpu_other, series_other)) = (per_sample(one), per_sample(other));
    (cpu_other - cpu_one) / (series_other - series_one)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_series_costs_is_solved_from_two_workloads() {
        let of = |samples: f64, series: f64| {
            let cpu = samples * 0.25 + series * 8.0;
            Cost { samples, series, answered: 0.0, flushed: cpu, merged: 2.0 * cpu, rss: 0.0, peak: 0.0 }
        };
        let (steady, churning) = (of(4_096.0, 16.0), of(8_192.0, 512.0));
        assert_eq!(of_series(&steady, &churning, |cost| cost.flushed), 8.0);
        assert_eq!(of_series(&steady, &churning, |cost| cost.merged), 16.0);
    }
}
