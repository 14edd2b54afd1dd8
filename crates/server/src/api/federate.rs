//! `/federate`: the newest sample of each series that is selected, as an exposition for another Prometheus to scrape.

use std::sync::Arc;

use admission::Scope;
use axum::body::Body;
use dialects::exposition::{Family, Format, Metric, Value, Writer};
use dialects::remote_read::{Row, Rows};
use http::{HeaderMap, HeaderValue, Request, header};
use model::labels::METRIC_NAME;
use model::select::Detail;
use model::{
    Budget, Hints, Histogram, Labels, Matcher, Metadata, MetricType, SeriesBlock, TenantId, TimeRange,
    Windows, is_stale,
};
use tsdb::Store;

use super::error::ApiError;
use super::matcher_sets;
use super::params::Params;
use crate::app::App;
use crate::charged;
use crate::compress::{self, Coding};
use crate::gate;
use crate::respond::Answer;
use crate::system::refused_answer;

/// Method and path.
pub const ROUTES: &[(&str, &str)] = &[("GET", "/federate"), ("GET", "/prometheus/federate")];

/// Added where a series has none, so that whoever scrapes puts none of his own there.
const INSTANCE: &str = "instance";

/// What a series takes until it is written, besides its labels; and again as text.
const SERIES_BYTES: u64 = 128;
/// What a bucket takes as text.
const BUCKET_BYTES: u64 = 64;

/// Answers one of [`ROUTES`].
pub async fn answer(app: Arc<App>, request: Request<Body>) -> Answer {
    let began = app.env.clock.monotonic();
    let (parts, _) = request.into_parts();
    let tenant = match gate::admit(&app, &parts, gate::ANSWER_CREDENTIALS, Scope::Read) {
        Ok(grant) => grant.tenant,
        Err(refused) => return refused_answer(refused),
    };
    let Some(store) = app.store().cloned() else { return super::not_ready(&app) };
    let config = app.config.load_full();
    let end_ms = app.env.clock.now_ms();
    let lookback_ms = i64::try_from(config.query_lookback.as_millis()).unwrap_or(i64::MAX);
    let range = TimeRange { start_ms: end_ms.saturating_sub(lookback_ms), end_ms };
    let work = Federation { store, tenant: tenant.id, range, format: accepted(&parts.headers) };
    let coding = Coding::preferred(&parts.headers);
    let params = Params::parse("", parts.uri.query().unwrap_or(""));
    let bytes = tenant.limits.query_bytes.min(config.query_bytes);
    let budget = Arc::new(Budget::within(Arc::clone(&app.query_memory), bytes));
    let evaluate = move |budget: &Budget| -> Result<Answer, ApiError> {
        let sets = matcher_sets(&params)?;
        let body = work.body(&sets, budget)?;
        let answer = compress::packed(work.content_type(), body, coding);
        charged::settle(&answer, budget)?;
        Ok(answer)
    };
    let time = config.query_timeout;
    let result = app.queries.run(tenant.id, time, Arc::clone(&budget), evaluate).await;
    let result = result.map_err(ApiError::from).and_then(|answer| answer);
    let result = result.map(|answer| charged::until_sent(answer, budget, time));
    let outcome = result.as_ref().map_or_else(|error| error.kind.as_str(), |_| "success");
    super::count(&app, "federate", began, outcome);
    result.unwrap_or_else(|error| error.text())
}

fn accepted(headers: &HeaderMap) -> Format {
    Format::negotiated(headers.get_all(header::ACCEPT).into_iter().filter_map(|value| value.to_str().ok()))
}

/// What is asked.
struct Federation {
    store: Store,
    tenant: TenantId,
    range: TimeRange,
    format: Format,
}

/// A series with its newest sample.
struct Newest {
    labels: Labels,
    at_ms: i64,
    value: NewestValue,
}

enum NewestValue {
    Float(f64),
    Histogram(Arc<Histogram>),
}

impl Newest {
    /// Of a series' rows; none when there is nothing to tell: no exposition has stale markers.
    fn of(labels: Labels, rows: Rows<'_>) -> Option<Self> {
        match rows.iter().last()? {
            Row::Float(_, value) if is_stale(value) => None,
            Row::Histogram(_, histogram) if histogram.is_stale() => None,
            Row::Float(at_ms, value) => Some(Self { labels, at_ms, value: NewestValue::Float(value) }),
            Row::Histogram(at_ms, histogram) => {
                Some(Self { labels, at_ms, value: NewestValue::Histogram(Arc::clone(histogram)) })
            }
        }
    }

