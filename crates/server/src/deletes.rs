//! Deletes of series in a range of time, at the path where Prometheus has them.
//!
//! Whoever deletes has the admin scope. Such a token has no tenant, so the request names one: `tenant` among the
//! parameters, else the header `X-Scope-OrgID`, else it is `default`.

use std::sync::Arc;

use axum::body::Body;
use http::Request;
use http::request::Parts;
use tsdb::DeleteError;

use crate::api::error::{ApiError, Kind};
use crate::api::params::Params;
use crate::api::{self, matcher_sets};
use crate::app::App;
use crate::gate;
use crate::respond::{self, Answer};
use crate::system::refused_answer;

/// Method and path.
pub(crate) const ROUTES: &[(&str, &str)] = &[
    ("POST", "/api/v1/admin/tsdb/delete_series"),
    ("PUT", "/api/v1/admin/tsdb/delete_series"),
    ("POST", "/prometheus/api/v1/admin/tsdb/delete_series"),
    ("PUT", "/prometheus/api/v1/admin/tsdb/delete_series"),
];

/// Deletes what `match[]`, `start` and `end` select; 204.
pub(crate) async fn answer(app: Arc<App>, request: Request<Body>) -> Answer {
    let (parts, body) = request.into_parts();
    if let Err(refused) = gate::admit_admin(&app, &parts) {
        return refused_answer(refused);
    }
    match delete(app, parts, body).await {
        Ok(()) => respond::empty(),
        Err(error) => error.answer(),
    }
}

async fn delete(app: Arc<App>, parts: Parts, body: Body) -> Result<(), ApiError> {
    let form = api::form(&app, &parts, body).await?;
    let params = Params::parse(&form, parts.uri.query().unwrap_or(""));
    let named = parts.headers.get("x-scope-orgid").and_then(|value| value.to_str().ok());
    let name = match (params.get("tenant"), named) {
        ("", header) => header.unwrap_or(admission::state::DEFAULT),
        (name, _) => name,
    };
    let authority = app.authority();
    let tenant = authority
        .tenant(name)
        .ok_or_else(|| ApiError::new(Kind::BadData, format!("there is no tenant {name:?}")))?;
    let (tenant, range) = (tenant.id, params.range()?);
    let sets = matcher_sets(&params)?;
    if sets.is_empty() {
        return Err(ApiError::new(Kind::BadData, "no match[] parameter provided"));
    }
    let unavailable = |what: String| ApiError::new(Kind::Unavailable, what);
    let store = app.store().cloned().ok_or_else(|| unavailable("the store is not open yet".to_owned()))?;
    tracing::info!(tenant = tenant.0, start_ms = range.start_ms, end_ms = range.end_ms, "series are deleted");
    // It flushes and writes the manifest: not on a thread that serves sockets.
    let deleted = app.decoding.run(move || store.delete_series(tenant, &sets, range)).await;
    match deleted.map_err(|error| unavailable(error.to_string()))? {
        Ok(()) => Ok(()),
        Err(error @ DeleteError::TooLarge(_)) => Err(ApiError::new(Kind::Execution, error.to_string())),
        Err(error @ (DeleteError::TooMany | DeleteError::Io(_))) => Err(unavailable(error.to_string())),
    }
}
