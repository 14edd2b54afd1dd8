//! Which certificates are wanted, and for which names. Decided by the control state and the configured domain, by
//! nobody else.

use admission::Authority;

/// Longest name that DNS knows.
const NAME_BYTES_MAX: usize = 253;

/// The names of one certificate; the first tells it from others. At least one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Names(Vec<String>);

impl Names {
    /// The first one.
    pub(super) fn first(&self) -> &str {
        self.0.first().map_or("", String::as_str)
    }

    /// All.
    pub(super) fn all(&self) -> &[String] {
        &self.0
    }
}

/// For the domain and then for each tenant, by name. None without a domain.
pub(super) fn wanted(authority: &Authority) -> Vec<Names> {
    let Some(domain) = &authority.policy().domain else { return Vec::new() };
    let mut tenants: Vec<&str> = authority.tenants().map(|tenant| tenant.name.as_str()).collect();
    tenants.sort_unstable();
    let of_tenant = |tenant: &str| vec![format!("{tenant}.{domain}"), format!("dd.{tenant}.{domain}")];
    let all = std::iter::once(vec![domain.clone()]).chain(tenants.into_iter().map(of_tenant));
    all.filter(|names| names.iter().all(|name| name.len() <= NAME_BYTES_MAX)).map(Names).collect()
}

#[cfg(test)]
mod tests {
    use admission::{Policy, State};

    use super::*;

    fn of(state: State, domain: Option<String>) -> Vec<String> {
        let policy = Policy { domain, ..Policy::default() };
        wanted(&Authority::new(state.into(), policy)).iter().map(|names| names.all().join(" ")).collect()
    }

    #[test]
    fn a_certificate_for_the_domain_and_one_for_each_tenant() {
        let mut state = State::first(0);
        state.create_tenant("acme", 0).unwrap();
        let expected = [
            "weir.example",
            "acme.weir.example dd.acme.weir.example",
            "default.weir.example dd.default.weir.example",
            "system.weir.example dd.system.weir.example",
        ];
        assert_eq!(of(state, Some("weir.example".into())), expected);
        assert!(of(State::first(0), None).is_empty());
        let long = format!("{}example", "a23456789.".repeat(24));
        assert_eq!(of(State::first(0), Some(long.clone())), [long]);
    }
}
