//! Parameters of a query, percent-encoded as sent.

use std::borrow::Cow;

/// The values of the parameter `name`, in order.
pub(crate) fn values<'q>(query: &'q str, name: &str) -> impl Iterator<Item = Cow<'q, str>> {
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .filter(move |(key, _)| *key == name)
        .map(|(_, value)| decoded(value))
}

/// Undoes percent encoding. A percent sign that encodes nothing stands for itself.
fn decoded(text: &str) -> Cow<'_, str> {
    if !text.contains(['%', '+']) {
        return Cow::Borrowed(text);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        let digit = |at: usize| after.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        match (byte, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push((high << 4 | low) as u8);
                rest = &after[2..];
            }
            (b'+', ..) => bytes.push(b' '),
            _ => bytes.push(*byte),
        }
    }
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_decoded() {
        let of = |query| values(query, "ddtags").collect::<Vec<_>>();
        assert_eq!(of("a=1&ddtags=env%3aprod,x+y&ddtags=%"), ["env:prod,x y", "%"]);
        assert_eq!(of("ddtags=%e4%zz%2"), ["\u{fffd}%zz%2"]);
        assert!(of("ddtags&xddtags=1").is_empty());
    }
}
