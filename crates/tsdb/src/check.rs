//! An offline look at a data directory or a snapshot: reads everything, changes nothing, says where damage lies and what
//! is lost by it.

use std::io;
use std::ops::Range;
use std::path::Path;

use env::Files;
use model::{TenantId, TimeRange};
use wal::RangeKind;

use crate::block::{self, BlockError, Loss};
use crate::logs;
use crate::manifest::Manifest;
use crate::metadata::MetadataStore;
use crate::named::Named;
use crate::open::{OpenError, check_format};
use crate::quarantine::{self, Quarantined};
use crate::record::Unreadable;
use crate::snapshot;
use crate::store::parse_block_file_name;

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Generation of the manifest; `None` when there is no readable one.
    pub manifest_generation: Option<u64>,
    /// Live blocks.
    pub blocks: u64,
    /// Pages of blocks whose checksum held.
    pub pages: u64,
    /// Series in blocks, those of several blocks counted each time.
    pub series: u64,
    /// Samples in blocks.
    pub samples: u64,
    /// WAL segments.
    pub segments: u64,
    /// Good frames in them.
    pub frames: u64,
    /// Log lines in them.
    pub lines: u64,
    /// What is damaged or missing.
    pub damage: Vec<Finding>,
    /// What is not as it was written and may never have been more: torn before it was acknowledged, or damaged since.
    pub torn: Vec<Finding>,
    /// Files that nobody refers to: left behind by a crash, removed by the next start.
    pub orphans: Vec<String>,
    /// Files that were found damaged earlier, and set aside.
    pub quarantine: Vec<Quarantined>,
}

/// One damaged unit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Finding {
    /// The file, below the data directory.
    pub file: String,
    /// What of it: `file`, `chunks page`, `index page`, `root page`, `directory page`, `frames`, `sector`.
    pub unit: &'static str,
    /// Where it begins in the file; `None` = the whole file, or not known.
    pub offset: Option<u64>,
    /// Its bytes.
    pub length: Option<u64>,
    /// Whose it is.
    pub tenant: Option<TenantId>,
    /// What is wrong.
    pub what: String,
    /// Series of which something is lost, as far as it can be told.
    pub series: Option<u64>,
    /// Samples that are lost.
    pub samples: Option<u64>,
    /// Their times.
    pub range: Option<TimeRange>,
    /// Sequences of log frames that are lost.
    pub sequences: Option<Range<u64>>,
}

impl Finding {
    pub(crate) fn file(file: &str, what: impl Into<String>) -> Self {
        Self { file: file.to_owned(), unit: "file", what: what.into(), ..Self::default() }
    }
}

/// A check under way.
struct Check<'a> {
    files: &'a dyn Files,
    directory: &'a Path,
    /// Told of bytes as they are read.
    each: &'a mut dyn FnMut(u64),
    report: CheckReport,
}

/// Reads a data directory that no Weir has open, or a snapshot. `each` is told of bytes as they are done with.
///
/// # Errors
/// When a newer Weir wrote a file, or the directory cannot be read; what is damaged is in the report.
pub fn check(
    files: &dyn Files,
    directory: &Path,
    each: &mut dyn FnMut(u64),
) -> Result<CheckReport, OpenError> {
    let mut check = Check { files, directory, each, report: CheckReport::default() };
    let manifest = check.small_files()?;
    check.blocks(manifest.as_ref())?;
    let replay_segment = manifest.as_ref().map_or(0, |manifest| manifest.replay_segment);
    check.log(wal::Stream::Metrics, "wal/metrics", replay_segment)?;
    check.log(wal::Stream::Logs, "wal/logs", 0)?;
    check.quarantine()?;
    Ok(check.report)
}

