//! `/services/collector/ack`: which of `{"acks":[0,1]}` are done. All are: Weir gives out no number before everything of
//! its request is on disk, and keeps none of them.

use std::fmt::Write as _;

use model::Batch;

use super::{code, opening};
use crate::json::{Json, Token};
use crate::rows::{Full, Room};
use crate::{Malformed, Received};

/// Bytes of an answer for each number, beside its digits.
const ANSWER_BYTES: usize = r#""":true,"#.len();

/// Reads the numbers; the answer is all that comes of it.
pub(super) fn decode<'a>(received: &Received<'a>, batch: &mut Batch<'a>) -> Result<(), Malformed> {
    let Some(_) = opening::channel(received)? else {
        return Err(Malformed { what: code::CHANNEL_MISSING.text, offset: 0 });
    };
    let mut json = Json::new(received.body);
    let wrong = |json: &Json<'_>| json.error("invalid JSON doc: a list of numbers is expected");
    let (mut answer, mut room) = (String::from(r#"{"acks":{"#), Room::new());
    let mut has_acks = false;
    if json.value()? != Token::Object {
        return Err(wrong(&json));
    }
    json.object(|json, key| {
        let token = json.value()?;
        if key != "acks" {
            return json.rest_of(&token);
        }
        if token != Token::List || has_acks {
            return Err(wrong(json));
        }
        has_acks = true;
        json.list(|json| {
            let token = json.scalar()?;
            let number: Option<u64> = fields_number(&token);
            let number = number.ok_or_else(|| wrong(json))?;
            room.take(ANSWER_BYTES + 20).map_err(|Full| json.error(Full::WHAT))?;
            let comma = if answer.ends_with('{') { "" } else { "," };
            // Writing to a String cannot fail.
            let _ = write!(answer, r#"{comma}"{number}":true"#);
            Ok(())
        })
    })?;
    json.end()?;
    if !has_acks {
        return Err(wrong(&json));
    }
    answer.push_str("}}");
    batch.echo = Some(answer);
    Ok(())
}

fn fields_number(token: &Token<'_>) -> Option<u64> {
    match token {
        Token::Number(text) => text.parse().ok(),
        _ => None,
    }
}
