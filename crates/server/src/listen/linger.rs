//! The end of a connection whose request was answered before it was read.
//!
//! Closing such a socket at once makes the kernel send a reset, which overtakes the answer: most clients then report
//! "broken pipe" in place of the status. So the write side is shut down first, and what still comes in is read and
//! thrown away, up to 32 MiB or 5 s.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::Sleep;

const BYTES_MAX: usize = 32 << 20;
const TIME_MAX: Duration = Duration::from_secs(5);

/// Discards input until the peer closes, or a bound is reached.
#[derive(Debug)]
pub(super) struct Linger {
    deadline: Pin<Box<Sleep>>,
    bytes_left: usize,
}

impl Linger {
    pub(super) fn new() -> Self {
        Self { deadline: Box::pin(tokio::time::sleep(TIME_MAX)), bytes_left: BYTES_MAX }
    }

    pub(super) fn poll<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let mut space = [0; 16 << 10];
        while self.deadline.as_mut().poll(cx).is_pending() {
            let mut part = ReadBuf::new(&mut space);
            // An error ends the drain as a close does: the answer is out, or nobody is there to read it.
            if ready!(Pin::new(&mut *stream).poll_read(cx, &mut part)).is_err() {
                break;
            }
            match part.filled().len() {
                0 => break,
                bytes => self.bytes_left = self.bytes_left.saturating_sub(bytes),
            }
            if self.bytes_left == 0 {
                break;
            }
        }
        Poll::Ready(Ok(()))
    }
}
