//! What is left of a file that cannot be opened: pages say where they lie, so they are found without header, footer and
//! directory.

use std::io;
use std::path::Path;

use env::{File, Files, read_exact_at};

use super::page::{PAGE_HEADER, PageKind, claim};
use super::root::Root;
use super::writer::read_directory;

/// Bytes that are looked through at once.
const WINDOW_BYTES: usize = 64 << 10;

/// Bytes around an unreadable sector that are given up: what a file system reads at once.
const SECTOR_BYTES: u64 = 4096;

/// What was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Remains {
    /// Pages whose checksum holds.
    pub(crate) pages: u64,
    /// Series in the file: by its directory or, without one, by the roots of its sections.
    pub(crate) series: u64,
    /// Samples, by the same.
    pub(crate) samples: u64,
}

/// Looks for pages of the block `id` everywhere in a file.
pub(crate) fn remains(files: &dyn Files, path: &Path, id: u64) -> io::Result<Remains> {
    let (file, length) = env::open_with_length(files, path)?;
    let mut found = Remains::default();
    let mut by_directory = None;
    let mut window = vec![0; WINDOW_BYTES];
    let mut at = 0;
    while at < length {
        let got = read_some(&*file, &mut window, at)?;
        if got == 0 {
            at += SECTOR_BYTES - at % SECTOR_BYTES;
            continue;
        }
        let places = (0..got.saturating_sub(PAGE_HEADER - 1)).map(|place| (place, at + place as u64));
        let mut claims = places.filter_map(|(place, at)| Some((at, claim(&window[place..], at, id)?)));
        let Some((start, claim)) = claims.next() else {
            // A header may begin at the window's end.
            at += (got as u64).saturating_sub(PAGE_HEADER as u64 - 1).max(1);
            continue;
        };
        at = start + 1;
        if start.checked_add(claim.length).is_none_or(|end| end > length) {
            continue;
        }
        let mut page = vec![0; claim.length as usize];
        match read_exact_at(&*file, &mut page, start) {
            Err(error) if env::is_unreadable(&error) => continue,
            result => result?,
        }
        if !claim.holds(&page) {
            continue;
        }
        at = start + claim.length;
        found.pages += 1;
        let payload = &page[PAGE_HEADER..];
        match claim.kind {
            PageKind::Root => {
                let root = Root::read(payload).ok();
                found.series += root.as_ref().map_or(0, |root| u64::from(root.series));
                found.samples += root.map_or(0, |root| root.samples);
            }
            PageKind::Directory => by_directory = read_directory(payload).ok(),
            PageKind::Chunks | PageKind::Index => {}
        }
    }
    if let Some(sections) = by_directory {
        found.series = sections.iter().map(|section| u64::from(section.meta.series)).sum();
        found.samples = sections.iter().map(|section| section.meta.samples).sum();
    }
    Ok(found)
}

/// Reads a window, or to the end of the sector where the disk refuses that; nothing when it refuses that too.
fn read_some(file: &dyn File, window: &mut [u8], at: u64) -> io::Result<usize> {
    let to_sector_end = (SECTOR_BYTES - at % SECTOR_BYTES) as usize;
    for length in [window.len(), to_sector_end] {
        match file.read_at(&mut window[..length], at) {
            Err(error) if env::is_unreadable(&error) => {}
            result => return result,
        }
    }
    Ok(0)
}
