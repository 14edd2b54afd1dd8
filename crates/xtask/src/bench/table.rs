//! `cargo xtask bench table`: all benchmarks of servers, one after another, as one document in the form of
//! `bench/RESULTS.md`.
//!
//! It takes a night. What is done is printed, and with `--out=FILE` written, at once; a benchmark that fails is named, and
//! the others run all the same.

use anyhow::{Result, bail};

use super::session::{self, Plan};
use super::{churn, disk, ingest, memory, query, restart, statsd, tenants};
use crate::repo::Repo;

type Bench = fn(&Repo, &Plan) -> Result<()>;

const ALL: &[(&str, Bench)] = &[
    ("ingest", ingest::ingest),
    ("disk", disk::disk),
    ("memory", memory::memory),
    ("restart", restart::restart),
    ("churn", churn::churn),
    ("query", query::query),
    ("tenants", tenants::tenants),
    ("statsd", statsd::statsd),
];

/// Runs everything that the plan allows; fails when one of them did.
pub fn table(repo: &Repo, plan: &Plan) -> Result<()> {
    if cfg!(debug_assertions) && !plan.smoke {
        return session::again_optimised(repo);
    }
    let mut failed = Vec::new();
    for (name, bench) in ALL {
        if let Err(error) = bench(repo, plan) {
            eprintln!("bench {name}: {error:#}");
            plan.publish(&format!("`bench {name}` FAILED here; what stands above is all that it gave.\n"))?;
            failed.push(*name);
        }
    }
    if !failed.is_empty() {
        bail!("benchmarks failed: {}", failed.join(", "));
    }
    Ok(())
}
