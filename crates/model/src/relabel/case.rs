//! Upper and lower case character by character, as Go maps them: no character becomes two.

/// Lower case.
pub(super) fn lower(text: &str) -> String {
    // İ is the one capital whose lower case is two characters, the first of which is what Go takes.
    text.chars().map(|c| c.to_lowercase().next().unwrap_or(c)).collect()
}

/// Upper case; ß and its like stay as they are.
pub(super) fn upper(text: &str) -> String {
    let upper = |c: char| {
        let mut mapped = c.to_uppercase();
        match (mapped.next(), mapped.next()) {
            (Some(one), None) => one,
            _ => c,
        }
    };
    text.chars().map(upper).collect()
}
