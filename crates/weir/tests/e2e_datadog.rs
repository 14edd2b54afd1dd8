//! Datadog's own clients against the real binary: what they send comes back by PromQL under both profiles, and what they
//! are answered is what they want to read.
#![allow(clippy::disallowed_methods, reason = "a test of processes reads the clock")]

mod started;

use std::process::Command;

use started::{Weir, documented, python_path, run, script};
use xtask::clients;
use xtask::rig::writer::now_ms;

const PAGE: &str = "docs/send/datadog.md";

fn python_clients() -> Result<String, String> {
    python_path(&["datadog==0.56.0", "datadog-api-client[zstandard]==2.62.0"])
}

fn python(clients: &str, weir: &Weir, now_s: i64) -> Vec<String> {
    let mut command = Command::new("python3");
    command.arg(script("datadog/send.py")).args([weir.url(), weir.token.clone(), now_s.to_string()]);
    run(command.env("PYTHONPATH", clients))
}

/// Each line says that all was well, but those of the wrong key.
fn check_answers(lines: &[String], wrong: &[&str]) {
    let (refused, taken): (Vec<&String>, Vec<&String>) =
        lines.iter().partition(|line| line.starts_with("wrong"));
    for line in &taken {
        assert!(line.contains(" ok") && !line.contains("'errors': ['"), "{line}");
    }
    assert_eq!(refused.len(), wrong.len(), "{refused:?}");
    for (line, wanted) in refused.iter().zip(wrong) {
        assert!(line.contains(wanted), "{line}");
    }
}

