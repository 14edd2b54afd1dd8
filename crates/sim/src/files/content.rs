//! What one file holds: the bytes that reads see, the bytes that a power cut cannot take, and the changes between.
//!
//! The page cache writes a page back at any moment or never, and the disk writes 512-byte sectors. So after a crash
//! each 4 KiB page shows the state after some number of its changes, or, torn, each of its sectors does; the length
//! is any that the file had since the last sync. Whatever was synced and not changed since is exact.

use std::collections::{BTreeMap, BTreeSet};

use crate::random::Rng;

const PAGE: usize = 4096;
const SECTOR: usize = 512;

/// A change that no sync has covered yet.
#[derive(Clone, Debug)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Length(usize),
}

/// One file's bytes, both kinds.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    current: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Change>,
    /// Offsets of pages of which the disk gives no byte any more.
    spoiled: BTreeSet<usize>,
    /// Whether a sync failed in this life of the process: what a later one says is worth nothing.
    pub(super) poisoned: bool,
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Change::Write { offset, bytes: new } => {
                let end = offset + new.len();
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[*offset..end].copy_from_slice(new);
            }
            Change::Length(length) => bytes.resize(*length, 0),
        }
    }

    /// The length of a file of `length` bytes after this change.
    fn length_after(&self, length: usize) -> usize {
        match self {
            Change::Write { offset, bytes } => length.max(offset + bytes.len()),
            Change::Length(new) => *new,
        }
    }

    /// The bytes that it changes in a file of `length` bytes.
    fn range(&self, length: usize) -> std::ops::Range<usize> {
        match self {
            Change::Write { offset, bytes } => *offset..offset + bytes.len(),
            Change::Length(new) => *new..length.max(*new),
        }
    }

    /// Applies what falls into the page that begins at `start`.
    fn apply_to_page(&self, page: &mut [u8], start: usize, length: usize) {
        let range = self.range(length);
        let (from, to) = (range.start.max(start), range.end.min(start + PAGE));
        if from >= to {
            return;
        }
        let target = &mut page[from - start..to - start];
        match self {
            Change::Write { offset, bytes } => target.copy_from_slice(&bytes[from - offset..to - offset]),
            Change::Length(_) => target.fill(0),
        }
    }
}

impl Content {
    /// What reads see.
    pub(super) fn current(&self) -> &[u8] {
        &self.current
    }

    pub(super) fn write(&mut self, offset: usize, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.change(Change::Write { offset, bytes: bytes.to_vec() });
        }
    }

    pub(super) fn set_length(&mut self, length: usize) {
        if length != self.current.len() {
            self.change(Change::Length(length));
        }
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.current);
        self.pending.push(change);
    }

    /// A sync that worked.
    pub(super) fn sync(&mut self) {
        for change in self.pending.drain(..) {
            change.apply(&mut self.durable);
        }
    }

    /// A sync that failed: some pages reached the disk, the others are marked clean all the same, so that no later
    /// sync writes them. Reads go on showing the lost bytes until the cache drops the pages.
    pub(super) fn lose_dirty_pages(&mut self, rng: &mut Rng) {
        self.durable = self.after_crash(rng, None);
        self.pending.clear();
        if rng.chance(1, 2) {
            self.current.clone_from(&self.durable);
        }
    }

    /// The power goes.
    pub(super) fn crash(&mut self, rng: &mut Rng, junk: Option<&[u8]>) {
        if !self.pending.is_empty() {
            self.durable = self.after_crash(rng, junk);
            self.pending.clear();
        }
        self.current.clone_from(&self.durable);
    }

    /// From now on no read that touches the page at `offset` works.
    pub(super) fn spoil(&mut self, offset: usize) {
        self.spoiled.insert(offset - offset % PAGE);
    }

    /// Whether one of these bytes cannot be read.
    pub(super) fn is_spoiled(&self, range: std::ops::Range<usize>) -> bool {
        !range.is_empty() && self.spoiled.range(range.start - range.start % PAGE..range.end).next().is_some()
    }

    /// Damage from outside: what is on the disk is no longer what was written.
    pub(super) fn damage(&mut self, damage: impl Fn(&mut Vec<u8>)) {
        damage(&mut self.durable);
        damage(&mut self.current);
    }

    fn after_crash(&self, rng: &mut Rng, junk: Option<&[u8]>) -> Vec<u8> {
        let pick = Pick::roll(rng);
        let mut lengths = vec![self.durable.len()];
        for change in &self.pending {
            lengths.push(change.length_after(lengths[lengths.len() - 1]));
        }
        let length = lengths[pick.version(self.pending.len(), rng)];
        let longest = lengths.iter().copied().max().unwrap_or(0).div_ceil(PAGE) * PAGE;
        let mut zeroed = self.durable.clone();
        zeroed.resize(longest, 0);
        let mut result = zeroed.clone();
        if let Some(junk) = junk.filter(|junk| !junk.is_empty()) {
            for (i, byte) in result.iter_mut().enumerate().skip(self.durable.len()) {
                *byte = junk[i % junk.len()];
            }
        }
        for (page, changes) in self.changed_pages(&lengths) {
            let start = page * PAGE;
            let mut versions = vec![result[start..start + PAGE].to_vec()];
            let mut state = zeroed[start..start + PAGE].to_vec();
            for change in changes {
                self.pending[change].apply_to_page(&mut state, start, lengths[change]);
                versions.push(state.clone());
            }
            pick.compose(&versions, &mut result[start..start + PAGE], rng);
        }
        result.truncate(length);
        result
    }

    /// For each page that pending changes touch, which ones do.
    fn changed_pages(&self, lengths: &[usize]) -> BTreeMap<usize, Vec<usize>> {
        let mut pages: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (i, change) in self.pending.iter().enumerate() {
            let range = change.range(lengths[i]);
            for page in range.start / PAGE..range.end.div_ceil(PAGE) {
                pages.entry(page).or_default().push(i);
            }
        }
        pages
    }
}