impl Check<'_> {
    fn damaged(&mut self, finding: Finding) {
        self.report.damage.push(finding);
    }

    /// Names in a part of the directory; none when it is not there.
    fn names(&self, part: &str) -> io::Result<Vec<String>> {
        match self.files.list(&self.directory.join(part)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            result => result,
        }
    }

    fn small_files(&mut self) -> Result<Option<Manifest>, OpenError> {
        let (files, directory) = (self.files, self.directory);
        if let Some(what) = check_format(files, directory)? {
            self.damaged(Finding::file(
                "FORMAT",
                format!("{what}: the key of series ids stands in manifests too"),
            ));
        }
        let mut copies = Vec::new();
        for name in Manifest::FILES {
            match Manifest::load_one(files, directory, name)? {
                Some(Ok(manifest)) => copies.push(manifest),
                Some(Err(())) => self.damaged(Finding::file(name, "is damaged")),
                None => {}
            }
        }
        let newest = copies.into_iter().max_by_key(|manifest| manifest.generation);
        self.report.manifest_generation = newest.as_ref().map(|manifest| manifest.generation);
        if newest.is_some() {
            for name in Manifest::FILES {
                if !files.exists(&directory.join(name))? {
                    self.damaged(Finding::file(name, "is missing"));
                }
            }
        } else {
            let what = "no copy can be read: every block that can be is live";
            self.damaged(Finding::file("manifest-0, manifest-1", what));
        }
        let mut warnings = Vec::new();
        MetadataStore::load(files, directory, &mut warnings)?;
        for what in warnings {
            self.damaged(Finding::file("metadata", what));
        }
        if let Some(what) = snapshot::check_description(files, directory)? {
            self.damaged(Finding::file("SNAPSHOT", what));
        }
        Ok(newest)
    }

    fn blocks(&mut self, manifest: Option<&Manifest>) -> Result<(), OpenError> {
        let (on_disk, set_aside) = (self.names("blocks")?, self.names("quarantine")?);
        let live: Vec<Named> = match manifest {
            Some(manifest) => manifest.blocks.clone(),
            None => {
                on_disk.iter().filter_map(|name| parse_block_file_name(name)).map(Named::unknown).collect()
            }
        };
        for named in &live {
            let name = crate::store::block_file_name(named.id);
            let file = format!("blocks/{name}");
            let before = self.report.damage.len();
            if on_disk.contains(&name) {
                self.block(&name, &file)?;
            } else {
                // A start leaves the manifest as it is.
                let what = if set_aside.contains(&name) { "is in quarantine" } else { "is missing" };
                self.damaged(Finding::file(&file, what));
            }
            // Of a whole file that is lost the manifest says at least the times.
            let whole = self.report.damage[before..].iter_mut().filter(|finding| finding.unit == "file");
            whole.for_each(|finding| finding.range = finding.range.or(named.known_range()));
        }
        let is_live =
            |name: &String| parse_block_file_name(name).is_some_and(|id| live.iter().any(|n| n.id == id));
        let orphans = on_disk.iter().filter(|name| !is_live(name));
        self.report.orphans.extend(orphans.map(|name| format!("blocks/{name}")));
        Ok(())
    }

    fn block(&mut self, name: &str, file: &str) -> Result<(), OpenError> {
        let path = self.directory.join(file);
        self.report.blocks += 1;
        let length = env::open_with_length(self.files, &path).map_or(0, |(_, length)| length);
        match block::verify(self.files, &path) {
            Ok(found) => {
                self.report.pages += found.pages;
                self.report.series += found.series;
                self.report.samples += found.samples;
                let found = found.damaged.iter().map(|loss| of_block(file, loss, length));
                self.report.damage.extend(found);
            }
            Err(BlockError::Newer { found, known, .. }) => {
                let (found, known) = (found.into(), known.into());
                return Err(OpenError::Newer { what: name.to_owned(), found, known });
            }
            Err(BlockError::Io(error)) => return Err(error.into()),
            Err(error) => self.damaged(Finding::file(file, error.to_string())),
        }
        (self.each)(length);
        Ok(())
    }

    /// Files that were set aside, by name.
    fn quarantine(&mut self) -> Result<(), OpenError> {
        for name in self.names("quarantine")? {
            let found = quarantine::examine(self.files, self.directory, &name)?;
            (self.each)(found.length);
            self.report.quarantine.push(found);
        }
        Ok(())
    }

    /// The segments in a part of the directory; those below `needed` are in blocks.
    fn log(&mut self, stream: wal::Stream, part: &str, needed: u64) -> Result<(), OpenError> {
        let directory = self.directory.join(part);
        if !self.files.exists(&directory)? {
            return Ok(());
        }
        for number in wal::segments(self.files, &directory)? {
            self.report.segments += 1;
            let (mut frames, mut lines, mut unreadable) = (0, 0, 0);
            let (_, ranges) =
                wal::map_segment(self.files, &directory, stream, number, &mut |sequence, payload| {
                    frames += 1;
                    // What is in frames of the other stream a start says.
                    if stream == wal::Stream::Logs {
                        let read = logs::each_line(sequence, payload, &mut |_| lines += 1);
                        unreadable += u64::from(read == Err(Unreadable::Corrupt));
                    }
                    Ok(())
                })?;
            self.report.frames += frames;
            self.report.lines += lines;
            let name = wal::file_name(number);
            let file = format!("{part}/{name}");
            for range in ranges {
                let is_torn = range.kind == RangeKind::Torn;
                let finding = of_segment(&file, range, number < needed);
                if is_torn { self.report.torn.push(finding) } else { self.damaged(finding) }
            }
            if unreadable > 0 {
                self.damaged(Finding::file(
                    &file,
                    format!("{unreadable} frames hold no lines that can be read"),
                ));
            }
            let length =
                env::open_with_length(self.files, &directory.join(&name)).map_or(0, |(_, length)| length);
            (self.each)(length);
        }
        Ok(())
    }
}

/// What the check says of a damaged part of a block.
pub(crate) fn of_block(file: &str, loss: &Loss, length: u64) -> Finding {
    let is_file = loss.unit.page.is_none();
    Finding {
        file: file.to_owned(),
        unit: loss.kind,
        offset: loss.unit.page,
        length: loss.length.or(is_file.then_some(length)),
        tenant: loss.unit.tenant,
        what: loss.unit.what.to_owned(),
        // Of a whole file nothing is known.
        series: (loss.kind != "file" && loss.kind != "directory page").then_some(loss.series),
        // A series that the index has lost had samples nobody counts.
        samples: matches!(loss.kind, "chunks page" | "root page").then_some(loss.samples),
        range: loss.range,
        sequences: None,
    }
}

/// What the check says of a damaged part of a log segment.
pub(crate) fn of_segment(file: &str, range: wal::DamagedRange, is_in_blocks: bool) -> Finding {
    let (unit, what) = match range.kind {
        RangeKind::Header => ("file", "nothing of the segment can be read"),
        RangeKind::Lost => ("frames", "acknowledged frames are damaged"),
        RangeKind::Torn => ("frames", "the last group was torn before it was acknowledged, or is damaged"),
        RangeKind::Unreadable => ("sector", "the disk does not read it"),
    };
    let what = if is_in_blocks { format!("{what}; all of it is in blocks") } else { what.to_owned() };
    Finding {
        file: file.to_owned(),
        unit,
        offset: Some(range.offset),
        length: Some(range.bytes),
        what,
        sequences: (!range.sequences.is_empty()).then_some(range.sequences),
        ..Finding::default()
    }
}
