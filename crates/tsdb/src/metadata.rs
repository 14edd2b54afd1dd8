//! Type, unit and help of metric families, per tenant.
//!
//! Changes go through the log; the whole is written to the file `metadata` when the head is flushed and something
//! changed, before the log is trimmed. It never leaves memory before its tenant does, so it has bounds of its own.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use codec::chunk::Corrupt;
use codec::chunk::bytes::{Reader, put_bytes, put_varint};
use codec::envelope;
use env::Files;
use model::{Metadata, MetricType, TenantId};

use crate::open::OpenError;
use crate::room::{Bounds, Holding};
use crate::small_file::{self, SmallFile};
use crate::store::Store;

pub(crate) const VERSION: u16 = 1;
pub(crate) const MAGIC: &[u8; 8] = b"WEIRMET1";
const FILE: &str = "metadata";

/// Bytes that a family takes beside its text: map entry, three strings and their allocations. In the file it takes less
/// (a type, three lengths, its part of the tenant's header), so the file is never longer than what is counted.
const FAMILY_BYTES: u64 = 160;

/// All metadata together takes a sixteenth of `memory_bytes`.
const MEMORY_PART: u64 = 16;

/// And never more than this, a quarter of what the length field of the file's envelope holds (`codec::envelope`
/// panics beyond): what waits in the queue while a request is judged comes on top and has room there.
const BYTES_MAX: u64 = 1 << 30;

/// A tenant's metadata takes a quarter of what all may take: 64 MiB of 4 GiB of memory, some 250,000 families.
const TENANT_PART: u64 = 4;

/// Metadata of all tenants.
#[derive(Default)]
pub(crate) struct MetadataStore {
    tenants: BTreeMap<TenantId, Families>,
    /// Of all tenants.
    bytes: u64,
    /// Changes since the file was written.
    changes: u64,
}

/// Metadata of one tenant, by family.
#[derive(Default)]
struct Families {
    by_name: BTreeMap<String, Stored>,
    bytes: u64,
}

/// One family's metadata.
pub(crate) struct Stored {
    pub(crate) metadata: Metadata,
    /// Set when an append with other metadata of this family failed: a restart may find that one in the log, so the
    /// next one is written even when it is the same as this.
    pub(crate) in_doubt: bool,
}

impl MetadataStore {
    pub(crate) fn get(&self, tenant: TenantId, family: &str) -> Option<&Stored> {
        self.tenants.get(&tenant)?.by_name.get(family)
    }

    pub(crate) fn count(&self, tenant: TenantId) -> u64 {
        self.tenants.get(&tenant).map_or(0, |families| families.by_name.len() as u64)
    }

    /// Bytes held, estimated.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes that a tenant's metadata grows by when a family's is set.
    pub(crate) fn growth(&self, tenant: TenantId, family: &str, metadata: &Metadata) -> u64 {
        let before = self.get(tenant, family).map_or(0, |stored| bytes_of(family, &stored.metadata));
        bytes_of(family, metadata).saturating_sub(before)
    }

    /// Whether a tenant's metadata may not grow by so many bytes in a store of `memory_bytes`.
    pub(crate) fn refuses(&self, memory_bytes: u64, tenant: TenantId, growth: u64) -> bool {
        let budget = (memory_bytes / MEMORY_PART).min(BYTES_MAX);
        let families = self.tenants.get(&tenant);
        let bytes = families.map_or(0, |families| families.bytes);
        let tenants = self.tenants.len() as u64 + u64::from(families.is_none());
        let holding = || Holding { bytes, all_bytes: self.bytes, tenants };
        bytes + growth > budget / TENANT_PART || Bounds::of(budget).refuse(self.bytes + growth, holding)
    }

    pub(crate) fn set(&mut self, tenant: TenantId, family: &str, metadata: Metadata) {
        let growth = self.growth(tenant, family, &metadata);
        // What is accepted stays far below; this makes it impossible that the file's length does not fit.
        if self.bytes + growth > u64::from(u32::MAX) {
            tracing::error!(family, "metadata dropped: there is more than its file holds");
            return;
        }
        self.changes += 1;
        self.insert(tenant, family.to_owned(), metadata);
    }

