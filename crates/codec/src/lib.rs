//! Bytes: what every protocol and every file of Weir is made of, below any meaning.
//!
//! Zero-copy readers of protobuf and MessagePack, varints, the one capped decompressor, checksums and key hashes, the
//! envelope of small files, float text as Go writes and reads it, and the column codecs of the store. Nothing here does I/O, and
//! nothing allocates what an input merely declares: a length is checked against the bytes that are there, or against
//! the caller's limit, first.
//!
//! ```
//! use codec::inflate::{Encoding, inflate};
//! let mut body = Vec::new();
//! inflate(Encoding::Snappy, b"\x05\x10hello", 1 << 20, &mut body).unwrap();
//! assert_eq!(body, b"hello");
//! ```

pub mod chunk;
pub mod envelope;
pub mod exercise;
pub mod float;
pub mod hash;
pub mod inflate;
pub mod lz4;
pub mod msgpack;
pub mod pack;
pub mod prometheus_chunk;
pub mod proto;
pub mod varint;

/// What is counted for as long as a data directory lives (segments, frames, files, generations) never comes to this: a
/// number that does is damaged, and whoever adds to a smaller one need not look.
pub const COUNTER_MAX: u64 = 1 << 62;
