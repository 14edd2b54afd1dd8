//! PromQL: parse, check, evaluate.

pub mod source;

pub use source::{SeriesSet, Source, SourceError};
