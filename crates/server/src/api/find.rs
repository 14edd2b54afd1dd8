//! `series`, `labels`, `label/<name>/values`: what there is, without samples.

use model::re2::PROGRAMS_BYTES_MAX;
use model::{Budget, Labels, Matcher};
use tsdb::Found;

use super::error::{ApiError, Kind};
use super::params::{InvalidParam, Params, decode};
use super::query::{TRUNCATED, shorten};
use super::{Answered, Ask, encode};

/// Label sets of series that satisfy one of the `match[]`.
pub(super) fn series(ask: &Ask, budget: &Budget) -> Result<Answered, ApiError> {
    if ask.params.all("match[]").next().is_none() {
        return Err(ApiError::new(Kind::BadData, "no match[] parameter provided"));
    }
    let (limit, range) = (ask.params.limit("limit")?, ask.params.range()?);
    let named = |error: ApiError| InvalidParam::new("match[]", error.message);
    let sets = matcher_sets(&ask.params).map_err(named)?;
    if range.end_ms < range.start_ms {
        return sets_of(none(), limit, budget);
    }
    // One more than wanted tells whether something was cut.
    let asked = if limit == 0 { 0 } else { limit.saturating_add(1) };
    let found = ask.store.series(ask.tenant.id, &sets, range, asked, budget)?;
    sets_of(found, limit, budget)
}

/// Label names in use.
pub(super) fn label_names(ask: &Ask, budget: &Budget) -> Result<Answered, ApiError> {
    let (limit, range) = (ask.params.limit("limit")?, ask.params.range()?);
    let sets = matcher_sets(&ask.params)?;
    let found = match range.end_ms < range.start_ms {
        true => none(),
        false => ask.store.label_names(ask.tenant.id, &sets, range, budget)?,
    };
    texts_of(found, limit, budget)
}

/// Values of the label that the path names.
pub(super) fn label_values(ask: &Ask, budget: &Budget) -> Result<Answered, ApiError> {
    let name = label_name(&ask.path)?;
    let (limit, range) = (ask.params.limit("limit")?, ask.params.range()?);
    let sets = matcher_sets(&ask.params)?;
    let found = match range.end_ms < range.start_ms {
        true => none(),
        false => ask.store.label_values(ask.tenant.id, &name, &sets, range, budget)?,
    };
    texts_of(found, limit, budget)
}

/// What there is in a range whose ends are the wrong way round. Prometheus refuses such only where samples are asked for.
fn none<T>() -> Found<Vec<T>> {
    Found { found: Vec::new(), warnings: Vec::new() }
}

fn sets_of(found: Found<Vec<Labels>>, limit: usize, budget: &Budget) -> Result<Answered, ApiError> {
    listed(found, limit, budget, encode::labels_bytes, encode::labels)
}

fn texts_of(found: Found<Vec<String>>, limit: usize, budget: &Budget) -> Result<Answered, ApiError> {
    listed(found, limit, budget, |text| encode::string_bytes(text), |out, text| encode::string(out, text))
}

/// The list as JSON, once what that takes is charged.
fn listed<T>(
    found: Found<Vec<T>>,
    limit: usize,
    budget: &Budget,
    bytes: impl Fn(&T) -> usize,
    one: impl Fn(&mut String, &T),
) -> Result<Answered, ApiError> {
    let Found { mut found, mut warnings } = found;
    if shorten(&mut found, if limit == 0 { usize::MAX } else { limit }) {
        warnings.push(TRUNCATED.to_owned());
    }
    let bytes: usize = found.iter().map(|item| bytes(item) + 1).sum();
    budget.charge(bytes as u64)?;
    let mut out = encode::begin(bytes);
    encode::list(&mut out, &found, one);
    Ok(Answered { warnings, ..Answered::begun(out) })
}

