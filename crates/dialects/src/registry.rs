//! What is derived from the registry: the route of a request, the encoding of its body, the docs table.
//!
//! Lookup is a walk over all rows: some twenty comparisons of short strings, and nothing to build or to keep in step.

use std::fmt::Write as _;

use codec::inflate::InflateError;

use crate::{ALL, Decode, Dialect, Door, Encoding, Kind, Malformed, Refusal, Request, Route, Say, Statuses};

/// The dialect and route for `method` and `path`, `None` when no dialect has that door. Of several on one path it is the
/// first; [`owner`] tells them apart.
pub fn find(method: &str, path: &str) -> Option<(&'static Dialect, &'static Route)> {
    doors().find(|(_, _, m, p)| *m == method && is_at(p, path)).map(|(dialect, route, _, _)| (dialect, route))
}

/// The dialect and route of a request: on a path that several dialects have, the one that claims it, else the one that
/// claims none.
pub fn owner(method: &str, request: &Request<'_>) -> Option<(&'static Dialect, &'static Route)> {
    let here = || doors().filter(|(_, _, m, p)| *m == method && is_at(p, request.path));
    let claims = |route: &Route| route.claims.is_some_and(|claims| claims(request));
    let first = here().find(|(_, route, ..)| claims(route));
    let unclaimed = || here().find(|(_, route, ..)| route.claims.is_none());
    first.or_else(unclaimed).or_else(|| here().next()).map(|(dialect, route, ..)| (dialect, route))
}

/// As [`matches()`], with or without a slash at the path's end.
fn is_at(pattern: &str, path: &str) -> bool {
    let path = if path.len() > 1 { path.strip_suffix('/').unwrap_or(path) } else { path };
    matches(pattern, path)
}

/// Whether `path` is `pattern`; a part of the pattern in braces is any part.
pub fn matches(pattern: &str, path: &str) -> bool {
    let (mut wanted, mut given) = (pattern.split('/'), path.split('/'));
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return true,
            (Some(w), Some(g)) if w == g || w.starts_with('{') && !g.is_empty() => {}
            _ => return false,
        }
    }
}

fn doors() -> impl Iterator<Item = (&'static Dialect, &'static Route, &'static str, &'static str)> {
    ALL.iter().flat_map(|dialect| {
        dialect.routes.iter().filter_map(move |route| {
            let (method, path) = route.door.http()?;
            Some((*dialect, route, method, path))
        })
    })
}

/// What is done with a dialect's lines, where it has some.
pub fn lines_of(name: &str) -> Option<(&'static Dialect, Decode, Say)> {
    let dialect = ALL.iter().find(|dialect| dialect.name == name)?;
    dialect.routes.iter().find_map(|route| match route.kind {
        Kind::Lines { decode, answer } => Some((*dialect, decode, answer)),
        _ => None,
    })
}

/// The decoder of what is posted to a path; of lines where it is a dialect's name instead.
pub fn decoder(path: &str) -> Option<(&'static Dialect, Decode)> {
    if let Some((dialect, decode, _)) = lines_of(path) {
        return Some((dialect, decode));
    }
    let (dialect, route) = find("POST", path)?;
    match route.kind {
        Kind::Ingest { decode, .. } => Some((dialect, decode)),
        _ => None,
    }
}

/// Packings that may lie around one another.
const ENCODINGS_MAX: usize = 3;

impl Dialect {
    /// How the body of `request` is packed, in the order in which it is to be unpacked; refused when the dialect does not
    /// take that. A header may list several encodings, the one that was applied last at its end (RFC 9110 8.4).
    pub fn encodings(&self, request: &Request<'_>) -> Result<Vec<Encoding>, Refusal> {
        let names = request.content_encoding.trim();
        let inner = self.inner.and_then(|inner| inner(request));
        if names.is_empty() {
            return Ok(inner.or(self.encodings.first().copied()).into_iter().collect());
        }
        let known = |name: &str| {
            let alias = self.encoding_aliases.iter().find(|(alias, _)| alias.eq_ignore_ascii_case(name));
            let encoding = alias.map(|(_, encoding)| *encoding).or_else(|| Encoding::from_name(name));
            encoding.filter(|encoding| self.encodings.contains(encoding))
        };
        let parts = names.rsplit(',').map(str::trim).filter(|name| !name.is_empty());
        let encodings: Option<Vec<_>> = parts.map(known).collect();
        let encodings = encodings.filter(|encodings| (1..=ENCODINGS_MAX).contains(&encodings.len()));
        let with_inner = |mut encodings: Vec<Encoding>| {
            if inner.is_some() && encodings.last() != inner.as_ref() {
                encodings.retain(|encoding| *encoding != Encoding::Identity);
                encodings.extend(inner);
            }
            encodings
        };
        encodings.map(with_inner).ok_or_else(|| {
            let known: Vec<_> = self.encodings.iter().map(|e| e.as_str()).collect();
            Refusal::UnsupportedEncoding(format!(
                "content encoding {:?} is not supported here: use one of {}",
                model::labels::truncated(names),
                known.join(", ")
            ))
        })
    }
}

