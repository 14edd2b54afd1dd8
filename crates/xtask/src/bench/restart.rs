//! `cargo xtask bench restart`: how long a server takes to be ready again and to answer a query right, after kill -9 and
//! after a clean stop.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::peer::Peer;
use super::report::Column;
use super::running::Running;
use super::session::{self, Load, Plan, loaded};
use crate::repo::Repo;

const ABOUT: &str = "\
Killed (-9) when everything was answered, can be queried and, as far as that server does it, is synced; started; stopped \
cleanly; started again. Seconds from the start of the process to its ready path's 200, and to the first right answer to `count` over all series at the last sample's time. \
Resident memory and its peak right after that answer; then every sample is counted: lost is what is not there of what was \
sent, twice what is there beyond it. Weir's run fails for either.";

const COLUMNS: &[Column] = &[
    Column::new("killed: ready, s", 1.0, 3),
    Column::new("killed: right answer, s", 1.0, 3),
    Column::new("killed: RSS MB", 1e6, 0),
    Column::new("killed: peak MB", 1e6, 0),
    Column::new("killed: samples lost", 1.0, 0),
    Column::new("killed: samples twice", 1.0, 0),
    Column::new("clean stop, s", 1.0, 3),
    Column::new("stopped: ready, s", 1.0, 3),
    Column::new("stopped: right answer, s", 1.0, 3),
    Column::new("stopped: RSS MB", 1e6, 0),
    Column::new("stopped: peak MB", 1e6, 0),
];

/// How long a clean stop may take.
const STOP: Duration = Duration::from_secs(300);

/// How long a right answer may take; later there is none.
const RIGHT: Duration = Duration::from_secs(60);

/// Runs the plan and prints tables.
pub fn restart(repo: &Repo, plan: &Plan) -> Result<()> {
    if cfg!(debug_assertions) && !plan.smoke {
        return session::again_optimised(repo);
    }
    let peers = session::peers(repo, plan)?;
    session::heading(repo, "restart", ABOUT, &peers, plan)?;
    session::tables(repo, plan, &peers, &["B", "E"], COLUMNS, measure)
}

fn measure(peer: &Peer, load: &Load, directory: &Path) -> Result<Vec<f64>> {
    let mut server = loaded(peer, load, directory)?;
    server.settle()?;
    server.process.kill()?;
    drop(server);
    let (mut server, after_kill) = started(peer, load, directory)?;
    let (lost, twice) = off(peer, load.samples(), load.count(&server)?)?;
    let start = Instant::now();
    server.process.stop(STOP)?;
    let stop = start.elapsed().as_secs_f64();
    drop(server);
    let (_again, after_stop) = started(peer, load, directory)?;
    Ok([&after_kill[..], &[lost, twice, stop], &after_stop].concat())
}

/// Samples that are missing, and those that are there beyond what was sent; neither may be with Weir.
fn off(peer: &Peer, sent: u64, found: u64) -> Result<(f64, f64)> {
    ensure!(found == sent || !matches!(peer, Peer::Weir(_)), "{found} samples are found, {sent} were sent");
    Ok((sent.saturating_sub(found) as f64, found.saturating_sub(sent) as f64))
}

/// Starts a server; seconds until it was ready and until it answered right, resident bytes and their peak then.
fn started(peer: &Peer, load: &Load, directory: &Path) -> Result<(Running, [f64; 4])> {
    let start = Instant::now();
    let server = peer.start(directory)?;
    let ready = start.elapsed().as_secs_f64();
    let (query, series) = (format!("count({})", load.selector()), load.workload.series() as f64);
    let right = loop {
        match server.number(&query, load.bodies.last_ms + 1_000) {
            Ok(found) if found == series => break start.elapsed().as_secs_f64(),
            _ if start.elapsed() > RIGHT => break f64::NAN,
            _ => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    let bytes = |line| anyhow::Ok(server.process.memory_bytes(line)? as f64);
    let figures = [ready, right, bytes("VmRSS")?, bytes("VmHWM")?];
    Ok((server, figures))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_twice_is_no_less_told_than_what_is_lost() {
        let peer = Peer::VictoriaMetrics;
        let off_by = |found| off(&peer, 10, found).expect("a peer's run goes on");
        assert_eq!([off_by(10), off_by(7), off_by(12)], [(0.0, 0.0), (3.0, 0.0), (0.0, 2.0)]);
        let weir = Peer::Weir("weir".into());
        assert!(off(&weir, 10, 9).is_err() && off(&weir, 10, 11).is_err() && off(&weir, 10, 10).is_ok());
    }
}
