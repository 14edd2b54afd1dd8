//! Chunks: the columns of one series, packed without losing a bit.
//!
//! A chunk is a run of a series' rows. Its columns are coded apart, each self-delimiting once the number of rows is
//! known (it stands in the block's chunk directory): [`timestamps`], [`floats`], [`histograms`] row by row or as
//! [`histogram_columns`], [`starts`] where any is known, and [`exemplars`] as a chunk of their own. All of them rest on
//! one integer column ([`integers`]): what makes metrics small is that they are decimals with few digits, multiples of
//! something and nearly linear in time, and that is said once, for whole numbers. What a column costs to write and to
//! read is its writer's choice ([`Packing`]); a reader takes whatever is there.
//!
//! Decoders trust nothing: any bytes give rows or [`Corrupt`], and never more memory than [`ROWS_MAX`] rows need.
//!
//! ```
//! use codec::chunk::{bytes::Reader, floats};
//! let mut packed = Vec::new();
//! floats::encode(&[20.25, 20.5, -0.0], &mut packed);
//! let mut values = Vec::new();
//! floats::decode(&mut Reader::new(&packed), 3, &mut values).unwrap();
//! assert_eq!(values[2].to_bits(), (-0.0f64).to_bits());
//! ```

pub mod aggregates;
pub mod bytes;
mod entropy;
pub mod exemplars;
pub mod floats;
pub mod histogram_columns;
pub mod histograms;
pub mod integers;
mod numbers;
mod packing;
pub mod starts;
pub mod timestamps;

/// Rows that one chunk can hold. Decoders refuse more before they allocate.
pub const ROWS_MAX: usize = 1 << 16;

/// In which ways the numbers of a column may be packed; each takes the smallest that it may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Packing {
    /// In blocks of bits only: what the first version of the format knows.
    Blocks,
    /// Or as the list of those that are not zero.
    Lists,
    /// Or through pco, which takes several times as long to write: for what is written once and kept for years.
    Cold,
}

/// Occurs when bytes are not a chunk of the kind and the number of rows that they are said to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("corrupt chunk")]
pub struct Corrupt;

/// The number of rows, when a chunk can have as many.
fn checked_rows(rows: usize) -> Result<usize, Corrupt> {
    if rows <= ROWS_MAX { Ok(rows) } else { Err(Corrupt) }
}
