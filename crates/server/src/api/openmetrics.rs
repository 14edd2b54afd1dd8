//! `/api/v1/openmetrics`: the newest sample of each series that is selected, with its true type, unit and help.

use std::sync::Arc;

use admission::Scope;
use axum::body::Body;
use dialects::exposition::whole::{Options, Told, Untyped};
use http::Request;

use super::error::{ApiError, Kind};
use super::expose::{self, AGE_MS_MAX, Page};
use super::params::{InvalidParam, Params, parse_bool};
use super::{form, matcher_sets};
use crate::app::App;
use crate::gate;
use crate::respond::Answer;
use crate::system::refused_answer;

/// Method and path.
pub const ROUTES: &[(&str, &str)] = &[("GET", "/api/v1/openmetrics"), ("POST", "/api/v1/openmetrics")];

/// Answers one of [`ROUTES`].
pub async fn answer(app: Arc<App>, request: Request<Body>) -> Answer {
    let (parts, body) = request.into_parts();
    let tenant = match gate::admit(&app, &parts, gate::ANSWER_CREDENTIALS, Scope::Read) {
        Ok(grant) => grant.tenant,
        Err(refused) => return refused_answer(refused),
    };
    let Some(store) = app.store().cloned() else { return super::not_ready(&app) };
    let form = match form(&app, &parts, body).await {
        Ok(form) => form,
        Err(error) => return error.text(),
    };
    let params = Params::parse(&form, parts.uri.query().unwrap_or(""));
    super::count_of(&app, &tenant);
    let now_ms = app.env.clock.now_ms();
    let its = Arc::clone(&tenant);
    expose::answered(&app, &tenant, "openmetrics", move |budget| {
        // Selectors are compiled here: that is work, too.
        page(&params)?.answer((&store, &its), (&parts.headers, now_ms), budget)
    })
    .await
    .unwrap_or_else(|error| error.text())
}

fn page(params: &Params) -> Result<Page, ApiError> {
    if !["", "auto"].contains(&params.get("type")) {
        return Err(InvalidParam::new("type", "there is only auto").into());
    }
    let told = |name| match params.get(name) {
        "" => Ok(Told::Left),
        text => match parse_bool(text) {
            Some(true) => Ok(Told::Told),
            Some(false) => Ok(Told::Left),
            None => Err(InvalidParam::new(name, format!("cannot parse {text:?} to a truth value"))),
        },
    };
    let untyped = match params.get("untyped_as") {
        "" | "gauge" => Untyped::Gauge,
        "unknown" | "untyped" => Untyped::Unknown,
        other => {
            return Err(
                InvalidParam::new("untyped_as", format!("{other:?} is neither gauge nor unknown")).into()
            );
        }
    };
    let age_ms = params.duration("max_age")?.unwrap_or(AGE_MS_MAX);
    if age_ms <= 0 {
        return Err(ApiError::new(Kind::BadData, "max_age must be more than 0"));
    }
    let options = Options { untyped, created: told("created")?, times: told("timestamps")? };
    Ok(Page { sets: matcher_sets(params)?, age_ms, options })
}
