//! Everything that is held, from the oldest line on.

use std::ops::RangeInclusive;
use std::path::Path;

use env::Files;
use model::TenantId;

use super::record::{LogRecord, each_line};
use crate::open::OpenError;
use crate::record::{KIND_MAX, Unreadable};
use crate::store::Store;

impl Store {
    /// As [`read`], of one tenant in an open store; of one that was deleted there are no lines.
    pub fn log_lines(
        &self,
        tenant: TenantId,
        range_ns: RangeInclusive<i64>,
        each: &mut dyn FnMut(LogRecord<'_>),
    ) -> Result<Vec<String>, OpenError> {
        let inner = &*self.inner;
        let is_deleted = inner.resolving.read().expect("lock").contains(&tenant);
        let wanted = |other| other == tenant && !is_deleted;
        read(&*inner.env.files, &inner.directory, &wanted, range_ns, each)
    }
}

/// Calls `each` for every line that is held in a data directory, of `tenants` and in the range of times (ns since the
/// Unix epoch), in the order in which they were taken. What is damaged is passed over and told, a sentence for each
/// segment. A store may have the directory open: lines that are written meanwhile come or do not.
///
/// The numbers of tenants are never given again, and lines of a deleted tenant stay on the disk until a log store takes
/// them out: `tenants` is asked for those that exist.
///
/// # Errors
/// When a newer Weir wrote a segment or a record, or the disk cannot be read.
pub fn read(
    files: &dyn Files,
    directory: &Path,
    tenants: &dyn Fn(TenantId) -> bool,
    range_ns: RangeInclusive<i64>,
    each: &mut dyn FnMut(LogRecord<'_>),
) -> Result<Vec<String>, OpenError> {
    let directory = super::directory(directory);
    let mut damage = Vec::new();
    if !files.exists(&directory)? {
        return Ok(damage);
    }
    for number in wal::segments(files, &directory)? {
        let (mut lost, mut unknown) = (0u64, None);
        let mut frame = |sequence: u64, payload: &[u8]| {
            let found = each_line(sequence, payload, &mut |line| {
                if range_ns.contains(&line.timestamp_ns) && tenants(line.tenant) {
                    each(line);
                }
            });
            match found {
                Ok(()) => {}
                Err(Unreadable::Corrupt) => lost += 1,
                Err(Unreadable::UnknownKind(kind)) => unknown = Some(kind),
            }
            Ok(())
        };
        let found = wal::read_segment(files, &directory, wal::Stream::Logs, number, &mut frame)?;
        if let Some(kind) = unknown {
            return Err(OpenError::Newer {
                what: format!("a record of log segment {number}"),
                found: kind.into(),
                known: KIND_MAX.into(),
            });
        }
        if found.is_loss() || lost > 0 {
            damage
                .push(format!("log segment {number} is damaged: {found}, {lost} frames that cannot be read"));
        }
    }
    Ok(damage)
}
