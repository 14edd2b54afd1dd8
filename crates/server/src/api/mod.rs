//! The query API: Prometheus' HTTP API over the store, at `/api/v1` and `/prometheus/api/v1`.
//!
//! Every endpoint is a function from [`Ask`] to an [`Answered`]; this file reads the parameters, finds the tenant,
//! runs the function on a query thread under the tenant's budget, and shapes what comes back. Neither `features` nor
//! `application` nor `status/flags` exist here: their presence makes Grafana take Weir for another product.

pub mod encode;
pub mod error;
mod exemplars;
pub mod federate;
mod find;
mod matrix;
mod metadata;
pub mod params;
mod query;
pub mod read;
mod stats;
mod status;

use std::sync::Arc;
use std::time::Duration;

use admission::{Scope, Tenant};
use axum::body::Body;
use http::request::Parts;
use http::{HeaderValue, Method, Request, StatusCode, header};
use model::Budget;
use tsdb::Store;

use crate::app::App;
use crate::body;
use crate::compress::{self, Coding};
use crate::config::Config;
use crate::gate;
use crate::respond::{self, Answer};
use crate::system::refused_answer;
use error::{ApiError, Kind};
use params::Params;

pub(crate) use find::matcher_sets;

/// Bytes of a form at most.
const FORM_BYTES_MAX: usize = 4 << 20;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// An expression at one time.
    Query,
    /// An expression over a range of times.
    QueryRange,
    /// Exemplars of the series that an expression selects.
    QueryExemplars,
    /// An expression in its usual form.
    FormatQuery,
    /// Label sets.
    Series,
    /// Label names.
    Labels,
    /// Values of one label.
    LabelValues,
    /// Types, units, helps.
    Metadata,
    /// Something that Weir has none of, or knows without looking.
    Fixed(status::Fixed),
}

macro_rules! routes {
    ($($method:literal $path:literal $endpoint:expr;)*) => {
        /// Method, path, endpoint; each path also under `/prometheus`.
        pub const ROUTES: &[(&str, &str, Endpoint)] = &[
            $(
                ($method, concat!("/api/v1/", $path), $endpoint),
                ($method, concat!("/prometheus/api/v1/", $path), $endpoint),
            )*
        ];
    };
}

routes! {
    "GET" "query" Endpoint::Query;
    "POST" "query" Endpoint::Query;
    "GET" "query_range" Endpoint::QueryRange;
    "POST" "query_range" Endpoint::QueryRange;
    "GET" "query_exemplars" Endpoint::QueryExemplars;
    "POST" "query_exemplars" Endpoint::QueryExemplars;
    "GET" "format_query" Endpoint::FormatQuery;
    "POST" "format_query" Endpoint::FormatQuery;
    "GET" "series" Endpoint::Series;
    "POST" "series" Endpoint::Series;
    "GET" "labels" Endpoint::Labels;
    "POST" "labels" Endpoint::Labels;
    "GET" "label/{name}/values" Endpoint::LabelValues;
    "GET" "metadata" Endpoint::Metadata;
    "GET" "status/buildinfo" Endpoint::Fixed(status::Fixed::BuildInfo);
    "GET" "status/runtimeinfo" Endpoint::Fixed(status::Fixed::RuntimeInfo);
    "GET" "rules" Endpoint::Fixed(status::Fixed::Rules);
    "GET" "alerts" Endpoint::Fixed(status::Fixed::Alerts);
    "GET" "alertmanagers" Endpoint::Fixed(status::Fixed::Alertmanagers);
    "GET" "targets" Endpoint::Fixed(status::Fixed::Targets);
}

impl Endpoint {
    /// The value of the self-metrics' label `endpoint`.
    fn as_str(self) -> &'static str {
        match self {
            Self::Query => "query",
            Self::QueryRange => "query_range",
            Self::QueryExemplars => "query_exemplars",
            Self::FormatQuery => "format_query",
            Self::Series => "series",
            Self::Labels => "labels",
            Self::LabelValues => "label_values",
            Self::Metadata => "metadata",
            Self::Fixed(_) => "status",
        }
    }

    fn function(self) -> fn(&Ask, &Budget) -> Result<Answered, ApiError> {
        match self {
            Self::Query => query::instant,
            Self::QueryRange => query::range,
            Self::QueryExemplars => exemplars::exemplars,
            Self::FormatQuery => query::format,
            Self::Series => find::series,
            Self::Labels => find::label_names,
            Self::LabelValues => find::label_values,
            Self::Metadata => metadata::metadata,
            Self::Fixed(_) => status::fixed,
        }
    }
}

/// A question with everything that is needed to answer it.
pub(crate) struct Ask {
    app: Arc<App>,
    config: Arc<Config>,
    store: Store,
    tenant: Arc<Tenant>,
    endpoint: Endpoint,
    params: Params,
    path: String,
    now_ms: i64,
    /// When it came, on the monotonic clock.
    asked: Duration,
}

