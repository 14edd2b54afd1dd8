//! The account: what a tenant uses and what it may use, as a page of gauges and as JSON. At the page's two paths an
//! exposure may stand in its place (see [`crate::exposures`]).
//!
//! Both are read with a token of the scope `read`, or by whoever has the scope `admin` with `?tenant=`. `Prefer: profile=…`
//! chooses how much is told. The path `/api/iacp/v3/metrics` is another product's, whose clients shall find what they know:
//! whoever may not read it is told that there is nothing.

mod gauges;
pub(crate) mod profile;
mod today;
mod usage;

use std::sync::Arc;

use admission::Refused;
use axum::body::Body;
use dialects::exposition::{Family, Metric, Value, Writer};
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use model::{Budget, MetricType};
use serde_json::json;
use tsdb::Store;

use crate::api::expose::{self, accepted, content_type};
use crate::api::params::Params;
use crate::api::{self, error::ApiError};
use crate::app::App;
use crate::compress::{self, Coding};
use crate::exposures::{self, Asked};
use crate::gate::{self, Account};
use crate::respond::{self, Answer};
use crate::system::refused_answer;
use gauges::{Gauge, Now};
use today::Day;

/// How it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As a page of metrics.
    Page,
    /// As JSON.
    Json,
}

/// Another product's path.
const IACP: &str = "/api/iacp/v3/metrics";

/// Where the page is.
pub const PATHS: [&str; 2] = ["/api/v1/account/metrics", IACP];

/// Method, path, form.
pub const ROUTES: &[(&str, &str, Form)] = &[
    ("GET", PATHS[0], Form::Page),
    ("GET", PATHS[1], Form::Page),
    ("GET", "/api/v1/account/metrics.json", Form::Json),
];

/// Answers one of [`ROUTES`].
pub async fn answer(app: Arc<App>, form: Form, request: Request<Body>) -> Answer {
    let (parts, _) = request.into_parts();
    let path = parts.uri.path();
    let account = match admitted(&app, &parts) {
        Ok(account) => account,
        Err(refused) if path == IACP && is_known(refused) => {
            let message = "there is no such account, or not for this token";
            return respond::error(StatusCode::NOT_FOUND, "not_found", message);
        }
        Err(refused) => return refused_answer(refused),
    };
    let Some(store) = app.store().cloned() else { return api::not_ready(&app) };
    let config = app.config.load_full();
    let profile = exposures::profile(&config, &parts.headers);
    if form == Form::Page
        && let Some(exposure) = exposures::find(&config, path, &account.tenant.name, &profile)
    {
        let page = exposures::page(exposure);
        let asked = Asked { store, tenant: account.tenant, page, profile };
        return asked.answer(app, parts.headers).await;
    }
    let now_ms = app.env.clock.now_ms();
    let now = Now::of(&app, &account.tenant, now_ms);
    let work = Work { app: Arc::clone(&app), store, account, now, now_ms, profile: profile.clone() };
    let tenant = Arc::clone(&work.account.tenant);
    let headers = parts.headers;
    let result =
        expose::answered(&app, &tenant, "account", move |budget| work.answer(form, &headers, budget)).await;
    let answer = match form {
        Form::Page => result.unwrap_or_else(|error| error.text()),
        Form::Json => result.unwrap_or_else(|error| error.answer()),
    };
    preferred(answer, &profile)
}

/// Whether the one who is refused has a token that is good for something else.
fn is_known(refused: Refused) -> bool {
    !matches!(refused, Refused::NoCredential | Refused::BadCredential) && !refused.is_bad_request()
}

/// Who asks, and for whom.
pub(crate) fn admitted(app: &App, parts: &http::request::Parts) -> Result<Account, Refused> {
    let params = Params::parse("", parts.uri.query().unwrap_or(""));
    let named = Some(params.get("tenant")).filter(|name| !name.is_empty());
    gate::admit_account(app, parts, named)
}

/// Says which profile it is, and what the answer depends on.
pub(crate) fn preferred(mut answer: Answer, profile: &str) -> Answer {
    let headers = answer.headers_mut();
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    let word = match profile.bytes().all(is_token) {
        true => profile.to_owned(),
        false => format!("\"{}\"", profile.replace('\\', "\\\\").replace('"', "\\\"")),
    };
    // A profile's name is what a header of the request could say.
    if let Ok(value) = HeaderValue::try_from(format!("profile={word}")) {
        headers.insert("preference-applied", value);
    }
    headers.insert(header::VARY, HeaderValue::from_static("Accept, Prefer, Accept-Encoding"));
    answer
}

/// What is asked.
struct Work {
    app: Arc<App>,
    store: Store,
    account: Account,
    now: Now,
    now_ms: i64,
    profile: String,
}

impl Work {
    fn answer(&self, form: Form, headers: &HeaderMap, budget: &Budget) -> Result<Answer, ApiError> {
        let gauges = self.gauges(budget)?;
        Ok(match form {
            Form::Page => {
                let format = accepted(headers);
                let mut writer = Writer::new(format);
                gauges.iter().for_each(|gauge| write(gauge, &mut writer));
                compress::packed(content_type(format), writer.finish(), Coding::preferred(headers))
            }
            Form::Json => {
                let metrics: serde_json::Map<_, _> =
                    gauges.iter().map(|gauge| (gauge.name.to_owned(), number(gauge.value))).collect();
                let (tenant, profile) = (self.account.tenant.name.as_str(), &self.profile);
                let data = json!({ "tenant": tenant, "profile": profile, "metrics": metrics });
                let body = json!({ "status": "success", "data": data }).to_string();
                compress::json(body, Coding::preferred(headers))
            }
        })
    }

    fn gauges(&self, budget: &Budget) -> Result<Vec<Gauge>, ApiError> {
        let Self { app, store, account, now, now_ms, .. } = self;
        let interval = app.config().self_monitoring_interval;
        let system = app.authority().tenant("system").map(|tenant| tenant.id);
        let day = Day {
            store,
            system: system.filter(|_| !interval.is_zero()),
            now_ms: *now_ms,
            began_ms: (app.metrics.start_time.get() * 1000.0) as i64,
            interval_ms: i64::try_from(interval.as_millis()).unwrap_or(i64::MAX / 4),
        };
        let mut all = gauges::of_tenant(app, &account.tenant, now, &day, budget)?;
        if self.profile == profile::INTERNAL {
            all.extend(gauges::internal(&account.tenant, store));
            if account.operates
                && let Some(status) = app.status()
            {
                all.extend(gauges::of_process(app, &status));
            }
        }
        Ok(all)
    }
}

fn write(gauge: &Gauge, writer: &mut Writer) {
    let family = Family { name: gauge.name, kind: MetricType::Gauge, unit: "", help: gauge.help };
    let value = Value::Float(gauge.value);
    writer.write(&family, &Metric { labels: &[], value, at_ms: None, exemplar: None });
}

/// Whole numbers stay whole.
fn number(value: f64) -> serde_json::Value {
    match value.fract() == 0.0 && (0.0..9e15).contains(&value) {
        true => (value as u64).into(),
        false => value.into(),
    }
}
