//! What has to survive a restart: tenants, token hashes, limits, and the numbers that were given out.
//!
//! Plain data with the operations that change it. A change is made on a copy, written, and only then believed; so every
//! operation here either does all of what it says or returns an error and the copy is thrown away. Numbers of tenants
//! and tokens are never reused: data of a deleted tenant can never show up under a new one.

use model::tenant::InvalidTenantName;
use model::{TenantId, TenantName};

use crate::limits::LimitOverrides;
use crate::token::{Scope, Scopes, Token, TokenHash, TokenId};

/// The tenant that Weir writes its own metrics into.
pub const SYSTEM: &str = "system";
/// The tenant of whoever names none.
pub const DEFAULT: &str = "default";

/// A tenant.
#[derive(Clone, Debug, PartialEq)]
pub struct TenantRecord {
    /// Its number.
    pub id: TenantId,
    /// Its name.
    pub name: TenantName,
    /// When it was created, in ms since the Unix epoch.
    pub created_ms: i64,
    /// Limits that differ from the configured ones.
    pub limits: LimitOverrides,
}

/// A token, without its secret.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenRecord {
    /// Its number.
    pub id: TokenId,
    /// What it is for, in words.
    pub name: String,
    /// Its tenant; none for a token that only administers.
    pub tenant: Option<TenantId>,
    /// What it may do.
    pub scopes: Scopes,
    /// SHA-256 of the secret.
    pub hash: TokenHash,
    /// When it was created, in ms since the Unix epoch.
    pub created_ms: i64,
    /// From when on it is refused, in ms since the Unix epoch.
    pub expires_ms: Option<i64>,
}

/// Numbers that are skipped when a newer state is lost: one change creates far fewer tenants and tokens than this.
const SKIPPED: u32 = 1 << 16;

/// Everything that survives.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// Counts changes; the file with the higher one is the newer one.
    pub generation: u64,
    /// The next tenant's number.
    pub next_tenant: u32,
    /// The next token's number.
    pub next_token: u32,
    /// By number.
    pub tenants: Vec<TenantRecord>,
    /// By number.
    pub tokens: Vec<TokenRecord>,
    /// Deleted tenants whose data has not been removed yet.
    pub leaving: Vec<TenantId>,
}

