//! What Weir sends on arrives: at a real Prometheus, at a real VictoriaMetrics, at another Weir by the block that users of a
//! hosted service are given; and two Weirs that send to each other stop at one hop.
#![allow(clippy::disallowed_methods, reason = "a test of processes reads the clock")]

mod forward;
mod started;

use forward::{Weir, asked, prometheus, push, victoria_metrics, wait};
use xtask::load::http::{Connection, free_address};
use xtask::rig::writer::now_ms;

const OPEN: &str = "auth: off\nself_monitoring:\n  interval: 0s\n";

/// Queues that do not wait.
const QUICK: &str =
    "    queue_config:\n      batch_send_deadline: 50ms\n      min_backoff: 10ms\n      max_backoff: 200ms\n";

fn obstacle(program: &str) -> Option<String> {
    (!xtask::run::exists(program)).then(|| format!("{program} is not installed"))
}

#[test]
fn e2e_prometheus_takes_remote_write_of_both_versions() {
    let test = "e2e_prometheus_takes_remote_write_of_both_versions";
    if let Some(obstacle) = obstacle("prometheus") {
        return xtask::test::skipped(test, &obstacle);
    }
    let directory = tempfile::tempdir().expect("a directory");
    let receiver = prometheus(directory.path());
    let url = format!("http://{}/api/v1/write", receiver.address);
    // Debian's knows 1.0 only.
    let weir = Weir::start(&format!(
        "{OPEN}global:\n  external_labels:\n    via: weir\nremote_write:\n  \
         - url: {url}\n    name: one\n    write_relabel_configs:\n      - source_labels: [__name__]\n        \
         regex: forwarded_one\n        action: keep\n{QUICK}  \
         - url: {url}\n    name: two\n    protobuf_message: io.prometheus.write.v2.Request\n    \
         write_relabel_configs:\n      - source_labels: [__name__]\n        regex: forwarded_two\n        action: keep\n{QUICK}"
    ));
    for i in 0..20 {
        let lines = format!("forwarded_one{{n=\"{i}\"}} {i}.5\nforwarded_two{{n=\"{i}\"}} {i}.25\n");
        push(weir.address(), "default", &lines);
    }
    for (name, part) in [("forwarded_one", 0.5), ("forwarded_two", 0.25)] {
        let wanted: Vec<f64> = (0..20).map(|i| f64::from(i) + part).collect();
        wait(name, || {
            let found = asked(&receiver, &format!("{name}{{via=\"weir\"}}"));
            if found == wanted { Ok(()) } else { Err(format!("{found:?}\n{}", weir.output("two"))) }
        });
    }
    weir.wait_sent("two");
    assert_eq!(weir.output("two")["samplesSent"], 20);
    assert_eq!(weir.output("one")["lastError"], "");
}

#[test]
fn e2e_victoriametrics_takes_remote_write() {
    let test = "e2e_victoriametrics_takes_remote_write";
    if let Some(obstacle) = obstacle("victoria-metrics") {
        return xtask::test::skipped(test, &obstacle);
    }
    let directory = tempfile::tempdir().expect("a directory");
    let receiver = victoria_metrics(directory.path());
    let url = format!("http://{}/api/v1/write", receiver.address);
    let weir = Weir::start(&format!("{OPEN}remote_write:\n  - url: {url}\n    name: vm\n{QUICK}"));
    let at = now_ms() - 60_000;
    push(
        weir.address(),
        "default",
        &format!("forwarded{{n=\"1\"}} 1.5 {at}\nforwarded{{n=\"2\"}} 2.5 {at}\n"),
    );
    wait("VictoriaMetrics has it", || {
        let mut connection = Connection::open(receiver.address, None).expect("it answers");
        connection.get("/internal/force_flush").expect("an answer");
        let found = asked(&receiver, "last_over_time(forwarded[5m])");
        if found == [1.5, 2.5] { Ok(()) } else { Err(format!("{found:?} {}", weir.output("vm"))) }
    });
}

/// The block as a hosted service gives it to its users, with another Weir in its place.
#[test]
fn e2e_the_block_of_a_hosted_service_sends_to_another_weir() {
    let receiver = started::Weir::start("self_monitoring:\n  interval: 0s\n");
    let block = "remote_write:\n  - url: https://example.invalid/api/v1/push\n    authorization:\n      \
                 credentials: <token>\n    headers:\n      X-Scope-OrgID: <tenant-id>\n";
    let block = block
        .replace("https://example.invalid", &receiver.url())
        .replace("<token>", &receiver.token)
        .replace("<tenant-id>", "default");
    let weir = Weir::start(&format!("{OPEN}{block}{QUICK}"));
    push(weir.address(), "default", "forwarded{n=\"1\"} 7\n");
    wait("the other Weir has it", || {
        let found = receiver.query("forwarded", now_ms() / 1000 + 1);
        let wanted = ["forwarded{n=1} 7".to_owned()];
        if found == wanted { Ok(()) } else { Err(format!("{found:?} {}", weir.home.printed())) }
    });
}

#[test]
fn e2e_two_weirs_that_send_to_each_other_do_not_go_round() {
    let addresses = [free_address().expect("an address"), free_address().expect("an address")];
    let config =
        |to| format!("{OPEN}remote_write:\n  - url: http://{to}/api/v1/write\n    name: other\n{QUICK}");
    let weirs = [
        Weir::start_at(addresses[0], &config(addresses[1])),
        Weir::start_at(addresses[1], &config(addresses[0])),
    ];
    for i in 0..5 {
        for (number, weir) in weirs.iter().enumerate() {
            push(weir.address(), "default", &format!("from{{weir=\"{number}\"}} {i} {}\n", now_ms()));
        }
        for weir in &weirs {
            wait("both have both", || {
                let found = weir.values("default", "from");
                if found == [f64::from(i); 2] {
                    Ok(())
                } else {
                    Err(format!("{found:?} {}", weir.output("other")))
                }
            });
        }
    }
    for weir in &weirs {
        weir.wait_sent("other");
        let accepted = weir.own("weir_samples_accepted_total{tenant=\"default\",kind=\"sample\"}");
        // Its own five and the other's five, each once.
        assert_eq!(accepted, Some(10.0), "{}", weir.output("other"));
        let output = weir.output("other");
        assert_eq!(output["samplesSent"], 5, "{output}");
        let stopped = &output["samplesDropped"];
        let stopped = stopped["loop"].as_u64().unwrap_or(0) + stopped["refused"].as_u64().unwrap_or(0);
        assert_eq!(stopped, 5, "{output}");
    }
}
