//! TLS with a certificate from files: who is let in, what is told to whom, and that nobody notices a new certificate.

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use common::tls::{Ca, Client, Pair, Stream, shown_on};
use common::{Response, Weir, until};
use server::config::{ClientAuth, Settings};

const NAME: &str = "metrics.example";

/// A Weir with the certificate `pair` in its data directory.
fn start(pair: &Pair, client: Client, change: impl FnOnce(&mut Settings)) -> Weir {
    let directory = tempfile::tempdir().unwrap();
    let (cert, key) = pair.write(directory.path());
    Weir::start_secure(directory, client, |settings| {
        settings.tls.cert = Some(cert);
        settings.tls.key = Some(key);
        change(settings);
    })
}

fn weir() -> (Ca, Weir) {
    let ca = Ca::new("test");
    let weir = start(&ca.issue(&[NAME]), Client::new(&ca.pem(), NAME), |_| {});
    (ca, weir)
}

/// The value of a self-metric.
fn metric(weir: &Weir, name: &str) -> f64 {
    let exposition = weir.get("/metrics", &weir.admin).body;
    let line =
        exposition.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')));
    line.map_or(0.0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
}

fn failures(weir: &Weir, reason: &str) -> f64 {
    metric(weir, &format!("weir_tls_handshake_failures_total{{reason=\"{reason}\"}}"))
}

/// One request on a connection that is kept; its answer.
fn ask(stream: &mut Stream) -> std::io::Result<Response> {
    stream.write_all(b"GET /-/healthy HTTP/1.1\r\nHost: metrics.example\r\n\r\n")?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"Weir is healthy.\n") {
        let mut part = [0; 1024];
        match stream.read(&mut part)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            length => answer.extend_from_slice(&part[..length]),
        }
    }
    Ok(Response::parse(&String::from_utf8_lossy(&answer)))
}

