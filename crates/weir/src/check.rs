//! `weir check`: what is wrong is said on stderr and told by the exit code, what was looked at stands on stdout.

use std::path::Path;

use env::{Env, LockError};
use server::control;

use crate::arguments::Check;
use crate::failure::{Code, Failure};
use crate::serve;
use crate::terminal::{put, say};

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
        Check::Data { data_dir } => data(&data_dir),
    }
}

fn data(directory: &Path) -> Result<(), Failure> {
    let failed =
        |message: String| Failure::new(Code::Failed, format_args!("{}: {message}", directory.display()));
    let env = Env::real();
    if !directory.join(control::LOCK).exists() {
        return Err(failed("no data directory of Weir".to_owned()));
    }
    let _lock = control::lock(&env, directory).map_err(|error| match error {
        LockError::Held(process) => failed(format!("is in use by process {process}; stop it first")),
        LockError::Io(error) => failed(error.to_string()),
    })?;
    let mut findings = control::check(&env, directory).map_err(|error| failed(error.to_string()))?;
    let report = tsdb::check(&*env.files, directory).map_err(|error| failed(error.to_string()))?;
    findings.extend(report.damage);
    for orphan in &report.orphans {
        say(format_args!("weir: {orphan}: nobody refers to it, the next start removes it"));
    }
    put(&format!(
        "blocks {}, pages {}, series {}, samples {}; log segments {}, frames {}\n",
        report.blocks, report.pages, report.series, report.samples, report.segments, report.frames
    ))?;
    if findings.is_empty() { Ok(()) } else { Err(Failure::several(Code::Findings, findings)) }
}
