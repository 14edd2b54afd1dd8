//! Exposures: pages of a tenant's series at paths that the configuration names. They are looked for where no route is, and
//! in place of the account's pages; so a reload may add and take away any of them.

use std::sync::Arc;

use admission::Tenant;
use dialects::exposition::whole::{Options, Told};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use model::{Budget, TenantName};
use tsdb::Store;

use crate::account::{self, profile};
use crate::api;
use crate::api::expose::{self, Page};
use crate::app::App;
use crate::config::{Config, ExposureConfig};
use crate::respond::{self, Answer};
use crate::system::refused_answer;

/// The answer to a request at an exposure's path; none when there is no exposure.
pub(crate) async fn answer(app: Arc<App>, parts: Parts) -> Option<Answer> {
    match asked(&app, &parts)? {
        Ok(asked) => Some(asked.answer(app, parts.headers).await),
        Err(refused) => Some(refused),
    }
}

/// A page for somebody who may read it.
pub(crate) struct Asked {
    pub(crate) store: Store,
    pub(crate) tenant: Arc<Tenant>,
    pub(crate) page: Page,
    pub(crate) profile: String,
}

fn asked(app: &App, parts: &Parts) -> Option<Result<Asked, Answer>> {
    let config = app.config.load_full();
    let path = parts.uri.path();
    let here = || config.exposures.iter().filter(|exposure| exposure.path == path);
    here().next()?;
    if !matches!(parts.method, Method::GET | Method::HEAD) {
        let mut answer = respond::error(StatusCode::METHOD_NOT_ALLOWED, "bad_data", "this path takes GET");
        answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET"));
        return Some(Err(answer));
    }
    let tenant = match account::admitted(app, parts) {
        Ok(account) => account.tenant,
        Err(refused) => return Some(Err(refused_answer(refused))),
    };
    let profile = profile(&config, &parts.headers);
    if let Some(exposure) = find(&config, path, &tenant.name, &profile) {
        let Some(store) = app.store().cloned() else { return Some(Err(api::not_ready(app))) };
        return Some(Ok(Asked { store, tenant, page: page(exposure), profile }));
    }
    let is_there = here().any(|exposure| exposure.tenant.as_ref().is_none_or(|of| *of == tenant.name));
    Some(Err(match is_there {
        true => {
            respond::error(StatusCode::NOT_FOUND, "not_found", "nothing is exposed here for this profile")
        }
        false => {
            respond::error(StatusCode::FORBIDDEN, "forbidden", "nothing is exposed here for this tenant")
        }
    }))
}

/// The profile that a request asks for.
pub(crate) fn profile(config: &Config, headers: &HeaderMap) -> String {
    let named = |asked: &str| config.exposures.iter().any(|e| e.profiles.iter().any(|name| name == asked));
    profile::asked(headers, |asked| [profile::PREVIEW, profile::INTERNAL].contains(&asked) || named(asked))
}

/// The first exposure at `path` that is for this tenant and this profile.
pub(crate) fn find<'c>(
    config: &'c Config,
    path: &str,
    tenant: &TenantName,
    profile: &str,
) -> Option<&'c ExposureConfig> {
    config.exposures.iter().find(|exposure| {
        exposure.path == path
            && exposure.tenant.as_ref().is_none_or(|of| of == tenant)
            && (exposure.profiles.is_empty() || exposure.profiles.iter().any(|name| name == profile))
    })
}

/// The page of an exposure.
pub(crate) fn page(exposure: &ExposureConfig) -> Page {
    let options = Options { untyped: exposure.untyped, created: Told::Left, times: Told::Left };
    Page { sets: exposure.sets.clone(), age_ms: exposure.age_ms, options }
}

impl Asked {
    pub(crate) async fn answer(self, app: Arc<App>, headers: HeaderMap) -> Answer {
        let Self { store, tenant, page, profile } = self;
        api::count_of(&app, &tenant);
        let now_ms = app.env.clock.now_ms();
        let its = Arc::clone(&tenant);
        let work = move |budget: &Budget| page.answer((&store, &its), (&headers, now_ms), budget);
        let result = expose::answered(&app, &tenant, "exposure", work).await;
        account::preferred(result.unwrap_or_else(|error| error.text()), &profile)
    }
}
