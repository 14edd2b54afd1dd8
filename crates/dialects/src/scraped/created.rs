//! `_created` lines of OpenMetrics: when the series of a metric began.
//!
//! A family's `_created` lines may stand before or behind the rows that they tell of, so they are all read ahead, once; a
//! page without the word is not searched.

use std::borrow::Cow;
use std::collections::HashMap;

use codec::hash::key128;
use memchr::memmem::{self, Finder};
use model::MetricType;

use super::{bound, families};
use crate::text::format;
use crate::text::line;

/// When the metrics of a page began, by a key of their family and their labels.
#[derive(Debug, Default)]
pub(super) struct Created {
    starts_ms: HashMap<u128, i64>,
}

const SUFFIX: &str = "_created";

impl Created {
    /// Reads the `_created` lines of an OpenMetrics page; `None` when the word is not on it. Lines that cannot be read are
    /// left to whoever comes to them.
    pub(super) fn on(page: &[u8]) -> Option<Self> {
        memmem::find(page, SUFFIX.as_bytes())?;
        let suffix = Finder::new(SUFFIX);
        let mut created = Self::default();
        let (mut family, mut kind) = (Cow::Borrowed(""), MetricType::Unknown);
        for line in page.split(|byte| *byte == b'\n') {
            if line.trim_ascii_start().starts_with(b"#") {
                let text = std::str::from_utf8(line).ok();
                if let Some(told) = text.and_then(families::told_type) {
                    (family, kind) = told;
                }
                continue;
            }
            if !is_told_of(kind) || suffix.find(line).is_none() {
                continue;
            }
            let Ok(text) = std::str::from_utf8(line) else { continue };
            let Ok(line) = line::parse(text.trim(), format::Format::OpenMetrics) else { continue };
            let is_created = |name: &str| name.strip_prefix(&*family) == Some(SUFFIX);
            if let Some(key) = key_of(line.series, &family, kind, is_created) {
                created.starts_ms.insert(key, (line.value * 1000.0).round() as i64);
            }
        }
        Some(created)
    }

    /// When the metric of `series` began, in milliseconds; 0 = nobody said. It stands in `family`, of the type `kind`.
    pub(super) fn of(&self, series: &str, family: &str, kind: MetricType) -> i64 {
        if self.starts_ms.is_empty() || !is_told_of(kind) {
            return 0;
        }
        let suffixes = ["", "_total", "_bucket", "_sum", "_count"];
        let is_part = |name: &str| name.strip_prefix(family).is_some_and(|rest| suffixes.contains(&rest));
        let key = key_of(series, family, kind, is_part);
        key.and_then(|key| self.starts_ms.get(&key)).copied().unwrap_or(0)
    }
}

/// Whether `series` is a family's `_created` and has told when another series began.
pub(super) fn is_created(series: &str, family: &str, kind: MetricType) -> bool {
    let is_created = |name: &str| name.strip_prefix(family) == Some(SUFFIX);
    is_told_of(kind) && series.contains(SUFFIX) && key_of(series, family, kind, is_created).is_some()
}

/// A key of a family and of the labels that tell its metrics apart, in whatever order they stand, if the name is right.
fn key_of(series: &str, family: &str, kind: MetricType, is_right: impl Fn(&str) -> bool) -> Option<u128> {
    let part = bound::label_of(kind);
    let (mut key, mut named) = (key128(1, family.as_bytes()), false);
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

/// Whether metrics of this type may say when they began.
fn is_told_of(kind: MetricType) -> bool {
    matches!(kind, MetricType::Counter | MetricType::Histogram | MetricType::Summary)
}
