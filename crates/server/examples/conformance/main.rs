//! The scripts of a folder on every kind of source, counted: `cargo xtask conformance promql` runs this.
#![allow(clippy::print_stdout, reason = "a command line")]

mod corpus;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use corpus::Kind;
use promql::script::{Report, Settings};

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let Some(folder) = words.next().map(PathBuf::from) else { return usage() };
    let kinds: Vec<Kind> = match words.next() {
        None => Kind::ALL.to_vec(),
        Some(name) => Kind::ALL.into_iter().filter(|kind| kind.name() == name).collect(),
    };
    if kinds.is_empty() {
        return usage();
    }
    let mut is_well = true;
    for kind in kinds {
        println!("{}:", kind.name());
        is_well &= run(&folder, kind);
    }
    if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn usage() -> ExitCode {
    println!("conformance FOLDER [memory|head|blocks]");
    ExitCode::FAILURE
}

/// Runs every script of a folder; whether all cases passed, and there were some.
fn run(folder: &Path, kind: Kind) -> bool {
    let (mut sum, mut failures) = (Report::default(), Vec::new());
    for path in corpus::scripts(folder) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let report = corpus::run(&path, kind, &Settings::default());
        println!("  {name:28} {:4}/{}", report.passed, report.total);
        sum.passed += report.passed;
        sum.total += report.total;
        sum.checks += report.checks;
        failures.extend(report.failures.into_iter().map(|f| format!("{name}:{}: {}", f.line, f.message)));
    }
    for failure in &failures {
        println!("{failure}");
    }
    println!("{} answers compared on {}", sum.checks, kind.name());
    println!("{}/{}", sum.passed, sum.total);
    sum.total > 0 && sum.passed == sum.total && failures.is_empty()
}
