//! What of the HTTP Event Collector a tenant may choose.

use dialects::splunk;

use super::section::section;

section! {
    /// What Splunk's HTTP Event Collector takes. `tenants.<name>.splunk` overrides it for one.
    Splunk {
        /// Whether a token may stand in the query (`?token=`), where proxies log it. Default: false, answered with code 16.
        query_token: Option<bool> = "", Reload;
    }
}

impl Splunk {
    /// What these words mean, over those of `all` tenants.
    pub(super) fn over(&self, all: &Self) -> splunk::Settings {
        splunk::Settings { query_token: self.query_token.or(all.query_token).unwrap_or_default() }
    }
}
