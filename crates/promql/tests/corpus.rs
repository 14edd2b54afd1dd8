//! Prometheus' own corpus, where it lies beside the repository, as a ratchet: a file that passes fewer cases than it
//! did fails the test, and so does one that passes more until the number here is raised.
//!
//! `WEIR_CORPUS=1` prints every case that fails.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use promql::script::{Settings, in_memory, run};

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn ratchet() -> BTreeMap<String, usize> {
    let rows = include_str!("corpus.ratchet").lines().filter(|line| !line.starts_with('#'));
    let row = |line: &str| {
        let (file, count) = line.split_once(' ').unwrap();
        (file.to_owned(), count.trim().parse().unwrap())
    };
    rows.map(row).collect()
}

#[test]
#[expect(clippy::print_stdout, reason = "the count per file is what this test is run for")]
fn the_corpus_passes_as_far_as_it_did() {
    let folder = workspace().join("../shared/conformance/promqltest");
    let Ok(entries) = std::fs::read_dir(&folder) else {
        println!("SKIPPED: no corpus at ../shared/conformance/promqltest beside the repository");
        return;
    };
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "test"));
    files.sort();
    let (wanted, verbose) = (ratchet(), std::env::var_os("WEIR_CORPUS").is_some());
    let (mut passed, mut total, mut wrong) = (0, 0, Vec::new());
    for path in files {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let report = run(&std::fs::read_to_string(&path).unwrap(), &Settings::default(), &mut in_memory);
        println!("{name:28} {:4}/{:4}", report.passed, report.total);
        passed += report.passed;
        total += report.total;
        for failure in report.failures.iter().filter(|_| verbose) {
            println!("{name}:{}: {}", failure.line, failure.message);
        }
        let least = wanted.get(&name).copied().unwrap_or(0);
        match report.passed {
            passed if passed < least => wrong.push(format!("{name} passes {passed}, it did pass {least}")),
            passed if passed > least => {
                wrong.push(format!("{name} passes {passed}: raise the ratchet from {least}"))
            }
            _ => {}
        }
    }
    println!("{passed}/{total}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
