//! Targets: what is scraped for the tenant that asks, how it went, and what was dropped. Shapes are those of Prometheus.

use std::collections::BTreeMap;

use model::relabel::{LabelSet, Verdict};
use model::{Budget, Labels};
use scrape::jobs::Pool;
use scrape::{Life, job::Listing};
use serde_json::{Map, Value, json};

use super::error::{ApiError, Kind};
use super::metadata;
use super::params::InvalidParam;
use super::{Answered, Ask, Endpoint, encode};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Targets {
    /// All targets.
    List,
    /// What targets say of their metrics.
    Metadata,
    /// What relabelling makes of a target.
    RelabelSteps,
    /// Jobs.
    Pools,
    /// The configuration of one.
    PoolConfig,
}

pub(super) fn targets(ask: &Ask, _: &Budget) -> Result<Answered, ApiError> {
    let Endpoint::Targets(targets) = ask.endpoint else { unreachable!("only such endpoints come here") };
    let pools = ask.app.pools.of(&ask.tenant.name);
    let data = match targets {
        Targets::List => list(ask, &pools),
        Targets::Metadata => said(ask, &pools)?,
        Targets::RelabelSteps => relabel_steps(ask, &pools)?,
        Targets::Pools => {
            json!({ "scrapePools": pools.iter().map(|pool| &pool.config.job_name).collect::<Vec<_>>() })
        }
        Targets::PoolConfig => json!({ "yaml": yaml(pool(ask, &pools)?) }),
    };
    let mut out = encode::begin(0);
    out.push_str(&data.to_string());
    Ok(Answered::begun(out))
}

fn list(ask: &Ask, pools: &[Pool]) -> Value {
    let wanted = ask.params.get("scrapePool");
    let state = ask.params.get("state").to_lowercase();
    let shows = |which: &str| state.is_empty() || state == "any" || state == which;
    let mut answer = Map::new();
    let listings: Vec<(&Pool, Listing)> = pools.iter().map(|pool| (pool, pool.list())).collect();
    let of_wanted =
        || listings.iter().filter(|(pool, _)| wanted.is_empty() || pool.config.job_name == wanted);
    let active = of_wanted().filter(|_| shows("active"));
    let active = active.flat_map(|(pool, listing)| listing.active.iter().map(|life| shown(ask, pool, life)));
    answer.insert("activeTargets".into(), active.collect());
    let dropped = of_wanted().filter(|_| shows("dropped"));
    let dropped = dropped.flat_map(|(pool, listing)| {
        let name = &pool.config.job_name;
        listing
            .dropped
            .iter()
            .map(move |labels| json!({ "discoveredLabels": object(labels), "scrapePool": name }))
    });
    answer.insert("droppedTargets".into(), dropped.collect());
    let counts = shows("dropped").then(|| {
        let count =
            |(pool, listing): &(&Pool, Listing)| (pool.config.job_name.clone(), listing.dropped_count);
        listings.iter().map(count).collect::<BTreeMap<_, _>>()
    });
    answer.insert("droppedTargetCounts".into(), json!(counts));
    Value::Object(answer)
}

fn shown(ask: &Ask, pool: &Pool, life: &Life) -> Value {
    let (target, last) = (&life.target, life.last());
    let url = target.url.to_string();
    json!({
        "discoveredLabels": object(&target.discovered),
        "labels": object(&target.public()),
        "scrapePool": pool.config.job_name,
        "scrapeUrl": url,
        "globalUrl": global(ask, &url, target.url.host(), target.url.port()),
        "lastError": last.error,
        "lastScrape": time(last.at_ms),
        "lastScrapeDuration": last.took.as_secs_f64(),
        "health": last.health.as_str(),
        "scrapeInterval": outbound::duration::show(target.interval),
        "scrapeTimeout": outbound::duration::show(target.timeout),
    })
}

fn object(labels: &Labels) -> Value {
    labels.iter().map(|(name, value)| (name.to_owned(), value.into())).collect::<Map<_, _>>().into()
}

/// Go's zero time stands for never.
fn time(at_ms: i64) -> String {
    match at_ms {
        0 => "0001-01-01T00:00:00Z".to_owned(),
        ms => jiff::Timestamp::from_millisecond(ms).unwrap_or_default().to_string(),
    }
}

