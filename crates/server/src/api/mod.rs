//! The query API: Prometheus' HTTP API over the store, at `/api/v1` and `/prometheus/api/v1`.
//!
//! Every endpoint is a function from [`Ask`] to an [`Answered`]; this file reads the parameters, finds the tenant,
//! runs the function on a query thread under the tenant's budget, and shapes what comes back.
//!
//! Everything that Prometheus serves is here, `status/flags` too. Some versions of Grafana take whoever answers that for
//! Thanos, but they look at `status/buildinfo` first: without `features` and `application` there it is a Prometheus.

mod absent;
mod describe;
pub mod encode;
pub mod error;
mod exemplars;
pub(crate) mod expose;
mod features;
pub mod federate;
mod find;
mod matrix;
mod metadata;
mod newest;
mod openapi;
pub mod openmetrics;
pub mod params;
mod process;
mod query;
pub mod read;
mod search;
mod stats;
mod status;
mod targets;
mod tree;
mod tsdb;

use std::sync::Arc;
use std::time::Duration;

use ::tsdb::Store;
use admission::{Scope, Tenant};
use http::request::Parts;
use http::{HeaderValue, Method, Request, StatusCode, header};
use model::Budget;

use crate::app::App;
use crate::body;
use crate::charged;
use crate::compress::{self, Coding};
use crate::config::Config;
use crate::gate;
use crate::respond::{self, Answer};
use crate::system::refused_answer;
use error::{ApiError, Kind};
use params::Params;

use absent::Absent;
use process::Process;
use status::Status;
use targets::Targets;

pub use describe::markdown;
pub(crate) use find::matcher_sets;
pub(crate) use status::build_info;

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
    /// An expression as a tree.
    ParseQuery,
    /// Label sets.
    Series,
    /// Label names.
    Labels,
    /// Values of one label.
    LabelValues,
    /// Types, units, helps.
    Metadata,
    /// Names of metrics that answer a search.
    SearchMetricNames,
    /// Names of labels that do.
    SearchLabelNames,
    /// Values of one label that do.
    SearchLabelValues,
    /// How many series have which labels.
    Cardinality,
    /// Blocks.
    Blocks,
    /// The description of all this.
    OpenApi,
    /// Something that Weir has none of.
    Absent(absent::Absent),
    /// Targets that are scraped.
    Targets(targets::Targets),
    /// Something about Weir and its configuration.
    Status(status::Status),
    /// Something that is known before the store is open.
    Process(process::Process),
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
    "GET" "parse_query" Endpoint::ParseQuery;
    "POST" "parse_query" Endpoint::ParseQuery;
    "GET" "series" Endpoint::Series;
    "POST" "series" Endpoint::Series;
    "GET" "labels" Endpoint::Labels;
    "POST" "labels" Endpoint::Labels;
    "GET" "label/{name}/values" Endpoint::LabelValues;
    "GET" "metadata" Endpoint::Metadata;
    "GET" "search/metric_names" Endpoint::SearchMetricNames;
    "POST" "search/metric_names" Endpoint::SearchMetricNames;
    "GET" "search/label_names" Endpoint::SearchLabelNames;
    "POST" "search/label_names" Endpoint::SearchLabelNames;
    "GET" "search/label_values" Endpoint::SearchLabelValues;
    "POST" "search/label_values" Endpoint::SearchLabelValues;
    "GET" "status/buildinfo" Endpoint::Status(Status::BuildInfo);
    "GET" "status/runtimeinfo" Endpoint::Status(Status::RuntimeInfo);
    "GET" "status/config" Endpoint::Status(Status::Config);
    "GET" "status/flags" Endpoint::Status(Status::Flags);
    "GET" "status/tsdb" Endpoint::Cardinality;
    "GET" "status/tsdb/blocks" Endpoint::Blocks;
    "GET" "status/walreplay" Endpoint::Process(Process::WalReplay);
    "GET" "status/self_metrics" Endpoint::Process(Process::SelfMetrics);
    "GET" "features" Endpoint::Status(Status::Features);
    "GET" "notifications" Endpoint::Process(Process::Notifications);
    "GET" "notifications/live" Endpoint::Process(Process::NotificationsLive);
    "GET" "openapi.yaml" Endpoint::OpenApi;
    "GET" "rules" Endpoint::Absent(Absent::Rules);
    "GET" "alerts" Endpoint::Absent(Absent::Alerts);
    "GET" "alertmanagers" Endpoint::Absent(Absent::Alertmanagers);
    "GET" "targets" Endpoint::Targets(Targets::List);
    "GET" "targets/metadata" Endpoint::Targets(Targets::Metadata);
    "GET" "targets/relabel_steps" Endpoint::Targets(Targets::RelabelSteps);
    "GET" "scrape_pools" Endpoint::Targets(Targets::Pools);
    "GET" "scrape_pools/config" Endpoint::Targets(Targets::PoolConfig);
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
            Self::ParseQuery => "parse_query",
            Self::SearchMetricNames | Self::SearchLabelNames | Self::SearchLabelValues => "search",
            Self::Cardinality => "tsdb",
            Self::Blocks
            | Self::OpenApi
            | Self::Absent(_)
            | Self::Targets(_)
            | Self::Status(_)
            | Self::Process(_) => "status",
        }
    }

    /// What answers it from the store.
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
            Self::ParseQuery => query::parse,
            Self::SearchMetricNames => search::metric_names,
            Self::SearchLabelNames => search::label_names,
            Self::SearchLabelValues => search::label_values,
            Self::Cardinality => tsdb::cardinality,
            Self::Blocks => tsdb::blocks,
            Self::OpenApi => openapi::openapi,
            Self::Absent(_) => absent::absent,
            Self::Targets(_) => targets::targets,
            Self::Status(_) => status::status,
            Self::Process(_) => |_, _| unreachable!("it is answered before the store is asked for"),
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

    /// Whether a dialect of that name is there and enabled.
    fn takes(&self, dialect: &str) -> bool {
        let enabled = |name| self.config.dialects.get(name).is_none_or(|dialect| dialect.enabled);
        dialects::ALL.iter().any(|row| row.name == dialect && enabled(row.name))
    }
}

