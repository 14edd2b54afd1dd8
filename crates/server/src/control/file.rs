//! The control state's two files, `control-0` and `control-1`: each generation replaces the older one.
//!
//! Each is an envelope (`codec::envelope`) with magic "WEIRCTL1". The body is JSON: it is small, changes seldom, and an
//! operator may have to read it. When the newer file is damaged, the other one is taken: it lacks the last change, and
//! numbers of tenants and tokens go on far above what that change can have given out.

use std::io;
use std::path::Path;

use admission::{ChangeError, Scope, State, TenantRecord, TokenHash, TokenId, TokenRecord};
use codec::COUNTER_MAX;
use codec::envelope::{self, Unreadable};
use env::Files;
use model::{TenantId, TenantName};
use serde::{Deserialize, Serialize};

use super::ControlError;
use super::admin::Limits;

pub(super) const MAGIC: &[u8; 8] = b"WEIRCTL1";
/// The format version that this Weir writes, and the newest that it reads.
pub(super) const VERSION: u16 = 1;
pub(super) const NAMES: [&str; 2] = ["control-0", "control-1"];

/// Why control state does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Occurs when a newer Weir wrote it.
    #[error("{what} has format version {found}, this Weir reads up to {VERSION}; nothing was changed")]
    Newer {
        /// The file.
        what: &'static str,
        /// Its version.
        found: u16,
    },
    /// Occurs when neither generation can be read: starting anew would give tenants other tenants' data.
    #[error(
        "control state is damaged: neither {} nor {} can be read; restore one of them from a backup",
        NAMES[0], NAMES[1]
    )]
    Damaged,
    /// Occurs when the state of a first start cannot be made or a repaired one cannot be written.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// Occurs when the disk cannot be read or written.
    #[error("data directory: {0}")]
    Io(#[from] io::Error),
}

impl From<ChangeError> for OpenError {
    fn from(error: ChangeError) -> Self {
        OpenError::Control(error.into())
    }
}

/// What stands in one of the two places.
enum Found {
    Missing,
    Damaged,
    Whole(State),
}

/// Reads the newest whole generation; none when there is no file at all. What was lost is told in `warnings`.
pub(super) fn load(
    files: &dyn Files,
    directory: &Path,
    warnings: &mut Vec<String>,
) -> Result<Option<State>, OpenError> {
    match (read(files, directory, NAMES[0])?, read(files, directory, NAMES[1])?) {
        (Found::Missing, Found::Missing) => Ok(None),
        (Found::Whole(a), Found::Whole(b)) => Ok(Some(if a.generation > b.generation { a } else { b })),
        // A first start that was cut short between its two writes.
        (Found::Missing, Found::Whole(state)) if state.generation == 1 => Ok(Some(state)),
        (Found::Whole(state), lost) => Ok(Some(recovered(state, NAMES[1], &lost, warnings))),
        (lost, Found::Whole(state)) => Ok(Some(recovered(state, NAMES[0], &lost, warnings))),
        _ => Err(OpenError::Damaged),
    }
}

/// Writes a generation durably over the older one.
pub(super) fn store(files: &dyn Files, directory: &Path, state: &State) -> io::Result<()> {
    let name = NAMES[usize::from(!state.generation.is_multiple_of(2))];
    env::replace(files, directory, name, &encode(state)?)
}

fn recovered(mut state: State, name: &str, lost: &Found, warnings: &mut Vec<String>) -> State {
    let what = if matches!(lost, Found::Missing) { "missing" } else { "damaged" };
    warnings.push(format!(
        "control state: {name} is {what}; generation {} is used. If {name} was the newer one, the last change of \
         tenants, tokens or limits is lost: look at `weir tenant list` and `weir token list`",
        state.generation
    ));
    state.skip_numbers();
    state
}

fn read(files: &dyn Files, directory: &Path, name: &'static str) -> Result<Found, OpenError> {
    let bytes = match env::read_if_there(files, &directory.join(name)) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Ok(Found::Missing),
        Err(error) if env::is_unreadable(&error) => return Ok(Found::Damaged),
        Err(error) => return Err(error.into()),
    };
    decode(name, &bytes).map(|state| state.map_or(Found::Damaged, Found::Whole))
}

fn encode(state: &State) -> io::Result<Vec<u8>> {
    let body = serde_json::to_vec(&Body::from(state))?;
    Ok(envelope::wrap(MAGIC, VERSION, &body))
}

/// The state, or nothing when the bytes are damaged.
fn decode(what: &'static str, bytes: &[u8]) -> Result<Option<State>, OpenError> {
    let body = match envelope::unwrap(MAGIC, VERSION, bytes) {
        Ok(body) => body,
        Err(Unreadable::Damaged) => return Ok(None),
        Err(Unreadable::Newer(found)) => return Err(OpenError::Newer { what, found }),
    };
    let body: Option<Body> = serde_json::from_slice(body).ok();
    let is_sound = |state: &State| state.check().is_ok() && state.generation < COUNTER_MAX;
    Ok(body.and_then(Body::into_state).filter(is_sound))
}

/// The body as it stands in the file.
#[derive(Serialize, Deserialize)]
struct Body {
    generation: u64,
    next_tenant: u32,
    next_token: u32,
    tenants: Vec<TenantBody>,
    tokens: Vec<TokenBody>,
    leaving: Vec<u32>,
}

#[derive(Serialize, Deserialize)]
struct TenantBody {
    id: u32,
    name: String,
    created_ms: i64,
    limits: Limits,
}

#[derive(Serialize, Deserialize)]
struct TokenBody {
    id: u32,
    name: String,
    tenant: Option<u32>,
    scopes: Vec<String>,
    sha256: String,
    created_ms: i64,
    expires_ms: Option<i64>,
}

