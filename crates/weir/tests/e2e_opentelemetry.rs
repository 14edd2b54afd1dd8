//! The page for OpenTelemetry's senders, as it is pasted.
#![allow(clippy::disallowed_methods, reason = "a test of processes reads the clock")]

mod started;

use std::process::Command;

use started::{Weir, documented, run};
use xtask::rig::writer::now_ms;

#[test]
fn e2e_the_opentelemetry_pages_lines_work_when_pasted() {
    if !xtask::run::exists("curl") {
        let test = "e2e_the_opentelemetry_pages_lines_work_when_pasted";
        return xtask::test::skipped(test, "curl is not installed");
    }
    let weir = Weir::start("");
    let mut curl = Command::new("sh");
    curl.args(["-c", &documented("docs/send/opentelemetry.md", "sh", &weir)]).env("TOKEN", &weir.token);
    assert_eq!(run(&mut curl), ["{}"]);
    assert_eq!(weir.query("queue_length", now_ms() / 1000 + 5), ["queue_length{job=checkout} 3"]);
}
