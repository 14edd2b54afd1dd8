//! Answers on their way: what they take stays charged to the memory of queries until they are sent or given up.
//!
//! A query's budget ends with its evaluation, but a client may take its time with the answer. So the budget goes on with
//! the body; and that others get it back in the end, a body that is taken too slowly is broken off.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes};
use http_body::{Body as _, Frame, SizeHint};
use model::Budget;
use model::select::Stop;
use tokio::time::Instant;

use crate::pieces::Pieces;
use crate::respond::Answer;

/// Smaller bodies are the kernel's at once, or nearly so.
const BYTES_MIN: u64 = 16 << 10;

/// What a client takes in each second at least, on average.
const BYTES_PER_SECOND_MIN: u64 = 128 << 10;

/// Occurs when a client takes its answer so slowly that others would wait for the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the answer is taken too slowly")]
struct TooSlow;

/// Keeps charged what the answer takes, and nothing else. To be called as long as the query is not over.
pub(crate) fn settle(answer: &Answer, budget: &Budget) -> Result<(), Stop> {
    budget.settle(bytes(answer))
}

/// Has the answer, which is [settled](settle), keep its charge until it is sent. For `patience` it is waited for, however
/// slow the client is.
pub(crate) fn until_sent(answer: Answer, budget: Arc<Budget>, patience: Duration) -> Answer {
    if bytes(&answer) < BYTES_MIN {
        return answer;
    }
    let charged =
        |body| Charged { pieces: Pieces::of(body), sent: 0, began: Instant::now(), patience, budget };
    answer.map(|body| Body::new(charged(body)))
}

fn bytes(answer: &Answer) -> u64 {
    answer.body().size_hint().lower()
}

struct Charged {
    pieces: Pieces,
    sent: u64,
    began: Instant,
    patience: Duration,
    #[expect(dead_code, reason = "given back when the body has gone")]
    budget: Arc<Budget>,
}

impl Charged {
    fn is_too_slow(&self) -> bool {
        self.began.elapsed() > self.patience + Duration::from_secs(self.sent / BYTES_PER_SECOND_MIN)
    }
}

impl http_body::Body for Charged {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.is_too_slow() {
            return Poll::Ready(Some(Err(axum::Error::new(TooSlow))));
        }
        let frame = ready!(Pin::new(&mut self.pieces).poll_frame(cx)).transpose()?;
        self.sent += frame.as_ref().and_then(Frame::data_ref).map_or(0, |data| data.len() as u64);
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.pieces.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use http_body_util::BodyExt;

    use super::*;
    use crate::pieces::PIECE_BYTES;
    use crate::respond;

    const BODY_BYTES: usize = 1 << 20;
    const PATIENCE: Duration = Duration::from_secs(60);

    fn answer(total: &Arc<Budget>) -> Body {
        let budget = Arc::new(Budget::within(Arc::clone(total), 8 << 20));
        budget.charge(5 << 20).unwrap();
        let answer = respond::text(StatusCode::OK, vec![b'x'; BODY_BYTES]);
        settle(&answer, &budget).unwrap();
        until_sent(answer, budget, PATIENCE).into_body()
    }

    #[tokio::test]
    async fn an_answer_is_charged_until_it_is_sent_or_given_up() {
        let total = Arc::new(Budget::new(8 << 20));
        let (first, second) = (answer(&total), answer(&total));
        assert_eq!(total.used(), 2 * BODY_BYTES as u64);
        assert_eq!(first.collect().await.unwrap().to_bytes().len(), BODY_BYTES);
        assert_eq!(total.used(), BODY_BYTES as u64);
        drop(second);
        assert_eq!(total.used(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_is_too_slow_loses_his_answer() {
        let total = Arc::new(Budget::new(8 << 20));
        // A piece each eighth of a second is 128 KiB/s.
        for (pause, wanted) in [(125, BODY_BYTES / PIECE_BYTES), (30_000, 3)] {
            let (mut body, mut pieces) = (answer(&total), 0);
            while let Some(Ok(_)) = body.frame().await {
                pieces += 1;
                tokio::time::advance(Duration::from_millis(pause)).await;
            }
            assert_eq!(pieces, wanted, "{pause}");
        }
    }
}
