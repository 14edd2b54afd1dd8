//! `prometheus.ReadRequest`.

use codec::proto::{LEN, Reader, VARINT, WireError, key, known};
use model::re2::{InvalidPattern, PROGRAMS_BYTES_MAX};
use model::{MatchOp, Matcher, Matchers, TimeRange};

/// Queries of one request at most; Prometheus sends one.
pub(super) const QUERIES_MAX: usize = 1_000;
/// Matchers of one request at most.
pub(super) const MATCHERS_MAX: usize = 1_000;

/// What is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct ReadRequest {
    /// Each has its own result.
    pub queries: Vec<Query>,
    /// How the client wants its answer.
    pub answer: AnswerType,
}

/// One selection.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// From and to, narrowed by the hints.
    pub range: TimeRange,
    /// All must hold. None: every series.
    pub matchers: Matchers,
    /// The client will look at labels only.
    pub labels_only: bool,
}

/// A form of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerType {
    /// One `ReadResponse`, packed with snappy.
    Samples,
    /// Frames of `ChunkedReadResponse`.
    Chunks,
}

impl AnswerType {
    /// `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Samples => "application/x-protobuf",
            Self::Chunks => "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse",
        }
    }

    fn from_number(number: u64) -> Option<Self> {
        [Self::Samples, Self::Chunks].get(usize::try_from(number).ok()?).copied()
    }
}

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRequest {
    /// Occurs when the body is no `ReadRequest`.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// Occurs when a name or a value is not UTF-8.
    #[error("matcher is not valid UTF-8")]
    NotUtf8,
    /// Occurs when a matcher's type has a number that is none.
    #[error("unknown matcher type {0}")]
    MatcherType(u64),
    /// Occurs when a pattern cannot be compiled.
    #[error(transparent)]
    Pattern(#[from] InvalidPattern),
    /// Occurs when the patterns of all queries take too much when they are compiled: a few bytes may become 8 MiB.
    #[error("regular expressions that need more than {PROGRAMS_BYTES_MAX} bytes together")]
    Programs,
    /// Occurs when there is too much of something.
    #[error("more than {limit} {what} in one request")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many are allowed.
        limit: usize,
    },
    /// Occurs when the client takes no form of answer that there is.
    #[error(
        "server does not support any of the requested response types: {0:?}; supported: SAMPLES 0, STREAMED_XOR_CHUNKS 1"
    )]
    AnswerTypes(Vec<u64>),
}

/// Reads a request's inflated body.
pub fn decode(body: &[u8]) -> Result<ReadRequest, BadRequest> {
    const QUERIES: u32 = key(1, LEN);
    const ACCEPTED: u32 = key(2, VARINT);
    const ACCEPTED_PACKED: u32 = key(2, LEN);
    let mut message = Reader::new(body);
    let (mut queries, mut accepted, mut seen) = (Vec::new(), Vec::new(), Seen::default());
    // What is behind the first few is not looked at: it is nothing that a client has reason to send.
    let mut accept = |number| {
        if accepted.len() < 16 {
            accepted.push(number)
        }
    };
    while let Some(key) = message.key()? {
        match key {
            QUERIES if queries.len() == QUERIES_MAX => {
                return Err(BadRequest::TooMany { what: "queries", limit: QUERIES_MAX });
            }
            QUERIES => {
                let query = query(message.message()?, &mut seen)?;
                queries.push(query);
            }
            ACCEPTED => accept(message.varint()?),
            ACCEPTED_PACKED => message.packed_varints(&mut accept)?,
            _ => message.skip(key, known(&[1, 2]))?,
        }
    }
    let answer = match accepted.iter().find_map(|number| AnswerType::from_number(*number)) {
        Some(answer) => answer,
        None if accepted.is_empty() => AnswerType::Samples,
        None => return Err(BadRequest::AnswerTypes(accepted)),
    };
    Ok(ReadRequest { queries, answer })
}

/// What a request has so far.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    matchers: usize,
    program_bytes: usize,
}

fn query(mut message: Reader<'_>, seen: &mut Seen) -> Result<Query, BadRequest> {
    const START: u32 = key(1, VARINT);
    const END: u32 = key(2, VARINT);
    const MATCHERS: u32 = key(3, LEN);
    const HINTS: u32 = key(4, LEN);
    let mut range = TimeRange { start_ms: 0, end_ms: 0 };
    let mut query = Query { range, matchers: Vec::new(), labels_only: false };
    let mut hints = ReadHints::default();
    while let Some(key) = message.key()? {
        match key {
            START => range.start_ms = message.varint()? as i64,
            END => range.end_ms = message.varint()? as i64,
            MATCHERS => query.matchers.push(matcher(message.message()?, seen)?),
            HINTS => hints = read_hints(message.message()?)?,
            _ => message.skip(key, known(&[1, 2, 3, 4]))?,
        }
    }
    query.range = hints.narrow(range);
    query.labels_only = hints.labels_only;
    Ok(query)
}

