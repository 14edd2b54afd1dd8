//! The control state of a data directory: tenants, tokens and limits that outlive the process.
//!
//! One process holds the directory ([`lock`]); it opens the state ([`Control::open`]), changes it
//! ([`Control::change`]) and asks the [`Authority`] that is made of it. A change is written durably first and believed
//! afterwards, so nobody holds a token that a power cut could take back. `weir tenant` and `weir token` do the same
//! through [`admin`] when no server runs.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use admission::{Authority, ChangeError, Policy, Scope, State, Token};
use arc_swap::ArcSwap;
use env::{Env, Lock, LockError};
use model::{TenantId, TenantName};

pub mod admin;
pub mod exercise;
mod file;

pub use file::OpenError;

/// The file that whoever uses the data directory holds locked.
pub const LOCK: &str = "LOCK";
/// The file with the token of the tenant `default`.
pub const DEFAULT_TOKEN: &str = "tenant-api-token-default";
/// The file with the token of the tenant `system`.
pub const SYSTEM_TOKEN: &str = "tenant-api-token-system";
/// The file with the token that administers.
pub const ADMIN_TOKEN: &str = "admin-api-token";

/// Creates the data directory if need be and locks it: the second process on it is refused with the first one's id.
pub fn lock(env: &Env, data_dir: &Path) -> Result<Box<dyn Lock>, LockError> {
    env.files.create_dir(data_dir)?;
    env.files.lock(&data_dir.join(LOCK))
}

/// Looks at the control state of a directory whose lock the caller holds, and changes nothing. One line for each thing
/// that is wrong.
pub fn check(env: &Env, directory: &Path) -> Result<Vec<String>, OpenError> {
    let mut warnings = Vec::new();
    if file::load(&*env.files, directory, &mut warnings)?.is_none() {
        warnings.push("there is no control state: the next start makes a new one".to_owned());
    }
    Ok(warnings)
}

/// The control state and who may by it.
pub struct Control {
    env: Env,
    directory: PathBuf,
    /// Held for as long as a change is being written.
    changing: Mutex<()>,
    authority: ArcSwap<Authority>,
}

/// What opening found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opening {
    /// Whether the state was created just now, with its tenants and token files.
    pub first_start: bool,
    /// What the operator has to know: damage that was found and what was lost by it.
    pub warnings: Vec<String>,
}

/// Why a change was not made.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Occurs when the change is refused.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// Occurs when it cannot be written; nothing has changed then.
    #[error("control state cannot be written: {0}")]
    Io(#[from] std::io::Error),
}

impl Control {
    /// Opens the state in `directory`, whose lock the caller holds, or makes that of a first start.
    pub fn open(env: Env, directory: &Path, policy: Policy) -> Result<(Self, Opening), OpenError> {
        let mut opening = Opening::default();
        let state = match file::load(&*env.files, directory, &mut opening.warnings)? {
            Some(state) => state,
            None => {
                opening.first_start = true;
                first_state(&env, directory)?
            }
        };
        let authority = ArcSwap::from_pointee(Authority::new(Arc::new(state), policy.clone()));
        let control = Self { env, directory: directory.to_owned(), changing: Mutex::default(), authority };
        control.set_policy(policy)?;
        if !opening.warnings.is_empty() {
            // Both files are whole again before anything builds on this state.
            control.change(|_| Ok(()))?;
        }
        Ok((control, opening))
    }

    /// Who may, as of now.
    pub fn authority(&self) -> Arc<Authority> {
        self.authority.load_full()
    }

    /// Changes the state: all of it or, on an error, nothing. When it returns, the change is on disk and the next
    /// request sees it.
    pub fn change<T>(
        &self,
        change: impl FnOnce(&mut State) -> Result<T, ChangeError>,
    ) -> Result<T, ControlError> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.authority();
        let mut state = State::clone(now.state());
        let result = change(&mut state)?;
        state.generation += 1;
        file::store(&*self.env.files, &self.directory, &state)?;
        self.authority.store(Arc::new(now.succeed(Arc::new(state), now.policy().clone())));
        Ok(result)
    }

    /// Writes the state as it is now into another directory, durably: both files, and no token's secret.
    pub fn copy_to(&self, directory: &Path) -> std::io::Result<()> {
        let mut state = State::clone(self.authority().state());
        for _ in 0..2 {
            state.generation += 1;
            file::store(&*self.env.files, directory, &state)?;
        }
        Ok(())
    }

    /// Takes a new configuration: its access, domain and limits; tenants that it names and that are not there are
    /// created.
    pub fn set_policy(&self, policy: Policy) -> Result<(), ControlError> {
        let missing = |state: &State| -> Vec<TenantName> {
            let names = policy.overrides.keys().filter(|name| state.tenant(name.as_str()).is_err());
            let mut names: Vec<_> = names.cloned().collect();
            names.sort();
            names
        };
        if !missing(self.authority().state()).is_empty() {
            let now_ms = self.env.clock.now_ms();
            self.change(|state| {
                missing(state)
                    .iter()
                    .try_for_each(|name| state.create_tenant(name.as_str(), now_ms).map(|_| ()))
            })?;
        }
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.authority();
        self.authority.store(Arc::new(now.succeed(Arc::clone(now.state()), policy)));
        Ok(())
    }

    /// Deleted tenants whose data is still there: the store is to forget them, then [`Control::forget`] is called.
    pub fn leaving(&self) -> Vec<TenantId> {
        self.authority().state().leaving.clone()
    }

    /// Notes that a deleted tenant's data is gone.
    pub fn forget(&self, tenant: TenantId) -> Result<(), ControlError> {
        self.change(|state| {
            state.forget(tenant);
            Ok(())
        })
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control").field("directory", &self.directory).finish_non_exhaustive()
    }
}

/// Makes the tenants and tokens of a first start. The token files are written before the state that makes their tokens
/// count, so a start that was cut short is a first start again.
fn first_state(env: &Env, directory: &Path) -> Result<State, OpenError> {
    let now_ms = env.clock.now_ms();
    let mut state = State::first(now_ms);
    let tenant = |name: &str, state: &State| state.tenant(name).map(|tenant| Some(tenant.id));
    let data = [Scope::Write, Scope::Read].into_iter().collect();
    let tokens = [
        (DEFAULT_TOKEN, tenant(admission::state::DEFAULT, &state)?, data),
        (SYSTEM_TOKEN, tenant(admission::state::SYSTEM, &state)?, data),
        (ADMIN_TOKEN, None, Scope::Admin.into()),
    ];
    for (name, tenant, scopes) in tokens {
        let token = new_token(env);
        state.issue(&token, name, tenant, scopes, now_ms, None)?;
        env::replace(&*env.files, directory, name, format!("{}\n", token.reveal()).as_bytes())?;
    }
    // Twice, so that there is a previous generation from the beginning.
    for _ in 0..2 {
        file::store(&*env.files, directory, &state)?;
        state.generation += 1;
    }
    state.generation -= 1;
    Ok(state)
}

fn new_token(env: &Env) -> Token {
    let mut bytes = [0; 16];
    env.random.fill(&mut bytes);
    Token::from_random(bytes)
}

#[cfg(test)]
mod tests;
