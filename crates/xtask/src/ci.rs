//! `cargo xtask ci`: what has to be green before anything is merged, cheapest first, tests last.
//!
//! Every step runs even when an earlier one failed, so that one run tells everything.

use anyhow::{Result, bail};

use crate::bench::session::Plan;
use crate::bench::{agent, decode, scrape, statsd, table};
use crate::repo::Repo;
use crate::{conformance, needs, run, test, tidy};

/// Runs every step; `yes` allows installing what the tests need.
pub fn ci(repo: &Repo, yes: bool) -> Result<()> {
    needs::provide(needs::TESTS, yes)?;
    needs::provide(needs::BENCHMARKS, yes)?;
    let mut steps = Steps::default();
    checks(repo, &mut steps);
    steps.take("deny", deny(repo));
    steps.take("benchmarks", benchmarks(repo));
    steps.take("bench of servers", table::table(repo, &Plan::smoke()));
    steps.take("bench of statsd", statsd::statsd(repo, &Plan::smoke()));
    steps.take("bench of scraping", scrape::scrape(repo, &Plan::smoke(), scrape::Size::SMOKE));
    steps.take("bench of an agent", agent::agent(repo, &Plan::smoke(), scrape::Size::SMOKE));
    steps.take("bench of decoders", decode::decode(repo, &Plan::smoke()));
    steps.take("fuzz targets", fuzz(repo, true));
    steps.take("conformance", conformance::promql_if_there(repo));
    steps.take("tests", test::test(repo, yes, None));
    steps.end("ci")
}

/// What needs nothing but the compiler, before every commit.
pub fn check(repo: &Repo) -> Result<()> {
    let mut steps = Steps::default();
    checks(repo, &mut steps);
    steps.end("check")
}

fn checks(repo: &Repo, steps: &mut Steps) {
    steps.take("format", run::shown(repo, "cargo fmt --all --check"));
    steps.take("tidy", tidy::tidy(repo));
    steps.take("clippy", run::shown(repo, "cargo clippy --workspace --all-targets -- -D warnings"));
    steps.take("doc", documentation(repo));
}

/// What has failed so far.
#[derive(Default)]
struct Steps {
    failed: Vec<&'static str>,
}

impl Steps {
    fn take(&mut self, name: &'static str, result: Result<()>) {
        if let Err(error) = result {
            eprintln!("{name}: {error:#}");
            self.failed.push(name);
        }
    }

    fn end(self, what: &str) -> Result<()> {
        if !self.failed.is_empty() {
            bail!("{what}: failed: {}", self.failed.join(", "));
        }
        Ok(())
    }
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
