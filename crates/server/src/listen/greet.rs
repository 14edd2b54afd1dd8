//! The beginning of a connection that speaks TLS: whoever speaks plainly is told so, everyone else is greeted.
//!
//! A handshake has the time of a head, and its connection makes way as one that has asked nothing yet: to the crowd it
//! is one of those. What a handshake fails of is counted by reason and no more than a debug line, since anybody can
//! make any number fail.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::pace::Paced;
use crate::tls::{Failure, Greeting, Tls};

/// The name that the client asked for in its handshake, in lower case; an extension of its requests.
#[derive(Clone, Debug)]
pub struct ServerName(pub Arc<str>);

/// What a client is told that speaks HTTP without TLS.
const SPEAK_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\
    content-type: text/plain; charset=utf-8\r\ncontent-length: 35\r\n\r\nthis port speaks TLS: use https://\n";

/// A connection that was greeted.
pub(super) struct Greeted {
    pub(super) stream: TlsStream<Paced<TcpStream>>,
    pub(super) name: Option<ServerName>,
}

/// Greets a new connection; none when there is nothing more to be said on it.
pub(super) async fn greet(
    tls: &Tls,
    stream: TcpStream,
    peer: SocketAddr,
    blocked: Arc<AtomicBool>,
) -> Result<Option<Greeted>, Failure> {
    if speaks_plainly(&stream).await? {
        tell(stream);
        return Err(Failure::Plain);
    }
    match tls.greet(Paced::new(stream, blocked)).await? {
        Greeting::Open { stream, name } => Ok(Some(Greeted { stream: *stream, name: name.map(ServerName) })),
        Greeting::Challenge => {
            tracing::debug!(%peer, "a challenge of the certificates' authority was answered");
            Ok(None)
        }
    }
}

/// Whether the first byte is a letter, as methods begin; a handshake begins with 22.
async fn speaks_plainly(stream: &TcpStream) -> io::Result<bool> {
    let mut first = [0];
    let read = stream.peek(&mut first).await?;
    Ok(read == 1 && first[0].is_ascii_alphabetic())
}

/// Says that TLS is spoken here, as far as that costs no time.
fn tell(stream: TcpStream) {
    let Ok(mut stream) = stream.into_std() else { return };
    let _ = stream.write_all(SPEAK_TLS);
    // Closing a socket with something unread sends a reset, which may overtake the answer.
    let _ = stream.read(&mut [0; 16 << 10]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_as_long_as_it_says() {
        let text = std::str::from_utf8(SPEAK_TLS).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.ends_with(&format!("content-length: {}", body.len())), "{head} {}", body.len());
    }
}
