//! `status/tsdb` and `status/tsdb/blocks`: a tenant's part of the store, in numbers.

use model::{Budget, TimeRange};
use serde_json::{Value, json};
use tsdb::{Cardinality, Count};

use super::error::{ApiError, Kind};
use super::params::Params;
use super::{Answered, Ask, encode};

/// Entries of a list at most.
const LIMIT_MAX: usize = 10_000;

/// Bytes of an entry as text, besides its name.
const ENTRY_BYTES: usize = 48;

/// Entries of a list where the request does not say.
const LIMIT: usize = 10;

/// The head's numbers and the names and labels of the most series.
pub(super) fn cardinality(ask: &Ask, budget: &Budget) -> Result<Answered, ApiError> {
    let found = ask.store.cardinality(ask.tenant.id, limit(&ask.params)?, budget)?;
    let Cardinality { head_series, head_range, labels, .. } = found.found;
    // An empty head of Prometheus says that, too.
    let range = head_range.unwrap_or(TimeRange { start_ms: i64::MAX, end_ms: i64::MIN });
    let head = json!({
        "numSeries": head_series,
        "numLabelPairs": labels,
        // The head has no chunks: its samples lie in one log, in which each series has its chain.
        "chunkCount": head_series,
        "minTime": range.start_ms,
        "maxTime": range.end_ms,
    });
    let lists = [
        ("seriesCountByMetricName", &found.found.series_by_metric),
        ("labelValueCountByLabelName", &found.found.values_by_name),
        ("memoryInBytesByLabelName", &found.found.bytes_by_name),
        ("seriesCountByLabelValuePair", &found.found.series_by_label),
    ];
    let counts = lists.iter().flat_map(|(_, counts)| *counts);
    let bytes: usize = counts.map(|count| ENTRY_BYTES + encode::string_bytes(&count.name)).sum();
    budget.charge(bytes as u64)?;
    let mut out = encode::begin(bytes);
    out.push_str("{\"headStats\":");
    out.push_str(&head.to_string());
    for (key, counts) in lists {
        out.push_str(",\"");
        out.push_str(key);
        out.push_str("\":");
        list(&mut out, counts);
    }
    out.push('}');
    Ok(Answered { warnings: found.warnings, ..Answered::begun(out) })
}

fn list(out: &mut String, counts: &[Count]) {
    encode::list(out, counts, |out, Count { name, count }| {
        out.push_str("{\"name\":");
        encode::string(out, name);
        out.push_str(",\"value\":");
        out.push_str(&count.to_string());
        out.push('}');
    });
}

fn limit(params: &Params) -> Result<usize, ApiError> {
    let bad = |message: String| ApiError::new(Kind::BadData, message);
    match params.get("limit") {
        "" => Ok(LIMIT),
        text => match text.parse::<usize>() {
            Ok(limit @ 1..=LIMIT_MAX) => Ok(limit),
            Ok(limit) if limit > LIMIT_MAX => Err(bad(format!("limit must not exceed {LIMIT_MAX}"))),
            _ => Err(bad("limit must be a positive number".to_owned())),
        },
    }
}

/// The tenant's parts of the live blocks.
pub(super) fn blocks(ask: &Ask, _: &Budget) -> Result<Answered, ApiError> {
    let blocks: Vec<Value> = ask
        .store
        .blocks_of(ask.tenant.id)
        .into_iter()
        .map(|part| {
            // Decimal digits are digits of a ULID, too.
            let ulid = format!("{:026}", part.id);
            json!({
                "ulid": ulid,
                "minTime": part.range.start_ms,
                "maxTime": part.range.end_ms.saturating_add(1),
                "stats": {
                    "numSamples": part.samples,
                    "numSeries": part.series,
                    "numTombstones": part.tombstones,
                },
                "compaction": { "level": part.level as u8 + 1, "sources": [ulid] },
                "version": 1,
            })
        })
        .collect();
    let mut out = encode::begin(0);
    out.push_str(&json!({ "blocks": blocks }).to_string());
    Ok(Answered::begun(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_have_a_limit() {
        let of = |query: &str| limit(&Params::parse("", query)).map_err(|error| error.message);
        assert_eq!((of(""), of("limit=1"), of("limit=10000")), (Ok(10), Ok(1), Ok(10_000)));
        assert_eq!(of("limit=10001"), Err("limit must not exceed 10000".into()));
        for bad in ["limit=0", "limit=-1", "limit=x"] {
            assert_eq!(of(bad), Err("limit must be a positive number".into()));
        }
    }
}
