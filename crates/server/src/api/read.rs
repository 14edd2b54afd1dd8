//! `read`: Prometheus remote read. Both forms of the answer, errors as text, as upstream has them.
//!
//! A request becomes an answer in one job on a query thread, under the tenant's budget and the time of a query, slow
//! clients included. Chunks are sent as they are made; samples are one snappy block, which is put together before it is
//! sent and charged to the budget.

use std::sync::Arc;

use admission::Scope;
use axum::body::{Body, Bytes};
use codec::inflate::{Encoding, inflate};
use codec::pack;
use dialects::remote_read::{self, AnswerType, Query, ReadRequest, Rows, frames, samples};
use http::{HeaderValue, Request, StatusCode, header};
use model::select::Detail;
use model::{Budget, Hints, Labels, SeriesBlock, TenantId, Windows};
use tokio::time::Instant;
use tsdb::{Selection, Store};

use super::error::{ApiError, Kind};
use crate::app::App;
use crate::body;
use crate::charged;
use crate::gate;
use crate::queries::QueryError;
use crate::respond::{self, Answer};
use crate::stream::{self, NobodyThere, Pieces, Running, WAITING_MAX};
use crate::system::refused_answer;

/// Method and path.
pub const ROUTES: &[(&str, &str)] = &[("POST", "/api/v1/read"), ("POST", "/prometheus/api/v1/read")];

/// Frames are gathered until they are so long.
const PIECE_BYTES: usize = 64 << 10;

/// What a stream of frames takes at most, the pieces on their way included.
const STREAM_BYTES: u64 = ((frames::FRAME_BYTES + PIECE_BYTES) * (WAITING_MAX + 3)) as u64;

/// Answers one of [`ROUTES`].
pub async fn answer(app: Arc<App>, request: Request<Body>) -> Answer {
    let began = app.env.clock.monotonic();
    let (parts, body) = request.into_parts();
    let grant = match gate::admit(&app, &parts, gate::ANSWER_CREDENTIALS, Scope::Read) {
        Ok(grant) => grant,
        Err(refused) => return refused_answer(refused),
    };
    let Some(store) = app.store().cloned() else { return super::not_ready(&app) };
    let window = app.config().http.body_timeout;
    let result = match body::read_small(body, remote_read::REQUEST_BYTES_MAX, window).await {
        Ok(body) => {
            super::count_of(&app, &grant.tenant);
            let bytes = grant.tenant.limits.query_bytes.min(app.config().query_bytes);
            let work = Work { body, store, tenant: grant.tenant.id };
            run(&app, work, bytes).await
        }
        Err(error) => {
            let answer = respond::text(error.status(), format!("{error}\n"));
            super::count(&app, "read", began, Kind::BadData.as_str());
            return answer;
        }
    };
    let outcome = result.as_ref().map_or_else(|error| error.kind.as_str(), |_| "success");
    super::count(&app, "read", began, outcome);
    result.unwrap_or_else(|error| error.text())
}

async fn run(app: &Arc<App>, work: Work, bytes: u64) -> Result<Answer, ApiError> {
    let time = app.config().query_timeout;
    let budget = Arc::new(Budget::within(Arc::clone(&app.query_memory), bytes));
    let (pieces, mut stream) = stream::channel(Instant::now() + time);
    let task = Running::start({
        let app = Arc::clone(app);
        let (tenant, budget) = (work.tenant, Arc::clone(&budget));
        async move { app.queries.run(tenant, time, budget, move |budget| work.answer(budget, pieces)).await }
    });
    if stream.begins().await {
        let mut answer = Answer::new(Body::new(stream.with(task)));
        let content_type = HeaderValue::from_static(AnswerType::Chunks.content_type());
        answer.headers_mut().insert(header::CONTENT_TYPE, content_type);
        return Ok(answer);
    }
    let body = task.result().await.unwrap_or(Err(QueryError::Panicked))??;
    let mut answer = respond::with_type(StatusCode::OK, AnswerType::Samples.content_type(), body);
    answer.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("snappy"));
    Ok(charged::until_sent(answer, budget, time))
}

/// A request on its way to a query thread.
struct Work {
    body: Bytes,
    store: Store,
    tenant: TenantId,
}

