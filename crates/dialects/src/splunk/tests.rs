//! Bodies that nobody sends by accident.

use std::fmt::Write as _;

use crate::exercise::answer;
use crate::{Received, Request, find};

fn sent(path: &str, body: &[u8]) -> (u16, String, u64) {
    let (_, route) = find("POST", path).expect("the registry has the path");
    let request = Request { path, channel: "0", ..Request::default() };
    let (verdict, reply) = answer(route.kind, &Received { body, ..Received::new(request) });
    (reply.status, String::from_utf8_lossy(&reply.body).into_owned(), verdict.accepted.total())
}

/// Names times dimensions: [`answer`] holds the columns against the body's length.
#[test]
fn an_event_of_many_metrics_and_dimensions_stays_small() {
    let mut fields = String::new();
    for number in 0..100 {
        let _ = write!(fields, r#""d{number}":1,"#);
    }
    for number in 0..2000 {
        let _ = write!(fields, r#""metric_name:{number}":1,"#);
    }
    let body = format!(r#"{{"event":"metric","fields":{{{}}}}}"#, fields.trim_end_matches(','));
    let (status, _, accepted) = sent("/services/collector", body.as_bytes());
    assert_eq!((status, accepted), (200, 2000));
}

#[test]
fn what_is_carried_over_is_paid_for_each_time() {
    // One long text that has to be copied, and events that only inherit it.
    let mut body = format!(r#"{{"host":"\n{}","event":"x"}}"#, "h".repeat(1 << 20));
    for number in 0..1000 {
        let _ = write!(body, r#"{{"event":"x","source":"{number}"}}"#);
    }
    let (status, text, _) = sent("/services/collector", body.as_bytes());
    assert_eq!((status, text.as_str()), (400, r#"{"text":"Invalid data format","code":6}"#));
}

#[test]
fn nesting_ends_somewhere() {
    let body = format!(r#"{{"event":{}1{}}}"#, r#"{"a":"#.repeat(200), "}".repeat(200));
    let wanted = r#"{"text":"Invalid data format","code":6,"invalid-event-number":0}"#;
    assert_eq!(sent("/services/collector", body.as_bytes()), (400, wanted.to_owned(), 0));
}

#[test]
fn equal_requests_in_other_milliseconds_have_other_numbers() {
    let (_, route) = find("POST", "/services/collector/raw").expect("the registry has the path");
    let request = Request { channel: "0", ..Request::default() };
    let number = |body: &'static str, received_ms| {
        let received = Received { body: body.as_bytes(), received_ms, ..Received::new(request) };
        let (_, reply) = answer(route.kind, &received);
        let json: serde_json::Value = serde_json::from_slice(&reply.body).expect("JSON");
        json["ackId"].as_u64().expect("a number")
    };
    let now = 1_795_167_944_000;
    let numbers = [number("a", now), number("b", now), number("a", now + 1)];
    assert!(numbers[0] != numbers[1] && numbers[0] != numbers[2] && numbers[1] != numbers[2], "{numbers:?}");
    assert!(numbers.iter().all(|number| *number < 1 << 53), "{numbers:?}");
}
