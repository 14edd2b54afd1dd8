//! What a tenant may choose of the translation, under Prometheus' own names.

/// Which characters names have, and whether they say unit and type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[allow(clippy::enum_variant_names)] // Prometheus' words.
pub enum Strategy {
    /// Underscores for what is no letter or digit; unit and `_total` behind metrics.
    #[default]
    UnderscoreEscapingWithSuffixes,
    /// Underscores, and nothing behind metrics.
    UnderscoreEscapingWithoutSuffixes,
    /// Names as sent, with unit and `_total` behind metrics.
    NoUTF8EscapingWithSuffixes,
    /// Names as sent.
    NoTranslation,
}

impl Strategy {
    /// Whether names keep their characters.
    pub fn is_utf8(self) -> bool {
        matches!(self, Self::NoUTF8EscapingWithSuffixes | Self::NoTranslation)
    }
}

/// Which attributes of a resource are labels of its series.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Promoted {
    /// None but `job` and `instance`.
    #[default]
    None,
    /// These.
    Only(Vec<String>),
    /// All but these.
    AllBut(Vec<String>),
}

impl Promoted {
    /// Whether an attribute is one of them.
    pub fn has(&self, name: &str) -> bool {
        match self {
            Self::None => false,
            Self::Only(names) => names.iter().any(|known| known == name),
            Self::AllBut(names) => names.iter().all(|known| known != name),
        }
    }
}

/// The translation that a tenant has chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Names of metrics and labels.
    pub translation_strategy: Strategy,
    /// Attributes of the resource as labels.
    pub promoted: Promoted,
    /// Whether `service.*` attributes stand on `target_info` beside `job` and `instance`.
    pub keep_identifying_resource_attributes: bool,
    /// Whether histograms with bounds become native ones.
    pub convert_histograms_to_nhcb: bool,
    /// Whether the scope's name, version and attributes are labels.
    pub promote_scope_metadata: bool,
    /// Whether labels that begin with an underscore get `key` before it.
    pub label_name_underscore_sanitization: bool,
    /// Whether several underscores in a row stay so in labels.
    pub label_name_preserve_multiple_underscores: bool,
    /// Whether each resource gets a series of its attributes.
    pub target_info: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            translation_strategy: Strategy::default(),
            promoted: Promoted::default(),
            keep_identifying_resource_attributes: false,
            convert_histograms_to_nhcb: false,
            promote_scope_metadata: false,
            label_name_underscore_sanitization: true,
            label_name_preserve_multiple_underscores: true,
            target_info: true,
        }
    }
}
