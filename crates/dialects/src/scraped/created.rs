//! `_created` lines of OpenMetrics: when the series of a metric began.
//!
//! A family's `_created` lines may stand before or behind the rows that they tell of, so they are looked for ahead, from a
//! family's type to the next one's; a page without the word is not searched.

use std::collections::HashMap;

use codec::hash::key128;
use memchr::memmem;
use model::MetricType;

use crate::text::format;
use crate::text::line;

/// When the metrics of one family began, by a key of their labels.
#[derive(Debug, Default)]
pub(super) struct Created {
    starts_ms: HashMap<u128, i64>,
    kind: MetricType,
}

const SUFFIX: &str = "_created";

impl Created {
    /// Whether there is anything to look for.
    pub(super) fn on(page: &[u8]) -> bool {
        memmem::find(page, SUFFIX.as_bytes()).is_some()
    }

    /// Reads the `_created` lines of the family `name`, in what stands behind its `# TYPE` line. Lines that cannot be
    /// read are left to whoever comes to them.
    pub(super) fn ahead(&mut self, name: &str, kind: MetricType, rest: &[u8]) {
        self.starts_ms.clear();
        self.kind = kind;
        if !is_told_of(kind) {
            return;
        }
        let end = memmem::find(rest, b"\n# TYPE ").unwrap_or(rest.len());
        let series = format!("{name}{SUFFIX}");
        for at in memmem::find_iter(&rest[..end], &series) {
            let start = memchr::memrchr(b'\n', &rest[..at]).map_or(0, |newline| newline + 1);
            // The name stands at the start of its line, or in the quotes of a name that needs them.
            if at > start + 2 {
                continue;
            }
            let length = memchr::memchr(b'\n', &rest[at..end]).unwrap_or(end - at);
            let Ok(text) = std::str::from_utf8(&rest[start..at + length]) else { continue };
            let Ok(line) = line::parse(text.trim_end(), format::Format::OpenMetrics) else { continue };
            if let Some(key) = self.key_of(line.series, |name| name == series) {
                self.starts_ms.insert(key, (line.value * 1000.0).round() as i64);
            }
        }
    }

    /// When the metric of `series` began, in milliseconds; 0 = nobody said.
    pub(super) fn of(&self, series: &str, family: &str) -> i64 {
        if self.starts_ms.is_empty() {
            return 0;
        }
        let suffixes = ["", "_total", "_bucket", "_sum", "_count"];
        let is_part = |name: &str| name.strip_prefix(family).is_some_and(|rest| suffixes.contains(&rest));
        let key = self.key_of(series, is_part);
        key.and_then(|key| self.starts_ms.get(&key)).copied().unwrap_or(0)
    }

    /// Whether `series` is a family's `_created` and has told when another series began.
    pub(super) fn is_told_by(&self, series: &str, family: &str) -> bool {
        let is_created = |name: &str| name.strip_prefix(family) == Some(SUFFIX);
        is_told_of(self.kind) && series.contains(SUFFIX) && self.key_of(series, is_created).is_some()
    }

    /// A key of the labels that tell metrics of a family apart, in whatever order they stand, if the name is right.
    fn key_of(&self, series: &str, is_right: impl Fn(&str) -> bool) -> Option<u128> {
        let part = match self.kind {
            MetricType::Histogram => "le",
            MetricType::Summary => "quantile",
            _ => "",
        };
        let (mut key, mut named) = (0u128, false);
        line::unescape_series(series, |label, value| {
            if label == model::labels::METRIC_NAME {
                named = is_right(&value);
            } else if label != part {
                let seed = key128(0, label.as_bytes()) as u64;
                key = key.wrapping_add(key128(seed, value.as_bytes()));
            }
        });
        named.then_some(key)
    }
}

/// Whether metrics of this type may say when they began.
fn is_told_of(kind: MetricType) -> bool {
    matches!(kind, MetricType::Counter | MetricType::Histogram | MetricType::Summary)
}
