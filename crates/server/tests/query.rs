//! The query API over real samples: shapes, parameters, errors, as Prometheus' clients expect them.

mod common;

use std::io::{Read, Write};
use std::process::Command;

use codec::inflate::Encoding;
use common::{Response, Weir};
use serde_json::{Value, json};
use server::config::{Auth, Pattern};

const SAMPLES: &str = "\
# TYPE requests counter
# HELP requests Requests served.
requests_total{job=\"api\",code=\"200\"} 10 1700000000000
requests_total{job=\"api\",code=\"200\"} 40 1700000060000
requests_total{job=\"api\",code=\"500\"} 1 1700000000000
requests_total{job=\"api\",code=\"500\"} 2.5 1700000060000
odd NaN 1700000000000
odd +Inf 1700000060000
";

fn filled() -> Weir {
    let weir = Weir::start_with(|settings| {
        settings.self_monitoring.interval = std::time::Duration::ZERO;
        settings.storage.retention = std::time::Duration::ZERO;
    });
    let stored = weir.post("/api/v1/import/prometheus", SAMPLES);
    assert_eq!(stored.status, 204, "{stored:?}");
    weir
}

fn ask(weir: &Weir, question: &str) -> Response {
    weir.get(&format!("/api/v1/{question}"), &weir.token)
}

fn data(weir: &Weir, question: &str) -> Value {
    let answer = ask(weir, question);
    assert_eq!(answer.status, 200, "{question}: {answer:?}");
    let json = answer.json();
    assert_eq!(json["status"], "success");
    json["data"].clone()
}

/// An answer that nobody read was in memory, and in nobody's account: some hundred of them were all that there is.
#[test]
fn an_answer_on_its_way_is_charged() {
    let weir = filled();
    let long = "x".repeat(8_000);
    let lines = (0..2_000).map(|i| format!("long{{a=\"{long}{i}\"}} 1 1700000000000\n"));
    let stored = weir.post("/api/v1/import/prometheus", &lines.collect::<String>());
    assert_eq!(stored.status, 204, "{stored:?}");
    for path in ["/api/v1/series?match[]=long", "/api/v1/query?query=long&time=1700000000"] {
        let mut stream = weir.connect();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: weir\r\nAuthorization: Bearer {}\r\n\r\n", weir.token)
            .unwrap();
        let mut status = [0; 15];
        stream.read_exact(&mut status).unwrap();
        assert_eq!(&status, b"HTTP/1.1 200 OK");
        let used = weir.app().query_memory.used();
        assert!((16_000_000..17_000_000).contains(&used), "{path}: {used}");
        drop(stream);
        common::until("what was charged is given back", || weir.app().query_memory.used() == 0);
    }
}

#[test]
fn answers_have_prometheus_shapes() {
    let weir = filled();
    assert_eq!(
        data(&weir, "query?query=requests_total{code=\"200\"}&time=1700000060"),
        json!({"resultType": "vector", "result": [
            {"metric": {"__name__": "requests_total", "code": "200", "job": "api"}, "value": [1_700_000_060, "40"]},
        ]})
    );
    assert_eq!(
        data(&weir, "query_range?query=sum(requests_total)&start=1700000000&end=1700000060&step=30"),
        json!({"resultType": "matrix", "result": [
            {"metric": {}, "values": [[1_700_000_000, "11"], [1_700_000_030, "11"], [1_700_000_060, "42.5"]]},
        ]})
    );
    assert_eq!(
        data(&weir, "query?query=odd[2m]&time=1700000060.5"),
        json!({"resultType": "matrix", "result": [
            {"metric": {"__name__": "odd"}, "values": [[1_700_000_000, "NaN"], [1_700_000_060, "+Inf"]]},
        ]})
    );
    // Grafana's "Save & test".
    assert_eq!(data(&weir, "query?query=1%2B1&time=4"), json!({"resultType": "scalar", "result": [4, "2"]}));
    assert_eq!(
        data(&weir, "query?query=\"a\\\"b\"&time=4"),
        json!({"resultType": "string", "result": [4, "a\"b"]})
    );
    assert_eq!(data(&weir, "query?query=nothing"), json!({"resultType": "vector", "result": []}));
    assert_eq!(data(&weir, "query?query=1e21&time=4")["result"][1], "1000000000000000000000");
    assert_eq!(data(&weir, "query?query=vector(1e21)&time=4")["result"][0]["value"][1], "1e+21");
    assert_eq!(
        data(&weir, "format_query?query=sum%20by(job)(requests_total)"),
        "sum by (job) (requests_total)"
    );
}

#[test]
fn what_there_is_can_be_listed() {
    let weir = filled();
    assert_eq!(data(&weir, "labels"), json!(["__name__", "code", "job"]));
    assert_eq!(data(&weir, "labels?match[]=odd"), json!(["__name__"]));
    assert_eq!(data(&weir, "label/code/values"), json!(["200", "500"]));
    assert_eq!(
        data(&weir, "label/__name__/values?start=1700000000&end=1700000100"),
        json!(["odd", "requests_total"])
    );
    assert_eq!(data(&weir, "label/none/values"), json!([]));
    let series = data(&weir, "series?match[]=requests_total{code=\"500\"}&match[]=odd");
    assert_eq!(
        series,
        json!([{"__name__": "odd"}, {"__name__": "requests_total", "code": "500", "job": "api"}])
    );
    let everything = ask(&weir, "series?match[]={__name__!=\"\"}&limit=1").json();
    assert_eq!(everything["data"].as_array().unwrap().len(), 1);
    assert_eq!(everything["warnings"], json!(["results truncated due to limit"]));
    let metadata = data(&weir, "metadata");
    assert_eq!(
        metadata["requests"][0],
        json!({"type": "counter", "unit": "", "help": "Requests served."}),
        "{metadata}"
    );
}

#[test]
fn forms_are_read_and_forms_win() {
    let weir = filled();
    let form = b"query=requests_total%7Bcode%3D%22500%22%7D&time=1700000060";
    let headers = "Content-Type: application/x-www-form-urlencoded\r\n";
    for path in ["/api/v1/query", "/prometheus/api/v1/query?query=nothing"] {
        let answer = weir.request("POST", path, &weir.token, headers, form);
        assert_eq!(answer.json()["data"]["result"][0]["value"][1], "2.5", "{answer:?}");
    }
    // Clients switch to GET when they see this.
    let answer = weir.request("POST", "/api/v1/label/job/values", &weir.token, headers, b"");
    assert_eq!(answer.status, 405);
    assert!(answer.head.contains("allow: get"), "{}", answer.head);
}

#[test]
fn errors_have_their_type() {
    let weir = filled();
    let cases = [
        ("query?query=up{", 400, "bad_data", "parse error"),
        ("query", 400, "bad_data", "invalid parameter \"query\""),
        (
            "query?query=up&time=yesterday",
            400,
            "bad_data",
            "invalid parameter \"time\": invalid time value for 'time': cannot parse \"yesterday\" to a valid timestamp",
        ),
        (
            "query_range?query=up&start=2&end=1&step=1",
            400,
            "bad_data",
            "end timestamp must not be before start time",
        ),
        (
            "query_range?query=up&start=1&end=2&step=0",
            400,
            "bad_data",
            "zero or negative query resolution step widths",
        ),
        (
            "query_range?query=up&start=0&end=11001&step=1",
            400,
            "bad_data",
            "exceeded maximum resolution of 11,000 points",
        ),
        ("query_range?query=up[5m]&start=1&end=2&step=1", 400, "bad_data", "invalid expression type"),
        ("query?query=up&limit=-1", 400, "bad_data", "limit"),
        ("series", 400, "bad_data", "no match[] parameter provided"),
        ("series?match[]={x=\"\"}", 400, "bad_data", "match[] must contain at least one non-empty matcher"),
        ("labels?match[]=up{", 400, "bad_data", "1:4: parse error"),
        ("series?match[]=up{", 400, "bad_data", "invalid parameter \"match[]\": 1:4: parse error"),
        (
            "query?query=requests_total%2Bon(job)requests_total&time=1700000060",
            422,
            "execution",
            "many-to-many",
        ),
    ];
    for (question, status, kind, part) in cases {
        let answer = ask(&weir, question);
        let json = answer.json();
        assert_eq!((answer.status, json["errorType"].as_str()), (status, Some(kind)), "{question}: {json}");
        assert!(json["error"].as_str().unwrap().contains(part), "{question}: {json}");
    }
}

#[test]
fn grafana_is_answered_as_prometheus_would() {
    let weir = filled();
    let info = data(&weir, "status/buildinfo");
    assert_eq!(info["version"], "3.14.0");
    assert!(info.get("features").is_none() && info.get("application").is_none());
    // Grafana has looked at buildinfo before.
    assert_eq!(data(&weir, "status/flags")["query.lookback-delta"], "5m");
    assert_eq!(data(&weir, "rules"), json!({"groups": []}));
    // Datasource init: milliseconds where seconds are meant.
    let exemplars = "query_exemplars?query=test&start=1700000000000&end=1700000060000";
    assert_eq!(data(&weir, exemplars), json!([]));
    assert_eq!(ask(&weir, "query_exemplars?query=1").status, 204);
}

#[test]
fn tokens_decide_who_reads_what() {
    let weir = filled();
    let question = "/api/v1/query?query=requests_total&time=1700000060";
    assert_eq!(weir.get(question, "").status, 401);
    assert_eq!(weir.get(question, &"0".repeat(32)).status, 401);
    assert_eq!(weir.get(question, &weir.admin).status, 403);
    assert_eq!(weir.get(question, &weir.system).json()["data"]["result"], json!([]));
    let org = |value: &str| {
        weir.request("GET", question, &weir.token, &format!("X-Scope-OrgID: {value}\r\n"), b"").status
    };
    assert_eq!((org("default"), org("system"), org("default|system")), (200, 403, 400));
}

#[test]
fn pages_of_other_origins_may_read_as_configured() {
    const ORIGIN: &str = "Origin: https://grafana.example\r\n";
    let allows = |answer: &Response, origin: &str| {
        answer.head.contains(&format!("access-control-allow-origin: {origin}\r\n"))
    };
    let paths = server::routes::table(&std::collections::HashMap::new());
    let paths: Vec<_> = paths.iter().filter(|row| row.owner == "query").map(|row| row.path).collect();
    let weir = filled();
    for path in &paths {
        // Without a token: a browser sends none beforehand.
        let answer = weir.request("OPTIONS", &path.replace("{name}", "job"), "", ORIGIN, b"");
        assert_eq!(answer.status, 204, "{path}: {answer:?}");
        assert!(allows(&answer, "*"), "{path}: {answer:?}");
        for part in [
            "allow-methods: get, post, options",
            "allow-headers: accept, authorization, content-type, origin",
        ] {
            assert!(answer.head.contains(&format!("access-control-{part}")), "{path}: {answer:?}");
        }
        assert!(!answer.head.contains("allow-credentials"), "a stored password must not do");
    }
    let ask = |weir: &Weir, token: &str, headers: &str, question: &str| {
        weir.request("GET", &format!("/api/v1/{question}"), token, headers, b"")
    };
    // Errors are read as well, or a page could not say what is wrong.
    for (token, question, status) in [
        (weir.token.as_str(), "query?query=1", 200),
        (&weir.token, "query?query=(", 400),
        ("", "query?query=1", 401),
    ] {
        let answer = ask(&weir, token, ORIGIN, question);
        assert_eq!((answer.status, allows(&answer, "*")), (status, true), "{answer:?}");
    }
    assert!(!ask(&weir, &weir.token, "", "query?query=1").head.contains("access-control"));
    let admin = weir.request("GET", "/api/v1/admin/tenants", &weir.admin, ORIGIN, b"");
    assert!(!admin.head.contains("access-control"), "{admin:?}");

    let pattern = Pattern(Some("https://(grafana|perses)\\.example".into()));
    let weir = Weir::start_with(|settings| settings.http.cors_origin = pattern);
    let answer = ask(&weir, &weir.token, ORIGIN, "query?query=1");
    assert!(allows(&answer, "https://grafana.example") && answer.head.contains("vary: origin"), "{answer:?}");
    let answer = ask(&weir, &weir.token, "Origin: https://grafana.example.evil\r\n", "query?query=1");
    assert!(!answer.head.contains("access-control") && answer.head.contains("vary: origin"), "{answer:?}");

    // Nobody needs a token: any page that is open in a browser on this machine could read everything.
    let weir = Weir::start_with(|settings| settings.general.auth = Auth::Off);
    assert!(!ask(&weir, "", ORIGIN, "query?query=1").head.contains("access-control"));
}

#[test]
fn what_a_query_cost_is_said_when_asked() {
    let weir = filled();
    let range = "start=1700000000&end=1700000060&step=30";
    let stats = |question: &str| data(&weir, question)["stats"].clone();
    assert_eq!(stats("query?query=requests_total&time=1700000060"), Value::Null);
    for wanted in ["true", "all"] {
        // Two series with two samples each, of which an instant selector sees the last.
        let instant = stats(&format!("query?query=requests_total&time=1700000060&stats={wanted}"));
        assert_eq!(instant["samples"], json!({ "totalQueryableSamples": 2, "samplesRead": 4 }));
        for timing in ["evalTotalTime", "execQueueTime", "execTotalTime"] {
            let seconds = instant["timings"][timing].as_f64().unwrap();
            assert!((0.0..20.0).contains(&seconds), "{timing}: {instant}");
        }
        let most = instant["timings"]["execTotalTime"].as_f64();
        assert!(instant["timings"]["evalTotalTime"].as_f64() <= most && most > Some(0.0), "{instant}");
        let range = stats(&format!("query_range?query=requests_total&{range}&stats={wanted}"));
        assert_eq!(range["samples"], json!({ "totalQueryableSamples": 6, "samplesRead": 4 }));
    }
    // Which steps a subquery's samples are for is not known here, so it is not said.
    let subquery = stats("query?query=sum_over_time(requests_total[2m:1m])&time=1700000060&stats=all");
    assert_eq!(subquery["samples"]["totalQueryableSamples"], Value::Null);
    let other = ask(&weir, "query?query=1&stats=1").json();
    assert_eq!(other["data"]["stats"]["samples"]["samplesRead"], 0);
    let warning = "value \"1\" for parameter \"stats\" is deprecated and will be rejected in the next major release, use \"true\" or \"all\"";
    assert_eq!(other["warnings"], json!([warning]));
}

#[test]
fn large_answers_are_compressed_where_that_is_accepted() {
    let weir = filled();
    let question = "/api/v1/query_range?query=requests_total&start=1700000000&end=1700000300&step=1";
    let plain = weir.get(question, &weir.token);
    assert!(!plain.head.contains("content-encoding") && plain.head.contains("vary: accept-encoding"));
    for (accepted, wanted) in [("gzip", "gzip"), ("deflate", "deflate"), ("gzip;q=0.1, deflate", "deflate")] {
        let headers = format!("Host: a\r\nConnection: close\r\nAccept-Encoding: {accepted}\r\n");
        let head =
            format!("GET {question} HTTP/1.1\r\n{headers}Authorization: Bearer {}\r\n\r\n", weir.token);
        let mut stream = weir.connect();
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let end = answer.windows(4).position(|part| part == b"\r\n\r\n").unwrap() + 4;
        let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
        assert!(head.contains(&format!("content-encoding: {wanted}\r\n")), "{accepted}: {head}");
        let mut body = Vec::new();
        codec::inflate::inflate(Encoding::from_name(wanted).unwrap(), &answer[end..], 64 << 20, &mut body)
            .unwrap();
        assert_eq!(String::from_utf8(body).unwrap(), plain.body, "{accepted}");
    }
}

#[test]
fn promtool_asks_and_is_answered() {
    let weir = filled();
    let url = format!("http://x:{}@{}", weir.token, weir.address);
    let run = |arguments: &[&str]| {
        let output = Command::new("promtool").arg("query").args(arguments).output().ok()?;
        Some(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    let Some(instant) = run(&["instant", "--time=1700000060", &url, "requests_total{code=\"500\"}"]) else {
        common::skipped("promtool");
        return;
    };
    assert_eq!(instant.trim(), "requests_total{code=\"500\", job=\"api\"} => 2.5 @[1700000060]");
    let times = ["--start=1700000000", "--end=1700000100"];
    let labels = run(&["labels", times[0], times[1], &url, "code"]).unwrap();
    assert_eq!(labels, "200\n500\n");
    let series = run(&["series", times[0], times[1], "--match=odd", &url]).unwrap();
    assert_eq!(series.trim(), "{__name__=\"odd\"}");
}
