//! What a Datadog Agent and Datadog's own clients send: series in three generations, sketches, service checks, events,
//! host metadata, logs.
//!
//! Every metrics route decodes to [`record::Record`]s, which [`translate`] turns into labels once for each new series. A
//! bad sample in a good payload costs itself and is counted, the answer is still 202 (with [`crate::reply::REJECTED`]):
//! an Agent drops the whole payload on a 400 and repeats it for ever on a 404 or a 422. For the same reason routes whose
//! content Weir does not keep are answered, and counted as *received, not kept*.

pub mod record;
pub mod translate;

mod checks;
mod encode;
mod event;
mod events;
mod fields;
#[cfg(test)]
mod hostile;
mod intake;
mod line_tags;
mod logs;
mod opening;
mod points;
mod reply;
mod series_json;
mod series_v1;
mod series_v2_json;
mod settings;
mod sketch;
mod submission;
#[cfg(test)]
mod tests;
mod v2;
mod v3;

pub use encode::SPEAKER;
pub use settings::{BareTags, Counts, DuplicateTags, HostTagsUse, Names, Profile, Settings};

use model::Batch;

use crate::{
    ByteLimits, Credential, Dialect, Door, Encoding, Kind, Malformed, Received, Refusal, ReplyTo, Request,
    Route, Statuses,
};

/// The dialect's row.
pub static DIALECT: Dialect = Dialect {
    name: "datadog",
    title: "Datadog Agent and API clients",
    routes: ROUTES,
    credentials: &[
        Credential::Header("dd-api-key"),
        Credential::Query("api_key"),
        Credential::Query("dd-api-key"),
        Credential::Path,
    ],
    limits: ByteLimits { wire: 8 << 20, decoded: 64 << 20 },
    encodings: &[Encoding::Identity, Encoding::Deflate, Encoding::Gzip, Encoding::Zstd],
    inner: None,
    encoding_aliases: &[("zstd1", Encoding::Zstd)],
    statuses: Statuses {
        stored: 202,
        no_credential: 403,
        bad_credential: 403,
        unsupported: 400,
        partial: 202,
        over_rate: 429,
        ..Statuses::USUAL
    },
};

/// Each path stands at the root and under `/datadog`.
macro_rules! routes {
    ($($method:literal $path:literal => $kind:expr;)*) => {
        &[$(route($method, $path, $kind), route($method, concat!("/datadog", $path), $kind)),*]
    };
}

const ROUTES: &[Route] = routes! {
    "GET" "/api/v1/validate" => Kind::Check(reply::valid);
    "POST" "/api/v2/series" => ingest(series_v2, reply::no_errors);
    "POST" "/api/intake/metrics/v3/series" => ingest(v3::decode, reply::empty);
    "POST" "/api/intake/metrics/v3/sketches" => ingest(v3::decode, reply::empty);
    "POST" "/api/beta/sketches" => ingest(sketch::decode, reply::empty);
    "POST" "/api/v1/sketches" => ingest(sketch::decode, reply::empty);
    "POST" "/api/v1/distribution_points" => ingest(points::decode, reply::status_ok);
    "POST" "/api/v1/series" => ingest(series_v1::decode, reply::status_ok);
    "POST" "/api/v1/check_run" => ingest(checks::decode, reply::status_ok);
    "POST" "/intake" => ingest(intake::decode, reply::status_ok);
    "POST" "/api/v1/events" => ingest(events::decode, reply::event);
    "POST" "/api/v2/logs" => ingest(logs::decode, reply::empty);
    "POST" "/v1/input" => ingest(logs::decode, reply::empty);
    "POST" "/v1/input/{key}" => ingest(logs::decode, reply::empty);
    "POST" "/api/intake/metrics/v3beta/series" => DROP;
    "POST" "/api/intake/metrics/v3beta/sketches" => DROP;
    "POST" "/api/v1/metadata" => DROP;
    "POST" "/api/v2/events" => DROP;
    "POST" "/api/v2/service_checks" => DROP;
    "POST" "/api/v2/host_metadata" => DROP;
    "POST" "/api/v1/collector" => DROP;
    "POST" "/api/v1/container" => DROP;
    "POST" "/api/v1/discovery" => DROP;
    "POST" "/api/v1/connections" => DROP;
    "POST" "/api/v2/proclcycle" => DROP;
    "POST" "/api/v1/orchestrator" => DROP;
    "POST" "/api/v2/orch" => DROP;
    "POST" "/api/v2/orchmanif" => DROP;
    "POST" "/api/v2/databasequery" => DROP;
    "POST" "/api/v2/dbmmetrics" => DROP;
    "POST" "/api/v2/dbmmetadata" => DROP;
    "POST" "/api/v2/dbmactivity" => DROP;
    "POST" "/api/v2/dbmhealth" => DROP;
    "POST" "/api/v2/ndm" => DROP;
    "POST" "/api/v2/ndmtraps" => DROP;
    "POST" "/api/v2/ndmflow" => DROP;
    "POST" "/api/v2/ndmconfig" => DROP;
    "POST" "/api/v2/netflow" => DROP;
    "POST" "/api/v2/netpath" => DROP;
    "POST" "/api/v2/contlcycle" => DROP;
    "POST" "/api/v2/contimage" => DROP;
    "POST" "/api/v2/sbom" => DROP;
    "POST" "/api/v2/softinv" => DROP;
    "POST" "/api/v2/synthetics" => DROP;
};

const DROP: Kind = Kind::Discard(reply::empty);

const fn route(method: &'static str, path: &'static str, kind: Kind) -> Route {
    Route { door: Door::Http { method, path }, kind, claims: Some(is_no_form) }
}

/// On a path that Prometheus has too: its clients ask with forms.
fn is_no_form(request: &Request<'_>) -> bool {
    let media = request.content_type.split(';').next().unwrap_or("").trim();
    !request.content_encoding.is_empty() || !media.is_empty() && media != "application/x-www-form-urlencoded"
}

/// An ingest route that takes any media type: what counts is what the body is.
const fn ingest(decode: crate::Decode, reply: ReplyTo) -> Kind {
    Kind::Ingest { accept: any, decode, reply }
}

fn any(_: &Request<'_>) -> Result<(), Refusal> {
    Ok(())
}

/// Series v2 have two forms under one path.
fn series_v2<'a>(received: &Received<'a>, batch: &mut Batch<'a>) -> Result<(), Malformed> {
    let media = received.request.content_type.split(';').next().unwrap_or("").trim();
    match media {
        _ if received.body.is_empty() => Ok(()),
        "application/x-protobuf" => v2::decode(received, batch),
        _ => series_v2_json::decode(received, batch),
    }
}
