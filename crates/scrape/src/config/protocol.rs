//! Words for what is asked of a target.

use dialects::scraped::{Protocol, UnknownProtocol};
use model::relabel::Names;
use serde::{Deserialize, Serialize};

use super::block::JobKeys;
use super::global::Global;

/// `metric_name_validation_scheme`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NameValidation {
    /// Any text.
    #[default]
    Utf8,
    /// Letters, digits and underscores.
    Legacy,
}

impl NameValidation {
    /// The names that it allows.
    pub fn names(self) -> Names {
        match self {
            Self::Utf8 => Names::Utf8,
            Self::Legacy => Names::Legacy,
        }
    }
}

/// `metric_name_escaping_scheme`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Escaping {
    /// Names are asked for as they are.
    #[default]
    #[serde(rename = "allow-utf-8")]
    AllowUtf8,
    /// Every other character as an underscore.
    Underscores,
    /// As underscores, but dots as `_dot_`.
    Dots,
    /// As their code points.
    Values,
}

/// The protocols of these names, of which each may stand there once.
pub(super) fn parse_all(names: &[String]) -> Result<Vec<Protocol>, String> {
    if names.is_empty() {
        return Err("must not be empty".to_owned());
    }
    let mut protocols = Vec::new();
    for name in names {
        let protocol: Protocol = name.parse().map_err(|error: UnknownProtocol| error.to_string())?;
        if protocols.contains(&protocol) {
            return Err(format!("{name} stands there twice"));
        }
        protocols.push(protocol);
    }
    Ok(protocols)
}

/// The escaping that goes with which names are allowed, unless one is set.
pub(super) fn escaping(keys: &JobKeys, global: &Global) -> Result<Escaping, String> {
    let usual = |validation| match validation {
        NameValidation::Legacy => Escaping::Underscores,
        NameValidation::Utf8 => Escaping::AllowUtf8,
    };
    let own = keys.metric_name_validation_scheme;
    let validation = own.unwrap_or(global.metric_name_validation_scheme);
    let escaping = match (keys.metric_name_escaping_scheme, own) {
        (Some(escaping), _) => escaping,
        (None, Some(own)) => usual(own),
        (None, None) => global.metric_name_escaping_scheme.unwrap_or(usual(validation)),
    };
    if escaping == Escaping::AllowUtf8 && validation == NameValidation::Legacy {
        return Err("allow-utf-8 does not go with metric_name_validation_scheme: legacy".to_owned());
    }
    Ok(escaping)
}
