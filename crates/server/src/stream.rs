//! An answer's body that is made while it is sent: by a thread that may block, piece by piece, never more than a few
//! pieces ahead of the client.
//!
//! A body that ends without having been finished is broken off, so that no client takes a part for the whole. When its
//! client leaves, what makes it is told to stop: the task is dropped together with the body.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::Bytes;
use http_body::Frame;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Pieces that may wait for the client.
pub(crate) const WAITING_MAX: usize = 2;

enum Piece {
    Bytes(Bytes),
    End,
}

/// Where the pieces come from.
pub(crate) struct Pieces {
    sender: mpsc::Sender<Piece>,
    runtime: Handle,
    deadline: Instant,
}

/// Occurs when the client has left, or takes the pieces so slowly that time is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nobody takes the answer")]
pub(crate) struct NobodyThere;

impl Pieces {
    /// Hands a piece on; waits while too many wait. Not to be called from a task.
    pub(crate) fn send(&self, bytes: Bytes) -> Result<(), NobodyThere> {
        self.hand_on(Piece::Bytes(bytes))
    }

    /// Says that this was all.
    pub(crate) fn finish(self) -> Result<(), NobodyThere> {
        self.hand_on(Piece::End)
    }

    fn hand_on(&self, piece: Piece) -> Result<(), NobodyThere> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        self.runtime.block_on(self.sender.send_timeout(piece, left)).map_err(|_| NobodyThere)
    }
}

/// The body.
pub(crate) struct Stream {
    receiver: mpsc::Receiver<Piece>,
    next: Option<Piece>,
    ended: bool,
    #[expect(dead_code, reason = "dropped with the body")]
    task: Option<Box<dyn Send>>,
}

/// A task that ends when nobody waits for it any more.
pub(crate) struct Running<T>(JoinHandle<T>);

impl<T: Send + 'static> Running<T> {
    /// Starts it.
    pub(crate) fn start(task: impl Future<Output = T> + Send + 'static) -> Self {
        Self(tokio::spawn(task))
    }

    /// Its result; none when it panicked.
    pub(crate) async fn result(mut self) -> Option<T> {
        (&mut self.0).await.ok()
    }
}

impl<T> Drop for Running<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Both ends; what is not taken by the deadline is not sent. To be called from a task.
pub(crate) fn channel(deadline: Instant) -> (Pieces, Stream) {
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    let pieces = Pieces { sender, runtime: Handle::current(), deadline };
    (pieces, Stream { receiver, next: None, ended: false, task: None })
}

impl Stream {
    /// Waits until there is a piece, or an end; false when the other side has gone without either.
    pub(crate) async fn begins(&mut self) -> bool {
        self.next = self.receiver.recv().await;
        self.next.is_some()
    }

    /// Ends a task together with this body.
    pub(crate) fn with<T: Send + 'static>(self, task: Running<T>) -> Self {
        Self { task: Some(Box::new(task)), ..self }
    }
}

impl http_body::Body for Stream {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let piece = match self.next.take() {
            Some(piece) => Some(piece),
            None => ready!(self.receiver.poll_recv(cx)),
        };
        Poll::Ready(match piece {
            Some(Piece::Bytes(bytes)) => Some(Ok(Frame::data(bytes))),
            Some(Piece::End) => {
                self.ended = true;
                None
            }
            None => {
                self.ended = true;
                Some(Err(io::Error::other("the answer was broken off")))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http_body_util::BodyExt;

    use super::*;

    fn soon(ms: u64) -> Instant {
        Instant::now() + Duration::from_millis(ms)
    }

    #[tokio::test]
    async fn a_finished_body_is_whole_and_an_unfinished_one_is_an_error() {
        for finished in [true, false] {
            let (pieces, mut stream) = channel(soon(60_000));
            let thread = std::thread::spawn(move || {
                for number in 0..10 {
                    pieces.send(vec![number].into()).unwrap();
                }
                if finished { pieces.finish() } else { Ok(()) }
            });
            assert!(stream.begins().await);
            let body = stream.collect().await.map(|body| body.to_bytes());
            thread.join().unwrap().unwrap();
            assert_eq!(body.ok(), finished.then(|| Bytes::from_iter(0..10)));
        }
    }

    #[tokio::test]
    async fn a_client_that_leaves_or_sleeps_is_noticed() {
        let (pieces, stream) = channel(soon(60_000));
        drop(stream);
        let sent = std::thread::spawn(move || pieces.send(Bytes::new()));
        assert_eq!(sent.join().unwrap(), Err(NobodyThere));
        let (pieces, _stream) = channel(soon(20));
        let sent = std::thread::spawn(move || (0..=WAITING_MAX).try_for_each(|_| pieces.send(Bytes::new())));
        while !sent.is_finished() {
            tokio::task::yield_now().await;
        }
        assert_eq!(sent.join().unwrap(), Err(NobodyThere));
    }

    #[tokio::test]
    async fn its_task_ends_with_it() {
        let (alive, ended) = tokio::sync::oneshot::channel::<()>();
        let (_pieces, stream) = channel(soon(60_000));
        let task = Running::start(async move {
            std::future::pending::<()>().await;
            drop(alive);
        });
        drop(stream.with(task));
        assert!(ended.await.is_err());
    }
}
