//! What an output's configuration means.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use dialects::outgoing::{Options, Parts, Repeated, Signal, Speaker};
use model::TenantName;
use model::relabel::Rules;
use outbound::{HttpConfig, Url};
use wal::Stream;

use crate::pause::Pauses;

/// Whose rows an output gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chosen {
    /// Those of all tenants.
    All,
    /// Those of these.
    Named(BTreeSet<TenantName>),
}

impl Chosen {
    /// Whether the tenant of this name is chosen.
    pub fn has(&self, name: &TenantName) -> bool {
        match self {
            Self::All => true,
            Self::Named(names) => names.contains(name),
        }
    }
}

/// With which series of a load their family is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Describes {
    /// With none.
    Never,
    /// With each.
    EachSeries,
    /// With one of a name, at such intervals.
    AtTimes(Duration),
}

/// How much waits, and how it is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queues {
    /// Rows that wait for one shard, besides those under way.
    pub capacity: usize,
    /// Shards at the beginning, and when there is little to do.
    pub shards_min: usize,
    /// Shards when the receiver keeps up with more requests at once.
    pub shards_max: usize,
    /// Rows of a request.
    pub rows_max: usize,
    /// How long rows wait for others to go with.
    pub deadline: Duration,
    /// Rows older than this when they are to be sent are dropped.
    pub sample_age: Option<Duration>,
}

/// One output.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its name, also that of its cursor's file.
    pub name: String,
    /// The protocol.
    pub speaker: &'static Speaker,
    /// What is chosen of the protocol.
    pub options: Options,
    /// Where to.
    pub url: Url,
    /// Headers of every request.
    pub headers: BTreeMap<String, String>,
    /// How requests are made.
    pub http: HttpConfig,
    /// How long a request may take.
    pub timeout: Duration,
    /// Whose rows.
    pub tenants: Chosen,
    /// Labels that series get that have none of the name.
    pub external_labels: BTreeMap<String, String>,
    /// What becomes of labels afterwards.
    pub relabel: Rules,
    /// How much waits.
    pub queues: Queues,
    /// How long is waited between tries.
    pub pauses: Pauses,
    /// With which series the family's type, unit and help go.
    pub describes: Describes,
    /// Rows that waited longer are dropped.
    pub lag_age_max: Duration,
    /// Rows with more bytes of the log behind them are dropped; none = 10 GiB, or a fifth of the disk if that is less.
    pub lag_bytes_max: Option<u64>,
}

impl Settings {
    /// The log that it follows.
    pub fn stream(&self) -> Stream {
        match self.speaker.signal {
            Signal::Metrics => Stream::Metrics,
            Signal::Logs => Stream::Logs,
        }
    }

    /// Whether its receiver adds what comes again.
    pub fn adds(&self) -> bool {
        (self.speaker.repeated)(&self.options) == Repeated::IsAdded
    }

    /// Whether parts of one histogram or summary go to the receiver together: those of a classic one are several series.
    pub(crate) fn keeps_parts_together(&self) -> bool {
        self.speaker.parts == Parts::Together
    }

    /// Whether labels are those of the log.
    pub(crate) fn keeps_labels(&self) -> bool {
        self.external_labels.is_empty() && self.relabel.is_empty()
    }
}

/// The same output, down to its credentials.
impl PartialEq for Settings {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
            && self.speaker.name == other.speaker.name
            && self.options == other.options
            && self.url == other.url
            && self.headers == other.headers
            && self.http == other.http
            && self.timeout == other.timeout
            && self.tenants == other.tenants
            && self.external_labels == other.external_labels
            && self.relabel == other.relabel
            && (self.queues, self.pauses) == (other.queues, other.pauses)
            && self.describes == other.describes
            && (self.lag_age_max, self.lag_bytes_max) == (other.lag_age_max, other.lag_bytes_max)
    }
}
