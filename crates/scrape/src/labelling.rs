//! What a target makes of the labels on its page: its own are added, a conflict is settled, rules rewrite the rest.
//!
//! This is Prometheus' order: labels of the target first, `metric_relabel_configs` over all of them. The result depends on
//! nothing but the text of a series and on what stands here, so [`Labelling::seed`] gives keys under which equal texts have
//! equal labels.

use std::borrow::Cow;
use std::sync::Arc;

use codec::hash::key128;
use dialects::scraped;
use model::batch::Pair;
use model::labels::{METRIC_NAME, truncated};
use model::relabel::{LabelSet, Names, Rules, Verdict};
use model::{LabelError, Labels};

/// Whose label counts when page and target have the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Conflicts {
    /// The target's; the page's goes on as `exported_…` (`honor_labels: false`).
    #[default]
    Exported,
    /// The page's (`honor_labels: true`).
    Honoured,
}

/// Bounds on the labels of one series, after the rules; 0 = none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct LabelBounds {
    /// Labels, the name among them (`label_limit`).
    pub labels: usize,
    /// Bytes of a name (`label_name_length_limit`).
    pub name_bytes: usize,
    /// Bytes of a value (`label_value_length_limit`).
    pub value_bytes: usize,
}

/// How the labels of all targets of a job are made.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LabelTerms {
    /// Whose label counts.
    pub conflicts: Conflicts,
    /// `metric_relabel_configs`.
    pub rules: Arc<Rules>,
    /// Which names labels may have (`metric_name_validation_scheme`).
    pub names: Names,
    /// Bounds.
    pub bounds: LabelBounds,
}

/// How the labels of a target's series are made.
#[derive(Clone, Debug, PartialEq)]
pub struct Labelling {
    /// The target's own labels, those that begin with `__` not among them.
    target: Labels,
    terms: LabelTerms,
    /// Of everything that labels depend on.
    digest: u128,
}

/// Why the labels of a series fail the scrape.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSeries {
    /// Occurs when the text of a series cannot be split.
    #[error("{0}")]
    Text(#[from] LabelError),
    /// Occurs when the rules took the name away.
    #[error("missing metric name (__name__ label)")]
    NoName,
    /// Occurs when a name is not allowed by `metric_name_validation_scheme`.
    #[error("invalid metric name or label names: {0}")]
    Names(String),
    /// Occurs when there are too many labels.
    #[error("label_limit exceeded (metric: {metric}, number of labels: {count}, limit: {limit})")]
    Labels {
        /// The metric.
        metric: String,
        /// Labels found.
        count: usize,
        /// Labels allowed.
        limit: usize,
    },
    /// Occurs when a name or a value is too long.
    #[error("{what} exceeded (metric: {metric}, label name: {label}, length: {length}, limit: {limit})")]
    Length {
        /// The bound's name in the configuration.
        what: &'static str,
        /// The metric.
        metric: String,
        /// The label.
        label: String,
        /// Bytes found.
        length: usize,
        /// Bytes allowed.
        limit: usize,
    },
}

/// Keeps keys of pages apart from those of dialects.
const KEY_DOMAIN: u64 = 0x7363_7261_7065_6400;

/// Stands before a label of the page whose name the target has.
const EXPORTED: &str = "exported_";

impl Labelling {
    /// For a target with these labels of its own.
    pub fn new(target: Labels, terms: LabelTerms) -> Self {
        let LabelTerms { conflicts, rules, names, .. } = &terms;
        let text = format!("{}\0{conflicts:?} {names:?} {rules:?}", target.as_canonical());
        let digest = key128(KEY_DOMAIN, text.as_bytes());
        Self { target, terms, digest }
    }

    /// The seed of the keys of this target's series, under a process' `seed`.
    pub fn seed(&self, seed: u64) -> u64 {
        key128(seed ^ KEY_DOMAIN, &self.digest.to_le_bytes()) as u64
    }

