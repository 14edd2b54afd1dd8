//! Weir's own routes: health, readiness, metrics, reload, the greeting.

use std::sync::Arc;

use dialects::exposition::{Format, Syntax};
use http::{HeaderMap, Request, Response, StatusCode, header};
use serde_json::json;

use crate::app::App;
use crate::listen::framing::Refused;
use crate::listen::guard::REFUSED_PATH;
use crate::metrics::text;
use crate::respond::{self, Answer};
use crate::{api, gate, monitor};

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The process answers.
    Healthy,
    /// Weir takes reads and writes.
    Ready,
    /// Applies the configuration as it is now.
    Reload,
    /// Weir's own metrics.
    Metrics,
    /// Weir's version and the one of Prometheus that it answers like.
    Version,
    /// Would stop Prometheus; Weir is stopped by a signal.
    Quit,
    /// How to send and read the first sample.
    Greeting,
    /// A request that was refused for its framing; see [`crate::listen::guard`].
    Refused,
}

/// Method, path, action.
pub const ROUTES: &[(&str, &str, Action)] = &[
    ("GET", "/", Action::Greeting),
    ("GET", "/-/healthy", Action::Healthy),
    ("GET", "/-/ready", Action::Ready),
    ("GET", "/ready", Action::Ready),
    ("POST", "/-/reload", Action::Reload),
    ("PUT", "/-/reload", Action::Reload),
    ("POST", "/-/quit", Action::Quit),
    ("PUT", "/-/quit", Action::Quit),
    ("GET", "/version", Action::Version),
    ("GET", "/metrics", Action::Metrics),
    ("GET", "/-/refused/{reason}", Action::Refused),
];

/// Answers one of [`ROUTES`].
pub async fn answer<B>(app: &Arc<App>, action: Action, request: Request<B>) -> Answer {
    let (parts, _) = request.into_parts();
    match action {
        Action::Healthy => respond::text(StatusCode::OK, "Weir is healthy.\n"),
        Action::Ready => ready(app),
        Action::Reload => reload(app, &parts).await,
        Action::Metrics => metrics(app, &parts),
        Action::Version => version(app, &parts),
        Action::Quit => respond::text(StatusCode::FORBIDDEN, "Weir is stopped by a signal, not over HTTP.\n"),
        Action::Greeting => respond::text(StatusCode::OK, greeting(app, &parts)),
        Action::Refused => respond::error(StatusCode::NOT_FOUND, "not_found", "nothing is served here"),
    }
}

/// The answer to a request that the connection's guard refused, when `path` is the one that it puts in its place.
pub fn framing_refusal(app: &App, path: &str) -> Option<Answer> {
    let reason = path.strip_prefix(REFUSED_PATH)?;
    let refused = Refused::ALL.into_iter().find(|refused| refused.as_str() == reason)?;
    app.metrics.framing_refused.with(&[reason]).add(1);
    let status = StatusCode::from_u16(refused.status()).unwrap_or(StatusCode::BAD_REQUEST);
    Some(respond::closing(respond::error(status, "bad_data", &refused.to_string())))
}

/// A part of Weir that must work before Weir is ready.
struct Component {
    name: &'static str,
    ready: bool,
    detail: String,
}

fn component(name: &'static str, ready: bool, detail: impl Into<String>) -> Component {
    Component { name, ready, detail: detail.into() }
}

fn components(app: &App) -> Vec<Component> {
    let mut parts = vec![match app.store() {
        Some(_) => component("store", true, "open"),
        None => {
            let (done, all) = monitor::replayed(&app.progress);
            component("store", false, format!("replaying the write-ahead log: {done} of {all} segments"))
        }
    }];
    if let Some(status) = app.status() {
        let failing = match (status.wal_failing, status.log_failing) {
            (true, _) => "the last write failed",
            (false, true) => "the last write of log lines failed",
            (false, false) => "",
        };
        parts.push(component("wal", failing.is_empty(), failing));
        let low = if status.disk_low { "less is free than the reserve" } else { "" };
        parts.push(component("disk", !status.disk_low, low));
    }
    let stopping = if app.is_draining() { "stopping" } else { "" };
    parts.push(component("drain", !app.is_draining(), stopping));
    parts
}

/// Each component's name, and whether it is ready.
pub fn readiness(app: &App) -> Vec<(&'static str, bool)> {
    components(app).into_iter().map(|part| (part.name, part.ready)).collect()
}

/// What keeps Weir from being ready, a sentence for each component that is not.
pub fn amiss(app: &App) -> Vec<String> {
    let amiss = components(app).into_iter().filter(|part| !part.ready);
    amiss.map(|part| format!("{} is not ready: {}", part.name, part.detail)).collect()
}

