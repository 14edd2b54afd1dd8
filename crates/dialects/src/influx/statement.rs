//! `/query`, as far as clients insist on it before they write: they create their database, or look whether it is there.

use model::Batch;
use serde_json::{Value, json};

use super::reply;
use crate::{Malformed, Received, Reply, Request, query};

/// What Weir does not do here.
pub(super) const NOT_HERE: &str =
    "of InfluxQL only CREATE DATABASE and SHOW DATABASES are answered; Weir is queried in PromQL";

/// `POST /query`: statements in the query or in a form. Nothing is stored, for a database needs no creating.
pub(super) fn decode<'a>(received: &Received<'a>, batch: &mut Batch<'a>) -> Result<(), Malformed> {
    let form = std::str::from_utf8(received.body).unwrap_or_default();
    let results = results(&received.request, form).ok_or(Malformed { what: NOT_HERE, offset: 0 })?;
    batch.echo = Some(results.to_string());
    Ok(())
}

/// `GET /query`.
pub(super) fn answer(request: &Request<'_>) -> Reply {
    match results(request, "") {
        Some(results) => reply::json(200, results.to_string()),
        None => reply::json(400, json!({ "error": NOT_HERE }).to_string()),
    }
}

/// What the statements come to, `None` when there is none or one that is not answered.
fn results(request: &Request<'_>, form: &str) -> Option<Value> {
    let value = |name| query::values(request.query, name).chain(query::values(form, name)).next();
    let statements = value("q")?;
    let database = value("db").unwrap_or_default();
    let statements = statements.split(';').map(str::trim).filter(|statement| !statement.is_empty());
    let results: Option<Vec<Value>> =
        statements.enumerate().map(|(id, text)| result(id, text, &database)).collect();
    results.filter(|results| !results.is_empty()).map(|results| json!({ "results": results }))
}

fn result(id: usize, statement: &str, database: &str) -> Option<Value> {
    let mut words = statement.split_ascii_whitespace().map(str::to_ascii_uppercase);
    match (words.next()?.as_str(), words.next()?.as_str()) {
        ("CREATE", "DATABASE") => Some(json!({ "statement_id": id })),
        ("SHOW", "DATABASES") => {
            let mut series = json!({ "name": "databases", "columns": ["name"] });
            if !database.is_empty() {
                series["values"] = json!([[database]]);
            }
            Some(json!({ "statement_id": id, "series": [series] }))
        }
        _ => None,
    }
}
