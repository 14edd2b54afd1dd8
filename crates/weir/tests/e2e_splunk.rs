//! Clients of Splunk's HTTP Event Collector against the real binary.
#![allow(clippy::disallowed_methods, reason = "a test of processes reads the clock")]

mod started;

use std::process::Command;

use started::{Weir, documented, run, script};
use xtask::clients;
use xtask::rig::writer::now_ms;

const LINES: &str = r#"weir_samples_accepted_total{tenant="default",kind="log_line"}"#;

#[test]
fn e2e_splunk_handlers_lines_are_kept() {
    let handler = match clients::python("splunk-handler==3.0.0") {
        Ok(handler) => handler,
        Err(why) => return xtask::test::skipped("e2e_splunk_handlers_lines_are_kept", &why),
    };
    let weir = Weir::start("");
    let address = weir.process.address;
    let mut python = Command::new("python3");
    python.arg(script("splunk/send.py")).env("PYTHONPATH", handler);
    python.args([address.ip().to_string(), address.port().to_string(), weir.token.clone()]);
    let printed = run(&mut python);
    let sent = printed.iter().position(|line| line == "sent").expect("it came to its end");
    let complaints = |lines: &[String]| lines.iter().filter(|line| line.contains("Exception")).count();
    assert_eq!(complaints(&printed[..sent]), 0, "{printed:#?}");
    assert!(printed[sent..].iter().any(|line| line.contains("403 Client Error")), "{printed:#?}");
    assert_eq!(weir.own(LINES), Some(2.0));
}

#[test]
fn e2e_splunk_loggings_lines_are_kept() {
    let folder = match clients::node("splunk-logging@0.11.1") {
        Ok(folder) => folder,
        Err(why) => return xtask::test::skipped("e2e_splunk_loggings_lines_are_kept", &why),
    };
    let weir = Weir::start("");
    let mut node = Command::new("node");
    node.arg(script("splunk/send.js")).arg(folder).args([weir.url(), weir.token.clone()]);
    let wanted = [r#"200 {"text":"Success","code":0}"#, r#"403 {"text":"Invalid token","code":4}"#];
    assert_eq!(run(&mut node), wanted);
    assert_eq!(weir.own(LINES), Some(2.0));
}

#[test]
fn e2e_the_splunk_pages_lines_work_when_pasted() {
    if !xtask::run::exists("curl") {
        let test = "e2e_the_splunk_pages_lines_work_when_pasted";
        return xtask::test::skipped(test, "curl is not installed");
    }
    let weir = Weir::start("");
    let mut curl = Command::new("sh");
    curl.args(["-c", &documented("docs/send/splunk.md", "sh", &weir)]).env("TOKEN", &weir.token);
    assert_eq!(run(&mut curl), [r#"{"text":"Success","code":0}"#]);
    let found = weir.query(r#"{__name__=~"cpu.*"}"#, now_ms() / 1000 + 5);
    let labels = "host=web-1,region=eu-west-1,source=perflog";
    assert_eq!(found, [format!("cpu.sys{{{labels}}} 12.23"), format!("cpu.usr{{{labels}}} 11.12")]);
    assert_eq!(weir.own(LINES), Some(1.0));
}