/// A page of this machine as others may reach it: under the name that Weir itself has.
fn global(ask: &Ask, url: &str, host: &str, port: u16) -> String {
    let Some(own) = &ask.config.settings.general.external_url.0 else { return url.to_owned() };
    if !matches!(host, "127.0.0.1" | "localhost" | "::1") {
        return url.to_owned();
    }
    let own = outbound::Url::parse(own);
    let Ok(own) = own else { return url.to_owned() };
    let tail = url.split_once("://").and_then(|(_, rest)| rest.find('/').map(|at| &rest[at..])).unwrap_or("");
    if port == ask.config.listen.port() {
        return format!("{}://{}{tail}", own.scheme().as_str(), own.authority());
    }
    let scheme = url.split_once("://").map_or("http", |(scheme, _)| scheme);
    let bracketed =
        if own.host().contains(':') { format!("[{}]", own.host()) } else { own.host().to_owned() };
    format!("{scheme}://{bracketed}:{port}{tail}")
}

fn said(ask: &Ask, pools: &[Pool]) -> Result<Value, ApiError> {
    let limit = metadata::limit(&ask.params, "limit")?.unwrap_or(usize::MAX);
    let matchers = match ask.params.get("match_target") {
        "" => None,
        text => Some(
            promql::matchers_of_selector(text)
                .map_err(|error| InvalidParam::new("match_target", error.to_string()))?,
        ),
    };
    let metric = ask.params.get("metric");
    let mut rows = Vec::new();
    for life in pools.iter().flat_map(|pool| pool.list().active) {
        if rows.len() >= limit {
            break;
        }
        let labels = life.target.public();
        let is_wanted = |matchers: &model::Matchers| {
            matchers.iter().all(|matcher| matcher.matches(labels.get(&matcher.name).unwrap_or_default()))
        };
        if !matchers.as_ref().is_none_or(is_wanted) {
            continue;
        }
        let target = object(&labels);
        for (family, said) in life.families() {
            let mut row =
                json!({ "target": target, "type": said.kind.as_str(), "help": said.help, "unit": said.unit });
            if metric.is_empty() {
                row["metric"] = family.into();
            } else if metric != family {
                continue;
            }
            rows.push(row);
        }
    }
    Ok(Value::Array(rows))
}

fn relabel_steps(ask: &Ask, pools: &[Pool]) -> Result<Value, ApiError> {
    let name = pool_name(ask)?;
    let labels = match ask.params.get("labels") {
        "" => return Err(bad("no labels parameter provided")),
        labels => serde_json::from_str::<BTreeMap<String, String>>(labels)
            .map_err(|error| bad(format!("error parsing labels: {error}")))?,
    };
    let pool = named(name, pools)?;
    let mut labels: LabelSet<'_> =
        labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let mut keep = true;
    let steps =
        pool.config.relabel.iter().zip(&pool.config.block.own.relabel_configs).map(|(rule, written)| {
            keep = keep && rule.apply(&mut labels) == Verdict::Kept;
            let output = if keep {
                labels.iter().map(|(name, value)| (name.to_owned(), value.into())).collect::<Map<_, _>>()
            } else {
                Map::new()
            };
            json!({ "rule": written, "output": output, "keep": keep })
        });
    Ok(json!({ "steps": steps.collect::<Vec<_>>() }))
}

fn pool<'p>(ask: &Ask, pools: &'p [Pool]) -> Result<&'p Pool, ApiError> {
    named(pool_name(ask)?, pools)
}

fn pool_name(ask: &Ask) -> Result<&str, ApiError> {
    match ask.params.get("scrapePool") {
        "" => Err(bad("no scrapePool parameter provided")),
        pool => Ok(pool),
    }
}

fn named<'p>(name: &str, pools: &'p [Pool]) -> Result<&'p Pool, ApiError> {
    pools.iter().find(|pool| pool.config.job_name == name).ok_or_else(|| {
        let name = promql::text::quoted(name);
        bad(format!("error retrieving scrape config: scrape pool {name} not found"))
    })
}

fn bad(message: impl Into<String>) -> ApiError {
    ApiError::new(Kind::BadData, message)
}

/// As it was written, secrets hidden by their types.
fn yaml(pool: &Pool) -> String {
    serde_saphyr::to_string(&pool.config.block).unwrap_or_default()
}
