//! URLs over http and https. A user and password in one become basic auth and are never shown again.

use std::fmt;

use base64::Engine;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::secret::{HIDDEN, Secret};

/// Plain or over TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// `http`
    Http,
    /// `https`
    Https,
    /// `socks5` or `socks5h`, for proxies.
    Socks5,
}

impl Scheme {
    /// As written in a URL.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Socks5 => "socks5",
        }
    }

    /// The port when none is named.
    pub fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
            Self::Socks5 => 1080,
        }
    }
}

/// Why a text is no URL that can be asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Occurs when it cannot be read as a URL.
    #[error("not a URL like https://host:port/path")]
    Malformed,
    /// Occurs when the scheme is another than http or https.
    #[error("unsupported scheme {0:?}, only http and https are")]
    Scheme(String),
}

/// An absolute URL.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Url {
    scheme: Scheme,
    /// In lower case, without brackets.
    host: String,
    port: Option<u16>,
    /// User and password, decoded.
    user: Option<(String, Option<Secret>)>,
    /// Begins with a slash.
    path_and_query: String,
}

impl Url {
    /// Reads a URL over http or https. A fragment is left out.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let url = Self::parse_any(text)?;
        match url.scheme {
            Scheme::Socks5 => Err(UrlError::Scheme(url.scheme.as_str().to_owned())),
            _ => Ok(url),
        }
    }

    /// Reads the URL of a proxy, which may be one of SOCKS5.
    pub fn parse_any(text: &str) -> Result<Self, UrlError> {
        let (scheme, rest) = text.split_once("://").ok_or(UrlError::Malformed)?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            "socks5" | "socks5h" => Scheme::Socks5,
            _ if is_scheme(scheme) => return Err(UrlError::Scheme(model::labels::truncated(scheme))),
            // What stands there may be anything, a password too.
            _ => return Err(UrlError::Malformed),
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, tail) = rest.split_at(end);
        let (user, authority) = match authority.rsplit_once('@') {
            Some((user, authority)) => (Some(user_of(user).ok_or(UrlError::Malformed)?), authority),
            None => (None, authority),
        };
        let (host, port) = host_and_port(authority).ok_or(UrlError::Malformed)?;
        let path_and_query = if tail.starts_with('/') { tail.to_owned() } else { format!("/{tail}") };
        let url = Self { scheme, host, port, user, path_and_query };
        url.path_and_query.parse::<http::uri::PathAndQuery>().map_err(|_| UrlError::Malformed)?;
        url.authority().parse::<http::uri::Authority>().map_err(|_| UrlError::Malformed)?;
        Ok(url)
    }

    /// The scheme.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The host in lower case, an IPv6 address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port that is connected to.
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(self.scheme.port())
    }

    /// Path and query, as a request over HTTP/1 names what it wants.
    pub fn path_and_query(&self) -> &str {
        &self.path_and_query
    }

    /// Host and port as the header `Host` has them: the port only where it is written.
    pub fn authority(&self) -> String {
        let host = self.bracketed();
        match self.port {
            Some(port) if port != self.scheme.port() => format!("{host}:{port}"),
            _ => host,
        }
    }

    /// Host and port, the port always.
    pub fn host_and_port(&self) -> String {
        format!("{}:{}", self.bracketed(), self.port())
    }

    /// Whether a request to `other` goes to the same place: scheme, host and port.
    pub fn is_same_origin(&self, other: &Url) -> bool {
        (self.scheme, &self.host, self.port()) == (other.scheme, &other.host, other.port())
    }

    /// The same place with another path and query, which must begin with a slash.
    pub fn with_path_and_query(&self, path_and_query: &str) -> Result<Self, UrlError> {
        let good = path_and_query.starts_with('/');
        path_and_query
            .parse::<http::uri::PathAndQuery>()
            .ok()
            .filter(|_| good)
            .map(|_| Self { path_and_query: path_and_query.to_owned(), ..self.clone() })
            .ok_or(UrlError::Malformed)
    }

    /// Where a `Location` leads from here: an absolute URL, one without a scheme, or a path.
    pub(crate) fn join(&self, location: &str) -> Result<Self, UrlError> {
        let location = location.split('#').next().unwrap_or_default();
        // A scheme stands before anything else; further behind, `://` is a part of a path or of a query.
        let head = location.split(['/', '?']).next().unwrap_or_default();
        if head.split_once(':').is_some_and(|(scheme, _)| is_scheme(scheme)) {
            return Self::parse(location);
        }
        if location.starts_with("//") {
            return Self::parse(&format!("{}:{location}", self.scheme.as_str()));
        }
        let path = self.path_and_query.split('?').next().unwrap_or("/");
        let target = if location.starts_with('/') {
            location.to_owned()
        } else if location.starts_with('?') || location.is_empty() {
            format!("{path}{location}")
        } else {
            let folder = &path[..=path.rfind('/').unwrap_or(0)];
            format!("{folder}{location}")
        };
        self.with_path_and_query(&without_dots(&target))
    }

    /// The same without user and password.
    pub(crate) fn without_user(self) -> Self {
        Self { user: None, ..self }
    }

    /// `Basic …` when a user stands in the URL.
    pub(crate) fn basic_auth(&self) -> Option<Secret> {
        let (user, password) = self.user.as_ref()?;
        let password = password.as_ref().map_or("", |password| password.reveal());
        Some(basic(user, password))
    }

    /// User and password of the URL.
    pub(crate) fn user(&self) -> Option<(&str, &str)> {
        let (user, password) = self.user.as_ref()?;
        Some((user, password.as_ref().map_or("", |password| password.reveal())))
    }

    fn bracketed(&self) -> String {
        if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() }
    }
}

