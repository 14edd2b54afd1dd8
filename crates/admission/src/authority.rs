//! Who may: from what a request presents to the tenant that it acts for.
//!
//! The token decides the tenant. `X-Scope-OrgID` and a virtual host may repeat it and never choose it, except with
//! [`Access::Open`], where there are no tokens. Hashes are found by their first 8 bytes and compared whole in constant
//! time: timing tells at most something about the hash of a guess, which the guesser knows, and nothing about a stored
//! secret. There is no cache, so a revoked token is refused by the next authority.

use std::collections::HashMap;
use std::sync::Arc;

use model::{TenantId, TenantLimits, TenantName};

use crate::limits::LimitOverrides;
use crate::state::{DEFAULT, SYSTEM, State, TenantRecord, TokenRecord};
use crate::token::{Scope, Scopes, Token, TokenHash, TokenId};

/// Whether tokens are asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// Every request needs a token.
    #[default]
    Token,
    /// No request needs one; `X-Scope-OrgID` picks the tenant. For loopback only.
    Open,
}

/// What the configuration says about tenants.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// Whether tokens are asked for.
    pub access: Access,
    /// Virtual hosts are `<tenant>.<domain>` and `dd.<tenant>.<domain>`; none without a domain.
    pub domain: Option<String>,
    /// Limits of every tenant.
    pub limits: TenantLimits,
    /// Limits of single tenants; those of the control state come on top.
    pub overrides: HashMap<TenantName, LimitOverrides>,
}

/// What a request brought along.
#[derive(Clone, Copy, Debug, Default)]
pub struct Presented<'a> {
    /// The secrets found in the places that the dialect names, without their scheme.
    pub credentials: &'a [&'a str],
    /// Values of `X-Scope-OrgID`, one per header line.
    pub org_ids: &'a [&'a str],
    /// The host that was asked for, from `Host` or `:authority`.
    pub host: Option<&'a str>,
    /// Wall clock, for tokens that expire.
    pub now_ms: i64,
}

/// A tenant as it is now.
#[derive(Clone, Debug, PartialEq)]
pub struct Tenant {
    /// Its number.
    pub id: TenantId,
    /// Its name.
    pub name: TenantName,
    /// Its limits: configured ones with overrides.
    pub limits: TenantLimits,
    /// Changes whenever the limits do.
    pub epoch: u32,
}

/// What a request may do.
#[derive(Clone, Debug, PartialEq)]
pub struct Grant {
    /// The tenant it acts for.
    pub tenant: Arc<Tenant>,
    /// The token's number, for logs; none with [`Access::Open`].
    pub token: Option<TokenId>,
    /// What the token may do; everything with [`Access::Open`].
    pub scopes: Scopes,
}

/// Why a request is not admitted. The dialect's row says with which status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Occurs when the request presents no credential.
    #[error("no credential")]
    NoCredential,
    /// Occurs when the credential is no token, or one that is unknown, revoked or expired.
    #[error("unknown credential")]
    BadCredential,
    /// Occurs when the request presents two different credentials. 400.
    #[error("two different credentials")]
    Conflicting,
    /// Occurs when there is more than one `X-Scope-OrgID`. 400.
    #[error("more than one X-Scope-OrgID header")]
    TwoOrgIds,
    /// Occurs when `X-Scope-OrgID` names several tenants (`a|b`). 400.
    #[error("X-Scope-OrgID names several tenants")]
    SeveralTenants,
    /// Occurs when `X-Scope-OrgID` is not the token's tenant, or not a tenant at all.
    #[error("X-Scope-OrgID is not this token's tenant")]
    OtherTenant,
    /// Occurs when the virtual host is not that of the token's tenant.
    #[error("the host name is not this token's tenant's")]
    OtherHost,
    /// Occurs when the token has not the scope that is asked for.
    #[error("the token has no scope for this")]
    Scope,
}

impl Refused {
    /// Whether the request contradicts itself: 400, whatever the dialect.
    pub fn is_bad_request(self) -> bool {
        matches!(self, Refused::Conflicting | Refused::TwoOrgIds | Refused::SeveralTenants)
    }
}

