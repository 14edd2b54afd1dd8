//! `query_exemplars`: exemplars of all series that an expression's selectors find.

use std::collections::{BTreeMap, BTreeSet};

use model::batch::Exemplar;
use model::{Budget, Labels};

use super::error::{ApiError, Kind};
use super::params::BACKWARDS;
use super::{Answered, Ask, encode};

/// Only the selectors of the expression count, not what is done with them.
pub(super) fn exemplars(ask: &Ask, budget: &Budget) -> Result<Answered, ApiError> {
    let range = ask.params.range()?;
    let refused = |message: String| ApiError::new(Kind::BadData, message);
    if range.end_ms < range.start_ms {
        return Err(refused(BACKWARDS.to_owned()));
    }
    let expr = ask.expression().map_err(|error| refused(error.to_string()))?;
    let mut found: BTreeMap<_, Vec<Exemplar>> = BTreeMap::new();
    let (mut selectors, mut warnings) = (0, BTreeSet::new());
    for selector in expr.selectors() {
        selectors += 1;
        let answer = ask.store.exemplars(ask.tenant.id, &selector.matchers, range, budget)?;
        warnings.extend(answer.warnings);
        for series in answer.found {
            // The same series under two selectors has the same exemplars.
            found.entry(series.labels).or_insert(series.exemplars);
        }
    }
    if selectors == 0 {
        return Ok(Answered::default());
    }
    let bytes: usize = found.iter().map(|(labels, all)| series_bytes(labels, all)).sum();
    budget.charge(bytes as u64)?;
    let mut out = encode::begin(bytes);
    encode::list(&mut out, &found, |out, (labels, exemplars)| {
        out.push_str("{\"seriesLabels\":");
        encode::labels(out, labels);
        out.push_str(",\"exemplars\":");
        encode::list(out, exemplars, exemplar);
        out.push('}');
    });
    Ok(Answered { warnings: warnings.into_iter().collect(), ..Answered::begun(out) })
}

/// About what a series takes as text.
fn series_bytes(labels: &Labels, exemplars: &[Exemplar]) -> usize {
    const FIXED: usize = 96;
    let pair =
        |(name, value): &(String, String)| encode::string_bytes(name) + encode::string_bytes(value) + 2;
    let exemplar = |exemplar: &Exemplar| FIXED + exemplar.labels.iter().map(pair).sum::<usize>();
    FIXED + encode::labels_bytes(labels) + exemplars.iter().map(exemplar).sum::<usize>()
}

fn exemplar(out: &mut String, exemplar: &Exemplar) {
    out.push_str("{\"labels\":");
    encode::pairs(out, exemplar.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    out.push_str(",\"value\":");
    encode::quoted_float(out, exemplar.value);
    out.push_str(",\"timestamp\":");
    encode::time(out, exemplar.timestamp_ms);
    out.push('}');
}
