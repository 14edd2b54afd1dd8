//! PromQL: parse, check, evaluate.
//!
//! A query is parsed into an [`Expr`] (a tree in one vector, with the place of every node), type-checked, and
//! evaluated over a [`Source`] column by column: each part of the query becomes, for all steps at once, a set of
//! series with one place for each step. Selectors select once for the whole range. Answers follow Prometheus 3.14,
//! its error texts and annotations included.
//!
//! This crate does no I/O, knows no clock and no store. Memory is charged to the query's [`model::Budget`] before it
//! is allocated, and the budget says when to stop.
//!
//! ```
//! use model::{Budget, Labels};
//! use promql::{MemorySource, Params, Value, evaluate, parse};
//!
//! let mut source = MemorySource::new();
//! let labels = Labels::from_pairs([("__name__", "requests_total"), ("job", "api")]);
//! for minute in 0..10 {
//!     source.push(&labels, minute * 60_000, minute as f64 * 30.0);
//! }
//!
//! let expr = parse("sum by (job) (rate(requests_total[5m]))").unwrap();
//! let budget = Budget::new(1 << 20);
//! let answer = evaluate(&source, &expr, &Params::instant(540_000), &budget).unwrap();
//! let Value::Vector(samples) = answer.value else { panic!() };
//! assert_eq!(samples[0].labels, Labels::from_pairs([("job", "api")]));
//! assert_eq!(samples[0].point, promql::Point::Float(0.5));
//! ```

mod annotation;
pub mod ast;
mod check;
mod column;
pub mod duration;
mod eval;
pub mod exercise;
pub mod feature;
pub mod functions;
pub mod histogram;
mod lex;
mod literal;
mod memory;
mod parse;
mod points;
mod pretty;
mod print;
pub mod script;
pub mod source;
pub mod text;

pub use ast::{Expr, ValueType};
pub use column::Point;
pub use eval::{
    Answer, EvalError, LOOKBACK_MS, MatrixSeries, Options, Params, SUBQUERY_STEP_MS, Value, VectorSample,
    evaluate,
};
pub use feature::Feature;
pub use histogram::FloatHistogram;
pub use memory::{MemorySource, MemoryValue};
pub use parse::{DEPTH_MAX, ParseError, QUERY_BYTES_MAX, Syntax, matchers_of_selector, parse, parse_with};
pub use points::Points;
pub use source::{SeriesSet, Source, SourceError};
