//! `search/*`: names and values that answer a search, as lines of JSON: batches of results, then how it ended.
//!
//! The answer is made whole, and what it takes is charged to the query's budget: a list of names is no larger than the
//! index that it comes from, which is at hand at once.

pub(super) mod score;

use std::fmt::Write;

use codec::float;
use model::{Budget, Matcher, TimeRange};
use tsdb::Found;

use self::score::{ALGORITHMS, Algorithm, Filter};
use super::error::{ApiError, Kind};
use super::params::{Params, parse_bool};
use super::{Answered, Ask, encode, find};

/// The content type of these answers.
pub(super) const NDJSON: &str = "application/x-ndjson; charset=utf-8";

/// Search terms of a request at most: each is compared with each text.
const TERMS_MAX: usize = 32;

/// Bytes of a term at most: how long a comparison takes grows with both lengths.
const TERM_BYTES_MAX: usize = 1 << 10;

/// `limit` and `batch_size` where a request does not say them.
const COUNT: usize = 100;

/// How far back a search looks that does not say when it starts.
const BACK_MS: i64 = 3_600_000;

/// Names of metrics, with their metadata on request.
pub(super) fn metric_names(ask: &Ask, budget: &Budget) -> Result<Answered, ApiError> {
    let search = Search::read(&ask.params, ask.now_ms)?;
    let with_metadata = flag(&ask.params, "include_metadata", false)?;
    let found = search.values(ask, model::labels::METRIC_NAME, budget)?;
    let metadata = if with_metadata { ask.store.metadata(ask.tenant.id) } else { Vec::new() };
    search.answer(found, "name", budget, |out, name| {
        let known = metadata.binary_search_by(|(family, _)| family.as_str().cmp(name));
        let Ok(at) = known else { return };
        let metadata = &metadata[at].1;
        let fields = [
            ("type", metadata.kind.as_str()),
            ("help", metadata.help.as_str()),
            ("unit", metadata.unit.as_str()),
        ];
        for (key, value) in fields.into_iter().filter(|(_, value)| !value.is_empty()) {
            let _ = write!(out, ",\"{key}\":");
            encode::string(out, value);
        }
    })
}

/// Names of labels.
pub(super) fn label_names(ask: &Ask, budget: &Budget) -> Result<Answered, ApiError> {
    let search = Search::read(&ask.params, ask.now_ms)?;
    let found = ask.store.label_names(ask.tenant.id, &search.sets, search.range, budget)?;
    search.answer(found, "name", budget, |_, _| {})
}

/// Values of the label that the request names.
pub(super) fn label_values(ask: &Ask, budget: &Budget) -> Result<Answered, ApiError> {
    let search = Search::read(&ask.params, ask.now_ms)?;
    let label = ask.params.get("label");
    if label.is_empty() {
        return Err(bad("missing required parameter \"label\""));
    }
    let found = search.values(ask, label, budget)?;
    search.answer(found, "value", budget, |_, _| {})
}

/// What is searched for, and how it is answered.
struct Search {
    sets: Vec<Vec<Matcher>>,
    range: TimeRange,
    filter: Filter,
    order: Order,
    with_score: bool,
    limit: usize,
    batch: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Ascending,
    Descending,
    /// The best first, equally good ones ascending.
    Score,
}

fn bad(message: impl Into<String>) -> ApiError {
    ApiError::new(Kind::BadData, message)
}

impl Search {
    /// Complaints come in the order in which Prometheus looks.
    fn read(params: &Params, now_ms: i64) -> Result<Self, ApiError> {
        let time = |name, default| params.time(name, default).map_err(|error| bad(error.what));
        let start_ms = time("start", now_ms.saturating_sub(BACK_MS))?;
        let end_ms = time("end", now_ms)?;
        if end_ms < start_ms {
            return Err(bad("end timestamp must not be before start timestamp"));
        }
        let sets = find::matcher_sets(params)?;
        let terms = params.all("search[]").count();
        if terms > TERMS_MAX {
            return Err(bad(format!("too many search[] terms: got {terms}, maximum is {TERMS_MAX}")));
        }
        if params.all("search[]").any(|term| term.len() > TERM_BYTES_MAX) {
            return Err(bad(format!("a search[] term has more than {TERM_BYTES_MAX} bytes")));
        }
        let threshold = match params.get("fuzz_threshold") {
            "" => 0,
            text => text
                .parse::<u8>()
                .ok()
                .filter(|percent| *percent <= 100)
                .ok_or_else(|| bad(format!("invalid fuzz_threshold {text:?}: must be 0-100")))?,
        };
        let algorithm = match params.get("fuzz_alg") {
            "" => Algorithm::Subsequence,
            text => ALGORITHMS
                .iter()
                .find(|(name, _)| *name == text)
                .map(|(_, algorithm)| *algorithm)
                .ok_or_else(|| {
                    let names = ALGORITHMS.map(|(name, _)| name).join(" ");
                    bad(format!("unsupported fuzz_alg {text:?}: must be one of [{names}]"))
                })?,
        };
        let case_sensitive = flag(params, "case_sensitive", true)?;
        let with_score = flag(params, "include_score", false)?;
        let order = order(params, terms > 0)?;
        let filter =
            Filter::new(params.all("search[]"), algorithm, f64::from(threshold) / 100.0, !case_sensitive);
        let (limit, batch) = (count(params, "limit")?, count(params, "batch_size")?);
        let range = TimeRange { start_ms, end_ms };
        match params.get("sort_by") {
            "" | "alpha" | "score" => Ok(Self { sets, range, filter, order, with_score, limit, batch }),
            text => Err(bad(format!("invalid sort_by {text:?}: must be \"alpha\" or \"score\""))),
        }
    }

