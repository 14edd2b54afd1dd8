//! The head: what is not in blocks yet, and the series that are written now.
//!
//! Samples lie in one log in the order of arrival ([`log`]), chained per series, or are gathered for many ([`rows`]); series entries hold identity, labels
//! and the newest link ([`table`]), label postings ([`index`]) answer matchers ([`scan`]), aliases ([`alias`]) lead from the
//! label bytes of a request to the series without decoding them. A series' labels are a list of numbers ([`lists`]).
//! Histograms, exemplars and start timestamps are rare and lie aside ([`side`]).

pub(crate) mod alias;
pub(crate) mod index;
pub(crate) mod lists;
pub(crate) mod log;
pub(crate) mod numbered;
pub(crate) mod order;
pub(crate) mod rows;
pub(crate) mod scan;
pub(crate) mod side;
pub(crate) mod table;
