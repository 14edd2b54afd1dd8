//! Documents name what exists, and what exists is named: the map in ARCHITECTURE.md, the dialects' folders, the
//! commands of the README.

use std::collections::BTreeSet;

use anyhow::Result;

use crate::repo::{Repo, TextFile};

/// Commands of the README and docs, and the test that runs each. A command without a line here is a complaint, and so
/// is a line whose test does not exist.
const COMMANDS: &[(&str, &str)] = &[
    ("cargo run --release", "fn e2e_readme_lines_work_when_pasted"),
    ("cargo xtask test", "fn the_test_command_knows_what_it_needs"),
    ("curl ", "fn e2e_readme_lines_work_when_pasted"),
    ("weir ", "fn the_backup_page_works_when_pasted"),
    ("weir check metrics", "fn the_page_about_pages_works_when_pasted"),
    ("cp -r weir-data", "fn the_backup_page_works_when_pasted"),
];

/// Complaints about names.
pub(crate) fn check(repo: &Repo, files: &[TextFile]) -> Result<Vec<String>> {
    let mut complaints = check_architecture(repo)?;
    complaints.extend(check_dialects(repo)?);
    complaints.extend(check_commands(files));
    Ok(complaints)
}

fn check_architecture(repo: &Repo) -> Result<Vec<String>> {
    let Some(text) = repo.read("ARCHITECTURE.md") else {
        return Ok(vec!["ARCHITECTURE.md is missing".to_owned()]);
    };
    let mut complaints = Vec::new();
    let named: BTreeSet<&str> = text.split('`').skip(1).step_by(2).collect();
    for folder in repo.folders("crates")? {
        if !named.iter().any(|name| names_crate(name, &folder)) {
            complaints.push(format!("ARCHITECTURE.md does not name the crate {folder}"));
        }
    }
    for name in named {
        if looks_like_path(name) && !repo.has(name) && !repo.has(&format!("crates/{name}")) {
            complaints.push(format!("ARCHITECTURE.md names {name}, which does not exist"));
        }
    }
    Ok(complaints)
}

fn names_crate(name: &str, folder: &str) -> bool {
    let name = name.strip_prefix("crates/").unwrap_or(name);
    name.split(['/', ':']).next() == Some(folder)
}

/// A relative path: no route, no URL, no pattern, no sentence.
fn looks_like_path(name: &str) -> bool {
    let file = [".rs", ".md", ".toml", ".yaml", ".sh"].iter().any(|ending| name.ends_with(ending));
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || "._-/".contains(c));
    plain && !name.starts_with(['/', '.', '-']) && (file && name.contains('/') || name.starts_with("crates/"))
}

/// Folders beside the dialects whose protocols have no requests with answers: two that other servers read by, one that Weir
/// reads by, and one of datagrams, which have listeners of their own.
const NOT_ASKED: &[&str] =
    &["exposition", "json", "outgoing", "remote_read", "scraped", "signalfx", "statsd"];

/// A dialect is its folder and its line in the registry.
fn check_dialects(repo: &Repo) -> Result<Vec<String>> {
    let registry = repo.read("crates/dialects/src/lib.rs").unwrap_or_default();
    let all =
        registry.split("pub static ALL").nth(1).and_then(|rest| rest.split(';').next()).unwrap_or_default();
    let mut complaints = Vec::new();
    let folders = repo.folders("crates/dialects/src")?;
    for folder in folders.iter().filter(|folder| !NOT_ASKED.contains(&folder.as_str())) {
        if !all.contains(&format!("{folder}::")) {
            complaints.push(format!("crates/dialects/src/{folder} is not in dialects::ALL"));
        }
        if !repo.has(&format!("crates/dialects/src/{folder}/cases")) {
            complaints.push(format!("crates/dialects/src/{folder} has no cases/"));
        }
    }
    Ok(complaints)
}

fn check_commands(files: &[TextFile]) -> Vec<String> {
    let documents = files.iter().filter(|file| file.path == "README.md" || file.path.starts_with("docs/"));
    let mut complaints = Vec::new();
    for document in documents {
        for line in commands(&document.text) {
            if !COMMANDS.iter().any(|(start, _)| line.starts_with(start)) {
                complaints.push(format!("{}: no test runs `{line}`", document.path));
            }
        }
    }
    let tests = |name: &str| files.iter().any(|file| file.path.ends_with(".rs") && file.text.contains(name));
    for (command, test) in COMMANDS {
        if !tests(&format!("{test}(")) {
            complaints.push(format!("the test of `{command}` is missing: {test}"));
        }
    }
    complaints
}

/// First lines of the commands in a document's `sh` blocks.
fn commands(text: &str) -> Vec<&str> {
    let mut commands = Vec::new();
    let mut shell = false;
    // Behind a backslash, or in quotes.
    let mut continued = false;
    let mut quoted = false;
    for line in text.lines() {
        if line.starts_with("```") {
            shell = line == "```sh";
            (continued, quoted) = (false, false);
        } else if shell && !line.trim().is_empty() && !line.trim_start().starts_with('#') {
            if !continued && !quoted {
                commands.push(line.trim());
            }
            continued = line.ends_with('\\');
            quoted ^= line.matches('\'').count() % 2 == 1;
        }
    }
    commands
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_of_a_document() {
        let text = "```sh\n# why\ncurl a \\\n  -d 'b\n  c'\n\ncargo run  # serves\n```\n```yaml\nx: y\n```\n";
        assert_eq!(commands(text), ["curl a \\", "cargo run  # serves"]);
    }

    #[test]
    fn paths_of_a_document() {
        assert!(looks_like_path("server/src/ingest.rs"));
        assert!(looks_like_path("crates/wal"));
        for other in ["/api/v1/write", "select(&Matchers)", "GET /", "weir.yaml", "a b.rs"] {
            assert!(!looks_like_path(other), "{other}");
        }
    }
}