/// How a crash treats one file's unsynced pages: extremes are as likely as mixtures, because bugs sit there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pick {
    Nothing,
    Everything,
    Pages,
    Sectors,
}

impl Pick {
    fn roll(rng: &mut Rng) -> Self {
        *rng.pick(&[Self::Nothing, Self::Everything, Self::Pages, Self::Sectors])
    }

    /// How many of `changes` have reached the disk.
    fn version(self, changes: usize, rng: &mut Rng) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Everything => changes,
            // Old and new are likelier than between, however many changes there were.
            Self::Pages | Self::Sectors => match rng.below(3) {
                0 => 0,
                1 => changes,
                _ => rng.index(changes + 1),
            },
        }
    }

    fn compose(self, versions: &[Vec<u8>], page: &mut [u8], rng: &mut Rng) {
        if self != Self::Sectors {
            page.copy_from_slice(&versions[self.version(versions.len() - 1, rng)]);
            return;
        }
        for (i, sector) in page.chunks_mut(SECTOR).enumerate() {
            let version = &versions[self.version(versions.len() - 1, rng)];
            sector.copy_from_slice(&version[i * SECTOR..(i + 1) * SECTOR]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Every outcome of `crashes` seeded crashes of the same file.
    fn outcomes(prepare: impl Fn(&mut Content), crashes: u64) -> BTreeSet<Vec<u8>> {
        (0..crashes)
            .map(|seed| {
                let mut content = Content::default();
                prepare(&mut content);
                content.crash(&mut Rng::new(seed), None);
                content.current
            })
            .collect()
    }

    #[test]
    fn synced_bytes_stay_whatever_is_written_beside_them() {
        for after in outcomes(
            |file| {
                file.write(0, &[1; 700]);
                file.sync();
                file.write(700, &[2; 9000]);
            },
            200,
        ) {
            assert!(after.len() >= 700 && after[..700] == [1; 700]);
            assert!(after[700..].iter().all(|b| [0, 2].contains(b)));
        }
    }

    #[test]
    fn an_unsynced_write_is_kept_dropped_or_torn_at_sectors() {
        let all = outcomes(
            |file| {
                file.set_length(2048);
                file.sync();
                file.write(0, &[9; 2048]);
            },
            300,
        );
        assert!(all.contains(&vec![0; 2048]) && all.contains(&vec![9; 2048]));
        assert_eq!(all.len(), 16, "four sectors, each old or new");
    }

    #[test]
    fn later_pages_may_survive_earlier_ones() {
        let all = outcomes(
            |file| {
                file.set_length(2 * PAGE);
                file.sync();
                file.write(0, &[1; PAGE]);
                file.write(PAGE, &[2; PAGE]);
            },
            300,
        );
        assert!(all.iter().any(|after| after[..PAGE] == [0; PAGE] && after[PAGE..] == [2; PAGE]));
    }

    #[test]
    fn a_cut_that_was_not_synced_may_come_back() {
        let all = outcomes(
            |file| {
                file.write(0, &[7; 1000]);
                file.sync();
                file.set_length(10);
            },
            100,
        );
        assert!(all.contains(&vec![7; 1000]) && all.contains(&vec![7; 10]));
    }

    #[test]
    fn after_a_failed_sync_no_later_sync_helps() {
        let mut lost = 0;
        for seed in 0..100 {
            let mut rng = Rng::new(seed);
            let mut content = Content::default();
            content.write(0, b"acknowledged");
            content.lose_dirty_pages(&mut rng);
            content.sync();
            content.crash(&mut rng, None);
            lost += u32::from(content.current != b"acknowledged");
        }
        assert!(lost > 20, "{lost}");
    }

    #[test]
    fn what_was_allocated_and_never_written_may_show_junk() {
        let mut content = Content::default();
        content.write(0, b"synced");
        content.sync();
        let mut junky = false;
        for seed in 0..50 {
            let mut content = content.clone();
            content.set_length(PAGE);
            content.crash(&mut Rng::new(seed), Some(b"old"));
            assert_eq!(&content.current[..6], b"synced");
            junky |= content.current[6..].starts_with(b"old");
        }
        assert!(junky);
    }
}