#[test]
fn e2e_python_clients_are_read_back_as_opstrace_had_them() {
    let clients = match python_clients() {
        Ok(clients) => clients,
        Err(why) => {
            return xtask::test::skipped("e2e_python_clients_are_read_back_as_opstrace_had_them", &why);
        }
    };
    let (weir, now_s) = (Weir::start(""), now_ms() / 1000);
    let lines = python(&clients, &weir, now_s);
    check_answers(&lines, &["Forbidden", "status 403", "status 403"]);
    assert!(lines.contains(&"api event ok Example True ['test:e']".to_owned()), "{lines:#?}");
    assert!(lines.contains(&"py event ok Something big happened! int".to_owned()), "{lines:#?}");

    assert_eq!(
        weir.query(r#"{job="ddagent", __name__=~"my_.*|app_ok", __name__!~"my_dist.*"}"#, now_s),
        [
            "app_ok{ddtag_redis=6379,instance=app1,job=ddagent} 1",
            "my_1_gauge_x{ddtag_a=2,instance=h1,job=ddagent,type=gauge} 1",
            "my_2_rate{device=sda,instance=host-a,interval=10,job=ddagent,type=rate} 2",
            "my_series{ddtag_k8s=a:b:c,ddtag_version=1,instance=h.example,interval=10,job=ddagent,type=count} 16.5",
            "my_zipped{instance=host-a,job=ddagent} 1",
        ]
    );
    assert_eq!(weir.query("page_views", now_s + 5), ["page_views{instance=host-a,job=ddagent} 1000"]);
    assert_eq!(
        weir.query("my_2_rate", now_s - 1),
        ["my_2_rate{device=sda,instance=host-a,interval=10,job=ddagent,type=rate} 3"]
    );
    assert_eq!(
        weir.query(r#"{__name__=~"my_dist|api_dist"}"#, now_s),
        [
            "api_dist{ddtag_a=b,instance=h1,job=ddagent,type=distribution} 2/24",
            "my_dist{ddtag_env=prod,instance=h1,job=ddagent,type=distribution} 3/7",
        ]
    );
    let api: Vec<String> = ["deflate", "gzip", "identity"]
        .map(|name| format!("api_v1_{name}{{ddtag_t=E,instance=h1,job=ddagent,type=gauge}} 1.1"))
        .into_iter()
        .chain(["deflate", "gzip", "identity", "zstd1"].map(|name| {
            format!("api_v2_{name}{{ddtag_k=w,device=sda,instance=h1,interval=10,job=ddagent,type=rate}} 3.5")
        }))
        .collect();
    assert_eq!(weir.query(r#"{__name__=~"api_v.*"}"#, now_s), api);
    assert!(weir.query("wrong", now_s + 5).is_empty());
}

#[test]
fn e2e_python_clients_are_read_back_in_the_plain_profile() {
    let clients = match python_clients() {
        Ok(clients) => clients,
        Err(why) => {
            return xtask::test::skipped("e2e_python_clients_are_read_back_in_the_plain_profile", &why);
        }
    };
    let (weir, now_s) = (Weir::start("datadog:\n  profile: plain\n"), now_ms() / 1000);
    check_answers(&python(&clients, &weir, now_s), &["Forbidden", "status 403", "status 403"]);
    assert_eq!(
        weir.query(
            r#"{__name__=~"my_.*|datadog_.*|api_v2_zstd1", __name__!~"my_dist.*", __name__!="datadog_host_info"}"#,
            now_s
        ),
        [
            "api_v2_zstd1{device=sda,host=h1,k=v,w} 35",
            "datadog_service_check_status{bare=no_label_value,check=app.ok,host=app1,redis=6379} 1",
            "datadog_service_check_status{check=api.ok,e=t,host=h} 0",
            "my_1_gauge_x{a=1,2,host=h1} 1",
            "my_2_rate{device=sda,host=host-a} 20",
            "my_series{bare=no_label_value,host=h.example,k8s=a:b:c,version=1} 16.5",
            "my_zipped{host=host-a} 1",
        ]
    );
    assert_eq!(weir.query("my_dist", now_s), ["my_dist{env=prod,host=h1} 3/7"]);
    assert_eq!(weir.query("my_dist_max", now_s), ["my_dist_max{env=prod,host=h1} 4"]);
}

#[test]
fn e2e_a_node_client_is_read_back() {
    let clients = match clients::node("@datadog/datadog-api-client@1.64.0") {
        Ok(clients) => clients,
        Err(why) => return xtask::test::skipped("e2e_a_node_client_is_read_back", &why),
    };
    for (config, label, rest) in [
        ("", "instance", ["ddtag_a=b,", ",job=ddagent", ",type=gauge"]),
        ("datadog:\n  profile: plain\n", "host", ["a=b,", "", ""]),
    ] {
        let (weir, now_s) = (Weir::start(config), now_ms() / 1000);
        let mut command = Command::new("node");
        command.arg(script("datadog/send.js")).arg(&clients);
        command.args([weir.url(), weir.token.clone(), now_s.to_string()]);
        check_answers(&run(&mut command), &["status 403", "status 403"]);
        let [tags, job, kind] = rest;
        let wanted: Vec<String> = ["npm_v1_deflate 1.5 h1", "npm_v1_identity 1.5 h1"]
            .into_iter()
            .chain([
                "npm_v2_deflate 0.7 dummyhost",
                "npm_v2_gzip 0.7 dummyhost",
                "npm_v2_identity 0.7 dummyhost",
            ])
            .map(|line| {
                let mut words = line.split(' ');
                let [name, value, host] = std::array::from_fn(|_| words.next().expect("a word"));
                format!("{name}{{{tags}{label}={host}{job}{kind}}} {value}")
            })
            .collect();
        assert_eq!(weir.query(r#"{__name__=~"npm_v.*"}"#, now_s), wanted);
        assert_eq!(weir.query("count({__name__=\"npm_dist\"})", now_s), ["{} 1"]);
    }
}

#[test]
fn e2e_the_pages_lines_work_when_pasted() {
    let test = "e2e_the_pages_lines_work_when_pasted";
    let weir = Weir::start("");
    let clients = match python_clients() {
        Ok(clients) => clients,
        Err(why) => return xtask::test::skipped(test, &why),
    };
    if !xtask::run::exists("curl") {
        return xtask::test::skipped(test, "curl is not installed");
    }
    let mut curl = Command::new("sh");
    curl.args(["-c", &documented(PAGE, "sh", &weir)]).env("TOKEN", &weir.token);
    assert_eq!(run(&mut curl), ["{\"status\": \"ok\"}"]);
    let mut python = Command::new("python3");
    run(python.args(["-c", &documented(PAGE, "python", &weir)]).env("PYTHONPATH", &clients));
    let found = weir.query("count by (type, ddtag_env) (page_views)", now_ms() / 1000 + 5);
    assert_eq!(found, ["{ddtag_env=prod,type=gauge} 1", "{ddtag_env=prod} 1"]);
}
