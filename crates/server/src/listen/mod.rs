//! The door: accepting connections, judging how requests are framed, and closing without losing an answer.
//!
//! The accept loop is hyper's own and not `axum::serve`, which sets no timeouts at all: ten thousand half-sent heads
//! would stay for ever. Read in the order of a connection's life: [`accept`], `crowd`, `pace`,
//! `greet` (TLS), [`guard`], [`framing`], `linger`.

pub mod accept;
mod crowd;
pub mod descriptors;
pub mod framing;
mod greet;
pub mod guard;
mod linger;
mod pace;

pub use accept::{Listener, Peer, Settings};
pub use greet::ServerName;
