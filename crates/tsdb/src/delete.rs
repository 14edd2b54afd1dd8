//! Deletes: of a tenant, and of series in a range of time.
//!
//! Both flush the head first. So what a delete takes is in blocks that are there now, what comes later is in others, and
//! a replay brings nothing back. Of a deleted tenant nothing comes later.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use model::{Budget, Matcher, TenantId, TimeRange};

use crate::block::{Block, BlockError};
use crate::manifest::{Manifest, floor_ms};
use crate::store::{Inner, Store};
use crate::tombstone::Tombstone;

/// Deletes that may wait for merges; each costs the manifest and queries a little.
const TOMBSTONES_MAX: usize = 1024;

/// Bytes that finding the series of one delete in one block may take.
const BUDGET_BYTES: u64 = 256 << 20;

/// Why nothing was deleted. After an error of the disk a delete may have happened, as after any answer that is lost.
#[derive(Debug, thiserror::Error)]
pub enum DeleteError {
    /// Occurs when so many deletes wait for merges that no more are taken for now.
    #[error("{TOMBSTONES_MAX} deletes wait to be applied to the disk: try again later")]
    TooMany,
    /// Occurs when the matchers select more series than can be listed.
    #[error("the series to be deleted are too many: {0}")]
    TooLarge(model::select::Stop),
    /// Occurs when the disk fails.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Store {
    /// Deletes samples and exemplars in the range of a tenant's series that satisfy all matchers of one of the sets.
    ///
    /// They are gone for readers at once and leave the disk with the next merges. What is sent afterwards, with the same
    /// timestamps too, is there.
    pub fn delete_series(
        &self,
        tenant: TenantId,
        matcher_sets: &[Vec<Matcher>],
        range: TimeRange,
    ) -> Result<(), DeleteError> {
        let inner = &*self.inner;
        // Held until the tombstone is written: a flush in between would write a file that it does not name.
        let alone = inner.flushing.lock().expect("lock");
        matcher_sets.iter().for_each(|matchers| inner.forget_totals(tenant, matchers));
        self.flush_alone(&alone)?;
        let mut compactor = inner.compactor.lock().expect("lock");
        let mut live = inner.manifest.lock().expect("lock");
        let blocks = inner.view.read().expect("lock").blocks.to_vec();
        let mut next = live.manifest.clone();
        for matchers in matcher_sets {
            let files = inner.files_with(tenant, matchers, range, &blocks, &next)?;
            let tombstone = Tombstone { tenant, files, range, matchers: matchers.clone() };
            if !tombstone.files.is_empty() {
                next.tombstones.retain(|old| !tombstone.covers(old));
                next.tombstones.push(Arc::new(tombstone));
            }
        }
        if next.tombstones.len() > TOMBSTONES_MAX {
            return Err(DeleteError::TooMany);
        }
        if next != live.manifest {
            // It would write what is deleted into a file that no tombstone names.
            compactor.give_up(inner, Duration::ZERO);
            inner.publish_manifest(&mut live, next, blocks)?;
        }
        drop((live, compactor, alone));
        let mut writer = inner.writer.lock().expect("lock");
        writer.deleted.extend(matcher_sets.iter().map(|matchers| (tenant, matchers.clone())));
        inner.evict(&mut writer);
        Ok(())
    }

    /// Deletes a tenant: from now on nothing of it is found, and nothing is taken for it for as long as the store is open,
    /// whatever comes of the rest. Its series leave the head with the next commit; its samples leave the disk when the
    /// blocks that hold them are merged, and at once where a block holds nothing else.
    pub fn delete_tenant(&self, tenant: TenantId) -> io::Result<()> {
        let inner = &*self.inner;
        inner.resolving.write().expect("lock").insert(tenant);
        // What was queued before must not come after the floor.
        self.commit_queued();
        inner.metadata.write().expect("lock").remove_tenant(tenant);
        inner.forget_totals(tenant, &[]);
        inner.writer.lock().expect("lock").digests.forget_tenant(tenant);
        self.flush()?;
        inner.cut_off(tenant)?;
        let mut writer = inner.writer.lock().expect("lock");
        writer.deleted.push((tenant, Vec::new()));
        writer.evict = true;
        Ok(())
    }

    /// The tenants of which something is left in blocks.
    pub fn tenants_in_blocks(&self) -> BTreeSet<TenantId> {
        let view = self.inner.view.read().expect("lock").clone();
        let left = |block: &Arc<Block>| {
            let sequence = *block.meta().sequences.end();
            let is_left = |tenant, end_ms| end_ms >= floor_ms(&view.floors, tenant, sequence);
            let sections = block.meta().sections.iter();
            let tenants = sections.filter(|one| is_left(one.tenant, one.range.end_ms)).map(|one| one.tenant);
            tenants.collect::<Vec<_>>()
        };
        view.blocks.iter().flat_map(left).collect()
    }
}

impl Inner {
    /// The files that have, or may have, something of the tenant in the range which satisfies the matchers.
    fn files_with(
        &self,
        tenant: TenantId,
        matchers: &[Matcher],
        range: TimeRange,
        blocks: &[Arc<Block>],
        manifest: &Manifest,
    ) -> Result<Vec<u64>, DeleteError> {
        let is_live = |file: &u64| blocks.iter().any(|block| block.meta().id == *file);
        // Could not be read at the start, and may come back.
        let mut files: Vec<u64> =
            manifest.blocks.iter().map(|named| named.id).filter(|file| !is_live(file)).collect();
        for block in blocks {
            let meta = block.meta();
            if !meta.section(tenant).is_some_and(|section| section.range.overlaps(&range)) {
                continue;
            }
            let (budget, mut damaged) = (Budget::new(BUDGET_BYTES), Vec::new());
            let found = block.section(tenant).and_then(|section| match section {
                Some(section) => section.select(matchers, &budget, &mut damaged).map(|found| found.len()),
                None => Ok(0),
            });
            match found {
                Ok(0) if damaged.is_empty() => {}
                Ok(_) | Err(BlockError::Damaged(_)) => files.push(meta.id),
                Err(BlockError::Stop(stop)) => return Err(DeleteError::TooLarge(stop)),
                Err(BlockError::Io(error)) => return Err(error.into()),
                Err(other) => return Err(io::Error::other(other.to_string()).into()),
            }
        }
        files.sort_unstable();
        Ok(files)
    }
}