fn ready(app: &App) -> Answer {
    let components = components(app);
    let all = components.iter().all(|part| part.ready);
    let list: Vec<_> = components
        .iter()
        .map(|part| json!({ "name": part.name, "ready": part.ready, "detail": part.detail }))
        .collect();
    let status = if all { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let answer = respond::json(status, json!({ "ready": all, "components": list }).to_string());
    if all { answer } else { respond::retry_after(answer, 5) }
}

async fn reload(app: &Arc<App>, parts: &http::request::Parts) -> Answer {
    if let Err(refused) = gate::admit_admin(app, parts) {
        return refused_answer(refused);
    }
    match reload_now(app).await {
        Ok(()) => respond::json(StatusCode::OK, json!({ "status": "success" }).to_string()),
        Err(why) => respond::error(StatusCode::BAD_REQUEST, "bad_data", &why),
    }
}

/// Applies the configuration as it is now, or says why nothing was applied.
pub async fn reload_now(app: &Arc<App>) -> Result<(), String> {
    let its = Arc::clone(app);
    // Files are read and may be written: not on a thread that serves sockets.
    let result = app.decoding.run(move || its.reloader.reload(&its)).await;
    result.unwrap_or_else(|error| Err(error.to_string()))
}

fn version(app: &App, parts: &http::request::Parts) -> Answer {
    match gate::admit(app, parts, gate::ANSWER_CREDENTIALS, admission::Scope::Read) {
        Ok(_) => respond::json(StatusCode::OK, api::build_info().to_string()),
        Err(refused) => refused_answer(refused),
    }
}

fn metrics(app: &App, parts: &http::request::Parts) -> Answer {
    if let Err(refused) = gate::admit_self_metrics(app, parts) {
        return refused_answer(refused);
    }
    monitor::refresh(app);
    let (content_type, text) = match accepted(&parts.headers) {
        Syntax::OpenMetrics(_) => (text::OPENMETRICS, text::openmetrics(&app.metrics)),
        Syntax::Text(_) | Syntax::Protobuf => (text::PROMETHEUS, text::prometheus(&app.metrics)),
    };
    respond::with_type(StatusCode::OK, content_type, text.into())
}

/// What the client likes best of what is text.
fn accepted(headers: &HeaderMap) -> Syntax {
    let values = headers.get_all(header::ACCEPT).into_iter().filter_map(|value| value.to_str().ok());
    let clauses = values.flat_map(|value| value.split(','));
    Format::negotiated(clauses.filter(|clause| !clause.contains("protobuf"))).syntax
}

/// What the gate's refusal is answered with where no dialect has its own statuses.
pub fn refused_answer(refused: admission::Refused) -> Answer {
    use admission::Refused;
    let (status, kind) = match refused {
        Refused::NoCredential | Refused::BadCredential => (StatusCode::UNAUTHORIZED, "unauthorized"),
        refused if refused.is_bad_request() => (StatusCode::BAD_REQUEST, "bad_data"),
        _ => (StatusCode::FORBIDDEN, "forbidden"),
    };
    let mut answer: Response<_> = respond::error(status, kind, &refused.to_string());
    if status == StatusCode::UNAUTHORIZED {
        let ways = http::HeaderValue::from_static("Basic realm=\"weir\", Bearer");
        answer.headers_mut().insert(header::WWW_AUTHENTICATE, ways);
    }
    answer
}

fn greeting(app: &App, parts: &http::request::Parts) -> String {
    let config = app.config();
    let client = gate::client(app, parts);
    let forwarded =
        client.as_ref().and_then(|client| Some((client.scheme.unwrap_or("http"), client.host.as_deref()?)));
    let base = match forwarded {
        // Unless the configuration names a URL, whoever came through a trusted proxy is shown the way back.
        Some((scheme, host)) if config.settings.general.external_url.0.is_none() => {
            format!("{scheme}://{host}")
        }
        _ => config.external_url.clone(),
    };
    two_lines(&base, &app.data_dir.display().to_string())
}

/// How to send and read the first sample; the lines work when pasted.
pub fn two_lines(base: &str, data_dir: &str) -> String {
    let base = base.trim_end_matches('/');
    let token = format!("$(cat {data_dir}/tenant-api-token-default)");
    format!(
        "Weir is here. Send a sample and read it back:\n\n\
         curl -H \"Authorization: Bearer {token}\" --data-binary 'first_sample 1' {base}/api/v1/import/prometheus\n\
         curl -H \"Authorization: Bearer {token}\" '{base}/api/v1/query?query=first_sample'\n"
    )
}