    fn insert(&mut self, tenant: TenantId, family: String, metadata: Metadata) {
        let families = self.tenants.entry(tenant).or_default();
        self.bytes -= families.bytes;
        if let Some(old) = families.by_name.get(&family) {
            families.bytes -= bytes_of(&family, &old.metadata);
        }
        families.bytes += bytes_of(&family, &metadata);
        self.bytes += families.bytes;
        families.by_name.insert(family, Stored { metadata, in_doubt: false });
    }

    /// An append with metadata of this family failed.
    pub(crate) fn doubt(&mut self, tenant: TenantId, family: &str) {
        let families = self.tenants.get_mut(&tenant);
        // What is not stored is written whenever it comes.
        if let Some(stored) = families.and_then(|families| families.by_name.get_mut(family)) {
            stored.in_doubt = true;
        }
    }

    pub(crate) fn remove_tenant(&mut self, tenant: TenantId) {
        if let Some(families) = self.tenants.remove(&tenant) {
            self.bytes -= families.bytes;
            self.changes += 1;
        }
    }

    /// The file's content and how many changes it covers; `None` when nothing changed.
    pub(crate) fn pending(&self) -> Option<(Vec<u8>, u64)> {
        (self.changes > 0).then(|| (self.encode(), self.changes))
    }

    /// The file with so many changes was written.
    pub(crate) fn written(&mut self, changes: u64) {
        self.changes -= changes;
    }

    /// The file's content.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        put_varint(&mut body, self.tenants.len() as u64);
        for (tenant, families) in &self.tenants {
            put_varint(&mut body, u64::from(tenant.0));
            put_varint(&mut body, families.by_name.len() as u64);
            for (family, Stored { metadata, .. }) in &families.by_name {
                body.push(metadata.kind.number());
                for text in [family, &metadata.unit, &metadata.help] {
                    put_bytes(&mut body, text.as_bytes());
                }
            }
        }
        envelope::wrap(MAGIC, VERSION, &body)
    }

    fn decode(body: &[u8]) -> Result<Self, Corrupt> {
        let mut reader = Reader::new(body);
        let mut store = Self::default();
        for _ in 0..reader.count_of(2)? {
            let tenant = TenantId(reader.number()?);
            for _ in 0..reader.count_of(4)? {
                let kind = MetricType::from_number(u64::from(reader.byte()?)).ok_or(Corrupt)?;
                let mut text = || String::from_utf8(reader.bytes()?.to_vec()).map_err(|_| Corrupt);
                let (family, unit, help) = (text()?, text()?, text()?);
                store.insert(tenant, family, Metadata { kind, unit, help });
            }
        }
        Ok(store)
    }

    /// Reads the file; a damaged one is told in `damage` and as good as none: senders repeat their metadata.
    pub(crate) fn load(
        files: &dyn Files,
        directory: &Path,
        damage: &mut Vec<String>,
    ) -> Result<Self, OpenError> {
        let found = match small_file::read(files, directory, FILE, MAGIC, VERSION)? {
            SmallFile::Missing => return Ok(Self::default()),
            SmallFile::Damaged => None,
            SmallFile::Whole(body) => Self::decode(&body).ok(),
        };
        Ok(found.unwrap_or_else(|| {
            damage.push(
                "metadata is damaged: types and help texts are missing until senders repeat them".into(),
            );
            Self::default()
        }))
    }
}

fn bytes_of(family: &str, metadata: &Metadata) -> u64 {
    FAMILY_BYTES + (family.len() + metadata.unit.len() + metadata.help.len()) as u64
}

/// Writes the file.
pub(crate) fn store(files: &dyn Files, directory: &Path, content: &[u8]) -> io::Result<()> {
    env::replace(files, directory, FILE, content)
}

impl Store {
    /// Metadata of one of a tenant's metric families.
    pub fn metadata_of(&self, tenant: TenantId, family: &str) -> Option<Metadata> {
        let stored = self.inner.metadata.read().expect("lock");
        stored.get(tenant, family).map(|stored| stored.metadata.clone())
    }

    /// Metadata of a tenant's metric families, sorted by name.
    pub fn metadata(&self, tenant: TenantId) -> Vec<(String, Metadata)> {
        let stored = self.inner.metadata.read().expect("lock");
        let families = stored.tenants.get(&tenant).into_iter().flat_map(|families| &families.by_name);
        families.map(|(family, stored)| (family.clone(), stored.metadata.clone())).collect()
    }
}
