//! Series lines: a label set, then values: `up{job="a"} 0+1x10 _ stale {{count:3 sum:5 buckets:[1 2]}}x2`.

use std::sync::Arc;

use model::Labels;
use model::histogram::ResetHint;
use model::labels::METRIC_NAME;

use crate::duration;
use crate::histogram::FloatHistogram;
use crate::literal;

/// Values of one line at most, so that `x1000000000` is an error rather than a flood.
const VALUES_MAX: usize = 1 << 20;

/// One value of a sequence.
#[derive(Clone, Debug)]
pub(super) enum SequenceValue {
    /// `_`
    Gap,
    /// A number, or the stale marker.
    Float(f64),
    /// A histogram, and whether its reset hint was written.
    Histogram(Arc<FloatHistogram>, bool),
}

type Parsed<T> = Result<T, String>;

/// A series line.
pub(super) fn parse(line: &str) -> Parsed<(Labels, Vec<SequenceValue>)> {
    let (labels, rest) = labels(line)?;
    Ok((labels, values(rest)?))
}

/// The label set in front of a line, and what follows it.
pub(super) fn labels(line: &str) -> Parsed<(Labels, &str)> {
    let name_end = line.find(|c: char| c == '{' || c.is_whitespace()).unwrap_or(line.len());
    let (name, mut rest) = line.split_at(name_end);
    let mut pairs: Vec<(String, String)> = Vec::new();
    if !name.is_empty() {
        pairs.push((METRIC_NAME.into(), name.into()));
    }
    // A histogram behind the name begins with two braces.
    let spaced = rest.trim_start();
    if spaced.starts_with('{') && !spaced.starts_with("{{") {
        rest = braces(&spaced[1..], &mut pairs)?;
    }
    Ok((pairs.into_iter().collect(), rest))
}

fn braces<'a>(mut rest: &'a str, pairs: &mut Vec<(String, String)>) -> Parsed<&'a str> {
    loop {
        rest = rest.trim_start();
        if let Some(rest) = rest.strip_prefix('}') {
            return Ok(rest);
        }
        let (name, quoted, after) = word(rest)?;
        rest = after.trim_start();
        if let Some(after) = rest.strip_prefix('=') {
            let (value, _, after) = word(after.trim_start())?;
            pairs.push((name, value));
            rest = after.trim_start();
        } else if quoted {
            pairs.push((METRIC_NAME.into(), name));
        } else {
            return Err(format!("unexpected {rest:?} in label set, expected \"=\""));
        }
        rest = rest.strip_prefix(',').unwrap_or(rest);
    }
}

/// A label name or a quoted string.
fn word(text: &str) -> Parsed<(String, bool, &str)> {
    let Some(quote @ ('"' | '\'' | '`')) = text.chars().next() else {
        let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(text.len());
        return if end == 0 {
            Err(format!("label expected at {text:?}"))
        } else {
            Ok((text[..end].into(), false, &text[end..]))
        };
    };
    let mut escaped = false;
    let end = text[1..].find(|c| {
        let ends = c == quote && !escaped;
        escaped = c == '\\' && !escaped && quote != '`';
        ends
    });
    let end = end.ok_or("unterminated string")? + 2;
    let bytes = literal::unquote(&text[..end]).ok_or("invalid string")?;
    Ok((String::from_utf8_lossy(&bytes).into_owned(), true, &text[end..]))
}

fn values(mut rest: &str) -> Parsed<Vec<SequenceValue>> {
    let mut values = Vec::new();
    loop {
        rest = rest.trim_start();
        if rest.is_empty() {
            return Ok(values);
        }
        rest = if rest.starts_with("{{") { histograms(rest, &mut values)? } else { item(rest, &mut values)? };
        if values.len() > VALUES_MAX {
            return Err("too many values".into());
        }
    }
}

fn repeat(text: &str) -> Parsed<usize> {
    let count: usize = text.parse().map_err(|_| format!("invalid repetition in series values: {text:?}"))?;
    if count > VALUES_MAX { Err("too many values".into()) } else { Ok(count) }
}

/// `_`, `_x5`, `stale`, `1`, `1x5`, `1+2x5`
fn item<'a>(text: &'a str, values: &mut Vec<SequenceValue>) -> Parsed<&'a str> {
    let end = text.find(char::is_whitespace).unwrap_or(text.len());
    let (item, rest) = text.split_at(end);
    if item == "_" {
        values.push(SequenceValue::Gap);
        return Ok(rest);
    }
    if let Some(count) = item.strip_prefix("_x") {
        values.extend((0..repeat(count)?).map(|_| SequenceValue::Gap));
        return Ok(rest);
    }
    let (number_text, count) = match item.rsplit_once('x') {
        Some((number, count)) => (number, Some(repeat(count)?)),
        None => (item, None),
    };
    let (mut value, step) = number_and_step(number_text)?;
    for _ in 0..=count.unwrap_or(0) {
        values.push(SequenceValue::Float(value));
        value += step;
    }
    Ok(rest)
}

/// `1`, `1+2`, `-1-2`
fn number_and_step(text: &str) -> Parsed<(f64, f64)> {
    if text == "stale" {
        return Ok((f64::from_bits(model::STALE_NAN_BITS), 0.0));
    }
    // A sign that is neither the first character nor part of an exponent divides the two.
    let bytes = text.as_bytes();
    let divides = |at: &usize| matches!(bytes[*at], b'+' | b'-') && !matches!(bytes[at - 1], b'e' | b'E');
    match (1..bytes.len()).find(divides) {
        Some(at) => Ok((number(&text[..at])?, number(&text[at..])?)),
        None => Ok((number(text)?, 0.0)),
    }
}

