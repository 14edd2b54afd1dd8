//! `file_sd_configs`: targets that stand in files, JSON or YAML, which somebody else writes.
//!
//! Files are looked at every few seconds and read when they have changed. One that cannot be read keeps the groups that it
//! had: it may be half written. One that is gone takes them along.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use env::Files;
use env::real::{self, Stamp};
use tokio::sync::watch;

use super::fixed::group_of;
use super::{Counts, TargetGroup, pause, tell};
use crate::config::{FileDiscovery, StaticGroup};

/// Time between two looks.
const LOOK: Duration = Duration::from_secs(3);

/// 100,000 targets take some 10 MiB.
const BYTES_MAX: u64 = 32 << 20;

/// The label that says in which file a target stands.
const FILE_PATH: &str = "__meta_filepath";

/// Files that are looked at.
#[derive(Debug)]
pub(super) struct File {
    patterns: Vec<String>,
    refresh: Duration,
    known: BTreeMap<PathBuf, Known>,
}

/// What is known of a file.
#[derive(Debug)]
struct Known {
    stamp: Option<Stamp>,
    groups: Vec<TargetGroup>,
}

/// Why a file says nothing.
#[derive(Debug, thiserror::Error)]
enum Unreadable {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("{0}")]
    Text(String),
}

impl File {
    pub(super) fn new(config: &FileDiscovery) -> Self {
        Self { patterns: config.files.clone(), refresh: config.refresh_interval, known: BTreeMap::new() }
    }

    pub(super) fn place(&self) -> String {
        format!("file {:?}", self.patterns)
    }

    pub(super) async fn run(mut self, sink: &watch::Sender<Vec<TargetGroup>>, counts: &Counts) {
        let mut last = None;
        for group in sink.borrow().iter() {
            let Some(path) = group.labels.get(FILE_PATH) else { continue };
            let known = self.known.entry(path.into()).or_insert(Known { stamp: None, groups: Vec::new() });
            known.groups.push(group.clone());
        }
        let mut until_refresh = Duration::ZERO;
        let look = LOOK.min(self.refresh);
        loop {
            // A change that leaves no trace in a file's stamp is seen at the refresh.
            if until_refresh.is_zero() {
                self.known.values_mut().for_each(|known| known.stamp = None);
                counts.refresh();
                until_refresh = self.refresh;
            }
            self.look(counts);
            tell(
                sink,
                &mut last,
                counts,
                "file",
                self.known.values().flat_map(|known| known.groups.clone()).collect(),
            );
            if pause(sink, look).await.is_none() {
                return;
            }
            until_refresh = until_refresh.saturating_sub(look);
        }
    }

    /// Reads what has changed, forgets what is gone.
    fn look(&mut self, counts: &Counts) {
        let mut there = BTreeMap::new();
        for pattern in &self.patterns {
            match files_named(pattern) {
                Ok(paths) => there.extend(paths.into_iter().map(|path| (path, ()))),
                Err(error) => counts.failure("file", pattern, &error),
            }
        }
        self.known.retain(|path, _| there.contains_key(path));
        for path in there.into_keys() {
            let stamp = real::stamp(&path).ok();
            let known = self.known.entry(path.clone()).or_insert(Known { stamp: None, groups: Vec::new() });
            if stamp.is_some() && known.stamp == stamp {
                continue;
            }
            // Also one that cannot be read is not read again before it changes.
            known.stamp = stamp;
            match read(&path) {
                Ok(groups) => known.groups = groups,
                Err(error) => counts.failure("file", &path.display().to_string(), &error),
            }
        }
    }
}

/// The files that a pattern names: the last part of a path may hold stars.
pub fn files_named(pattern: &str) -> io::Result<Vec<PathBuf>> {
    let path = Path::new(pattern);
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if !name.contains('*') {
        return Ok(if real::OsFiles.exists(path)? { vec![path.to_owned()] } else { Vec::new() });
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    match real::OsFiles.list(folder.unwrap_or(Path::new("."))) {
        Ok(names) => Ok(names
            .into_iter()
            // As in a shell, a star is no hidden file.
            .filter(|found| matches(name, found) && (name.starts_with('.') || !found.starts_with('.')))
            .map(|found| path.with_file_name(found))
            .collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Whether a name matches a pattern in which stars are any text.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((start, mut rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut name) = name.strip_prefix(start) else { return false };
    while let Some((middle, behind)) = rest.split_once('*') {
        let Some(at) = name.find(middle) else { return false };
        name = &name[at + middle.len()..];
        rest = behind;
    }
    name.ends_with(rest)
}

fn read(path: &Path) -> Result<Vec<TargetGroup>, Unreadable> {
    let bytes = real::read_given(path, BYTES_MAX)?;
    let text = String::from_utf8(bytes).map_err(|error| Unreadable::Text(error.to_string()))?;
    let is_json = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("json"));
    let groups: Vec<StaticGroup> = if is_json {
        super::http::groups(&text).map_err(Unreadable::Text)?
    } else if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        Vec::new()
    } else {
        serde_saphyr::from_str(&text)
            .map_err(|error| Unreadable::Text(error.without_snippet().to_string()))?
    };
    let file = path.display().to_string();
    let group = |(at, group)| {
        let mut group = group_of(group, format!("{file}:{at}"));
        group.labels.insert(FILE_PATH.to_owned(), file.clone());
        group
    };
    Ok(groups.into_iter().enumerate().map(group).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_are_any_text() {
        for (pattern, name, expected) in [
            ("a.json", "a.json", true),
            ("*.json", "a.json", true),
            ("*.json", ".json", true),
            ("*.json", "a.yml", false),
            ("t-*.json", "t-1.json", true),
            ("t-*.json", "t.json", false),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "ac", false),
            ("a*a", "a", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}
