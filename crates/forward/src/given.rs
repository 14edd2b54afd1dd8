//! Parts of an output's configuration that are given in a way of their own: tenants, tokens, headers, and what is refused by
//! name.

use std::collections::BTreeMap;
use std::fmt;

use dialects::outgoing::TokenPlace;
use outbound::HttpConfig;
use outbound::config::{Authorization, HeaderValues};
use serde::de::{self, Deserialize, Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde::{Serialize, Serializer};

use crate::config::{Invalid, Output};

/// `tenants`: a list, one name, or `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tenants {
    /// `*`
    All,
    /// Names.
    Named(Vec<String>),
}

impl Tenants {
    /// Whether the tenant of this name is among them.
    pub fn names(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Named(names) => names.iter().any(|other| other == name),
        }
    }
}

impl Serialize for Tenants {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::All => serializer.serialize_str("*"),
            Self::Named(names) => names.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Tenants {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Either)
    }
}

struct Either;

impl<'de> Visitor<'de> for Either {
    type Value = Tenants;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("names of tenants, or '*'")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Tenants, E> {
        Ok(if text == "*" { Tenants::All } else { Tenants::Named(vec![text.to_owned()]) })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Tenants, A::Error> {
        let mut names: Vec<String> = Vec::new();
        while let Some(name) = items.next_element()? {
            names.push(name);
        }
        let is_all = names.iter().any(|name| name == "*");
        Ok(if is_all { Tenants::All } else { Tenants::Named(names) })
    }
}

/// Headers that something else sets.
const RESERVED: [&str; 10] = [
    "authorization",
    "content-encoding",
    "content-length",
    "content-type",
    "host",
    "retry-attempt",
    "user-agent",
    "x-prometheus-remote-write-version",
    "x-weir-hops",
    "x-weir-via",
];

/// For serde: what headers say is hidden but for the name of a tenant, since some receivers take their keys in one.
pub(crate) fn hide_values<S: Serializer>(
    headers: &BTreeMap<String, String>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let shown = |(name, value): (&'_ String, &'_ String)| match name.eq_ignore_ascii_case("x-scope-orgid") {
        true => (name.clone(), value.clone()),
        false => (name.clone(), outbound::HIDDEN.to_owned()),
    };
    serializer.collect_map(headers.iter().map(shown))
}

/// Headers that may be given.
pub(crate) fn headers(headers: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>, Invalid> {
    for (name, value) in headers {
        let key = || format!("headers.{name}");
        if RESERVED.iter().any(|reserved| reserved.eq_ignore_ascii_case(name)) {
            let hint = if name.eq_ignore_ascii_case("authorization") {
                ": use authorization or basic_auth"
            } else {
                ""
            };
            return Err(Invalid::new(key(), format!("is set by Weir{hint}")));
        }
        if http::HeaderName::from_bytes(name.as_bytes()).is_err()
            || http::HeaderValue::from_str(value).is_err()
        {
            return Err(Invalid::new(key(), "has characters that no header may have"));
        }
    }
    Ok(headers.clone())
}

/// Puts the token of `output` where its receiver looks for it.
pub(crate) fn token(output: &Output, place: TokenPlace, http: &mut HttpConfig) -> Result<(), Invalid> {
    let (token, file) = (&output.token, &output.token_file);
    match (token, file) {
        (None, None) => return Ok(()),
        (Some(_), Some(_)) => {
            return Err(Invalid::new("token", "token and token_file stand beside each other"));
        }
        _ => {}
    }
    let kind = match place {
        TokenPlace::Header(name) => {
            let values = HeaderValues {
                secrets: token.iter().cloned().collect(),
                files: file.iter().cloned().collect(),
                ..HeaderValues::default()
            };
            http.http_headers.insert(name.to_owned(), values);
            return Ok(());
        }
        TokenPlace::Bearer => "Bearer",
        TokenPlace::Scheme(scheme) => scheme,
    };
    if http.authorization.is_some() || http.basic_auth.is_some() {
        return Err(Invalid::new("token", "stands beside another credential"));
    }
    let (credentials, credentials_file) = (token.clone(), file.clone());
    http.authorization = Some(Authorization { kind: kind.to_owned(), credentials, credentials_file });
    Ok(())
}

macro_rules! refused {
    ($($name:ident $what:literal)*) => {$(
        pub(crate) fn $name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<(), D::Error> {
            IgnoredAny::deserialize(deserializer)?;
            Err(de::Error::custom(concat!(
                "Weir signs no requests for ", $what,
                ": give it a token that something else keeps fresh, as authorization.credentials_file"
            )))
        }
    )*};
}

refused! {
    no_sigv4 "AWS (sigv4)"
    no_azuread "Azure AD (azuread)"
    no_google_iam "Google IAM (google_iam)"
}

#[cfg(test)]
mod tests {
    use crate::config::{Output, RemoteWrite};

    #[test]
    fn keys_in_queries_and_headers_are_not_shown() {
        let headers = serde_json::json!({ "X-Key": "canary", "x-scope-orgid": "acme" });
        for url in ["http://a/w?api_key=canary&canary", "http://u:canary@a/w?k=canary=", "canary@?x=canary"] {
            let given = serde_json::json!({ "url": url, "headers": headers });
            let output: Output = serde_json::from_value(given.clone()).unwrap();
            let config: RemoteWrite = serde_json::from_value(given).unwrap();
            let shown = serde_json::to_string(&(output, config)).unwrap();
            assert!(!shown.contains("canary"), "{shown}");
            assert!(shown.contains("acme") && shown.contains("X-Key"), "{shown}");
        }
        assert_eq!(outbound::without_query_values("http://a/w?k=v&l"), "http://a/w?k=<secret>&<secret>");
        assert_eq!(outbound::without_query_values("http://a/w"), "http://a/w");
    }
}
