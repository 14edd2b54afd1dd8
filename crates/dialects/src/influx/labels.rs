//! Names and labels of a body's series, made where the store does not know them: from where a line begins and where the
//! field's key stands in it.

use std::borrow::Cow;

use model::LabelError;
use model::batch::{MakeLabels, Pair};
use model::labels::{LABELS_MAX, METRIC_NAME};

use super::line::{Bad, Scanner};
use super::settings::{Settings, ValueField};

/// The name of the field that is no part of a name.
const VALUE: &str = "value";

/// The series of a body.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    pub(super) body: &'a [u8],
    pub(super) settings: &'a Settings,
    /// Where it was sent to.
    pub(super) database: Cow<'a, str>,
    /// Where each series' line begins, and where its field's key does.
    pub(super) at: Vec<(u32, u32)>,
}

impl MakeLabels for Fields<'_> {
    fn make<'b>(&'b self, number: u32, pairs: &mut Vec<Pair<'b>>) -> Result<(), LabelError> {
        let (line, key) = self.at[number as usize];
        let (mut head, mut field) = (Scanner::new(self.body), Scanner::new(self.body));
        (head.at, field.at) = (line as usize, key as usize);
        let name = pairs.len();
        pairs.push((Cow::Borrowed(METRIC_NAME), Cow::Borrowed("")));
        let mut is_text = true;
        let mut text = |bytes: &'b [u8], specials: &[char]| {
            let text = std::str::from_utf8(bytes);
            is_text &= text.is_ok();
            unescaped(text.unwrap_or_default(), specials)
        };
        let measurement = head.head(|key, value| {
            pairs.push((text(key, &[',', '=', ' ']), text(value, &[',', '=', ' '])));
            match pairs.len() - name {
                count if count > LABELS_MAX => Err(LabelError::TooMany { count, limit: LABELS_MAX }),
                _ => Ok(()),
            }
        });
        let measurement = text(measurement?, &[',', ' ']);
        let field = text(field.field_key()?, &[',', '=', ' ']);
        if !is_text {
            return Err(LabelError::NotUtf8);
        }
        pairs[name].1 = if self.settings.value_field == ValueField::Omit && field == VALUE {
            measurement
        } else {
            Cow::Owned(format!("{measurement}_{field}"))
        };
        let label = self.settings.database_label.as_str();
        if !label.is_empty() && !self.database.is_empty() && pairs[name..].iter().all(|(n, _)| n != label) {
            pairs.push((Cow::Borrowed(label), Cow::Borrowed(&self.database)));
        }
        Ok(())
    }
}

impl From<Bad> for LabelError {
    fn from(_: Bad) -> Self {
        Self::Undecodable
    }
}

/// Takes the backslash away before each of `specials`; any other one stays.
fn unescaped<'a>(text: &'a str, specials: &[char]) -> Cow<'a, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let escapes = character == '\\' && characters.peek().is_some_and(|next| specials.contains(next));
        if !escapes {
            out.push(character);
        }
    }
    Cow::Owned(out)
}