/// Why a change is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// Occurs when a tenant's name is not one DNS label.
    #[error(transparent)]
    TenantName(#[from] InvalidTenantName),
    /// Occurs when a tenant of that name is there.
    #[error("tenant {0} exists already")]
    TenantExists(String),
    /// Occurs when no tenant has that name.
    #[error("no tenant {0}")]
    NoTenant(String),
    /// Occurs when the tenant that Weir itself writes into is to be deleted.
    #[error("tenant {SYSTEM} holds Weir's own metrics and cannot be deleted")]
    SystemTenant,
    /// Occurs when no token has that number.
    #[error("no token {0}")]
    NoToken(u32),
    /// Occurs when the last token that may administer is to be revoked.
    #[error("token {0} is the last one with scope admin; create another one first")]
    LastAdmin(u32),
    /// Occurs when a token would have no scope, or write or read without a tenant.
    #[error("a token needs a scope, and for write or read a tenant")]
    Scopes,
    /// Occurs when a token's name is longer than 200 bytes or has control characters.
    #[error("a token's name has at most 200 bytes and no control characters")]
    TokenName,
    /// Occurs when a limit's value makes no sense.
    #[error("limits.{0}: value makes no sense")]
    Limit(&'static str),
    /// Occurs when all numbers are used up.
    #[error("no numbers left")]
    Exhausted,
}

/// Occurs when read state contradicts itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("control state: {0}")]
pub struct Invalid(pub &'static str);

impl State {
    /// A first start's: the tenants `default` and `system`, no tokens.
    pub fn first(now_ms: i64) -> Self {
        let mut state = Self {
            generation: 1,
            next_tenant: 1,
            next_token: 1,
            tenants: Vec::new(),
            tokens: Vec::new(),
            leaving: Vec::new(),
        };
        for name in [DEFAULT, SYSTEM] {
            state.create_tenant(name, now_ms).expect("first names are valid and free");
        }
        state
    }

    /// The tenant of that name.
    pub fn tenant(&self, name: &str) -> Result<&TenantRecord, ChangeError> {
        let found = self.tenants.iter().find(|tenant| tenant.name.as_str() == name);
        found.ok_or_else(|| ChangeError::NoTenant(shown(name)))
    }

    /// The tenant of that number.
    pub fn tenant_by_id(&self, id: TenantId) -> Option<&TenantRecord> {
        self.tenants.iter().find(|tenant| tenant.id == id)
    }

    /// Creates a tenant.
    pub fn create_tenant(&mut self, name: &str, now_ms: i64) -> Result<TenantId, ChangeError> {
        let name = TenantName::parse(name)?;
        if self.tenants.iter().any(|tenant| tenant.name == name) {
            return Err(ChangeError::TenantExists(name.to_string()));
        }
        let id = TenantId(self.next_tenant);
        self.next_tenant = self.next_tenant.checked_add(1).ok_or(ChangeError::Exhausted)?;
        self.tenants.push(TenantRecord { id, name, created_ms: now_ms, limits: LimitOverrides::default() });
        Ok(id)
    }

    /// Deletes a tenant and its tokens; its number stays in `leaving` until its data is gone.
    pub fn delete_tenant(&mut self, name: &str) -> Result<TenantId, ChangeError> {
        let id = self.tenant(name)?.id;
        if name == SYSTEM {
            return Err(ChangeError::SystemTenant);
        }
        if let Some(token) = self.tokens.iter().find(|token| token.scopes.has(Scope::Admin))
            && self.admins().all(|admin| admin.tenant == Some(id))
        {
            return Err(ChangeError::LastAdmin(token.id.0));
        }
        self.tenants.retain(|tenant| tenant.id != id);
        self.tokens.retain(|token| token.tenant != Some(id));
        self.leaving.push(id);
        Ok(id)
    }

    /// Notes that a deleted tenant's data is gone.
    pub fn forget(&mut self, id: TenantId) {
        self.leaving.retain(|leaving| *leaving != id);
    }

    /// Sets a tenant's limits; what is not set in `limits` follows the configuration again.
    pub fn set_limits(&mut self, name: &str, limits: LimitOverrides) -> Result<(), ChangeError> {
        if let Some(limit) = limits.nonsense() {
            return Err(ChangeError::Limit(limit));
        }
        let id = self.tenant(name)?.id;
        self.tenants.iter_mut().filter(|tenant| tenant.id == id).for_each(|tenant| tenant.limits = limits);
        Ok(())
    }

    /// Stores a new token's hash.
    pub fn issue(
        &mut self,
        token: &Token,
        name: &str,
        tenant: Option<TenantId>,
        scopes: Scopes,
        now_ms: i64,
        expires_ms: Option<i64>,
    ) -> Result<TokenId, ChangeError> {
        if scopes.is_empty() || tenant.is_none() && (scopes.has(Scope::Write) || scopes.has(Scope::Read)) {
            return Err(ChangeError::Scopes);
        }
        if let Some(id) = tenant
            && self.tenant_by_id(id).is_none()
        {
            return Err(ChangeError::NoTenant(id.0.to_string()));
        }
        if name.len() > 200 || name.chars().any(char::is_control) {
            return Err(ChangeError::TokenName);
        }
        let id = TokenId(self.next_token);
        self.next_token = self.next_token.checked_add(1).ok_or(ChangeError::Exhausted)?;
        let (name, hash) = (name.to_owned(), token.hash());
        self.tokens.push(TokenRecord { id, name, tenant, scopes, hash, created_ms: now_ms, expires_ms });
        Ok(id)
    }

    /// Removes a token: it is refused from now on.
    pub fn revoke(&mut self, id: TokenId) -> Result<TokenRecord, ChangeError> {
        let index = self.tokens.iter().position(|token| token.id == id).ok_or(ChangeError::NoToken(id.0))?;
        if self.tokens[index].scopes.has(Scope::Admin) && self.admins().all(|admin| admin.id == id) {
            return Err(ChangeError::LastAdmin(id.0));
        }
        Ok(self.tokens.remove(index))
    }

    /// Puts `token` in the place of an older one with the same tenant, scopes and name. The old one is refused from
    /// `old_until_ms` on: now, or after everybody has got the new one.
    pub fn rotate(
        &mut self,
        old: TokenId,
        token: &Token,
        now_ms: i64,
        old_until_ms: i64,
    ) -> Result<TokenId, ChangeError> {
        let index =
            self.tokens.iter().position(|token| token.id == old).ok_or(ChangeError::NoToken(old.0))?;
        let TokenRecord { name, tenant, scopes, expires_ms, .. } = self.tokens[index].clone();
        // An expiry that is there holds for the new token too: rotating is not extending.
        let new = self.issue(token, &name, tenant, scopes, now_ms, expires_ms)?;
        if old_until_ms <= now_ms {
            self.tokens.remove(index);
        } else {
            let until = expires_ms.map_or(old_until_ms, |expires_ms| expires_ms.min(old_until_ms));
            self.tokens[index].expires_ms = Some(until);
        }
        Ok(new)
    }

    /// Skips numbers that a lost newer state may have given out.
    pub fn skip_numbers(&mut self) {
        self.next_tenant = self.next_tenant.saturating_add(SKIPPED);
        self.next_token = self.next_token.saturating_add(SKIPPED);
    }

    /// Whether a tenant of that number was deleted: it is not there, and its number was given out. A number in a gap as
    /// wide as those that [`State::skip_numbers`] leaves may be that of a tenant which only this state has lost.
    pub fn is_deleted(&self, id: TenantId) -> bool {
        if id.0 == 0 || id.0 >= self.next_tenant || self.tenant_by_id(id).is_some() {
            return false;
        }
        let numbers = || self.tenants.iter().map(|tenant| tenant.id.0);
        let before = numbers().filter(|number| *number < id.0).max().unwrap_or(0);
        let after = numbers().filter(|number| *number > id.0).min().unwrap_or(self.next_tenant);
        after - before - 1 < SKIPPED
    }

    /// Checks state that was read: names and numbers are unique and below the next ones, tokens name tenants that exist.
    pub fn check(&self) -> Result<(), Invalid> {
        if !rise(self.tenants.iter().map(|tenant| tenant.id.0)) {
            return Err(Invalid("tenant numbers do not rise"));
        }
        if !rise(self.tokens.iter().map(|token| token.id.0)) {
            return Err(Invalid("token numbers do not rise"));
        }
        let mut names: Vec<_> = self.tenants.iter().map(|tenant| &tenant.name).collect();
        names.sort();
        if names.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(Invalid("two tenants have one name"));
        }
        let tenants = self.tenants.iter().map(|tenant| tenant.id).chain(self.leaving.iter().copied());
        if tenants.max().is_some_and(|id| id.0 >= self.next_tenant) {
            return Err(Invalid("a tenant's number is not below the next one"));
        }
        if self.tokens.last().is_some_and(|token| token.id.0 >= self.next_token) {
            return Err(Invalid("a token's number is not below the next one"));
        }
        if self.leaving.iter().any(|&id| self.tenant_by_id(id).is_some()) {
            return Err(Invalid("a deleted tenant is there"));
        }
        let orphan = |token: &TokenRecord| {
            token.scopes.is_empty() || token.tenant.is_some_and(|id| self.tenant_by_id(id).is_none())
        };
        if self.tokens.iter().any(orphan) {
            return Err(Invalid("a token has no scope, or a tenant that does not exist"));
        }
        Ok(())
    }

    fn admins(&self) -> impl Iterator<Item = &TokenRecord> {
        self.tokens.iter().filter(|token| token.scopes.has(Scope::Admin))
    }
}

fn rise(mut ids: impl Iterator<Item = u32>) -> bool {
    let mut last = 0;
    ids.all(|id| std::mem::replace(&mut last, id) < id)
}

/// What a refusal repeats of a name that somebody sent.
fn shown(name: &str) -> String {
    if TenantName::parse(name).is_ok() { name.to_owned() } else { "of that name".to_owned() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn token(n: u8) -> Token {
        Token::from_random([n; 16])
    }

    #[test]
    fn the_first_start_has_two_tenants() {
        let state = State::first(7);
        let tenants: Vec<_> = state.tenants.iter().map(|t| (t.id.0, t.name.as_str(), t.created_ms)).collect();
        assert_eq!(tenants, [(1, "default", 7), (2, "system", 7)]);
        assert_eq!(state.check(), Ok(()));
    }

    #[test]
    fn a_deleted_tenant_takes_its_tokens_along_and_leaves_its_number() {
        let mut state = State::first(0);
        let id = state.create_tenant("acme", 0).unwrap();
        state.issue(&token(1), "", Some(id), Scope::Write.into(), 0, None).unwrap();
        assert_eq!(state.create_tenant("acme", 0), Err(ChangeError::TenantExists("acme".to_owned())));
        assert_eq!(state.delete_tenant("acme"), Ok(id));
        assert_eq!((state.tokens.len(), state.leaving.as_slice()), (0, [id].as_slice()));
        assert!(state.create_tenant("acme", 0).unwrap() > id);
        assert_eq!(state.delete_tenant("system"), Err(ChangeError::SystemTenant));
        assert_eq!(state.delete_tenant("nobody"), Err(ChangeError::NoTenant("nobody".to_owned())));
        state.forget(id);
        assert_eq!((state.leaving.len(), state.check()), (0, Ok(())));
    }

    /// The data of a tenant that counts as deleted is removed: a number that nobody was given, or that a lost state may
    /// have given, is none.
    #[test]
    fn deleted_is_what_was_given_out_and_is_not_there() {
        let mut state = State::first(0);
        let ids: Vec<_> = ["a", "b"].iter().map(|name| state.create_tenant(name, 0).unwrap()).collect();
        state.delete_tenant("a").unwrap();
        state.forget(ids[0]);
        let deleted =
            |state: &State, up_to| (0..up_to).filter(|&id| state.is_deleted(TenantId(id))).collect();
        let all: Vec<u32> = deleted(&state, 10);
        assert_eq!(all, [3]);
        state.skip_numbers();
        let c = state.create_tenant("c", 0).unwrap();
        assert_eq!(c, TenantId(5 + (1 << 16)));
        let all: Vec<u32> = deleted(&state, c.0 + 10);
        assert_eq!(all, [3]);
        state.delete_tenant("c").unwrap();
        let all: Vec<u32> = deleted(&state, c.0 + 10);
        assert_eq!(all, [3], "nobody knows any more where the gap ends");
    }

    #[test]
    fn the_last_admin_stays() {
        let mut state = State::first(0);
        let first = state.issue(&token(1), "", None, Scope::Admin.into(), 0, None).unwrap();
        assert_eq!(state.revoke(first), Err(ChangeError::LastAdmin(first.0)));
        let acme = state.create_tenant("acme", 0).unwrap();
        state.issue(&token(2), "", Some(acme), Scope::Admin.into(), 0, None).unwrap();
        state.revoke(first).unwrap();
        assert!(matches!(state.delete_tenant("acme"), Err(ChangeError::LastAdmin(_))));
    }

    #[test]
    fn a_token_needs_what_its_scopes_need() {
        let mut state = State::first(0);
        let mut issue = |name: &str, tenant: Option<u32>, scopes: &[Scope]| {
            let scopes = scopes.iter().copied().collect();
            state.issue(&token(1), name, tenant.map(TenantId), scopes, 0, None).map(|_| ())
        };
        assert_eq!(issue("", Some(1), &[]), Err(ChangeError::Scopes));
        assert_eq!(issue("", None, &[Scope::Admin, Scope::Read]), Err(ChangeError::Scopes));
        assert_eq!(issue("", Some(9), &[Scope::Read]), Err(ChangeError::NoTenant("9".to_owned())));
        assert_eq!(issue("a\nb", Some(1), &[Scope::Read]), Err(ChangeError::TokenName));
        assert_eq!(issue("", None, &[Scope::Admin]), Ok(()));
    }

    #[test]
    fn rotation_keeps_the_old_token_for_as_long_as_said() {
        let mut state = State::first(0);
        let first = state.issue(&token(1), "agent", Some(TenantId(1)), Scope::Write.into(), 0, None).unwrap();
        let second = state.rotate(first, &token(2), 100, 500).unwrap();
        assert_eq!(state.tokens[0].expires_ms, Some(500));
        let third = state.rotate(second, &token(3), 200, 200).unwrap();
        let left: Vec<_> = state.tokens.iter().map(|t| (t.id, t.name.as_str(), t.expires_ms)).collect();
        assert_eq!(left, [(first, "agent", Some(500)), (third, "agent", None)]);
        assert_eq!(state.check(), Ok(()));
    }

    proptest! {
        /// Against a map of names: numbers are never given out twice, whatever is created and deleted.
        #[test]
        fn numbers_never_come_back(steps in prop::collection::vec((0u8..5, any::<bool>()), 0..80)) {
            let mut state = State::first(0);
            let mut naive: BTreeMap<String, TenantId> = BTreeMap::new();
            let mut used = vec![TenantId(1), TenantId(2)];
            for (name, create) in steps {
                let name = format!("t{name}");
                if create {
                    let made = state.create_tenant(&name, 0);
                    prop_assert_eq!(made.is_ok(), !naive.contains_key(&name));
                    if let Ok(id) = made {
                        prop_assert!(!used.contains(&id));
                        used.push(id);
                        naive.insert(name, id);
                    }
                } else {
                    prop_assert_eq!(state.delete_tenant(&name).ok(), naive.remove(&name));
                }
                prop_assert_eq!(state.check(), Ok(()));
            }
        }
    }
}