/// Decides about requests. Immutable: a change of tokens, tenants or limits makes a new one.
#[derive(Debug)]
pub struct Authority {
    state: Arc<State>,
    policy: Policy,
    tenants: HashMap<TenantId, Arc<Tenant>>,
    names: HashMap<TenantName, TenantId>,
    /// Places in `state.tokens`, by the first bytes of their hashes.
    tokens: HashMap<[u8; 8], Vec<usize>>,
}

impl Authority {
    /// The first authority after a start.
    pub fn new(state: Arc<State>, policy: Policy) -> Self {
        Self::build(state, policy, None)
    }

    /// The authority after this one; tenants whose limits are as before keep their epoch.
    pub fn succeed(&self, state: Arc<State>, policy: Policy) -> Self {
        Self::build(state, policy, Some(self))
    }

    /// Admits a request that writes or reads a tenant's data.
    pub fn admit(&self, presented: &Presented<'_>, scope: Scope) -> Result<Grant, Refused> {
        match self.policy.access {
            Access::Open => self.admit_open(presented),
            Access::Token => {
                let token = self.identify(presented)?;
                self.check_names(presented, token.tenant)?;
                if !token.scopes.has(scope) {
                    return Err(Refused::Scope);
                }
                let tenant = token.tenant.and_then(|id| self.tenants.get(&id)).ok_or(Refused::Scope)?;
                Ok(Grant { tenant: Arc::clone(tenant), token: Some(token.id), scopes: token.scopes })
            }
        }
    }

    /// Admits a request that administers; it acts for no tenant.
    pub fn admit_admin(&self, presented: &Presented<'_>) -> Result<Option<TokenId>, Refused> {
        self.admit_token(presented, |token| token.scopes.has(Scope::Admin))
    }

    /// Admits a request for Weir's own metrics: by `admin`, or by the system tenant's `read`.
    pub fn admit_self_metrics(&self, presented: &Presented<'_>) -> Result<Option<TokenId>, Refused> {
        let system = self.tenant(SYSTEM).map(|tenant| tenant.id);
        self.admit_token(presented, |token| {
            token.scopes.has(Scope::Admin) || token.scopes.has(Scope::Read) && token.tenant == system
        })
    }

    /// The tenant of that name, for what has no credential: listeners, Weir's own metrics.
    pub fn tenant(&self, name: &str) -> Option<&Arc<Tenant>> {
        self.names.get(&TenantName::parse(name).ok()?).and_then(|id| self.tenants.get(id))
    }

    /// The tenant of that number; none when it was deleted.
    pub fn tenant_by_id(&self, id: TenantId) -> Option<&Arc<Tenant>> {
        self.tenants.get(&id)
    }

    /// All tenants, by number.
    pub fn tenants(&self) -> impl Iterator<Item = &Arc<Tenant>> {
        self.state.tenants.iter().filter_map(|record| self.tenants.get(&record.id))
    }

    /// What this authority was made of.
    pub fn state(&self) -> &Arc<State> {
        &self.state
    }