    /// The labels of a series of the page; `None` when the rules drop it.
    pub fn labels<'b>(&'b self, series: &'b str) -> Result<Option<LabelSet<'b>>, BadSeries> {
        let mut pairs: Vec<Pair<'b>> = Vec::with_capacity(16);
        scraped::labels(series, &mut pairs)?;
        // By name, as the set has them: of equal names the order does not matter, for there may be none.
        pairs.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        if let Some(name) = repeated(&pairs) {
            return Err(LabelError::Duplicate(truncated(name)).into());
        }
        let mut labels = self.with_target(pairs);
        if self.terms.rules.apply(&mut labels) == Verdict::Dropped {
            return Ok(None);
        }
        self.check(&labels)?;
        Ok(Some(labels))
    }

    /// The labels of a series that tells of the scrape itself. Rules do not apply to it.
    pub fn report<'b>(&'b self, name: &'b str, pairs: &mut Vec<Pair<'b>>) {
        pairs.push((Cow::Borrowed(METRIC_NAME), Cow::Borrowed(name)));
        pairs.extend(self.target.iter().map(|(name, value)| (Cow::Borrowed(name), Cow::Borrowed(value))));
    }

    fn with_target<'b>(&'b self, pairs: Vec<Pair<'b>>) -> LabelSet<'b> {
        let target = self.target.iter();
        if self.terms.conflicts == Conflicts::Honoured {
            // Also an empty label of the page is one: it says that the target's is not wanted.
            let missing: Vec<_> = target.filter(|(name, _)| pairs.iter().all(|(n, _)| n != name)).collect();
            let mut labels: LabelSet<'b> = pairs.into_iter().collect();
            missing.into_iter().for_each(|(name, value)| labels.set(name, value));
            return labels;
        }
        let mut labels: LabelSet<'b> = pairs.into_iter().collect();
        let mut exported: Vec<(&str, String)> = Vec::new();
        for (name, value) in target {
            if labels.has(name) {
                exported.push((name, labels.get(name).to_owned()));
            }
            labels.set(name, value);
        }
        // Short names first, as Prometheus settles them.
        exported.sort_by_key(|(name, _)| name.len());
        for (name, value) in exported {
            let mut renamed = format!("{EXPORTED}{name}");
            while labels.has(&renamed) {
                renamed.insert_str(0, EXPORTED);
            }
            labels.set(renamed, value);
        }
        labels
    }

    fn check(&self, labels: &LabelSet<'_>) -> Result<(), BadSeries> {
        let metric = labels.get(METRIC_NAME);
        if metric.is_empty() {
            return Err(BadSeries::NoName);
        }
        let names = self.terms.names;
        let legacy = names == Names::Legacy;
        let colons_apart = |name: &str| name.split(':').all(|part| part.bytes().all(is_word));
        if legacy
            && (!colons_apart(metric)
                || metric.starts_with(|c: char| c.is_ascii_digit())
                || labels.iter().any(|(name, _)| !names.allow(name)))
        {
            return Err(BadSeries::Names(truncated(metric)));
        }
        let LabelBounds { labels: count_max, name_bytes, value_bytes } = self.terms.bounds;
        if count_max > 0 && labels.len() > count_max {
            let metric = truncated(metric);
            return Err(BadSeries::Labels { metric, count: labels.len(), limit: count_max });
        }
        for (name, value) in labels.iter() {
            let over = |what, length: usize, limit: usize| {
                (limit > 0 && length > limit).then(|| BadSeries::Length {
                    what,
                    metric: truncated(metric),
                    label: truncated(name),
                    length,
                    limit,
                })
            };
            let name_over = over("label_name_length_limit", name.len(), name_bytes);
            if let Some(error) =
                name_over.or_else(|| over("label_value_length_limit", value.len(), value_bytes))
            {
                return Err(error);
            }
        }
        Ok(())
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// A name that stands twice, in pairs by name.
fn repeated<'p>(pairs: &'p [Pair<'_>]) -> Option<&'p str> {
    pairs.windows(2).find(|pair| pair[0].0 == pair[1].0).map(|pair| &*pair[0].0)
}

#[cfg(test)]
mod tests {
    use model::relabel::{Action, Parts, Rule};

    use super::*;

    fn labelling(target: &[(&str, &str)], rules: Vec<Parts>) -> Labelling {
        let rules = rules.into_iter().map(|parts| Rule::new(parts, Names::Utf8).unwrap()).collect();
        let terms = LabelTerms { rules: Arc::new(Rules::new(rules)), ..LabelTerms::default() };
        Labelling::new(Labels::from_pairs(target.iter().copied()), terms)
    }

    fn said(labelling: &Labelling, series: &str) -> String {
        match labelling.labels(series) {
            Ok(Some(labels)) => labels.iter().map(|(n, v)| format!("{n}={v}")).collect::<Vec<_>>().join(" "),
            Ok(None) => "dropped".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn the_targets_labels_win_and_the_pages_are_exported() {
        let target = labelling(&[("job", "j"), ("instance", "i")], Vec::new());
        assert_eq!(said(&target, "up{a=\"b\"}"), "__name__=up a=b instance=i job=j");
        assert_eq!(
            said(&target, r#"up{job="x",exported_job="y"}"#),
            "__name__=up exported_exported_job=x exported_job=y instance=i job=j"
        );
        assert_eq!(said(&target, r#"up{job=""}"#), "__name__=up instance=i job=j");
    }

    #[test]
    fn honoured_labels_stay_also_when_they_are_empty() {
        let mut target = labelling(&[("job", "j"), ("instance", "i")], Vec::new());
        target.terms.conflicts = Conflicts::Honoured;
        assert_eq!(said(&target, r#"up{job="x",instance=""}"#), "__name__=up job=x");
        assert_eq!(said(&target, "up"), "__name__=up instance=i job=j");
    }

    #[test]
    fn rules_see_all_labels() {
        let drop = Parts {
            source_labels: vec!["job".into(), "__name__".into()],
            regex: "j;go_.*".into(),
            action: Action::Drop,
            ..Parts::default()
        };
        let nameless = Parts { regex: "__name__".into(), action: Action::LabelDrop, ..Parts::default() };
        let target = labelling(&[("job", "j")], vec![drop]);
        assert_eq!(said(&target, "go_gc"), "dropped");
        assert_eq!(said(&target, "up"), "__name__=up job=j");
        let target = labelling(&[("job", "j")], vec![nameless]);
        assert_eq!(said(&target, "up"), "missing metric name (__name__ label)");
    }

    #[test]
    fn bounds_are_those_of_prometheus() {
        let mut target = labelling(&[("job", "j")], Vec::new());
        target.terms.bounds = LabelBounds { labels: 3, name_bytes: 8, value_bytes: 4 };
        assert_eq!(said(&target, r#"up{a="b"}"#), "__name__=up a=b job=j");
        assert_eq!(
            said(&target, r#"up{a="b",c="d"}"#),
            "label_limit exceeded (metric: up, number of labels: 4, limit: 3)"
        );
        assert_eq!(
            said(&target, r#"up{a="bbbbb"}"#),
            "label_value_length_limit exceeded (metric: up, label name: a, length: 5, limit: 4)"
        );
        assert_eq!(
            said(&target, r#"up{aaaaaaaaa="b"}"#),
            "label_name_length_limit exceeded (metric: up, label name: aaaaaaaaa, length: 9, limit: 8)"
        );
    }

    #[test]
    fn a_label_that_stands_twice_fails() {
        assert_eq!(said(&labelling(&[], Vec::new()), r#"up{a="b",a="b"}"#), "duplicate label \"a\"");
    }

    #[test]
    fn keys_of_other_labellings_are_others() {
        let (a, b) = (labelling(&[("job", "a")], Vec::new()), labelling(&[("job", "b")], Vec::new()));
        let terms = LabelTerms { conflicts: Conflicts::Honoured, ..LabelTerms::default() };
        let honoured = Labelling::new(a.target.clone(), terms);
        let seeds = [a.seed(1), b.seed(1), honoured.seed(1), a.seed(2)];
        let distinct = seeds.iter().collect::<std::collections::BTreeSet<_>>();
        assert_eq!((distinct.len(), a.seed(1)), (4, a.clone().seed(1)));
    }
}
