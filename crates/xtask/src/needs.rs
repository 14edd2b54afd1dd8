//! What the tests need from the machine, why, and how to get it.
//!
//! Nothing outside the repository is touched without a yes: asked on a terminal, given beforehand by `--yes` or
//! `CI=true`. Without it the tests go on, and those that miss something say so.

use std::process::Command;

use anyhow::Result;

use crate::run;

/// A program that some tests start.
#[derive(Clone, Copy, Debug)]
pub struct Need {
    /// Its name on the path.
    pub program: &'static str,
    /// The Debian packages that bring it, with spaces between.
    pub package: &'static str,
    /// Which tests want it.
    pub why: &'static str,
}

/// For `cargo xtask test`.
pub const TESTS: &[Need] = &[
    need("prometheus", "prometheus", "a real Prometheus writes to Weir; promtool queries it"),
    need("prometheus-node-exporter", "prometheus-node-exporter", "that Prometheus scrapes something real"),
    need("curl", "curl", "the README's two lines are run as they stand"),
    need("xxd", "xxd", "Better Stack's documented lines are run as they stand"),
    need(
        "strace",
        "strace",
        "the order of sync and answer is watched from outside; kills at an exact system call",
    ),
    need("mkfs.ext4", "e2fsprogs", "power cuts on ext4, a full disk"),
    need("mkfs.xfs", "xfsprogs", "power cuts on xfs"),
    need("xfs_io", "xfsprogs", "the power cut itself"),
    need("python3", "python3", "another HTTP client than ours"),
    need("node", "nodejs", "another HTTP client than ours"),
    need("victoria-metrics", "victoria-metrics", "what it exports is imported"),
    need(
        "collectd",
        "collectd-core libcurl3-gnutls libmicrohttpd12 libprotobuf-c1 libyajl2",
        "a real collectd sends, and exposes the same for comparison",
    ),
];

/// For `cargo xtask bench ingest`, besides [`TESTS`].
pub const BENCHMARKS: &[Need] = &[
    need("prometheus", "prometheus", "the peer that is compared with"),
    need("victoria-metrics", "victoria-metrics", "the peer that is compared with"),
];

const fn need(program: &'static str, package: &'static str, why: &'static str) -> Need {
    Need { program, package, why }
}

/// Finds out what is missing, says so, and installs it when it may.
pub fn provide(needs: &[Need], yes: bool) -> Result<()> {
    let missing: Vec<&Need> = needs.iter().filter(|need| !run::exists(need.program)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    eprintln!("The tests use programs that this machine has not got:");
    for need in &missing {
        eprintln!("  {:<26} {} (Debian package {})", need.program, need.why, need.package);
    }
    if !run::exists("apt-get") {
        eprintln!("There is no apt-get here; tests that need them will say that they are skipped.");
        return Ok(());
    }
    let mut packages: Vec<&str> = missing.iter().flat_map(|need| need.package.split(' ')).collect();
    packages.dedup();
    let question = format!("Install with apt-get, outside this repository: {}?", packages.join(" "));
    if !yes && !run::confirmed(&question) {
        eprintln!("Not installed; tests that need them will say that they are skipped.");
        return Ok(());
    }
    install(&packages);
    Ok(())
}

/// Installs Debian packages without starting the services that they bring. A failure is told, not fatal.
fn install(packages: &[&str]) {
    let root = run::exists("id")
        && Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0");
    let apt = |arguments: &[&str]| {
        let mut command = if root {
            Command::new("apt-get")
        } else {
            let mut command = Command::new("sudo");
            command.args(["-n", "apt-get"]);
            command
        };
        command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive").env("RUNLEVEL", "1");
        command.status().is_ok_and(|status| status.success())
    };
    let install =
        |packages: &[&str]| apt(&[&["install", "-y", "-q", "--no-install-recommends"], packages].concat());
    let is_done = apt(&["update", "-q"]) && install(packages);
    // One that is not to be had must not cost the others.
    let missing = packages.iter().filter(|package| !is_done && !install(&[*package]));
    let missing: Vec<&str> = missing.copied().collect();
    if !missing.is_empty() {
        let missing = missing.join(" ");
        eprintln!("apt-get failed (not root?); tests that need {missing} will say that they are skipped.");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_test_command_knows_what_it_needs() {
        for need in TESTS.iter().chain(BENCHMARKS) {
            assert!(!need.program.is_empty() && !need.package.is_empty(), "{need:?}");
            assert!(need.why.len() > 10, "a reader is told why: {need:?}");
        }
        assert!(run::exists("cargo") && !run::exists("no-such-program-anywhere"));
    }
}
