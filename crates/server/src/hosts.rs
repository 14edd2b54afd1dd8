//! Tags of hosts that arrive apart from the series of those hosts, for whoever decodes the next request: a cache of
//! what `/intake/` told, on disk so that a restart does not take labels away for half an hour.
//!
//! The file is small and derived: one that is damaged is begun anew, and the next payload of each host fills it.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use codec::envelope;
use env::Env;
use model::{HostRow, HostTags, TenantId};

const NAME: &str = "host-tags";
const MAGIC: &[u8; 8] = b"WEIRHTAG";
const VERSION: u16 = 1;

/// Bytes of all tenants' hosts at which nothing more is learned. Each tenant has its own bound
/// ([`model::hosts::HOSTS_BYTES_MAX`]).
const BYTES_MAX: usize = 64 << 20;

/// What is known of all tenants' hosts.
#[derive(Debug)]
pub struct Hosts {
    env: Env,
    directory: PathBuf,
    tenants: Mutex<HashMap<TenantId, Arc<HostTags>>>,
    /// Counts changes; what was saved is told by the other.
    changes: AtomicU64,
    saved: Mutex<u64>,
}

impl Hosts {
    /// What `directory` holds of them.
    pub fn open(env: Env, directory: &Path) -> Self {
        let tenants = read(&env, directory).unwrap_or_else(|error| {
            tracing::warn!(%error, "tags of hosts cannot be read and are learned anew");
            HashMap::new()
        });
        Self {
            env,
            directory: directory.to_owned(),
            tenants: Mutex::new(tenants.into_iter().map(|(id, tags)| (id, Arc::new(tags))).collect()),
            changes: AtomicU64::new(0),
            saved: Mutex::new(0),
        }
    }

    /// What is known of a tenant's hosts.
    pub fn of(&self, tenant: TenantId) -> Arc<HostTags> {
        self.tenants.lock().unwrap_or_else(PoisonError::into_inner).get(&tenant).cloned().unwrap_or_default()
    }

    /// Takes what a request told, which is to be saved before that is acknowledged; of how many hosts it is not kept,
    /// because there are too many bytes.
    pub fn learn(&self, tenant: TenantId, rows: Vec<HostRow>) -> u64 {
        if rows.is_empty() {
            return 0;
        }
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        if tenants.values().map(|tags| tags.bytes()).sum::<usize>() > BYTES_MAX {
            return rows.len() as u64;
        }
        let tags = Arc::make_mut(tenants.entry(tenant).or_default());
        let mut refused = 0;
        for row in rows {
            if tags.set(row.clone()) {
                self.changes.fetch_add(1, Ordering::Relaxed);
            } else {
                refused += u64::from(tags.of(&row.host) != row.tags);
            }
        }
        refused
    }

    /// Forgets a tenant that is no more.
    pub fn forget(&self, tenant: TenantId) -> io::Result<()> {
        let known = self.tenants.lock().unwrap_or_else(PoisonError::into_inner).remove(&tenant);
        self.changes.fetch_add(u64::from(known.is_some()), Ordering::Relaxed);
        self.save()
    }

    /// Writes all of it, durably, unless somebody has done so since it changed.
    pub fn save(&self) -> io::Result<()> {
        let mut saved = self.saved.lock().unwrap_or_else(PoisonError::into_inner);
        let changes = self.changes.load(Ordering::Relaxed);
        if *saved == changes {
            return Ok(());
        }
        // Every request that is decoded waits for this lock: nothing is encoded under it.
        let tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let body = encode(&tenants);
        env::replace(
            &*self.env.files,
            &self.directory,
            NAME,
            &envelope::wrap(MAGIC, VERSION, body.as_bytes()),
        )?;
        *saved = changes;
        Ok(())
    }
}

/// `[[tenant, [[host, [tag…]]…]]…]`
fn encode(tenants: &HashMap<TenantId, Arc<HostTags>>) -> String {
    let row =
        |(id, tags): (&TenantId, &Arc<HostTags>)| serde_json::json!([id.0, tags.iter().collect::<Vec<_>>()]);
    serde_json::Value::from_iter(tenants.iter().map(row)).to_string()
}

/// A tenant's number, and its hosts with their tags.
type Row = (u32, Vec<(String, Vec<String>)>);

fn read(env: &Env, directory: &Path) -> io::Result<HashMap<TenantId, HostTags>> {
    let Some(bytes) = env::read_if_there(&*env.files, &directory.join(NAME))? else {
        return Ok(HashMap::new());
    };
    let damaged = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
    let body = envelope::unwrap(MAGIC, VERSION, &bytes).map_err(|error| damaged(format!("{error:?}")))?;
    let rows: Vec<Row> = serde_json::from_slice(body).map_err(|error| damaged(error.to_string()))?;
    let tenant = |(id, hosts): Row| {
        let mut known = HostTags::default();
        for (host, tags) in hosts {
            known.set(HostRow { host, tags });
        }
        (TenantId(id), known)
    };
    Ok(rows.into_iter().map(tenant).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(host: &str, tag: &str) -> HostRow {
        HostRow { host: host.to_owned(), tags: vec![tag.to_owned()] }
    }

    #[test]
    fn they_outlive_a_restart_and_not_their_tenant() {
        let directory = tempfile::tempdir().unwrap();
        let open = || Hosts::open(Env::real(), directory.path());
        let hosts = open();
        hosts.learn(TenantId(1), vec![row("a", "env:prod"), row("b", "bare")]);
        hosts.learn(TenantId(2), vec![row("a", "env:test")]);
        let too_long = row("c", &"x".repeat(model::hosts::HOST_BYTES_MAX));
        assert_eq!(hosts.learn(TenantId(1), vec![row("a", "env:prod"), too_long]), 1);
        hosts.save().unwrap();
        let hosts = open();
        assert_eq!(hosts.of(TenantId(1)).of("a"), ["env:prod"]);
        assert_eq!(hosts.of(TenantId(2)).of("a"), ["env:test"]);
        hosts.forget(TenantId(1)).unwrap();
        assert!(open().of(TenantId(1)).of("b").is_empty());
        std::fs::write(directory.path().join(NAME), b"WEIRHTAG nothing").unwrap();
        assert!(open().of(TenantId(2)).of("a").is_empty());
    }

    #[test]
    fn what_could_not_be_saved_is_saved_later() {
        let directory = tempfile::tempdir().unwrap();
        let hosts = Hosts::open(Env::real(), directory.path());
        let in_the_way = directory.path().join(format!("{NAME}.tmp"));
        hosts.learn(TenantId(1), vec![row("a", "env:prod")]);
        std::fs::create_dir(&in_the_way).unwrap();
        assert!(hosts.save().is_err() && hosts.save().is_err());
        std::fs::remove_dir(&in_the_way).unwrap();
        hosts.save().unwrap();
        assert_eq!(Hosts::open(Env::real(), directory.path()).of(TenantId(1)).of("a"), ["env:prod"]);

        std::fs::create_dir(&in_the_way).unwrap();
        assert!(hosts.forget(TenantId(1)).is_err() && hosts.forget(TenantId(1)).is_err());
        std::fs::remove_dir(&in_the_way).unwrap();
        hosts.forget(TenantId(1)).unwrap();
        assert!(Hosts::open(Env::real(), directory.path()).of(TenantId(1)).of("a").is_empty());
    }
}
