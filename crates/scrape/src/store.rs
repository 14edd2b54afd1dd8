//! Where rows go: what a scrape asks of the store, and what it tells whoever counts.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use model::{Batch, TenantName};

/// A future that a trait object gives.
pub type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Completes once what was appended is durable.
pub type Durable = Boxed<'static, Result<(), Lost>>;

/// Why rows were not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Lost {
    /// Occurs when the store is being opened, or is closing.
    #[error("the store is not open")]
    Closed,
    /// Occurs when the store takes nothing now and may take it later.
    #[error("no room in the store: {0}")]
    Full(&'static str),
    /// Occurs when the tenant's rate is used up.
    #[error("the tenant's rate of samples is used up")]
    Rate,
    /// Occurs when there is no such tenant.
    #[error("there is no such tenant")]
    NoTenant,
    /// Occurs when what was taken did not become durable.
    #[error("the write did not become durable")]
    NotDurable,
    /// Occurs when reading the page panicked.
    #[error("reading the page failed in Weir itself")]
    Panicked,
}

impl Lost {
    /// The value of the self-metrics' label `reason`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Full(_) => "full",
            Self::Rate => "over_rate",
            Self::NoTenant => "no_tenant",
            Self::NotDurable => "not_durable",
            Self::Panicked => "internal",
        }
    }
}

/// Memory for a page that is held until this is dropped.
pub trait Paid: Send {
    /// Pays for so many bytes altogether, or says that there is no room for them.
    fn settle(&mut self, bytes: u64) -> Result<(), Lost>;
}

/// What takes rows.
pub trait Store: Send + Sync + 'static {
    /// The seed of series' keys; `None` while the store is not open.
    fn seed(&self) -> Option<u64>;

    /// Whether a tenant may be given a page now; takes memory for `bytes` of it.
    fn pay(&self, tenant: &TenantName, bytes: u64) -> Result<Box<dyn Paid>, Lost>;

    /// Gives rows of a page read at `now_ms` to the store, which does not wait for the disk.
    fn append(&self, tenant: &TenantName, batch: &Batch<'_>, now_ms: i64) -> Result<Durable, Lost>;

    /// Runs what computes for long where it holds up nobody.
    fn compute(&self, job: Box<dyn FnOnce() + Send>) -> Boxed<'_, Result<(), Lost>>;

    /// Counts.
    fn tell(&self, told: Told<'_>);
}

/// What is counted.
#[derive(Clone, Copy, Debug)]
pub enum Told<'a> {
    /// A scrape ended.
    Scraped {
        /// Its job.
        job: &'a str,
        /// Its tenant.
        tenant: &'a TenantName,
        /// How long it took, storing not among it.
        took: Duration,
        /// Rows on the page.
        samples: u64,
        /// Why it failed, by name; `None` when it did not.
        failure: Option<&'static str>,
    },
    /// Rows were read and not stored.
    Lost {
        /// Their tenant.
        tenant: &'a TenantName,
        /// Why.
        why: Lost,
        /// How many, markers and reports among them.
        samples: u64,
    },
    /// The time of a scrape came while the one before it ran.
    Skipped {
        /// The job.
        job: &'a str,
    },
    /// A job's targets are others now.
    Targets {
        /// The job.
        job: &'a str,
        /// That are scraped.
        active: usize,
        /// That rules dropped.
        dropped: usize,
        /// That could not be made of what was discovered.
        invalid: usize,
    },
}
