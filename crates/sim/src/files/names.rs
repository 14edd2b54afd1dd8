//! The directory tree: which names reads see, which a power cut cannot take, and the changes between.
//!
//! Creating, renaming and removing are changes of a directory, durable once that directory is synced. At a crash each
//! pending change has happened or not, in any subset; a rename is one change, so a file is never under neither name.
//! A directory's own name is a change of its parent like any other: without it everything inside is gone.

use std::collections::BTreeMap;
use std::io;
use std::path::{Component, Path, PathBuf};

use crate::random::Rng;

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// A file's number.
    File(usize),
    /// A directory's number.
    Directory(usize),
}

impl Entry {
    fn file(&self) -> Option<usize> {
        match self {
            Entry::File(file) => Some(*file),
            Entry::Directory(_) => None,
        }
    }
}

#[derive(Clone, Debug, Default)]
struct Directory {
    current: BTreeMap<String, Entry>,
    durable: BTreeMap<String, Entry>,
}

/// A place where a name stands.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    directory: usize,
    name: String,
}

#[derive(Clone, Debug)]
enum Change {
    Link { at: Place, entry: Entry },
    Unlink { at: Place, entry: Entry },
    Rename { from: Place, to: Place, entry: Entry },
}

impl Change {
    fn touches(&self, directory: usize) -> bool {
        match self {
            Change::Link { at, .. } | Change::Unlink { at, .. } => at.directory == directory,
            Change::Rename { from, to, .. } => from.directory == directory || to.directory == directory,
        }
    }

    /// The other directory of a rename that touches `directory`.
    fn other(&self, directory: usize) -> Option<usize> {
        match self {
            Change::Rename { from, to, .. } if from.directory == directory => Some(to.directory),
            Change::Rename { from, to, .. } if to.directory == directory => Some(from.directory),
            _ => None,
        }
    }

    /// Applies it to the durable names; it says nothing about a name that meanwhile stands for something else.
    fn apply(&self, directories: &mut [Directory]) {
        let mut unlink = |at: &Place, entry: Entry| {
            let names = &mut directories[at.directory].durable;
            if names.get(&at.name) == Some(&entry) {
                names.remove(&at.name);
            }
        };
        match self {
            Change::Link { .. } => {}
            Change::Unlink { at, entry } => unlink(at, *entry),
            Change::Rename { from, entry, .. } => unlink(from, *entry),
        }
        if let Change::Link { at, entry } | Change::Rename { to: at, entry, .. } = self {
            directories[at.directory].durable.insert(at.name.clone(), *entry);
        }
    }
}

/// The tree.
#[derive(Clone, Debug)]
pub(super) struct Names {
    directories: Vec<Directory>,
    pending: Vec<Change>,
}

impl Names {
    /// A tree with a root only.
    pub(super) fn new() -> Self {
        Self { directories: vec![Directory::default()], pending: Vec::new() }
    }

    /// What stands at `path`, if anything.
    pub(super) fn find(&self, path: &Path) -> io::Result<Option<Entry>> {
        let mut entry = Some(Entry::Directory(0));
        for part in parts(path)? {
            entry = match entry {
                Some(Entry::Directory(directory)) => self.directories[directory].current.get(part).copied(),
                _ => None,
            };
        }
        Ok(entry)
    }

