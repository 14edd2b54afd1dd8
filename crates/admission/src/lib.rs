//! Who may, and how much: tokens, tenants, rates and permits, as pure state machines.
//!
//! Nothing here reads a clock, a file or a socket: time is an argument, random bytes are an argument, and what has to
//! survive a restart is the plain [`State`], which the server writes to its control file. So every rule of gate 1 can
//! be tried out in a table test.
//!
//! A request passes in this order: [`Authority`] turns what it presents into a [`Grant`]; [`Rates`] says whether the
//! tenant is over its samples a second; a [`Pool`] gives a permit for the bytes that the body may take. After decoding
//! the samples are charged to the rate.
//!
//! ```
//! use admission::{Authority, Policy, Presented, Scope, State, Token};
//! let mut state = State::first(0);
//! let token = Token::from_random([7; 16]);
//! let tenant = state.tenant("default").unwrap().id;
//! state.issue(&token, "agent", Some(tenant), Scope::Write.into(), 0, None).unwrap();
//!
//! let authority = Authority::new(state.into(), Policy::default());
//! let shown = token.reveal();
//! let presented = Presented { credentials: &[&shown], ..Presented::default() };
//! assert_eq!(authority.admit(&presented, Scope::Write).unwrap().tenant.name.as_str(), "default");
//! assert!(authority.admit(&presented, Scope::Read).is_err());
//! ```

pub mod authority;
pub mod clients;
pub mod limits;
pub mod permits;
pub mod rate;
pub mod state;
pub mod token;

pub use authority::{Access, Authority, Grant, Policy, Presented, Refused, Tenant};
pub use clients::{Clients, TooMany};
pub use limits::LimitOverrides;
pub use permits::{Full, Permit, Pool};
pub use rate::{Meter, OverRate, Rates};
pub use state::{ChangeError, Invalid, State, TenantRecord, TokenRecord};
pub use token::{InvalidToken, Scope, Scopes, Token, TokenHash, TokenId};
