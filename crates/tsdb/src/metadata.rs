//! Type, unit and help of metric families, per tenant.
//!
//! Changes go through the log; the whole is written to the file `metadata` when the head is flushed and something
//! changed, before the log is trimmed.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use codec::chunk::Corrupt;
use codec::chunk::bytes::{Reader, put_bytes, put_varint};
use env::Files;
use model::{Metadata, MetricType, TenantId};

use crate::manifest::{Undecodable, envelope, open_envelope};
use crate::open::OpenError;
use crate::store::Store;

const VERSION: u16 = 1;
const MAGIC: &[u8; 8] = b"WEIRMET1";
const FILE: &str = "metadata";

/// Metadata of all tenants.
#[derive(Default)]
pub(crate) struct MetadataStore {
    tenants: BTreeMap<TenantId, BTreeMap<String, Metadata>>,
    /// Changes since the file was written.
    changes: u64,
}

impl MetadataStore {
    pub(crate) fn get(&self, tenant: TenantId, family: &str) -> Option<&Metadata> {
        self.tenants.get(&tenant)?.get(family)
    }

    pub(crate) fn count(&self, tenant: TenantId) -> u64 {
        self.tenants.get(&tenant).map_or(0, |families| families.len() as u64)
    }

    pub(crate) fn set(&mut self, tenant: TenantId, family: &str, metadata: Metadata) {
        self.changes += 1;
        self.tenants.entry(tenant).or_default().insert(family.to_owned(), metadata);
    }

    pub(crate) fn remove_tenant(&mut self, tenant: TenantId) {
        self.changes += u64::from(self.tenants.remove(&tenant).is_some());
    }

    /// The file's content and how many changes it covers; `None` when nothing changed.
    pub(crate) fn pending(&self) -> Option<(Vec<u8>, u64)> {
        (self.changes > 0).then(|| (self.encode(), self.changes))
    }

    /// The file with so many changes was written.
    pub(crate) fn written(&mut self, changes: u64) {
        self.changes -= changes;
    }

    fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        put_varint(&mut body, self.tenants.len() as u64);
        for (tenant, families) in &self.tenants {
            put_varint(&mut body, u64::from(tenant.0));
            put_varint(&mut body, families.len() as u64);
            for (family, metadata) in families {
                body.push(metadata.kind.number());
                for text in [family, &metadata.unit, &metadata.help] {
                    put_bytes(&mut body, text.as_bytes());
                }
            }
        }
        envelope(MAGIC, VERSION, &body)
    }

    fn decode(body: &[u8]) -> Result<Self, Corrupt> {
        let mut reader = Reader::new(body);
        let mut tenants = BTreeMap::new();
        for _ in 0..reader.count_of(2)? {
            let tenant = TenantId(reader.number()?);
            let mut families = BTreeMap::new();
            for _ in 0..reader.count_of(4)? {
                let kind = MetricType::from_number(u64::from(reader.byte()?)).ok_or(Corrupt)?;
                let mut text = || String::from_utf8(reader.bytes()?.to_vec()).map_err(|_| Corrupt);
                let (family, unit, help) = (text()?, text()?, text()?);
                families.insert(family, Metadata { kind, unit, help });
            }
            tenants.insert(tenant, families);
        }
        Ok(Self { tenants, changes: 0 })
    }

    /// Reads the file; a damaged one is reported and as good as none: senders repeat their metadata.
    pub(crate) fn load(
        files: &dyn Files,
        directory: &Path,
        damaged: &mut Vec<String>,
    ) -> Result<Self, OpenError> {
        let path = directory.join(FILE);
        if !files.exists(&path)? {
            return Ok(Self::default());
        }
        let bytes = env::read_all(files, &path)?;
        match open_envelope(MAGIC, VERSION, &bytes) {
            Ok(body) => Ok(Self::decode(body).unwrap_or_else(|Corrupt| {
                damaged.push(FILE.to_owned());
                Self::default()
            })),
            Err(Undecodable::Newer(found)) => {
                Err(OpenError::Newer { what: FILE.to_owned(), found: found.into(), known: VERSION.into() })
            }
            Err(Undecodable::Damaged) => {
                damaged.push(FILE.to_owned());
                Ok(Self::default())
            }
        }
    }
}

/// Writes the file.
pub(crate) fn store(files: &dyn Files, directory: &Path, content: &[u8]) -> io::Result<()> {
    env::replace(files, directory, FILE, content)
}

impl Store {
    /// Metadata of a tenant's metric families, sorted by name.
    pub fn metadata(&self, tenant: TenantId) -> Vec<(String, Metadata)> {
        let stored = self.inner.metadata.read().expect("lock");
        let families = stored.tenants.get(&tenant).into_iter().flatten();
        families.map(|(family, metadata)| (family.clone(), metadata.clone())).collect()
    }
}