/// Whether a text is written as schemes are (RFC 3986 3.1).
fn is_scheme(text: &str) -> bool {
    let more = |b: u8| b.is_ascii_alphanumeric() || b"+-.".contains(&b);
    text.starts_with(|first: char| first.is_ascii_alphabetic()) && text.bytes().all(more)
}

/// A path and query without `.` and `..` (RFC 3986 5.2.4), which lead at most to the root.
fn without_dots(target: &str) -> String {
    let (path, query) = target.split_at(target.find('?').unwrap_or(target.len()));
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.strip_prefix('/').unwrap_or(path).split('/');
    for segment in segments.clone() {
        match segment {
            "." => {}
            ".." => drop(kept.pop()),
            other => kept.push(other),
        }
    }
    // A path that ends in one of them is a folder.
    let end = if matches!(segments.next_back(), Some("." | "..")) && !kept.is_empty() { "/" } else { "" };
    format!("/{}{end}{query}", kept.join("/"))
}

/// The value of `Authorization` for a user and a password.
pub(crate) fn basic(user: &str, password: &str) -> Secret {
    let encoded = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    Secret::new(format!("Basic {encoded}"))
}

fn user_of(text: &str) -> Option<(String, Option<Secret>)> {
    match text.split_once(':') {
        Some((user, password)) => Some((unescaped(user)?, Some(Secret::new(unescaped(password)?)))),
        None => Some((unescaped(text)?, None)),
    }
}

/// `%40` and its like as what they stand for.
fn unescaped(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        if byte == b'%' {
            let digits = std::str::from_utf8(tail.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &tail[2..];
        } else {
            bytes.push(byte);
            rest = tail;
        }
    }
    String::from_utf8(bytes).ok()
}

fn host_and_port(authority: &str) -> Option<(String, Option<u16>)> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            (host, rest)
        }
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let port = match port.strip_prefix(':') {
        Some("") => None,
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => Some(digits.parse().ok()?),
        Some(_) => return None,
        None if port.is_empty() => None,
        None => return None,
    };
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~:".contains(&b);
    (!host.is_empty() && host.bytes().all(plain)).then(|| (host.to_ascii_lowercase(), port))
}

/// Without user and password: many an API takes its key as the user.
impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.scheme.as_str())?;
        if self.user.is_some() {
            write!(f, "{HIDDEN}@")?;
        }
        let port = self.port.map(|port| format!(":{port}")).unwrap_or_default();
        write!(f, "{}{port}{}", self.bracketed(), self.path_and_query)
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Url {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A URL as it may be shown where its query may hold a key: without the values in it.
pub fn without_query_values(url: &str) -> String {
    let Some((before, query)) = url.split_once('?') else { return url.to_owned() };
    let hidden = |parameter: &str| match parameter.split_once('=') {
        Some((name, _)) => format!("{name}={HIDDEN}"),
        None if parameter.is_empty() => String::new(),
        None => HIDDEN.to_owned(),
    };
    let parameters: Vec<String> = query.split('&').map(hidden).collect();
    format!("{before}?{}", parameters.join("&"))
}

/// For serde, of a URL that is kept as it was typed: without its password and the values of its query.
pub fn hide_password_and_query<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&without_query_values(&shown(text)))
}