/// The `match[]` parameters. One that everything satisfies is refused: it would be a dump of the tenant.
pub(crate) fn matcher_sets(params: &Params) -> Result<Vec<Vec<Matcher>>, ApiError> {
    let invalid = |what: String| ApiError::new(Kind::BadData, what);
    let parse = |text: &str| {
        let unbounded = || invalid("match[] must contain at least one non-empty matcher".to_owned());
        match promql::matchers_of_selector(text) {
            Ok(set) if set.iter().all(Matcher::matches_empty) => Err(unbounded()),
            Ok(set) => Ok(set),
            // The parser says so of every selector; here it has words of its own.
            Err(error) if error.message.contains("at least one non-empty matcher") => Err(unbounded()),
            Err(error) => Err(invalid(error.to_string())),
        }
    };
    let (mut sets, mut bytes) = (Vec::new(), 0);
    for text in params.all("match[]") {
        let set = parse(text)?;
        // As they come: each alone may take as much as all together.
        bytes += set.iter().map(Matcher::program_bytes).sum::<usize>();
        if bytes > PROGRAMS_BYTES_MAX {
            let most = PROGRAMS_BYTES_MAX;
            return Err(invalid(format!("regular expressions that need more than {most} bytes together")));
        }
        sets.push(set);
    }
    Ok(sets)
}

/// The segment between `label` and `values`.
fn label_name(path: &str) -> Result<String, ApiError> {
    let segment = path.rsplit('/').nth(1).unwrap_or("");
    let name = decode(segment, false);
    let name = name.strip_prefix("U__").and_then(unescape).unwrap_or(name.clone());
    if name.is_empty() || name.contains('\u{fffd}') {
        return Err(ApiError::new(Kind::BadData, format!("invalid label name: {name:?}")));
    }
    Ok(name)
}

/// Prometheus' escaping of names for where only letters, digits and `_` may stand: `__` is `_`, `_2e_` is U+002E.
fn unescape(text: &str) -> Option<String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('_') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let end = rest.find('_')?;
        if end == 0 {
            out.push('_');
        } else {
            out.push(u32::from_str_radix(&rest[..end], 16).ok().and_then(char::from_u32)?);
        }
        rest = &rest[end + 1..];
    }
    out.push_str(rest);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_much_is_refused_before_the_next_is_read() {
        // Ten thousand were compiled, a megabyte each, and only then added up.
        let large = format!("match[]={{a=~\".{{900}}{}\"}}&", "[\u{100}-\u{17f}]");
        let message = |query: &str| matcher_sets(&Params::parse("", query)).map(|_| ()).unwrap_err().message;
        let many = large.repeat(40) + "match[]={";
        let wanted = "regular expressions that need more than 33554432 bytes together";
        assert_eq!(message(&many), wanted);
        assert!(message(&(large + "match[]={")).contains("parse error"));
    }

    #[test]
    fn lists_are_charged_as_they_are_written() {
        let found = || Found { found: vec!["\u{1}".repeat(100); 3], warnings: Vec::new() };
        let written = 3 * (6 * 100 + 2 + 1);
        assert!(texts_of(found(), 0, &Budget::new(written)).is_ok());
        assert_eq!(texts_of(found(), 0, &Budget::new(written - 1)).unwrap_err().kind, Kind::Execution);
        assert!(texts_of(found(), 1, &Budget::new(written / 3)).is_ok());
    }

    #[test]
    fn label_names_come_from_the_path() {
        let name = |path: &str| label_name(path).map_err(|error| error.message);
        assert_eq!(name("/api/v1/label/job/values"), Ok("job".into()));
        assert_eq!(name("/api/v1/label/a%2Eb/values"), Ok("a.b".into()));
        assert_eq!(
            name("/prometheus/api/v1/label/U__http_2e_status_3a_sum__x/values"),
            Ok("http.status:sum_x".into())
        );
        assert_eq!(name("/api/v1/label/U__a_zz_b/values"), Ok("U__a_zz_b".into()));
        assert!(name("/api/v1/label/%ff/values").is_err());
    }
}
