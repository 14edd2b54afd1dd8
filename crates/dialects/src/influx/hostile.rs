//! Requests that nobody sends by accident: they cost their sender an error and Weir a bounded amount of work and memory.

use crate::{Kind, Received, Reply, Request, exercise, find};

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