impl Work {
    /// The whole answer, or nothing when it went into `pieces`.
    fn answer(self, budget: &Budget, pieces: Pieces) -> Result<Bytes, ApiError> {
        let bad = |what: String| ApiError::new(Kind::BadData, what);
        let mut inflated = Vec::new();
        inflate(Encoding::Snappy, &self.body, remote_read::REQUEST_BYTES_MAX, &mut inflated)
            .map_err(|error| bad(error.to_string()))?;
        let request = remote_read::decode(&inflated).map_err(|error| bad(error.to_string()))?;
        match request.answer {
            AnswerType::Samples => {
                // The caller takes a stream that has ended without a piece for none.
                drop(pieces);
                let body = self.samples(&request, budget)?;
                budget.settle(body.len() as u64)?;
                Ok(body.into())
            }
            AnswerType::Chunks => self.chunks(&request, budget, pieces).map(|()| Bytes::new()),
        }
    }

    fn samples(&self, request: &ReadRequest, budget: &Budget) -> Result<Vec<u8>, ApiError> {
        let mut out = Vec::new();
        for query in &request.queries {
            samples::write_result(&mut out, |out| {
                self.each_series(query, query.labels_only, budget, |labels, rows| {
                    let rows = if query.labels_only { Rows::NONE } else { rows };
                    room(out, samples::series_bytes_max(labels, rows), budget)?;
                    samples::write_series(labels, rows, out);
                    Ok(())
                })?;
                room(out, HEAD_BYTES, budget)
            })?;
        }
        budget.charge(pack::snappy_bytes_max(out.len()) as u64)?;
        pack::snappy(&out).map_err(|error| ApiError::new(Kind::Execution, error.to_string()))
    }

    fn chunks(&self, request: &ReadRequest, budget: &Budget, pieces: Pieces) -> Result<(), ApiError> {
        budget.charge(STREAM_BYTES)?;
        let mut piece = Vec::new();
        for (number, query) in request.queries.iter().enumerate() {
            self.each_series(query, false, budget, |labels, rows| {
                frames::each_frame(number, labels, rows, |frame| {
                    piece.extend_from_slice(frame);
                    if piece.len() >= PIECE_BYTES {
                        pieces.send(std::mem::take(&mut piece).into())?;
                    }
                    Ok(())
                })
            })?;
        }
        if !piece.is_empty() {
            pieces.send(piece.into())?;
        }
        Ok(pieces.finish()?)
    }

    /// Hands each series that a query selects to `each`, in the order of labels.
    fn each_series(
        &self,
        query: &Query,
        labels_only: bool,
        budget: &Budget,
        mut each: impl FnMut(&Labels, Rows<'_>) -> Result<(), ApiError>,
    ) -> Result<(), ApiError> {
        let range = query.range;
        if range.end_ms < range.start_ms {
            return Ok(());
        }
        let hints = if labels_only { newest_of(query) } else { Hints::default() };
        let mut selection = self.store.select(self.tenant, &query.matchers, range, &hints, budget)?;
        selection.sort_by_labels()?;
        let mut block = SeriesBlock::default();
        while selection.next_block(&mut block)? {
            for (number, series) in block.series.iter().enumerate() {
                if let Some(labels) = selection.labels(*series)? {
                    each(&labels, Rows::of(&block, number))?;
                }
            }
        }
        note_warnings(&selection);
        Ok(())
    }
}

/// Neither form has a place for them.
fn note_warnings(selection: &Selection<'_>) {
    for warning in selection.warnings() {
        tracing::debug!(warning, "remote read");
    }
}

/// Whether a series has samples is told by its newest.
fn newest_of(query: &Query) -> Hints {
    let range = query.range;
    // All of time is longer than a window can be.
    let length_ms = range.end_ms.checked_sub(range.start_ms).and_then(|length| length.checked_add(1));
    let windows =
        length_ms.map(|length_ms| Windows { first_ms: range.end_ms, step_ms: 1, count: 1, length_ms });
    Hints { windows, detail: Detail::Newest, ..Hints::default() }
}

/// What the head of a result takes.
const HEAD_BYTES: usize = 32;

/// Makes room for `more` bytes, twice as much as there is at least, once that is charged.
fn room(out: &mut Vec<u8>, more: usize, budget: &Budget) -> Result<(), ApiError> {
    // A message is moved to make place for its head.
    let more = more + HEAD_BYTES;
    if out.capacity() - out.len() < more {
        let more = more.max(out.capacity());
        budget.charge(more as u64)?;
        out.reserve_exact(more);
    }
    Ok(())
}

impl From<NobodyThere> for ApiError {
    fn from(error: NobodyThere) -> Self {
        Self::new(Kind::Canceled, error.to_string())
    }
}