impl From<&State> for Body {
    fn from(state: &State) -> Self {
        let tenant = |tenant: &TenantRecord| TenantBody {
            id: tenant.id.0,
            name: tenant.name.to_string(),
            created_ms: tenant.created_ms,
            limits: tenant.limits.into(),
        };
        let token = |token: &TokenRecord| TokenBody {
            id: token.id.0,
            name: token.name.clone(),
            tenant: token.tenant.map(|id| id.0),
            scopes: token.scopes.iter().map(|scope| scope.to_string()).collect(),
            sha256: token.hash.to_hex(),
            created_ms: token.created_ms,
            expires_ms: token.expires_ms,
        };
        Self {
            generation: state.generation,
            next_tenant: state.next_tenant,
            next_token: state.next_token,
            tenants: state.tenants.iter().map(tenant).collect(),
            tokens: state.tokens.iter().map(token).collect(),
            leaving: state.leaving.iter().map(|id| id.0).collect(),
        }
    }
}

impl Body {
    fn into_state(self) -> Option<State> {
        Some(State {
            generation: self.generation,
            next_tenant: self.next_tenant,
            next_token: self.next_token,
            tenants: self.tenants.into_iter().map(TenantBody::into_record).collect::<Option<_>>()?,
            tokens: self.tokens.into_iter().map(TokenBody::into_record).collect::<Option<_>>()?,
            leaving: self.leaving.into_iter().map(TenantId).collect(),
        })
    }
}

impl TenantBody {
    fn into_record(self) -> Option<TenantRecord> {
        Some(TenantRecord {
            id: TenantId(self.id),
            name: TenantName::parse(&self.name).ok()?,
            created_ms: self.created_ms,
            limits: self.limits.into(),
        })
    }
}

impl TokenBody {
    fn into_record(self) -> Option<TokenRecord> {
        Some(TokenRecord {
            id: TokenId(self.id),
            name: self.name,
            tenant: self.tenant.map(TenantId),
            scopes: self.scopes.iter().map(|scope| Scope::parse(scope)).collect::<Option<_>>()?,
            hash: TokenHash::parse(&self.sha256)?,
            created_ms: self.created_ms,
            expires_ms: self.expires_ms,
        })
    }
}

#[cfg(test)]
mod tests {
    use admission::{LimitOverrides, Scopes, Token};

    use super::*;

    fn state() -> State {
        let mut state = State::first(7);
        let acme = state.create_tenant("acme", 8).unwrap();
        let limits = LimitOverrides {
            samples_per_second: Some(0.1),
            retention_ms: Some(90_061_001),
            query_bytes: Some(u64::MAX),
            ..LimitOverrides::default()
        };
        state.set_limits("acme", limits).unwrap();
        let scopes: Scopes = [Scope::Write, Scope::Read].into_iter().collect();
        state
            .issue(&Token::from_random([1; 16]), "ä \"agent\"", Some(acme), scopes, 9, Some(i64::MAX))
            .unwrap();
        state.issue(&Token::from_random([2; 16]), "", None, Scope::Admin.into(), -1, None).unwrap();
        state.delete_tenant("default").unwrap();
        state
    }

    #[test]
    fn state_comes_back_as_it_was() {
        let state = state();
        assert_eq!(decode("x", &encode(&state).unwrap()).unwrap(), Some(state));
    }

    #[test]
    fn every_flipped_bit_and_every_other_length_is_damage() {
        let whole = encode(&state()).unwrap();
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode("x", &bytes).unwrap(), None, "bit {bit}");
        }
        for length in 0..whole.len() {
            assert_eq!(decode("x", &whole[..length]).unwrap(), None, "length {length}");
        }
        for more in [&b" "[..], b"\0", &whole] {
            assert_eq!(decode("x", &[&whole, more].concat()).unwrap(), None);
        }
    }

    #[test]
    fn a_body_that_contradicts_itself_is_damage() {
        let mut state = state();
        state.next_tenant = 2;
        assert_eq!(decode("x", &encode(&state).unwrap()).unwrap(), None);
    }

    /// A generation that nothing can follow: the next change was an overflow, at each start.
    #[test]
    fn a_generation_has_one_after_it() {
        let last = State { generation: COUNTER_MAX - 1, ..state() };
        assert_eq!(decode("x", &encode(&last).unwrap()).unwrap(), Some(last));
        let over = State { generation: u64::MAX, ..state() };
        assert_eq!(decode("x", &encode(&over).unwrap()).unwrap(), None);
    }

    #[test]
    fn the_first_version_is_read_for_ever() {
        let body = br#"{"generation":3,"next_tenant":3,"next_token":2,"tenants":[{"id":1,"name":"default","created_ms":5,"limits":{"active_series":7,"retention":"30d"}},{"id":2,"name":"system","created_ms":5,"limits":{}}],"tokens":[{"id":1,"name":"admin","tenant":null,"scopes":["admin"],"sha256":"84e0c0eafaa95a34c293f278ac52e45ce537bab5e752a00e6959a13ae103b65a","created_ms":6,"expires_ms":null}],"leaving":[]}"#;
        let mut bytes = b"WEIRCTL1\x01\x00\x01\x00".to_vec();
        bytes.extend_from_slice(&[0x85, 0x01, 0x00, 0x00]);
        bytes.extend_from_slice(&[0x58, 0xc6, 0x34, 0xfe]);
        bytes.extend_from_slice(body);
        let state = decode("x", &bytes).unwrap().unwrap();
        assert_eq!(state.tenants[0].limits.retention_ms, Some(30 * 86_400_000));
        assert_eq!(state.tokens[0].hash, Token::from_random([0; 16]).hash());
        assert_eq!(encode(&state).unwrap(), bytes);
    }
}
