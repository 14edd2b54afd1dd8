//! Pushes that nobody sends by accident.

use std::time::{Duration, Instant};

use model::Batch;

use super::push::Push;
use super::{decode, json};
use crate::rows::{Full, Room};
use crate::{Malformed, Received, Request};

fn decoded(body: &[u8]) -> Result<Batch<'_>, Malformed> {
    let request =
        Request { path: "/loki/api/v1/push", content_type: "application/json", ..Request::default() };
    let mut batch = Batch::new(42);
    decode(&Received { body, ..Received::new(request) }, &mut batch).map(|()| batch)
}

/// The stream is shown in ten messages, whatever is refused, and of each label as much as may be seen.
#[test]
fn a_streams_labels_are_not_shown_for_each_bad_entry() {
    let long = "x".repeat(4 << 20);
    let body =
        format!(r#"{{"streams":[{{"stream":{{"a":"{long}"}},"values":[{}1]}}]}}"#, "1,".repeat(999_999));
    #[allow(clippy::disallowed_methods)] // A test's patience.
    let begin = Instant::now();
    let batch = decoded(body.as_bytes()).unwrap();
    assert!(begin.elapsed() < Duration::from_secs(60), "{:?}", begin.elapsed());
    assert_eq!(batch.items.refused(), 1_000_000);
    let wanted =
        format!("entry for stream '{{a=\"{}': an entry is a list of a time and a line", "x".repeat(196));
    assert_eq!(batch.rejections.details().first(), Some(&wanted));
}

#[test]
fn what_is_refused_takes_room() {
    for (before, after) in [
        (r#"{"streams":[{"stream":{"a":"b"},"values":["#, "1]}]}"),
        (r#"{"streams":[{"stream":{"a-b":"c"},"values":["#, "1]}]}"),
        (r#"{"streams":["#, "1]}"),
    ] {
        let body = [before, &"1,".repeat(1000), after].concat();
        let mut batch = Batch::new(42);
        let mut push = Push::new(1, &mut batch);
        push.room = Room::for_body(0);
        let refused = json::decode(body.as_bytes(), &mut push);
        assert_eq!(refused.err().map(|malformed| malformed.what), Some(Full::WHAT), "{before}");
    }
}