/// For serde, of a URL that is kept as it was typed: without user and password.
pub fn hide_password<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&shown(text))
}

/// What was typed as a URL, without user and password.
fn shown(text: &str) -> String {
    match Url::parse_any(text) {
        Ok(url) if url.user.is_some() && text.contains('@') => url.to_string(),
        Err(_) if text.contains('@') => HIDDEN.to_owned(),
        _ => text.to_owned(),
    }
}

/// Any scheme, since proxies are written so as well; [`Url::parse`] is stricter.
impl<'de> Deserialize<'de> for Url {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        // What was written may hold a password.
        Self::parse_any(&text).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_and_shown_without_passwords() {
        let cases = [
            ("http://a", "http://a/", "a", 80),
            ("HTTPS://A.b:8443/x?y=1#z", "https://a.b:8443/x?y=1", "a.b", 8443),
            ("http://[::1]:90/", "http://[::1]:90/", "::1", 90),
            ("http://u:p%40ss@host/p", "http://<secret>@host/p", "host", 80),
            ("http://KEY@host/p", "http://<secret>@host/p", "host", 80),
            ("http://host?q", "http://host/?q", "host", 80),
            ("http://host:/", "http://host/", "host", 80),
        ];
        for (text, shown, host, port) in cases {
            let url = Url::parse(text).unwrap();
            assert_eq!((url.to_string().as_str(), url.host(), url.port()), (shown, host, port), "{text}");
            assert_eq!(format!("{url:?}"), shown);
        }
        let url = Url::parse("http://u:p%40ss@host/p").unwrap();
        assert_eq!(url.basic_auth().unwrap().reveal(), "Basic dTpwQHNz");
        // Only a scheme is quoted.
        assert_eq!(Url::parse("ftp://h"), Err(UrlError::Scheme("ftp".into())));
        assert_eq!(Url::parse("user:canary@h/x://h"), Err(UrlError::Malformed));
        for bad in [
            "",
            "host",
            "host:80",
            "ftp://host/",
            "file:///etc/passwd",
            "http://",
            "http:///x",
            "http://a b/",
            "http://a:99999/",
            "http://a:x/",
            "http://[::1/",
            "http://[zz]/",
            "http://a/ b",
            "http://%41/",
            "gopher://x",
            "socks5://p:1",
            "http://a:+80/",
            "http://[::1]x/",
        ] {
            assert!(Url::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn urls_as_typed_are_written_without_passwords() {
        #[derive(Serialize)]
        struct Typed(#[serde(serialize_with = "hide_password")] String);
        let shown = |text: &str| serde_json::to_string(&Typed(text.to_owned())).unwrap();
        assert_eq!(shown("http://h:80"), r#""http://h:80""#);
        assert_eq!(shown("http://u:canary@h"), r#""http://<secret>@h/""#);
        assert_eq!(shown("http://canary@h"), r#""http://<secret>@h/""#);
        assert_eq!(shown("htp://u:canary@h"), r#""<secret>""#);
        assert_eq!(shown("h"), r#""h""#);
    }

    #[test]
    fn locations_lead_somewhere() {
        let url = Url::parse("http://h:90/a/b?c").unwrap();
        let to = |location: &str| url.join(location).map(|url| url.to_string());
        assert_eq!(to("/x?y"), Ok("http://h:90/x?y".into()));
        assert_eq!(to("x"), Ok("http://h:90/a/x".into()));
        assert_eq!(to("?q"), Ok("http://h:90/a/b?q".into()));
        assert_eq!(to("//o/x"), Ok("http://o/x".into()));
        assert_eq!(to("https://h/x"), Ok("https://h/x".into()));
        assert_eq!(to("/login?from=http://h/a"), Ok("http://h:90/login?from=http://h/a".into()));
        assert_eq!(to("x/http://y"), Ok("http://h:90/a/x/http://y".into()));
        assert_eq!(to("../x/./y?../z"), Ok("http://h:90/x/y?../z".into()));
        assert_eq!(to("/x/y/.."), Ok("http://h:90/x/".into()));
        assert_eq!(to("/../../.."), Ok("http://h:90/".into()));
        assert_eq!(to("mailto:x"), Err(UrlError::Malformed));
        assert_eq!(to("file:///x"), Err(UrlError::Scheme("file".into())));
    }
}