fn matcher(mut message: Reader<'_>, seen: &mut Seen) -> Result<Matcher, BadRequest> {
    const TYPE: u32 = key(1, VARINT);
    const NAME: u32 = key(2, LEN);
    const VALUE: u32 = key(3, LEN);
    let (mut number, mut name, mut value) = (0, "", "");
    while let Some(key) = message.key()? {
        match key {
            TYPE => number = message.varint()?,
            NAME => name = text(&mut message)?,
            VALUE => value = text(&mut message)?,
            _ => message.skip(key, known(&[1, 2, 3]))?,
        }
    }
    let op = match number {
        0 => MatchOp::Equal,
        1 => MatchOp::NotEqual,
        2 => MatchOp::Regex,
        3 => MatchOp::NotRegex,
        other => return Err(BadRequest::MatcherType(other)),
    };
    seen.matchers += 1;
    if seen.matchers > MATCHERS_MAX {
        return Err(BadRequest::TooMany { what: "matchers", limit: MATCHERS_MAX });
    }
    let matcher = Matcher::new(name, op, value)?;
    seen.program_bytes += matcher.program_bytes();
    if seen.program_bytes > PROGRAMS_BYTES_MAX {
        return Err(BadRequest::Programs);
    }
    Ok(matcher)
}

fn text<'a>(message: &mut Reader<'a>) -> Result<&'a str, BadRequest> {
    std::str::from_utf8(message.bytes()?).map_err(|_| BadRequest::NotUtf8)
}

/// Of the hints those that only take away.
#[derive(Clone, Copy, Debug, Default)]
struct ReadHints {
    start_ms: i64,
    end_ms: i64,
    labels_only: bool,
}

impl ReadHints {
    fn narrow(self, range: TimeRange) -> TimeRange {
        // Hints without times are all 0.
        if (self.start_ms, self.end_ms) == (0, 0) {
            return range;
        }
        TimeRange { start_ms: range.start_ms.max(self.start_ms), end_ms: range.end_ms.min(self.end_ms) }
    }
}

fn read_hints(mut message: Reader<'_>) -> Result<ReadHints, WireError> {
    const FUNCTION: u32 = key(2, LEN);
    const START: u32 = key(3, VARINT);
    const END: u32 = key(4, VARINT);
    let mut hints = ReadHints::default();
    while let Some(key) = message.key()? {
        match key {
            // What Prometheus puts in the place of a function when it lists series.
            FUNCTION => hints.labels_only = message.bytes()? == b"series",
            START => hints.start_ms = message.varint()? as i64,
            END => hints.end_ms = message.varint()? as i64,
            _ => message.skip(key, known(&[2, 3, 4]))?,
        }
    }
    Ok(hints)
}

#[cfg(test)]
mod tests {
    use codec::proto::{write_bytes, write_key, write_message};
    use codec::varint;

    use super::*;

    fn number(field: u32, value: i64, out: &mut Vec<u8>) {
        write_key(field, VARINT, out);
        varint::write(value as u64, out);
    }

    fn written_matcher(op: i64, name: &str, value: &str, out: &mut Vec<u8>) {
        write_message(3, out, |out| {
            number(1, op, out);
            write_bytes(2, name.as_bytes(), out);
            write_bytes(3, value.as_bytes(), out);
        });
    }

    fn written_query(out: &mut Vec<u8>, hints: impl FnOnce(&mut Vec<u8>)) {
        write_message(1, out, |out| {
            number(1, -100, out);
            number(2, 5_000, out);
            written_matcher(0, "job", "a", out);
            written_matcher(1, "b", "", out);
            written_matcher(2, "c", "x|y.*", out);
            written_matcher(3, "d", ".+", out);
            write_message(4, out, hints);
        });
    }

    #[test]
    fn a_request_as_prometheus_sends_it() {
        let mut body = Vec::new();
        written_query(&mut body, |out| {
            number(1, 15_000, out);
            write_bytes(2, b"rate", out);
            number(3, 0, out);
            number(4, 4_000, out);
            write_bytes(5, b"job", out);
            number(6, 1, out);
            number(7, 300_000, out);
        });
        let request = decode(&body).unwrap();
        assert_eq!(request.answer, AnswerType::Samples);
        let [query] = &request.queries[..] else { panic!("{request:?}") };
        assert_eq!(query.range, TimeRange { start_ms: 0, end_ms: 4_000 });
        let matchers: Vec<String> = query.matchers.iter().map(ToString::to_string).collect();
        assert_eq!(matchers, ["job=\"a\"", "b!=\"\"", "c=~\"x|y.*\"", "d!~\".+\""]);
        assert!(!query.labels_only);
    }

