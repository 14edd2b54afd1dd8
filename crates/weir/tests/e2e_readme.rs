//! The README's words, run as they stand; and a data directory that is in use.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use xtask::load::process::Process;
use xtask::repo::Repo;
use xtask::rig::weir::{Home, SMALL};

fn shell(directory: &Path, line: &str) -> Output {
    Command::new("sh").args(["-c", line]).current_dir(directory).output().expect("sh runs")
}

/// Runs lines that send a sample and read it back.
fn check_lines(directory: &Path, lines: &[&str], expected: &str) {
    let mut last = String::new();
    for line in lines {
        let output = shell(directory, line);
        last = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{line}\n{last}{}", String::from_utf8_lossy(&output.stderr));
    }
    assert!(last.contains("\"success\"") && last.contains(expected), "{lines:?}\n{last}");
}

#[test]
fn e2e_readme_lines_work_when_pasted() {
    let test = "e2e_readme_lines_work_when_pasted";
    let address: SocketAddr = "127.0.0.1:9347".parse().expect("an address");
    if !xtask::run::exists("curl") {
        return xtask::test::skipped(test, "curl is not installed");
    }
    if TcpListener::bind(address).is_err() {
        return xtask::test::skipped(test, "port 9347 is in use");
    }
    let directory = tempfile::tempdir().expect("a directory");
    let log = directory.path().join("log");
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    command.current_dir(directory.path());
    let mut weir = Process::start(command, address, &log).expect("Weir starts");
    weir.wait_ready("/-/ready", Duration::from_secs(60)).expect("ready");

    let readme = Repo::here().read("README.md").expect("a README");
    let lines: Vec<&str> = readme.lines().filter(|line| line.starts_with("curl ")).collect();
    assert_eq!(lines.len(), 2, "the README sends a sample and reads it back");
    check_lines(directory.path(), &lines, "21.5");

    let printed = fs::read_to_string(&log).expect("a log");
    let token =
        fs::read_to_string(directory.path().join("weir-data/tenant-api-token-default")).expect("a token");
    assert!(!printed.contains(token.trim()), "a token was printed");
    let lines: Vec<&str> = printed.lines().map(str::trim).filter(|line| line.starts_with("curl ")).collect();
    assert_eq!(lines.len(), 2, "Weir prints how to send and read the first sample:\n{printed}");
    check_lines(directory.path(), &lines, "\"result\":[{");
    let status = weir.stop(Duration::from_secs(40)).expect("it stops");
    assert!(status.success(), "{status}");
}

#[test]
fn e2e_a_data_directory_in_use_is_refused_with_the_holder() {
    let directory = tempfile::tempdir().expect("a directory");
    let data = directory.path().join("data");
    let home = Home::new(Path::new(env!("CARGO_BIN_EXE_weir")), directory.path(), &data, SMALL);
    let first = home.start().expect("the first starts");
    let second = tempfile::tempdir().expect("a directory");
    let home = Home::new(Path::new(env!("CARGO_BIN_EXE_weir")), second.path(), &data, SMALL);
    let mut refused = home.spawn(&[]).expect("the second is tried");
    let status = refused.wait(Duration::from_secs(20)).expect("it ends");
    assert!(!status.success(), "{status}");
    let printed = home.printed();
    assert!(printed.contains(&first.id().to_string()), "names process {}: {printed}", first.id());
}
