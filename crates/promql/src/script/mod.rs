//! Test scripts in Prometheus' `promqltest` language: series are loaded, queries evaluated, answers compared.
//!
//! A script runs on any [`Source`] that can be made from the loaded series, so the same cases test the evaluator on a
//! list in memory and a store on disk. Comparison is upstream's: floats up to a relative 1e-6, labels and the set of
//! series exact, order only where a case asks for it.
//!
//! ```
//! let script = "
//! load 1m
//!   up{job=\"a\"} 1 0 1
//!
//! eval instant at 1m sum(up)
//!   {} 0
//! ";
//! let report = promql::script::run(script, &promql::script::Settings::default(), &mut promql::script::in_memory);
//! assert_eq!((report.passed, report.total), (1, 1), "{:?}", report.failures);
//! ```

mod again;
mod compare;
mod eval;
mod load;
mod series;

use model::Labels;

use crate::memory::MemorySource;
use crate::parse::Syntax;
use crate::source::Source;
use crate::{MemoryValue, Options};

use load::Load;

/// A sample of a loaded series.
#[derive(Clone, Debug)]
pub struct LoadedSample {
    /// Its time, ms.
    pub time_ms: i64,
    /// Its start time, ms; 0 = unknown.
    pub start_ms: i64,
    /// Its value.
    pub value: MemoryValue,
}

/// A series that a script loaded.
pub type LoadedSeries = (Labels, Vec<LoadedSample>);

/// How queries are parsed and evaluated.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Which experimental syntax is read.
    pub syntax: Syntax,
    /// Which modes are on.
    pub options: Options,
    /// Also ask the query of each instant case as the middle of a range, and both again at other times with `@`.
    pub asks_again: bool,
}

impl Default for Settings {
    /// Those of upstream's own corpus.
    fn default() -> Self {
        let options =
            Options { delayed_name_removal: true, start_timestamps: true, type_and_unit_labels: false };
        Self { syntax: Syntax::all(), options, asks_again: true }
    }
}

/// A case that failed, or a line that is no script.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Its line, from 1.
    pub line: usize,
    /// What went wrong.
    pub message: String,
}

/// What came of a script.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Cases that passed.
    pub passed: usize,
    /// All cases.
    pub total: usize,
    /// Answers that were looked at, those to queries that were asked again among them.
    pub checks: usize,
    /// The others.
    pub failures: Vec<Failure>,
}

/// Makes a source from everything that was loaded since the last `clear`.
pub type MakeSource<'a> = dyn FnMut(&[LoadedSeries]) -> Box<dyn Source> + 'a;

/// A [`MakeSource`] for lists in memory.
pub fn in_memory(series: &[LoadedSeries]) -> Box<dyn Source> {
    let mut source = MemorySource::new();
    for (labels, samples) in series {
        for sample in samples {
            source.push_value(labels, sample.time_ms, sample.start_ms, sample.value.clone());
        }
    }
    Box::new(source)
}

/// Runs a script from its first line to its last, past cases that fail.
pub fn run(text: &str, settings: &Settings, make_source: &mut MakeSource<'_>) -> Report {
    let lines: Vec<&str> = text.lines().map(|line| strip_comment(line.trim())).collect();
    let (mut report, mut at) = (Report::default(), 0);
    let mut loaded: Vec<LoadedSeries> = Vec::new();
    let mut source: Option<Box<dyn Source>> = None;
    while at < lines.len() {
        let first = lines[at];
        let body: Vec<&str> = lines[at + 1..].iter().copied().take_while(|line| !line.is_empty()).collect();
        let line = at + 1;
        let word = first.split_whitespace().next().unwrap_or_default().to_lowercase();
        let used = match word.as_str() {
            "" => 0,
            "clear" => {
                loaded.clear();
                source = None;
                0
            }
            word if word.starts_with("load") => {
                source = None;
                if let Err(message) = Load::parse(first, &body).and_then(|load| load.add_to(&mut loaded)) {
                    report.failures.push(Failure { line, message });
                }
                body.len()
            }
            word if word.starts_with("eval") => {
                let source = source.get_or_insert_with(|| make_source(&loaded));
                report.total += 1;
                let outcome = eval::run(first, &body, settings, source.as_ref());
                report.checks += outcome.checks;
                match outcome.result {
                    Ok(()) => report.passed += 1,
                    Err(message) => {
                        report.failures.push(Failure { line, message: format!("{first}\n    {message}") });
                    }
                }
                outcome.used
            }
            _ => {
                report.failures.push(Failure { line, message: format!("invalid command {first:?}") });
                0
            }
        };
        at += 1 + used;
    }
    report
}

fn strip_comment(line: &str) -> &str {
    if line.starts_with('#') { "" } else { line }
}
