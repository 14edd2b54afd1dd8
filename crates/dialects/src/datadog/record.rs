//! What every Datadog route decodes to: a record of a series as it was sent. Its labels are made by [`super::translate`]
//! when the store does not know its key yet.

use std::borrow::Cow;
use std::ops::Range;

use codec::hash::key128;
use model::batch::{LabelSource, MakeLabels, Pair};
use model::{Batch, HostTags, LabelError};

use super::settings::{HostTagsUse, Settings};
use super::translate;
use crate::Received;

/// What is known of a series' name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name<'a> {
    /// A metric, and what stands behind its name (`_min`), or nothing.
    Metric(Cow<'a, str>, &'static str),
    /// A service check.
    Check(Cow<'a, str>),
    /// The tags of a host.
    HostInfo,
}

/// The type that a sender gave its metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Kind {
    /// None, or one that says nothing: stored as a gauge.
    #[default]
    Unspecified,
    /// What happened in an interval.
    Count,
    /// Per second, over an interval.
    Rate,
    /// A value at a time.
    Gauge,
    /// A sketch.
    Distribution,
}

impl Kind {
    /// The value of the label `type`; empty when there is none.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unspecified => "",
            Self::Count => "count",
            Self::Rate => "rate",
            Self::Gauge => "gauge",
            Self::Distribution => "distribution",
        }
    }
}

/// A series as it was sent. Empty texts are absent ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its name.
    pub name: Name<'a>,
    /// Its type.
    pub kind: Kind,
    /// Seconds that a value stands for; 0 = not said.
    pub interval_s: i64,
    /// The host it is of.
    pub host: Cow<'a, str>,
    /// The device it is of.
    pub device: Cow<'a, str>,
    /// What made it.
    pub source_type: Cow<'a, str>,
    /// Further things that it is of, in [`Source::resources`].
    pub resources: Range<usize>,
    /// Its tags, in [`Source::tags`]; several records may have the same.
    pub tags: Range<usize>,
}

/// The records of a request: the source of its series' labels.
#[derive(Debug)]
pub struct Source<'a> {
    /// How the tenant wants them.
    pub settings: &'a Settings,
    /// What is known of its hosts.
    pub hosts: &'a HostTags,
    /// Records, by number.
    pub records: Vec<Record<'a>>,
    /// Tags that records point into.
    pub tags: Vec<Cow<'a, str>>,
    /// Resources other than host and device that records point into: type and name.
    pub resources: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

/// Keeps keys of these records apart from those of other dialects.
const KEY_DOMAIN: u64 = 0x6461_7461_646f_6720;

impl<'a> Source<'a> {
    /// No records yet.
    pub fn new(received: &Received<'a>) -> Self {
        Self {
            settings: &received.settings.datadog,
            hosts: received.hosts,
            records: Vec::new(),
            tags: Vec::new(),
            resources: Vec::new(),
        }
    }

    /// Takes a record; its number as [`LabelSource::Made`].
    #[inline]
    pub fn push(&mut self, record: Record<'a>) -> LabelSource<'static> {
        let number = self.records.len();
        self.records.push(record);
        LabelSource::Made(u32::try_from(number).expect("a body has less than 2^32 series"))
    }

    /// The tags of a record's host that it gets with its own.
    pub fn attached(&self, record: &Record<'_>) -> &'a [String] {
        match (self.settings.host_tags, &record.name) {
            (HostTagsUse::Attach, Name::Metric(..) | Name::Check(_)) => self.hosts.of(&record.host),
            _ => &[],
        }
    }

    /// How many labels a record has beside the fixed ones, at most.
    pub fn labels(&self, record: &Record<'_>) -> usize {
        record.tags.len() + record.resources.len() + self.attached(record).len()
    }

    /// The seed of this request's keys: it tells tenants' choices and states of host tags apart.
    pub fn key_seed(&self, batch: &Batch<'_>) -> u64 {
        let attached = match self.settings.host_tags {
            HostTagsUse::Attach => self.hosts.generation(),
            HostTagsUse::Off | HostTagsUse::Info => 0,
        };
        let choices = format!("{:?} {attached}", self.settings);
        key128(batch.seed ^ KEY_DOMAIN, choices.as_bytes()) as u64
    }

    /// A record's key, under a seed of [`Source::key_seed`]: equal ones have equal labels. `scratch` is a buffer to be used
    /// again.
    pub fn key(&self, record: &Record<'_>, seed: u64, scratch: &mut Vec<u8>) -> u128 {
        scratch.clear();
        let (which, name, suffix) = match &record.name {
            Name::Metric(name, suffix) => (0, name.as_ref(), *suffix),
            Name::Check(name) => (1, name.as_ref(), ""),
            Name::HostInfo => (2, "", ""),
        };
        scratch.extend_from_slice(&[which, record.kind as u8]);
        scratch.extend_from_slice(&record.interval_s.to_le_bytes());
        let mut put = |text: &str| {
            scratch.extend_from_slice(&(text.len() as u32).to_le_bytes());
            scratch.extend_from_slice(text.as_bytes());
        };
        for text in [name, suffix, &record.host, &record.device, &record.source_type] {
            put(text);
        }
        for (kind, name) in &self.resources[record.resources.clone()] {
            put(kind);
            put(name);
        }
        self.tags[record.tags.clone()].iter().for_each(|tag| put(tag));
        key128(seed, scratch)
    }
}

impl MakeLabels for Source<'_> {
    fn make<'b>(&'b self, number: u32, pairs: &mut Vec<Pair<'b>>) -> Result<(), LabelError> {
        translate::labels(self, &self.records[number as usize], pairs)
    }
}
