//! What somebody with the admin scope does to the store: deletes of series, at the path where Prometheus has them, and
//! merging everything now. Deletes and snapshots have a thread of their own, one for all of them: each has the store
//! flush, so they would only wait for one another.
//!
//! A token with that scope has no tenant, so a delete names one: `tenant` among the parameters, else the header
//! `X-Scope-OrgID`, else it is `default`.

use std::sync::Arc;

use axum::body::Body;
use http::Request;
use http::request::Parts;
use tokio::sync::oneshot;
use tsdb::{DeleteError, Store};

use crate::api::error::{ApiError, Kind};
use crate::api::params::{BACKWARDS, InvalidParam, Params};
use crate::api::{self, matcher_sets};
use crate::app::App;
use crate::pool::PoolError;
use crate::respond::{self, Answer};
use crate::system::refused_answer;
use crate::{driver, gate};

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Deletes what `match[]`, `start` and `end` select; 204.
    Delete,
    /// Has the blocks of which something is deleted rewritten without it, beginning now; 204 at once.
    CleanTombstones,
    /// Flushes and merges everything, as far as it will ever be merged; 204 when it is done.
    Compact,
}

/// Method, path, operation.
pub(crate) const ROUTES: &[(&str, &str, Operation)] = &[
    ("POST", "/api/v1/admin/tsdb/delete_series", Operation::Delete),
    ("PUT", "/api/v1/admin/tsdb/delete_series", Operation::Delete),
    ("POST", "/prometheus/api/v1/admin/tsdb/delete_series", Operation::Delete),
    ("PUT", "/prometheus/api/v1/admin/tsdb/delete_series", Operation::Delete),
    ("POST", "/api/v1/admin/tsdb/clean_tombstones", Operation::CleanTombstones),
    ("PUT", "/api/v1/admin/tsdb/clean_tombstones", Operation::CleanTombstones),
    ("POST", "/prometheus/api/v1/admin/tsdb/clean_tombstones", Operation::CleanTombstones),
    ("PUT", "/prometheus/api/v1/admin/tsdb/clean_tombstones", Operation::CleanTombstones),
    ("POST", "/api/v1/admin/tsdb/compact", Operation::Compact),
];

/// Snapshots and deletes that may wait for the one that is done.
pub const WAITING_MAX: usize = 4;

/// Runs a snapshot or a delete on the thread for these. It runs to its end even when nobody waits for it any more.
pub(crate) async fn run<T: Send + 'static>(
    app: &App,
    job: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ApiError> {
    app.upkeep.run(job).await.map_err(|error| match error {
        PoolError::Full => {
            unavailable(format!("{WAITING_MAX} snapshots and deletes wait for another one: try again later"))
        }
        PoolError::Panicked => {
            app.metrics.panics.add(1);
            ApiError::new(Kind::Internal, "the store failed at it")
        }
    })
}

/// Does one of [`ROUTES`].
pub(crate) async fn answer(app: Arc<App>, operation: Operation, request: Request<Body>) -> Answer {
    let (parts, body) = request.into_parts();
    if let Err(refused) = gate::admit_admin(&app, &parts) {
        return refused_answer(refused);
    }
    let done = match operation {
        Operation::Delete => delete(app, parts, body).await,
        Operation::CleanTombstones => opened(&app).map(|store| store.clean_tombstones()),
        Operation::Compact => compact(app).await,
    };
    match done {
        Ok(()) => respond::empty(),
        Err(error) => error.answer(),
    }
}

async fn compact(app: Arc<App>) -> Result<(), ApiError> {
    let store = opened(&app)?;
    let (told, done) = oneshot::channel();
    // It may take hours: not on a thread that has other work.
    let run = move || drop(told.send(store.compact_all()));
    driver::spawn("store-merge", run).map_err(|error| unavailable(error.to_string()))?;
    let done = done.await.map_err(|_| unavailable("the store is closed".to_owned()))?;
    done.map_err(|error| unavailable(error.to_string()))
}

fn opened(app: &App) -> Result<Store, ApiError> {
    app.store().cloned().ok_or_else(|| unavailable("the store is not open yet".to_owned()))
}

fn unavailable(what: String) -> ApiError {
    ApiError::new(Kind::Unavailable, what)
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
    let (tenant, mut range) = (tenant.id, params.range()?);
    if range.end_ms < range.start_ms {
        return Err(InvalidParam::new("end", BACKWARDS).into());
    }
    // Without an end it is all there is, however far away.
    if params.get("start").is_empty() {
        range.start_ms = i64::MIN;
    }
    if params.get("end").is_empty() {
        range.end_ms = i64::MAX;
    }
    let named = |error: ApiError| InvalidParam::new("match[]", error.message);
    let sets = matcher_sets(&params).map_err(named)?;
    if sets.is_empty() {
        return Err(ApiError::new(Kind::BadData, "no match[] parameter provided"));
    }
    let store = opened(&app)?;
    tracing::info!(tenant = tenant.0, start_ms = range.start_ms, end_ms = range.end_ms, "series are deleted");
    // It flushes and writes the manifest.
    match run(&app, move || store.delete_series(tenant, &sets, range)).await? {
        Ok(()) => Ok(()),
        Err(error @ DeleteError::TooLarge(_)) => Err(ApiError::new(Kind::Execution, error.to_string())),
        Err(error @ (DeleteError::TooMany | DeleteError::Io(_))) => Err(unavailable(error.to_string())),
    }
}
