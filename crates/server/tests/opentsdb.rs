//! OpenTSDB's doors: data points over HTTP, lines as over telnet, and what is said of those that are wrong.

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use common::{Response, Weir, until};
use server::config::LineListener;

fn put(weir: &Weir, target: &str, body: &str) -> Response {
    weir.request("POST", target, &weir.token, "Content-Type: application/json\r\n", body.as_bytes())
}

fn now_s(weir: &Weir) -> i64 {
    weir.app().env.clock.now_ms() / 1000
}

fn value(weir: &Weir, query: &str) -> Option<String> {
    let answer = weir.get(&format!("/api/v1/query?query={query}"), &weir.token).json();
    answer["data"]["result"][0]["value"][1].as_str().map(str::to_owned)
}

#[test]
fn data_points_are_stored_and_bad_ones_counted() {
    let weir = Weir::start();
    let now = now_s(&weir);
    let point = format!(r#"{{"metric":"a.b","timestamp":{now},"value":"1.5","tags":{{"host":"x"}}}}"#);
    let stored = put(&weir, "/api/put", &point);
    assert_eq!((stored.status, stored.body.as_str()), (204, ""));
    assert_eq!(value(&weir, "{__name__=\"a.b\",host=\"x\"}").as_deref(), Some("1.5"));
    let body = format!(
        r#"[{point},{{"metric":"c","timestamp":{now},"value":"x"}},{{"metric":"old","timestamp":1000,"value":1}}]"#
    );
    let details = put(&weir, "/opentsdb/api/put?details", &body);
    assert_eq!(details.status, 400);
    assert!(details.head.contains("x-weir-rejected: 2; "), "{}", details.head);
    let json = details.json();
    assert_eq!((&json["success"], &json["failed"]), (&1.into(), &2.into()), "{json}");
    assert_eq!(json["errors"][0]["error"], "Unable to parse value to a number");
    assert_eq!(json["errors"][0]["datapoint"]["metric"], "c");
    assert!(json["errors"][1]["error"].is_string(), "{json}");
    let summary = put(&weir, "/api/put?summary", &point);
    assert_eq!((summary.status, summary.json()), (200, serde_json::json!({ "success": 1, "failed": 0 })));
    assert_eq!(put(&weir, "/api/put", "[").status, 400);
    assert_eq!(weir.request("POST", "/api/put", "", "", point.as_bytes()).status, 401);
}

#[test]
fn lines_are_stored_and_wrong_ones_answered() {
    let section = LineListener { listen: Some("127.0.0.1:0".parse().unwrap()), ..LineListener::default() };
    let weir = Weir::start_with(move |settings| settings.opentsdb = vec![section]);
    let now = now_s(&weir);
    let mut stream = TcpStream::connect(weir.lines("opentsdb")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    write!(
        stream,
        "put load.1 {now} 0.5  host=web-1 \r\nput x {now} 1 a=1 a=2\nput y {now} z h=1\nversion\n"
    )
    .unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut said: Vec<String> = Vec::new();
    while said.len() < 3 {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        said.push(line.trim_end().to_owned());
    }
    assert!(said.iter().any(|line| line.starts_with("weir ")), "{said:?}");
    assert!(said.iter().any(|line| line == "put: invalid value: z"), "{said:?}");
    assert!(
        said.iter().any(|line| line.starts_with("put: ") && line.contains("duplicate label")),
        "{said:?}"
    );
    until("the line is stored", || value(&weir, "{__name__=\"load.1\",host=\"web-1\"}").is_some());
    writeln!(stream, "exit").unwrap();
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest).unwrap();
    assert!(rest.is_empty(), "{rest:?}");
}
