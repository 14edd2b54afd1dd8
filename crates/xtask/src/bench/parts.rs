//! What a data directory consists of: samples, what finds them, logs.

use std::fs;
use std::io;
use std::path::Path;

use anyhow::Result;

use super::peer::Peer;
use crate::load::process::{disk_bytes, file_bytes};

/// Bytes of a data directory by what they are for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Parts {
    /// Samples, by the lengths of files.
    pub(crate) data: u64,
    /// What finds them, by the lengths of files.
    pub(crate) index: u64,
    /// Logs, as `du` counts: what is allocated ahead is taken from the disk.
    pub(crate) log: u64,
    /// Everything, with what is none of these, as `du` counts.
    pub(crate) directory: u64,
}

impl Parts {
    /// Of a server's data directory, or of what [`super::running::Running::merge`] gave.
    pub(crate) fn of(peer: &Peer, data: &Path) -> Result<Self> {
        let taken = |name: &str| disk_bytes(&data.join(name));
        let mut parts = Self { directory: disk_bytes(data), ..Self::default() };
        match peer {
            Peer::Weir(_) => {
                parts.log = taken("wal");
                for entry in fs::read_dir(data.join("blocks"))? {
                    let (samples, other) = weir_block(&read_if_there(&entry?.path())?);
                    parts.data += samples;
                    parts.index += other;
                }
            }
            Peer::VictoriaMetrics => {
                parts.data = file_bytes(&data.join("data"));
                parts.index = file_bytes(&data.join("indexdb"));
            }
            Peer::Prometheus => {
                // Chunks of the head are in the log, too.
                parts.log = taken("wal") + taken("chunks_head");
                for entry in fs::read_dir(data)? {
                    let block = entry?.path();
                    parts.data += file_bytes(&block.join("chunks"));
                    parts.index += file_bytes(&block.join("index"));
                }
            }
        }
        Ok(parts)
    }
}

/// A file's content; nothing when a merge has just removed it.
fn read_if_there(path: &Path) -> io::Result<Vec<u8>> {
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        read => read,
    }
}

/// Bytes of chunk pages, and of everything else, in one of Weir's blocks (FORMAT.md, Blocks).
fn weir_block(bytes: &[u8]) -> (u64, u64) {
    const HEADER: usize = 48;
    const CHUNKS: u32 = 1;
    let number =
        |at: usize| bytes.get(at..at + 4).map(|b| u32::from_le_bytes(b.try_into().unwrap_or_default()));
    let (mut at, mut samples) = (HEADER, 0);
    while let (Some(length), Some(kind)) = (number(at + 4), number(at + 8)) {
        let page = HEADER + length as usize;
        // The last 48 bytes are the footer, which is no page.
        if at + page + HEADER > bytes.len() {
            break;
        }
        if kind == CHUNKS {
            samples += page as u64;
        }
        at += page;
    }
    (samples, bytes.len() as u64 - samples)
}
