//! `metadata`: type, unit and help of metric families.

use model::Budget;

use super::error::{ApiError, Kind};
use super::params::{Params, parse_int};
use super::{Answered, Ask, encode};

/// A map from family to a list of one: Weir keeps the newest metadata of a family.
pub(super) fn metadata(ask: &Ask, _: &Budget) -> Result<Answered, ApiError> {
    let limit = limit(&ask.params, "limit")?;
    // Whatever it is: none below one counts.
    self::limit(&ask.params, "limit_per_metric")?;
    let wanted = ask.params.get("metric");
    let all = ask.store.metadata(ask.tenant.id);
    let found = all.iter().filter(|(family, _)| wanted.is_empty() || family == wanted);
    let found = found.take(limit.unwrap_or(usize::MAX));
    let mut out = encode::begin(0);
    out.push('{');
    for (i, (family, metadata)) in found.enumerate() {
        if i > 0 {
            out.push(',');
        }
        encode::string(&mut out, family);
        out.push(':');
        let fields = [
            ("type", metadata.kind.as_str()),
            ("unit", metadata.unit.as_str()),
            ("help", metadata.help.as_str()),
        ];
        encode::list(&mut out, [fields], encode::pairs);
    }
    out.push('}');
    Ok(Answered::begun(out))
}

/// How many are wanted; `None` = all. Here, unlike elsewhere, 0 is none and less is all.
pub(super) fn limit(params: &Params, name: &str) -> Result<Option<usize>, ApiError> {
    match params.get(name) {
        "" => Ok(None),
        text => match parse_int("Atoi", text, i64::BITS) {
            Ok(limit) => Ok(usize::try_from(limit).ok()),
            Err(_) => Err(ApiError::new(Kind::BadData, format!("{name} must be a number"))),
        },
    }
}
