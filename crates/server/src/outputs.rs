//! Outputs in the server: started with the store, changed by reloads, shown to administrators and in self-metrics; and the
//! number by which this Weir is known to others, so that nothing is sent round in circles.
//!
//! A request that another Weir sent on says so in `X-Weir-Hops` and `X-Weir-Via`. One that went through too many of them, or
//! through this one, is refused in its dialect's words: the sender drops it. Whoever says where it came from is told where
//! it arrived.

use std::io;
use std::path::Path;
use std::sync::Arc;

use axum::body::Body;
use dialects::Refusal;
use env::Env;
use forward::{Outputs, Status};
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use model::Origin;
use model::origin::HOPS_MAX;
use tokio::runtime::Handle;
use tsdb::Store;

use crate::app::App;
use crate::respond::{self, Answer};
use crate::system::refused_answer;
use crate::{gate, metrics::Metrics};

/// Where outputs are shown.
pub(crate) const ROUTES: &[(&str, &str)] = &[("GET", "/api/v1/status/outputs")];

/// The file with this Weir's number.
const FILE: &str = "instance";
const HOPS: &str = "x-weir-hops";
const VIA: &str = "x-weir-via";
const INSTANCE: &str = "x-weir-instance";

/// The number of the Weir whose data directory this is: random, made once, never 0.
pub(crate) fn instance(env: &Env, data_dir: &Path) -> io::Result<u64> {
    let found = env::read_if_there(&*env.files, &data_dir.join(FILE))?;
    let text = found.as_deref().and_then(|bytes| std::str::from_utf8(bytes).ok());
    if let Some(number) = text.and_then(|text| u64::from_str_radix(text.trim(), 16).ok()).filter(|n| *n != 0)
    {
        return Ok(number);
    }
    let number = env.random_u64().max(1);
    env::replace(&*env.files, data_dir, FILE, format!("{number:016x}\n").as_bytes())?;
    Ok(number)
}

/// Starts what the configuration names, on a store that takes no appends yet.
pub(crate) fn start(app: &Arc<App>, store: &Store, runtime: Handle) -> io::Result<()> {
    let its = Arc::downgrade(app);
    let name_of = move |tenant| {
        let authority = its.upgrade()?.authority();
        authority.tenant_by_id(tenant).map(|tenant| tenant.name.clone())
    };
    let outputs = Outputs::start(
        app.env.clone(),
        app.data_dir.clone(),
        store.clone(),
        runtime,
        app.instance,
        Arc::new(name_of),
        app.config().outputs.clone(),
    )?;
    let _ = app.outputs.set(outputs);
    Ok(())
}

/// Who sent a request on, or why it goes no further.
pub(crate) fn origin(app: &App, headers: &HeaderMap) -> Result<Origin, Refusal> {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let (hops, via) = match (text(HOPS), text(VIA)) {
        (None, None) => return Ok(Origin::SENDER),
        (hops, via) => (hops, via.unwrap_or("")),
    };
    let refused = |what: String| {
        app.metrics.forward_refused_requests.add(1);
        Err(Refusal::Undecodable(what))
    };
    let numbers = via.split(',').map(str::trim).filter(|number| !number.is_empty());
    let via: Result<Vec<u64>, _> = numbers.map(|number| u64::from_str_radix(number, 16)).collect();
    let Ok(via) = via else { return refused("X-Weir-Via is no list of numbers".to_owned()) };
    if via.len() > usize::from(HOPS_MAX) {
        return refused("X-Weir-Via names more instances than there may be hops".to_owned());
    }
    if via.contains(&app.instance) {
        return refused("this came through this very instance: outputs go round in a circle".to_owned());
    }
    // Whoever leaves the number out has come through those that are named.
    let named = via.len().to_string();
    let hops = hops.unwrap_or(&named);
    let Ok(hops) = hops.trim().parse::<u8>() else {
        return refused(format!("X-Weir-Hops: {:?} is no number", model::labels::truncated(hops)));
    };
    if hops >= HOPS_MAX {
        return refused(format!("this was sent on {hops} times already: outputs go round in a circle"));
    }
    Ok(Origin { hops, via })
}

