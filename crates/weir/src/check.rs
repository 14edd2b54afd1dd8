//! `weir check`: what was looked at and what is damaged stand on stdout; that something is wrong is said on stderr and told
//! by the exit code.

use std::path::{Path, PathBuf};

use env::{Env, Files, Lock, LockError};
use serde_json::{Value, json};
use server::control;
use tsdb::{CheckReport, Finding, Quarantined};

use crate::arguments::{Check, ListFormat};
use crate::failure::{Code, Failure};
use crate::output::table;
use crate::terminal::{put, say, tame};
use crate::{page, serve, snapshot, time};

/// `weir check`.
pub(crate) fn check(command: Check) -> Result<(), Failure> {
    match command {
        Check::Config { serve: flags } => {
            let sources = serve::sources(&flags);
            serve::config(&sources)?;
            match sources.path() {
                Some(path) => put(&format!("{}: in order\n", path.display())),
                None => put("no weir.yaml: the defaults hold\n"),
            }
        }
        Check::Metrics { page, format, ca_cert } => page::check(&page, format, ca_cert),
        Check::Data { directory, data_dir, output, no_progress } => {
            data(&directory.unwrap_or(data_dir), output, no_progress)
        }
    }
}

/// A data directory, or a snapshot.
pub(crate) fn data(directory: &Path, output: ListFormat, no_progress: bool) -> Result<(), Failure> {
    let _lock = hold(directory)?;
    tell(directory, output, no_progress)
}

/// Keeps servers away from a directory: nobody may have it open.
pub(crate) fn hold(directory: &Path) -> Result<Option<Box<dyn Lock>>, Failure> {
    let env = Env::real();
    // Without the file nobody ever had it open, as with a snapshot.
    let lock = directory.join(control::LOCK).exists().then(|| control::lock(&env, directory));
    lock.transpose().map_err(|error| match error {
        LockError::Held(process) => {
            failed(directory, format_args!("is in use by process {process}; stop it first"))
        }
        LockError::Io(error) => failed(directory, error),
    })
}

/// What is damaged in a directory, a line each.
pub(crate) fn damage(directory: &Path, no_progress: bool) -> Result<Vec<String>, Failure> {
    let report = inspect(directory, no_progress)?;
    Ok(report.damage.iter().map(|finding| format!("{}: {}", finding.file, finding.what)).collect())
}

fn tell(directory: &Path, output: ListFormat, no_progress: bool) -> Result<(), Failure> {
    let report = inspect(directory, no_progress)?;
    match output {
        ListFormat::Json => put(&format!("{:#}\n", as_json(directory, &report)))?,
        ListFormat::Table => put(&as_text(&report))?,
    }
    for orphan in &report.orphans {
        say(format_args!("weir: {orphan}: nobody refers to it, the next start removes it"));
    }
    match report.damage.len() {
        0 => Ok(()),
        1 => Err(failure(directory, "1 thing is damaged")),
        several => Err(failure(directory, format_args!("{several} things are damaged"))),
    }
}

fn failure(directory: &Path, message: impl std::fmt::Display) -> Failure {
    Failure::new(Code::Findings, format_args!("{}: {message}", directory.display()))
}

fn failed(directory: &Path, message: impl std::fmt::Display) -> Failure {
    Failure::new(Code::Failed, format_args!("{}: {message}", directory.display()))
}

fn inspect(directory: &Path, no_progress: bool) -> Result<CheckReport, Failure> {
    let known = ["FORMAT", "LOCK", "manifest-0", "manifest-1", "control-0", "control-1"];
    if !known.iter().any(|name| directory.join(name).exists()) {
        return Err(failed(directory, "no data directory of Weir"));
    }
    let env = Env::real();
    let control = control::check(&env, directory);
    let control = match control {
        Ok(findings) => findings,
        // A start would refuse it: the worst finding there is.
        Err(control::OpenError::Damaged) => vec![control::OpenError::Damaged.to_string()],
        Err(error) => return Err(failed(directory, error)),
    };
    let bar = snapshot::bar(bytes(directory), "checking", no_progress);
    let report = tsdb::check(&*env.files, directory, &mut |bytes| bar.inc(bytes));
    bar.finish_and_clear();
    let mut report = report.map_err(|error| failed(directory, error))?;
    report.damage.splice(0..0, control.into_iter().map(of_control));
    Ok(report)
}

fn of_control(what: String) -> Finding {
    let named = ["control-0", "control-1"].into_iter().find(|name| what.contains(&format!("{name} is")));
    let file = named.unwrap_or("control-0, control-1").to_owned();
    Finding { file, unit: "file", what, ..Finding::default() }
}

/// Bytes of the files that a check reads page by page: what a bar goes over.
pub(crate) fn bytes(directory: &Path) -> u64 {
    let files = &*Env::real().files;
    let parts = ["blocks", "wal/metrics", "wal/logs", "quarantine"].map(|part| directory.join(part));
    let files_in = |part: PathBuf| {
        let names = files.list(&part).unwrap_or_default();
        names.into_iter().map(|name| length(files, &part.join(name))).sum::<u64>()
    };
    parts.into_iter().map(files_in).sum()
}

