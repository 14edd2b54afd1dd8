//! OTLP over gRPC as it lies on the wire: frames, packings, codes, trailers; on the main port and on one of its own.

mod common;

use std::io::Write;
use std::net::SocketAddr;

use axum::body::{Body, Bytes};
use codec::proto::{write_bytes, write_double, write_key, write_message};
use common::Weir;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};

const METRICS: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";

/// How a call ended.
#[derive(Debug)]
struct Ended {
    status: StatusCode,
    head: HeaderMap,
    trailers: Option<HeaderMap>,
    body: Bytes,
}

impl Ended {
    fn code(&self) -> &str {
        let ends = self.trailers.as_ref().unwrap_or(&self.head);
        ends.get("grpc-status").map_or("none", |value| value.to_str().unwrap())
    }

    fn said(&self) -> &str {
        self.head.get("grpc-message").map_or("", |value| value.to_str().unwrap())
    }
}

fn call_at(address: SocketAddr, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Ended {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let (mut client, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let mut request = Request::post(format!("http://weir{path}")).header("te", "trailers");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = client.send_request(request.body(Body::from(body)).unwrap()).await.unwrap();
        let (head, body) = answer.into_parts();
        let collected = body.collect().await.unwrap();
        let trailers = collected.trailers().cloned();
        Ended { status: head.status, head: head.headers, trailers, body: collected.to_bytes() }
    })
}

/// A call with the tenant's token.
fn call(weir: &Weir, headers: &[(&str, &str)], body: Vec<u8>) -> Ended {
    let token = format!("Bearer {}", weir.token);
    let own = [("content-type", "application/grpc"), ("authorization", token.as_str())];
    call_at(weir.address, METRICS, &[&own, headers].concat(), body)
}

fn framed(flag: u8, message: &[u8]) -> Vec<u8> {
    [&[flag][..], &u32::try_from(message.len()).unwrap().to_be_bytes(), message].concat()
}

/// An `ExportMetricsServiceRequest` with a gauge of these points: values, and how long ago they were.
fn export(weir: &Weir, name: &str, points: &[(f64, u64)]) -> Vec<u8> {
    let now_ns = u64::try_from(weir.app().env.clock.now_ms()).unwrap() * 1_000_000;
    let mut message = Vec::new();
    write_message(1, &mut message, |resource| {
        write_message(2, resource, |scope| {
            write_message(2, scope, |metric| {
                write_bytes(1, name.as_bytes(), metric);
                write_message(5, metric, |gauge| {
                    for (value, ago_s) in points {
                        write_message(1, gauge, |point| {
                            write_key(3, codec::proto::FIXED64, point);
                            point.extend((now_ns - ago_s * 1_000_000_000).to_le_bytes());
                            write_double(4, *value, point);
                        });
                    }
                });
            });
        });
    });
    message
}

