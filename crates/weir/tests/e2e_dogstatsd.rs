//! Real StatsD clients send to a real Weir over every socket it has, and PromQL reads what they meant.
#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a test of processes waits, and tells people what was compared"
)]

use std::io::Write;
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cadence::StatsdClient;
use cadence::prelude::*;
use serde_json::Value;
use xtask::clients;
use xtask::load::http::{Connection, encoded};
use xtask::load::process::Process;
use xtask::rig::weir::Home;

/// Longest wait for something that comes with the next window.
const PATIENCE: Duration = Duration::from_secs(60);

struct Weir {
    home: Home,
    process: Process,
    token: String,
    udp: SocketAddr,
    directory: tempfile::TempDir,
}

impl Weir {
    /// One with all its sockets; `more` stands under `statsd:`, `config` behind it.
    fn start(more: &str, config: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let data = directory.path().join("data");
        let udp = UdpSocket::bind("127.0.0.1:0").expect("an address").local_addr().expect("an address");
        let (datagram, stream) = (directory.path().join("gram"), directory.path().join("stream"));
        let config = format!(
            "statsd:\n  listen: {udp}\n  hostname: x1carb6\n  unix_datagram: {}\n  unix_stream: {}\n{more}{config}",
            datagram.display(),
            stream.display()
        );
        let home = Home::new(Path::new(env!("CARGO_BIN_EXE_weir")), directory.path(), &data, &config);
        let process = home.start().expect("Weir starts");
        let token = home.token();
        Self { home, process, token, udp, directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The result of an instant query, now.
    fn query(&self, query: &str) -> Value {
        let mut connection = Connection::open(self.process.address, Some(&self.token)).expect("Weir answers");
        let answer = connection.get(&format!("/api/v1/query?query={}", encoded(query))).expect("an answer");
        let json: Value = serde_json::from_slice(&answer.body).expect("JSON");
        assert_eq!(json["status"], "success", "{query}: {json}");
        json["data"]["result"].clone()
    }

    /// The one number of an instant query.
    fn number(&self, query: &str) -> Option<f64> {
        self.query(query)[0]["value"][1].as_str().and_then(|text| text.parse().ok())
    }

    /// Waits until a query gives a number for which `is_good` holds.
    fn wait_for(&self, query: &str, is_good: impl Fn(f64) -> bool) {
        let start = Instant::now();
        loop {
            let number = self.number(query);
            if number.is_some_and(&is_good) {
                println!("{query} = {}", number.unwrap_or_default());
                return;
            }
            assert!(
                start.elapsed() < PATIENCE,
                "{query} is {number:?}; there is {}\n{}",
                self.query("count({__name__=~\".+\"}) by (__name__)"),
                self.home.printed()
            );
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

fn number(expected: f64) -> impl Fn(f64) -> bool {
    move |found| (found - expected).abs() < 1e-9
}

/// Starts a Python program that may import `package`.
fn python(test: &str, package: &str, program: &str, environment: &[(&str, &str)]) -> Option<Child> {
    match clients::python(package) {
        Ok(directory) => {
            let mut command = Command::new("python3");
            command.args(["-c", program]).env("PYTHONPATH", directory).envs(environment.iter().copied());
            Some(command.stdin(Stdio::null()).spawn().expect("python3 starts"))
        }
        Err(reason) => {
            xtask::test::skipped(test, &reason);
            None
        }
    }
}

/// The program of the tutorial, as it stands there. The dice before it are fair without being random, so that every
/// window has its part of each value.
const TUTORIAL: &str = r#"
import itertools, random
random.random = itertools.cycle([0.0, 0.2, 0.8, 0.3, 0.4, 0.9, 0.5, 0.6, 0.75, 0.65]).__next__

import time
import random
import datadog as dd
dd.initialize({"statsd_host": "127.0.0.1", "statsd_port": 8125})
while True:
    # Generate a value ~5 times per second.
    time.sleep(0.2)
    r = random.random()
    if r < 0.1:
        value = 1
    elif r < 0.7:
        value = 2
    else:
        value = 3
    dd.statsd.histogram("blog.app.testhist", value)
    # Increment a counter by +2 in each loop iteration,
    # i.e. at a rate of 5 Hz. The expected increment is
    # therefore 10 per second.
    dd.statsd.increment("blog.app.testcounter", 2)
"#;

#[test]
fn the_tutorial_reads_as_it_is_printed() {
    let weir = Weir::start("", "");
    let port = weir.udp.port().to_string();
    let environment = [("DD_DOGSTATSD_PORT", port.as_str()), ("DD_AGENT_HOST", "127.0.0.1")];
    let test = "the_tutorial_reads_as_it_is_printed";
    let Some(mut client) = python(test, "datadog==0.56.0", TUTORIAL, &environment) else { return };
    // The first window with anything in it is not whole; the one after it is.
    let full = |query: &str| {
        let result = weir.query(&format!("{query}[2m]"));
        result[0]["values"][1][1].as_str().and_then(|text| text.parse::<f64>().ok())
    };
    let start = Instant::now();
    let rate = loop {
        if let Some(rate) = full("blog_app_testcounter{type=\"rate\"}") {
            break rate;
        }
        assert!(start.elapsed() < PATIENCE, "{}", weir.home.printed());
        std::thread::sleep(Duration::from_millis(200));
    };
    client.kill().expect("it runs");
    client.wait().expect("it ends");
    println!("rate {rate}");
    assert!((9.0..=11.0).contains(&rate), "{rate}");
    assert_eq!(full("blog_app_testhist_max"), Some(3.0));
    let average = full("blog_app_testhist_avg").expect("an average");
    assert!((2.1..=2.3).contains(&average), "{average}");
    let count = full("blog_app_testhist_count{type=\"rate\"}").expect("a count");
    assert!((4.5..=5.5).contains(&count), "{count}");
    let labels = &weir.query("blog_app_testcounter")[0]["metric"];
    assert_eq!(
        (&labels["instance"], &labels["job"], &labels["interval"]),
        (&Value::from("x1carb6"), &Value::from("ddagent"), &Value::from("10"))
    );
    // Beside the aggregates stands the whole distribution.
    let quantile = weir.number("histogram_quantile(0.99, sum(sum_over_time(blog_app_testhist[2m])))");
    // 3 is a value that many have: the quantile lies somewhere in its bucket.
    assert!(quantile.is_some_and(|quantile| (2.9..=3.1).contains(&quantile)), "{quantile:?}");
}

/// PyPI `datadog` on one transport: what it is told to send under a prefix.
const DATADOGPY: &str = r#"
import os
from datadog.dogstatsd import DogStatsd
settings = {
    "udp": dict(host="127.0.0.1", port=int(os.environ["UDP_PORT"])),
    "gram": dict(socket_path="unixgram://" + os.environ["GRAM"]),
    "stream": dict(socket_path="unixstream://" + os.environ["STREAM"]),
}
for name, where in settings.items():
    with DogStatsd(disable_telemetry=True, namespace="py." + name, **where) as client:
        for value in range(1, 101):
            client.increment("c", value)
            client.histogram("h", value)
            client.distribution("d", value)
            client.set("s", value % 7)
        client.gauge("g", -3, tags=["env:prod", "bare"])
        client.timing("t", 12.5, sample_rate=1)
        client.service_check("redis up", 2, message="timed out|m: x\ny", tags=["env:dev"])
        client.event("Exception é", "unicode ü\nsecond", alert_type="error")
        client.flush()
    client.close_socket()
"#;

/// npm `hot-shots`, DogStatsD and Telegraf.
const HOT_SHOTS: &str = r#"
const { StatsD } = require("hot-shots");
for (const telegraf of [false, true]) {
  const prefix = telegraf ? "js.telegraf." : "js.dog.";
  const client = new StatsD({ host: "127.0.0.1", port: Number(process.env.UDP_PORT), prefix, telegraf });
  for (let i = 0; i < 50; i++) {
    client.increment("c", 3, ["env:prod"]);
    client.gauge("g", 5, ["env:prod"]);
  }
  if (!telegraf) {
    client.distribution("d", 1.5);
    client.check("js check", client.CHECKS.CRITICAL, { message: "raw\nnewline" });
  }
  client.close();
}
"#;

#[test]
fn real_clients_are_counted_to_the_last_line() {
    let weir = Weir::start("", "");
    let port = weir.udp.port().to_string();
    let (gram, stream) = (weir.path("gram").display().to_string(), weir.path("stream").display().to_string());
    let environment = [("UDP_PORT", port.as_str()), ("GRAM", &gram), ("STREAM", &stream)];
    let test = "real_clients_are_counted_to_the_last_line";
    let datadogpy = python(test, "datadog==0.56.0", DATADOGPY, &environment);
    let hot_shots = hot_shots(test, &environment);
    send_with_cadence(weir.udp);
    send_with_dogstatsd(weir.udp);
    send_frames(&weir.path("stream"));

    let seen = |name: &str| format!("sum(sum_over_time({name}[5m])) * 10");
    weir.wait_for(&seen("cad_c"), number(60.0));
    weir.wait_for("cad_h_95percentile", number(4.0));
    weir.wait_for("max_over_time(cad_g{ddtag_env=\"prod\"}[5m])", number(7.0));
    weir.wait_for(&seen("mc_c"), number(41.0));
    weir.wait_for("mc_check{ddtag_k=\"v\"}", number(1.0));
    weir.wait_for(&seen("framed_c"), number(5.0));
    if let Some(mut client) = datadogpy {
        assert!(client.wait().expect("it ends").success());
        for name in ["udp", "gram", "stream"] {
            weir.wait_for(&seen(&format!("py_{name}_c")), number(5050.0));
            weir.wait_for(&seen(&format!("py_{name}_h_count")), number(100.0));
            weir.wait_for(&format!("max_over_time(py_{name}_h_max[5m])"), number(100.0));
            weir.wait_for(&format!("histogram_sum(sum(sum_over_time(py_{name}_d[5m])))"), number(5050.0));
            let median = format!("histogram_quantile(0.5, sum(sum_over_time(py_{name}_d[5m])))");
            weir.wait_for(&median, |median| (49.0..=51.0).contains(&median));
            weir.wait_for(&format!("max_over_time(py_{name}_s[5m])"), number(7.0));
            weir.wait_for(&format!("py_{name}_g{{ddtag_env=\"prod\",type=\"gauge\"}}"), number(-3.0));
            weir.wait_for(&format!("max_over_time(py_{name}_t_avg[5m])"), number(12.5));
        }
        weir.wait_for("redis_up{ddtag_env=\"dev\"}", number(2.0));
    }
    if let Some(mut client) = hot_shots {
        assert!(client.wait().expect("it ends").success());
        weir.wait_for(&seen("js_dog_c{ddtag_env=\"prod\"}"), number(150.0));
        weir.wait_for(&seen("js_telegraf_c{ddtag_env=\"prod\"}"), number(150.0));
        weir.wait_for("js_telegraf_g{ddtag_env=\"prod\"}", number(5.0));
        weir.wait_for("js_dog_js_check", number(2.0));
    }
    weir.home.check_log().expect("nothing went wrong");
}

fn hot_shots(test: &str, environment: &[(&str, &str)]) -> Option<Child> {
    match clients::node("hot-shots@17.1.1") {
        Ok(directory) => {
            let mut command = Command::new("node");
            command.args(["-e", HOT_SHOTS]).current_dir(directory).envs(environment.iter().copied());
            Some(command.stdin(Stdio::null()).spawn().expect("node starts"))
        }
        Err(reason) => {
            xtask::test::skipped(test, &reason);
            None
        }
    }
}

fn send_with_cadence(address: SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let sink = cadence::UdpMetricSink::from(address, socket).expect("a sink");
    let client = StatsdClient::from_sink("cad", sink);
    for _ in 0..20 {
        client.count_with_tags("c", 3).with_tag("env", "prod").with_tag_value("bare").send();
    }
    client.gauge_with_tags("g", 7u64).with_tag("env", "prod").send();
    client.histogram("h", vec![1u64, 2, 3, 4]).expect("it is sent");
    // A type that an Agent does not know.
    client.meter("m", 2).expect("it is sent");
}

fn send_with_dogstatsd(address: SocketAddr) {
    let to = address.to_string();
    let options = dogstatsd::Options::new("127.0.0.1:0", &to, "mc", vec!["g:1".into()], None, None);
    let client = dogstatsd::Client::new(options).expect("a client");
    client.incr("c", ["k:v"]).expect("it is sent");
    client.incr_by_value("c", 40, ["k:v"]).expect("it is sent");
    client.event("title", "text", ["k:v"]).expect("it is sent");
    let status = dogstatsd::ServiceStatus::Warning;
    client.service_check("mc.check", status, ["k:v"], None).expect("it is sent");
}

/// Frames in pieces, two in one piece, and one that never ends.
fn send_frames(path: &Path) {
    let mut stream = UnixStream::connect(path).expect("it listens");
    for part in [&b"\x0c\0"[..], b"\0\0framed.c", b":1|c\x0c\0\0\0framed.c:4|c\x40\0\0\0framed.c:90|c\n"] {
        stream.write_all(part).expect("it reads");
        stream.flush().expect("it reads");
    }
}

#[test]
fn plain_is_what_prometheus_would_have_and_nothing_is_lost_by_a_stop() {
    let mut weir = Weir::start("  flavor: statsd\n", "datadog: {profile: plain}\n");
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let send = |lines: &str| socket.send_to(lines.as_bytes(), weir.udp).expect("it is sent");
    send(
        "hits:3|c|#path:/\nhits:4|c|@0.5|#path:/\nlat:2:4:6|ms\ntemp:20|g\ntemp:-3|g\nwho:a|s\nwho:b|s\nnonsense\n",
    );
    weir.wait_for("hits_total{host=\"x1carb6\",path=\"/\"}", number(11.0));
    weir.wait_for("temp", number(17.0));
    weir.wait_for("max_over_time(who[5m])", number(2.0));
    weir.wait_for("max_over_time(lat_max[5m])", number(6.0));
    weir.wait_for("histogram_avg(sum(sum_over_time(lat[5m])))", number(4.0));
    send("hits:5|c|#path:/\nlast:1|c\n");
    // What was sent is read before the signal is: the threads end once their sockets are empty.
    weir.process.stop(Duration::from_secs(30)).expect("it stops");
    assert!(!weir.path("gram").exists() && !weir.path("stream").exists());
    weir.process = weir.home.start().expect("it starts again");
    weir.wait_for("last_total", number(1.0));
    weir.wait_for("max_over_time(hits_total[5m])", number(16.0));
    weir.home.check_log().expect("nothing went wrong");
}
