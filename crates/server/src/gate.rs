//! Gate 1: from a request's head to the tenant that it may act for.
//!
//! This file only collects what the request presents; [`admission::Authority`] decides. Credentials are looked for
//! only in the places that the dialect names, and two different ones in a request contradict each other.

use std::borrow::Cow;
use std::sync::Arc;

use admission::{Authority, Grant, Presented, Refused, Scope, Tenant};
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

/// Whose account is asked for, and by whom.
#[derive(Clone, Debug)]
pub struct Account {
    /// The tenant.
    pub tenant: Arc<Tenant>,
    /// Whether the one who asks may know of the whole process.
    pub operates: bool,
}

/// Admits a request for a tenant's account: the tenant's own, or of the one that is `named` by whoever administers.
pub fn admit_account(app: &App, parts: &Parts, named: Option<&str>) -> Result<Account, Refused> {
    with_presented(app, parts, ANSWER_CREDENTIALS, |authority, presented| {
        let administers = authority.admit_admin(presented).is_ok();
        if administers && let Some(name) = named {
            let tenant = authority.tenant(name).ok_or(Refused::OtherTenant)?;
            return Ok(Account { tenant: Arc::clone(tenant), operates: true });
        }
        let tenant = authority.admit(presented, Scope::Read)?.tenant;
        if named.is_some_and(|name| name != tenant.name.as_str()) {
            return Err(Refused::OtherTenant);
        }
        let operates = administers || authority.admit_self_metrics(presented).is_ok();
        Ok(Account { tenant, operates })
    })
}

fn with_presented<T>(
    app: &App,
    parts: &Parts,
    places: &[Credential],
    decide: impl FnOnce(&Authority, &Presented<'_>) -> Result<T, Refused>,
) -> Result<T, Refused> {
    let found = credentials(parts, places);
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

/// Whether a request presents a credential in a place that is not everybody's.
pub fn presents_its_own(parts: &Parts, places: &[Credential]) -> bool {
    let own: Vec<Credential> =
        places.iter().copied().filter(|place| !ANSWER_CREDENTIALS.contains(place)).collect();
    !credentials(parts, &own).is_empty()
}

fn credentials<'a>(parts: &'a Parts, places: &[Credential]) -> Vec<Cow<'a, str>> {
    let lines = parts.headers.get_all(header::AUTHORIZATION).into_iter();
    let mut found: Vec<_> = lines.filter_map(|line| credential(line.to_str().ok()?, places)).collect();
    for place in places {
        match place {
            Credential::Bearer | Credential::Basic | Credential::Scheme(_) => {}
            Credential::Header(name) => found.extend(in_header(&parts.headers, name)),
            Credential::Query(name) => found.extend(in_query(parts.uri.query().unwrap_or(""), name)),
            Credential::Path => found.extend(in_path(parts)),
        }
    }
    found
}

/// A value that is not text is a credential all the same: one that nobody knows.
fn in_header<'a>(headers: &'a HeaderMap, name: &'a str) -> impl Iterator<Item = Cow<'a, str>> {
    let values = headers.get_all(name).into_iter();
    values.map(|value| Cow::Borrowed(value.to_str().map_or("", str::trim)))
}

/// Tokens need no percent-encoding: one that has it is unknown.
fn in_query<'a>(query: &'a str, name: &'a str) -> impl Iterator<Item = Cow<'a, str>> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.filter(move |(key, _)| *key == name).map(|(_, value)| Cow::Borrowed(value))
}

/// The part of the path that stands in braces in its route.
fn in_path(parts: &Parts) -> Option<Cow<'_, str>> {
    let path = parts.uri.path();
    let (_, route) = dialects::find(parts.method.as_str(), path)?;
    let (_, pattern) = route.door.http()?;
    let at = pattern.split('/').position(|part| part.starts_with('{'))?;
    path.split('/').nth(at).map(Cow::Borrowed)
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
    let named = places.iter().any(|place| match place {
        Credential::Scheme(name) => scheme.eq_ignore_ascii_case(name),
        _ => false,
    });
    named.then(|| Cow::Borrowed(rest.rsplit_once(':').map_or(rest, |(_, token)| token)))
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
        let mut request = http::Request::post("/api/v1/write");
        for line in lines {
            request = request.header(header::AUTHORIZATION, *line);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        credentials(&parts, places).into_iter().map(Cow::into_owned).collect()
    }

    #[test]
    fn a_dialects_own_places_are_looked_at_for_it_alone() {
        let (datadog, _) = dialects::find("POST", "/api/v2/series").unwrap();
        let request = |target: &str, header: &str| {
            let request = http::Request::post(target).header(header, "abc");
            request.body(()).unwrap().into_parts().0
        };
        for (target, header, wanted) in [
            ("/api/v2/series", "Dd-Api-Key", &["abc"][..]),
            ("/api/v2/series?x=1&api_key=def", "x", &["def"]),
            ("/api/v2/series?dd-api-key=def", "dd-api-key", &["abc", "def"]),
            ("/v1/input/0123?ddtags=a:b", "x", &["0123"]),
            ("/datadog/v1/input/0123/", "x", &["0123"]),
            ("/v1/input", "x", &[]),
            ("/api/v2/series", "authorization", &[]),
        ] {
            let parts = request(target, header);
            assert_eq!(credentials(&parts, datadog.credentials), wanted, "{target} {header}");
            assert_eq!(presents_its_own(&parts, datadog.credentials), !wanted.is_empty());
            assert!(credentials(&parts, ANSWER_CREDENTIALS).is_empty());
        }
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
        let token = &[Credential::Scheme("token")];
        assert_eq!(found(&["Token abc", "token x:def", "Splunk ghi"], token), ["abc", "def"]);
    }
}