impl Statuses {
    /// What most answer. A tenant over its rate gets 503 here: not all senders come back after a 429.
    pub const USUAL: Self = Self {
        stored: 204,
        no_credential: 401,
        bad_credential: 401,
        forbidden: 403,
        too_big: 413,
        undecodable: 400,
        unsupported: 415,
        partial: 400,
        over_rate: 503,
        overloaded: 503,
    };

    /// The status for a refusal.
    pub fn of(&self, refusal: &Refusal) -> u16 {
        match refusal {
            Refusal::NoCredential => self.no_credential,
            Refusal::BadCredential => self.bad_credential,
            Refusal::Forbidden => self.forbidden,
            Refusal::TooBig { .. } => self.too_big,
            Refusal::Undecodable(_) => self.undecodable,
            Refusal::UnsupportedMedia(_) | Refusal::UnsupportedEncoding(_) => self.unsupported,
            Refusal::OverRate { .. } | Refusal::ManyRequests { .. } => self.over_rate,
            Refusal::Overloaded { .. } => self.overloaded,
            Refusal::Internal => 500,
        }
    }
}

impl Refusal {
    /// Seconds after which the same request may do better; of the others none will.
    pub fn retry_after_s(&self) -> Option<u32> {
        match self {
            Self::OverRate { retry_after_s }
            | Self::ManyRequests { retry_after_s }
            | Self::Overloaded { retry_after_s, .. } => Some(*retry_after_s),
            _ => None,
        }
    }
}

impl From<InflateError> for Refusal {
    fn from(error: InflateError) -> Self {
        match error {
            InflateError::TooBig { limit } => Self::TooBig { limit },
            InflateError::Corrupt(_) => Self::Undecodable(error.to_string()),
        }
    }
}

impl From<Malformed> for Refusal {
    fn from(malformed: Malformed) -> Self {
        Self::Undecodable(malformed.to_string())
    }
}