    fn name(&self) -> &str {
        self.labels.metric_name().unwrap_or_default()
    }

    fn value(&self) -> Value<'_> {
        match &self.value {
            NewestValue::Float(value) => Value::Float(*value),
            NewestValue::Histogram(histogram) => Value::Histogram(histogram),
        }
    }

    /// About what it takes when it is written.
    fn written_bytes(&self) -> u64 {
        let buckets = match &self.value {
            NewestValue::Float(_) => 0,
            // Those of a classic histogram are a line each, with all labels.
            NewestValue::Histogram(histogram) => {
                let spans = histogram.positive_spans.iter().chain(&histogram.negative_spans);
                spans.map(|span| u64::from(span.length)).sum::<u64>() + histogram.custom_bounds.len() as u64
            }
        };
        (self.labels.as_canonical().len() as u64 + BUCKET_BYTES) * buckets.max(1) + SERIES_BYTES
    }
}

impl Federation {
    fn content_type(&self) -> HeaderValue {
        HeaderValue::try_from(self.format.to_string()).expect("it is made of letters")
    }

    /// The exposition: sorted by name, then by labels.
    fn body(&self, sets: &[Vec<Matcher>], budget: &Budget) -> Result<Vec<u8>, ApiError> {
        let mut all = Vec::new();
        for matchers in sets {
            self.select(matchers, budget, &mut all)?;
        }
        all.sort_unstable_by(|a, b| a.name().cmp(b.name()).then_with(|| a.labels.cmp(&b.labels)));
        // Two selectors may find the same series.
        all.dedup_by(|a, b| a.labels == b.labels);
        let mut writer = Writer::new(self.format);
        let mut known: Option<(String, Metadata)> = None;
        for series in &all {
            budget.charge(series.written_bytes())?;
            let name = series.name();
            if known.as_ref().is_none_or(|(of, _)| of != name) {
                known = Some((name.to_owned(), self.metadata(name)));
            }
            let (_, Metadata { kind, unit, help }) = known.as_ref().expect("set above");
            let mut labels: Vec<(&str, &str)> =
                series.labels.iter().filter(|(name, _)| *name != METRIC_NAME).collect();
            if series.labels.get(INSTANCE).is_none() {
                labels.push((INSTANCE, ""));
            }
            let at_ms = Some(series.at_ms);
            let metric = Metric { labels: &labels, value: series.value(), at_ms, exemplar: None };
            writer.write(&Family { name, kind: *kind, unit, help }, &metric);
        }
        Ok(writer.finish())
    }

    fn select(&self, matchers: &[Matcher], budget: &Budget, all: &mut Vec<Newest>) -> Result<(), ApiError> {
        let TimeRange { start_ms, end_ms } = self.range;
        let window = Windows { first_ms: end_ms, step_ms: 1, count: 1, length_ms: end_ms - start_ms + 1 };
        let hints = Hints { windows: Some(window), detail: Detail::Newest, ..Hints::default() };
        let mut selection = self.store.select(self.tenant, matchers, self.range, &hints, budget)?;
        let mut block = SeriesBlock::default();
        while selection.next_block(&mut block)? {
            for (number, series) in block.series.iter().enumerate() {
                let Some(labels) = selection.labels(*series)? else { continue };
                budget.charge(labels.as_canonical().len() as u64 + SERIES_BYTES)?;
                all.extend(Newest::of(labels, Rows::of(&block, number)));
            }
        }
        for warning in selection.warnings() {
            tracing::debug!(warning, "federation");
        }
        Ok(())
    }

    /// What is known of a metric: OpenMetrics has a counter's and an info's without their suffixes.
    fn metadata(&self, name: &str) -> Metadata {
        let of = |name| self.store.metadata_of(self.tenant, name);
        let without = |suffix, kind: MetricType| {
            name.strip_suffix(suffix).and_then(of).filter(|metadata| metadata.kind == kind)
        };
        of(name)
            .or_else(|| without("_total", MetricType::Counter))
            .or_else(|| without("_info", MetricType::Info))
            .unwrap_or_default()
    }
}
