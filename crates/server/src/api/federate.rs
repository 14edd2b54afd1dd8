//! `/federate`: the newest sample of each series that is selected, as an exposition for another Prometheus to scrape.

use std::collections::BTreeMap;
use std::sync::Arc;

use admission::Scope;
use axum::body::Body;
use dialects::exposition::whole::{Newest, Series};
use dialects::exposition::{Family, Format, Metric, Value, Writer};
use http::{HeaderValue, Request};
use model::labels::METRIC_NAME;
use model::{Budget, Matcher, Metadata, MetricType, TenantId, TimeRange};
use tsdb::Store;

use super::error::ApiError;
use super::expose::{self, accepted};
use super::matcher_sets;
use super::newest::{newest, written_bytes};
use super::params::Params;
use crate::app::App;
use crate::compress::{self, Coding};
use crate::gate;
use crate::respond::Answer;
use crate::system::refused_answer;

/// Method and path.
pub const ROUTES: &[(&str, &str)] = &[("GET", "/federate"), ("GET", "/prometheus/federate")];

/// Added where a series has none, so that whoever scrapes puts none of his own there.
const INSTANCE: &str = "instance";

/// Answers one of [`ROUTES`].
pub async fn answer(app: Arc<App>, request: Request<Body>) -> Answer {
    let (parts, _) = request.into_parts();
    let tenant = match gate::admit(&app, &parts, gate::ANSWER_CREDENTIALS, Scope::Read) {
        Ok(grant) => grant.tenant,
        Err(refused) => return refused_answer(refused),
    };
    let Some(store) = app.store().cloned() else { return super::not_ready(&app) };
    let end_ms = app.env.clock.now_ms();
    let lookback_ms = i64::try_from(app.config().query_lookback.as_millis()).unwrap_or(i64::MAX);
    let range = TimeRange { start_ms: end_ms.saturating_sub(lookback_ms), end_ms };
    let mut added = app.config().settings.pasted.global.external_labels.clone();
    added.entry(INSTANCE.to_owned()).or_default();
    let work = Federation { store, tenant: tenant.id, range, format: accepted(&parts.headers), added };
    let coding = Coding::preferred(&parts.headers);
    super::count_of(&app, &tenant);
    let params = Params::parse("", parts.uri.query().unwrap_or(""));
    expose::answered(&app, &tenant, "federate", move |budget| {
        let sets = matcher_sets(&params)?;
        let body = work.body(&sets, budget)?;
        Ok(compress::packed(work.content_type(), body, coding))
    })
    .await
    .unwrap_or_else(|error| error.text())
}

/// What is asked.
struct Federation {
    store: Store,
    tenant: TenantId,
    range: TimeRange,
    format: Format,
    /// Labels that each series gets that has none of the name: those of this server, and an instance.
    added: BTreeMap<String, String>,
}

impl Federation {
    fn content_type(&self) -> HeaderValue {
        HeaderValue::try_from(self.format.to_string()).expect("it is made of letters")
    }

    /// The exposition: sorted by name, then by labels.
    fn body(&self, sets: &[Vec<Matcher>], budget: &Budget) -> Result<Vec<u8>, ApiError> {
        let mut all = newest(&self.store, self.tenant, sets, self.range, budget)?;
        let name = Series::name;
        all.sort_unstable_by(|a, b| name(a).cmp(name(b)).then_with(|| a.labels.cmp(&b.labels)));
        // Two selectors may find the same series.
        all.dedup_by(|a, b| a.labels == b.labels);
        let added_bytes: usize = self.added.iter().map(|(name, value)| name.len() + value.len()).sum();
        let mut writer = Writer::new(self.format);
        let mut known: Option<(String, Metadata)> = None;
        for series in &all {
            budget.charge(written_bytes(series) + added_bytes as u64)?;
            let name = series.name();
            if known.as_ref().is_none_or(|(of, _)| of != name) {
                known = Some((name.to_owned(), self.metadata(name)));
            }
            let (_, Metadata { kind, unit, help }) = known.as_ref().expect("set above");
            let mut labels: Vec<(&str, &str)> =
                series.labels.iter().filter(|(name, _)| *name != METRIC_NAME).collect();
            let missing = self.added.iter().filter(|(name, _)| series.labels.get(name).is_none());
            labels.extend(missing.map(|(name, value)| (name.as_str(), value.as_str())));
            let at_ms = Some(series.at_ms);
            let value = match &series.value {
                Newest::Float(value) => Value::Float(*value),
                Newest::Histogram(histogram) => Value::Histogram(histogram),
            };
            let metric = Metric { labels: &labels, value, at_ms, exemplar: None };
            writer.write(&Family { name, kind: *kind, unit, help }, &metric);
        }
        Ok(writer.finish())
    }

    /// What is known of a metric: OpenMetrics has a counter's and an info's without their suffixes.
    fn metadata(&self, name: &str) -> Metadata {
        let of = |name| self.store.metadata_of(self.tenant, name);
        let without = |suffix, kind: MetricType| {
            name.strip_suffix(suffix).and_then(of).filter(|metadata| metadata.kind == kind)
        };
        let metadata = of(name)
            .or_else(|| without("_total", MetricType::Counter))
            .or_else(|| without("_info", MetricType::Info))
            .unwrap_or_default();
        match metadata.kind {
            // What is selected of a set need not be a whole one.
            MetricType::StateSet => Metadata { kind: MetricType::Unknown, ..metadata },
            _ => metadata,
        }
    }
}
