//! Relabelling rules as they are written in YAML.

use model::relabel::{Action, InvalidRule, Names, Parts, Rule, Rules};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A rule as written; [`RelabelConfig::rule`] checks it.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct RelabelConfig {
    /// Labels whose values are joined.
    pub source_labels: Vec<String>,
    /// What stands between them.
    pub separator: String,
    /// The pattern that the whole must match.
    pub regex: String,
    /// For `hashmod`.
    pub modulus: u64,
    /// The label that is set.
    pub target_label: String,
    /// What it is set to.
    pub replacement: String,
    /// What is done.
    #[serde(deserialize_with = "action", serialize_with = "action_name")]
    pub action: Action,
}

impl Default for RelabelConfig {
    fn default() -> Self {
        let Parts { source_labels, separator, regex, modulus, target_label, replacement, action } =
            Parts::default();
        Self { source_labels, separator, regex, modulus, target_label, replacement, action }
    }
}

impl RelabelConfig {
    /// The rule that it means.
    pub fn rule(&self, names: Names) -> Result<Rule, InvalidRule> {
        let Self { source_labels, separator, regex, modulus, target_label, replacement, action } =
            self.clone();
        Rule::new(
            Parts { source_labels, separator, regex, modulus, target_label, replacement, action },
            names,
        )
    }
}

/// The rules that a list of them means; the error says which one means nothing.
pub fn rules(configs: &[RelabelConfig], names: Names) -> Result<Rules, (usize, InvalidRule)> {
    let rule = |(at, config): (usize, &RelabelConfig)| config.rule(names).map_err(|error| (at, error));
    configs.iter().enumerate().map(rule).collect::<Result<_, _>>().map(Rules::new)
}

fn action<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Action, D::Error> {
    let name = String::deserialize(deserializer)?;
    Action::from_name(&name).ok_or_else(|| {
        let known: Vec<&str> = Action::ALL.into_iter().map(Action::as_str).collect();
        de::Error::custom(format!("unknown action {name:?}, there are {}", known.join(", ")))
    })
}

fn action_name<S: Serializer>(action: &Action, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(action.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_with_prometheus_defaults() {
        let config: RelabelConfig =
            serde_json::from_str(r#"{"source_labels":["a"],"target_label":"b","action":"Replace"}"#).unwrap();
        assert_eq!((config.regex.as_str(), config.replacement.as_str()), ("(.*)", "$1"));
        assert_eq!(config.separator, ";");
        assert!(config.rule(Names::Utf8).is_ok());
        let error = serde_json::from_str::<RelabelConfig>(r#"{"action":"kep"}"#).unwrap_err().to_string();
        assert!(error.starts_with("unknown action \"kep\", there are replace, keep, drop,"), "{error}");
        let invalid = RelabelConfig { action: Action::HashMod, ..RelabelConfig::default() };
        assert_eq!(rules(&[config, invalid], Names::Utf8).unwrap_err(), (1, InvalidRule::NoModulus));
    }
}
