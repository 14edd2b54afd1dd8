//! What a tenant may choose of the names.

/// What a field called `value` is in a series' name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum ValueField {
    /// Nothing: the measurement alone is the name, as the metric is called in dialects without fields.
    #[default]
    Omit,
    /// `<measurement>_value`, like any other field.
    Keep,
}

/// The names that a tenant has chosen.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Settings {
    /// Fields called `value`.
    pub value_field: ValueField,
    /// The label that says to which database or bucket a series was sent; none when empty.
    pub database_label: String,
}
