//! Strict HTTP/1 framing: where a request's head ends, and how its body is delimited.
//!
//! hyper forgives a bare line feed, two equal `Content-Length`s, a length beside a transfer encoding and any number of
//! `Host`s. Each of these lets two servers in a row disagree about where a request ends or whose it is, so Weir looks
//! at the raw head first and refuses them. Everything here is a pure function of bytes; [`super::guard`] applies it.

/// Bytes of a head at most by default, request line and all header lines together.
pub const HEAD_BYTES_MAX: usize = 64 << 10;
/// Header lines at most.
pub const HEADERS_MAX: usize = 64;
/// Bytes of one chunk-size line or of all trailers of a chunked body.
const CHUNK_LINE_BYTES_MAX: usize = 4 << 10;
/// What an HTTP/2 client with prior knowledge sends first.
pub const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Why a head, or a chunked body, is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Occurs when a line ends without a carriage return.
    #[error("a line ends in a bare line feed")]
    BareLineFeed,
    /// Occurs when the request line or a header line cannot be read.
    #[error("malformed request head")]
    Malformed,
    /// Occurs when an HTTP/1.1 request has no `Host`.
    #[error("no Host header")]
    NoHost,
    /// Occurs when a request has more than one `Host`.
    #[error("more than one Host header")]
    ManyHosts,
    /// Occurs when a request has more than one `Content-Length`, equal ones included.
    #[error("more than one Content-Length header")]
    ManyLengths,
    /// Occurs when `Content-Length` is not a plain number below 2^63.
    #[error("invalid Content-Length")]
    InvalidLength,
    /// Occurs when `Content-Length` and `Transfer-Encoding` stand together.
    #[error("both Content-Length and Transfer-Encoding")]
    LengthAndEncoding,
    /// Occurs when `Transfer-Encoding` is anything but one `chunked`, or stands in HTTP/1.0.
    #[error("unsupported Transfer-Encoding")]
    UnsupportedEncoding,
    /// Occurs when the head is over the listener's bound or has more than [`HEADERS_MAX`] lines.
    #[error("request head is too large")]
    TooLarge,
}

impl Refused {
    /// Every reason.
    pub const ALL: [Refused; 9] = [
        Self::BareLineFeed,
        Self::Malformed,
        Self::NoHost,
        Self::ManyHosts,
        Self::ManyLengths,
        Self::InvalidLength,
        Self::LengthAndEncoding,
        Self::UnsupportedEncoding,
        Self::TooLarge,
    ];

    /// The HTTP status of the answer.
    pub fn status(self) -> u16 {
        if self == Self::TooLarge { 431 } else { 400 }
    }

    /// The value of the self-metrics' label `reason`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BareLineFeed => "bare_line_feed",
            Self::Malformed => "malformed",
            Self::NoHost => "no_host",
            Self::ManyHosts => "many_hosts",
            Self::ManyLengths => "many_lengths",
            Self::InvalidLength => "invalid_length",
            Self::LengthAndEncoding => "length_and_encoding",
            Self::UnsupportedEncoding => "unsupported_encoding",
            Self::TooLarge => "too_large",
        }
    }
}

/// How a request's body is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// This many bytes; 0 when there is none.
    Length(u64),
    /// Chunked transfer coding.
    Chunked,
}

/// A complete head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its length in bytes, the empty line included.
    pub bytes: usize,
    /// What follows it.
    pub body: Body,
}

/// Judges the head at the beginning of `bytes`; `None` while it is incomplete.
pub fn check(bytes: &[u8]) -> Result<Option<Head>, Refused> {
    check_from(bytes, &mut 0, HEAD_BYTES_MAX)
}

/// As [`check`] with another bound, skipping the `scanned` bytes that an earlier call found to be whole lines.
pub fn check_from(bytes: &[u8], scanned: &mut usize, bytes_max: usize) -> Result<Option<Head>, Refused> {
    match head_end(bytes, scanned)? {
        Some(end) if end > bytes_max => Err(Refused::TooLarge),
        Some(end) => Ok(Some(Head { bytes: end, body: judge(&bytes[..end])? })),
        None if bytes.len() >= bytes_max => Err(Refused::TooLarge),
        None => Ok(None),
    }
}

