//! A full disk: writes are refused for the time being, reads go on, and writes resume when there is room, without a
//! restart.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::mount::{FileSystem, Mount};
use super::weir::{self, Home, SMALL};
use super::writer::{Writer, now_ms};
use crate::load::http::Connection;

/// Room for everything, ballast included.
const DISK_BYTES: u64 = 32 << 20;

/// What is taken away again; what is left is full within seconds.
const BALLAST_BYTES: usize = 28 << 20;

/// Longest wait for the first write after there is room.
const RESUME: Duration = Duration::from_secs(5);

/// Fills the disk, makes room, compares; returns what happened as a line of text.
pub fn full(binary: &Path, seed: u64) -> Result<String> {
    let directory = tempfile::tempdir()?;
    let mount = Mount::create(FileSystem::Memory(DISK_BYTES), directory.path())?;
    let ballast = mount.root.join("ballast");
    fs::write(&ballast, vec![1; BALLAST_BYTES])?;
    // Nothing is merged: on a machine with time to spare merges make room as fast as one writer fills it.
    let config = SMALL.replace("compaction_blocks: 2", "compaction_blocks: 100000");
    let config = format!("{config}tenants:\n  one: {{}}\n");
    let home = Home::new(binary, directory.path(), &mount.root.join("data"), &config);
    let process = home.start()?;
    let mut writer = Writer::new("one", "a", seed, now_ms());
    let mut connection = weir::connect(process.address, "one")?;
    let filled = fill(&mut writer, &mut connection).with_context(|| home.printed())?;
    let verdict = writer.compare(process.address).context("reads go on")?;
    ensure!(verdict.is_clean(), "while the disk is full: {verdict}");
    ensure!(status(&process, "/-/ready")? == 503, "a full disk is not ready");
    ensure!(status(&process, "/-/healthy")? == 200, "a full disk is no reason to be restarted");
    fs::remove_file(&ballast)?;
    let resumed = resume(&mut writer, process.address)?;
    ensure!(writer.compare(process.address)?.is_clean(), "after there is room");
    drop(process);
    let process = home.start()?;
    let verdict = writer.compare(process.address)?;
    ensure!(verdict.is_clean(), "after a restart: {verdict}");
    home.check_log()?;
    Ok(format!(
        "full disk: refused after {filled} requests, resumed {:.2} s after there was room; {verdict}",
        resumed.as_secs_f64()
    ))
}

/// Writes until it is refused, and checks how. Returns how many requests it took.
fn fill(writer: &mut Writer, connection: &mut Connection) -> Result<u64> {
    let start = Instant::now();
    loop {
        let answer = writer.write_once(connection).context("no answer")?;
        if answer.status == 503 {
            ensure!(answer.header("retry-after").is_some(), "a 503 says when to come back");
            return Ok(writer.requests);
        }
        ensure!(answer.is_success(), "status {}: {}", answer.status, answer.text());
        ensure!(
            start.elapsed() < Duration::from_secs(120),
            "the disk does not fill: {} requests",
            writer.requests
        );
    }
}

fn resume(writer: &mut Writer, address: SocketAddr) -> Result<Duration> {
    let start = Instant::now();
    loop {
        // A refusal that did not wait for the body closes its connection.
        let mut connection = weir::connect(address, "one")?;
        let answer = writer.write_once(&mut connection).context("no answer")?;
        if answer.is_success() {
            return Ok(start.elapsed());
        }
        ensure!(start.elapsed() < RESUME, "still status {}: {}", answer.status, answer.text());
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn status(process: &crate::load::process::Process, path: &str) -> Result<u16> {
    Ok(Connection::open(process.address, None)?.get(path)?.status)
}
