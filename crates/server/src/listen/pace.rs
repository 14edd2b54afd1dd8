//! The clock of writes, right on the socket: a blocked answer must move 10 KiB in 10 s.
//!
//! It lies beneath TLS, because a TLS stream takes bytes before the kernel does: only here is known whether an answer
//! waits for its peer.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// What a blocked writer must move in a window, and the window.
const WRITE_BYTES_MIN: usize = 10 << 10;
const WRITE_WINDOW: Duration = Duration::from_secs(10);

/// The stream whose writes are timed.
#[derive(Debug)]
pub(crate) struct Paced<S> {
    stream: S,
    window: Option<(Pin<Box<Sleep>>, usize)>,
    /// Whether the last write had to wait, for who wants to know.
    blocked: Arc<AtomicBool>,
}

impl<S> Paced<S> {
    /// Times the writes of `stream`. `blocked` says whether one waits for the peer.
    pub(crate) fn new(stream: S, blocked: Arc<AtomicBool>) -> Self {
        Self { stream, window: None, blocked }
    }

    /// Accounts a write: one that is blocked must move enough bytes within each window.
    fn paced(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.blocked.store(written.is_pending(), Ordering::Relaxed);
        match &written {
            Poll::Ready(Ok(bytes)) => {
                if let Some((_, moved)) = &mut self.window {
                    *moved += bytes;
                }
            }
            Poll::Ready(Err(_)) => {}
            Poll::Pending => {
                let fresh = || (Box::pin(tokio::time::sleep(WRITE_WINDOW)), 0);
                let mut window = self.window.take().unwrap_or_else(fresh);
                while window.0.as_mut().poll(cx).is_ready() {
                    if window.1 < WRITE_BYTES_MIN {
                        return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                    }
                    window = fresh();
                }
                self.window = Some(window);
            }
        }
        written
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, out)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(cx, bytes);
        this.paced(cx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(cx, parts);
        this.paced(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.window = None;
        this.blocked.store(false, Ordering::Relaxed);
        Pin::new(&mut this.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::Instant;

    use super::*;

    fn paced(buffer: usize) -> (Paced<DuplexStream>, DuplexStream) {
        let (ours, theirs) = duplex(buffer);
        (Paced::new(ours, Arc::default()), theirs)
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_nobody_reads_ends() {
        let (mut stream, _theirs) = paced(1000);
        let began = Instant::now();
        let error = stream.write_all(&[0; 100_000]).await.unwrap_err();
        assert_eq!((error.kind(), began.elapsed().as_secs()), (io::ErrorKind::TimedOut, 10));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_read_slowly_but_steadily_does_not() {
        let (mut stream, mut theirs) = paced(1000);
        let reader = tokio::spawn(async move {
            let mut space = [0; 2000];
            while theirs.read(&mut space).await.unwrap() > 0 {
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        });
        stream.write_all(&[0; 60_000]).await.unwrap();
        drop(stream);
        reader.await.unwrap();
    }
}
