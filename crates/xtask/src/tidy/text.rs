//! What must not be written where. A text search is crude and sees through no alias; the disallowed lists of clippy
//! are the second net, the table of edges the third.

use crate::repo::TextFile;

/// Words and the only places where product code may write them.
struct Rule {
    /// Any of these in a line of code is a hit; `…` stands for anything in between.
    words: &'static [&'static str],
    /// Paths (prefixes) where it is allowed.
    allowed: &'static [&'static str],
    /// What to do instead.
    instead: &'static str,
}

const RULES: &[Rule] = &[
    Rule {
        words: &["std::fs", "tokio::fs", "File::open(", "File::create(", "OpenOptions::new("],
        allowed: &["crates/env/src/real"],
        instead: "files are handed in: use env::Files",
    },
    Rule {
        words: &["SystemTime", "std::time…Instant", "Timestamp::now", "Zoned::now"],
        allowed: &["crates/env/src/real"],
        instead: "time is handed in: use env::Clock",
    },
    Rule {
        words: &["unsafe {", "unsafe fn", "unsafe impl", "allow(unsafe_code"],
        allowed: &["crates/codec/"],
        instead: "unsafe lives in codec, beside its benchmark and its test",
    },
    Rule {
        words: &["spawn_blocking", "unbounded_channel", "mpsc::channel()", "channel::unbounded"],
        allowed: &[],
        instead: "a fixed pool behind a bounded queue",
    },
    Rule {
        words: &[
            "snap::raw::Decoder",
            "decompress_vec",
            "GzDecoder",
            "ZlibDecoder",
            "DeflateDecoder",
            "flate2::read",
            "flate2::bufread",
            "zstd::",
            "lz4_flex::",
        ],
        allowed: &["crates/codec/src/"],
        instead: "decompression is capped: use codec::inflate",
    },
    Rule {
        words: &["derive(Serialize", "serde::"],
        allowed: &[],
        instead: "wire shapes live in their dialect",
    },
    Rule {
        words: &["todo!(", "unimplemented!(", "dbg!("],
        allowed: &[],
        instead: "finish it or leave it out",
    },
];

/// Complaints about text.
pub(crate) fn check(files: &[TextFile]) -> Vec<String> {
    let mut complaints = Vec::new();
    for file in files {
        complaints.extend(check_places(file));
        if file.path.ends_with(".rs") {
            complaints.extend(check_rust(file, is_product(&file.path) && !is_test_module(files, &file.path)));
        }
        if file.path.ends_with("/Cargo.toml") && file.path.starts_with("crates/") {
            complaints.extend(check_manifest(file));
        }
    }
    complaints
}

/// Paths of one person's machine mean nothing on another.
fn check_places(file: &TextFile) -> Option<String> {
    let places =
        [concat!("/wo", "rk/"), concat!("/tmp/", "weir/"), concat!("/ro", "ot/"), concat!("/ho", "me/")];
    let place = places.into_iter().find(|place| file.text.contains(place))?;
    Some(format!("{}: names {place}, a path of one machine", file.path))
}

fn check_rust(file: &TextFile, product: bool) -> Vec<String> {
    let mut complaints = Vec::new();
    if !file.text.starts_with("//!") {
        complaints.push(format!("{}: does not open with `//!`", file.path));
    }
    let ignored = concat!("#[ign", "ore");
    if file.text.contains(ignored) {
        complaints.push(format!("{}: a test that never runs ({ignored}])", file.path));
    }
    if !product {
        return complaints;
    }
    for (number, line) in code(&file.text) {
        for rule in RULES.iter().filter(|rule| applies(rule, &file.path)) {
            if let Some(word) = rule.words.iter().find(|word| holds(line, word)) {
                complaints.push(format!("{}:{number}: {word}: {}", file.path, rule.instead));
            }
        }
    }
    complaints
}

fn holds(line: &str, word: &str) -> bool {
    let mut rest = line;
    word.split('…').all(|part| match rest.split_once(part) {
        Some((_, after)) => {
            rest = after;
            true
        }
        None => false,
    })
}

fn applies(rule: &Rule, path: &str) -> bool {
    let only_model = rule.words.contains(&"serde::");
    !rule.allowed.iter().any(|place| path.starts_with(place))
        && (!only_model || path.starts_with("crates/model/"))
}

/// Code that ends up in the binary; tests may use what they like.
fn is_product(path: &str) -> bool {
    let development = path.starts_with("crates/xtask/") || path.starts_with("crates/sim/");
    let test = path.ends_with("/tests.rs") || path.contains("/tests/") || path.ends_with("_tests.rs");
    path.starts_with("crates/") && path.contains("/src/") && !development && !test
}

/// Whether the module's parent declares it for tests only.
fn is_test_module(files: &[TextFile], path: &str) -> bool {
    let Some((folder, name)) = path.rsplit_once('/') else { return false };
    let name = name.trim_end_matches(".rs");
    let parents = [format!("{folder}/lib.rs"), format!("{folder}/mod.rs"), format!("{folder}.rs")];
    let declaration = format!("#[cfg(test)]\nmod {name};");
    files.iter().any(|file| parents.contains(&file.path) && file.text.contains(&declaration))
}

/// Numbered lines up to the test module, comments cut off.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let before_tests = text.lines().take_while(|line| !line.trim_start().starts_with("#[cfg(test)]"));
    before_tests.enumerate().map(|(at, line)| (at + 1, line.split("//").next().unwrap_or_default()))
}

/// Lints are set once, for the workspace.
fn check_manifest(file: &TextFile) -> Option<String> {
    let inherits = file.text.contains("[lints]\nworkspace = true");
    let own = file.path == "crates/codec/Cargo.toml" && file.text.contains("[lints.rust]");
    (!inherits && !own).then(|| format!("{}: does not take the workspace's lints", file.path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(path: &str, text: &str) -> usize {
        check(&[TextFile { path: path.to_owned(), text: text.to_owned() }]).len()
    }

    #[test]
    fn what_is_found_and_where() {
        let clock = "//! A file.\nuse std::time::{Duration, Instant};\n";
        assert_eq!(complaints("crates/tsdb/src/a.rs", clock), 1);
        assert_eq!(complaints("crates/env/src/real.rs", clock), 0);
        assert_eq!(complaints("crates/server/src/a.rs", "//! A file.\nuse tokio::time::Instant;\n"), 0);
        assert_eq!(
            complaints("crates/tsdb/src/a.rs", "//! A file.\n// std::fs\n#[cfg(test)]\nuse std::fs;\n"),
            0
        );
        assert_eq!(complaints("crates/model/src/a.rs", "//! A file.\nuse serde::Serialize;\n"), 1);
        assert_eq!(complaints("crates/wal/src/a.rs", "use model::Labels;\n"), 1, "does not say what it is");
        assert_eq!(complaints("README.md", concat!("in /wo", "rk/x")), 1);
    }
}
