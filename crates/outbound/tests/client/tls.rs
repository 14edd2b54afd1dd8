//! TLS: who is believed, who Weir is, which versions; and proxies, through which it goes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::peers::{Authority, BOUNDS, Peer, StandingClock, answer, client, client_with, get};
use env::Env;
use http_body_util::Full;
use hyper_util::rt::{TokioExecutor, TokioIo};
use outbound::config::{TlsConfig, TlsVersion};
use outbound::{Bounds, Request, Secret, SendError, Url};
use rustls::version::{TLS12, TLS13};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

async fn secure(config: rustls::ServerConfig) -> Peer {
    Peer::listen(Some(Arc::new(config)), |_| answer("200 OK", "", b"secret")).await
}

fn is_tls(result: Result<outbound::Response, SendError>) {
    let error = result.unwrap_err();
    assert!(matches!(error, SendError::Tls { .. } | SendError::Broken { .. }), "{error}");
}

#[tokio::test]
async fn only_who_is_believed_is_spoken_to() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let peer = secure(authority.server("localhost", None, &[&TLS12, &TLS13])).await;
    let with = |tls: TlsConfig| client(move |config| config.tls_config = tls);
    let ca = |authority: &Authority| TlsConfig { ca: Some(authority.pem()), ..TlsConfig::default() };
    let url = || peer.https("localhost", "/");
    assert_eq!(&get(&with(ca(&authority)), url()).await.unwrap().body[..], b"secret");
    is_tls(get(&with(ca(&stranger)), url()).await);
    is_tls(get(&with(TlsConfig::default()), url()).await);
    // The certificate is for another name, unless that one is asked for.
    is_tls(get(&with(ca(&authority)), peer.https("127.0.0.1", "/")).await);
    let named = TlsConfig { server_name: "localhost".to_owned(), ..ca(&authority) };
    assert_eq!(get(&with(named), peer.https("127.0.0.1", "/")).await.unwrap().status, 200);
    let anyone = TlsConfig { insecure_skip_verify: true, ..TlsConfig::default() };
    assert_eq!(get(&with(anyone), peer.https("127.0.0.1", "/")).await.unwrap().status, 200);
}

#[tokio::test]
async fn versions_are_bounded() {
    let authority = Authority::new();
    let old = secure(authority.server("localhost", None, &[&TLS12])).await;
    let new = secure(authority.server("localhost", None, &[&TLS13])).await;
    let with = |least: Option<TlsVersion>, most: Option<TlsVersion>| {
        let ca = Some(authority.pem());
        client(move |config| {
            config.tls_config =
                TlsConfig { ca, min_version: least, max_version: most, ..TlsConfig::default() };
        })
    };
    for client in [with(None, None), with(Some(TlsVersion::Tls10), None)] {
        assert_eq!(get(&client, old.https("localhost", "/")).await.unwrap().status, 200);
        assert_eq!(get(&client, new.https("localhost", "/")).await.unwrap().status, 200);
    }
    is_tls(get(&with(Some(TlsVersion::Tls13), None), old.https("localhost", "/")).await);
    is_tls(get(&with(None, Some(TlsVersion::Tls12)), new.https("localhost", "/")).await);
}