/// Tells another Weir where its request arrived.
pub(crate) fn tell_instance(app: &App, headers: &HeaderMap, answer: &mut Answer) {
    if headers.contains_key(HOPS)
        && let Ok(number) = HeaderValue::from_str(&format!("{:016x}", app.instance))
    {
        answer.headers_mut().insert(INSTANCE, number);
    }
}

/// How the outputs are, for whoever administers.
pub(crate) async fn answer(app: Arc<App>, request: Request<Body>) -> Answer {
    let (parts, _) = request.into_parts();
    if let Err(refused) = gate::admit_admin(&app, &parts) {
        return refused_answer(refused);
    }
    let its = Arc::clone(&app);
    // Lengths of files are asked for.
    let list = app.decoding.run(move || its.outputs.get().map(Outputs::status).unwrap_or_default()).await;
    match list {
        Ok(list) => {
            let list: Vec<_> = list.iter().map(shown).collect();
            let body = serde_json::json!({ "status": "success", "data": { "outputs": list } });
            respond::json(StatusCode::OK, body.to_string())
        }
        Err(error) => respond::error(StatusCode::SERVICE_UNAVAILABLE, "unavailable", &error.to_string()),
    }
}

fn shown(status: &Status) -> serde_json::Value {
    let map = |list: &[(&'static str, u64)]| -> serde_json::Map<String, serde_json::Value> {
        list.iter().map(|(name, count)| ((*name).to_owned(), (*count).into())).collect()
    };
    serde_json::json!({
        "name": status.name,
        "type": status.kind,
        "url": status.url,
        "health": if status.is_failing { "down" } else { "up" },
        "samplesSent": status.sent,
        "samplesRetried": status.retried,
        "samplesDropped": map(&status.dropped),
        "samplesPending": status.pending,
        "bytesSent": status.bytes,
        "requests": map(&status.requests),
        "lagSeconds": status.lag_seconds,
        "lagBytes": status.lag_bytes,
        "lostFrames": status.lost_frames,
        "restarts": status.restarts,
        "shards": status.shards,
        "lastSuccess": seconds(status.last_success_ms),
        "lastFailure": seconds(status.last_failure_ms),
        "lastError": status.last_error,
    })
}

fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}

/// Copies the outputs' numbers into the registry.
pub(crate) fn refresh(app: &App, metrics: &Metrics) {
    let Some(outputs) = app.outputs.get() else { return };
    // Outputs that are gone have no lag any more.
    let gauges = [
        &metrics.forward_lag_seconds,
        &metrics.forward_lag_bytes,
        &metrics.forward_pending,
        &metrics.forward_shards,
        &metrics.forward_last_success,
        &metrics.forward_last_failure,
    ];
    gauges.iter().for_each(|family| family.clear());
    for status in outputs.status() {
        let name = [status.name.as_str()];
        metrics.forward_sent.with(&name).copy(status.sent);
        metrics.forward_retried.with(&name).copy(status.retried);
        metrics.forward_bytes.with(&name).copy(status.bytes);
        metrics.forward_lost_frames.with(&name).copy(status.lost_frames);
        metrics.forward_restarts.with(&name).copy(status.restarts);
        for (reason, count) in &status.dropped {
            metrics.forward_dropped.with(&[name[0], reason]).copy(*count);
        }
        for (class, count) in &status.requests {
            metrics.forward_requests.with(&[name[0], class]).copy(*count);
        }
        let values = [
            status.lag_seconds,
            status.lag_bytes as f64,
            status.pending as f64,
            status.shards as f64,
            seconds(status.last_success_ms),
            seconds(status.last_failure_ms),
        ];
        gauges.iter().zip(values).for_each(|(family, value)| family.with(&name).set(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_keeps_its_number() {
        let directory = tempfile::tempdir().unwrap();
        let env = Env::real();
        let number = instance(&env, directory.path()).unwrap();
        assert_ne!(number, 0);
        assert_eq!(instance(&env, directory.path()).unwrap(), number);
        let text = std::fs::read_to_string(directory.path().join(FILE)).unwrap();
        assert_eq!(text, format!("{number:016x}\n"));
    }
}
