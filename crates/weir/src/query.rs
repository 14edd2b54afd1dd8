//! `weir query`: asks Prometheus' HTTP API and prints the answer.

use env::Env;
use model::TenantName;
use serde_json::Value;

use crate::arguments::{self, Asking, Query, Range};
use crate::client::{Answer, Client};
use crate::failure::{Code, Failure};
use crate::output;
use crate::terminal::{put, say, tame};
use crate::time::absolute;

/// The server, and the tenant whose token stands in the data directory as a first start writes it.
pub(crate) fn client(flags: &arguments::Client) -> Result<Client, Failure> {
    let tenant = flags.tenant.as_deref();
    tenant.map(TenantName::parse).transpose().map_err(|error| Failure::new(Code::Usage, error))?;
    let token_file = format!("tenant-api-token-{}", tenant.unwrap_or(admission::state::DEFAULT));
    Client::new(&flags.server, tenant, &token_file)
}

/// `weir query`.
pub(crate) fn query(command: Query) -> Result<(), Failure> {
    let now_ms = Env::real().clock.now_ms();
    match command {
        Query::Instant { expression, time, asking } => {
            let form = [("query", expression), ("time", absolute(&time, now_ms))];
            ask(&asking, |client| client.post_form("/api/v1/query", &form))
        }
        Query::Range { expression, start, end, step, asking } => {
            let (start, end) = (absolute(&start, now_ms), absolute(&end, now_ms));
            let form = [("query", expression), ("start", start), ("end", end), ("step", step)];
            ask(&asking, |client| client.post_form("/api/v1/query_range", &form))
        }
        Query::Series { selectors, range, asking } => {
            let query = matching(selectors, &range, now_ms);
            // By GET: a POST to this path may also be Datadog's.
            ask(&asking, |client| client.get("/api/v1/series", &query))
        }
        Query::Labels { selectors, range, asking } => {
            let query = matching(selectors, &range, now_ms);
            ask(&asking, |client| client.get("/api/v1/labels", &query))
        }
        Query::LabelValues { label, selectors, range, asking } => {
            let query = matching(selectors, &range, now_ms);
            let path = format!("/api/v1/label/{}/values", escape(&label));
            ask(&asking, |client| client.get(&path, &query))
        }
    }
}

fn matching(selectors: Vec<String>, range: &Range, now_ms: i64) -> Vec<(&'static str, String)> {
    let mut query: Vec<_> = selectors.into_iter().map(|selector| ("match[]", selector)).collect();
    query.push(("start", absolute(&range.start, now_ms)));
    query.push(("end", absolute(&range.end, now_ms)));
    query
}

fn ask(asking: &Asking, request: impl FnOnce(&Client) -> Result<Answer, Failure>) -> Result<(), Failure> {
    let answer = request(&client(&asking.client)?)?.json()?;
    for kind in ["warnings", "infos"] {
        for text in answer[kind].as_array().into_iter().flatten().filter_map(Value::as_str) {
            say(format_args!("{}: {}", kind.trim_end_matches('s'), tame(text)));
        }
    }
    put(&output::show(&answer["data"], asking.output))
}

/// A path segment in which everything but plain characters is percent-encoded. Names beyond the classic ones are
/// written with Prometheus' own escape by whoever has them.
fn escape(segment: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    let encoded = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    segment.bytes().map(encoded).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_cannot_leave_its_segment() {
        assert_eq!(escape("job"), "job");
        assert_eq!(escape("../ä?"), "..%2F%C3%A4%3F");
    }
}
