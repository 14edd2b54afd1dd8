//! A tenant's series as a page: the newest sample of each, families whole and of their true types, in the form that the
//! client accepts. `/api/v1/openmetrics` and exposures answer with it; how a page is made within the tenant's budget and
//! given up in time, `/federate` shares.

use std::sync::Arc;

use admission::Tenant;
use dialects::exposition::{Format, whole};
use http::{HeaderMap, HeaderValue, header};
use model::labels::METRIC_NAME;
use model::{Budget, MatchOp, Matcher, TimeRange};
use tsdb::Store;

use super::error::ApiError;
use super::newest::{newest, written_bytes};
use crate::app::App;
use crate::charged;
use crate::compress::{self, Coding};
use crate::respond::Answer;

/// Since when a series counts that has said nothing since, unless somebody says otherwise.
pub(crate) const AGE_MS_MAX: i64 = 3_600_000;

/// A page that is asked for.
pub(crate) struct Page {
    /// Selectors; none = every series.
    pub(crate) sets: Vec<Vec<Matcher>>,
    /// How old a sample may be, ms.
    pub(crate) age_ms: i64,
    /// What was chosen.
    pub(crate) options: whole::Options,
}

impl Page {
    /// Reads, writes and packs it.
    pub(crate) fn answer(
        &self,
        (store, tenant): (&Store, &Tenant),
        (headers, now_ms): (&HeaderMap, i64),
        budget: &Budget,
    ) -> Result<Answer, ApiError> {
        let all = [vec![Matcher::new(METRIC_NAME, MatchOp::NotEqual, "").expect("it is no pattern")]];
        let sets = if self.sets.is_empty() { &all[..] } else { &self.sets };
        let range = TimeRange { start_ms: now_ms.saturating_sub(self.age_ms), end_ms: now_ms };
        let series = newest(store, tenant.id, sets, range, budget)?;
        let bytes: u64 = series.iter().map(written_bytes).sum();
        budget.charge(bytes)?;
        let format = accepted(headers);
        let metadata = |family: &str| store.metadata_of(tenant.id, family);
        let body = whole::write(series, &metadata, self.options, format);
        let mut answer = compress::packed(content_type(format), body, Coding::preferred(headers));
        answer.headers_mut().append(header::VARY, HeaderValue::from_static("accept"));
        Ok(answer)
    }
}

/// The form that a client likes best.
pub(crate) fn accepted(headers: &HeaderMap) -> Format {
    Format::negotiated(headers.get_all(header::ACCEPT).into_iter().filter_map(|value| value.to_str().ok()))
}

/// The content type, which says nothing of escaping where it is the usual one: readers of old compare the whole of it.
pub(crate) fn content_type(format: Format) -> HeaderValue {
    let text = format.to_string();
    let text = text.strip_suffix("; escaping=underscores").unwrap_or(&text);
    HeaderValue::try_from(text).expect("it is made of letters")
}

/// Does `work` on a query thread, under the tenant's budget and the time of a query.
pub(crate) async fn answered(
    app: &Arc<App>,
    tenant: &Tenant,
    endpoint: &'static str,
    work: impl FnOnce(&Budget) -> Result<Answer, ApiError> + Send + 'static,
) -> Result<Answer, ApiError> {
    let began = app.env.clock.monotonic();
    let config = app.config.load_full();
    let bytes = tenant.limits.query_bytes.min(config.query_bytes);
    let budget = Arc::new(Budget::within(Arc::clone(&app.query_memory), bytes));
    let evaluate = move |budget: &Budget| -> Result<Answer, ApiError> {
        let answer = work(budget)?;
        charged::settle(&answer, budget)?;
        Ok(answer)
    };
    let time = config.query_timeout;
    let result = app.queries.run(tenant.id, time, Arc::clone(&budget), evaluate).await;
    let result = result.map_err(ApiError::from).and_then(|answer| answer);
    let result = result.map(|answer| charged::until_sent(answer, budget, time));
    let outcome = result.as_ref().map_or_else(|error| error.kind.as_str(), |_| "success");
    super::count(app, endpoint, began, outcome);
    result
}
