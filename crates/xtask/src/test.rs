//! `cargo xtask test`: everything that can go red, in one command.
//!
//! Doc tests first, then the rest under cargo-nextest (plain `cargo test` where it is missing), so that the runner's
//! own summary is the last line. Tests that cannot run on this machine append a line with the reason to the file
//! named by [`SKIPS`]; the lines are shown at the end, because a skipped test that nobody sees is a lie.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, bail};

use crate::needs;
use crate::repo::Repo;
use crate::run;

/// Environment variable: the file to which skipped tests append their reasons.
pub const SKIPS: &str = "WEIR_TEST_SKIPS";

/// Provides what is needed and runs every test, or those whose name contains `filter`.
pub fn test(repo: &Repo, yes: bool, filter: Option<&str>) -> Result<()> {
    needs::provide(needs::TESTS, yes)?;
    run_all(repo, filter)
}

/// Prints why a test does not run, and writes it where `run_all` looks.
pub fn skipped(test: &str, reason: &str) {
    use std::io::Write;
    eprintln!("SKIPPED {test}: {reason}");
    if let Some(path) = std::env::var_os(SKIPS) {
        let file = fs::OpenOptions::new().append(true).create(true).open(path);
        let _ = file.and_then(|mut file| writeln!(file, "{test}: {reason}"));
    }
}

fn run_all(repo: &Repo, filter: Option<&str>) -> Result<()> {
    let skips = skips_file(repo)?;
    let environment = [(SKIPS, skips.to_str().context("the target directory's name is not UTF-8")?)];
    let filter = filter.unwrap_or_default();
    let doc_tests =
        run::shown_with(repo, &format!("cargo test --quiet --workspace --doc {filter}"), &environment);
    let nextest = run::succeeds(repo, "cargo nextest --version");
    if !nextest {
        eprintln!("cargo-nextest is not installed, so cargo test runs the tests, and more slowly.");
        eprintln!("To get it (some minutes): cargo install cargo-nextest --locked");
    }
    let line = if nextest {
        format!("cargo nextest run --workspace --no-fail-fast --no-tests pass {filter}")
    } else {
        format!("cargo test --workspace --lib --bins --tests --no-fail-fast {filter}")
    };
    let (tests, summary) = run_tests(repo, &line, environment[0])?;
    show_skips(&skips);
    for line in summary {
        eprintln!("{line}");
    }
    doc_tests?;
    if !tests {
        bail!("tests failed");
    }
    Ok(())
}

fn skips_file(repo: &Repo) -> Result<PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| repo.root.join("target"), PathBuf::from);
    fs::create_dir_all(&target)?;
    let path = target.join("skipped-tests.txt");
    fs::write(&path, "").with_context(|| format!("write {}", path.display()))?;
    Ok(path)
}

/// Runs a test command with its output shown; returns whether it went well and its summary lines.
fn run_tests(repo: &Repo, line: &str, environment: (&str, &str)) -> Result<(bool, Vec<String>)> {
    eprintln!("$ {line}");
    let mut child = run::command(repo, line)
        .env(environment.0, environment.1)
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("run `{line}`"))?;
    let mut summary = Vec::new();
    if let Some(stderr) = child.stderr.take() {
        for line in BufReader::new(stderr).lines() {
            let line = line?;
            eprintln!("{line}");
            // From the summary on: the totals, then the names of what failed.
            if line.contains("Summary [") || !summary.is_empty() {
                summary.push(line);
            }
        }
    }
    Ok((child.wait()?.success(), summary))
}

fn show_skips(path: &std::path::Path) {
    let skips = fs::read_to_string(path).unwrap_or_default();
    for skip in skips.lines() {
        eprintln!("SKIPPED {skip}");
    }
}
