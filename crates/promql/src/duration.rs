//! Lengths of time as text: `1h30m`, and the arithmetic that may stand in their place.

use crate::ast::{BinaryOp, DurationOp, Expr, Kind, Length, NodeId};
use crate::eval::math;

/// Units by falling size, with their milliseconds; each may occur once, in this order.
const UNITS: [(&str, i64); 7] = [
    ("y", 365 * 24 * 3_600_000),
    ("w", 7 * 24 * 3_600_000),
    ("d", 24 * 3_600_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
];

/// Reads a duration in Prometheus' form, into milliseconds.
pub fn parse(text: &str) -> Result<i64, String> {
    if text.is_empty() {
        return Err("empty duration string".into());
    }
    if text == "0" {
        return Ok(0);
    }
    let invalid = || format!("not a valid duration string: {}", crate::text::quoted(text));
    let out_of_range = || "duration out of range".to_owned();
    let (mut rest, mut total, mut next_unit) = (text, 0i64, 0);
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let letters = rest[digits..].find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len() - digits);
        let unit = &rest[digits..digits + letters];
        if digits == 0 || unit.is_empty() {
            return Err(invalid());
        }
        let at = UNITS.iter().position(|(name, _)| *name == unit).ok_or_else(|| {
            let [unit, text] = [unit, text].map(crate::text::quoted);
            format!("unknown unit {unit} in duration {text}")
        })?;
        if at < next_unit {
            return Err(invalid());
        }
        let count: i64 = rest[..digits].parse().map_err(|_| out_of_range())?;
        let millis = count.checked_mul(UNITS[at].1).ok_or_else(out_of_range)?;
        total = total.checked_add(millis).ok_or_else(out_of_range)?;
        next_unit = at + 1;
        rest = &rest[digits + letters..];
    }
    // Upstream counts nanoseconds in 64 bits.
    if total > i64::MAX / 1_000_000 { Err(out_of_range()) } else { Ok(total) }
}

/// Prints a duration in Prometheus' form. Years and weeks are used only where they leave no rest.
pub fn text(millis: i64) -> String {
    if millis == 0 {
        return "0s".into();
    }
    let (mut out, mut rest) = (String::new(), millis.unsigned_abs());
    for (name, size) in UNITS {
        let size = size as u64;
        let exact_only = matches!(name, "y" | "w");
        if rest >= size && (!exact_only || rest % size == 0) {
            out += &format!("{}{name}", rest / size);
            rest %= size;
        }
    }
    if millis < 0 { format!("-{out}") } else { out }
}

/// What a duration expression may refer to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context {
    /// `step()` in ms.
    pub(crate) step_ms: i64,
    /// `range()` in ms.
    pub(crate) range_ms: i64,
}

impl Length {
    /// The length in ms; one that may not be negative must be more than 0.
    pub(crate) fn resolve(self, expr: &Expr, context: Context, may_be_negative: bool) -> Result<i64, String> {
        let id = match self {
            Length::Millis(millis) => return Ok(millis),
            Length::Expression(id) => id,
        };
        let span = expr.node(id).span;
        let fail = |what: &str| Err(format!("{}:{}: {what}", span.start, span.end));
        let seconds = seconds(expr, id, context)?;
        if !seconds.is_finite() {
            return fail("duration is NaN or infinite");
        }
        if seconds <= 0.0 && !may_be_negative {
            return fail("duration must be greater than 0");
        }
        if seconds.abs() > 9_223_372_036.854_776 {
            return fail("duration is out of range");
        }
        Ok((seconds * 1000.0) as i64)
    }
}

fn seconds(expr: &Expr, id: NodeId, context: Context) -> Result<f64, String> {
    let node = expr.node(id);
    let zero = |what: &str| Err(format!("{}:{}: {what} by zero", node.span.start, node.span.end));
    let op = match &node.kind {
        Kind::Number { value, .. } => return Ok(*value),
        Kind::Duration(op) => *op,
        _ => return Err("unexpected duration expression".into()),
    };
    Ok(match op {
        DurationOp::Step => context.step_ms as f64 / 1000.0,
        DurationOp::Range => context.range_ms as f64 / 1000.0,
        DurationOp::Negate(inner) => -seconds(expr, inner, context)?,
        DurationOp::Paren(inner) => seconds(expr, inner, context)?,
        DurationOp::MinOf(a, b) => math::min(seconds(expr, a, context)?, seconds(expr, b, context)?),
        DurationOp::MaxOf(a, b) => math::max(seconds(expr, a, context)?, seconds(expr, b, context)?),
        DurationOp::Arithmetic(op, a, b) => {
            match (op, seconds(expr, a, context)?, seconds(expr, b, context)?) {
                (BinaryOp::Div, _, 0.0) => return zero("division"),
                (BinaryOp::Mod, _, 0.0) => return zero("modulo"),
                (op, a, b) => math::binary(op, a, b),
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_printed() {
        for (written, millis, printed) in [
            ("5m", 300_000, "5m"),
            ("1h30m", 5_400_000, "1h30m"),
            ("1y2w", 32_745_600_000, "379d"),
            ("14d", 1_209_600_000, "2w"),
            ("90s", 90_000, "1m30s"),
            ("1500ms", 1500, "1s500ms"),
            ("0s", 0, "0s"),
        ] {
            assert_eq!(parse(written), Ok(millis), "{written}");
            assert_eq!(text(millis), printed);
            assert_eq!(parse(printed), Ok(millis));
        }
        for wrong in ["", "5", "m", "1h1h", "1m1h", "1.5m", "5x", "1000000000y"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