#[tokio::test]
async fn weir_shows_its_certificate_and_reads_files_again() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let peer = secure(authority.server("localhost", Some(&clients), &[&TLS12, &TLS13])).await;
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let strangers = Authority::new();
    let (cert, key) = strangers.sign("weir");
    let tls = TlsConfig {
        ca_file: Some(write("ca", &authority.pem())),
        cert_file: Some(write("cert", &cert)),
        key_file: Some(write("key", &key)),
        ..TlsConfig::default()
    };
    let clock = Arc::new(StandingClock::default());
    let env = Env { clock: Arc::clone(&clock) as _, ..Env::real() };
    let client = client_with(&env, |config| config.tls_config = tls);
    is_tls(get(&client, peer.https("localhost", "/")).await);
    let (cert, key) = clients.sign("weir");
    write("cert", &cert);
    write("key", &key);
    is_tls(get(&client, peer.https("localhost", "/")).await);
    clock.advance(Duration::from_secs(31));
    assert_eq!(get(&client, peer.https("localhost", "/")).await.unwrap().status, 200);
    // A changed one is noticed also while a connection waits.
    assert_eq!(get(&client, peer.https("localhost", "/")).await.unwrap().status, 200);
    let before = peer.connections();
    let (cert, key) = clients.sign("weir");
    write("cert", &cert);
    write("key", &key);
    clock.advance(Duration::from_secs(31));
    assert_eq!(get(&client, peer.https("localhost", "/")).await.unwrap().status, 200);
    assert_eq!(peer.connections(), before + 1);
    // Without one there is no answer.
    let nobody = crate::peers::client(|config| config.tls_config.ca = Some(authority.pem()));
    is_tls(get(&nobody, peer.https("localhost", "/")).await);
}

#[tokio::test]
async fn a_server_that_speaks_http2_is_asked_over_one_connection() {
    let authority = Authority::new();
    let mut config = authority.server("localhost", None, &[&TLS13]);
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            counted.fetch_add(1, Ordering::SeqCst);
            let stream = acceptor.accept(stream).await.unwrap();
            let service =
                hyper::service::service_fn(async |request: hyper::Request<hyper::body::Incoming>| {
                    let text = format!("{} {:?}", request.uri(), request.headers().get("authorization"));
                    Ok::<_, std::convert::Infallible>(hyper::Response::new(Full::new(bytes::Bytes::from(
                        text,
                    ))))
                });
            let http2 = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(http2.serve_connection(TokioIo::new(stream), service));
        }
    });
    let client = client(|config| {
        config.tls_config.ca = Some(authority.pem());
        config.bearer_token = Some(Secret::new("word".to_owned()));
    });
    for _ in 0..3 {
        let url = Url::parse(&format!("https://localhost:{port}/a?b")).unwrap();
        let body = get(&client, url).await.unwrap().body;
        let text = std::str::from_utf8(&body).unwrap();
        assert!(text.starts_with(&format!("https://localhost:{port}/a?b Some(")), "{text}");
    }
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}

/// A server over HTTP/2 that answers one request and resets the streams of all others; and how many of those.
async fn resets(authority: &Authority, reason: h2::Reason) -> (u16, Arc<AtomicUsize>) {
    let mut config = authority.server("localhost", None, &[&TLS13]);
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let resets = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&resets);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (acceptor, counted) = (acceptor.clone(), Arc::clone(&counted));
            tokio::spawn(async move {
                let mut connection =
                    h2::server::handshake(acceptor.accept(stream).await.unwrap()).await.unwrap();
                let mut is_first = true;
                while let Some(Ok((_, mut answer))) = connection.accept().await {
                    if std::mem::take(&mut is_first) {
                        answer.send_response(http::Response::new(()), true).unwrap();
                    } else {
                        counted.fetch_add(1, Ordering::SeqCst);
                        answer.send_reset(reason);
                    }
                }
            });
        }
    });
    (port, resets)
}

/// A stream that was reset on a connection that waited was asked for again on the same one, as fast as it went, until the
/// time was up.
#[tokio::test]
async fn a_stream_that_is_reset_is_asked_for_at_most_once_more() {
    let authority = Authority::new();
    let client = client(|config| config.tls_config.ca = Some(authority.pem()));
    // A server that failed has said so, one that refused did nothing.
    for (reason, status) in [(h2::Reason::INTERNAL_ERROR, None), (h2::Reason::REFUSED_STREAM, Some(200))] {
        let (port, resets) = resets(&authority, reason).await;
        let url = Url::parse(&format!("https://localhost:{port}/")).unwrap();
        assert_eq!(get(&client, url.clone()).await.unwrap().status, 200);
        let answered = get(&client, url).await;
        assert_eq!(answered.as_ref().map(|answer| answer.status).ok(), status, "{reason}");
        // What hyper says itself is that something went wrong.
        let Err(error) = answered else { continue };
        assert!(error.to_string().contains("unexpected internal error"), "{error}");
        assert_eq!(resets.load(Ordering::SeqCst), 1, "{reason}");
    }
}