/// The table of dialects for the docs, as Markdown.
pub fn docs_table() -> String {
    let mut table = String::from(
        "| dialect | doors | encodings | body, decoded (MiB) | stored | partial | too big | over rate | overloaded |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for dialect in ALL {
        let doors_of = |wanted: fn(&Kind) -> bool| {
            let routes = dialect.routes.iter().filter(|route| wanted(&route.kind));
            let doors = routes.map(|route| match route.door {
                Door::Http { method, path } => format!("`{method} {path}`"),
                Door::Grpc { path } => format!("`gRPC {path}`"),
                Door::Lines { listener } => format!("lines: {listener}"),
            });
            doors.collect::<Vec<_>>().join(", ")
        };
        let mut doors = doors_of(|kind| matches!(kind, Kind::Ingest { .. } | Kind::Lines { .. }));
        let dropped = doors_of(|kind| matches!(kind, Kind::Discard(_)));
        if !dropped.is_empty() {
            doors = format!("{doors}; *received, not kept*: {dropped}");
        }
        let encodings: Vec<_> = dialect.encodings.iter().map(|e| e.as_str()).collect();
        let (limits, statuses) = (dialect.limits, dialect.statuses);
        // Writing to a String cannot fail.
        let _ = writeln!(
            table,
            "| {} (`{}`) | {} | {} | {}, {} | {} | {} | {} | {} | {} |",
            dialect.title,
            dialect.name,
            doors,
            encodings.join(", "),
            limits.wire >> 20,
            limits.decoded >> 20,
            statuses.stored,
            statuses.partial,
            statuses.too_big,
            statuses.over_rate,
            statuses.overloaded,
        );
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_door_has_one_owner_and_is_found() {
        let all: Vec<_> = doors().collect();
        for (i, (dialect, route, method, path)) in all.iter().enumerate() {
            let before: Vec<_> = all[..i].iter().filter(|(_, _, m, p)| (m, p) == (method, path)).collect();
            let unclaimed = before.iter().filter(|(_, route, ..)| route.claims.is_none()).count();
            assert!(
                unclaimed + usize::from(route.claims.is_none()) <= 1,
                "{method} {path} is unclaimed twice"
            );
            assert!(before.iter().all(|(other, ..)| other.name != dialect.name), "{method} {path} twice");
            let (found, found_route) = find(method, path).unwrap();
            let first = before.first().map_or(*dialect, |(first, ..)| first);
            assert_eq!((found.name, found_route.door), (first.name, route.door));
        }
        assert!(find("PUT", "/api/v1/write").is_none());
        assert_eq!(find("POST", "/api/v1/write/").unwrap().0.name, "remote_write");
        assert_eq!(find("POST", "/v1/input/0123").unwrap().0.name, "datadog");
        assert!(find("POST", "/v1/input/0123/x").is_none());
        assert!(find("POST", "/api/v1/nothing").is_none());
    }

    #[test]
    fn an_absent_encoding_is_the_first_and_others_are_refused() {
        fn encodings(dialect: &Dialect, name: &str) -> Option<Vec<Encoding>> {
            dialect.encodings(&Request { content_encoding: name, ..Request::default() }).ok()
        }
        for dialect in ALL {
            assert_eq!(encodings(dialect, ""), Some(vec![dialect.encodings[0]]), "{}", dialect.name);
            for known in Encoding::ALL {
                let taken = dialect.encodings.contains(&known).then_some(vec![known]);
                assert_eq!(encodings(dialect, known.as_str()), taken, "{} {known:?}", dialect.name);
                assert_eq!(encodings(dialect, &known.as_str().to_uppercase()), taken);
            }
            assert_eq!(encodings(dialect, "br"), None);
            assert_eq!(encodings(dialect, "gzip, br"), None);
            assert_eq!(encodings(dialect, "gzip, gzip, gzip, gzip"), None);
            for (alias, encoding) in dialect.encoding_aliases {
                assert_eq!(encodings(dialect, alias), Some(vec![*encoding]));
            }
        }
        let datadog = find("POST", "/api/v2/series").unwrap().0;
        assert_eq!(encodings(datadog, "deflate, zstd"), Some(vec![Encoding::Zstd, Encoding::Deflate]));
    }

    #[test]
    fn what_is_packed_without_saying_so_is_unpacked_last() {
        let loki = find("POST", "/loki/api/v1/push").unwrap().0;
        let encodings = |content_type, content_encoding| {
            loki.encodings(&Request { content_type, content_encoding, ..Request::default() }).unwrap()
        };
        for (content_encoding, wanted) in [
            ("", &[Encoding::Snappy][..]),
            ("snappy", &[Encoding::Snappy]),
            ("identity", &[Encoding::Snappy]),
            ("gzip", &[Encoding::Gzip, Encoding::Snappy]),
        ] {
            assert_eq!(encodings("application/x-protobuf", content_encoding), wanted, "{content_encoding}");
        }
        assert_eq!(encodings("application/json", ""), [Encoding::Identity]);
        assert_eq!(encodings("application/json", "gzip"), [Encoding::Gzip]);
    }

    #[test]
    fn docs_are_in_step() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/dialects.md");
        let wanted = format!(
            "# Dialects\n\nOne row for each protocol, made from `dialects::ALL` by `WEIR_BLESS=1 cargo test -p dialects \
             docs_are_in_step`. A path that is nobody's is answered 404 with the nearest right one.\n\n{}",
            docs_table()
        );
        if std::env::var_os("WEIR_BLESS").is_some() {
            std::fs::write(path, &wanted).unwrap();
        }
        assert_eq!(
            std::fs::read_to_string(path).unwrap_or_default(),
            wanted,
            "docs/dialects.md is out of step"
        );
    }

    #[test]
    fn the_docs_table_has_a_row_for_each_dialect() {
        let table = docs_table();
        assert_eq!(table.lines().count(), ALL.len() + 2);
        let columns: Vec<_> = table.lines().map(|line| line.matches('|').count()).collect();
        assert!(columns.iter().all(|n| *n == columns[0]), "{table}");
        assert!(table.contains("`POST /api/v1/write`") && table.contains("(`text`)"), "{table}");
    }

    #[test]
    fn limits_are_possible_and_statuses_are_errors() {
        for dialect in ALL {
            assert!(dialect.limits.wire <= dialect.limits.decoded, "{}", dialect.name);
            // Lines show none: who may send them is who reaches their listener.
            let has_requests = dialect.routes.iter().any(|route| matches!(route.door, Door::Http { .. }));
            assert_eq!(dialect.credentials.is_empty(), !has_requests, "{}", dialect.name);
            assert!(!dialect.encodings.is_empty());
            let Statuses { stored, no_credential, bad_credential, forbidden, too_big, .. } = dialect.statuses;
            let Statuses { undecodable, unsupported, partial, over_rate, overloaded, .. } = dialect.statuses;
            assert!((200..300).contains(&stored));
            for status in [no_credential, bad_credential, forbidden, too_big, undecodable, unsupported] {
                assert!((400..500).contains(&status), "{} {status}", dialect.name);
            }
            // Or a success that says in its header what was refused (`exercise` looks for it).
            assert!((400..500).contains(&partial) || partial == stored, "{} {partial}", dialect.name);
            // Senders must come back: 429 or 5xx.
            for status in [over_rate, overloaded] {
                assert!(status == 429 || status == 503, "{} {status}", dialect.name);
            }
        }
    }
}