#[test]
fn requests_are_answered_as_without_tls() {
    let (_, weir) = weir();
    assert_eq!(weir.post("/api/v1/import/prometheus", "secure 1\n").status, 204);
    let read = weir.get("/api/v1/query?query=secure", &weir.token).json();
    assert_eq!(read["data"]["result"][0]["value"][1], "1", "{read}");
    assert_eq!(weir.exchange(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n").split(' ').nth(1), Some("400"));
    let greeting = weir.get("/", "").body;
    assert!(greeting.contains("https://127.0.0.1:"), "{greeting}");
}

#[test]
fn whoever_speaks_plainly_is_told() {
    let (_, weir) = weir();
    let mut stream = TcpStream::connect(weir.address).unwrap();
    stream.write_all(b"GET /-/healthy HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.ends_with("use https://\n"), "{answer}");
    assert_eq!(failures(&weir, "plain_http"), 1.0);
}

#[test]
fn the_protocols_are_http_1_and_2() {
    let (_, weir) = weir();
    let client = weir.secure.clone().unwrap();
    for (offered, taken) in [
        (&["h2", "http/1.1"][..], Some("h2")),
        (&["http/1.1", "h2"], Some("h2")),
        (&["http/1.1"], Some("http/1.1")),
        (&[], None),
    ] {
        let stream = client.offering(offered).connect(weir.address).unwrap();
        let found = stream.conn.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned());
        assert_eq!(found.as_deref(), taken, "{offered:?}");
    }
    assert!(client.offering(&["spdy/3"]).connect(weir.address).is_err());
    assert_eq!(failures(&weir, "incompatible"), 1.0);
    // Nothing is validated here.
    assert!(client.offering(&["acme-tls/1"]).connect(weir.address).is_err());
}

#[test]
fn curl_speaks_http_2() {
    let (ca, weir) = weir();
    let roots = weir.directory.path().join("ca.pem");
    std::fs::write(&roots, ca.pem()).unwrap();
    let (port, body) = (weir.address.port(), "x".repeat(100_000));
    let posted = weir.directory.path().join("body");
    std::fs::write(&posted, format!("# {body}\ncurled 1\n")).unwrap();
    let output = Command::new("curl")
        .args(["-sS", "--http2", "-o", "/dev/null", "-w", "%{http_code} %{http_version}", "--cacert"])
        .arg(roots)
        .args(["--resolve", &format!("{NAME}:{port}:127.0.0.1")])
        .args(["-H", &format!("Authorization: Bearer {}", weir.token)])
        .args(["--data-binary", &format!("@{}", posted.display())])
        .arg(format!("https://{NAME}:{port}/api/v1/import/prometheus"))
        .output();
    let Ok(output) = output else {
        common::skipped("curl");
        return;
    };
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(told, "204 2", "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn old_versions_are_refused() {
    let (_, weir) = weir();
    let connect = |version: &str| {
        let output = Command::new("openssl")
            .args(["s_client", "-brief", version, "-cipher", "ALL:@SECLEVEL=0"])
            .args(["-connect", &weir.address.to_string()])
            .stdin(std::process::Stdio::null())
            .output();
        output.ok().map(|output| String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let Some(told) = connect("-tls1_2") else {
        common::skipped("openssl");
        return;
    };
    assert!(told.contains("Protocol version: TLSv1.2"), "{told}");
    for version in ["-tls1", "-tls1_1"] {
        let told = connect(version).unwrap();
        assert!(told.contains(" alert ") && !told.contains("CONNECTION ESTABLISHED"), "{told}");
    }
}

/// The answer came before the body was read, and the end of the connection must not overtake it.
#[test]
fn an_early_answer_reaches_its_client() {
    let (ca, weir) = weir();
    let (roots, body) = (weir.directory.path().join("ca.pem"), weir.directory.path().join("body"));
    std::fs::write(&roots, ca.pem()).unwrap();
    std::fs::write(&body, vec![b'x'; 21 << 20]).unwrap();
    let port = weir.address.port();
    for _ in 0..20 {
        let output = Command::new("curl")
            .args(["-s", "--http1.1", "-o", "/dev/null", "-w", "%{http_code}", "-H", "Expect:", "--cacert"])
            .arg(&roots)
            .args(["-H", "Authorization: Bearer bad", "--resolve", &format!("{NAME}:{port}:127.0.0.1")])
            .args(["--data-binary", &format!("@{}", body.display())])
            .arg(format!("https://{NAME}:{port}/api/v1/write"))
            .output();
        let Ok(output) = output else {
            common::skipped("curl");
            return;
        };
        assert_eq!(String::from_utf8_lossy(&output.stdout), "401");
    }
}

#[test]
fn clients_show_certificates_when_they_must() {
    let (ca, clients, strangers) = (Ca::new("servers"), Ca::new("clients"), Ca::new("strangers"));
    let directory = tempfile::tempdir().unwrap();
    let authorities = directory.path().join("clients.pem");
    std::fs::write(&authorities, clients.pem()).unwrap();
    let nobody = Client::new(&ca.pem(), NAME);
    let known = Client::showing(&ca.pem(), NAME, &clients.issue(&["agent"]));
    let stranger = Client::showing(&ca.pem(), NAME, &strangers.issue(&["agent"]));
    let healthy = |weir: &Weir, client: &Client| {
        let request = b"GET /-/healthy HTTP/1.1\r\nHost: metrics.example\r\nConnection: close\r\n\r\n";
        client.exchange(weir.address, request).is_ok_and(|answer| answer.starts_with("HTTP/1.1 200 "))
    };
    for (auth, lets_in) in
        [(ClientAuth::Optional, [true, true, false]), (ClientAuth::Required, [false, true, false])]
    {
        let weir = start(&ca.issue(&[NAME]), known.clone(), |settings| {
            settings.tls.client_ca = Some(authorities.clone());
            settings.tls.client_auth = auth;
        });
        let found = [&nobody, &known, &stranger].map(|client| healthy(&weir, client));
        assert_eq!(found, lets_in, "{auth:?}");
        let refused = lets_in.iter().filter(|let_in| !**let_in).count();
        assert_eq!(failures(&weir, "client_certificate"), refused as f64, "{auth:?}");
        // A certificate is no token.
        assert_eq!(weir.get("/api/v1/query?query=up", "").status, 401);
    }
}

#[test]
fn a_connection_is_for_the_host_that_it_asked_for() {
    let ca = Ca::new("test");
    let names = ["default.metrics.example", "dd.default.metrics.example"];
    let client = Client::new(&ca.pem(), names[0]);
    let weir = start(&ca.issue(&names), client.clone(), |settings| {
        settings.general.domain = server::config::Domain(Some(NAME.to_owned()));
    });
    let ask = |client: &Client, host: &str| {
        let head = format!(
            "GET /api/v1/query?query=up HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\
             Authorization: Bearer {}\r\n\r\n",
            weir.token
        );
        Response::parse(&client.exchange(weir.address, head.as_bytes()).unwrap()).status
    };
    assert_eq!(ask(&client, "default.metrics.example"), 200);
    assert_eq!(ask(&client, "DEFAULT.metrics.example.:9347"), 200);
    assert_eq!(ask(&client.asking(names[1]), "dd.default.metrics.example"), 200);
    assert_eq!(ask(&client, "dd.default.metrics.example"), 421);
    assert_eq!(ask(&client, "system.metrics.example"), 421);
}

#[test]
fn whoever_does_not_finish_a_handshake_goes_and_makes_way() {
    let ca = Ca::new("test");
    let weir = start(&ca.issue(&[NAME]), Client::new(&ca.pem(), NAME), |settings| {
        settings.http.header_timeout = Duration::from_millis(500);
        settings.http.max_connections = 4;
    });
    // Silent, and with a handshake that has begun.
    let mut silent: Vec<TcpStream> = (0..4).map(|_| TcpStream::connect(weir.address).unwrap()).collect();
    for stream in &mut silent[..2] {
        stream.write_all(&[22, 3, 1, 0, 200, 1]).unwrap();
    }
    assert_eq!(weir.get("/-/healthy", "").status, 200, "they made way for somebody who has something to say");
    until("those that are left time out", || failures(&weir, "timeout") >= 1.0);
    for stream in &mut silent {
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        // An end, or a reset: not a read that waits.
        let ended = stream.read(&mut [0; 100]);
        assert!(
            ended.as_ref().is_ok_and(|length| *length == 0)
                || ended.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset),
            "{ended:?}"
        );
    }
}

#[test]
fn nobody_notices_a_new_certificate() {
    let ca = Ca::new("test");
    let (first, second) = (ca.issue(&[NAME]), ca.issue(&[NAME]));
    let client = Client::new(&ca.pem(), NAME);
    let weir = start(&first, client.clone(), |_| {});
    let tls = weir.app().tls.clone().unwrap();
    let (stop, asked) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let kept = scope.spawn(|| {
            let mut stream = client.connect(weir.address).unwrap();
            while !stop.load(Ordering::Relaxed) {
                assert_eq!(ask(&mut stream).unwrap().status, 200);
                asked.fetch_add(1, Ordering::Relaxed);
            }
            shown_on(&stream)
        });
        let fresh: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        assert_eq!(weir.get("/-/healthy", "").status, 200);
                        asked.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        let more = |count| {
            let from = asked.load(Ordering::Relaxed);
            until("requests go on", || asked.load(Ordering::Relaxed) >= from + count);
        };
        more(50);
        assert_eq!(client.shown(weir.address).unwrap(), first.certificate());
        assert!(!tls.look(), "nothing has changed");
        for nth in 0..20 {
            let pair = if nth % 2 == 0 { &second } else { &first };
            pair.write(weir.directory.path());
            assert!(tls.look());
            assert_eq!(client.shown(weir.address).unwrap(), pair.certificate());
            more(10);
        }
        stop.store(true, Ordering::Relaxed);
        assert_eq!(kept.join().unwrap(), first.certificate());
        fresh.into_iter().for_each(|task| task.join().unwrap());
    });
    assert_eq!(metric(&weir, "weir_tls_reloads_total{outcome=\"success\"}"), 20.0);
}

#[test]
fn a_bad_pair_leaves_the_old_one() {
    let ca = Ca::new("test");
    let (first, second) = (ca.issue(&[NAME]), ca.issue(&[NAME]));
    let client = Client::new(&ca.pem(), NAME);
    let weir = start(&first, client.clone(), |_| {});
    let tls = weir.app().tls.clone().unwrap();
    // 4096-01-01, as far as it can be written.
    assert_eq!(
        metric(&weir, "weir_tls_certificate_expiry_timestamp_seconds{name=\"static\"}"),
        67_090_118_400.0
    );
    let broken = [
        // Another one's key, which is also how it looks between the two files of an update.
        Pair { key: second.key.clone(), ..first.clone() },
        Pair { chain: "nonsense".to_owned(), ..second.clone() },
        Pair { chain: first.chain[..200].to_owned(), ..first.clone() },
        Pair { key: String::new(), ..second.clone() },
    ];
    for (nth, pair) in broken.iter().enumerate() {
        pair.write(weir.directory.path());
        assert!(tls.look());
        assert_eq!(client.shown(weir.address).unwrap(), first.certificate());
        assert_eq!(metric(&weir, "weir_tls_reloads_total{outcome=\"failure\"}"), (nth + 1) as f64);
        assert!(!tls.look(), "it is told once");
    }
    std::fs::remove_file(weir.directory.path().join("tls.key")).unwrap();
    // What cannot be read may be readable the next time.
    assert!(tls.look() && tls.look());
    assert_eq!(client.shown(weir.address).unwrap(), first.certificate());
    second.write(weir.directory.path());
    assert!(tls.look());
    assert_eq!(client.shown(weir.address).unwrap(), second.certificate());
}

#[test]
fn a_start_with_a_bad_pair_says_so() {
    let ca = Ca::new("test");
    let directory = tempfile::tempdir().unwrap();
    let pair = Pair { key: ca.issue(&[NAME]).key, ..ca.issue(&[NAME]) };
    let (cert, key) = pair.write(directory.path());
    let error = Weir::refused_in(&directory, |settings| {
        settings.tls.cert = Some(cert.clone());
        settings.tls.key = Some(key.clone());
    });
    assert!(
        error.starts_with(&format!("{} is not the key of {}: ", key.display(), cert.display())),
        "{error}"
    );
}
