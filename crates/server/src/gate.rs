//! Gate 1: from a request's head to the tenant that it may act for.
//!
//! This file only collects what the request presents; [`admission::Authority`] decides. Credentials are looked for
//! only in the places that the dialect names, and two different ones in a request contradict each other.

use std::borrow::Cow;

use admission::{Authority, Grant, Presented, Refused, Scope};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dialects::Credential;
use http::request::Parts;
use http::{HeaderMap, header};

use crate::app::App;
use crate::listen::{Peer, ServerName};
use crate::proxies::Client;

/// Where the query side, admin routes and GET /metrics look for credentials.
pub const ANSWER_CREDENTIALS: &[Credential] = &[Credential::Bearer, Credential::Basic];

/// Admits a request for a tenant's data.
pub fn admit(app: &App, parts: &Parts, places: &[Credential], scope: Scope) -> Result<Grant, Refused> {
    with_presented(app, parts, places, |authority, presented| authority.admit(presented, scope))
}

/// Admits a request that administers.
pub fn admit_admin(app: &App, parts: &Parts) -> Result<(), Refused> {
    with_presented(app, parts, ANSWER_CREDENTIALS, |authority, presented| {
        authority.admit_admin(presented).map(|_| ())
    })
}

/// Admits a request for Weir's own metrics.
pub fn admit_self_metrics(app: &App, parts: &Parts) -> Result<(), Refused> {
    with_presented(app, parts, ANSWER_CREDENTIALS, |authority, presented| {
        authority.admit_self_metrics(presented).map(|_| ())
    })
}

fn with_presented<T>(
    app: &App,
    parts: &Parts,
    places: &[Credential],
    decide: impl FnOnce(&Authority, &Presented<'_>) -> Result<T, Refused>,
) -> Result<T, Refused> {
    let found = credentials(&parts.headers, places);
    let credentials: Vec<&str> = found.iter().map(AsRef::as_ref).collect();
    // A value that is not text is not a tenant's name either: it is kept as one that matches none.
    let lines = parts.headers.get_all("x-scope-orgid").into_iter();
    let org_ids: Vec<&str> = lines.map(|value| value.to_str().unwrap_or("\u{fffd}")).collect();
    let client = client(app, parts);
    let host = client.as_ref().and_then(|client| client.host.as_deref()).or_else(|| asked_host(parts));
    let presented =
        Presented { credentials: &credentials, org_ids: &org_ids, host, now_ms: app.env.clock.now_ms() };
    let decision = decide(&app.authority(), &presented);
    if let Err(refused) = &decision {
        app.metrics.auth_failures.with(&[label(*refused)]).add(1);
        let who = client.map_or_else(|| "unknown".to_owned(), |client| client.address.to_string());
        app.refusals.note(&app.env, label(*refused), &who);
    }
    decision
}

/// The client of a request, as far as trusted proxies tell.
pub fn client(app: &App, parts: &Parts) -> Option<Client> {
    let Peer(peer) = parts.extensions.get::<Peer>()?;
    Some(app.proxies().client(peer.ip(), &parts.headers))
}

/// The host that was asked for; [`contradicts_itself`] has made sure that there are not two.
pub fn asked_host(parts: &Parts) -> Option<&str> {
    let named = || parts.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    parts.uri.authority().map(|authority| authority.as_str()).or_else(named)
}

/// Whether `:authority` (or an absolute request target) and `Host` name two different hosts, or `Host` stands twice.
pub fn contradicts_itself(parts: &Parts) -> bool {
    let mut hosts = parts.headers.get_all(header::HOST).into_iter();
    let (first, second) = (hosts.next(), hosts.next());
    let differs = |host: &http::HeaderValue| {
        parts
            .uri
            .authority()
            .is_some_and(|asked| !host.as_bytes().eq_ignore_ascii_case(asked.as_str().as_bytes()))
    };
    second.is_some() || first.is_some_and(differs)
}

/// Whether the handshake asked for another host than the request does, which is for a trusted proxy alone to do: where
/// there are virtual hosts, what one certificate vouches for is not another one's.
pub fn is_misdirected(app: &App, parts: &Parts) -> bool {
    let (Some(ServerName(name)), Some(host)) = (parts.extensions.get::<ServerName>(), asked_host(parts))
    else {
        return false;
    };
    let proxied = || parts.extensions.get::<Peer>().is_some_and(|Peer(peer)| app.proxies().trusts(peer.ip()));
    let host = host.rsplit_once(':').map_or(host, |(host, _)| host).trim_end_matches('.');
    app.authority().policy().domain.is_some() && !host.eq_ignore_ascii_case(name) && !proxied()
}

fn credentials<'a>(headers: &'a HeaderMap, places: &[Credential]) -> Vec<Cow<'a, str>> {
    let lines = headers.get_all(header::AUTHORIZATION).into_iter();
    lines.filter_map(|line| credential(line.to_str().ok()?, places)).collect()
}

fn credential<'a>(line: &'a str, places: &[Credential]) -> Option<Cow<'a, str>> {
    let (scheme, rest) = line.trim().split_once(' ')?;
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") && places.contains(&Credential::Bearer) {
        return Some(Cow::Borrowed(rest));
    }
    if scheme.eq_ignore_ascii_case("basic") && places.contains(&Credential::Basic) {
        let pair = STANDARD.decode(rest).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        // Something that is no pair of user and password is still a credential: one that nobody knows.
        let password =
            pair.as_deref().and_then(|pair| pair.split_once(':')).map_or("", |(_, password)| password);
        return Some(Cow::Owned(password.to_owned()));
    }
    None
}

/// The value of the self-metrics' label `reason`.
pub fn label(refused: Refused) -> &'static str {
    match refused {
        Refused::NoCredential => "no_credential",
        Refused::BadCredential => "bad_credential",
        Refused::Conflicting => "conflicting_credentials",
        Refused::TwoOrgIds | Refused::SeveralTenants => "several_tenants",
        Refused::OtherTenant => "other_tenant",
        Refused::OtherHost => "other_host",
        Refused::Scope => "scope",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(lines: &[&'static str], places: &[Credential]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::AUTHORIZATION, line.parse().unwrap());
        }
        credentials(&headers, places).into_iter().map(Cow::into_owned).collect()
    }

    #[test]
    fn credentials_are_found_where_the_dialect_names_them() {
        let both = ANSWER_CREDENTIALS;
        assert_eq!(found(&["Bearer abc"], both), ["abc"]);
        assert_eq!(found(&["bearer  abc"], both), ["abc"]);
        assert_eq!(found(&["Basic eDphYmM="], both), ["abc"]);
        assert_eq!(found(&["Basic eDphOmI="], both), ["a:b"]);
        assert_eq!(found(&["Basic !!!"], both), [""]);
        assert_eq!(found(&["Bearer abc", "Bearer def"], both), ["abc", "def"]);
        assert!(found(&["Basic eDphYmM="], &[Credential::Bearer]).is_empty());
        assert!(found(&["Digest x", "abc"], both).is_empty());
    }
}
