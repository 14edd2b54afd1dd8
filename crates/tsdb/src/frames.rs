//! From a group of appends to frames of the log.

use std::sync::atomic::Ordering;

use model::Origin;
use model::labels::push_label;

use crate::head::table::Table;
use crate::queue::Queued;
use crate::record::{self, Digest, SideRow};
use crate::totals::Total;

/// Bytes of a frame's payload at which the next frame begins.
const FRAME_BYTES: usize = 1 << 20;

/// Rows of one samples record: bounds what a reader holds.
const RECORD_ROWS: usize = 32 << 10;

/// Builds a group's frames: whatever a frame names is defined before, in the same segment.
pub(crate) struct Frames<'a> {
    wal: &'a mut wal::Writer,
    payload: &'a mut Vec<u8>,
    labels: &'a mut String,
    table: &'a Table,
    segment: u64,
    /// Frames of the group that are complete.
    ended: u64,
    /// What the frame says of who sent on what follows.
    origin: Origin,
    /// And whether it goes no further.
    passes: bool,
}

impl<'a> Frames<'a> {
    pub(crate) fn new(
        wal: &'a mut wal::Writer,
        payload: &'a mut Vec<u8>,
        labels: &'a mut String,
        table: &'a Table,
        segment: u64,
    ) -> Self {
        payload.clear();
        Self { wal, payload, labels, table, segment, ended: 0, origin: Origin::SENDER, passes: false }
    }

    /// Everything of an append that belongs into the stream of metrics. `now_ms` is the wall clock.
    pub(crate) fn item(&mut self, item: &Queued, now_ms: i64) {
        let began = self.ended;
        let mut totals = item.totals.as_slice();
        let mut starts = item.sides.iter().filter_map(|side| match side {
            SideRow::Start { row, start_ms } => Some((*row, *start_ms)),
            _ => None,
        });
        let mut next_start = starts.next();
        for (part, rows) in item.rows.chunks(RECORD_ROWS).enumerate() {
            let first = part * RECORD_ROWS;
            rows.iter().for_each(|row| self.define(row.slot));
            self.head(item);
            record::write_samples(rows, self.payload);
            let mut of_part = Vec::new();
            while let Some((row, start_ms)) = next_start.filter(|(row, _)| *row < first + rows.len()) {
                of_part.push(((row - first) as u32, start_ms));
                next_start = starts.next();
            }
            if !of_part.is_empty() {
                record::write_starts(&of_part, self.payload);
            }
            // In the frame of the samples that show them: both are there, or none.
            let of_part = totals.partition_point(|(row, _)| *row < first + rows.len());
            if of_part > 0 {
                let slot_and_total = |(row, total): &(usize, Total<f64>)| (item.rows[*row].slot, *total);
                record::write_totals(totals[..of_part].iter().map(slot_and_total), self.payload);
                totals = &totals[of_part..];
            }
            self.end_if_full();
        }
        for side in &item.sides {
            self.side(side, item);
            self.end_if_full();
        }
        for (family, metadata) in &item.metadata {
            record::write_metadata(item.tenant, family, metadata, self.payload);
            self.end_if_full();
        }
        // Last: whoever finds it knows in how many frames before it the rest of the request must be.
        if let Some(digest) = item.digest {
            let frames = self.ended - began;
            let digest = Digest { tenant: item.tenant, digest, taken_ms: now_ms, frames };
            self.put(|payload| record::write_digest(&digest, payload));
        }
    }

    fn side(&mut self, side: &SideRow, item: &Queued) {
        match side {
            SideRow::Histogram(slot, sample) => {
                self.define(*slot);
                self.head(item);
                record::write_histogram(*slot, sample, self.payload);
            }
            SideRow::Total(slot, sample) => {
                self.define(*slot);
                self.head(item);
                record::write_histogram(*slot, sample, self.payload);
                // In the frame of the sample that shows it.
                record::write_shown_total(*slot, self.payload);
            }
            SideRow::Exemplar(slot, exemplar) => {
                self.define(*slot);
                self.head(item);
                record::write_exemplar(*slot, exemplar, self.payload);
            }
            SideRow::Start { .. } => {}
        }
    }

    /// Says who sent on what comes next and whether it goes no further, unless the frame says so already.
    fn head(&mut self, item: &Queued) {
        if self.origin != item.origin {
            record::write_origin(&item.origin, self.payload);
            self.origin.clone_from(&item.origin);
        }
        if self.passes != item.passes {
            record::write_passes(item.passes, self.payload);
            self.passes = item.passes;
        }
    }

    /// Defines a series, unless it is in this segment.
    pub(crate) fn define(&mut self, slot: u32) {
        let entry = self.table.entry(slot);
        let segment = self.segment as u32;
        if entry.segment.load(Ordering::Relaxed) != segment {
            entry.segment.store(segment, Ordering::Relaxed);
            self.labels.clear();
            self.table.texts(entry).for_each(|(name, value)| push_label(self.labels, name, value));
            record::write_series(slot, entry.tenant, entry.id, self.labels, self.payload);
            self.end_if_full();
        }
    }

    /// Appends records.
    pub(crate) fn put(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(self.payload);
        self.end_if_full();
    }

    fn end_if_full(&mut self) {
        if self.payload.len() >= FRAME_BYTES {
            self.end();
        }
    }

    /// Ends the last frame.
    pub(crate) fn end(&mut self) {
        if !self.payload.is_empty() {
            self.wal.add(self.payload);
            self.payload.clear();
            self.ended += 1;
            (self.origin, self.passes) = (Origin::SENDER, false);
        }
    }
}
