//! `metadata`: type, unit and help of metric families.

use model::Budget;

use super::error::ApiError;
use super::{Answered, Ask, encode};

/// A map from family to a list of one: Weir keeps the newest metadata of a family.
pub(super) fn metadata(ask: &Ask, _: &Budget) -> Result<Answered, ApiError> {
    let limit = ask.params.limit("limit")?;
    // Whatever the limit, it is not below one.
    ask.params.limit("limit_per_metric")?;
    let wanted = ask.params.get("metric");
    let all = ask.store.metadata(ask.tenant.id);
    let found = all.iter().filter(|(family, _)| wanted.is_empty() || family == wanted);
    let found = found.take(if limit == 0 { usize::MAX } else { limit });
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