/// A head whose query has its quotes and the like percent-encoded; none where there are none.
///
/// `curl -g '…?query=up{job="api"}'` sends them as they are, and so do examples in Prometheus' own documentation: Go reads
/// them, hyper refuses them.
pub fn escaped_query(head: &[u8]) -> Option<Vec<u8>> {
    let is_raw = |byte: &u8| matches!(byte, b'"' | b'<' | b'>' | b'#') || !byte.is_ascii();
    let line = head.iter().position(|&b| b == b'\r')?;
    let begin = head[..line].iter().position(|&b| b == b'?')?;
    let end = head[..line].iter().rposition(|&b| b == b' ')?;
    let query = head.get(begin..end).filter(|query| query.iter().any(is_raw))?;
    let mut escaped = head[..begin].to_vec();
    for byte in query {
        if is_raw(byte) {
            escaped.extend_from_slice(format!("%{byte:02X}").as_bytes());
        } else {
            escaped.push(*byte);
        }
    }
    escaped.extend_from_slice(&head[end..]);
    Some(escaped)
}

fn head_end(bytes: &[u8], scanned: &mut usize) -> Result<Option<usize>, Refused> {
    while let Some(found) = bytes[*scanned..].iter().position(|&b| b == b'\n') {
        let line = &bytes[*scanned..*scanned + found];
        if line.last() != Some(&b'\r') {
            return Err(Refused::BareLineFeed);
        }
        *scanned += found + 1;
        if line.len() == 1 {
            return Ok(Some(*scanned));
        }
    }
    Ok(None)
}

#[derive(Default)]
struct Fields {
    lines: usize,
    hosts: usize,
    length: Option<u64>,
    chunked: bool,
}

fn judge(head: &[u8]) -> Result<Body, Refused> {
    let mut lines = head.split(|&b| b == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let http_11 = match version(lines.next().unwrap_or_default()) {
        Some(b"HTTP/1.1") => true,
        Some(b"HTTP/1.0") => false,
        _ => return Err(Refused::Malformed),
    };
    let mut fields = Fields::default();
    for line in lines.take_while(|line| !line.is_empty()) {
        fields.take(line)?;
    }
    // HTTP/1.0 knows no Host; load balancers' health checks still speak it.
    match fields.hosts {
        0 if http_11 => return Err(Refused::NoHost),
        0 | 1 => {}
        _ => return Err(Refused::ManyHosts),
    }
    match (fields.length, fields.chunked) {
        (Some(_), true) => Err(Refused::LengthAndEncoding),
        (None, true) if !http_11 => Err(Refused::UnsupportedEncoding),
        (None, true) => Ok(Body::Chunked),
        (length, false) => Ok(Body::Length(length.unwrap_or(0))),
    }
}

fn version(request_line: &[u8]) -> Option<&[u8]> {
    let mut words = request_line.split(|&b| b == b' ');
    let (method, target, version) = (words.next()?, words.next()?, words.next()?);
    let whole = words.next().is_none() && !method.is_empty() && !target.is_empty();
    whole.then_some(version)
}

impl Fields {
    fn take(&mut self, line: &[u8]) -> Result<(), Refused> {
        self.lines += 1;
        if self.lines > HEADERS_MAX {
            return Err(Refused::TooLarge);
        }
        let colon = line.iter().position(|&b| b == b':').ok_or(Refused::Malformed)?;
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        // Folded lines begin with white space, and white space before the colon hides a name from other parsers.
        if name.is_empty() || name.iter().any(|&b| b <= b' ' || b == 0x7f) || value.contains(&b'\r') {
            return Err(Refused::Malformed);
        }
        if name.eq_ignore_ascii_case(b"host") {
            self.hosts += 1;
        } else if name.eq_ignore_ascii_case(b"content-length") {
            if self.length.replace(length(value)?).is_some() {
                return Err(Refused::ManyLengths);
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(Refused::UnsupportedEncoding);
            }
            self.chunked = true;
        }
        Ok(())
    }
}

fn length(value: &[u8]) -> Result<u64, Refused> {
    let digits = std::str::from_utf8(value).map_err(|_| Refused::InvalidLength)?;
    if digits.is_empty() || digits.len() > 18 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Refused::InvalidLength);
    }
    digits.parse().map_err(|_| Refused::InvalidLength)
}

