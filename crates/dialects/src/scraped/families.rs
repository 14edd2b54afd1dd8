//! `# HELP`, `# TYPE` and `# UNIT` lines, gathered by family, and the family in which the rows of a page stand.

use std::borrow::Cow;
use std::collections::HashMap;

use model::{Metadata, MetricType};

use super::{Format, Sink};
use crate::text::line;

/// What a page says of its families.
#[derive(Default)]
pub(super) struct Families<'a> {
    /// In the order of the page.
    all: Vec<(Cow<'a, str>, Metadata)>,
    places: HashMap<Cow<'a, str>, usize>,
}

/// What a comment is.
pub(super) enum Comment<'a> {
    /// Words.
    Nothing,
    /// The end of an OpenMetrics page.
    End,
    /// Help or unit of a family.
    Said,
    /// The type of the family with this name, whose rows may follow.
    Type(Cow<'a, str>, MetricType),
}

impl<'a> Families<'a> {
    /// Takes a line that begins with `#`.
    pub(super) fn comment(&mut self, line: &'a str, format: Format) -> Result<Comment<'a>, &'static str> {
        // Without a blank behind the `#` it is words, whatever follows.
        let Some(text) = line[1..].strip_prefix(BLANKS) else { return Ok(Comment::Nothing) };
        let text = text.trim_start_matches(BLANKS);
        if format == Format::OpenMetrics && text.trim_end_matches([' ', '\t', '\r']) == "EOF" {
            return Ok(Comment::End);
        }
        let Some((word @ ("HELP" | "TYPE" | "UNIT"), rest)) = text.split_once(BLANKS) else {
            return Ok(Comment::Nothing);
        };
        let (name, text) = match family(rest.trim_start_matches(BLANKS)) {
            // Prometheus' text has no units: a line that is none of OpenMetrics is words.
            Err(_) if word == "UNIT" && format == Format::Prometheus => return Ok(Comment::Nothing),
            named => named?,
        };
        let metadata = self.of(name.clone());
        let plain = text.trim_matches([' ', '\t', '\r']);
        match word {
            "TYPE" => {
                metadata.kind = MetricType::from_name(plain).ok_or("unknown metric type")?;
                return Ok(Comment::Type(name, metadata.kind));
            }
            "UNIT" => metadata.unit = plain.to_owned(),
            _ => {
                let text = text.trim_end_matches('\r');
                metadata.help = match format {
                    Format::OpenMetrics => line::unescape(text),
                    _ => line::unescape_help(text),
                };
            }
        }
        Ok(Comment::Said)
    }

    fn of(&mut self, name: Cow<'a, str>) -> &mut Metadata {
        // Lines of a family stand together.
        let last = self.all.last().is_some_and(|(last, _)| *last == name);
        let place = if last {
            self.all.len() - 1
        } else {
            *self.places.entry(name).or_insert_with_key(|name| {
                self.all.push((name.clone(), Metadata::default()));
                self.all.len() - 1
            })
        };
        &mut self.all[place].1
    }

    /// Gives all to `sink`.
    pub(super) fn tell(self, sink: &mut dyn Sink) {
        self.all.into_iter().for_each(|(family, metadata)| sink.metadata(&family, metadata));
    }
}

/// The family and the type that a `# TYPE` line tells; `None` of any other line.
pub(super) fn told_type(line: &str) -> Option<(Cow<'_, str>, MetricType)> {
    let text = line.trim_start_matches(BLANKS).strip_prefix('#')?.strip_prefix(BLANKS)?;
    let (word, rest) = text.trim_start_matches(BLANKS).split_once(BLANKS)?;
    let (name, text) = family(rest.trim_start_matches(BLANKS)).ok().filter(|_| word == "TYPE")?;
    Some((name, MetricType::from_name(text.trim_matches([' ', '\t', '\r']))?))
}

const BLANKS: [char; 2] = [' ', '\t'];

/// The family's name, and the text behind the blank that follows it.
fn family(text: &str) -> Result<(Cow<'_, str>, &str), &'static str> {
    let (name, rest) = line::name(text)?;
    if name.is_empty() {
        return Err("metadata without a family name");
    }
    Ok((name, rest.strip_prefix([' ', '\t']).unwrap_or(rest)))
}
