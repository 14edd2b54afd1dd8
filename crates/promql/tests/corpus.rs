//! Prometheus' own corpus, where it lies beside the repository, on a source in memory: every case of every file, each asked
//! again in all the ways that upstream knows. How many there are stands here, so that none is lost on the way.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use promql::script::{Report, Settings, in_memory, run};

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Cases of each file.
fn cases() -> BTreeMap<String, usize> {
    let rows = include_str!("corpus.cases").lines().filter(|line| !line.starts_with('#'));
    let row = |line: &str| {
        let (file, count) = line.split_once(' ').unwrap();
        (file.to_owned(), count.trim().parse().unwrap())
    };
    rows.map(row).collect()
}

#[test]
#[expect(clippy::print_stdout, reason = "the count per file is what this test is run for")]
fn the_corpus_passes() {
    let folder = workspace().join("../shared/conformance/promqltest");
    let Ok(entries) = std::fs::read_dir(&folder) else {
        println!("SKIPPED: no corpus at ../shared/conformance/promqltest beside the repository");
        return;
    };
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "test"));
    files.sort();
    let (mut sum, mut found, mut failures) = (Report::default(), BTreeMap::new(), Vec::new());
    for path in files {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let report = run(&std::fs::read_to_string(&path).unwrap(), &Settings::default(), &mut in_memory);
        println!("{name:28} {:4}/{:4}", report.passed, report.total);
        failures.extend(report.failures.iter().map(|f| format!("{name}:{}: {}", f.line, f.message)));
        found.insert(name, report.total);
        sum.passed += report.passed;
        sum.total += report.total;
        sum.checks += report.checks;
    }
    println!("{} answers compared\n{}/{}", sum.checks, sum.passed, sum.total);
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert_eq!(sum.passed, sum.total);
    assert_eq!(found, cases());
}
