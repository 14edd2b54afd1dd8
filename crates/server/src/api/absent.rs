//! What Weir has none of: it evaluates no rules. The answers are those of a Prometheus without any,
//! and requests that make no sense are refused as there.

use model::Budget;
use serde_json::{Value, json};

use super::error::ApiError;
use super::find::matcher_sets;
use super::params::{InvalidParam, Params, parse_bool, parse_int};
use super::{Answered, Ask, Endpoint, encode};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absent {
    /// Groups of rules.
    Rules,
    /// Alerts.
    Alerts,
    /// Alertmanagers.
    Alertmanagers,
}

pub(super) fn absent(ask: &Ask, _: &Budget) -> Result<Answered, ApiError> {
    let Endpoint::Absent(absent) = ask.endpoint else { unreachable!("only such endpoints come here") };
    let mut out = encode::begin(0);
    out.push_str(&data(absent, &ask.params)?.to_string());
    Ok(Answered::begun(out))
}

fn data(absent: Absent, params: &Params) -> Result<Value, ApiError> {
    Ok(match absent {
        Absent::Rules => {
            check_rules(params)?;
            json!({ "groups": [] })
        }
        Absent::Alerts => json!({ "alerts": [] }),
        Absent::Alertmanagers => json!({ "activeAlertmanagers": [], "droppedAlertmanagers": [] }),
    })
}

fn check_rules(params: &Params) -> Result<(), ApiError> {
    matcher_sets(params)?;
    let kind = params.get("type").to_lowercase();
    if !matches!(kind.as_str(), "" | "alert" | "record") {
        let what = format!("not supported value {}", promql::text::quoted(&kind));
        return Err(InvalidParam::new("type", what).into());
    }
    let exclude = params.get("exclude_alerts").to_lowercase();
    if !exclude.is_empty() && parse_bool(&exclude).is_none() {
        let quoted = promql::text::quoted(&exclude);
        let what =
            format!("error converting exclude_alerts: strconv.ParseBool: parsing {quoted}: invalid syntax");
        return Err(InvalidParam::new("exclude_alerts", what).into());
    }
    let (limit, token) = (params.get("group_limit"), params.get("group_next_token"));
    match limit {
        "" if token.is_empty() => Ok(()),
        "" => Err(InvalidParam::new(
            "group_next_token",
            "group_limit needs to be present in order to paginate over the groups",
        )
        .into()),
        text => {
            let limit = parse_int("ParseInt", text, i32::BITS).map_err(|what| {
                InvalidParam::new("group_limit", format!("group_limit needs to be a valid number: {what}"))
            })?;
            if limit <= 0 {
                return Err(InvalidParam::new("group_limit", "group_limit needs to be greater than 0").into());
            }
            if !token.is_empty() {
                let what = format!("invalid group_next_token '{token}'. were rule groups changed?");
                return Err(InvalidParam::new("group_next_token", what).into());
            }
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn senseless_requests_are_refused() {
        use Absent::Rules;
        for (absent, query, wanted) in [
            (Rules, "type=x", r#"invalid parameter "type": not supported value "x""#),
            (Rules, "match[]={a=\"\"}", "match[] must contain at least one non-empty matcher"),
            (
                Rules,
                "exclude_alerts=maybe",
                r#"invalid parameter "exclude_alerts": error converting exclude_alerts: strconv.ParseBool: parsing "maybe": invalid syntax"#,
            ),
            (
                Rules,
                "group_next_token=x",
                r#"invalid parameter "group_next_token": group_limit needs to be present in order to paginate over the groups"#,
            ),
            (
                Rules,
                "group_limit=2147483648",
                r#"invalid parameter "group_limit": group_limit needs to be a valid number: strconv.ParseInt: parsing "2147483648": value out of range"#,
            ),
            (
                Rules,
                "group_limit=0",
                r#"invalid parameter "group_limit": group_limit needs to be greater than 0"#,
            ),
            (
                Rules,
                "group_limit=5&group_next_token=x",
                r#"invalid parameter "group_next_token": invalid group_next_token 'x'. were rule groups changed?"#,
            ),
        ] {
            let refused = data(absent, &Params::parse("", query)).err().map(|error| error.message);
            assert_eq!(refused.as_deref(), Some(wanted), "{query}");
        }
        for query in ["", "type=ALERT&exclude_alerts=True&group_limit=10&rule_name[]=a", "match[]={a=\"b\"}"]
        {
            assert_eq!(data(Rules, &Params::parse("", query)), Ok(json!({ "groups": [] })), "{query}");
        }
    }
}