fn value(weir: &Weir, name: &str) -> String {
    let found = weir.get(&format!("/api/v1/query?query={name}"), &weir.token).json();
    found["data"]["result"][0]["value"][1].as_str().unwrap_or("nothing").to_owned()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn what_a_call_brought_is_stored_however_it_was_packed() {
    let weir = Weir::start();
    let zlib = {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(&export(&weir, "packed_deflate", &[(3.0, 0)])).unwrap();
        encoder.finish().unwrap()
    };
    let cases = [
        ("plain", vec![], framed(0, &export(&weir, "packed_plain", &[(1.0, 0)]))),
        (
            "identity",
            vec![("grpc-encoding", "identity")],
            framed(0, &export(&weir, "packed_identity", &[(2.0, 0)])),
        ),
        (
            "gzip",
            vec![("grpc-encoding", "gzip")],
            framed(1, &gzip(&export(&weir, "packed_gzip", &[(4.0, 0)]))),
        ),
        ("deflate", vec![("grpc-encoding", "deflate")], framed(1, &zlib)),
        // Small messages are left as they are.
        (
            "unpacked",
            vec![("grpc-encoding", "gzip")],
            framed(0, &export(&weir, "packed_unpacked", &[(5.0, 0)])),
        ),
        ("late", vec![("grpc-timeout", "1n")], framed(0, &export(&weir, "packed_late", &[(6.0, 0)]))),
    ];
    for (name, headers, body) in cases {
        let ended = call(&weir, &headers, body);
        assert_eq!((ended.status, ended.code()), (StatusCode::OK, "0"), "{name} {ended:?}");
        assert_eq!(ended.head["content-type"], "application/grpc");
        assert!(ended.trailers.is_some() && !ended.head.contains_key("grpc-status"), "{ended:?}");
        assert_eq!(ended.body, &[0; 5][..], "an empty response in its frame");
        assert_ne!(value(&weir, &format!("packed_{name}")), "nothing", "{name}");
    }
    assert_eq!(value(&weir, "packed_gzip"), "4");
    let empty = call(&weir, &[], framed(0, b""));
    assert_eq!((empty.code(), empty.body.len()), ("0", 5), "nothing is no error");
}

#[test]
fn a_bad_point_costs_itself() {
    let weir = Weir::start();
    let years = 5 * 365 * 86_400;
    let ended = call(&weir, &[], framed(0, &export(&weir, "partly", &[(1.0, 0), (2.0, years)])));
    assert_eq!((ended.status, ended.code()), (StatusCode::OK, "0"), "{ended:?}");
    assert_eq!(&ended.body[..9], &[&[0, 0, 0, 0, ended.body[4]][..], &[0x0a, ended.body[6], 8, 1]].concat());
    assert!(String::from_utf8_lossy(&ended.body).contains("too_old"), "{ended:?}");
    assert_eq!(value(&weir, "partly"), "1");
}

#[test]
fn a_call_that_is_not_taken_ends_with_its_code() {
    let weir = Weir::start();
    let good = || framed(0, &export(&weir, "never", &[(1.0, 0)]));
    let ends = |ended: &Ended, code: &str, said: &str| {
        assert_eq!((ended.status, ended.code()), (StatusCode::OK, code), "{ended:?}");
        assert!(ended.trailers.is_none() && ended.body.is_empty(), "trailers only: {ended:?}");
        assert!(ended.said().contains(said), "{said}: {ended:?}");
    };
    let grpc = ("content-type", "application/grpc");
    ends(&call_at(weir.address, METRICS, &[grpc], good()), "16", "token");
    let unknown = [grpc, ("authorization", "Bearer 0123")];
    ends(&call_at(weir.address, METRICS, &unknown, good()), "16", "unknown");
    ends(&call(&weir, &[("x-scope-orgid", "somebody")], good()), "7", "tenant");
    let admin = format!("Bearer {}", weir.admin);
    ends(&call_at(weir.address, METRICS, &[grpc, ("authorization", &admin)], good()), "7", "");
    ends(&call(&weir, &[], framed(0, b"\xff\xff\xff")), "3", "");
    ends(&call(&weir, &[("grpc-encoding", "gzip")], framed(1, b"no gzip")), "3", "gzip");
    for (headers, body, said) in [
        (&[][..], vec![], "one message"),
        (&[], [good(), good()].concat(), "behind it"),
        (&[], framed(1, b"x"), "grpc-encoding does not say"),
        (&[("grpc-encoding", "gzip")], framed(7, b"x"), "first byte"),
        (&[], good()[..20].to_vec(), "ends early"),
    ] {
        ends(&call(&weir, headers, body), "13", said);
    }
    let brotli = call(&weir, &[("grpc-encoding", "br")], good());
    ends(&brotli, "12", "br");
    assert_eq!(brotli.head["grpc-accept-encoding"], "identity,gzip,zstd,deflate,snappy");
    // What is too big is so for ever: no hint to come again.
    let big = call(&weir, &[("grpc-encoding", "gzip")], framed(1, &gzip(&vec![0; (64 << 20) + 1])));
    ends(&big, "8", "");
    let declared = call(&weir, &[], [&[0, 0xff, 0xff, 0xff, 0xff][..], b"x"].concat());
    ends(&declared, "8", "");
    assert!(
        !big.head.contains_key("grpc-status-details-bin")
            && !declared.head.contains_key("grpc-retry-pushback-ms")
    );
    let traces = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
    ends(&call_at(weir.address, traces, &[grpc], good()), "12", "TraceService");
    let other = call_at(weir.address, METRICS, &[("content-type", "application/x-protobuf")], good());
    assert_eq!(other.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(value(&weir, "never"), "nothing");
}

#[test]
fn whoever_is_over_its_rate_is_told_when_to_come_again() {
    let weir = Weir::start_with(|settings| {
        settings.limits.samples_per_second = 0.001;
        settings.limits.samples_burst = 1.0;
    });
    let body = || framed(0, &export(&weir, "often", &[(1.0, 0), (2.0, 1)]));
    assert_eq!(call(&weir, &[], body()).code(), "0");
    let over = call(&weir, &[], body());
    assert_eq!((over.status, over.code()), (StatusCode::OK, "8"), "{over:?}");
    let wait_ms: u64 = over.head["grpc-retry-pushback-ms"].to_str().unwrap().parse().unwrap();
    assert!(wait_ms > 0 && over.head.contains_key("grpc-status-details-bin"), "{over:?}");
}

#[test]
fn ports_of_its_own_serve_the_same() {
    let weir = Weir::start_with(|settings| {
        settings.otlp.grpc_listen = Some("127.0.0.1:0".parse().unwrap());
        settings.otlp.http_listen = Some("127.0.0.1:0".parse().unwrap());
    });
    let token = format!("Bearer {}", weir.token);
    for (key, name) in [("otlp.grpc_listen", "at_grpc"), ("otlp.http_listen", "at_http")] {
        let address = weir.address_of(key);
        assert_ne!(address, weir.address);
        let own = [("content-type", "application/grpc"), ("authorization", token.as_str())];
        let body = framed(0, &export(&weir, name, &[(1.0, 0)]));
        assert_eq!(call_at(address, METRICS, &own, body).code(), "0");
        assert_eq!(value(&weir, name), "1");
        let body = framed(0, &export(&weir, name, &[(1.0, 0)]));
        assert_eq!(call_at(address, METRICS, &own[..1], body).code(), "16", "tokens are needed there too");
    }
    weir.stop();
}
