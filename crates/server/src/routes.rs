//! Every route in one table: the dialects' doors from their registry, the query API, administration, the system's own.
//!
//! The table is data so that a test can list each path with its owner, a 404 can name the nearest one, and no route
//! exists that is not in it. axum only matches paths.

use std::collections::{BTreeSet, HashMap};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::routing::{MethodFilter, on};
use dialects::{Door, Kind, matches};
use http::request::Parts;
use http::{HeaderValue, Method, Request, StatusCode, Version, header};
use http_body::Body as _;

use crate::api::{self, Endpoint};
use crate::app::App;
use crate::config::DialectConfig;
use crate::control::admin::Operation;
use crate::ingest::{self, Entry, Frame, Task};
use crate::respond::{self, Answer};
use crate::{account, admin, exposures, gate, grpc, outputs, snapshots, system, unknown, upkeep};

/// One route.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Upper-case method.
    pub method: &'static str,
    /// Path, parameters in braces.
    pub path: &'static str,
    /// Who answers: a dialect's name, `query`, `admin` or `system`.
    pub owner: &'static str,
    /// What is done.
    pub action: Action,
    /// Where another row has the same path and method: which requests are this one's.
    pub claims: Option<fn(&dialects::Request<'_>) -> bool>,
}

/// What is done with a request.
#[derive(Clone, Copy, Debug)]
pub enum Action {
    /// A body is stored.
    Ingest(Entry),
    /// A dialect answers from what it knows.
    Answer(fn(&dialects::Request<'_>) -> dialects::Reply),
    /// A dialect says in its own words whether Weir is ready.
    Health(fn(&[String]) -> dialects::Reply),
    /// A question is answered from the store.
    Query(Endpoint),
    /// Another Prometheus reads from the store.
    Read,
    /// Another Prometheus scrapes the store.
    Federate,
    /// Somebody reads what was sent, as a page of metrics.
    OpenMetrics,
    /// Somebody reads what his account uses.
    Account(account::Form),
    /// A browser asks whether a page may ask.
    Preflight,
    /// Tenants and tokens.
    Admin(Operation),
    /// Something is done to the store.
    Upkeep(upkeep::Operation),
    /// Snapshots.
    Snapshots(snapshots::Operation),
    /// How outputs are.
    Outputs,
    /// Health, metrics, reload, greeting.
    System(system::Action),
}

/// Every route; a dialect that `configured` does not name is as its row says.
pub fn table(configured: &HashMap<&'static str, DialectConfig>) -> Vec<Row> {
    let mut rows = Vec::new();
    for dialect in dialects::ALL {
        let standard = DialectConfig { enabled: true, limits: dialect.limits, lowered: false };
        let DialectConfig { enabled, limits, .. } = *configured.get(dialect.name).unwrap_or(&standard);
        if !enabled {
            continue;
        }
        for route in dialect.routes {
            // Lines have listeners of their own.
            let Some((method, path)) = route.door.http() else { continue };
            let frame = if matches!(route.door, Door::Grpc { .. }) { Frame::Grpc } else { Frame::Bare };
            let entry = |task, reply| Action::Ingest(Entry { dialect, limits, frame, task, reply });
            let action = match route.kind {
                Kind::Ingest { accept, decode, reply } => entry(Task::Store { accept, decode }, reply),
                Kind::Discard(reply) => entry(Task::Discard, reply),
                Kind::Check(reply) => entry(Task::Check, reply),
                Kind::Answer(answer) => Action::Answer(answer),
                Kind::Health(answer) => Action::Health(answer),
                Kind::Lines { .. } => continue,
            };
            let claims = route.claims;
            rows.push(Row { method, path, owner: dialect.name, action, claims });
        }
    }
    let query = |(method, path, endpoint)| Row {
        method,
        path,
        owner: "query",
        action: Action::Query(endpoint),
        claims: None,
    };
    rows.extend(api::ROUTES.iter().copied().map(query));
    let read = |(method, path)| Row { method, path, owner: "query", action: Action::Read, claims: None };
    rows.extend(api::read::ROUTES.iter().copied().map(read));
    let federate =
        |(method, path)| Row { method, path, owner: "query", action: Action::Federate, claims: None };
    rows.extend(api::federate::ROUTES.iter().copied().map(federate));
    let openmetrics =
        |(method, path)| Row { method, path, owner: "query", action: Action::OpenMetrics, claims: None };
    rows.extend(api::openmetrics::ROUTES.iter().copied().map(openmetrics));
    let account = |(method, path, form)| {
        let action = Action::Account(form);
        Row { method, path, owner: "query", action, claims: None }
    };
    rows.extend(account::ROUTES.iter().copied().map(account));
    let paths: BTreeSet<&str> = rows.iter().filter(|row| row.owner == "query").map(|row| row.path).collect();
    let preflight =
        |path| Row { method: "OPTIONS", path, owner: "query", action: Action::Preflight, claims: None };
    rows.extend(paths.into_iter().map(preflight));
    let admin = |(method, path, operation)| Row {
        method,
        path,
        owner: "admin",
        action: Action::Admin(operation),
        claims: None,
    };
    rows.extend(admin::ROUTES.iter().copied().map(admin));
    let upkeep = |(method, path, operation)| Row {
        method,
        path,
        owner: "admin",
        action: Action::Upkeep(operation),
        claims: None,
    };
    rows.extend(upkeep::ROUTES.iter().copied().map(upkeep));
    let snapshot = |(method, path, operation)| {
        let action = Action::Snapshots(operation);
        Row { method, path, owner: "admin", action, claims: None }
    };
    rows.extend(snapshots::ROUTES.iter().copied().map(snapshot));
    let shown = |(method, path)| Row { method, path, owner: "admin", action: Action::Outputs, claims: None };
    rows.extend(outputs::ROUTES.iter().copied().map(shown));
    let system = |(method, path, action)| Row {
        method,
        path,
        owner: "system",
        action: Action::System(action),
        claims: None,
    };
    rows.extend(system::ROUTES.iter().copied().map(system));
    rows
}

/// The router over [`table`].
pub fn router(app: &Arc<App>) -> Router {
    let rows: Arc<[Row]> = table(&app.config().dialects).into();
    let mut router = Router::new();
    for (first, row) in rows.iter().copied().enumerate() {
        let is_at = |other: &&Row| (other.method, other.path) == (row.method, row.path);
        if rows[..first].iter().any(|other| is_at(&other)) {
            continue;
        }
        let here: Arc<[Row]> = rows[first..].iter().filter(is_at).copied().collect();
        let contested = here.len() > 1 || is_contested(&rows, row);
        let Some(filter) = method_filter(row.method) else { continue };
        let mut add = |path: &str| {
            let (app, rows, here) = (Arc::clone(app), Arc::clone(&rows), Arc::clone(&here));
            let handler = move |request: Request<Body>| {
                let (parts, body) = request.into_parts();
                let row = if contested { owner_of(&here, &parts) } else { Some(row) };
                edge(Arc::clone(&app), row, Arc::clone(&rows), Request::from_parts(parts, body))
            };
            router = std::mem::take(&mut router).route(path, on(filter, handler));
        };
        add(row.path);
        // Old Datadog Agents, among others, put a slash at the end.
        if is_dialect(row) && !row.path.ends_with('/') {
            add(&format!("{}/", row.path));
        }
    }
    let lost = |app: &Arc<App>| {
        let (app, rows) = (Arc::clone(app), Arc::clone(&rows));
        move |request: Request<Body>| edge(Arc::clone(&app), None, Arc::clone(&rows), request)
    };
    router.method_not_allowed_fallback(lost(app)).fallback(lost(app))
}

/// Of several rows at one path and method, the one that claims a request, else the one that claims none.
fn owner_of(here: &[Row], parts: &Parts) -> Option<Row> {
    let claims = |row: &&Row| row.claims.is_some() && is_claimed(**row, parts);
    here.iter().find(claims).or_else(|| here.iter().find(|row| row.claims.is_none())).copied()
}

/// Whether a dialect's row that claims requests is at a path of somebody else.
fn is_contested(rows: &[Row], row: Row) -> bool {
    row.claims.is_some() && rows.iter().any(|other| other.owner != row.owner && other.path == row.path)
}

/// Whether a request on a contested path belongs to the dialect's row.
fn is_claimed(row: Row, parts: &Parts) -> bool {
    let Action::Ingest(Entry { dialect, .. }) = row.action else { return true };
    let claims = row.claims.is_some_and(|claims| claims(&ingest::head(parts)));
    claims || gate::presents_its_own(parts, dialect.credentials)
}

fn is_dialect(row: Row) -> bool {
    matches!(row.action, Action::Ingest(_) | Action::Answer(_) | Action::Health(_))
}

fn method_filter(method: &str) -> Option<MethodFilter> {
    MethodFilter::try_from(Method::from_bytes(method.as_bytes()).ok()?).ok()
}

/// What surrounds every request: contradictions refused, panics caught, the answer counted.
async fn edge(app: Arc<App>, row: Option<Row>, rows: Arc<[Row]>, request: Request<Body>) -> Answer {
    let began = app.env.clock.monotonic();
    let version = request.version();
    let method = request.method().clone();
    let has_body = !request.body().is_end_stream();
    let asks = row.is_some_and(|row| row.owner == "query");
    let origin = request.headers().get(header::ORIGIN).cloned();
    let ingests = matches!(row, Some(Row { action: Action::Ingest(_), .. }));
    let work = dispatch(Arc::clone(&app), row, rows, request);
    let mut answer = match caught(work).await {
        Some(answer) => answer,
        None => {
            app.metrics.panics.add(1);
            tracing::error!("a request ended in a panic");
            respond::closing(respond::error(StatusCode::INTERNAL_SERVER_ERROR, "internal", "internal error"))
        }
    };
    // Only ingest knows whether it read its body; everyone else may have refused before.
    if has_body && !ingests && !answer.status().is_success() {
        answer = respond::closing(answer);
    }
    if version == Version::HTTP_2 {
        answer.headers_mut().remove(header::CONNECTION);
    }
    if asks {
        app.config().cors.allow(origin.as_ref(), answer.headers_mut());
    }
    let owner = row.map_or("none", |row| row.owner);
    if let Some(row) = row.filter(|_| owner == dialects::datadog::DIALECT.name) {
        let took = app.env.clock.monotonic().saturating_sub(began);
        let (route, status) = (route_label(row.path), answer.status());
        app.metrics.dd_seconds.with(&[&route, method.as_str(), status.as_str()]).observe(took);
    }
    app.metrics.requests.with(&[owner, answer.status().as_str()]).add(1);
    answer
}

/// A path as a label: `/datadog/api/v1/series` is `api_v1_series`.
fn route_label(path: &str) -> String {
    let path = path.strip_prefix("/datadog").unwrap_or(path);
    path.trim_matches('/').replace('/', "_").replace(['{', '}'], "")
}

async fn dispatch(app: Arc<App>, row: Option<Row>, rows: Arc<[Row]>, request: Request<Body>) -> Answer {
    if let Some(refused) = system::framing_refusal(&app, request.uri().path()) {
        return refused;
    }
    let (parts, body) = request.into_parts();
    if gate::contradicts_itself(&parts) {
        app.metrics.framing_refused.with(&["many_hosts"]).add(1);
        let message = "the request names two different hosts";
        return respond::closing(respond::error(StatusCode::BAD_REQUEST, "bad_data", message));
    }
    if gate::is_misdirected(&app, &parts) {
        app.metrics.framing_refused.with(&["misdirected"]).add(1);
        let message = "the request is for another host than the connection";
        return respond::closing(respond::error(StatusCode::MISDIRECTED_REQUEST, "bad_data", message));
    }
    let Some(row) = row else {
        let exposed = exposures::answer(Arc::clone(&app), parts.clone()).await;
        return exposed.unwrap_or_else(|| lost(&app, &rows, &parts));
    };
    let request = Request::from_parts(parts, body);
    match row.action {
        Action::Ingest(entry) if entry.frame == Frame::Grpc => grpc::ingest(app, entry, request).await,
        Action::Ingest(entry) => ingest::ingest(app, entry, request).await,
        Action::Health(answer) => respond::reply(answer(&system::amiss(&app))),
        Action::Answer(answer) => {
            let (parts, _) = request.into_parts();
            respond::reply(answer(&ingest::head(&parts)))
        }
        Action::Query(endpoint) => api::answer(app, endpoint, request).await,
        Action::Read => api::read::answer(app, request).await,
        Action::Federate => api::federate::answer(app, request).await,
        Action::OpenMetrics => api::openmetrics::answer(app, request).await,
        Action::Account(form) => account::answer(app, form, request).await,
        Action::Preflight => respond::empty(),
        Action::Admin(operation) => admin::answer(app, operation, request).await,
        Action::Upkeep(operation) => upkeep::answer(app, operation, request).await,
        Action::Snapshots(operation) => snapshots::answer(app, operation, request).await,
        Action::Outputs => outputs::answer(app, request).await,
        Action::System(action) => system::answer(&app, action, request).await,
    }
}

/// Polls `work` until it is done, or panics: then `None`.
async fn caught<T>(work: impl Future<Output = T>) -> Option<T> {
    let mut work = std::pin::pin!(work);
    std::future::poll_fn(move |cx| {
        match std::panic::catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx))) {
            Ok(poll) => poll.map(Some),
            Err(_) => std::task::Poll::Ready(None),
        }
    })
    .await
}

