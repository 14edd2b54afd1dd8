//! The checkout: its root, its crates, its text files.
//!
//! Files are found by walking, not by asking git, so that the checks also see what is not committed yet and work on an
//! unpacked archive. Build output, dependencies and data directories are not walked into.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The checkout.
#[derive(Debug)]
pub struct Repo {
    /// Its root directory.
    pub root: PathBuf,
}

/// A text file of the checkout.
#[derive(Debug)]
pub struct TextFile {
    /// Path from the root, with `/`.
    pub path: String,
    /// Content.
    pub text: String,
}

impl Repo {
    /// The checkout that this tool was built from.
    pub fn here() -> Self {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = manifest.ancestors().nth(2).unwrap_or(manifest).to_path_buf();
        Self { root }
    }

    /// A file's content, `None` when it does not exist.
    pub fn read(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.root.join(path)).ok()
    }

    /// Whether a path exists.
    pub fn has(&self, path: &str) -> bool {
        self.root.join(path).exists()
    }

    /// Names of the folders in a directory, sorted.
    pub fn folders(&self, path: &str) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.root.join(path)).with_context(|| format!("list {path}"))? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                names.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    /// Every text file (UTF-8, up to 2 MiB), sorted by path.
    pub fn text_files(&self) -> Result<Vec<TextFile>> {
        let mut files = Vec::new();
        let mut pending = vec![self.root.clone()];
        while let Some(directory) = pending.pop() {
            for entry in fs::read_dir(&directory)? {
                let entry = entry?;
                let name = entry.file_name().to_string_lossy().into_owned();
                let kind = entry.file_type()?;
                if kind.is_dir() && is_source_folder(&name) {
                    pending.push(entry.path());
                } else if kind.is_file() && entry.metadata()?.len() <= 2 << 20 {
                    files.extend(self.text_file(&entry.path()));
                }
            }
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(files)
    }

    fn text_file(&self, path: &Path) -> Option<TextFile> {
        let text = fs::read_to_string(path).ok()?;
        let path = path.strip_prefix(&self.root).ok()?.to_string_lossy().replace('\\', "/");
        Some(TextFile { path, text })
    }
}

fn is_source_folder(name: &str) -> bool {
    let built = name == "target" || name.starts_with("target-");
    let foreign = matches!(name, ".git" | ".venv" | "node_modules" | "weir-data" | "corpus" | "artifacts");
    !built && !foreign
}
