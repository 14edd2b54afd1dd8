//! How many packages there are and where they come from. Few dependencies is a feature: less to build, to trust, to
//! update. The numbers only go down without a word; going up means editing them here.

use anyhow::{Context, Result};

use super::metadata::Metadata;
use crate::repo::Repo;

/// Most packages ever allowed in the binary on Linux, and in the lock file.
const CEILING: (usize, usize) = (300, 450);

/// What there is now, with a little room for patch releases; raised only together with a reason in the commit.
const RATCHET: (usize, usize) = (219, 326);

/// The one place packages come from, as the lock file names it.
const SOURCE: &str = "source = \"registry+https://github.com/rust-lang/crates.io-index\"";

/// Complaints about the number and the source of packages.
pub(crate) fn check(repo: &Repo, metadata: &Metadata, figures: &mut Vec<String>) -> Result<Vec<String>> {
    let mut complaints = Vec::new();
    let weir = metadata.member("weir").context("no crate weir")?;
    let linked = metadata.linked(weir).len() + 1;
    let lock = repo.read("Cargo.lock").context("no Cargo.lock")?;
    let locked = lock.lines().filter(|line| *line == "[[package]]").count();
    for (what, count, ratchet, ceiling) in
        [("in the binary", linked, RATCHET.0, CEILING.0), ("in the lock file", locked, RATCHET.1, CEILING.1)]
    {
        figures.push(format!("packages {what}: {count} (ratchet {ratchet}, ceiling {ceiling})"));
        if count > ratchet.min(ceiling) {
            complaints.push(format!("{count} packages {what}, allowed are {ratchet}"));
        }
    }
    let foreign = lock.lines().filter(|line| line.starts_with("source = ") && *line != SOURCE);
    complaints.extend(foreign.map(|line| format!("Cargo.lock: {line} is not the public registry")));
    Ok(complaints)
}