/// No route: 405 when the path has other methods, else 404 with the nearest path.
fn lost(app: &App, rows: &[Row], parts: &Parts) -> Answer {
    let path = parts.uri.path();
    let is_open = |row: &Row| !is_contested(rows, *row) || is_claimed(*row, parts);
    let methods: Vec<&str> =
        rows.iter().filter(|row| matches(row.path, path) && is_open(row)).map(|row| row.method).collect();
    if !methods.is_empty() {
        let allowed = methods.join(", ");
        let message = format!("this path takes {allowed}, not {}", parts.method);
        let status = StatusCode::METHOD_NOT_ALLOWED;
        let mut answer = match unknown::is_datadog(app, parts) {
            true => respond::json(status, serde_json::json!({ "errors": [message] }).to_string()),
            false => respond::error(status, "bad_data", &message),
        };
        if let Ok(value) = HeaderValue::try_from(allowed) {
            answer.headers_mut().insert(header::ALLOW, value);
        }
        return answer;
    }
    app.metrics.not_found.add(1);
    if grpc::is_call(&parts.headers) {
        return grpc::unimplemented(path);
    }
    let nearest = nearest(rows, path);
    if unknown::is_datadog(app, parts) {
        return unknown::answer(app, parts, nearest);
    }
    tracing::debug!(%path, nearest, "no such route");
    let body = serde_json::json!({
        "status": "error",
        "errorType": "not_found",
        "error": format!("nothing is served here; the nearest path is {nearest}"),
        "nearest": nearest,
    });
    respond::json(StatusCode::NOT_FOUND, body.to_string())
}

