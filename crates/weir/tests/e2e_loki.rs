//! Loki's clients against the real binary: what they log is taken, in both forms, and they see it as taken.
#![allow(clippy::disallowed_methods, reason = "a test of processes reads the clock")]

mod started;

use std::process::Command;

use started::{Weir, run, script};
use xtask::clients;

#[test]
fn e2e_a_python_logger_is_content() {
    let clients = match clients::python("python-logging-loki==0.3.1") {
        Ok(clients) => clients,
        Err(why) => return xtask::test::skipped("e2e_a_python_logger_is_content", &why),
    };
    let weir = Weir::start("");
    let mut command = Command::new("python3");
    command.arg(script("loki/send.py")).args([weir.url(), weir.token.clone()]);
    let refused = "wrong Unexpected Loki API response status code: 401";
    assert_eq!(
        run(command.env("PYTHONPATH", clients)),
        ["older 2 of 2", "newer 2 of 2", "hosted 2 of 2", refused, refused, "wrong 0 of 2"]
    );
    let kept = weir.own("weir_samples_accepted_total{tenant=\"default\",kind=\"log_line\"}");
    assert_eq!(kept, Some(6.0));
}
