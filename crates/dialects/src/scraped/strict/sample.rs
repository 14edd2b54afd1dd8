//! A line with a sample, to the letter.

use std::borrow::Cow;

use codec::float;

use super::Rules;
use super::cursor::Cursor;
use crate::rows::EXEMPLAR_CHARACTERS_MAX;
use crate::text::line::is_hexadecimal;

/// A sample.
pub(super) struct Sample<'a> {
    pub(super) name: Cow<'a, str>,
    /// Sorted by name.
    pub(super) labels: Labels<'a>,
    pub(super) value: f64,
    /// In the format's unit.
    pub(super) timestamp: Option<f64>,
    pub(super) has_exemplar: bool,
}

pub(super) type Labels<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

impl Sample<'_> {
    pub(super) fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(label, _)| label == name).map(|(_, value)| &**value)
    }
}

/// Reads a line.
pub(super) fn parse(rules: Rules, line: &str) -> Result<Sample<'_>, &'static str> {
    let mut cursor = Cursor::new(rules, line);
    let mut name: Cow<'_, str> = cursor.bare(|byte| byte == b':').into();
    if name.is_empty() && cursor.peek() != Some(b'{') {
        return Err("line begins with neither a name nor a brace");
    }
    cursor.pad();
    let mut labels = Vec::new();
    if cursor.take(b'{') {
        self::labels(&mut cursor, Some(&mut name), &mut labels)?;
    }
    if name.is_empty() {
        return Err("metric name is missing");
    }
    cursor_gap_after_name(&mut cursor, line)?;
    let value = number(&mut cursor, "value is not a number")?;
    let mut sample = Sample { name, labels, value, timestamp: None, has_exemplar: false };
    if cursor.peek().is_none() {
        return Ok(sample);
    }
    cursor.gap()?;
    if !matches!(cursor.peek(), None | Some(b'#')) || rules == Rules::Prometheus {
        sample.timestamp = Some(timestamp(&mut cursor)?);
        if cursor.peek().is_none() {
            return Ok(sample);
        }
        cursor.gap()?;
    }
    exemplar(&mut cursor)?;
    sample.has_exemplar = true;
    Ok(sample)
}

/// The gap before the value; where names end has been padded over already in Prometheus' text.
fn cursor_gap_after_name(cursor: &mut Cursor<'_>, line: &str) -> Result<(), &'static str> {
    let before = &line[..line.len() - cursor.rest().len()];
    if cursor.rules == Rules::Prometheus && before.ends_with([' ', '\t']) {
        return Ok(());
    }
    cursor.gap().map_err(|_| "no blank between series and value")
}

/// What follows an opening brace, up to the closing one. Where the metric may still be named, its name may stand here.
fn labels<'a>(
    cursor: &mut Cursor<'a>,
    mut metric: Option<&mut Cow<'a, str>>,
    labels: &mut Labels<'a>,
) -> Result<(), &'static str> {
    let mut first = true;
    loop {
        cursor.pad();
        // Only Prometheus' text has a comma behind the last label.
        if (first || cursor.rules == Rules::Prometheus) && cursor.take(b'}') {
            break;
        }
        first = false;
        let is_quoted = cursor.peek() == Some(b'"');
        let name = if is_quoted { cursor.quoted()? } else { cursor.bare(|_| false).into() };
        if name.is_empty() {
            return Err("label without a name");
        }
        cursor.pad();
        if cursor.take(b'=') {
            if name.starts_with("__") && cursor.rules == Rules::OpenMetrics {
                return Err("label name that begins with two underscores is reserved");
            }
            cursor.pad();
            labels.push((name, cursor.quoted()?));
        } else {
            match metric.as_deref_mut() {
                Some(metric) if is_quoted && metric.is_empty() => *metric = name,
                _ => return Err("label without '='"),
            }
        }
        cursor.pad();
        if cursor.take(b'}') {
            break;
        }
        if !cursor.take(b',') {
            return Err("labels without a comma between them or a brace after them");
        }
    }
    labels.sort();
    if labels.windows(2).any(|pair| pair[0].0 == pair[1].0) {
        return Err("label name that stands twice");
    }
    Ok(())
}

/// A value.
fn number(cursor: &mut Cursor<'_>, what: &'static str) -> Result<f64, &'static str> {
    let word = cursor.word();
    let unsigned = word.strip_prefix(['+', '-']).unwrap_or(word);
    let is_special = ["inf", "infinity"].iter().any(|special| unsigned.eq_ignore_ascii_case(special))
        || word.eq_ignore_ascii_case("nan");
    // Of what a float may be in Go, no page has those with a binary exponent.
    let fits = is_special || is_real(word) || cursor.rules == Rules::Prometheus && !is_hexadecimal(word);
    float::parse(word).filter(|_| fits).ok_or(what)
}

/// Whether it is decimal, with or without an exponent.
pub(super) fn is_real(word: &str) -> bool {
    word.bytes().any(|byte| byte.is_ascii_digit())
        && word.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte))
        && float::parse(word).is_some()
}

fn timestamp(cursor: &mut Cursor<'_>) -> Result<f64, &'static str> {
    let word = cursor.word();
    match cursor.rules {
        Rules::Prometheus => {
            let ms: i64 = word.parse().map_err(|_| "timestamp is not a whole number of ms")?;
            Ok(ms as f64)
        }
        Rules::OpenMetrics => {
            let seconds = is_real(word).then(|| float::parse(word)).flatten();
            seconds.ok_or("timestamp is not a number of seconds")
        }
    }
}

fn exemplar(cursor: &mut Cursor<'_>) -> Result<(), &'static str> {
    if !cursor.take(b'#') {
        return Err("text after the sample");
    }
    cursor.gap()?;
    if !cursor.take(b'{') {
        return Err("exemplar without labels");
    }
    let mut pairs = Vec::new();
    labels(cursor, None, &mut pairs)?;
    let characters: usize = pairs.iter().map(|(n, v)| n.chars().count() + v.chars().count()).sum();
    if characters > EXEMPLAR_CHARACTERS_MAX {
        return Err("exemplar whose labels have over 128 characters");
    }
    cursor.gap()?;
    number(cursor, "exemplar without a value")?;
    if cursor.peek().is_some() {
        cursor.gap()?;
        timestamp(cursor).map_err(|_| "exemplar's timestamp is not a number of seconds")?;
    }
    if cursor.peek().is_some() { Err("text after the exemplar") } else { Ok(()) }
}
