//! How Influx's fields and databases are named: the words of the configuration, and what they mean for a tenant.

use dialects::influx::{self, ValueField};

use super::section::section;
use super::value::words;

words! {
    ValueField, "omit or keep" { Omit = "omit", Keep = "keep" }
}

section! {
    /// What becomes of lines in Influx line protocol. `tenants.<name>.influx` overrides it for one.
    Influx {
        /// The series of a field called `value`: named like the measurement (omit), or `<measurement>_value` (keep). Default:
        /// omit.
        value_field: Option<ValueField> = "", Reload;
        /// A label that says to which database, or bucket, a series was sent; `db` is what VictoriaMetrics calls it. Default:
        /// none.
        database_label: Option<String> = "", Reload;
    }
}

impl Influx {
    /// What these words mean, over those of `all` tenants.
    pub(super) fn over(&self, all: &Self) -> influx::Settings {
        let label = self.database_label.as_ref().or(all.database_label.as_ref());
        influx::Settings {
            value_field: self.value_field.or(all.value_field).unwrap_or_default(),
            database_label: label.cloned().unwrap_or_default(),
        }
    }
}