impl Ask {
    /// The parameter `query`, in the language that the configuration turns on.
    fn expression(&self) -> Result<promql::Expr, promql::ParseError> {
        let syntax = promql::feature::syntax(&self.config.query_features);
        promql::parse_with(self.params.get("query"), &syntax)
    }
}

/// A good answer.
#[derive(Debug, Default)]
pub(crate) struct Answered {
    /// The answer up to and with its `data`, begun by [`encode::begin`]; none = 204.
    begun: Option<String>,
    warnings: Vec<String>,
    infos: Vec<String>,
}

impl Answered {
    fn begun(begun: String) -> Self {
        Self { begun: Some(begun), ..Self::default() }
    }
}

/// Answers one of [`ROUTES`].
pub async fn answer(app: Arc<App>, endpoint: Endpoint, request: Request<Body>) -> Answer {
    let began = app.env.clock.monotonic();
    let (parts, body) = request.into_parts();
    let tenant = match gate::admit(&app, &parts, gate::ANSWER_CREDENTIALS, Scope::Read) {
        Ok(grant) => grant.tenant,
        Err(refused) => return refused_answer(refused),
    };
    let Some(store) = app.store().cloned() else { return not_ready(&app) };
    let result = match form(&app, &parts, body).await {
        Ok(form) => {
            let ask = Ask {
                config: app.config.load_full(),
                store,
                tenant,
                endpoint,
                params: Params::parse(&form, parts.uri.query().unwrap_or("")),
                path: parts.uri.path().to_owned(),
                now_ms: app.env.clock.now_ms(),
                asked: app.env.clock.monotonic(),
                app: Arc::clone(&app),
            };
            run(ask, Coding::preferred(&parts.headers)).await
        }
        Err(error) => Err(error),
    };
    let outcome = result.as_ref().map_or_else(|error| error.kind.as_str(), |_| "success");
    count(&app, endpoint.as_str(), began, outcome);
    result.unwrap_or_else(|error| error.answer())
}

fn count(app: &App, endpoint: &str, began: Duration, outcome: &str) {
    app.metrics.queries.with(&[endpoint, outcome]).add(1);
    let took = app.env.clock.monotonic().saturating_sub(began);
    app.metrics.query_seconds.with(&[endpoint]).observe(took);
}

async fn run(ask: Ask, coding: Option<Coding>) -> Result<Answer, ApiError> {
    if let Endpoint::Fixed(_) = ask.endpoint {
        let answered = ask.endpoint.function()(&ask, &Budget::new(0))?;
        return Ok(success(answered, None));
    }
    let time = timeout(&ask)?;
    let app = Arc::clone(&ask.app);
    let tenant = ask.tenant.id;
    let bytes = ask.tenant.limits.query_bytes.min(ask.config.query_bytes);
    let budget = Arc::new(Budget::within(Arc::clone(&app.query_memory), bytes));
    let evaluate = move |budget: &Budget| {
        let answered = ask.endpoint.function()(&ask, budget)?;
        // Compressed here too: it is work for a query thread, not for the runtime.
        Ok(success(answered, coding))
    };
    app.queries.run(tenant, time, budget, evaluate).await?
}

/// The configured time, or less when the request says so.
fn timeout(ask: &Ask) -> Result<Duration, ApiError> {
    let asked =
        ask.params.duration("timeout")?.and_then(|ms| u64::try_from(ms).ok()).map(Duration::from_millis);
    let most = ask.config.query_timeout;
    Ok(asked.map_or(most, |asked| asked.min(most)))
}

pub(crate) async fn form(app: &App, parts: &Parts, body: Body) -> Result<String, ApiError> {
    let content_type = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let is_form = content_type.is_some_and(|value| value.starts_with("application/x-www-form-urlencoded"));
    if !matches!(parts.method, Method::POST | Method::PUT) || !is_form {
        return Ok(String::new());
    }
    let bytes = body::read_small(body, FORM_BYTES_MAX, app.config().http.body_timeout)
        .await
        .map_err(|error| ApiError::new(Kind::BadData, error.to_string()))?;
    String::from_utf8(bytes.into()).map_err(|_| ApiError::new(Kind::BadData, "the form is not UTF-8"))
}

/// As Prometheus answers before it is ready.
fn not_ready(app: &App) -> Answer {
    let mut answer = respond::text(StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable");
    let stopping = if app.is_draining() { "true" } else { "false" };
    answer.headers_mut().insert("x-prometheus-stopping", HeaderValue::from_static(stopping));
    respond::retry_after(answer, 5)
}

fn success(answered: Answered, coding: Option<Coding>) -> Answer {
    let Some(mut body) = answered.begun else { return respond::empty() };
    encode::end(&mut body, &answered.warnings, &answered.infos);
    compress::json(body, coding)
}
