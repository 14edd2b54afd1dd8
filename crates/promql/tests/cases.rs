//! Our own cases, in the shipped server's modes: names go at once, start times are not looked at.

use std::path::Path;

use promql::Options;
use promql::script::{Settings, in_memory, run};

#[test]
fn all_cases_pass() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let settings = Settings { options: Options::default(), ..Settings::default() };
    let (mut files, mut failures) = (0, Vec::new());
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let report = run(&std::fs::read_to_string(&path).unwrap(), &settings, &mut in_memory);
        assert!(report.total > 0, "{} holds no case", path.display());
        files += 1;
        failures.extend(
            report.failures.into_iter().map(|f| format!("{}:{}: {}", path.display(), f.line, f.message)),
        );
    }
    assert!(files >= 6, "only {files} files");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn a_case_can_fail() {
    let script = "load 1m\n  up 1\n\neval instant at 0 up\n  up 2\n\neval instant at 0 up\n  up 1\n\neval instant at 0 up +";
    let report = run(script, &Settings::default(), &mut in_memory);
    assert_eq!((report.passed, report.total), (1, 3));
    assert_eq!(report.failures[0].line, 4);
    assert!(report.failures[0].message.contains("expected 2, got 1"), "{:?}", report.failures[0]);
}
