//! An offline look at a data directory: reads everything, changes nothing.

use std::path::Path;

use env::Files;

use crate::block::{self, BlockError};
use crate::manifest::Manifest;
use crate::open::OpenError;
use crate::store::{parse_block_file_name, wal_directory};

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
    /// WAL segments that a start would replay.
    pub segments: u64,
    /// Good frames in them.
    pub frames: u64,
    /// One line for each thing that is damaged or missing.
    pub damage: Vec<String>,
    /// One line for each file that nobody refers to: left behind by a crash, removed by the next start.
    pub orphans: Vec<String>,
}

/// Reads a data directory that no Weir has open.
pub fn check(files: &dyn Files, directory: &Path) -> Result<CheckReport, OpenError> {
    let mut report = CheckReport::default();
    let manifest = Manifest::load(files, directory, &mut report.damage)?;
    let Some(manifest) = manifest else {
        report.damage.push("there is no readable manifest".to_owned());
        return Ok(report);
    };
    report.manifest_generation = Some(manifest.generation);
    check_blocks(files, directory, &manifest, &mut report)?;
    check_log(files, directory, &manifest, &mut report)?;
    Ok(report)
}

fn check_blocks(
    files: &dyn Files,
    directory: &Path,
    manifest: &Manifest,
    report: &mut CheckReport,
) -> Result<(), OpenError> {
    let blocks = directory.join("blocks");
    let on_disk = files.list(&blocks)?;
    for id in &manifest.blocks {
        let name = crate::store::block_file_name(*id);
        if !on_disk.contains(&name) {
            report.damage.push(format!("{name} is missing"));
            continue;
        }
        report.blocks += 1;
        match block::verify(files, &blocks.join(&name)) {
            Ok(found) => {
                report.pages += found.pages;
                report.series += found.series;
                report.samples += found.samples;
                report.damage.extend(found.damaged.iter().map(ToString::to_string));
            }
            Err(BlockError::Newer { found, known, .. }) => {
                return Err(OpenError::Newer { what: name, found: found.into(), known: known.into() });
            }
            Err(BlockError::Io(error)) => return Err(error.into()),
            Err(error) => report.damage.push(error.to_string()),
        }
    }
    for name in on_disk {
        let live = parse_block_file_name(&name).is_some_and(|id| manifest.blocks.contains(&id));
        if !live {
            report.orphans.push(format!("blocks/{name}"));
        }
    }
    Ok(())
}

fn check_log(
    files: &dyn Files,
    directory: &Path,
    manifest: &Manifest,
    report: &mut CheckReport,
) -> Result<(), OpenError> {
    let log = wal_directory(directory);
    for number in wal::segments(files, &log)? {
        if number < manifest.replay_segment {
            // Kept for the manifest's previous generation.
            continue;
        }
        report.segments += 1;
        let mut frames = 0;
        let damage = wal::read_segment(files, &log, wal::Stream::Metrics, number, &mut |_, _| {
            frames += 1;
            Ok(())
        });
        report.frames += frames;
        match damage {
            Ok(damage) if damage.is_loss() => {
                report.damage.push(format!("{}: {damage}", wal::file_name(number)));
            }
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