    /// The file at `path`.
    pub(super) fn file(&self, path: &Path) -> io::Result<usize> {
        match self.find(path)? {
            Some(Entry::File(file)) => Ok(file),
            Some(Entry::Directory(_)) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// The directory at `path`.
    pub(super) fn directory(&self, path: &Path) -> io::Result<usize> {
        match self.find(path)? {
            Some(Entry::Directory(directory)) => Ok(directory),
            Some(Entry::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Names in a directory, sorted.
    pub(super) fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        Ok(self.directories[self.directory(path)?].current.keys().cloned().collect())
    }

    /// Whether a file could be linked at `path`: its directory is there and the name is free.
    pub(super) fn check_free(&self, path: &Path) -> io::Result<()> {
        let place = self.place(path)?;
        match self.directories[place.directory].current.contains_key(&place.name) {
            true => Err(io::ErrorKind::AlreadyExists.into()),
            false => Ok(()),
        }
    }

    /// Gives a file a name.
    pub(super) fn link(&mut self, path: &Path, file: usize) -> io::Result<()> {
        self.check_free(path)?;
        let at = self.place(path)?;
        self.insert(at, Entry::File(file));
        Ok(())
    }

    fn insert(&mut self, at: Place, entry: Entry) {
        self.directories[at.directory].current.insert(at.name.clone(), entry);
        self.pending.push(Change::Link { at, entry });
    }

    /// Removes a file's name.
    pub(super) fn unlink(&mut self, path: &Path) -> io::Result<usize> {
        let file = self.file(path)?;
        let at = self.place(path)?;
        self.directories[at.directory].current.remove(&at.name);
        self.pending.push(Change::Unlink { at, entry: Entry::File(file) });
        Ok(file)
    }

    /// Removes an empty directory.
    pub(super) fn remove_directory(&mut self, path: &Path) -> io::Result<()> {
        let directory = self.directory(path)?;
        if !self.directories[directory].current.is_empty() {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        let at = self.place(path)?;
        self.directories[at.directory].current.remove(&at.name);
        self.pending.push(Change::Unlink { at, entry: Entry::Directory(directory) });
        Ok(())
    }

    /// Moves a file to another name, which it takes over.
    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let entry = self.find(from)?.ok_or(io::ErrorKind::NotFound)?;
        let (from, to) = (self.place(from)?, self.place(to)?);
        let target = self.directories[to.directory].current.get(&to.name);
        if matches!((entry, target), (Entry::Directory(_), Some(_)) | (_, Some(Entry::Directory(_)))) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if from != to {
            self.directories[from.directory].current.remove(&from.name);
            self.directories[to.directory].current.insert(to.name.clone(), entry);
            self.pending.push(Change::Rename { from, to, entry });
        }
        Ok(())
    }

    /// Creates a directory and its parents.
    pub(super) fn create_directory(&mut self, path: &Path) -> io::Result<()> {
        let mut at = 0;
        for part in parts(path)? {
            at = match self.directories[at].current.get(part) {
                Some(Entry::Directory(directory)) => *directory,
                Some(Entry::File(_)) => return Err(io::ErrorKind::NotADirectory.into()),
                None => {
                    self.directories.push(Directory::default());
                    let new = self.directories.len() - 1;
                    self.insert(Place { directory: at, name: part.to_owned() }, Entry::Directory(new));
                    new
                }
            };
        }
        Ok(())
    }

    /// Makes a directory's names durable. A rename that leads to another directory takes that one along, as the one
    /// journal of a file system does.
    pub(super) fn sync(&mut self, directory: usize) {
        let mut synced = vec![directory];
        let mut next = 0;
        while let Some(directory) = synced.get(next).copied() {
            for other in self.pending.iter().filter_map(|change| change.other(directory)) {
                if !synced.contains(&other) {
                    synced.push(other);
                }
            }
            next += 1;
        }
        for change in std::mem::take(&mut self.pending) {
            if synced.iter().any(|directory| change.touches(*directory)) {
                change.apply(&mut self.directories);
            } else {
                self.pending.push(change);
            }
        }
    }

    /// The power goes: a subset of the pending changes has happened.
    pub(super) fn crash(&mut self, rng: &mut Rng) {
        let pending = std::mem::take(&mut self.pending);
        let style = rng.below(4);
        let prefix = rng.index(pending.len() + 1);
        for (i, change) in pending.iter().enumerate() {
            let happened = match style {
                0 => false,
                1 => true,
                2 => i < prefix,
                _ => rng.chance(1, 2),
            };
            if happened {
                change.apply(&mut self.directories);
            }
        }
        for directory in &mut self.directories {
            directory.current.clone_from(&directory.durable);
        }
    }

    /// Damage from outside: a name is gone for good.
    pub(super) fn forget(&mut self, path: &Path) -> io::Result<()> {
        self.file(path)?;
        let at = self.place(path)?;
        let directory = &mut self.directories[at.directory];
        directory.current.remove(&at.name);
        directory.durable.remove(&at.name);
        Ok(())
    }

    /// All files, sorted by path.
    pub(super) fn files(&self) -> Vec<(PathBuf, usize)> {
        let mut files = Vec::new();
        self.walk(0, Path::new("/"), &mut files);
        files.sort();
        files
    }

    /// Numbers of the files that have a name now.
    pub(super) fn numbers(&self) -> impl Iterator<Item = usize> + '_ {
        self.directories.iter().flat_map(|directory| directory.current.values()).filter_map(Entry::file)
    }

    /// Numbers of the files that have a name, durable or not, or may get one back.
    pub(super) fn reachable(&self) -> impl Iterator<Item = usize> + '_ {
        let pending = self.pending.iter().map(|change| match change {
            Change::Link { entry, .. } | Change::Unlink { entry, .. } | Change::Rename { entry, .. } => entry,
        });
        let durable = self.directories.iter().flat_map(|directory| directory.durable.values());
        self.numbers().chain(durable.chain(pending).filter_map(Entry::file))
    }

    fn walk(&self, directory: usize, path: &Path, files: &mut Vec<(PathBuf, usize)>) {
        for (name, entry) in &self.directories[directory].current {
            match entry {
                Entry::File(file) => files.push((path.join(name), *file)),
                Entry::Directory(inner) => self.walk(*inner, &path.join(name), files),
            }
        }
    }

    fn place(&self, path: &Path) -> io::Result<Place> {
        let name = parts(path)?.pop().ok_or(io::ErrorKind::InvalidInput)?;
        let directory = self.directory(path.parent().unwrap_or(Path::new("")))?;
        Ok(Place { directory, name: name.to_owned() })
    }
}

/// A path's names from the root; `/a` and `a` are the same, there is no way up.
fn parts(path: &Path) -> io::Result<Vec<&str>> {
    let mut parts = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(part) => parts.push(part.to_str().ok_or(io::ErrorKind::InvalidInput)?),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => return Err(io::ErrorKind::InvalidInput.into()),
        }
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In how many of 200 crashes `holds` is true afterwards.
    fn times(prepare: impl Fn(&mut Names), holds: impl Fn(&Names) -> bool) -> usize {
        (0..200)
            .filter(|seed| {
                let mut names = Names::new();
                prepare(&mut names);
                names.crash(&mut Rng::new(*seed));
                holds(&names)
            })
            .count()
    }

    fn file(names: &Names, path: &str) -> Option<usize> {
        names.file(Path::new(path)).ok()
    }

    #[test]
    fn a_name_is_safe_once_its_directory_is_synced() {
        let create = |names: &mut Names| names.link(Path::new("a"), 1).unwrap();
        assert!((50..150).contains(&times(create, |names| file(names, "a").is_some())));
        let create_and_sync = |names: &mut Names| {
            create(names);
            names.sync(0);
        };
        assert_eq!(times(create_and_sync, |names| file(names, "a") == Some(1)), 200);
    }

    #[test]
    fn an_unsynced_rename_is_old_or_new_and_never_neither() {
        let prepare = |names: &mut Names| {
            names.link(Path::new("m"), 1).unwrap();
            names.link(Path::new("m.tmp"), 2).unwrap();
            names.sync(0);
            names.rename(Path::new("m.tmp"), Path::new("m")).unwrap();
        };
        let old = times(prepare, |names| (file(names, "m"), file(names, "m.tmp")) == (Some(1), Some(2)));
        let new = times(prepare, |names| (file(names, "m"), file(names, "m.tmp")) == (Some(2), None));
        assert!(old > 50 && new > 50 && old + new == 200, "{old} {new}");
    }

    #[test]
    fn a_directory_needs_its_parent_synced() {
        let prepare = |sync_parent: bool| {
            move |names: &mut Names| {
                names.create_directory(Path::new("/data/wal")).unwrap();
                names.link(Path::new("/data/wal/1"), 1).unwrap();
                names.sync(names.directory(Path::new("/data/wal")).unwrap());
                if sync_parent {
                    names.sync(names.directory(Path::new("/data")).unwrap());
                    names.sync(0);
                }
            }
        };
        assert!(times(prepare(false), |names| file(names, "/data/wal/1").is_some()) < 150);
        assert_eq!(times(prepare(true), |names| file(names, "/data/wal/1").is_some()), 200);
    }

    #[test]
    fn a_removal_may_be_undone_until_it_is_synced() {
        let prepare = |names: &mut Names| {
            names.link(Path::new("a"), 1).unwrap();
            names.sync(0);
            names.unlink(Path::new("a")).unwrap();
        };
        assert!((50..150).contains(&times(prepare, |names| file(names, "a").is_some())));
    }

    #[test]
    fn a_second_name_keeps_a_file_whose_first_is_removed() {
        let prepare = |names: &mut Names| {
            names.link(Path::new("a"), 1).unwrap();
            names.create_directory(Path::new("q")).unwrap();
            names.sync(0);
            names.link(Path::new("q/a"), names.file(Path::new("a")).unwrap()).unwrap();
            names.sync(names.directory(Path::new("q")).unwrap());
            names.unlink(Path::new("a")).unwrap();
        };
        assert_eq!(times(prepare, |names| file(names, "q/a") == Some(1)), 200);
        assert!((50..150).contains(&times(prepare, |names| file(names, "a").is_some())));
    }

    #[test]
    fn only_an_empty_directory_is_removed() {
        let mut names = Names::new();
        names.create_directory(Path::new("q")).unwrap();
        names.link(Path::new("q/a"), 1).unwrap();
        let refused = names.remove_directory(Path::new("q")).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::DirectoryNotEmpty);
        names.unlink(Path::new("q/a")).unwrap();
        names.remove_directory(Path::new("q")).unwrap();
        assert!(names.find(Path::new("q")).unwrap().is_none());
    }

    #[test]
    fn a_rename_between_directories_moves_once() {
        let prepare = |names: &mut Names| {
            names.create_directory(Path::new("q")).unwrap();
            names.link(Path::new("a"), 1).unwrap();
            names.sync(0);
            names.rename(Path::new("a"), Path::new("q/a")).unwrap();
        };
        assert_eq!(times(prepare, |names| file(names, "a").is_some() != file(names, "q/a").is_some()), 200);
    }
}
