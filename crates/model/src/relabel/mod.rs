//! Prometheus' relabelling: rules that rewrite a set of labels, or drop whatever it names.
//!
//! The same rules serve targets (`relabel_configs`), samples (`metric_relabel_configs`) and what is sent on
//! (`write_relabel_configs`). A rule is checked when it is made ([`Rule::new`]); applying it cannot fail. A pattern that
//! is a list of words, a prefix or `(.*)` costs a comparison, and only a template with `$` in it asks for captures.
//!
//! ```
//! use model::relabel::{Action, LabelSet, Names, Parts, Rule, Rules, Verdict};
//! let rule = Parts { source_labels: vec!["__address__".into()], target_label: "host".into(),
//!     regex: "([^:]+):\\d+".into(), ..Parts::default() };
//! let rules = Rules::new(vec![Rule::new(rule, Names::Utf8).unwrap()]);
//! let mut labels = LabelSet::from_iter([("__address__", "db1:9100")]);
//! assert_eq!(rules.apply(&mut labels), Verdict::Kept);
//! assert_eq!(labels.get("host"), "db1");
//! ```

mod case;
mod pattern;
mod rule;
mod set;
mod template;

pub use rule::{Action, InvalidRule, Names, Parts, Rule};
pub use set::LabelSet;

/// What becomes of what the labels name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on, under the labels as they are now.
    Kept,
    /// It is left out.
    Dropped,
}

/// Rules in their order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rules(Vec<Rule>);

impl Rules {
    /// These rules.
    pub fn new(rules: Vec<Rule>) -> Self {
        Self(rules)
    }

    /// Whether there are none: labels stay as they are.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The rules in their order.
    pub fn iter(&self) -> std::slice::Iter<'_, Rule> {
        self.0.iter()
    }

    /// Applies the rules one after the other; what a rule drops is not shown to those behind it. Of dropped labels only
    /// that they are dropped is certain.
    pub fn apply(&self, labels: &mut LabelSet<'_>) -> Verdict {
        let dropped = self.0.iter().any(|rule| rule.apply(labels) == Verdict::Dropped);
        if dropped { Verdict::Dropped } else { Verdict::Kept }
    }
}

#[cfg(test)]
mod tests;
