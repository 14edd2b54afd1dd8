//! Prometheus' own corpus, where it lies beside the repository, and our own cases, each on every kind of source.

#[path = "../examples/conformance/corpus.rs"]
mod corpus;

use std::path::{Path, PathBuf};

use corpus::Kind;
use promql::Options;
use promql::script::Settings;

fn folder(from_here: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(from_here)
}

/// All cases of all scripts pass; how many there are.
fn all_pass(scripts: &[PathBuf], kind: Kind, settings: &Settings) -> usize {
    let (mut passed, mut failures) = (0, Vec::new());
    for path in scripts {
        let report = corpus::run(path, kind, settings);
        passed += report.passed;
        failures
            .extend(report.failures.iter().map(|f| format!("{}:{}: {}", path.display(), f.line, f.message)));
        assert!(report.passed == report.total || !failures.is_empty(), "{}", path.display());
    }
    assert!(failures.is_empty(), "{} on {}:\n{}", failures.len(), kind.name(), failures.join("\n"));
    passed
}

fn the_corpus_on(kind: Kind) {
    let scripts = corpus::scripts(&folder("../../../shared/conformance/promqltest"));
    if scripts.is_empty() {
        return xtask::test::skipped(
            &format!("the_corpus_on_{}", kind.name()),
            "no corpus at ../shared/conformance/promqltest beside the repository",
        );
    }
    assert_eq!(all_pass(&scripts, kind, &Settings::default()), 2214);
}

#[test]
fn the_corpus_on_memory() {
    the_corpus_on(Kind::Memory);
}

#[test]
fn the_corpus_on_head() {
    the_corpus_on(Kind::Head);
}

#[test]
fn the_corpus_on_blocks() {
    the_corpus_on(Kind::Blocks);
}

/// Our own cases are in the shipped server's modes: names go at once, start times are not looked at.
#[test]
fn our_own_cases_on_every_source() {
    let scripts = corpus::scripts(&folder("../promql/tests/cases"));
    let settings = Settings { options: Options::default(), ..Settings::default() };
    let passed = Kind::ALL.map(|kind| all_pass(&scripts, kind, &settings));
    assert!(scripts.len() >= 6 && passed[0] > 0, "{} scripts", scripts.len());
    assert_eq!(passed, [passed[0]; 3]);
}
