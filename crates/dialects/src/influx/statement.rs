//! `/query`, as far as clients insist on it before they write: they create their database, or look whether it is there.
//!
//! Nobody shows a credential for a `GET`, and each answer repeats the database: both are bounded.

use model::Batch;
use serde_json::{Value, json};

use super::reply;
use crate::{Malformed, Received, Reply, Request, query};

/// What Weir does not do here.
const NOT_HERE: &str =
    "of InfluxQL only CREATE DATABASE and SHOW DATABASES are answered; Weir is queried in PromQL";
const TOO_MANY: &str = "over 16 statements";
const TOO_LONG: &str = "a database's name of over 256 bytes";

/// The most statements of a request: clients send one.
const STATEMENTS_MAX: usize = 16;

/// The longest name of a database, in bytes.
const DATABASE_BYTES_MAX: usize = 256;

/// `POST /query`: statements in the query or in a form. Nothing is stored, for a database needs no creating.
pub(super) fn decode<'a>(received: &Received<'a>, batch: &mut Batch<'a>) -> Result<(), Malformed> {
    let form = std::str::from_utf8(received.body).unwrap_or_default();
    let results = results(&received.request, form).map_err(|what| Malformed { what, offset: 0 })?;
    batch.echo = Some(results.to_string());
    Ok(())
}

/// `GET /query`.
pub(super) fn answer(request: &Request<'_>) -> Reply {
    match results(request, "") {
        Ok(results) => reply::json(200, results.to_string()),
        Err(what) => reply::json(400, json!({ "error": what }).to_string()),
    }
}

/// What is said of the request, where `refusal` is said of its statements.
pub(super) fn refused(refusal: &str) -> Option<&'static str> {
    [NOT_HERE, TOO_MANY, TOO_LONG].into_iter().find(|what| refusal.starts_with(what))
}

/// What the statements come to, or why they are not answered.
fn results(request: &Request<'_>, form: &str) -> Result<Value, &'static str> {
    let value = |name| query::values(request.query, name).chain(query::values(form, name)).next();
    let database = value("db").unwrap_or_default();
    if database.len() > DATABASE_BYTES_MAX {
        return Err(TOO_LONG);
    }
    let statements = value("q").unwrap_or_default();
    let statements = statements.split(';').map(str::trim).filter(|statement| !statement.is_empty());
    let mut results = Vec::new();
    for (id, statement) in statements.enumerate() {
        if id == STATEMENTS_MAX {
            return Err(TOO_MANY);
        }
        results.push(result(id, statement, &database).ok_or(NOT_HERE)?);
    }
    if results.is_empty() {
        return Err(NOT_HERE);
    }
    Ok(json!({ "results": results }))
}

fn result(id: usize, statement: &str, database: &str) -> Option<Value> {
    let mut words = statement.split_ascii_whitespace();
    let (verb, noun) = (words.next()?, words.next()?);
    let is = |a: &str, b: &str| verb.eq_ignore_ascii_case(a) && noun.eq_ignore_ascii_case(b);
    if is("CREATE", "DATABASE") {
        return Some(json!({ "statement_id": id }));
    }
    if !is("SHOW", "DATABASES") {
        return None;
    }
    let mut series = json!({ "name": "databases", "columns": ["name"] });
    if !database.is_empty() {
        series["values"] = json!([[database]]);
    }
    Some(json!({ "statement_id": id, "series": [series] }))
}
