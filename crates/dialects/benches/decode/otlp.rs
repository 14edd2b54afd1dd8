//! Bodies of OTLP: gauges and sums of ten metrics under a resource with eight attributes (none of which
//! says which service it is, so that points are all there is), five attributes on each point.

use codec::proto::{FIXED64, write_bytes, write_double, write_key, write_message, write_number};

use super::{timestamp_ms, value};

const RESOURCE: [(&str, &str); 8] = [
    ("k8s.deployment.name", "checkout"),
    ("k8s.namespace.name", "shop"),
    ("k8s.pod.uid", "627cc493-f310-47de-96bd-71410b7dec09"),
    ("service.version", "1.4.0"),
    ("deployment.environment.name", "production"),
    ("host.name", "checkout-7d9c5b6f4-x2x9q"),
    ("telemetry.sdk.language", "go"),
    ("telemetry.sdk.version", "1.38.0"),
];

/// Points of one metric.
const POINTS: usize = 100;

fn attributes(i: usize) -> [(&'static str, String); 5] {
    [
        ("http.request.method", ["GET", "POST", "PUT"][i % 3].into()),
        ("http.route", format!("/api/v1/orders/{{id}}/{}", i % 40)),
        ("http.response.status_code", ["200", "404", "500"][i / 3 % 3].into()),
        ("server.address", format!("checkout-{:04}.example.net", i / 100)),
        ("network.protocol.version", "1.1".into()),
    ]
}

fn attribute(number: u32, (name, value): (&str, &str), out: &mut Vec<u8>) {
    write_message(number, out, |out| {
        write_bytes(1, name.as_bytes(), out);
        write_message(2, out, |out| write_bytes(1, value.as_bytes(), out));
    });
}

fn fixed(number: u32, value: u64, out: &mut Vec<u8>) {
    write_key(number, FIXED64, out);
    out.extend_from_slice(&value.to_le_bytes());
}

/// An `ExportMetricsServiceRequest`.
pub(super) fn metrics(points: usize) -> Vec<u8> {
    let mut body = Vec::new();
    write_message(1, &mut body, |out| {
        write_message(1, out, |out| RESOURCE.into_iter().for_each(|pair| attribute(1, pair, out)));
        write_message(2, out, |out| {
            write_message(1, out, |out| write_bytes(1, b"go.opentelemetry.io/otelhttp", out));
            for metric in 0..points.div_ceil(POINTS) {
                write_message(2, out, |out| {
                    write_bytes(1, format!("http.server.requests.{metric}").as_bytes(), out);
                    write_bytes(2, b"Requests that were served.", out);
                    write_bytes(3, b"{request}", out);
                    write_message(7, out, |out| {
                        let ours = metric * POINTS..((metric + 1) * POINTS).min(points);
                        ours.for_each(|i| write_message(1, out, |out| point(i, out)));
                        write_number(2, 2, out);
                        write_number(3, 1, out);
                    });
                });
            }
        });
    });
    body
}

fn point(i: usize, out: &mut Vec<u8>) {
    fixed(2, 1_795_167_000_000_000_000, out);
    fixed(3, timestamp_ms(i) as u64 * 1_000_000, out);
    write_double(4, value(i), out);
    attributes(i).iter().for_each(|(name, value)| attribute(7, (name, value), out));
}
