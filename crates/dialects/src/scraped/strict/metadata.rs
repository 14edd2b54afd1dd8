//! A line that begins with `#`.

use std::borrow::Cow;

use model::MetricType;

use super::Rules;
use super::cursor::{Cursor, check_escape};

/// What a line says of a family.
pub(super) struct Metadata<'a> {
    /// The family.
    pub(super) family: Cow<'a, str>,
    /// What is said.
    pub(super) said: Said<'a>,
}

pub(super) enum Said<'a> {
    Type(MetricType),
    Help,
    Unit(&'a str),
}

impl<'a> Metadata<'a> {
    /// Reads a line; none when it is a comment, which only Prometheus' text has.
    pub(super) fn parse(rules: Rules, line: &'a str) -> Result<Option<Self>, &'static str> {
        let mut cursor = Cursor::new(rules, line);
        cursor.take(b'#');
        let before = cursor.rest();
        cursor.pad();
        let blanks = before.len() - cursor.rest().len();
        let word = match rules {
            Rules::Prometheus if blanks == 0 => return Ok(None),
            Rules::Prometheus => cursor.word(),
            Rules::OpenMetrics => {
                cursor.gap().map_err(|_| "comments are not allowed")?;
                cursor.word()
            }
        };
        match (rules, word) {
            (_, "TYPE" | "HELP") | (Rules::OpenMetrics, "UNIT") => {}
            (Rules::Prometheus, _) => return Ok(None),
            (Rules::OpenMetrics, _) => return Err("neither HELP, TYPE, UNIT nor EOF"),
        }
        cursor.gap().map_err(|_| "metadata without a family name")?;
        let family = cursor.metric_name()?;
        if family.is_empty() {
            return Err("metadata without a family name");
        }
        // Help may be empty, and then has no blank before it in Prometheus' text, whose lines may have lost it.
        if !(word == "HELP" && rules == Rules::Prometheus && cursor.rest().is_empty()) {
            cursor.gap()?;
        }
        let text = cursor.rest();
        let said = match word {
            "TYPE" => Said::Type(kind(rules, text)?),
            "HELP" => Said::help(rules, text)?,
            _ => Said::Unit(text),
        };
        Ok(Some(Self { family, said }))
    }
}

impl Said<'_> {
    fn help(rules: Rules, text: &str) -> Result<Self, &'static str> {
        let mut bytes = text.bytes();
        while let Some(byte) = bytes.next() {
            if byte == b'\\' {
                check_escape(rules, bytes.next().as_ref(), b"\\n")?;
            }
        }
        Ok(Self::Help)
    }
}

/// Each format has a word of its own for what nobody knows, and Prometheus' text has fewer types.
fn kind(rules: Rules, word: &str) -> Result<MetricType, &'static str> {
    let kind = match (rules, word) {
        (Rules::Prometheus, "counter" | "gauge" | "histogram" | "summary" | "untyped") => {
            MetricType::from_name(word)
        }
        (Rules::OpenMetrics, word) if word != "untyped" => MetricType::from_name(word),
        _ => None,
    };
    kind.ok_or("unknown metric type")
}
