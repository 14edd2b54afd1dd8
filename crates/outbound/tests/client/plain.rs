//! Requests over plain connections: what is sent, what may come back, where redirects lead.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use crate::peers::{BOUNDS, Peer, StandingClock, answer, client, client_with, get};
use env::Env;
use outbound::config::{Authorization, BasicAuth, HeaderValues};
use outbound::{Bounds, Client, HttpConfig, Reach, Request, Secret, SendError, Unreadable, Url};

fn secret(text: &str) -> Option<Secret> {
    Some(Secret::new(text.to_owned()))
}

#[tokio::test]
async fn headers_are_those_of_the_request_and_of_the_configuration() {
    let peer = Peer::new(|_| answer("200 OK", "X-A: b\r\n", b"hello")).await;
    let client = client(|config| {
        config.basic_auth =
            Some(BasicAuth { username: "me".to_owned(), password: secret("word"), ..BasicAuth::default() });
        let values = HeaderValues {
            values: vec!["profile=x".to_owned(), "y".to_owned()],
            secrets: vec![Secret::new("z".to_owned())],
            ..HeaderValues::default()
        };
        config.http_headers.insert("Prefer".to_owned(), values);
    });
    let mut request = Request::get(peer.url("/a?b=c"));
    request.headers.insert("accept", "text/plain".parse().unwrap());
    let response = client.send(request, &BOUNDS).await.unwrap();
    assert_eq!(
        (response.status, &response.body[..], response.header("x-a")),
        (200, &b"hello"[..], Some("b"))
    );
    let seen = peer.seen()[0].to_ascii_lowercase();
    for line in [
        "get /a?b=c http/1.1\r\n".to_owned(),
        format!("host: {}\r\n", peer.address),
        "accept: text/plain\r\n".to_owned(),
        "authorization: basic bwu6d29yza==\r\n".to_owned(),
        "prefer: profile=x\r\nprefer: y\r\nprefer: z\r\n".to_owned(),
        concat!("user-agent: weir/", env!("CARGO_PKG_VERSION"), "\r\n").to_owned(),
    ] {
        assert!(seen.contains(&line), "{line} in {seen}");
    }
    // A user in the URL comes before the configuration's, a header of the request before both.
    let url = Url::parse(&format!("http://u:p@{}/", peer.address)).unwrap();
    get(&client, url.clone()).await.unwrap();
    assert!(peer.seen()[1].contains("authorization: Basic dTpw\r\n"));
    let mut request = Request::post(url, "body".into());
    request.headers.insert("authorization", "Splunk x".parse().unwrap());
    client.send(request, &BOUNDS).await.unwrap();
    assert!(
        peer.seen()[2].contains("authorization: Splunk x\r\n") && peer.seen()[2].ends_with("\r\n\r\nbody")
    );
    assert_eq!(peer.connections(), 1, "connections are kept");
}

#[tokio::test]
async fn a_connection_that_was_closed_meanwhile_costs_no_request() {
    let peer = Peer::new(|_| answer("200 OK", "X-Then: close\r\n", b"x")).await;
    let client = client(|_| {});
    for _ in 0..5 {
        assert_eq!(get(&client, peer.url("/")).await.unwrap().status, 200);
    }
    assert_eq!((peer.connections(), peer.seen().len()), (5, 5));
    // One that is closed without any answer is asked once, and not for ever.
    let mute = Peer::new(|_| Vec::new()).await;
    let error = get(&client, mute.url("/")).await.unwrap_err();
    assert!(matches!(error, SendError::Broken { .. }), "{error}");
    assert_eq!(mute.connections(), 1);
}

/// Every connection without TLS was kept, 25 KB each: those to 1,000 targets took half of what an agent may take in all.
#[tokio::test]
async fn of_connections_without_tls_a_hundred_are_kept() {
    let mut peers = Vec::new();
    for _ in 0..150 {
        peers.push(Peer::new(|_| answer("200 OK", "", b"x")).await);
    }
    let client = client(|_| {});
    for _ in 0..3 {
        for peer in &peers {
            assert_eq!(get(&client, peer.url("/")).await.unwrap().status, 200);
        }
    }
    let connections: Vec<usize> = peers.iter().map(Peer::connections).collect();
    assert_eq!(connections, [[1; 100].as_slice(), &[3; 50]].concat(), "the first hundred stay as they are");
}

