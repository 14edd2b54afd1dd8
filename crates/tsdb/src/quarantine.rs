//! What lies in quarantine: files that were found damaged and set aside, looked at once more, offline.
//!
//! A block got there whole when it could not be opened, and nothing of it is answered; or when a merge met damaged pages in
//! it, and what could be read lives on in the merged blocks. A log segment got there when everything that could be
//! read of it was in blocks; a manifest when neither copy could be read.

use std::path::Path;

use env::Files;

use crate::block::{self, BlockError, Report};
use crate::check::{Finding, of_block, of_segment};
use crate::logs;
use crate::manifest::Manifest;
use crate::open::OpenError;
use crate::store::parse_block_file_name;

/// A file in quarantine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quarantined {
    /// The file, below the data directory.
    pub file: String,
    /// What it is, by its name: `block`, `log segment`, `manifest`, else `file`.
    pub kind: &'static str,
    /// Its bytes.
    pub length: u64,
    /// Pages of a block whose checksum holds.
    pub pages: u64,
    /// Series of a block that can be read.
    pub series: u64,
    /// Samples of a block that can be read.
    pub samples: u64,
    /// Frames of a log segment that are good.
    pub frames: u64,
    /// Samples that are lost with it, as far as that can be told; `None` = it cannot be.
    pub lost_samples: Option<u64>,
    /// What of it is damaged.
    pub damage: Vec<Finding>,
}

/// Looks at a file in quarantine; only a disk that fails otherwise than by refusing to read is an error.
pub(crate) fn examine(files: &dyn Files, directory: &Path, name: &str) -> Result<Quarantined, OpenError> {
    let path = directory.join("quarantine").join(name);
    let length = env::open_with_length(files, &path).map_or(0, |(_, length)| length);
    let mut found =
        Quarantined { file: format!("quarantine/{name}"), kind: "file", length, ..Quarantined::default() };
    if let Some(id) = parse_block_file_name(name) {
        found.kind = "block";
        found.block(files, &path, id)?;
    } else if let Some(number) = wal::parse_file_name(name) {
        found.kind = "log segment";
        found.segment(files, &directory.join("quarantine"), number)?;
    } else if logs::is_quarantined_name(name) {
        found.kind = "log segment";
        found.damaged("nothing of the segment can be read");
    } else if Manifest::FILES.contains(&name) {
        found.kind = "manifest";
        found.manifest(files, &directory.join("quarantine"), name)?;
    }
    Ok(found)
}

impl Quarantined {
    fn damaged(&mut self, what: impl Into<String>) {
        let length = Some(self.length);
        self.damage.push(Finding { length, ..Finding::file(&self.file, what) });
    }

    fn block(&mut self, files: &dyn Files, path: &Path, id: u64) -> Result<(), OpenError> {
        let report = match block::verify(files, path) {
            Ok(report) => report,
            Err(BlockError::Io(error)) => return Err(error.into()),
            Err(error) => {
                self.damaged(error.to_string());
                return Ok(());
            }
        };
        let losses = report.damaged.iter().map(|loss| of_block(&self.file, loss, self.length));
        self.damage.extend(losses);
        let Report { pages, series, samples, written, .. } = report;
        if report.sections > 0 {
            (self.pages, self.series, self.samples) = (pages, series, samples);
            self.lost_samples = Some(written.saturating_sub(samples));
            return Ok(());
        }
        // It does not open: nothing in it is answered.
        let remains = block::remains(files, path, id)?;
        self.pages = remains.pages;
        self.lost_samples = (remains.series > 0).then_some(remains.samples);
        Ok(())
    }

    fn segment(&mut self, files: &dyn Files, directory: &Path, number: u64) -> Result<(), OpenError> {
        let mut frames = 0;
        let mapped = wal::map_segment(files, directory, wal::Stream::Metrics, number, &mut |_, _| {
            frames += 1;
            Ok(())
        });
        match mapped {
            Ok((_, ranges)) => {
                self.damage.extend(ranges.into_iter().map(|range| of_segment(&self.file, range, false)));
            }
            Err(wal::ReadError::Io(error)) => return Err(error.into()),
            Err(error) => self.damaged(error.to_string()),
        }
        self.frames = frames;
        Ok(())
    }

    fn manifest(&mut self, files: &dyn Files, directory: &Path, name: &str) -> Result<(), OpenError> {
        match Manifest::load_one(files, directory, name) {
            Ok(Some(Ok(_))) => {}
            Ok(Some(Err(())) | None) => self.damaged("is damaged"),
            Err(OpenError::Io(error)) => return Err(error.into()),
            Err(error) => self.damaged(error.to_string()),
        }
        Ok(())
    }
}