fn length(files: &dyn Files, path: &Path) -> u64 {
    files.open(path).and_then(|file| file.length()).unwrap_or(0)
}

fn as_text(report: &CheckReport) -> String {
    let mut text = format!(
        "blocks {}, pages {}, series {}, samples {}; log segments {}, frames {}",
        report.blocks, report.pages, report.series, report.samples, report.segments, report.frames
    );
    if report.lines > 0 {
        text.push_str(&format!(", log lines {}", report.lines));
    }
    text.push('\n');
    let title = ["FILE", "UNIT", "OFFSET", "LENGTH", "TENANT", "LOST", "WHAT"];
    let mut rows = vec![title.map(str::to_owned).to_vec()];
    rows.extend(report.damage.iter().map(|finding| row(finding, lost(finding))));
    rows.extend(report.torn.iter().map(|finding| row(finding, "nothing that is known".to_owned())));
    for file in &report.quarantine {
        rows.push(row(&set_aside(file), lost_with(file)));
        rows.extend(file.damage.iter().map(|finding| row(finding, lost(finding))));
    }
    if rows.len() > 1 {
        text.push_str(&table(&rows));
    }
    text
}

/// A file in quarantine as one line: what of it can be read.
fn set_aside(file: &Quarantined) -> Finding {
    let left = match file.kind {
        "block" if file.series > 0 => {
            format!("; {} pages, {} series, {} samples can be read", file.pages, file.series, file.samples)
        }
        "block" => format!("; it does not open, {} of its pages are good", file.pages),
        "log segment" => format!("; {} frames are good", file.frames),
        _ if file.damage.is_empty() => "; it can be read".to_owned(),
        _ => String::new(),
    };
    Finding {
        file: file.file.clone(),
        unit: file.kind,
        length: Some(file.length),
        what: format!("was found damaged earlier{left}"),
        ..Finding::default()
    }
}

fn lost_with(file: &Quarantined) -> String {
    file.lost_samples.map_or_else(|| "-".to_owned(), |samples| format!("{samples} samples"))
}

fn row(finding: &Finding, lost: String) -> Vec<String> {
    let number = |number: Option<u64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
    vec![
        tame(&finding.file),
        finding.unit.to_owned(),
        number(finding.offset),
        number(finding.length),
        number(finding.tenant.map(|tenant| u64::from(tenant.0))),
        lost,
        tame(&finding.what),
    ]
}

fn lost(finding: &Finding) -> String {
    let mut parts = Vec::new();
    parts.extend(finding.series.map(|series| format!("something of {series} series")));
    parts.extend(finding.samples.map(|samples| format!("{samples} samples")));
    parts.extend(finding.range.map(|range| {
        let show = |ms: i64| time::show(ms as f64 / 1000.0);
        format!("{} to {}", show(range.start_ms), show(range.end_ms))
    }));
    parts.extend(
        finding
            .sequences
            .as_ref()
            .map(|sequences| format!("sequences {} to {}", sequences.start, sequences.end.saturating_sub(1))),
    );
    if parts.is_empty() { "-".to_owned() } else { parts.join(", ") }
}

fn as_json(directory: &Path, report: &CheckReport) -> Value {
    let finding = |finding: &Finding| {
        json!({
            "file": finding.file,
            "unit": finding.unit,
            "offset": finding.offset,
            "length": finding.length,
            "tenant": finding.tenant.map(|tenant| tenant.0),
            "what": finding.what,
            "lost": {
                "series": finding.series,
                "samples": finding.samples,
                "start_ms": finding.range.map(|range| range.start_ms),
                "end_ms": finding.range.map(|range| range.end_ms),
                "first_sequence": finding.sequences.as_ref().map(|sequences| sequences.start),
                "end_sequence": finding.sequences.as_ref().map(|sequences| sequences.end),
            },
        })
    };
    let set_aside = |file: &Quarantined| {
        json!({
            "file": file.file,
            "kind": file.kind,
            "length": file.length,
            "pages": file.pages,
            "series": file.series,
            "samples": file.samples,
            "frames": file.frames,
            "lost_samples": file.lost_samples,
            "damage": file.damage.iter().map(finding).collect::<Vec<_>>(),
        })
    };
    json!({
        "directory": directory.display().to_string(),
        "whole": report.damage.is_empty(),
        "manifest_generation": report.manifest_generation,
        "blocks": report.blocks,
        "pages": report.pages,
        "series": report.series,
        "samples": report.samples,
        "segments": report.segments,
        "frames": report.frames,
        "log_lines": report.lines,
        "damage": report.damage.iter().map(finding).collect::<Vec<_>>(),
        "torn": report.torn.iter().map(finding).collect::<Vec<_>>(),
        "orphans": report.orphans,
        "quarantine": report.quarantine.iter().map(set_aside).collect::<Vec<_>>(),
    })
}