fn nearest(rows: &[Row], path: &str) -> &'static str {
    // The paths are short: of a longer one only its beginning is compared.
    let asked: Vec<char> = path.chars().take(128).collect();
    let distance = |row: &&Row| distance(&asked, row.path);
    rows.iter().min_by_key(distance).map_or("/", |row| row.path)
}

/// Levenshtein's distance.
fn distance(a: &[char], b: &str) -> usize {
    let mut row: Vec<usize> = (0..=a.len()).collect();
    for (j, c) in b.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = j + 1;
        for i in 0..a.len() {
            let substitute = diagonal + usize::from(a[i] != c);
            diagonal = row[i + 1];
            row[i + 1] = substitute.min(row[i] + 1).min(row[i + 1] + 1);
        }
    }
    row[a.len()]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// The table of design.md's paths, as far as its routes exist: a new owner of a path is a decision, not an accident.
    #[test]
    fn every_route_stands_once_with_its_owner() {
        let mut owners = BTreeMap::new();
        // Each with the owner that comes first in the table.
        const SHARED: [(&str, &str, &str); 4] = [
            ("/api/v1/series", "POST", "datadog"),
            ("/api/prom/push", "POST", "remote_write"),
            ("/metrics", "POST", "remote_write"),
            ("/betterstack/metrics", "POST", "remote_write"),
        ];
        for row in table(&HashMap::new()) {
            let before = owners.insert((row.path, row.method), row.owner);
            let is_shared = || before.is_some_and(|owner| SHARED.contains(&(row.path, row.method, owner)));
            assert!(before.is_none() || is_shared(), "{} {} has two owners", row.method, row.path);
        }
        let fixed = [
            ("/", "GET", "system"),
            ("/-/healthy", "GET", "system"),
            ("/-/ready", "GET", "system"),
            ("/ready", "GET", "system"),
            ("/-/reload", "POST", "system"),
            ("/metrics", "GET", "system"),
            ("/metrics", "POST", "betterstack"),
            ("/", "POST", "betterstack"),
            ("/api/v1/write", "POST", "remote_write"),
            ("/api/v1/push", "POST", "remote_write"),
            ("/prometheus/api/v1/write", "POST", "remote_write"),
            ("/api/v1/import/prometheus", "POST", "text"),
            ("/loki/api/v1/push", "POST", "loki"),
            ("/api/v1/logs/push", "POST", "loki"),
            ("/api/v1/series", "POST", "query"),
            ("/api/v1/series", "GET", "query"),
            ("/api/v1/metadata", "GET", "query"),
            ("/api/v1/metadata", "POST", "datadog"),
            ("/datadog/api/v1/validate", "GET", "datadog"),
            ("/write", "POST", "influx"),
            ("/influx/api/v2/write", "POST", "influx"),
            ("/query", "POST", "influx"),
            ("/ping", "HEAD", "influx"),
            ("/health", "GET", "influx"),
            ("/opentsdb/api/put", "POST", "opentsdb"),
            ("/api/v1/read", "POST", "query"),
            ("/prometheus/api/v1/read", "POST", "query"),
            ("/federate", "GET", "query"),
            ("/prometheus/federate", "GET", "query"),
            ("/api/v1/openmetrics", "GET", "query"),
            ("/api/v1/openmetrics", "POST", "query"),
            ("/api/v1/account/metrics", "GET", "query"),
            ("/api/v1/account/metrics.json", "GET", "query"),
            ("/api/iacp/v3/metrics", "GET", "query"),
            ("/prometheus/api/v1/query", "POST", "query"),
            ("/api/v1/label/{name}/values", "GET", "query"),
            ("/api/v1/label/{name}/values", "OPTIONS", "query"),
            ("/api/v1/admin/tenants", "POST", "admin"),
            ("/api/v1/admin/snapshots", "POST", "admin"),
            ("/api/v1/admin/tsdb/snapshot", "POST", "admin"),
            ("/prometheus/api/v1/admin/tsdb/clean_tombstones", "PUT", "admin"),
            ("/api/v1/status/flags", "GET", "query"),
            ("/-/quit", "PUT", "system"),
            ("/version", "GET", "system"),
        ];
        for (path, method, owner) in fixed {
            assert_eq!(owners.get(&(path, method)), Some(&owner), "{method} {path}");
        }
        // Only GET: clients switch from POST on a 405.
        for path in [
            "/prometheus/api/v1/metadata",
            "/api/v1/label/{name}/values",
            "/api/v1/status/buildinfo",
            "/api/v1/rules",
        ] {
            assert!(!owners.contains_key(&(path, "POST")), "{path}");
        }
    }

    #[test]
    fn a_lost_request_is_told_the_nearest_path() {
        let rows = table(&HashMap::new());
        for (asked, wanted) in [
            ("/api/v1/wirte", "/api/v1/write"),
            ("/api/v1/querry_range", "/api/v1/query_range"),
            ("/-/health", "/-/healthy"),
            ("/prometheus/api/v1/label", "/prometheus/api/v1/labels"),
        ] {
            assert_eq!(nearest(&rows, asked), wanted);
        }
        assert!(!nearest(&rows, &"/x".repeat(40_000)).is_empty());
        assert!(matches("/api/v1/label/{name}/values", "/api/v1/label/job/values"));
        assert!(!matches("/api/v1/label/{name}/values", "/api/v1/label//values"));
    }
}
