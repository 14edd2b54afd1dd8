//! Answers that are given before the body was read still reach their clients: 100 of 100 times, with a body of 21 MiB.

mod common;

use std::io::{Read, Write};
use std::process::Command;

use common::Weir;

const PYTHON: &str = r#"
import http.client, sys
seen = 0
body = b"x" * (21 << 20)
for _ in range(100):
    c = http.client.HTTPConnection(sys.argv[1], int(sys.argv[2]), timeout=30)
    try:
        c.request("POST", "/api/v1/write", body, {"Authorization": "Bearer bad"})
        seen += c.getresponse().status == 401
    except Exception as e:
        print(e, file=sys.stderr)
    c.close()
print(seen)
"#;

const NODE: &str = r#"
const http = require("http");
const [host, port] = process.argv.slice(1);
const body = Buffer.alloc(21 << 20, "x");
const once = () => new Promise(done => {
  const options = {host, port, path: "/api/v1/write", method: "POST", agent: false,
    headers: {authorization: "Bearer bad", "content-length": body.length}};
  let status = 0;
  const request = http.request(options, answer => { status = answer.statusCode; answer.resume(); answer.on("end", () => done(status)); });
  request.on("error", error => { if (!status) { console.error(error.message); done(0); } });
  request.end(body);
});
(async () => {
  let seen = 0;
  for (let i = 0; i < 100; i++) seen += await once() === 401;
  console.log(seen);
})();
"#;

fn seen_by(program: &str, arguments: &[&str], weir: &Weir) -> Option<u32> {
    let (host, port) = (weir.address.ip().to_string(), weir.address.port().to_string());
    let Ok(output) = Command::new(program).args(arguments).args([&host, &port]).output() else {
        common::skipped(program);
        return None;
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    Some(text.trim().parse().unwrap_or_else(|_| panic!("{program}: {text} {errors}")))
}

#[test]
fn python_sees_the_status() {
    let weir = Weir::start();
    assert!(matches!(seen_by("python3", &["-c", PYTHON], &weir), None | Some(100)));
}

#[test]
fn node_sees_the_status() {
    let weir = Weir::start();
    assert!(matches!(seen_by("node", &["-e", NODE], &weir), None | Some(100)));
}

#[test]
fn curl_sees_the_status() {
    let weir = Weir::start();
    let body = weir.directory.path().join("body");
    std::fs::write(&body, vec![b'x'; 21 << 20]).unwrap();
    let url = format!("http://{}/api/v1/write", weir.address);
    for expect in ["Expect: 100-continue", "Expect:"] {
        for _ in 0..50 {
            let data = format!("@{}", body.display());
            let arguments = [
                "-s",
                "-o",
                "/dev/null",
                "-w",
                "%{http_code}",
                "-H",
                "Authorization: Bearer bad",
                "-H",
                expect,
            ];
            let output = Command::new("curl").args(arguments).args(["--data-binary", &data, &url]).output();
            let Ok(output) = output else {
                common::skipped("curl");
                return;
            };
            assert_eq!(String::from_utf8_lossy(&output.stdout), "401", "{expect}");
        }
    }
}

#[test]
fn whoever_waits_for_100_continue_gets_the_final_status() {
    let weir = Weir::start();
    let mut stream = weir.connect();
    let head = "POST /api/v1/write HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = [0; 4096];
    let length = stream.read(&mut answer).unwrap();
    assert!(answer[..length].starts_with(b"HTTP/1.1 401 "), "{}", String::from_utf8_lossy(&answer[..length]));
}

#[test]
fn a_body_over_the_limit_is_refused_before_it_is_read() {
    let weir = Weir::start();
    let mut stream = weir.connect();
    let head = format!(
        "POST /api/v1/import/prometheus HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\nContent-Length: {}\r\n\r\n",
        weir.token,
        33 << 20
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = [0; 4096];
    let length = stream.read(&mut answer).unwrap();
    assert!(answer[..length].starts_with(b"HTTP/1.1 413 "), "{}", String::from_utf8_lossy(&answer[..length]));
}
