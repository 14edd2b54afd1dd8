//! Exemplars as they are found on a data point, in either encoding.

use model::batch::Exemplar;

use super::value::hex;
use crate::rows::{self, EXEMPLAR_CHARACTERS_MAX};

/// An exemplar as it was sent.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    pub(super) value: Option<f64>,
    pub(super) time_ns: u64,
    /// In hexadecimal; empty = none.
    pub(super) trace_id: String,
    /// In hexadecimal; empty = none.
    pub(super) span_id: String,
    /// Attributes that its series does not have.
    pub(super) filtered: Vec<(String, String)>,
}

impl Found {
    /// Its value, where none is below all others.
    pub(super) fn value(&self) -> f64 {
        self.value.unwrap_or(f64::NEG_INFINITY)
    }

    /// What it takes in memory, roughly.
    pub(super) fn bytes(&self) -> usize {
        let pairs: usize = self.filtered.iter().map(|(name, value)| 64 + name.len() + value.len()).sum();
        size_of::<Exemplar>() + 160 + pairs
    }

    /// The exemplar; one without a time of its own is of its point's. Filtered attributes are kept as far as OpenMetrics
    /// leaves room for them: all or none.
    pub(super) fn exemplar(&self, timestamp_ms: i64) -> Result<Exemplar, &'static str> {
        let value = self.value.ok_or("an exemplar has no value")?;
        let ids = [("trace_id", self.trace_id.as_str()), ("span_id", &self.span_id)];
        let mut labels: Vec<(&str, &str)> = ids.into_iter().filter(|(_, id)| !id.is_empty()).collect();
        let filtered = self.filtered.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let characters = |(name, value): (&str, &str)| name.chars().count() + value.chars().count();
        let all: usize = labels.iter().copied().chain(filtered.clone()).map(characters).sum();
        if all <= EXEMPLAR_CHARACTERS_MAX {
            labels.extend(filtered);
        }
        labels.sort_unstable();
        let timestamp_ms = if self.time_ns == 0 { timestamp_ms } else { (self.time_ns / 1_000_000) as i64 };
        rows::exemplar(labels, value, timestamp_ms)
    }
}

/// An id in hexadecimal; one of zeros, or none, is empty.
pub(super) fn id(bytes: &[u8]) -> String {
    if bytes.iter().all(|byte| *byte == 0) { String::new() } else { hex(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filtered_attributes_are_kept_where_there_is_room() {
        let mut found = Found { value: Some(1.5), time_ns: 0, trace_id: id(&[1; 16]), ..Found::default() };
        found.filtered.push(("a".into(), "x".repeat(86)));
        let labels = |found: &Found| found.exemplar(7).unwrap().labels.len();
        assert_eq!((labels(&found), found.exemplar(7).unwrap().timestamp_ms), (2, 7));
        found.filtered[0].1.push('x');
        assert_eq!(labels(&found), 2);
        found.filtered[0].1.push('x');
        assert_eq!(labels(&found), 1);
        found.value = None;
        assert_eq!(found.exemplar(7), Err("an exemplar has no value"));
        assert_eq!((id(&[0; 8]), id(&[]), id(&[0, 10])), (String::new(), String::new(), "000a".into()));
    }
}
