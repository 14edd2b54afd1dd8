//! A file system of our own: in a file, on a loop device, to be cut off, or of a fixed size, to be filled.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::run;

/// Bytes of the image; xfs takes no less than 300 MiB.
const IMAGE_BYTES: u64 = 320 << 20;

/// A kind of file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileSystem {
    /// ext4, data=ordered.
    Ext4,
    /// xfs.
    Xfs,
    /// Memory, of so many bytes.
    Memory(u64),
}

impl FileSystem {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
            Self::Memory(_) => "tmpfs",
        }
    }
}

/// A mounted file system; unmounted when dropped.
#[derive(Debug)]
pub struct Mount {
    kind: FileSystem,
    image: PathBuf,
    /// Where it is mounted.
    pub root: PathBuf,
}

impl Mount {
    /// Why this machine cannot do it, if it cannot.
    pub fn obstacle(kind: FileSystem) -> Option<String> {
        let root =
            Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0");
        if !root {
            return Some("mounting needs root".to_owned());
        }
        let programs: &[&str] = match kind {
            FileSystem::Ext4 => &["mkfs.ext4", "xfs_io"],
            FileSystem::Xfs => &["mkfs.xfs", "xfs_io"],
            FileSystem::Memory(_) => &["mount"],
        };
        if let Some(program) = programs.iter().find(|program| !run::exists(program)) {
            return Some(format!("{program} is not installed"));
        }
        let scratch = tempfile::tempdir().ok()?;
        Self::create(kind, scratch.path()).err().map(|error| format!("no such mount here: {error:#}"))
    }

    /// Makes a file system and mounts it at `mnt` in a directory.
    pub fn create(kind: FileSystem, directory: &Path) -> Result<Self> {
        let mount = Self { kind, image: directory.join("image"), root: directory.join("mnt") };
        fs::create_dir_all(&mount.root)?;
        if !matches!(kind, FileSystem::Memory(_)) {
            File::create(&mount.image)?.set_len(IMAGE_BYTES)?;
            let make = format!("mkfs.{}", kind.name());
            // Both refuse to overwrite without being told; both are told to be quiet.
            quiet(
                Command::new(make)
                    .arg("-q")
                    .arg(if kind == FileSystem::Xfs { "-f" } else { "-F" })
                    .arg(&mount.image),
            )?;
        }
        mount.attach()?;
        Ok(mount)
    }

    fn attach(&self) -> Result<()> {
        let mut command = Command::new("mount");
        match self.kind {
            FileSystem::Memory(bytes) => {
                command.args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"])
            }
            _ => command.args(["-o", "loop"]).arg(&self.image),
        };
        quiet(command.arg(&self.root))
    }

    fn detach(&self) -> Result<()> {
        let start = Instant::now();
        loop {
            match quiet(Command::new("umount").arg(&self.root)) {
                Ok(()) => return Ok(()),
                // Busy for a moment longer than the process that used it lived.
                Err(_) if start.elapsed() < Duration::from_secs(10) => {
                    std::thread::sleep(Duration::from_millis(20))
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Cuts the power: from now on the file system writes nothing any more, not even what it has in its journal.
    pub fn cut(&self) -> Result<()> {
        quiet(Command::new("xfs_io").args(["-x", "-c", "shutdown"]).arg(&self.root))
    }

    /// Comes back after a cut, as after a boot: the journal is replayed, what was not synced is gone.
    pub fn reboot(&self) -> Result<()> {
        self.detach()?;
        self.attach()
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = self.detach();
    }
}

/// Runs a command; what it printed is told when it fails.
fn quiet(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("run {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {} {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// The cut is a cut: without this, a rig that finds no loss proves nothing.
    #[test]
    fn a_cut_keeps_what_was_synced_and_nothing_else() {
        for kind in [FileSystem::Ext4, FileSystem::Xfs] {
            if let Some(obstacle) = Mount::obstacle(kind) {
                crate::test::skipped("a_cut_keeps_what_was_synced_and_nothing_else", &obstacle);
                continue;
            }
            let directory = tempfile::tempdir().expect("a directory");
            let mount = Mount::create(kind, directory.path()).expect("a mount");
            let path = mount.root.join("file");
            let mut file = File::create(&path).expect("a file");
            file.write_all(b"synced").expect("room");
            file.sync_data().expect("synced");
            File::open(&mount.root).and_then(|folder| folder.sync_all()).expect("directory synced");
            file.write_all(b", not synced").expect("room");
            mount.cut().expect("cut");
            assert!(file.sync_data().is_err(), "{}: nothing is written any more", kind.name());
            drop(file);
            mount.reboot().expect("remounted");
            assert_eq!(fs::read(&path).expect("the file"), b"synced", "{}", kind.name());
        }
    }
}