    /// What the configuration said.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    fn build(state: Arc<State>, mut policy: Policy, before: Option<&Self>) -> Self {
        policy.domain = policy.domain.map(|domain| domain.trim_matches('.').to_ascii_lowercase());
        let tenant = |record: &TenantRecord| {
            let configured = policy.overrides.get(&record.name).copied().unwrap_or_default();
            let limits = configured.then(&record.limits).over(&policy.limits);
            let old = before.and_then(|before| before.tenants.get(&record.id));
            let epoch = old.map_or(0, |old| old.epoch.wrapping_add(u32::from(old.limits != limits)));
            (record.id, Arc::new(Tenant { id: record.id, name: record.name.clone(), limits, epoch }))
        };
        let mut tokens: HashMap<_, Vec<_>> = HashMap::new();
        for (index, token) in state.tokens.iter().enumerate() {
            tokens.entry(bucket(&token.hash)).or_default().push(index);
        }
        Self {
            tenants: state.tenants.iter().map(tenant).collect(),
            names: state.tenants.iter().map(|record| (record.name.clone(), record.id)).collect(),
            tokens,
            policy,
            state,
        }
    }

    fn admit_token(
        &self,
        presented: &Presented<'_>,
        may: impl FnOnce(&TokenRecord) -> bool,
    ) -> Result<Option<TokenId>, Refused> {
        if self.policy.access == Access::Open {
            return Ok(None);
        }
        let token = self.identify(presented)?;
        self.check_names(presented, token.tenant)?;
        if may(token) { Ok(Some(token.id)) } else { Err(Refused::Scope) }
    }

    /// With tokens off the header picks the tenant, then the virtual host, then it is the default one.
    fn admit_open(&self, presented: &Presented<'_>) -> Result<Grant, Refused> {
        let host = self.virtual_host(presented.host)?;
        let name = one_org_id(presented.org_ids)?.or(host.as_deref()).unwrap_or(DEFAULT);
        if host.as_deref().is_some_and(|host| host != name) {
            return Err(Refused::OtherHost);
        }
        let tenant = self.tenant(name).ok_or(Refused::OtherTenant)?;
        Ok(Grant { tenant: Arc::clone(tenant), token: None, scopes: Scope::ALL.into_iter().collect() })
    }

    fn identify(&self, presented: &Presented<'_>) -> Result<&TokenRecord, Refused> {
        let (first, rest) = presented.credentials.split_first().ok_or(Refused::NoCredential)?;
        if rest.iter().any(|other| other != first) {
            return Err(Refused::Conflicting);
        }
        let hash = Token::parse(first).map_err(|_| Refused::BadCredential)?.hash();
        let found = self.tokens.get(&bucket(&hash)).into_iter().flatten();
        let token = found.map(|&index| &self.state.tokens[index]).find(|token| token.hash == hash);
        let live = |token: &&TokenRecord| token.expires_ms.is_none_or(|expires| presented.now_ms < expires);
        token.filter(live).ok_or(Refused::BadCredential)
    }

    /// Whether `X-Scope-OrgID` and the virtual host repeat the token's tenant.
    fn check_names(&self, presented: &Presented<'_>, tenant: Option<TenantId>) -> Result<(), Refused> {
        let own = tenant.and_then(|id| self.tenants.get(&id)).map(|tenant| tenant.name.as_str());
        if let Some(name) = one_org_id(presented.org_ids)?
            && own != Some(name)
        {
            return Err(Refused::OtherTenant);
        }
        match self.virtual_host(presented.host)? {
            // A token without a tenant administers, under whatever name it reached Weir.
            Some(host) if own.is_some_and(|own| own != host) => Err(Refused::OtherHost),
            _ => Ok(()),
        }
    }

    /// The tenant's name in `<tenant>.<domain>` or `dd.<tenant>.<domain>`; none under other names. Host names know no
    /// case, tenants are lower case.
    fn virtual_host(&self, host: Option<&str>) -> Result<Option<String>, Refused> {
        let (Some(host), Some(domain)) = (host, &self.policy.domain) else { return Ok(None) };
        let name = without_port(host).to_ascii_lowercase();
        let Some(prefix) = name.strip_suffix(domain.as_str()).and_then(|rest| rest.strip_suffix('.')) else {
            return Ok(None);
        };
        match prefix.split_once('.') {
            None => Ok(Some(prefix.to_owned())),
            Some(("dd", tenant)) => Ok(Some(tenant.to_owned())),
            Some(_) => Err(Refused::OtherHost),
        }
    }
}

fn bucket(hash: &TokenHash) -> [u8; 8] {
    *hash.0.first_chunk().expect("a hash has 32 bytes")
}

fn one_org_id<'a>(org_ids: &[&'a str]) -> Result<Option<&'a str>, Refused> {
    match org_ids {
        [] => Ok(None),
        [name] if name.contains('|') => Err(Refused::SeveralTenants),
        [name] => Ok(Some(name)),
        _ => Err(Refused::TwoOrgIds),
    }
}

fn without_port(host: &str) -> &str {
    let end = host.rfind(':').filter(|&colon| host[colon + 1..].bytes().all(|b| b.is_ascii_digit()));
    host[..end.unwrap_or(host.len())].trim_end_matches('.')
}

#[cfg(test)]
mod tests;
