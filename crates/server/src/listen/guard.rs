//! A stream that hyper reads through: it lets only well-framed requests in, on time, and closes politely.
//!
//! HTTP/1 heads are held back until they are complete and [`framing`] has judged them. A refused head is replaced by a
//! request for [`REFUSED_PATH`], so that the refusal is answered in its place behind earlier pipelined requests. Quotes and
//! the like that stand raw in a query are percent-encoded.
//! HTTP/2 passes through: its framing is binary and h2 is strict about it.
//!
//! Two clocks run here because hyper's own header timeout counts idle keep-alive time as well: a head must be complete
//! 10 s after its first byte, and a closing connection whose request was not read to its end is drained for 5 s or
//! 32 MiB, so that the sender sees the answer and no reset. The clock of answers is in `pace`.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf, Take};
use tokio::time::Sleep;

use super::framing::{self, Body, Chunks, HTTP2_PREFACE, Refused};
use super::linger::Linger;

/// The path whose answers are refusals; the last segment is [`Refused::as_str`].
pub const REFUSED_PATH: &str = "/-/refused/";

const READ_BYTES: usize = 16 << 10;

/// Where the reader is in the stream.
#[derive(Debug)]
enum At {
    /// Collecting a head; the first `scanned` bytes of the buffer are whole lines.
    Head { scanned: usize },
    /// In a body with this many bytes to come.
    Length(u64),
    /// In a chunked body.
    Chunked(Chunks),
    /// HTTP/2: nothing is looked at.
    Tunnel,
    /// Something was refused: nothing more is read.
    Refused,
}

