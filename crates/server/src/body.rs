//! Reading a request's body: capped, paid for before it is read, and only as long as it keeps coming.

use std::time::Duration;

use admission::{Full, Permit};
use axum::body::{Body, Bytes};
use env::Clock;
use http::StatusCode;
use http_body::Body as _;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::time::{Instant, timeout_at};

/// What must arrive in each second, on average over a window.
const BYTES_PER_SECOND_MIN: f64 = 1024.0;
/// How a permit for a body of unknown length grows.
const STEP: usize = 64 << 10;

/// Why a body was not read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// Occurs when the body is, or says it is, over the limit.
    #[error("the body is over {0} bytes")]
    TooBig(usize),
    /// Occurs when there are no bytes left for it.
    #[error(transparent)]
    Full(#[from] Full),
    /// Occurs when less than 1 KiB/s arrived.
    #[error("the body came too slowly")]
    TooSlow,
    /// Occurs when the sender left, or framed the body wrongly.
    #[error("the body ended early")]
    Broken,
}

impl ReadError {
    /// The status where no dialect has its own.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::TooBig(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Full(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Broken => StatusCode::BAD_REQUEST,
        }
    }
}

/// The length that a body says it has.
pub(crate) fn declared(body: &Body) -> Option<u64> {
    body.size_hint().exact()
}

/// Reads `body` up to `limit` bytes. `permit` holds what the body declared, or grows with it. In each `window` of time
/// 1 KiB/s must arrive.
pub(crate) async fn read(
    mut body: Body,
    limit: usize,
    permit: &mut Permit,
    clock: &dyn Clock,
    window: Duration,
) -> Result<Bytes, ReadError> {
    let mut read = Read::Nothing;
    let mut pace = Pace::new(window);
    while let Some(frame) = pace.within(body.frame()).await? {
        let Ok(data) = frame.map_err(|_| ReadError::Broken)?.into_data() else { continue };
        let length = read.len() + data.len();
        if length > limit {
            return Err(ReadError::TooBig(limit));
        }
        if length as u64 > permit.amount() {
            // Never more than the body may have: that much always fits when nothing else is there.
            let step = (permit.amount().saturating_add(STEP as u64)).min(limit as u64).max(length as u64);
            permit.grow(step - permit.amount(), clock.monotonic())?;
        }
        pace.moved(data.len());
        let more = usize::try_from(body.size_hint().lower()).unwrap_or(0).min(limit - length);
        read = read.then(data, more);
    }
    permit.shrink_to(read.len() as u64);
    Ok(read.into_bytes())
}

/// Reads a small body, which needs no permit.
pub(crate) async fn read_small(body: Body, limit: usize, window: Duration) -> Result<Bytes, ReadError> {
    let limited = Limited::new(body, limit);
    let read = tokio::time::timeout(window, limited.collect()).await.map_err(|_| ReadError::TooSlow)?;
    match read {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(ReadError::TooBig(limit)),
        Err(_) => Err(ReadError::Broken),
    }
}

/// What was read: most small bodies come in one piece, which is kept as it is.
enum Read {
    Nothing,
    One(Bytes),
    Many(Vec<u8>),
}

impl Read {
    fn len(&self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::One(bytes) => bytes.len(),
            Self::Many(bytes) => bytes.len(),
        }
    }

    fn then(self, data: Bytes, more: usize) -> Self {
        match self {
            Self::Nothing => Self::One(data),
            Self::One(first) => {
                let mut bytes = Vec::with_capacity(first.len() + data.len() + more);
                bytes.extend_from_slice(&first);
                bytes.extend_from_slice(&data);
                Self::Many(bytes)
            }
            Self::Many(mut bytes) => {
                bytes.extend_from_slice(&data);
                Self::Many(bytes)
            }
        }
    }

    fn into_bytes(self) -> Bytes {
        match self {
            Self::Nothing => Bytes::new(),
            Self::One(bytes) => bytes,
            Self::Many(bytes) => bytes.into(),
        }
    }
}

/// Bytes and end of the current window.
struct Pace {
    window: Duration,
    ends: Instant,
    bytes: usize,
}

impl Pace {
    fn new(window: Duration) -> Self {
        Self { window, ends: Instant::now() + window, bytes: 0 }
    }

    async fn within<T>(&mut self, next: impl Future<Output = T>) -> Result<T, ReadError> {
        timeout_at(self.ends, next).await.map_err(|_| ReadError::TooSlow)
    }

    fn moved(&mut self, bytes: usize) {
        self.bytes += bytes;
        if self.bytes as f64 >= self.window.as_secs_f64() * BYTES_PER_SECOND_MIN {
            *self = Self::new(self.window);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use admission::Pool;
    use env::Env;
    use http_body::Frame;
    use model::TenantId;

    use super::*;

    /// A body that gives `size` bytes every `pause`.
    struct Dripping {
        left: usize,
        size: usize,
        pause: Duration,
        sleep: Option<Pin<Box<tokio::time::Sleep>>>,
    }

    impl http_body::Body for Dripping {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            if self.left == 0 {
                return Poll::Ready(None);
            }
            let pause = self.pause;
            let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep(pause)));
            std::task::ready!(sleep.as_mut().poll(cx));
            self.sleep = None;
            self.left -= 1;
            Poll::Ready(Some(Ok(Frame::data(Bytes::from(vec![b'x'; self.size])))))
        }
    }

    async fn read_dripping(left: usize, size: usize, pause_ms: u64, pool: u64) -> Result<Bytes, ReadError> {
        let pause = Duration::from_millis(pause_ms);
        let body = Body::new(Dripping { left, size, pause, sleep: None });
        let env = Env::real();
        let pool = Pool::new(pool);
        let mut permit = pool.take(TenantId(1), 0, env.clock.monotonic()).unwrap();
        read(body, 1 << 20, &mut permit, &*env.clock, Duration::from_secs(10)).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_must_keep_coming() {
        assert_eq!(read_dripping(40, 1100, 1000, 1 << 20).await.unwrap().len(), 44_000);
        assert!(matches!(read_dripping(40, 900, 1000, 1 << 20).await, Err(ReadError::TooSlow)));
        assert_eq!(read_dripping(1, 5, 9000, 1 << 20).await.unwrap().len(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn limits_hold_for_bodies_of_unknown_length() {
        assert!(matches!(read_dripping(2000, 1000, 1, 4 << 20).await, Err(ReadError::TooBig(_))));
        assert!(matches!(read_dripping(2000, 1000, 1, 100_000).await, Err(ReadError::Full(_))));
    }
}
