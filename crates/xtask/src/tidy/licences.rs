//! Every package's licence is one that an Apache-2.0 program may be linked with. `deny.toml` says the same to
//! cargo-deny; this check also runs where cargo-deny is not installed.

use super::metadata::Metadata;

/// Licences that are fine, as SPDX names.
pub(crate) const ALLOWED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Deepest nesting of an expression.
const DEPTH: usize = 8;

/// Complaints about licences.
pub(crate) fn check(metadata: &Metadata) -> Vec<String> {
    let mut complaints = Vec::new();
    for package in metadata.packages.values() {
        match package.licence.as_deref() {
            None => complaints.push(format!("{} {} names no licence", package.name, package.version)),
            Some(expression) if !is_allowed(expression) => {
                complaints.push(format!("{} {} has licence {expression}", package.name, package.version));
            }
            Some(_) => {}
        }
    }
    complaints
}

/// Whether an SPDX expression can be met with allowed licences alone. What cannot be parsed is not allowed.
fn is_allowed(expression: &str) -> bool {
    // Old manifests write `MIT/Apache-2.0` and mean OR.
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let mut words = spaced.split_whitespace().peekable();
    let verdict = either(&mut words, 0);
    verdict.unwrap_or(false) && words.next().is_none()
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn either(words: &mut Words<'_>, depth: usize) -> Option<bool> {
    let mut allowed = both(words, depth)?;
    while words.next_if_eq(&"OR").is_some() {
        allowed |= both(words, depth)?;
    }
    Some(allowed)
}

fn both(words: &mut Words<'_>, depth: usize) -> Option<bool> {
    let mut allowed = one(words, depth)?;
    while words.next_if_eq(&"AND").is_some() {
        allowed &= one(words, depth)?;
    }
    Some(allowed)
}

fn one(words: &mut Words<'_>, depth: usize) -> Option<bool> {
    let word = words.next()?;
    if word == "(" {
        let allowed = if depth < DEPTH { either(words, depth + 1)? } else { return None };
        return words.next_if_eq(&")").map(|_| allowed);
    }
    if words.next_if_eq(&"WITH").is_some() {
        let with = format!("{word} WITH {}", words.next()?);
        return Some(ALLOWED.contains(&with.as_str()));
    }
    Some(ALLOWED.contains(&word))
}

#[cfg(test)]
mod tests {
    use super::is_allowed;

    #[test]
    fn expressions() {
        for good in
            ["MIT", "MIT/Apache-2.0", "(MIT OR GPL-3.0) AND ISC", "Apache-2.0 WITH LLVM-exception OR GPL-2.0"]
        {
            assert!(is_allowed(good), "{good}");
        }
        for bad in [
            "",
            "GPL-3.0",
            "MIT AND GPL-3.0",
            "(MIT",
            "MIT)",
            "MIT OR",
            "GPL-2.0 WITH Classpath-exception-2.0",
        ] {
            assert!(!is_allowed(bad), "{bad}");
        }
        assert!(!is_allowed(&format!("{}MIT{}", "(".repeat(100), ")".repeat(100))));
    }
}
