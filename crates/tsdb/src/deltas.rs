//! The writer's part in deltas: totals are proposed while a group is built, settled once it is durable, and logged again
//! where a flush moves the beginning of the log.

use std::collections::HashSet;
use std::io;
use std::sync::atomic::Ordering;

use model::batch::HistogramSample;
use model::labels::{METRIC_NAME, truncated};
use model::{Matcher, Reason, TenantId};
use roaring::RoaringBitmap;

use crate::commit::WriterState;
use crate::frames::Frames;
use crate::head::side::HISTOGRAM_BYTES_MAX;
use crate::head::table::Table;
use crate::queue::Queued;
use crate::record::{self, Digest, Row, SideRow};
use crate::room::TotalsRoom;
use crate::store::Inner;
use crate::totals::{Delta, Total, Value};

/// Totals of one record: bounds what a reader holds.
const RECORD_TOTALS: usize = 8 << 10;

impl Inner {
    /// Makes rows of a group's deltas. Nothing of it holds until [`Inner::settle`].
    pub(crate) fn propose(&self, writer: &mut WriterState, group: &mut [Queued]) {
        if group.iter().all(|item| item.deltas.is_empty()) {
            return;
        }
        let table = self.table.read().expect("lock");
        let now_ms = self.monotonic_ms();
        let mut proposed = HashSet::new();
        let mut room = TotalsRoom::new(self.options.memory_bytes, &writer.totals.histograms, &table);
        for item in group.iter_mut().filter(|item| !item.deltas.is_empty()) {
            let deltas = std::mem::take(&mut item.deltas);
            if let Some(digest) = item.digest {
                item.repeats = proposed.contains(&(item.tenant, digest));
                if item.repeats || writer.digests.knows(item.tenant, digest, now_ms) {
                    item.digest = None;
                    continue;
                }
            }
            let mut is_taken = false;
            for delta in &deltas.floats {
                match writer.totals.floats.propose(delta, |_, _| true) {
                    Ok(total) => {
                        let row = item.rows.len();
                        let Delta { slot, timestamp_ms, .. } = *delta;
                        item.rows.push(Row { slot, timestamp_ms, value: total.value });
                        item.sides.push(SideRow::Start { row, start_ms: total.start_ms });
                        item.totals.push((row, total));
                        is_taken = true;
                    }
                    Err(reason) => refuse(item, delta, reason, &table),
                }
            }
            for delta in &deltas.histograms {
                let tenant = item.tenant;
                let may_take =
                    |growth, bytes| room.show(tenant, bytes) && (growth == 0 || room.take(tenant, growth));
                match writer.totals.histograms.propose(delta, may_take) {
                    Ok(Total { start_ms, end_ms: timestamp_ms, value: histogram }) => {
                        let sample = HistogramSample { timestamp_ms, start_ms, histogram };
                        item.sides.push(SideRow::Total(delta.slot, sample));
                        is_taken = true;
                    }
                    Err(reason) => refuse(item, delta, reason, &table),
                }
            }
            // Of a request that was refused whole there is nothing to be remembered.
            item.digest = item.digest.filter(|_| is_taken);
            proposed.extend(item.digest.map(|digest| (item.tenant, digest)));
        }
    }

    /// The group is durable: what was proposed holds, and identical requests are known.
    pub(crate) fn settle(&self, writer: &mut WriterState, group: &[Queued]) {
        writer.totals.settle();
        let now_ms = self.monotonic_ms();
        for item in group {
            if let Some(digest) = item.digest {
                writer.digests.remember(item.tenant, digest, now_ms);
            }
        }
        self.charge_totals(writer);
    }

    /// Notes what totals and digests take.
    pub(crate) fn charge_totals(&self, writer: &WriterState) {
        let bytes = writer.totals.bytes() + writer.digests.bytes();
        self.counters.totals_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Logs all totals and digests, so that a replay from here on knows them. Durable when it returns.
    pub(crate) fn log_totals(&self, writer: &mut WriterState) -> io::Result<()> {
        if writer.totals.is_empty() && writer.digests.is_empty() {
            return Ok(());
        }
        let now_ms = self.monotonic_ms();
        writer.digests.forget_old(now_ms);
        self.charge_totals(writer);
        let segment = writer.wal.segment()?;
        {
            let table = self.table.read().expect("lock");
            let WriterState { wal, payload, labels, totals, digests, .. } = writer;
            let mut frames = Frames::new(wal, payload, labels, &table, segment);
            for totals in totals.floats.sorted().chunks(RECORD_TOTALS) {
                totals.iter().for_each(|(slot, _)| frames.define(*slot));
                frames.put(|payload| record::write_totals(totals.iter().copied(), payload));
            }
            for (slot, total) in totals.histograms.sorted() {
                frames.define(slot);
                frames.put(|payload| record::write_histogram_total(slot, &total, payload));
            }
            let wall_ms = self.env.clock.now_ms();
            for (tenant, digest, taken_ms) in digests.iter() {
                let taken_ms = wall_ms.saturating_sub(now_ms - taken_ms);
                let digest = Digest { tenant, digest, taken_ms, frames: 0 };
                frames.put(|payload| record::write_digest(&digest, payload));
            }
            frames.end();
        }
        writer.wal.commit()?;
        self.acknowledged(writer, segment);
        self.counters.wal_synced(writer.wal.last_sync_took(), self.written_bytes(writer));
        Ok(())
    }

    /// Forgets totals of a tenant's series that satisfy all matchers, before a flush would log them again.
    pub(crate) fn forget_totals(&self, tenant: TenantId, matchers: &[Matcher]) {
        let mut writer = self.writer.lock().expect("lock");
        if writer.totals.is_empty() {
            return;
        }
        let table = self.table.read().expect("lock");
        let slots = writer.totals.slots();
        let gone: RoaringBitmap = slots.filter(|slot| table.satisfies(*slot, tenant, matchers)).collect();
        writer.totals.forget(&gone);
        self.charge_totals(&writer);
    }

    /// Time since the start, in ms.
    pub(crate) fn monotonic_ms(&self) -> i64 {
        i64::try_from(self.env.clock.monotonic().as_millis()).unwrap_or(i64::MAX)
    }
}

/// Counts a delta as refused, and says why.
fn refuse<V: Value>(item: &mut Queued, delta: &Delta<V>, reason: Reason, table: &Table) {
    item.late.add(V::SIGNAL, reason, 1, delta.item);
    item.late.explain(|| {
        let texts = table.texts(table.entry(delta.slot));
        let name = texts.into_iter().find(|(name, _)| *name == METRIC_NAME).map_or("", |(_, value)| value);
        let (name, at_ms) = (truncated(name), delta.timestamp_ms);
        match reason {
            Reason::LateDelta => {
                format!("delta of {name:?} that ends at {at_ms} ms: another one that ends then or later was taken before")
            }
            Reason::Memory => {
                format!("delta of {name:?} at {at_ms} ms: the tenant's part of the memory for totals of histograms is used up (storage.memory_bytes)")
            }
            Reason::InvalidHistogram => {
                format!("delta of {name:?} at {at_ms} ms: its total would be a native histogram of more than {HISTOGRAM_BYTES_MAX} bytes")
            }
            _ => format!("delta of {name:?} at {at_ms} ms: its total would not be finite"),
        }
    });
}
