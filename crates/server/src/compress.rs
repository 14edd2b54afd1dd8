//! Compressed answers: which coding a client likes best, and the packing.

use axum::body::Body;
use codec::inflate::Encoding;
use codec::pack::pack;
use http::{HeaderMap, HeaderValue, header};

use crate::respond::Answer;

/// Answers smaller than this are not worth compressing.
const BYTES_MIN: usize = 1 << 10;

/// How an answer is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    /// A gzip member.
    Gzip,
    /// A zlib stream: what HTTP calls deflate (RFC 9110 8.4.1.2).
    Deflate,
}

impl Coding {
    /// In the order in which they are taken when a client likes them equally well.
    const ALL: [Self; 2] = [Self::Gzip, Self::Deflate];

    fn as_str(self) -> &'static str {
        self.encoding().as_str()
    }

    /// What the client likes best, by `Accept-Encoding` (RFC 9110 12.5.3). None = as it is: also when the client
    /// refuses that too, for an answer that it cannot read is better than none.
    pub(crate) fn preferred(headers: &HeaderMap) -> Option<Self> {
        let lines =
            headers.get_all(header::ACCEPT_ENCODING).into_iter().filter_map(|line| line.to_str().ok());
        let items: Vec<(&str, f32)> = lines.flat_map(|line| line.split(',')).map(item).collect();
        let weight =
            |name: &str| items.iter().find(|(given, _)| given.eq_ignore_ascii_case(name)).map(|i| i.1);
        let any = weight("*");
        // What is said of "as it is" counts against the others, what is not said does not.
        let plain = weight("identity").unwrap_or(0.0);
        let mut best = None;
        for coding in Self::ALL {
            let alias = (coding == Self::Gzip).then(|| weight("x-gzip")).flatten();
            let liked = weight(coding.as_str()).or(alias).or(any).unwrap_or(0.0);
            if liked > 0.0 && liked >= plain && best.is_none_or(|(_, most)| liked > most) {
                best = Some((coding, liked));
            }
        }
        best.map(|(coding, _)| coding)
    }

    fn encoding(self) -> Encoding {
        match self {
            Self::Gzip => Encoding::Gzip,
            Self::Deflate => Encoding::Deflate,
        }
    }
}

/// A coding and how much it is liked; a weight that cannot be read is none.
fn item(text: &str) -> (&str, f32) {
    let mut parts = text.split(';').map(str::trim);
    let name = parts.next().unwrap_or("");
    let weight = parts.find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q=")));
    (name, weight.map_or(1.0, |weight| weight.parse().unwrap_or(0.0)))
}

/// A JSON body, packed when that is worth it.
pub(crate) fn json(body: String, coding: Option<Coding>) -> Answer {
    packed(HeaderValue::from_static("application/json"), body.into_bytes(), coding)
}

/// A body, packed when that is worth it.
pub(crate) fn packed(content_type: HeaderValue, body: Vec<u8>, coding: Option<Coding>) -> Answer {
    let packed =
        coding.filter(|_| body.len() >= BYTES_MIN).and_then(|c| Some((c, pack(c.encoding(), &body).ok()?)));
    let mut answer = match packed {
        Some((coding, packed)) => {
            drop(body);
            let mut answer = Answer::new(Body::from(packed));
            let name = HeaderValue::from_static(coding.as_str());
            answer.headers_mut().insert(header::CONTENT_ENCODING, name);
            answer
        }
        None => Answer::new(Body::from(body)),
    };
    answer.headers_mut().insert(header::CONTENT_TYPE, content_type);
    // A cache must know it of the plain answer too.
    answer.headers_mut().append(header::VARY, HeaderValue::from_static("accept-encoding"));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_chooses() {
        let (gzip, deflate) = (Some(Coding::Gzip), Some(Coding::Deflate));
        for (line, wanted) in [
            ("", None),
            ("br", None),
            ("gzip", gzip),
            ("GZIP", gzip),
            ("x-gzip", gzip),
            ("deflate", deflate),
            ("*", gzip),
            ("gzip, deflate", gzip),
            ("deflate, gzip", gzip),
            ("deflate, gzip;q=0.5", deflate),
            ("gzip;q=0.5, deflate;q=0.7, br", deflate),
            ("gzip;q=0", None),
            ("gzip; q=0.000", None),
            ("gzip;q=x", None),
            ("gzip;q=0, *", deflate),
            ("deflate;q=0.1, *;q=0", deflate),
            ("identity, gzip;q=0.5", None),
            ("identity;q=0.5, gzip ; Q=0.8", gzip),
            ("identity;q=0", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, line.parse().unwrap());
            assert_eq!(Coding::preferred(&headers), wanted, "{line:?}");
        }
        let mut headers = HeaderMap::new();
        headers.append(header::ACCEPT_ENCODING, "gzip;q=0.5".parse().unwrap());
        headers.append(header::ACCEPT_ENCODING, "deflate".parse().unwrap());
        assert_eq!(Coding::preferred(&headers), deflate, "two lines are one list");
        assert_eq!(Coding::preferred(&HeaderMap::new()), None);
    }

    #[test]
    fn small_answers_stay_as_they_are() {
        let small = json("x".repeat(BYTES_MIN - 1), Some(Coding::Gzip));
        assert_eq!(small.headers().get(header::CONTENT_ENCODING), None);
        assert_eq!(small.headers()[header::VARY], "accept-encoding");
        let large = json("x".repeat(BYTES_MIN), Some(Coding::Deflate));
        assert_eq!(large.headers()[header::CONTENT_ENCODING], "deflate");
    }
}