/// A connection over HTTP/2 that had died was shared for ever: each request on it ended when its time was up.
#[tokio::test]
async fn a_dead_connection_over_http2_is_left() {
    let authority = Authority::new();
    let (port, _) = resets(&authority, h2::Reason::INTERNAL_ERROR).await;
    // What leads there goes silent when it is told, for connections that are open then.
    let (silence, _) = tokio::sync::watch::channel(());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let before = listener.local_addr().unwrap().port();
    let told = silence.clone();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut told = told.subscribe();
            tokio::spawn(async move {
                let mut onward = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                tokio::select! {
                    _ = copy_bidirectional(&mut stream, &mut onward) => return,
                    _ = told.changed() => {}
                }
                std::future::pending::<()>().await;
            });
        }
    });
    let client = client(|config| config.tls_config.ca = Some(authority.pem()));
    let url = Url::parse(&format!("https://localhost:{before}/")).unwrap();
    assert_eq!(get(&client, url.clone()).await.unwrap().status, 200);
    silence.send_replace(());
    let short = Bounds { timeout: Duration::from_millis(300), ..BOUNDS };
    let error = client.send(Request::get(url.clone()), &short).await.unwrap_err();
    assert!(matches!(error, SendError::Timeout(_)), "{error}");
    assert_eq!(get(&client, url.clone()).await.unwrap().status, 200, "over a fresh one");
    silence.send_replace(());
    // It is found out while one waits longer than that. Time passes at once from here on.
    tokio::time::pause();
    let long = Bounds { timeout: Duration::from_secs(600), ..BOUNDS };
    let error = client.send(Request::post(url, "x".into()), &long).await.unwrap_err();
    assert!(matches!(error, SendError::Broken { .. }), "{error}");
}

/// A proxy that makes tunnels; gives the heads of what it was asked.
async fn tunnels(refuses: &'static str) -> (String, tokio::sync::mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (asked, heads) = tokio::sync::mpsc::channel(16);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let asked = asked.clone();
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    if stream.read_buf(&mut head).await.unwrap() == 0 {
                        return;
                    }
                }
                let head = String::from_utf8(head).unwrap();
                asked.try_send(head.clone()).unwrap();
                if !refuses.is_empty() {
                    stream.write_all(refuses.as_bytes()).await.unwrap();
                    // It stays open, as for a next attempt.
                    let _ = stream.read_buf(&mut Vec::new()).await;
                    return;
                }
                let target = head.split(' ').nth(1).unwrap();
                let mut onward = TcpStream::connect(target).await.unwrap();
                stream.write_all(b"HTTP/1.1 200 Fine\r\nX: y\r\n\r\n").await.unwrap();
                let _ = copy_bidirectional(&mut stream, &mut onward).await;
            });
        }
    });
    (address, heads)
}

