//! `# HELP`, `# TYPE` and `# UNIT` lines, gathered to one metadata row per family.

use std::collections::HashMap;

use model::batch::MetadataRow;
use model::{Batch, Metadata, MetricType};

use super::line::{family, unescape};

/// The rows of this request's families.
#[derive(Default)]
pub(super) struct Families<'a> {
    rows: HashMap<std::borrow::Cow<'a, str>, usize>,
}

impl<'a> Families<'a> {
    /// Takes the text after a comment's `#`; a comment that is none of the three says nothing.
    pub(super) fn comment(&mut self, comment: &'a str, batch: &mut Batch<'a>) -> Result<(), &'static str> {
        let comment = comment.trim_start_matches([' ', '\t']);
        let (word, rest) = comment.split_once([' ', '\t']).unwrap_or((comment, ""));
        if !matches!(word, "HELP" | "TYPE" | "UNIT") {
            return Ok(());
        }
        let (name, text) = family(rest.trim_start_matches([' ', '\t']))?;
        if name.is_empty() {
            return Err("metadata without a family name");
        }
        let kind = match word {
            "TYPE" => Some(MetricType::from_name(text.trim_end()).ok_or("unknown metric type")?),
            _ => None,
        };
        let row = *self.rows.entry(name).or_insert_with_key(|name| {
            batch.metadata.push(MetadataRow { family: name.clone(), metadata: Metadata::default() });
            batch.metadata.len() - 1
        });
        let metadata = &mut batch.metadata[row].metadata;
        match kind {
            Some(kind) => metadata.kind = kind,
            None if word == "UNIT" => metadata.unit = text.trim_end().to_owned(),
            None => metadata.help = unescape(text),
        }
        Ok(())
    }
}
