//! OTLP over HTTP and gRPC: what OpenTelemetry Collectors and SDKs export, in protobuf or JSON.
//!
//! Metrics are named as Prometheus' own receiver names them ([`names`], [`labels`]), by choices under Prometheus' keys
//! ([`Settings`]). Both encodings are read into the same calls of [`intake`], and lines of logs into those of [`mod@logs`], so that
//! they cannot differ. The decoders serve gRPC too, whose messages are the same.

mod encode;
mod exemplar;
mod intake;
mod labels;
mod logs;
mod logs_json;
mod logs_wire;
mod metrics_json;
mod metrics_wire;
mod names;
mod native;
mod reply;
mod settings;
mod source;
mod value;
mod value_json;

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod tests;

use model::Batch;

pub use encode::{LOGS_SPEAKER, SPEAKER};
pub use reply::{export_response, message, partial, status, status_code};
pub use settings::{Promoted, Settings, Strategy};

use crate::{
    ByteLimits, Credential, Dialect, Door, Encoding, Kind, Malformed, Received, Refusal, Request, Route,
    Statuses,
};

/// Its registry row.
pub static DIALECT: Dialect = Dialect {
    name: "otlp",
    title: "OpenTelemetry (OTLP)",
    routes: ROUTES,
    credentials: &[Credential::Bearer, Credential::Basic],
    limits: ByteLimits { wire: 64 << 20, decoded: 64 << 20 },
    encodings: &[Encoding::Identity, Encoding::Gzip, Encoding::Zstd, Encoding::Deflate, Encoding::Snappy],
    inner: None,
    encoding_aliases: &[("zlib", Encoding::Deflate)],
    statuses: Statuses { stored: 200, partial: 200, over_rate: 429, ..Statuses::USUAL },
};

/// Where exporters send: a base URL of their own habit with `/v1/<signal>` behind it, or what other servers document.
const ROUTES: &[Route] = &[
    metrics("/v1/metrics"),
    metrics("/otlp/v1/metrics"),
    metrics("/api/v1/otlp/v1/metrics"),
    metrics("/v1/otlp/v1/metrics"),
    metrics("/opentelemetry/v1/metrics"),
    metrics("/opentelemetry/api/v1/push"),
    metrics("/api/{org}/v1/metrics"),
    logs("/v1/logs"),
    logs("/otlp/v1/logs"),
    logs("/api/v1/otlp/v1/logs"),
    logs("/v1/otlp/v1/logs"),
    logs("/opentelemetry/v1/logs"),
    logs("/api/{org}/v1/logs"),
    call("/opentelemetry.proto.collector.metrics.v1.MetricsService/Export", METRICS),
    call("/opentelemetry.proto.collector.logs.v1.LogsService/Export", LOGS),
    no_place("/v1/traces"),
    no_place("/otlp/v1/traces"),
    no_place("/api/v1/otlp/v1/traces"),
    no_place("/v1/otlp/v1/traces"),
    no_place("/opentelemetry/v1/traces"),
    no_place("/api/{org}/v1/traces"),
    no_place("/v1development/profiles"),
];

const fn post(path: &'static str, kind: Kind) -> Route {
    Route { door: Door::Http { method: "POST", path }, kind, claims: None }
}

const METRICS: Kind = Kind::Ingest { accept, decode: decode_metrics, reply: reply::metrics };
const LOGS: Kind = Kind::Ingest { accept, decode: decode_logs, reply: reply::logs };

const fn metrics(path: &'static str) -> Route {
    post(path, METRICS)
}

/// The same message by gRPC.
const fn call(path: &'static str, kind: Kind) -> Route {
    Route { door: Door::Grpc { path }, kind, claims: None }
}

const fn logs(path: &'static str) -> Route {
    post(path, LOGS)
}

const fn no_place(path: &'static str) -> Route {
    post(path, Kind::Answer(reply::no_place))
}

/// The encodings of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Media {
    Protobuf,
    Json,
}

impl Media {
    /// That of a request, by its media type without parameters.
    fn of(request: &Request<'_>) -> Option<Self> {
        let media = request.content_type.split(';').next().unwrap_or("").trim();
        let is = |known: Self| media.eq_ignore_ascii_case(known.as_str());
        [Self::Protobuf, Self::Json].into_iter().find(|known| is(*known))
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Protobuf => "application/x-protobuf",
            Self::Json => "application/json",
        }
    }
}

fn accept(request: &Request<'_>) -> Result<(), Refusal> {
    match Media::of(request) {
        Some(_) => Ok(()),
        None => Err(Refusal::UnsupportedMedia(format!(
            "media type {:?} is not supported here: use {} or {}",
            model::labels::truncated(request.content_type),
            Media::Protobuf.as_str(),
            Media::Json.as_str()
        ))),
    }
}

/// Decodes an `ExportMetricsServiceRequest`; in protobuf unless the request says JSON, so that gRPC, which says neither, may
/// come here too.
pub fn decode_metrics<'a>(received: &Received<'a>, batch: &mut Batch<'a>) -> Result<(), Malformed> {
    match Media::of(&received.request) {
        Some(Media::Json) => metrics_json::decode(received, batch),
        _ => metrics_wire::decode(received, batch),
    }
}

/// Decodes an `ExportLogsServiceRequest`, as [`decode_metrics`] does its own.
pub fn decode_logs<'a>(received: &Received<'a>, batch: &mut Batch<'a>) -> Result<(), Malformed> {
    match Media::of(&received.request) {
        Some(Media::Json) => logs_json::decode(received, batch),
        _ => logs_wire::decode(received, batch),
    }
}