#[tokio::test]
async fn time_is_up_when_it_is_whatever_is_waited_for() {
    let bounds = Bounds { timeout: Duration::from_millis(100), ..BOUNDS };
    let slow =
        Peer::new(|_| b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nX-Then: wait\r\n\r\nx".to_vec()).await;
    let late = Peer::new(|_| b"HTTP/1.1 200 OK\r\nX-Then: wait\r\n".to_vec()).await;
    let circle = Peer::new(|_| answer("307 Go", "Location: /\r\n", b"")).await;
    let client = client(|_| {});
    for peer in [slow, late] {
        let error = client.send(Request::get(peer.url("/")), &bounds).await.unwrap_err();
        assert!(matches!(error, SendError::Timeout(_)), "{error}");
    }
    let error = client.send(Request::get(circle.url("/")), &BOUNDS).await.unwrap_err();
    assert!(matches!(error, SendError::Redirect("there were more than 10")), "{error}");
    assert_eq!(circle.seen().len(), 11);
}

#[tokio::test]
async fn bodies_are_cut_off_where_they_are_too_big() {
    let packed = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let bomb = packed(&vec![0; 4 << 20]);
    let good = packed(b"unpacked");
    let peer = Peer::new(move |request| match request.split(' ').nth(1).unwrap() {
        "/bomb" => answer("200 OK", "Content-Encoding: gzip\r\n", &bomb),
        "/good" => answer("200 OK", "Content-Encoding: GZIP\r\n", &good),
        "/odd" => answer("200 OK", "Content-Encoding: br\r\n", b"x"),
        "/torn" => answer("200 OK", "Content-Encoding: gzip\r\n", &good[..12]),
        "/declared" => b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\nX-Then: wait\r\n\r\n".to_vec(),
        "/most" => answer("200 OK", "", &vec![b'x'; 1 << 20]),
        _ => b"HTTP/1.1 200 OK\r\nX-Then: endless\r\n\r\n".to_vec(),
    })
    .await;
    let client = client(|_| {});
    for path in ["/bomb", "/declared", "/endless"] {
        let error = get(&client, peer.url(path)).await.unwrap_err();
        assert!(matches!(error, SendError::TooBig { limit: 1_048_576 }), "{path} {error}");
    }
    for path in ["/odd", "/torn"] {
        let error = get(&client, peer.url(path)).await.unwrap_err();
        assert!(matches!(error, SendError::Encoding(_)), "{path} {error}");
    }
    let response = get(&client, peer.url("/good")).await.unwrap();
    assert_eq!((&response.body[..], response.wire_bytes < 40), (&b"unpacked"[..], true));
    assert_eq!(get(&client, peer.url("/most")).await.unwrap().body.len(), 1 << 20);
}

/// An answer whose body could not be read lost its status: what a receiver refused for good was sent to it for ever.
#[tokio::test]
async fn the_status_is_known_whatever_the_body_is() {
    let peer = Peer::new(|request| match request.split(' ').nth(1).unwrap() {
        "/long" => answer("400 No", "X-A: b\r\n", &vec![b'x'; 100 << 10]),
        "/odd" => answer("400 No", "X-A: b\r\nContent-Encoding: br\r\n", b"raw"),
        "/torn" => b"HTTP/1.1 400 No\r\nX-A: b\r\nX-Then: close\r\nContent-Length: 9\r\n\r\nraw".to_vec(),
        "/slow" => b"HTTP/1.1 400 No\r\nX-A: b\r\nX-Then: wait\r\nContent-Length: 9\r\n\r\nraw".to_vec(),
        "/taken" => answer("200 OK", "X-A: b\r\nContent-Encoding: br\r\n", b"raw"),
        "/head" => answer("400 No", &format!("X-A: b\r\nX-B: {}\r\n", "y".repeat(50 << 10)), b"raw"),
        _ => b"HTTP/1.1 400 No\r\nX-A: b\r\nX-Then: endless\r\n\r\n".to_vec(),
    })
    .await;
    let bounds = Bounds { body_bytes_max: 64 << 10, inflated_bytes_max: 64 << 10, ..BOUNDS };
    let cut = Bounds { unreadable: Unreadable::Cut, ..bounds };
    let ask = async |path: &str, bounds: &Bounds| {
        let request = Request::post(peer.url(path), "rows".into());
        let response = client(|_| {}).send(request, bounds).await.unwrap();
        assert_eq!(response.header("x-a"), Some("b"), "{path}");
        (response.status, response.body.len(), response.is_cut)
    };
    for bounds in [&bounds, &cut] {
        for path in ["/long", "/endless"] {
            assert_eq!(ask(path, bounds).await, (400, 64 << 10, true), "{path}");
        }
        for path in ["/odd", "/torn"] {
            assert_eq!(ask(path, bounds).await, (400, 3, true), "{path}");
        }
        let short = Bounds { timeout: Duration::from_secs(1), ..*bounds };
        assert_eq!(ask("/slow", &short).await, (400, 3, true));
    }
    assert_eq!(ask("/taken", &cut).await, (200, 3, true));
    assert_eq!(ask("/head", &cut).await, (400, 3, false));
}

#[tokio::test]
async fn redirects_stay_on_their_host_and_take_no_credentials_elsewhere() {
    let other = Peer::new(|_| answer("200 OK", "", b"other")).await;
    let port = other.address.port();
    let peer = Peer::new(move |request| {
        let to = |status: &str, location: &str| answer(status, &format!("Location: {location}\r\n"), b"");
        match request.split(' ').nth(1).unwrap() {
            "/same" => to("302 Found", "/end"),
            "/port" => to("308 Go", &format!("http://user:word@127.0.0.1:{port}/")),
            "/host" => to("301 Go", &format!("http://localhost:{port}/")),
            "/file" => to("301 Go", "file:///etc/passwd"),
            "/nowhere" => answer("301 Go", "", b""),
            "/see" => to("303 See", "/end"),
            "/keep" => to("307 Go", "/end"),
            _ => answer("200 OK", "", b"end"),
        }
    })
    .await;
    let with = |follow: bool| {
        client(move |config| {
            config.follow_redirects = follow;
            config.authorization =
                Some(Authorization { credentials: secret("word"), ..Authorization::default() });
            let values =
                HeaderValues { secrets: vec![Secret::new("key".to_owned())], ..HeaderValues::default() };
            config.http_headers.insert("X-Key".to_owned(), values);
        })
    };
    let client = with(true);
    let mut request = Request::get(peer.url("/same"));
    request.headers.insert("x-own", "1".parse().unwrap());
    assert_eq!(&client.send(request, &BOUNDS).await.unwrap().body[..], b"end");
    assert!(
        peer.seen()[1].contains("authorization: Bearer word\r\n") && peer.seen()[1].contains("x-key: key")
    );
    assert!(peer.seen()[1].contains("x-own: 1"));

    let mut request = Request::get(peer.url("/port"));
    request.headers.insert("x-own", "1".parse().unwrap());
    request.headers.insert("accept", "a/b".parse().unwrap());
    assert_eq!(&client.send(request, &BOUNDS).await.unwrap().body[..], b"other");
    let seen = other.seen()[0].to_ascii_lowercase();
    assert!(seen.contains("accept: a/b\r\n"), "{seen}");
    for name in ["authorization", "x-key", "x-own"] {
        assert!(!seen.contains(name), "{seen}");
    }
    for path in ["/host", "/file", "/nowhere"] {
        let error = get(&client, peer.url(path)).await.unwrap_err();
        assert!(matches!(error, SendError::Redirect(_)), "{path} {error}");
    }
    assert_eq!(other.connections(), 1);
    assert_eq!(get(&with(false), peer.url("/same")).await.unwrap().status, 302);
    // What is sent is sent again where the server asks for that, and else the answer is what it is.
    let post = |path: &str| Request::post(peer.url(path), "body".into());
    assert_eq!(client.send(post("/see"), &BOUNDS).await.unwrap().status, 303);
    assert_eq!(client.send(post("/keep"), &BOUNDS).await.unwrap().status, 200);
    let seen = peer.seen();
    assert!(seen[seen.len() - 1].starts_with("POST /end ") && seen[seen.len() - 1].ends_with("\r\n\r\nbody"));
}

#[tokio::test]
async fn tokens_in_files_are_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    let peer = Peer::new(|request| {
        answer(if request.contains("Bearer bad") { "401 No" } else { "200 OK" }, "", b"")
    })
    .await;
    let clock = Arc::new(StandingClock::default());
    let env = Env { clock: Arc::clone(&clock) as _, ..Env::real() };
    let client = client_with(&env, |config| config.bearer_token_file = Some(path.clone()));
    let error = get(&client, peer.url("/")).await.unwrap_err();
    assert!(matches!(&error, SendError::Given { path: named, .. } if *named == path), "{error}");

    let token = async |expected: &str| {
        get(&client, peer.url("/")).await.unwrap();
        let seen = peer.seen();
        let last = seen.last().unwrap();
        assert!(last.contains(&format!("authorization: Bearer {expected}\r\n")), "{last}");
    };
    // One that is refused is looked at again at once, also just after the start.
    std::fs::write(&path, "bad").unwrap();
    token("bad").await;
    std::fs::write(&path, "  one\n").unwrap();
    token("one").await;
    std::fs::write(&path, "second").unwrap();
    token("one").await;
    clock.advance(Duration::from_secs(31));
    token("second").await;
    // A file that is gone for a moment costs no request.
    std::fs::remove_file(&path).unwrap();
    clock.advance(Duration::from_secs(31));
    token("second").await;
}

