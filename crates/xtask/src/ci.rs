//! `cargo xtask ci`: what has to be green before anything is merged, cheapest first, tests last.
//!
//! Every step runs even when an earlier one failed, so that one run tells everything.

use anyhow::{Result, bail};

use crate::bench::session::Plan;
use crate::bench::{statsd, table};
use crate::repo::Repo;
use crate::{conformance, needs, run, test, tidy};

/// Runs every step; `yes` allows installing what the tests need.
pub fn ci(repo: &Repo, yes: bool) -> Result<()> {
    needs::provide(needs::TESTS, yes)?;
    needs::provide(needs::BENCHMARKS, yes)?;
    let mut failed = Vec::new();
    let mut step = |name: &'static str, result: Result<()>| {
        if let Err(error) = result {
            eprintln!("{name}: {error:#}");
            failed.push(name);
        }
    };
    step("format", run::shown(repo, "cargo fmt --all --check"));
    step("tidy", tidy::tidy(repo));
    step("deny", deny(repo));
    step("clippy", run::shown(repo, "cargo clippy --workspace --all-targets -- -D warnings"));
    step("doc", documentation(repo));
    step("benchmarks", benchmarks(repo));
    step("bench of servers", table::table(repo, &Plan::smoke()));
    step("bench of statsd", statsd::statsd(repo, &Plan::smoke()));
    step("fuzz targets", fuzz(repo, true));
    step("conformance", conformance::promql_if_there(repo));
    step("tests", test::test(repo, yes, None));
    if !failed.is_empty() {
        bail!("ci: failed: {}", failed.join(", "));
    }
    Ok(())
}

fn documentation(repo: &Repo) -> Result<()> {
    let line = "cargo doc --workspace --no-deps --document-private-items";
    run::shown_with(repo, line, &[("RUSTDOCFLAGS", "-D warnings -A rustdoc::private_intra_doc_links")])
}

fn deny(repo: &Repo) -> Result<()> {
    if !run::succeeds(repo, "cargo deny --version") {
        eprintln!(
            "cargo-deny is not installed: advisories are not checked (tidy has checked licences and bans)"
        );
        return Ok(());
    }
    run::shown(repo, "cargo deny check licenses bans sources")?;
    if !run::succeeds(repo, "cargo deny fetch db") {
        eprintln!("SKIPPED cargo deny check advisories: the advisory database cannot be fetched");
        return Ok(());
    }
    run::shown(repo, "cargo deny check advisories")
}

/// Every benchmark once, small: it must still run, its figures mean nothing.
fn benchmarks(repo: &Repo) -> Result<()> {
    let folders = repo.folders("crates")?;
    if folders.iter().any(|folder| repo.has(&format!("crates/{folder}/benches"))) {
        run::shown(repo, "cargo test --quiet --workspace --bench *")?;
    }
    Ok(())
}

/// Every fuzz target for some seconds under cargo-fuzz (`-s none` runs on the stable compiler). Where cargo-fuzz is
/// missing, the seeded twin that each target has among the tests stands in for it.
pub fn fuzz(repo: &Repo, smoke: bool) -> Result<()> {
    let seconds = if smoke { 5 } else { 60 };
    if !repo.has("fuzz/Cargo.toml") || !run::succeeds(repo, "cargo fuzz --version") {
        eprintln!(
            "cargo-fuzz or fuzz/ is not here: of the targets only the seeded twins run, among the tests"
        );
        return Ok(());
    }
    let targets = run::command(repo, "cargo fuzz list").output()?;
    for target in String::from_utf8_lossy(&targets.stdout).lines() {
        let limits = "-timeout=5 -rss_limit_mb=512 -malloc_limit_mb=128";
        run::shown(repo, &format!("cargo fuzz run -s none {target} -- -max_total_time={seconds} {limits}"))?;
    }
    Ok(())
}
