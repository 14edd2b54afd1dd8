//! Running other programs, with what is run printed first.

use std::io::{IsTerminal, Write};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::repo::Repo;

/// A command in the checkout's root.
pub fn command(repo: &Repo, line: &str) -> Command {
    let mut words = line.split_whitespace();
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words).current_dir(&repo.root);
    command
}

/// Prints a command line, runs it in the checkout's root with its output shown, and fails when it fails.
pub fn shown(repo: &Repo, line: &str) -> Result<()> {
    shown_with(repo, line, &[])
}

/// [`shown`] with environment variables.
pub fn shown_with(repo: &Repo, line: &str, environment: &[(&str, &str)]) -> Result<()> {
    let start = Instant::now();
    eprintln!("$ {line}");
    let status = command(repo, line)
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("run `{line}`"))?;
    eprintln!("  {:.1} s", start.elapsed().as_secs_f64());
    if !status.success() {
        bail!("`{line}` failed: {status}");
    }
    Ok(())
}

/// Whether a program is on the path (`/usr/sbin` and `/sbin` included).
pub fn exists(program: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':')
        .chain(["/usr/sbin", "/sbin"])
        .any(|folder| std::path::Path::new(folder).join(program).is_file())
}

/// Whether a Cargo subcommand or any other command line exits well; its output is not shown.
pub fn succeeds(repo: &Repo, line: &str) -> bool {
    command(repo, line)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Asks a yes/no question; no terminal is a no.
pub fn confirmed(question: &str) -> bool {
    if !std::io::stdin().is_terminal() {
        eprintln!("{question} [y/N] no (no terminal; use --yes)");
        return false;
    }
    eprint!("{question} [y/N] ");
    let _ = std::io::stderr().flush();
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).is_ok() && answer.trim().eq_ignore_ascii_case("y")
}