#[tokio::test]
async fn addresses_that_may_not_be_reached_are_not() {
    let peer = Peer::new(|_| answer("200 OK", "", b"")).await;
    let client = |allowed: &[&str]| {
        let allowed = allowed.iter().map(|network| network.parse().unwrap()).collect();
        Client::new(&HttpConfig::default(), Reach::Public(allowed), &Env::real()).unwrap()
    };
    let port = peer.address.port();
    for host in ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0"] {
        let url = Url::parse(&format!("http://{host}:{port}/")).unwrap();
        let error = get(&client(&[]), url).await.unwrap_err();
        assert!(matches!(error, SendError::Unreachable { .. }), "{host} {error}");
    }
    assert_eq!(peer.connections(), 0);
    assert_eq!(get(&client(&["127.0.0.0/8"]), peer.url("/")).await.unwrap().status, 200);
    let proxied = HttpConfig { proxy_from_environment: true, ..HttpConfig::default() };
    assert!(Client::new(&proxied, Reach::Public(Vec::new()), &Env::real()).is_err());
}

#[tokio::test]
async fn errors_name_no_credential() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let mute = Peer::new(|_| Vec::new()).await;
    let client = client(|config| {
        config.basic_auth =
            Some(BasicAuth { username: "me".to_owned(), password: secret("canary"), ..BasicAuth::default() });
    });
    let urls = [
        format!("http://u:canary@127.0.0.1:{port}/?token=canary"),
        format!("http://u:canary@{}/canary", mute.address),
        format!("http://u:canary@no.such.host.invalid:{port}/"),
        format!("https://u:canary@{}/", mute.address),
    ];
    for url in urls {
        // A server that waits for what TLS does not say ends in a timeout.
        let bounds = Bounds { timeout: Duration::from_secs(1), ..BOUNDS };
        let error = client.send(Request::get(Url::parse(&url).unwrap()), &bounds).await.unwrap_err();
        let shown = format!("{error} {error:?} {client:?}");
        assert!(!shown.contains("canary"), "{shown}");
    }
}
