//! Outputs: what Weir sends on.
//!
//! There is no second copy of anything. An output is a durable position in the write-ahead log ([`cursor`]) and a thread
//! that reads from there ([`reader`]), chooses tenants and rewrites labels, and hands loads of rows to shards, each of
//! which has one request under way ([`shard`]). What a receiver does not take is sent again, for ever, and nothing behind it
//! of the same series is sent before; so a slow receiver makes its output's reader wait, and nobody else: the log waits for
//! the position (`tsdb::Store::hold_log`), as far as the bounds of age and bytes allow ([`lag`]).
//!
//! The position is that of the oldest row that no receiver has taken yet. It is written once a second, so after a crash
//! some rows are sent again: a receiver gets everything at least once. Receivers that add up what they get are served by
//! windows whose requests are stored before they are sent ([`adding`]).

mod adding;
mod choose;
pub mod config;
mod content;
mod counts;
mod cursor;
mod family;
mod given;
mod lag;
mod load;
mod output;
mod outputs;
mod pause;
mod post;
mod progress;
mod reader;
mod roster;
mod settings;
mod shard;
mod shards;
mod shared;
mod status;
#[cfg(test)]
mod tests;
mod whole;

pub use config::{Invalid, OutputConfig, RemoteWriteConfig, check_names};
pub use counts::{Counts, Dropped};
pub use cursor::holds;
pub use outputs::{NameOf, Outputs};
pub use pause::Pauses;
pub use settings::{Chosen, Describes, Queues, Settings};
pub use status::Status;

/// Outputs that one Weir may have.
pub const OUTPUTS_MAX: usize = 100;
