//! `cargo xtask conformance promql`: Prometheus' own corpus on every kind of source that Weir has.
//!
//! The runner is an example of the server, which this builds and runs: this tool itself is built without the product.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::repo::Repo;
use crate::run;

/// Where the corpus lies, seen from the checkout.
const PROMQL: &str = "../shared/conformance/promqltest";

/// Its files, each with the number of its cases.
const CASES: &str = "crates/promql/tests/corpus.cases";

/// What the cases can be evaluated on.
pub const SOURCES: [&str; 3] = ["memory", "head", "blocks"];

/// Runs every script of a folder on one source or on all; fails unless all cases pass. The last line is their count.
pub fn promql(repo: &Repo, folder: Option<&str>, source: Option<&str>) -> Result<()> {
    let is_corpus = folder.is_none();
    let folder = folder.map_or_else(|| repo.root.join(PROMQL), PathBuf::from);
    ensure!(folder.is_dir(), "there is no folder {}", folder.display());
    let is_script = |path: &Path| path.extension().is_some_and(|extension| extension == "test");
    let has_scripts = folder.read_dir()?.flatten().any(|entry| is_script(&entry.path()));
    ensure!(has_scripts, "there are no scripts (*.test) in {}", folder.display());
    if let Some(source) = source {
        ensure!(SOURCES.contains(&source), "which source? {}", SOURCES.join(", "));
    }
    if is_corpus {
        is_whole(repo, &folder)?;
    }
    // What the runner prints last is the last line here, too.
    let mut cargo = run::command(repo, "cargo run --quiet --package server --example conformance --");
    let status = cargo.arg(absolute(&folder)?).args(source).status().context("run cargo")?;
    ensure!(status.success(), "not all cases pass");
    Ok(())
}

/// Fails when a file of the corpus is missing, or has other cases than it had.
fn is_whole(repo: &Repo, folder: &Path) -> Result<()> {
    let known = repo.root.join(CASES);
    let known = fs::read_to_string(&known).with_context(|| format!("read {}", known.display()))?;
    for line in known.lines().filter(|line| !line.starts_with('#')) {
        let (file, cases) = line.split_once(' ').with_context(|| format!("{CASES}: {line}"))?;
        let text = fs::read_to_string(folder.join(file)).with_context(|| format!("the corpus' {file}"))?;
        let found = text.lines().filter(|line| line.trim_start().to_lowercase().starts_with("eval")).count();
        ensure!(cases.trim() == found.to_string(), "{file} has {found} cases, and should have {cases}");
    }
    Ok(())
}

/// The corpus on all sources, where it is there.
pub fn promql_if_there(repo: &Repo) -> Result<()> {
    if !repo.has(PROMQL) {
        eprintln!("SKIPPED conformance promql: no corpus at {PROMQL} beside the repository");
        return Ok(());
    }
    promql(repo, None, None)
}

/// The runner's directory is another one.
fn absolute(path: &Path) -> Result<PathBuf> {
    path.canonicalize().with_context(|| format!("find {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_run_is_refused_before_anything_is_built() {
        let repo = Repo::here();
        let refused = |folder, source| promql(&repo, folder, source).expect_err("a refusal").to_string();
        let scripts = repo.root.join("crates/promql/tests/cases").display().to_string();
        let sources = repo.root.join("crates").display().to_string();
        assert!(refused(Some("/nowhere"), None).contains("no folder /nowhere"));
        assert!(refused(Some(&sources), None).contains("no scripts (*.test)"));
        assert!(refused(Some(&scripts), Some("disk")).contains("memory, head, blocks"));
        let error = is_whole(&repo, Path::new(&scripts)).expect_err("not the corpus");
        assert!(error.to_string().contains("aggregators.test"), "{error}");
    }
}