/// The guarded stream.
#[derive(Debug)]
pub struct Guard<S> {
    /// Limited to the body that is being read, so that hyper's buffer is filled without a copy.
    stream: Take<S>,
    at: At,
    /// Bytes read from the stream that are not judged yet.
    pending: BytesMut,
    /// How many bytes at the front of `pending` may go to hyper.
    released: usize,
    head_timeout: Duration,
    head_bytes_max: usize,
    head_deadline: Option<Pin<Box<Sleep>>>,
    linger: Option<Linger>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Guard<S> {
    /// Guards a new connection, whose first head must be complete within `head_timeout` from now.
    pub fn new(stream: S, head_timeout: Duration, head_bytes_max: usize) -> Self {
        Self {
            stream: stream.take(0),
            at: At::Head { scanned: 0 },
            pending: BytesMut::new(),
            released: 0,
            head_timeout,
            head_bytes_max,
            head_deadline: Some(Box::pin(tokio::time::sleep(head_timeout))),
            linger: None,
        }
    }

    /// Whether the sender still has something to say that nobody will read.
    fn unread(&self) -> bool {
        match &self.at {
            At::Head { .. } => !self.pending.is_empty(),
            At::Length(left) => *left > 0,
            At::Chunked(chunks) => !chunks.ended(),
            At::Refused => true,
            At::Tunnel => false,
        }
    }

    fn judge(&mut self) -> io::Result<()> {
        while self.released == 0 && !self.pending.is_empty() {
            match &mut self.at {
                At::Head { .. } => {
                    if !self.judge_head() {
                        return Ok(());
                    }
                }
                At::Length(0) => self.at = At::Head { scanned: 0 },
                At::Length(left) => {
                    let step = usize::try_from(*left).unwrap_or(usize::MAX).min(self.pending.len());
                    *left -= step as u64;
                    self.released = step;
                }
                At::Chunked(chunks) if chunks.ended() => self.at = At::Head { scanned: 0 },
                At::Chunked(chunks) => match chunks.advance(&self.pending) {
                    Ok(step) => self.released = step,
                    // The head is with the handler already; its body ends in an error.
                    Err(refused) => {
                        self.at = At::Refused;
                        return Err(io::Error::new(io::ErrorKind::InvalidData, refused));
                    }
                },
                At::Tunnel => self.released = self.pending.len(),
                At::Refused => return Ok(()),
            }
        }
        Ok(())
    }

    /// Whether the judgement got further; otherwise more bytes are needed.
    fn judge_head(&mut self) -> bool {
        let At::Head { scanned } = &mut self.at else { return false };
        // Empty lines before a request are allowed, and left over by old clients.
        while *scanned == 0 && self.pending.starts_with(b"\r\n") {
            self.pending.advance(2);
        }
        if self.pending.is_empty() {
            return false;
        }
        if self.pending.starts_with(HTTP2_PREFACE) {
            self.at = At::Tunnel;
            self.head_deadline = None;
            return true;
        }
        if HTTP2_PREFACE.starts_with(&self.pending) || self.pending.as_ref() == b"\r" {
            return false;
        }
        match framing::check_from(&self.pending, scanned, self.head_bytes_max) {
            Ok(None) => false,
            Ok(Some(head)) => {
                self.released = head.bytes;
                if let Some(escaped) = framing::escaped_query(&self.pending[..head.bytes]) {
                    let rest = self.pending.split_off(head.bytes);
                    self.released = escaped.len();
                    self.pending.clear();
                    self.pending.extend_from_slice(&escaped);
                    self.pending.unsplit(rest);
                }
                self.at = match head.body {
                    Body::Length(length) => At::Length(length),
                    Body::Chunked => At::Chunked(Chunks::default()),
                };
                self.head_deadline = None;
                true
            }
            Err(refused) => {
                self.refuse(refused);
                true
            }
        }
    }

    fn refuse(&mut self, refused: Refused) {
        let head = format!(
            "GET {REFUSED_PATH}{} HTTP/1.1\r\nhost: weir\r\nconnection: close\r\n\r\n",
            refused.as_str()
        );
        self.pending.clear();
        self.pending.extend_from_slice(head.as_bytes());
        self.released = self.pending.len();
        self.at = At::Refused;
        self.head_deadline = None;
    }

    fn give(&mut self, out: &mut ReadBuf<'_>) {
        let step = self.released.min(out.remaining());
        out.put_slice(&self.pending[..step]);
        self.pending.advance(step);
        self.released -= step;
    }

    /// Reads a body of known length straight into hyper's buffer: no copy for the bulk of all bytes.
    fn read_body(&mut self, cx: &mut Context<'_>, left: u64, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.stream.set_limit(left);
        ready!(Pin::new(&mut self.stream).poll_read(cx, out))?;
        self.at = At::Length(self.stream.limit());
        Poll::Ready(Ok(()))
    }

    /// Reads into `pending`; ready with the number of bytes, 0 at the end of the stream.
    fn fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut space = [0; READ_BYTES];
        let mut part = ReadBuf::new(&mut space);
        ready!(Pin::new(self.stream.get_mut()).poll_read(cx, &mut part))?;
        self.pending.extend_from_slice(part.filled());
        Poll::Ready(Ok(part.filled().len()))
    }

