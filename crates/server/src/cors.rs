//! Which pages in a browser may read the query API's answers (CORS), as Prometheus says it.
//!
//! A page of any origin may by default, for there is nothing to steal: a request is let in by a token in a header that
//! the page must know itself. Cookies do not exist here, and `Access-Control-Allow-Credentials` is never sent, so no
//! answer that a browser obtained with a stored password can be read. With `auth: off` none of this holds, and no other
//! origin may read anything unless `http.cors_origin` says so.

use http::{HeaderMap, HeaderValue, header};
use model::re2::Anchored;

/// The origins that may read.
#[derive(Clone, Debug)]
pub enum Origins {
    /// No other than Weir's own.
    None,
    /// Every one.
    Any,
    /// Those that the pattern matches as a whole.
    Matching(Anchored),
}

impl Origins {
    /// Adds what tells the browser, to the answer to a request of a page at `origin`; and what tells a cache, also where
    /// there is none.
    pub(crate) fn allow(&self, origin: Option<&HeaderValue>, answer: &mut HeaderMap) {
        if let Self::Matching(_) = self {
            // Another origin gets another answer.
            answer.append(header::VARY, HeaderValue::from_static("origin"));
        }
        let Some(origin) = origin else { return };
        let allowed = match self {
            Self::None => None,
            Self::Any => Some(HeaderValue::from_static("*")),
            Self::Matching(pattern) => {
                origin.to_str().is_ok_and(|origin| pattern.is_match(origin)).then(|| origin.clone())
            }
        };
        let Some(allowed) = allowed else { return };
        answer.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        for (name, value) in [
            (
                header::ACCESS_CONTROL_ALLOW_HEADERS,
                "Accept, Authorization, Content-Type, Origin, X-Scope-OrgID",
            ),
            (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, OPTIONS"),
            (header::ACCESS_CONTROL_EXPOSE_HEADERS, "Date"),
        ] {
            answer.insert(name, HeaderValue::from_static(value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(origins: &Origins, origin: &'static str) -> Option<String> {
        let mut answer = HeaderMap::new();
        origins.allow(Some(&HeaderValue::from_static(origin)), &mut answer);
        Some(answer.get(header::ACCESS_CONTROL_ALLOW_ORIGIN)?.to_str().unwrap().to_owned())
    }

    #[test]
    fn a_cache_is_told_that_answers_differ_where_they_do() {
        let vary = |origins: Origins| {
            let mut answer = HeaderMap::new();
            origins.allow(None, &mut answer);
            assert!(!answer.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN));
            answer.contains_key(header::VARY)
        };
        assert!(vary(Origins::Matching(Anchored::new("https://a").unwrap())));
        assert!(!vary(Origins::Any) && !vary(Origins::None));
    }

    #[test]
    fn a_pattern_matches_the_whole_origin() {
        let origins = Origins::Matching(Anchored::new("https://(a|b)\\.example").unwrap());
        assert_eq!(allowed(&origins, "https://a.example").as_deref(), Some("https://a.example"));
        for origin in
            ["https://c.example", "https://a.example.evil", "http://a.example", "xhttps://a.example"]
        {
            assert_eq!(allowed(&origins, origin), None, "{origin}");
        }
        assert_eq!(allowed(&Origins::Any, "null").as_deref(), Some("*"));
        assert_eq!(allowed(&Origins::None, "https://a.example"), None);
    }
}