/// A number or duration with an optional sign.
fn number(text: &str) -> Parsed<f64> {
    plain_number(text).or_else(|_| {
        let (sign, digits) = signed(text)?;
        duration::parse(digits).map(|ms| sign * ms as f64 / 1000.0)
    })
}

/// A number with an optional sign, and no duration.
pub(super) fn plain_number(text: &str) -> Parsed<f64> {
    let (sign, digits) = signed(text)?;
    literal::number(digits).map(|value| sign * value)
}

fn signed(text: &str) -> Parsed<(f64, &str)> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    if digits.starts_with(['+', '-']) || digits.is_empty() {
        return Err(format!("not a number: {text:?}"));
    }
    Ok((sign, digits))
}

/// `{{…}}`, `{{…}}x3`, `{{…}}+{{…}}x3`
fn histograms<'a>(text: &'a str, values: &mut Vec<SequenceValue>) -> Parsed<&'a str> {
    let ((mut current, mut hint_written), rest) = histogram(text)?;
    let operation = rest.chars().next().filter(|c| matches!(c, 'x' | '+' | '-'));
    let (increment, rest) = match operation {
        None => {
            values.push(SequenceValue::Histogram(Arc::new(current), hint_written));
            return Ok(rest);
        }
        Some('x') => (None, rest),
        Some(_) => {
            let ((increment, written), rest) = histogram(&rest[1..])?;
            hint_written = written;
            (Some(increment), rest)
        }
    };
    let rest = rest.strip_prefix('x').ok_or("x expected behind histograms")?;
    let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
    for at in 0..=repeat(&rest[..end])? {
        if let (true, Some(increment)) = (at > 0, &increment) {
            if current.schema > increment.schema {
                return Err("error combining histograms: the increment is coarser".into());
            }
            let combined =
                if operation == Some('-') { current.subtract(increment) } else { current.add(increment) };
            combined.map_err(|_| "error combining histograms")?;
        }
        values.push(SequenceValue::Histogram(Arc::new(current.clone()), hint_written));
    }
    Ok(&rest[end..])
}

/// One `{{key:value …}}`, whether a reset hint was among the keys, and what follows.
fn histogram(text: &str) -> Parsed<((FloatHistogram, bool), &str)> {
    let inner = text.strip_prefix("{{").ok_or("histogram expected")?;
    let (inner, rest) = inner.split_once("}}").ok_or("unterminated histogram")?;
    let mut described = Description::default();
    let mut left = inner.trim();
    while !left.is_empty() {
        let (key, after) = left.split_once(':').ok_or("missing `:` for histogram descriptor")?;
        let (value, after) = if let Some(list) = after.strip_prefix('[') {
            list.split_once(']').ok_or("unterminated bucket list")?
        } else {
            after.split_at(after.find(char::is_whitespace).unwrap_or(after.len()))
        };
        described.set(key.trim(), value)?;
        left = after.trim_start();
    }
    Ok((described.build(), rest))
}

#[derive(Default)]
struct Description {
    seen: Vec<String>,
    schema: i32,
    numbers: [f64; 4],
    offsets: [i32; 2],
    buckets: [Vec<f64>; 2],
    custom_bounds: Vec<f64>,
    hint: ResetHint,
    hint_written: bool,
}

impl Description {
    fn set(&mut self, key: &str, value: &str) -> Parsed<()> {
        if self.seen.iter().any(|seen| seen == key) {
            return Err(format!("duplicate key \"{key}\" in histogram"));
        }
        self.seen.push(key.to_owned());
        let integer = || value.parse::<i32>().map_err(|_| format!("not an integer: {value:?}"));
        let list = || value.split_whitespace().map(number).collect::<Parsed<Vec<f64>>>();
        match key {
            "schema" => self.schema = integer()?,
            "count" => self.numbers[0] = number(value)?,
            "sum" => self.numbers[1] = number(value)?,
            "z_bucket" => self.numbers[2] = number(value)?,
            "z_bucket_w" => self.numbers[3] = number(value)?,
            "offset" => self.offsets[0] = integer()?,
            "n_offset" => self.offsets[1] = integer()?,
            "buckets" => self.buckets[0] = list()?,
            "n_buckets" => self.buckets[1] = list()?,
            "custom_values" => self.custom_bounds = list()?,
            "counter_reset_hint" => {
                self.hint_written = true;
                self.hint = match value {
                    "unknown" => ResetHint::Unknown,
                    "reset" => ResetHint::Reset,
                    "not_reset" => ResetHint::NotReset,
                    "gauge" => ResetHint::Gauge,
                    _ => return Err(format!("unknown reset hint {value:?}")),
                };
            }
            _ => return Err(format!("bad histogram descriptor found: {key:?}")),
        }
        Ok(())
    }

    fn build(self) -> (FloatHistogram, bool) {
        let [count, sum, zero_count, zero_threshold] = self.numbers;
        let buckets = |side: usize| {
            let first = self.offsets[side];
            self.buckets[side].iter().enumerate().map(move |(i, count)| (first + i as i32, *count)).collect()
        };
        let histogram = FloatHistogram {
            schema: self.schema,
            zero_threshold,
            zero_count,
            count,
            sum,
            reset_hint: self.hint,
            positive: buckets(0),
            negative: buckets(1),
            custom_bounds: self.custom_bounds.clone(),
        };
        (histogram, self.hint_written)
    }
}
