//! An HTTP/1.1 client over one kept connection: one request at a time, blocking, with a timeout.

use std::io::{self, BufRead, BufReader, IoSlice, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Longest answer that is read.
const LONGEST_BODY: u64 = 1 << 30;

/// Longest line of an answer's head.
const LONGEST_LINE: u64 = 64 << 10;

/// A connection to a server.
#[derive(Debug)]
pub struct Connection {
    stream: BufReader<TcpStream>,
    /// `Host` and credentials, ready to be sent.
    common: String,
}

/// An answer.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// Status.
    pub status: u16,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Vec<u8>,
}

impl Answer {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The body as text, for messages.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Whether the status is 2xx.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

impl Connection {
    /// Connects; `token` is sent as bearer token with every request.
    pub fn open(address: SocketAddr, token: Option<&str>) -> io::Result<Self> {
        let credential = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
        Self::open_with(address, &credential)
    }

    /// Connects to a server that takes the tenant's name for its credential.
    pub fn open_as(address: SocketAddr, tenant: &str) -> io::Result<Self> {
        Self::open_with(address, &format!("X-Scope-OrgID: {tenant}\r\n"))
    }

    fn open_with(address: SocketAddr, credential: &str) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
        // A request is a head and a body: without this the second packet waits 40 ms for an acknowledgement.
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(120)))?;
        stream.set_write_timeout(Some(Duration::from_secs(120)))?;
        let common = format!("Host: {address}\r\n{credential}");
        Ok(Self { stream: BufReader::with_capacity(64 << 10, stream), common })
    }

    /// GET.
    pub fn get(&mut self, target: &str) -> io::Result<Answer> {
        let head = format!("GET {target} HTTP/1.1\r\n{}\r\n", self.common);
        self.exchange(&head, &[])
    }

    /// POST with further header lines (each ending in CRLF).
    pub fn post(&mut self, target: &str, headers: &str, body: &[u8]) -> io::Result<Answer> {
        let length = body.len();
        let head =
            format!("POST {target} HTTP/1.1\r\n{}{headers}Content-Length: {length}\r\n\r\n", self.common);
        self.exchange(&head, body)
    }

    /// DELETE.
    pub fn delete(&mut self, target: &str) -> io::Result<Answer> {
        let head = format!("DELETE {target} HTTP/1.1\r\n{}\r\n", self.common);
        self.exchange(&head, &[])
    }

    fn exchange(&mut self, head: &str, body: &[u8]) -> io::Result<Answer> {
        write_both(self.stream.get_mut(), head.as_bytes(), body)?;
        self.read_answer()
    }

    fn read_answer(&mut self) -> io::Result<Answer> {
        let status_line = self.line()?;
        let status = status_line.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status = status.ok_or_else(|| malformed(&status_line))?;
        let mut answer = Answer { status, ..Answer::default() };
        loop {
            let line = self.line()?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').ok_or_else(|| malformed(&line))?;
            answer.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        answer.body = self.body(&answer)?;
        Ok(answer)
    }

    fn body(&mut self, answer: &Answer) -> io::Result<Vec<u8>> {
        if answer.status == 204 || answer.status == 304 {
            return Ok(Vec::new());
        }
        if answer.header("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
            return self.chunked_body();
        }
        let length =
            answer.header("content-length").map(str::parse).transpose().map_err(|_| malformed("length"))?;
        let mut body = Vec::new();
        match length {
            Some(length) => self.append_body(&mut body, length)?,
            None => {
                self.stream.by_ref().take(LONGEST_BODY).read_to_end(&mut body)?;
            }
        }
        Ok(body)
    }

    fn chunked_body(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.line()?;
            let digits = line.split(';').next().unwrap_or_default().trim();
            let length = u64::from_str_radix(digits, 16).map_err(|_| malformed(&line))?;
            self.append_body(&mut body, length)?;
            self.line()?;
            if length == 0 {
                return Ok(body);
            }
        }
    }

    fn append_body(&mut self, body: &mut Vec<u8>, length: u64) -> io::Result<()> {
        if length > LONGEST_BODY {
            return Err(malformed("body is too long"));
        }
        let read = self.stream.by_ref().take(length).read_to_end(body)?;
        if (read as u64) < length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.stream.by_ref().take(LONGEST_LINE).read_line(&mut line)?;
        if !line.ends_with('\n') {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end_matches(['\r', '\n']).to_owned())
    }
}

/// Writes head and body without copying the body and, as far as the kernel takes it, in one call.
fn write_both(stream: &mut TcpStream, head: &[u8], body: &[u8]) -> io::Result<()> {
    let written = stream.write_vectored(&[IoSlice::new(head), IoSlice::new(body)])?;
    stream.write_all(head.get(written..).unwrap_or_default())?;
    stream.write_all(&body[written.saturating_sub(head.len())..])
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("malformed answer: {what}"))
}

/// Percent-encodes a query parameter's value.
pub fn encoded(value: &str) -> String {
    let mut encoded = String::with_capacity(value.len() * 3);
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// A loopback address that was free a moment ago.
pub fn free_address() -> io::Result<SocketAddr> {
    std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()
}