/// Follows a chunked body to find its end, without keeping any of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunks {
    at: At,
    size: u64,
    line_bytes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Size,
    Extension,
    SizeLineFeed,
    Data,
    DataReturn,
    DataLineFeed,
    Trailer,
    TrailerLineFeed,
    End,
}

impl Default for Chunks {
    fn default() -> Self {
        Self { at: At::Size, size: 0, line_bytes: 0 }
    }
}

impl Chunks {
    /// Whether the body has ended.
    pub fn ended(&self) -> bool {
        self.at == At::End
    }

    /// Walks over `bytes`; gives how many of them belong to the body.
    pub fn advance(&mut self, bytes: &[u8]) -> Result<usize, Refused> {
        let mut done = 0;
        while done < bytes.len() && self.at != At::End {
            if self.at == At::Data {
                let step = usize::try_from(self.size).unwrap_or(usize::MAX).min(bytes.len() - done);
                self.size -= step as u64;
                done += step;
                if self.size == 0 {
                    self.at = At::DataReturn;
                }
            } else {
                self.at = self.step(bytes[done])?;
                done += 1;
            }
        }
        Ok(done)
    }

    fn step(&mut self, byte: u8) -> Result<At, Refused> {
        self.line_bytes += 1;
        if self.line_bytes > CHUNK_LINE_BYTES_MAX {
            return Err(Refused::TooLarge);
        }
        match (self.at, byte) {
            (At::Size, b'\r') if self.line_bytes > 1 => Ok(At::SizeLineFeed),
            (At::Size, b';') if self.line_bytes > 1 => Ok(At::Extension),
            (At::Size, _) => self.digit(byte),
            (At::Extension, b'\r') => Ok(At::SizeLineFeed),
            (At::Extension | At::Trailer, b'\n') => Err(Refused::BareLineFeed),
            (At::Extension, _) => Ok(At::Extension),
            (At::SizeLineFeed, b'\n') => {
                self.line_bytes = 0;
                Ok(if self.size == 0 { At::Trailer } else { At::Data })
            }
            (At::DataReturn, b'\r') => Ok(At::DataLineFeed),
            (At::DataLineFeed, b'\n') => {
                self.line_bytes = 0;
                Ok(At::Size)
            }
            (At::Trailer, b'\r') => Ok(At::TrailerLineFeed),
            (At::Trailer, _) => {
                // `size` is free once the last chunk was seen: it counts the bytes of the trailer line.
                self.size += 1;
                Ok(At::Trailer)
            }
            (At::TrailerLineFeed, b'\n') if self.size == 0 => Ok(At::End),
            (At::TrailerLineFeed, b'\n') => {
                self.size = 0;
                Ok(At::Trailer)
            }
            _ => Err(Refused::Malformed),
        }
    }

