//! `cargo xtask bench build`: how long a clean release build takes and how big the binary is.

use std::fs;
use std::time::Instant;

use anyhow::{Result, bail};

use crate::repo::Repo;
use crate::run;

/// Longest clean build in seconds on two cores, and biggest binary in bytes.
const LIMITS: (f64, u64) = (480.0, 40_000_000);

/// Builds into an empty directory and prints both figures; fails when one is over its limit.
pub fn build(repo: &Repo) -> Result<()> {
    let target = tempfile::tempdir_in(&repo.root)?;
    run::shown(repo, "cargo fetch --locked")?;
    let start = Instant::now();
    let directory = target.path().display();
    run::shown(repo, &format!("cargo build --release --locked -p weir --target-dir {directory}"))?;
    let seconds = start.elapsed().as_secs_f64();
    let bytes = fs::metadata(target.path().join("release/weir"))?.len();
    println!("clean release build: {seconds:.0} s (limit {:.0} s)", LIMITS.0);
    println!("binary: {:.1} MB (limit {:.0} MB)", bytes as f64 / 1e6, LIMITS.1 as f64 / 1e6);
    if seconds > LIMITS.0 || bytes > LIMITS.1 {
        bail!("over the limit");
    }
    Ok(())
}