#[tokio::test]
async fn proxies_lead_to_servers_over_tls() {
    let authority = Authority::new();
    let peer = secure(authority.server("localhost", None, &[&TLS13])).await;
    let (proxy, mut heads) = tunnels("").await;
    let client = client(|config| {
        config.tls_config.ca = Some(authority.pem());
        config.proxy_url = Some(Url::parse_any(&format!("http://u:word@{proxy}")).unwrap());
        config.proxy_connect_header.insert("X-Key".to_owned(), vec![Secret::new("key".to_owned())]);
        config.bearer_token = Some(Secret::new("token".to_owned()));
    });
    let url = peer.https("localhost", "/x");
    assert_eq!(&get(&client, url.clone()).await.unwrap().body[..], b"secret");
    let head = heads.recv().await.unwrap();
    let port = peer.address.port();
    assert!(head.starts_with(&format!("CONNECT localhost:{port} HTTP/1.1\r\n")), "{head}");
    assert!(
        head.contains("Proxy-Authorization: Basic dTp3b3Jk\r\n") && head.contains("X-Key: key\r\n"),
        "{head}"
    );
    assert!(!head.contains("token"), "what is for the server is not for the proxy: {head}");
    assert!(peer.seen()[0].starts_with("GET /x HTTP/1.1\r\n") && !peer.seen()[0].contains("dTp3b3Jk"));

    // A refusal with a body was waited for until the time was up.
    for (refusal, shown) in [
        ("HTTP/1.1 407 Who are you\r\n\r\n", "407 Who are you"),
        ("HTTP/1.1 407 Who are you\r\nContent-Length: 4\r\n\r\nword", "407 Who are you"),
        ("HTTP/1.1 200 Fine\r\n\r\nword", "it speaks before the server does"),
    ] {
        let (proxy, _heads) = tunnels(refusal).await;
        let client = crate::peers::client(|config| {
            config.proxy_url = Some(Url::parse_any(&format!("http://u:word@{proxy}")).unwrap());
        });
        let error = get(&client, url.clone()).await.unwrap_err().to_string();
        assert!(error.contains(shown) && !error.contains("word"), "{error}");
    }
}

#[tokio::test]
async fn plain_requests_are_given_to_a_proxy_whole() {
    let proxy = Peer::new(|_| answer("200 OK", "", b"from the proxy")).await;
    let client = client(|config| {
        config.proxy_url = Some(Url::parse_any(&format!("http://u:word@{}", proxy.address)).unwrap());
        config.no_proxy = "direct.invalid".to_owned();
    });
    let url = Url::parse("http://some.invalid:81/x?y").unwrap();
    assert_eq!(&get(&client, url).await.unwrap().body[..], b"from the proxy");
    let seen = &proxy.seen()[0];
    assert!(seen.starts_with("GET http://some.invalid:81/x?y HTTP/1.1\r\n"), "{seen}");
    assert!(seen.contains("host: some.invalid:81\r\n"), "{seen}");
    assert!(seen.contains("proxy-authorization: Basic dTp3b3Jk\r\n"), "{seen}");
    let direct = get(&client, Url::parse("http://direct.invalid/").unwrap()).await.unwrap_err();
    assert!(matches!(direct, SendError::Resolve { .. }), "{direct}");
}

#[tokio::test]
async fn socks_proxies_are_spoken_to() {
    let peer = Peer::new(|_| answer("200 OK", "", b"behind")).await;
    let onward = peer.address;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let expect = async |stream: &mut TcpStream, wanted: &[u8]| {
            let mut bytes = vec![0; wanted.len()];
            stream.read_exact(&mut bytes).await.unwrap();
            assert_eq!(bytes, wanted);
        };
        expect(&mut stream, &[5, 2, 0, 2]).await;
        stream.write_all(&[5, 2]).await.unwrap();
        expect(&mut stream, b"\x01\x01u\x04word").await;
        stream.write_all(&[1, 0]).await.unwrap();
        expect(&mut stream, b"\x05\x01\x00\x03\x0ename.test.here\x00\x51").await;
        stream.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await.unwrap();
        let mut server = TcpStream::connect(onward).await.unwrap();
        let _ = copy_bidirectional(&mut stream, &mut server).await;
    });
    let client = client(|config| {
        config.proxy_url = Some(Url::parse_any(&format!("socks5://u:word@{address}")).unwrap());
    });
    let url = Url::parse("http://name.test.here:81/").unwrap();
    assert_eq!(&get(&client, url).await.unwrap().body[..], b"behind");
    assert!(peer.seen()[0].starts_with("GET / HTTP/1.1\r\n"));
}