    /// Whether a head that has begun is not complete in time.
    fn head_is_late(&mut self, cx: &mut Context<'_>) -> bool {
        let between = match &self.at {
            At::Head { .. } | At::Length(0) => true,
            At::Chunked(chunks) => chunks.ended(),
            At::Length(_) | At::Tunnel | At::Refused => false,
        };
        if between && !self.pending.is_empty() && self.head_deadline.is_none() {
            self.head_deadline = Some(Box::pin(tokio::time::sleep(self.head_timeout)));
        }
        self.head_deadline.as_mut().is_some_and(|deadline| deadline.as_mut().poll(cx).is_ready())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Guard<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.released > 0 {
                this.give(out);
                return Poll::Ready(Ok(()));
            }
            if !this.pending.is_empty() {
                this.judge()?;
                if this.released > 0 {
                    continue;
                }
            }
            match this.at {
                At::Length(left) if left > 0 => return this.read_body(cx, left, out),
                At::Tunnel => return Pin::new(this.stream.get_mut()).poll_read(cx, out),
                // The connection ends by its answer; an end of file here would cancel that.
                At::Refused => return Poll::Pending,
                _ => {}
            }
            if this.head_is_late(cx) {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            if ready!(this.fill(cx))? == 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Guard<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(self.get_mut().stream.get_mut()).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(self.get_mut().stream.get_mut()).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.get_ref().is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.get_mut().stream.get_mut()).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.linger.is_none() {
            ready!(Pin::new(this.stream.get_mut()).poll_shutdown(cx))?;
            if !this.unread() {
                return Poll::Ready(Ok(()));
            }
        }
        this.linger.get_or_insert_with(Linger::new).poll(this.stream.get_mut(), cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::Instant;

    use super::*;

    fn guarded(buffer: usize) -> (Guard<DuplexStream>, DuplexStream) {
        let (ours, theirs) = duplex(buffer);
        (Guard::new(ours, Duration::from_secs(10), framing::HEAD_BYTES_MAX), theirs)
    }

    async fn read_all(guard: &mut Guard<DuplexStream>) -> Vec<u8> {
        let mut read = Vec::new();
        guard.read_to_end(&mut read).await.unwrap();
        read
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_has_ten_seconds_from_its_first_byte() {
        let (mut guard, mut theirs) = guarded(1000);
        let head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        theirs.write_all(head).await.unwrap();
        let mut space = [0; 100];
        assert_eq!(guard.read(&mut space).await.unwrap(), head.len());
        // Idle time between requests is no part of a head.
        assert!(tokio::time::timeout(Duration::from_secs(60), guard.read(&mut space)).await.is_err());
        // What came along with the request before it has begun, too.
        theirs.write_all(&[head, &head[..5]].concat()).await.unwrap();
        assert_eq!(guard.read(&mut space).await.unwrap(), head.len());
        let began = Instant::now();
        let error = guard.read(&mut space).await.unwrap_err();
        assert_eq!((error.kind(), began.elapsed().as_secs()), (io::ErrorKind::TimedOut, 10));
    }

    #[tokio::test(start_paused = true)]
    async fn closing_waits_for_what_nobody_will_read() {
        let (mut guard, mut theirs) = guarded(1000);
        theirs.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n\r\n").await.unwrap();
        assert!(guard.read(&mut [0; 100]).await.unwrap() > 0);
        let began = Instant::now();
        guard.shutdown().await.unwrap();
        assert_eq!(began.elapsed().as_secs(), 5);

        let (mut guard, mut theirs) = guarded(1000);
        theirs.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n\r\n").await.unwrap();
        assert!(guard.read(&mut [0; 100]).await.unwrap() > 0);
        let sender = tokio::spawn(async move { theirs.write_all(&[0; 5000]).await });
        let began = Instant::now();
        guard.shutdown().await.unwrap();
        assert_eq!(began.elapsed().as_secs(), 0, "the sender was done");
        assert!(sender.await.unwrap().is_ok(), "all of it was taken");
    }

    #[tokio::test]
    async fn requests_pass_unchanged_in_any_fragmentation() {
        let stream = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\nhello\r\n\r\nxx\
            POST /b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n\
            GET /c HTTP/1.1\r\nHost: a\r\n\r\n";
        for size in [1, 2, 3, 7, 50, 1000] {
            let (mut guard, mut theirs) = guarded(size);
            let sender = tokio::spawn(async move { theirs.write_all(stream).await });
            assert_eq!(read_all(&mut guard).await, stream, "{size}");
            sender.await.unwrap().unwrap();
        }
    }

    #[tokio::test]
    async fn http_2_passes_as_it_is() {
        let (mut guard, mut theirs) = guarded(1000);
        let stream = [HTTP2_PREFACE, b"\0\0\0\x04\0\0\0\0\0\n\n"].concat();
        theirs.write_all(&stream).await.unwrap();
        drop(theirs);
        assert_eq!(read_all(&mut guard).await, stream);
    }
}
