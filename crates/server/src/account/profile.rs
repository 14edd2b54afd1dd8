//! `Prefer: profile=…` (RFC 7240): of the first preference of that name the value, when there is such a profile. One that
//! is unknown is as if it were not there.

use http::HeaderMap;

/// What is seen when no profile is asked for: what stays as it is from release to release.
pub(crate) const PREVIEW: &str = "preview";
/// And what helps to find out why something is as it is.
pub(crate) const INTERNAL: &str = "internal";

/// The profile that a request asks for, of those that `is_known`, else [`PREVIEW`].
pub(crate) fn asked(headers: &HeaderMap, is_known: impl Fn(&str) -> bool) -> String {
    let lines = headers.get_all("prefer").into_iter().filter_map(|line| line.to_str().ok());
    let preferences = lines.flat_map(|line| split(line, ','));
    let mut profiles = preferences.filter_map(|preference| {
        let (name, value) = split(preference, ';').into_iter().next()?.split_once('=')?;
        name.trim().eq_ignore_ascii_case("profile").then(|| unquoted(value.trim()))
    });
    profiles.next().filter(|profile| is_known(profile)).unwrap_or_else(|| PREVIEW.to_owned())
}

/// The parts between marks that do not stand in quotes.
fn split(text: &str, mark: char) -> Vec<&str> {
    let (mut parts, mut begin, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            c if c == mark && !quoted => {
                parts.push(&text[begin..at]);
                begin = at + mark.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(&text[begin..]);
    parts
}

fn unquoted(text: &str) -> String {
    let Some(inner) = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return text.to_owned();
    };
    let mut out = String::new();
    let mut letters = inner.chars();
    while let Some(c) = letters.next() {
        out.extend(if c == '\\' { letters.next() } else { Some(c) });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_known_preference_counts() {
        let known = |profile: &str| [PREVIEW, INTERNAL, "team, a"].contains(&profile);
        for (lines, wanted) in [
            (&[][..], "preview"),
            (&["profile=internal"], "internal"),
            (&["Profile = internal"], "internal"),
            (&["return=minimal; foo=\"a,profile=x\", profile=internal;x=1"], "internal"),
            (&["respond-async", "profile=internal"], "internal"),
            (&["profile=\"internal\""], "internal"),
            (&["profile=\"team, \\a\""], "team, a"),
            (&["profile=preview, profile=internal"], "preview"),
            // As if it were not there; and a second one of the same name does not count.
            (&["profile=unheard"], "preview"),
            (&["profile=unheard, profile=internal"], "preview"),
            (&["profile"], "preview"),
            (&["x-profile=internal"], "preview"),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append("prefer", line.parse().unwrap());
            }
            assert_eq!(asked(&headers, known), wanted, "{lines:?}");
        }
    }
}
