//! Requests of Datadog senders that nothing answers. An Agent repeats them until its queue is full, so they are counted,
//! and each path leaves a line in the tenant `system` at most once a minute.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use admission::Scope;
use http::StatusCode;
use http::request::Parts;
use model::{Batch, LogRow};
use tsdb::WriteContext;

use crate::app::App;
use crate::gate;
use crate::respond::{self, Answer};
use crate::tally::Tally;

/// Paths told apart; the rest is [`OTHER`].
const PATHS_MAX: usize = 100;
const OTHER: &str = "other";
const PAUSE: Duration = Duration::from_secs(60);
/// A part of a path that is longer, or has other characters than paths of Datadog have, may be a secret.
const PART_BYTES_MAX: usize = 24;

/// When each path last left a line (monotonic).
#[derive(Debug, Default)]
pub struct UnknownRoutes(Mutex<HashMap<String, Duration>>);

impl UnknownRoutes {
    /// The path as it is counted, and whether a line is due.
    fn note(&self, mut path: String, now: Duration) -> (String, bool) {
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !noted.contains_key(&path) && noted.len() >= PATHS_MAX {
            path = OTHER.to_owned();
        }
        let due = noted.get(&path).is_none_or(|last| now.saturating_sub(*last) >= PAUSE);
        if due {
            noted.insert(path.clone(), now);
        }
        (path, due)
    }
}

/// A path without whatever may be a secret in it.
fn shown(path: &str) -> String {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    let part = |part: &str| {
        let is_name = part.len() <= PART_BYTES_MAX && part.bytes().all(is_plain);
        if is_name { part.to_owned() } else { "…".to_owned() }
    };
    path.trim_end_matches('/').split('/').take(8).map(part).collect::<Vec<_>>().join("/")
}

/// The method, unless it is one that somebody made up.
fn method(parts: &Parts) -> &'static str {
    let known = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];
    known.into_iter().find(|known| *known == parts.method.as_str()).unwrap_or(OTHER)
}

/// Whether whoever asks is a Datadog sender.
pub fn is_datadog(app: &App, parts: &Parts) -> bool {
    let path = parts.uri.path();
    let host = gate::asked_host(parts).filter(|_| app.authority().policy().domain.is_some());
    path.starts_with("/datadog/")
        || host.is_some_and(|host| host.to_ascii_lowercase().starts_with("dd."))
        || gate::presents_its_own(parts, dialects::datadog::DIALECT.credentials)
}

/// Counts such a request and answers it.
pub fn answer(app: &App, parts: &Parts, nearest: &str) -> Answer {
    let path = shown(parts.uri.path());
    // Who has no key may ask for anything: it is counted, and no more.
    match gate::admit(app, parts, dialects::datadog::DIALECT.credentials, Scope::Write) {
        Ok(_) => {
            let (path, due) = app.unknown_routes.note(path.clone(), app.env.clock.monotonic());
            app.metrics.unknown_routes.with(&[&path]).add(1);
            if due {
                tell(app, method(parts), &path);
            }
        }
        Err(_) => app.metrics.unknown_routes.with(&[OTHER]).add(1),
    }
    let message = format!("Not found: {} {path}. The nearest path is {nearest}.", method(parts));
    respond::json(StatusCode::NOT_FOUND, serde_json::json!({ "errors": [message] }).to_string())
}

/// The line in the tenant `system`. What the store refuses now is told again in a minute.
fn tell(app: &App, method: &str, path: &str) {
    let authority = app.authority();
    let (Some(store), Some(system)) = (app.store(), authority.tenant(admission::state::SYSTEM)) else {
        return;
    };
    let now_ms = app.env.clock.now_ms();
    let mut batch = Batch::new(store.seed());
    let pairs = [("job", "weir"), ("source", "unknown_route"), ("method", method), ("path", path)];
    batch.pairs.extend(pairs.map(|(name, value)| (Cow::Borrowed(name), Cow::Owned(value.to_owned()))));
    batch.logs.push(LogRow {
        stream: 0..2,
        fields: 2..4,
        timestamp_ns: now_ms.saturating_mul(1_000_000),
        line: format!("a Datadog sender asks for {method} {path}, which nothing answers").into(),
        item: 0,
    });
    let tally = Tally::of(system.name.as_str(), &batch);
    let context =
        WriteContext { tenant: system.id, limits: &system.limits, epoch: system.epoch, now_ms, digest: None };
    match store.append(&context, &batch) {
        Ok((ticket, appended)) => {
            let count = tally.appended(&app.metrics, &appended);
            ticket.on_done(move |result| count(result.as_ref().ok()));
        }
        Err(_) => tally.refused(&app.metrics),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_told_once_a_minute_and_without_secrets() {
        let routes = UnknownRoutes::default();
        let note = |path: &str, now| routes.note(shown(path), now);
        let at = Duration::from_secs;
        assert_eq!(note("/api/v3/x/", at(1)), ("/api/v3/x".to_owned(), true));
        assert_eq!(note("/api/v3/x", at(60)), ("/api/v3/x".to_owned(), false));
        assert!(note("/api/v3/x", at(61)).1);
        let secret = format!("/v1/input/{}/x", "0".repeat(32));
        assert_eq!(note(&secret, at(61)).0, "/v1/input/…/x");
        assert_eq!(shown("/a?b/c\u{e4}"), "/…/…");
        for i in 0..PATHS_MAX {
            note(&format!("/p{i}"), at(61));
        }
        assert_eq!(note("/late", at(61)).0, OTHER);
    }
}
