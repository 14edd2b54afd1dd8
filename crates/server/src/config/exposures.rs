//! Pages of metrics at paths of one's own: which series, for whom.

use std::collections::HashMap;
use std::time::Duration;

use dialects::exposition::whole::Untyped;
use model::{Matcher, TenantName};

use super::effective::Shown;
use super::section::section;
use super::tree::{Node, Shape};
use super::value::{Scalar, Value, words};
use crate::{account, routes};

/// How old a page's samples may be at most.
const MAX_AGE_MAX: Duration = Duration::from_secs(100 * 365 * 86_400);

words! {
    Untyped, "gauge or unknown" { Gauge = "gauge", Unknown = "unknown" }
}

/// The path of a page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PagePath(pub String);

impl Scalar for PagePath {
    const EXPECTED: &'static str = "a path like /metrics/team-a";

    fn parse(text: &str) -> Option<Self> {
        // As it stands in a request: nothing in it is decoded.
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "/-._~".contains(c);
        // Clients take these out of a path before they ask for it.
        let has_dots = text.split('/').any(|segment| matches!(segment, "." | ".."));
        let is_path = text.starts_with('/') && text.len() > 1 && text.chars().all(is_plain) && !has_dots;
        let good = text.is_empty() || is_path;
        good.then(|| Self(text.to_owned()))
    }

    fn show(&self) -> String {
        self.0.clone()
    }
}

/// Selectors of series as they were typed. They have commas, so a scalar is one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selectors(pub Vec<String>);

impl Value for Selectors {
    fn read(node: &Node) -> Result<Self, String> {
        let nodes = match &node.shape {
            Shape::Empty => &[],
            Shape::List(nodes) => &nodes[..],
            Shape::Scalar(_) => std::slice::from_ref(node),
            Shape::Map(_) => return Err("expected a list of selectors; each wants quotes".to_owned()),
        };
        let selector = |node: &Node| match &node.shape {
            Shape::Scalar(text) => matchers(text).map(|_| text.clone()),
            _ => Err("expected a selector in quotes, like '{__name__=~\"team_.*\"}'".to_owned()),
        };
        nodes.iter().map(selector).collect::<Result<_, _>>().map(Self)
    }

    fn shown(&self) -> Shown {
        Shown::List(self.0.clone())
    }
}

fn matchers(selector: &str) -> Result<Vec<Matcher>, String> {
    promql::matchers_of_selector(selector).map_err(|error| format!("{selector:?}: {error}"))
}

section! {
    /// Pages of metrics for whoever reads OpenMetrics or Prometheus' text with a token of the scope `read`: a list. See
    /// docs/expose.md.
    Exposure {
        /// Where it is read: any path at which Weir has nothing of its own, or `/api/iacp/v3/metrics` or
        /// `/api/v1/account/metrics` in place of the account's metrics.
        path: PagePath = "", Reload;
        /// Whose series these are; the token must be of that tenant. Default: the token's tenant.
        tenant: Option<TenantName> = "", Reload;
        /// Selectors of the series, of which one has to fit: a list, each in quotes. Families stand in the order of the
        /// selectors that find them. Default: all series.
        selectors ["match"]: Selectors = "", Reload;
        /// Profiles (`Prefer: profile=…`) that see it: a list. Default: all.
        profiles: Vec<String> = "", Reload;
        /// Series that have said nothing for this long are left out; 100 years at most.
        max_age: Duration = "1h", Reload;
        /// As what series are told whose type nobody knows: gauge or unknown.
        untyped_as: Untyped = "gauge", Reload;
    }
}

impl Exposure {
    /// A key, and what it cannot be.
    pub(super) fn contradiction(&self) -> Option<(&'static str, &'static str)> {
        let path = self.path.0.as_str();
        let is_own = || {
            let rows = routes::table(&HashMap::new());
            let is_at = |row: &routes::Row| dialects::matches(row.path, path.trim_end_matches('/'));
            rows.iter().any(|row| is_at(row) || row.path == path)
        };
        if path.is_empty() {
            return Some(("exposures.path", "is needed"));
        }
        if !account::PATHS.contains(&path) && is_own() {
            return Some(("exposures.path", "Weir has something of its own there"));
        }
        if self.max_age == Duration::ZERO {
            return Some(("exposures.max_age", "must be more than 0"));
        }
        if self.max_age > MAX_AGE_MAX {
            return Some(("exposures.max_age", "must be 100 years at most"));
        }
        None
    }
}

/// A page that is served.
#[derive(Clone, Debug)]
pub struct ExposureConfig {
    /// Its path.
    pub path: String,
    /// Whose series; none = the token's tenant's.
    pub tenant: Option<TenantName>,
    /// Selectors; none = every series.
    pub sets: Vec<Vec<Matcher>>,
    /// Profiles that see it; none = all.
    pub profiles: Vec<String>,
    /// How old a sample may be, ms.
    pub age_ms: i64,
    /// As what is told whose type nobody knows.
    pub untyped: Untyped,
}

impl ExposureConfig {
    pub(super) fn new(typed: &Exposure) -> Self {
        // They were read once, when the key was.
        let sets = typed.selectors.0.iter().filter_map(|selector| matchers(selector).ok()).collect();
        Self {
            path: typed.path.0.clone(),
            tenant: typed.tenant.clone(),
            sets,
            profiles: typed.profiles.clone(),
            age_ms: i64::try_from(typed.max_age.as_millis()).unwrap_or(i64::MAX),
            untyped: typed.untyped_as,
        }
    }
}
