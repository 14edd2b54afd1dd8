//! Requests that nobody sends by accident: what stands in them once must not be paid for by each of what stands beside it.

use std::time::{Duration, Instant};

use codec::proto::{write_bytes, write_message};
use model::Batch;

use crate::rows::Full;
use crate::{Kind, Malformed, Received, Request, find};

/// What takes seconds where each thing is paid for once takes hours where it is not.
const LONG: Duration = Duration::from_secs(60);

fn decoded<'a>(content_type: &'a str, body: &'a [u8]) -> Result<Batch<'a>, Malformed> {
    let (_, route) = find("POST", "/v1/metrics").expect("the registry has the path");
    let Kind::Ingest { decode, .. } = route.kind else { panic!("not an ingest route") };
    let request = Request { path: "/v1/metrics", content_type, ..Request::default() };
    let mut batch = Batch::new(42);
    decode(&Received { body, ..Received::new(request) }, &mut batch).map(|()| batch)
}

const PROTOBUF: &str = "application/x-protobuf";

/// A request of one resource and one scope with these metrics.
fn wire(resource: impl FnOnce(&mut Vec<u8>), metrics: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    write_message(1, &mut body, |out| {
        write_message(1, out, resource);
        write_bytes(2, metrics, out);
    });
    body
}

/// A summary with one point, which has these attributes and `quantiles` quantiles.
fn summary(name: &str, attributes: &[u8], quantiles: usize) -> Vec<u8> {
    let mut metrics = Vec::new();
    write_message(2, &mut metrics, |metric| {
        write_bytes(1, name.as_bytes(), metric);
        write_message(11, metric, |summary| {
            write_message(1, summary, |point| {
                point.extend_from_slice(attributes);
                point.extend_from_slice(&b"\x32\x00".repeat(quantiles));
            });
        });
    });
    wire(|_| {}, &metrics)
}

#[test]
fn attributes_times_the_series_of_their_point_are_bounded() {
    let million = 1 << 20;
    let json = format!(
        r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{"name":"m","summary":{{"dataPoints":[
        {{"attributes":[{}],"quantileValues":[{}]}}]}}}}]}}]}}]}}"#,
        vec!["{}"; 100_000].join(","),
        vec!["{}"; 100_000].join(","),
    );
    for (content_type, body) in [
        (PROTOBUF, summary("m", &b"\x3a\x00".repeat(2 * million), million)),
        (PROTOBUF, summary(&"m".repeat(4 * million), b"", million)),
        ("application/json", json.into_bytes()),
    ] {
        let refused = decoded(content_type, &body).err().map(|malformed| malformed.what);
        assert_eq!(refused, Some(Full::WHAT), "{content_type}");
    }
}

#[test]
fn a_resource_is_hashed_once_however_many_metrics_and_scopes_it_has() {
    let service = |out: &mut Vec<u8>| {
        write_message(1, out, |attribute| {
            write_bytes(1, b"service.name", attribute);
            write_message(2, attribute, |value| write_bytes(1, &vec![b's'; 8 << 20], value));
        });
    };
    #[allow(clippy::disallowed_methods)] // A test's patience.
    let begin = Instant::now();
    let body = wire(service, &b"\x12\x04\x2a\x02\x0a\x00".repeat(300_000));
    assert_eq!(decoded(PROTOBUF, &body).unwrap().items.refused(), 300_000);
    let mut body = Vec::new();
    write_message(1, &mut body, |out| {
        write_message(1, out, service);
        out.extend(b"\x12\x06\x12\x04\x2a\x02\x0a\x00".repeat(100_000));
    });
    assert_eq!(decoded(PROTOBUF, &body).unwrap().items.refused(), 100_000);
    assert!(begin.elapsed() < LONG, "{:?}", begin.elapsed());
}