    #[test]
    fn hints_only_narrow() {
        let narrowed = |start_ms, end_ms| {
            ReadHints { start_ms, end_ms, labels_only: false }.narrow(TimeRange { start_ms: 10, end_ms: 20 })
        };
        assert_eq!(narrowed(0, 0), TimeRange { start_ms: 10, end_ms: 20 });
        assert_eq!(narrowed(5, 30), TimeRange { start_ms: 10, end_ms: 20 });
        assert_eq!(narrowed(12, 15), TimeRange { start_ms: 12, end_ms: 15 });
        let mut body = Vec::new();
        written_query(&mut body, |out| write_bytes(2, b"series", out));
        let request = decode(&body).unwrap();
        assert!(request.queries[0].labels_only);
        assert_eq!(request.queries[0].range, TimeRange { start_ms: -100, end_ms: 5_000 });
    }

    #[test]
    fn the_client_chooses_the_form_in_its_order() {
        let answer = |accepted: &[i64]| {
            let mut body = Vec::new();
            accepted.iter().for_each(|number_| number(2, *number_, &mut body));
            let mut packed = Vec::new();
            write_message(2, &mut packed, |out| {
                accepted.iter().for_each(|number| varint::write(*number as u64, out));
            });
            let read = [body, packed].map(|body| decode(&body).map(|request| request.answer));
            assert_eq!(read[0], read[1]);
            read[0].clone()
        };
        assert_eq!(answer(&[]), Ok(AnswerType::Samples));
        assert_eq!(answer(&[0, 1]), Ok(AnswerType::Samples));
        assert_eq!(answer(&[1, 0]), Ok(AnswerType::Chunks));
        assert_eq!(answer(&[7, 1]), Ok(AnswerType::Chunks));
        assert_eq!(answer(&[7]), Err(BadRequest::AnswerTypes(vec![7])));
    }

    #[test]
    fn what_cannot_be_asked_is_refused_by_name() {
        let query = |op, name: &str, value: &str| {
            let mut body = Vec::new();
            write_message(1, &mut body, |out| written_matcher(op, name, value, out));
            decode(&body).unwrap_err().to_string()
        };
        assert_eq!(query(4, "a", "b"), "unknown matcher type 4");
        assert!(query(2, "a", "(").contains("regexp"), "{}", query(2, "a", "("));
        let mut many = Vec::new();
        (0..=QUERIES_MAX).for_each(|_| write_message(1, &mut many, |_| {}));
        assert_eq!(decode(&many).unwrap_err().to_string(), "more than 1000 queries in one request");
        let mut many = Vec::new();
        write_message(1, &mut many, |out| (0..=MATCHERS_MAX).for_each(|_| written_matcher(0, "a", "b", out)));
        assert_eq!(decode(&many).unwrap_err().to_string(), "more than 1000 matchers in one request");
        let patterns = |pattern: &str| {
            let mut many = Vec::new();
            write_message(1, &mut many, |out| (0..40).for_each(|_| written_matcher(3, "a", pattern, out)));
            decode(&many).map(|_| ()).map_err(|error| error.to_string())
        };
        let wanted = "regular expressions that need more than 33554432 bytes together";
        assert_eq!(patterns(r".{900}[\x{100}-\x{17f}]"), Err(wanted.to_owned()));
        assert_eq!(patterns(".*b"), Ok(()));
        assert!(matches!(decode(b"\x0a\xff"), Err(BadRequest::Wire(_))));
        assert_eq!(decode(b"\x0a\x05\x1a\x03\x12\x01\xff"), Err(BadRequest::NotUtf8));
    }

    #[test]
    fn any_bytes_are_read_or_refused() {
        let mut good = Vec::new();
        written_query(&mut good, |out| write_bytes(2, b"series", out));
        number(2, 1, &mut good);
        let (mut seed, mut read) = (1u64, 0);
        for _ in 0..2_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let mut bytes = good.clone();
            let at = (seed >> 33) as usize % bytes.len();
            bytes[at] ^= 1 << (seed >> 61);
            read += usize::from(decode(&bytes).is_ok());
            crate::remote_read::exercise(&bytes);
        }
        assert!(0 < read && read < 2_000, "{read} were read");
    }
}
