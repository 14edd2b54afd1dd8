//! What happens to disks: bits flip, sectors turn to garbage, files are cut, vanish, or change places.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::Life;

impl Life {
    /// Stops the store in some way, damages the disk, and starts it again: it must start, and serve no wrong value.
    pub(super) fn damage_and_restart(&mut self) -> Result<()> {
        self.commit()?;
        if self.rng.chance(1, 2) {
            self.maintain()?;
        }
        // Loss is a matter of this damage from here on, not of an earlier one that was reported already.
        if !self.damaged {
            self.verify_all()?;
        }
        self.stop();
        self.disk.kill();
        let mut done = Vec::new();
        for _ in 0..1 + self.rng.index(2) {
            done.extend(self.damage()?);
        }
        self.tally.damages += done.len() as u64;
        self.reopen_damaged().with_context(|| format!("after damage: {}", done.join(", ")))
    }

    fn reopen_damaged(&mut self) -> Result<()> {
        self.open_once()?;
        self.verify(0)?;
        self.verify(1)?;
        self.damage_is_noticeable = false;
        self.stop();
        self.disk.kill();
        self.open_once().context("second start")?;
        self.verify_all()
    }

    /// Damages one file; says what was done.
    fn damage(&mut self) -> Result<Option<String>> {
        let mut paths: Vec<PathBuf> = self.disk.paths();
        let wanted = *self.rng.pick(&[in_blocks, in_blocks, is_manifest, |_: &Path| true]);
        if paths.iter().any(|path| wanted(path)) {
            paths.retain(|path| wanted(path));
        }
        let Some(path) = (!paths.is_empty()).then(|| self.rng.pick(&paths).clone()) else { return Ok(None) };
        let length = self.disk.content(&path)?.len();
        if length == 0 {
            return Ok(None);
        }
        let at = self.rng.index(length);
        let what = match self.rng.below(10) {
            0..4 => {
                let bit = at * 8 + self.rng.index(8);
                self.disk.flip_bit(&path, bit)?;
                format!("bit {bit} of {} flipped", path.display())
            }
            4 => {
                let mut garbage = vec![0; 1 + self.rng.index(600)];
                self.rng.fill(&mut garbage);
                self.disk.damage(&path, |bytes| {
                    let end = (at + garbage.len()).min(bytes.len());
                    bytes[at..end].copy_from_slice(&garbage[..end - at]);
                })?;
                format!("garbage at {at} of {}", path.display())
            }
            5 => {
                self.disk.damage(&path, |bytes| bytes.truncate(at))?;
                format!("{} cut to {at} of {length} bytes", path.display())
            }
            6 => {
                self.disk.damage(&path, Vec::clear)?;
                format!("{} emptied", path.display())
            }
            7 => {
                self.disk.spoil_sector(&path, at as u64)?;
                format!("sector at {at} of {} unreadable", path.display())
            }
            8 => {
                self.disk.lose(&path)?;
                format!("{} lost", path.display())
            }
            _ => {
                let other = self.rng.pick(&paths).clone();
                self.disk.swap(&path, &other)?;
                format!("{} and {} exchanged", path.display(), other.display())
            }
        };
        // One manifest has a twin: losing one alone must cost nothing.
        let harmless = is_manifest(&path) && !what.ends_with("exchanged") && !self.struck;
        self.struck = true;
        if !harmless {
            self.damage_is_noticeable &= !self.damaged && in_blocks(&path);
            self.damaged = true;
        }
        Ok(Some(what))
    }
}

fn is_manifest(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("manifest"))
}

/// Whether a file is one of those whose damage the store cannot mistake for a crash: the tail of a log may be torn, and
/// a lost manifest has a predecessor.
fn in_blocks(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == "blocks")
}