    fn values(&self, ask: &Ask, label: &str, budget: &Budget) -> Result<Found<Vec<String>>, ApiError> {
        Ok(ask.store.label_values(ask.tenant.id, label, &self.sets, self.range, budget)?)
    }

    /// The lines of an answer; `more` adds further members to a result.
    fn answer(
        &self,
        found: Found<Vec<String>>,
        key: &str,
        budget: &Budget,
        more: impl Fn(&mut String, &str),
    ) -> Result<Answered, ApiError> {
        let mut results = Vec::new();
        for text in found.found {
            budget.check()?;
            if let Some(score) = self.filter.score(&text) {
                budget.charge((size_of::<(String, f64)>() + text.len()) as u64)?;
                results.push((text, score));
            }
        }
        match self.order {
            Order::Ascending => {}
            Order::Descending => results.reverse(),
            // The sort is stable, and texts come ascending.
            Order::Score => results.sort_by(|(_, a), (_, b)| b.total_cmp(a)),
        }
        let has_more = super::query::shorten(&mut results, self.limit);
        let mut out = String::new();
        let mut batches: Vec<&[(String, f64)]> = results.chunks(self.batch).collect();
        if batches.is_empty() {
            // Whoever reads it learns of warnings all the same.
            batches.push(&[]);
        }
        for (i, batch) in batches.into_iter().enumerate() {
            let before = out.len();
            out.push_str("{\"results\":");
            encode::list(&mut out, batch, |out, (text, score)| {
                let _ = write!(out, "{{\"{key}\":");
                encode::string(out, text);
                if self.with_score {
                    out.push_str(",\"score\":");
                    float::write_plain(*score, out);
                }
                more(out, text);
                out.push('}');
            });
            if i == 0 {
                encode::notes(&mut out, "warnings", &found.warnings);
            }
            out.push_str("}\n");
            budget.charge((out.len() - before) as u64)?;
        }
        let _ = writeln!(out, "{{\"status\":\"success\",\"has_more\":{has_more}}}");
        Ok(Answered::whole(NDJSON, out))
    }
}

fn order(params: &Params, has_terms: bool) -> Result<Order, ApiError> {
    let (by, direction) = (params.get("sort_by"), params.get("sort_dir"));
    match (by, direction) {
        ("", direction) if !direction.is_empty() => Err(bad("sort_dir is only valid when sort_by is set")),
        ("score", direction) if !direction.is_empty() => {
            Err(bad("sort_dir is not supported for sort_by=score"))
        }
        ("score", _) if !has_terms => Err(bad("sort_by=score requires search[] to be set")),
        ("score", _) => Ok(Order::Score),
        (_, "" | "asc") => Ok(Order::Ascending),
        (_, "dsc") => Ok(Order::Descending),
        _ => Err(bad(format!("invalid sort_dir {direction:?}: must be \"asc\" or \"dsc\""))),
    }
}

fn count(params: &Params, name: &str) -> Result<usize, ApiError> {
    match params.get(name) {
        "" => Ok(COUNT),
        text => text
            .parse::<usize>()
            .ok()
            .filter(|count| *count > 0)
            .ok_or_else(|| bad(format!("invalid {name} {text:?}: must be a positive integer"))),
    }
}

fn flag(params: &Params, name: &str, default: bool) -> Result<bool, ApiError> {
    match params.get(name) {
        "" => Ok(default),
        text => parse_bool(text).ok_or_else(|| bad(format!("invalid {name} {text:?}: must be boolean"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_searched_is_refused_by_name() {
        for (query, wanted) in [
            ("start=x", "invalid time value for 'start': cannot parse \"x\" to a valid timestamp"),
            ("start=2&end=1", "end timestamp must not be before start timestamp"),
            ("match[]={a=\"\"}", "match[] must contain at least one non-empty matcher"),
            ("fuzz_threshold=101", "invalid fuzz_threshold \"101\": must be 0-100"),
            ("fuzz_alg=x", "unsupported fuzz_alg \"x\": must be one of [subsequence jarowinkler]"),
            ("case_sensitive=x", "invalid case_sensitive \"x\": must be boolean"),
            ("include_score=2", "invalid include_score \"2\": must be boolean"),
            ("sort_dir=asc", "sort_dir is only valid when sort_by is set"),
            ("sort_by=score&sort_dir=asc&search[]=a", "sort_dir is not supported for sort_by=score"),
            ("sort_by=score", "sort_by=score requires search[] to be set"),
            ("sort_by=alpha&sort_dir=x", "invalid sort_dir \"x\": must be \"asc\" or \"dsc\""),
            ("sort_by=x", "invalid sort_by \"x\": must be \"alpha\" or \"score\""),
            ("limit=0", "invalid limit \"0\": must be a positive integer"),
            ("batch_size=-1", "invalid batch_size \"-1\": must be a positive integer"),
        ] {
            let refused = Search::read(&Params::parse("", query), 0).err().map(|error| error.message);
            assert_eq!(refused.as_deref(), Some(wanted), "{query}");
        }
        for large in ["search[]=a&".repeat(33), format!("search[]={}", "a".repeat(1025))] {
            assert!(Search::read(&Params::parse("", &large), 0).is_err());
        }
        let hour = Search::read(&Params::default(), 4_000_000).ok().unwrap();
        assert_eq!(
            (hour.range.start_ms, hour.range.end_ms, hour.limit, hour.batch),
            (400_000, 4_000_000, 100, 100)
        );
    }
}
