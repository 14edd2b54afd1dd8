//! The text of a series: how it is split into labels, and how one is written where a page has no text for it.

use std::borrow::Cow;

use model::LabelError;
use model::labels::METRIC_NAME;

use crate::exposition::text::{is_bare, push_label_name, push_quoted};
use crate::text::line;

/// Appends the labels of a row's series to `pairs`, `__name__` first, the others as on the page: in no order, the same name
/// perhaps twice, values perhaps empty.
pub fn labels<'a>(series: &'a str, pairs: &mut Vec<(Cow<'a, str>, Cow<'a, str>)>) -> Result<(), LabelError> {
    let start = pairs.len();
    line::split_series(series, |name, value| pairs.push((name, value)))
        .map_err(|_| LabelError::Undecodable)?;
    let name = pairs[start..].iter().position(|(name, _)| name == METRIC_NAME);
    pairs[start..=start + name.ok_or(LabelError::MissingName)?].rotate_right(1);
    Ok(())
}

/// The text of a series that was checked, with line feeds escaped.
pub(super) fn escaped(series: &str) -> String {
    let (mut name, mut labels, mut out) = (Cow::Borrowed(""), String::new(), String::new());
    line::unescape_series(series, |label, value| {
        if label == METRIC_NAME && name.is_empty() {
            name = value;
        } else {
            push_label(&label, &value, &mut labels);
        }
    });
    write(&name, "", &labels, &mut out);
    out
}

/// Appends a label with a comma before it.
pub(super) fn push_label(name: &str, value: &str, out: &mut String) {
    out.push(',');
    push_label_name(name, out);
    out.push('=');
    push_quoted(value, out);
}

/// Writes `name` and `suffix` with `labels`, which [`push_label`] wrote.
pub(super) fn write(name: &str, suffix: &str, labels: &str, out: &mut String) {
    out.clear();
    if is_bare(name) {
        out.push_str(name);
        out.push_str(suffix);
        if let Some(labels) = labels.strip_prefix(',') {
            out.push('{');
            out.push_str(labels);
            out.push('}');
        }
    } else {
        out.push('{');
        push_quoted(&format!("{name}{suffix}"), out);
        out.push_str(labels);
        out.push('}');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(series: &str) -> Result<String, LabelError> {
        let mut pairs = Vec::new();
        labels(series, &mut pairs)?;
        Ok(pairs.iter().map(|(n, v)| format!("{n}={v}")).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn the_name_comes_first() {
        assert_eq!(split("up").unwrap(), "__name__=up");
        assert_eq!(split(r#"up{b="c",a="d\"\n"}"#).unwrap(), "__name__=up b=c a=d\"\n");
        assert_eq!(split(r#"{b="c",a="","my.name",d="e"}"#).unwrap(), "__name__=my.name b=c a= d=e");
        assert_eq!(split(r#"{b="c"}"#), Err(LabelError::MissingName));
        assert_eq!(split("1up"), Err(LabelError::Undecodable));
        assert_eq!(split("up x"), Err(LabelError::Undecodable));
    }

    #[test]
    fn what_is_written_is_split_again() {
        for (name, suffix, pairs) in [
            ("up", "", &[][..]),
            ("a:b", "_sum", &[("x", "y")][..]),
            ("my.name", "_bucket", &[("a.b", "c\\\"\n"), ("le", "+Inf")][..]),
            ("0a", "", &[("é", "")][..]),
        ] {
            let (mut text, mut written) = (String::new(), String::new());
            pairs.iter().for_each(|(name, value)| push_label(name, value, &mut text));
            write(name, suffix, &text, &mut written);
            let mut wanted = format!("__name__={name}{suffix}");
            pairs.iter().for_each(|(name, value)| wanted.push_str(&format!(" {name}={value}")));
            assert_eq!(split(&written).unwrap(), wanted, "{written}");
        }
    }
}