    fn digit(&mut self, byte: u8) -> Result<At, Refused> {
        let digit = char::from(byte).to_digit(16).ok_or(Refused::Malformed)?;
        if self.size >> 58 != 0 {
            return Err(Refused::InvalidLength);
        }
        self.size = self.size << 4 | u64::from(digit);
        Ok(At::Size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body_of(head: &str) -> Result<Body, Refused> {
        check(head.as_bytes()).map(|head| head.expect("the head is complete").body)
    }

    #[test]
    fn heads_that_two_servers_could_read_differently_are_refused() {
        let cases = [
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n", Ok(Body::Length(5))),
            ("GET / HTTP/1.0\r\n\r\n", Ok(Body::Length(0))),
            ("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: Chunked\r\n\r\n", Ok(Body::Chunked)),
            ("GET / HTTP/1.1\r\n\r\n", Err(Refused::NoHost)),
            ("GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n", Err(Refused::ManyHosts)),
            ("GET / HTTP/1.1\nHost: a\r\n\r\n", Err(Refused::BareLineFeed)),
            ("GET / HTTP/1.1\r\nHost: a\n\r\n", Err(Refused::BareLineFeed)),
            ("GET / HTTP/1.1\r\nHost: a\r\n\n", Err(Refused::BareLineFeed)),
            (
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
                Err(Refused::ManyLengths),
            ),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\n", Err(Refused::InvalidLength)),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\n", Err(Refused::InvalidLength)),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", Err(Refused::InvalidLength)),
            (
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n",
                Err(Refused::InvalidLength),
            ),
            (
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
                Err(Refused::LengthAndEncoding),
            ),
            (
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
                Err(Refused::LengthAndEncoding),
            ),
            (
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n",
                Err(Refused::UnsupportedEncoding),
            ),
            (
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n",
                Err(Refused::UnsupportedEncoding),
            ),
            ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", Err(Refused::UnsupportedEncoding)),
            ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", Err(Refused::Malformed)),
            ("GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", Err(Refused::Malformed)),
            ("GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n", Err(Refused::Malformed)),
            ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", Err(Refused::Malformed)),
            ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", Err(Refused::Malformed)),
        ];
        for (head, wanted) in cases {
            assert_eq!(body_of(head), wanted, "{head:?}");
        }
    }

    #[test]
    fn only_what_stands_raw_in_a_query_is_escaped() {
        let escaped = |line: &str| {
            let head = format!("{line}\r\nHost: a?\"b\"\r\n\r\n");
            escaped_query(head.as_bytes()).map(|head| String::from_utf8(head).unwrap())
        };
        assert_eq!(
            escaped("GET /a?query=up{job=\"ü\"}>0#%22 HTTP/1.1").as_deref(),
            Some("GET /a?query=up{job=%22%C3%BC%22}%3E0%23%22 HTTP/1.1\r\nHost: a?\"b\"\r\n\r\n")
        );
        for untouched in ["GET /a?query=up{job=%22x%22} HTTP/1.1", "GET /\"a\" HTTP/1.1", "GET /a HTTP/1.1"] {
            assert_eq!(escaped(untouched), None, "{untouched}");
        }
    }

    #[test]
    fn an_incomplete_head_waits_and_a_large_one_does_not() {
        let head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        for cut in 0..head.len() {
            assert_eq!(check(&head[..cut]), Ok(None), "{cut}");
        }
        assert_eq!(check(head), Ok(Some(Head { bytes: head.len(), body: Body::Length(0) })));
        assert_eq!(check(&vec![b'x'; HEAD_BYTES_MAX]), Err(Refused::TooLarge));
        let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "a: b\r\n".repeat(HEADERS_MAX));
        assert_eq!(check(many.as_bytes()), Err(Refused::TooLarge));
    }

    #[test]
    fn the_end_of_a_chunked_body_is_found_in_any_fragmentation() {
        let body = b"5\r\nhello\r\nA;x=y\r\n0123456789\r\n0\r\nx: y\r\n\r\n";
        let mut whole = Chunks::default();
        let followed = [body.as_slice(), b"GET /"].concat();
        assert_eq!(whole.advance(&followed), Ok(body.len()));
        assert!(whole.ended());
        for size in 1..body.len() {
            let mut chunks = Chunks::default();
            for part in body.chunks(size) {
                assert_eq!(chunks.advance(part), Ok(part.len()));
            }
            assert!(chunks.ended(), "{size}");
        }
    }

    #[test]
    fn malformed_chunks_are_refused() {
        for bad in [
            "\r\n",
            ";x\r\n",
            "g\r\n",
            "5\n",
            "1\r\nab",
            "1\r\na\n",
            "fffffffffffffffff\r\n",
            "0\r\nx\n",
            " 5\r\n",
        ] {
            assert!(Chunks::default().advance(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_judged_alike_in_any_fragmentation(
            bytes in proptest::collection::vec(proptest::sample::select(&b"GET /:\r\n HTP1.0hoslengt5,\0\t"[..]), 0..200),
            size in 1usize..20,
        ) {
            let whole = check(&bytes);
            let (mut scanned, mut parts) = (0, Ok(None));
            for end in (size..bytes.len()).step_by(size).chain([bytes.len()]) {
                parts = check_from(&bytes[..end], &mut scanned, HEAD_BYTES_MAX);
                if parts != Ok(None) {
                    break;
                }
            }
            proptest::prop_assert_eq!(parts, whole);
        }

        #[test]
        fn any_chunks_are_walked_alike_in_any_fragmentation(
            bytes in proptest::collection::vec(proptest::sample::select(&b"0135af;=x\r\n\r\n"[..]), 0..100),
            size in 1usize..10,
        ) {
            let mut whole = Chunks::default();
            let wanted = whole.advance(&bytes);
            let mut chunks = Chunks::default();
            let walked = bytes.chunks(size).try_fold(0, |done, part| Ok(done + chunks.advance(part)?));
            proptest::prop_assert_eq!(walked, wanted);
        }
    }
}
