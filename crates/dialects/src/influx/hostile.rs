//! Requests that nobody sends by accident: they cost their sender an error and Weir a bounded amount of work and memory.

use model::batch::SeriesRow;
use model::labels::LABELS_MAX;
use model::{Batch, LabelError};

use crate::rows::Full;
use crate::{Kind, Malformed, Received, Reply, Request, exercise, find};

/// Decodes a write; what was in the batch when it was refused stays there.
fn decode<'a>(body: &'a str, batch: &mut Batch<'a>) -> Result<(), &'static str> {
    let received = Received { body: body.as_bytes(), ..Received::new(Request::default()) };
    super::decode::decode(&received, batch).map_err(|Malformed { what, .. }| what)
}

fn line(tags: usize, fields: usize) -> String {
    let tags: String = (0..tags).map(|number| format!(",t{number}=v")).collect();
    format!("m{tags} {}", vec!["a=1"; fields].join(","))
}

#[test]
fn fields_are_charged_while_their_line_is_read() {
    let line = line(0, 3 << 20);
    // However it ends.
    for body in [format!("{line},a="), line] {
        let mut batch = Batch::new(42);
        assert_eq!(decode(&body, &mut batch), Err(Full::WHAT));
        let bytes = batch.series.len() * size_of::<SeriesRow<'_>>();
        assert!(bytes <= 256 << 20, "{bytes}");
    }
}

/// The store has the tags read anew for each field that it does not know.
#[test]
fn tags_times_fields_are_bounded() {
    assert_eq!(decode(&line(100, 10_000), &mut Batch::new(42)), Ok(()));
    assert_eq!(decode(&line(100_000, 1000), &mut Batch::new(42)), Err(Full::WHAT));
}

#[test]
fn no_more_labels_are_made_than_a_series_can_have() {
    let made = |tags| {
        let body = line(tags, 1);
        let mut batch = Batch::new(42);
        decode(&body, &mut batch).unwrap();
        batch.with_labels(0, |pairs| Ok(pairs.len()))
    };
    assert_eq!(made(LABELS_MAX - 1), Ok(LABELS_MAX));
    for tags in [LABELS_MAX, 10 * LABELS_MAX] {
        assert_eq!(made(tags), Err(LabelError::TooMany { count: LABELS_MAX + 1, limit: LABELS_MAX }));
    }
}

/// `GET /query` asks for no credential, and each statement that is answered repeats the database.
#[test]
fn statements_are_bounded() {
    let ask = |method: &str, query: &str| -> Reply {
        let (_, route) = find(method, "/query").unwrap();
        let request = Request { path: "/query", ..Request::default() };
        match route.kind {
            Kind::Answer(answer) => answer(&Request { query, ..request }),
            kind => exercise::answer(kind, &Received { body: query.as_bytes(), ..Received::new(request) }).1,
        }
    };
    for (statements, database, status, said) in [
        (16, 256, 200, r#""statement_id":15"#),
        (17, 256, 400, r#"{"error":"over 16 statements"}"#),
        (16, 257, 400, r#"{"error":"a database's name of over 256 bytes"}"#),
        (2100, 32 << 10, 400, r#"{"error":"#),
    ] {
        let query = format!("q={}&db={}", "SHOW+DATABASES;".repeat(statements), "%64".repeat(database));
        for method in ["GET", "POST"] {
            let reply = ask(method, &query);
            let text = String::from_utf8(reply.body).unwrap();
            assert_eq!(reply.status, status, "{method} {statements} {database}");
            assert!(text.contains(said) && text.len() < 16 * 400, "{method} {text}");
        }
    }
}
