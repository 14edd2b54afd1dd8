//! Datadog's own clients.
#[test]
fn stub() {}