/// A good answer.
#[derive(Debug, Default)]
pub(crate) struct Answered {
    body: Body,
    warnings: Vec<String>,
    infos: Vec<String>,
}

/// What is answered.
#[derive(Debug, Default)]
enum Body {
    /// Nothing: 204.
    #[default]
    Nothing,
    /// The answer up to and with its `data`, begun by [`encode::begin`].
    Begun(String),
    /// All of an answer of another content type.
    Whole(&'static str, String),
}

impl Answered {
    fn begun(begun: String) -> Self {
        Self { body: Body::Begun(begun), ..Self::default() }
    }

    fn whole(content_type: &'static str, text: String) -> Self {
        Self { body: Body::Whole(content_type, text), ..Self::default() }
    }
}

/// Answers one of [`ROUTES`].
pub async fn answer(app: Arc<App>, endpoint: Endpoint, request: Request<axum::body::Body>) -> Answer {
    let began = app.env.clock.monotonic();
    let (parts, body) = request.into_parts();
    if let Endpoint::Process(process) = endpoint {
        if let Err(refused) = process::admit(&app, process, &parts) {
            return refused_answer(refused);
        }
        let params = Params::parse("", parts.uri.query().unwrap_or(""));
        let answered = process::answer(&app, process, &params);
        let result = answered.map(|answered| success(answered, Coding::preferred(&parts.headers)));
        let outcome = result.as_ref().map_or_else(|error: &ApiError| error.kind.as_str(), |_| "success");
        count(&app, endpoint.as_str(), began, outcome);
        return result.unwrap_or_else(|error| error.answer());
    }
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

/// Counts a question that a tenant asked.
pub(crate) fn count_of(app: &App, tenant: &Tenant) {
    app.metrics.tenant_queries.of_tenant(tenant.name.as_str(), &[]).add(1);
}

async fn run(ask: Ask, coding: Option<Coding>) -> Result<Answer, ApiError> {
    // Those that are absent may have selectors, which are compiled.
    if let Endpoint::Status(_) = ask.endpoint {
        let answered = ask.endpoint.function()(&ask, &Budget::new(0))?;
        return Ok(success(answered, coding));
    }
    count_of(&ask.app, &ask.tenant);
    let time = timeout(&ask);
    let app = Arc::clone(&ask.app);
    let tenant = ask.tenant.id;
    let bytes = ask.tenant.limits.query_bytes.min(ask.config.query_bytes);
    let budget = Arc::new(Budget::within(Arc::clone(&app.query_memory), bytes));
    let evaluate = move |budget: &Budget| -> Result<Answer, ApiError> {
        let answered = ask.endpoint.function()(&ask, budget)?;
        // Compressed here too: it is work for a query thread, not for the runtime.
        let answer = success(answered, coding);
        charged::settle(&answer, budget)?;
        Ok(answer)
    };
    let answer = app.queries.run(tenant, time, Arc::clone(&budget), evaluate).await??;
    Ok(charged::until_sent(answer, budget, app.config().query_timeout))
}

/// The configured time, or less when a query says so; what it cannot be read from is complained about in its turn.
fn timeout(ask: &Ask) -> Duration {
    let most = ask.config.query_timeout;
    match ask.endpoint {
        Endpoint::Query | Endpoint::QueryRange => {
            let asked = ask.params.duration("timeout").ok().flatten().and_then(|ms| u64::try_from(ms).ok());
            asked.filter(|ms| *ms > 0).map_or(most, |ms| Duration::from_millis(ms).min(most))
        }
        _ => most,
    }
}

pub(crate) async fn form(app: &App, parts: &Parts, body: axum::body::Body) -> Result<String, ApiError> {
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
pub(crate) fn not_ready(app: &App) -> Answer {
    let mut answer = respond::text(StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable");
    let stopping = if app.is_draining() { "true" } else { "false" };
    answer.headers_mut().insert("x-prometheus-stopping", HeaderValue::from_static(stopping));
    respond::retry_after(answer, 5)
}

fn success(answered: Answered, coding: Option<Coding>) -> Answer {
    match answered.body {
        Body::Nothing => respond::empty(),
        Body::Begun(mut body) => {
            encode::end(&mut body, &answered.warnings, &answered.infos);
            compress::json(body, coding)
        }
        Body::Whole(content_type, body) => {
            compress::packed(HeaderValue::from_static(content_type), body.into_bytes(), coding)
        }
    }
}
