//! Better Stack's documentation against the real binary: its lines for curl and Python as they stand, but for the host, and
//! what they say comes back by PromQL.
#![allow(clippy::disallowed_methods, reason = "a test of processes reads the clock")]

mod started;

use std::process::Command;

use started::{Weir, documented, printed, python_path, run, script};
use xtask::rig::writer::now_ms;

const PAGE: &str = "docs/send/betterstack.md";

/// `requests` and `msgpack`, as `PYTHONPATH` wants them; else why they are not there.
fn python_clients() -> Result<String, String> {
    for program in ["curl", "xxd", "bash"] {
        if !xtask::run::exists(program) {
            return Err(format!("{program} is not installed"));
        }
    }
    python_path(&["msgpack==1.2.4", "requests==2.34.2"])
}

/// Runs a command of the vendor's documentation and returns what curl was answered: head, body, status.
fn answered(weir: &Weir, command: &str, python: &str) -> String {
    // What is asked of curl besides, so that the command stays as it is.
    let home = weir.directory();
    let asked = "silent\ninclude\nwrite-out = \"\\n%{http_code}\"\n";
    std::fs::write(home.join(".curlrc"), asked).expect("a file");
    let command = command.replace("https://in.logs.betterstack.com", &weir.url());
    let mut bash = Command::new("bash");
    bash.args(["-c", &command]).env("CURL_HOME", home).env("HOME", home);
    printed(bash.env("SOURCE_TOKEN", &weir.token).env("PYTHONPATH", python))
}

/// When the documented `dt` was: 2023-08-09 07:03:30.
const DOCUMENTED_S: i64 = 1_691_564_610;

#[test]
fn e2e_documented_lines_do_what_they_say() {
    let python = match python_clients() {
        Ok(python) => python,
        Err(why) => return xtask::test::skipped("e2e_documented_lines_do_what_they_say", &why),
    };
    let commands = std::fs::read_to_string(script("betterstack/documented.sh")).expect("the commands");
    // Under the retention that everybody has, and where the documented time is not too old.
    for (config, is_kept) in [("", false), ("storage: {retention: 100y}\n", true)] {
        let weir = Weir::start(config);
        let all: Vec<&str> = commands.trim_end().split("\n\n").collect();
        assert_eq!(all.len(), 7);
        for command in all {
            let answer = answered(&weir, command, &python);
            assert!(answer.ends_with("\r\n\r\n\n202"), "{command}\n{answer}");
            let is_refused = command.contains("2023") && !is_kept;
            assert_eq!(answer.contains("x-weir-rejected: 1; too_old\r\n"), is_refused, "{answer}");
            assert_eq!(answer.contains("x-weir-rejected"), is_refused, "{answer}");
        }
        let now_s = now_ms() / 1000 + 1;
        let named = |name: &str, value: &str| vec![format!("{name}{{}} {value}")];
        assert_eq!(weir.query("test_metric", now_s), named("test_metric", "123"));
        assert_eq!(weir.query("metric_a", now_s), named("metric_a", "3.14"));
        assert_eq!(weir.query("metric_b", now_s), named("metric_b", "42"));
        let kept = if is_kept { named("test_metric", "123") } else { Vec::new() };
        assert_eq!(weir.query("test_metric", DOCUMENTED_S), kept);
    }
}

#[test]
fn e2e_python_sends_every_type_and_every_time() {
    let python = match python_clients() {
        Ok(python) => python,
        Err(why) => return xtask::test::skipped("e2e_python_sends_every_type_and_every_time", &why),
    };
    let (weir, now_s) = (Weir::start(""), now_ms() / 1000);
    let mut command = Command::new("python3");
    command.arg(script("betterstack/send.py")).args([weir.url(), weir.token.clone(), now_s.to_string()]);
    let answers = run(command.env("PYTHONPATH", &python));
    assert_eq!(
        answers[..9],
        [
            "documented 202 '' 4 None",
            "packed 202 '' 4 None",
            "times 202 '' 9 None",
            "times 202 '' 3 None",
            "times 202 '' 9 None",
            "unparsed 202 '' 1 None",
            "gzip 202 '' 3 None",
            "chunked 202 '' 1 None",
            "log 202 '' 1 None",
        ]
    );
    assert_eq!(answers[9], "wrong token 403 'Unauthorized' None None");
    for (answer, what) in answers[10..12].iter().zip(["wrong body", "wrong packing"]) {
        let wanted = format!("{what} 406 \"Couldn't parse JSON content.\\n");
        assert!(answer.starts_with(&wanted), "{answer}");
    }
    assert_eq!(answers[12..], ["too big 413 'payload reached size limit' None None"]);

    // What had no time of its own came meanwhile.
    let later_s = now_ms() / 1000 + 1;
    let labelled = |name: &str, label: &str, rows: &[(&str, &str)]| {
        let show = |(bound, value): &(&str, &str)| format!("{name}{{{label}={bound}}} {value}");
        let mut rows: Vec<String> = rows.iter().map(show).collect();
        rows.sort();
        rows
    };
    let name = "http_request_duration_seconds";
    let own = [("0.1", "15"), ("0.2", "30"), ("0.5", "45"), ("1", "50")];
    assert_eq!(weir.query(name, later_s), labelled(name, "upper_limit", &own));
    let bucket = format!("{name}_bucket");
    let cumulative = [("0.1", "15"), ("0.2", "45"), ("0.5", "90"), ("1", "140"), ("+Inf", "140")];
    assert_eq!(weir.query(&bucket, later_s), labelled(&bucket, "le", &cumulative));
    let median = weir.query(&format!("histogram_quantile(0.5, {bucket})"), later_s);
    assert_eq!(median, ["{} 0.3666666666666667"]);
    assert_eq!(weir.query(&format!("{name}_sum / {name}_count"), later_s), ["{} 0.5392857142857143"]);
    let name = "http_response_size_bytes";
    let quantiles = [("0.5", "200"), ("0.9", "450"), ("0.99", "600")];
    assert_eq!(weir.query(name, later_s), labelled(name, "quantile", &quantiles));
    assert_eq!(
        weir.query("node_cpu_temperature_celsius", later_s),
        ["node_cpu_temperature_celsius{environment=production,host=server_1,region=us-east} 63.5"]
    );
    // Each form of the same time is that time.
    assert_eq!(weir.query("count(timestamp(dated))", now_s), ["{} 21"]);
    assert_eq!(weir.query("max(timestamp(dated))", now_s), [format!("{{}} {now_s}")]);
    assert_eq!(weir.query("min(timestamp(dated))", now_s), [format!("{{}} {now_s}")]);
    assert_eq!(weir.query(r#"count({__name__=~"line_.*|chunked|dt_unparsed"})"#, later_s), ["{} 5"]);
}

#[test]
fn e2e_the_betterstack_pages_lines_work_when_pasted() {
    let python = match python_clients() {
        Ok(python) => python,
        Err(why) => return xtask::test::skipped("e2e_the_betterstack_pages_lines_work_when_pasted", &why),
    };
    let weir = Weir::start("");
    let mut curl = Command::new("sh");
    run(curl.args(["-c", &documented(PAGE, "sh", &weir)]).env("TOKEN", &weir.token));
    run(Command::new("python3").args(["-c", &documented(PAGE, "python", &weir)]).env("PYTHONPATH", &python));
    let found = weir.query(r#"{__name__=~"jobs_.*"}"#, now_ms() / 1000 + 5);
    assert_eq!(found, ["jobs_done_total{} 42", "jobs_running{queue=mail} 3"]);
}
