//! Log records on their way into the batch, whichever encoding they came in: labels of streams as Loki's receiver chooses them.
//!
//! What a resource says of where it runs is its stream's labels, under names with underscores; everything else that it, its scope
//! and the record say are fields of the line.

use std::borrow::Cow;

use model::batch::Pair;
use model::{Batch, Reason, Signal};

use super::names;
use super::settings::Settings;
use super::value::{Attributes, is_about_content};
use crate::lines::{self, Lines};
use crate::rows::{Full, Room};
use crate::{Malformed, Received};

/// Attributes of a resource that are labels: Loki's default.
pub(super) const INDEXED: [&str; 17] = [
    "service.name",
    "service.namespace",
    "service.instance.id",
    "deployment.environment",
    "deployment.environment.name",
    "cloud.region",
    "cloud.availability_zone",
    "k8s.cluster.name",
    "k8s.namespace.name",
    "k8s.pod.name",
    "k8s.container.name",
    "container.name",
    "k8s.replicaset.name",
    "k8s.deployment.name",
    "k8s.statefulset.name",
    "k8s.daemonset.name",
    "k8s.cronjob.name",
];
/// One more.
pub(super) const INDEXED_JOB: &str = "k8s.job.name";
/// The service of whoever does not say it: Loki's word.
const UNKNOWN_SERVICE: &str = "unknown_service";

type Pairs<'a> = Vec<Pair<'a>>;

/// A record as it was sent. Empty texts are absent ones.
#[derive(Debug, Default)]
pub(super) struct Record<'a> {
    pub(super) time_ns: u64,
    pub(super) observed_ns: u64,
    pub(super) severity_number: i64,
    pub(super) severity_text: Cow<'a, str>,
    pub(super) body: Cow<'a, str>,
    pub(super) attributes: Pairs<'a>,
    /// In hexadecimal.
    pub(super) trace_id: String,
    /// In hexadecimal.
    pub(super) span_id: String,
    pub(super) flags: u32,
    pub(super) event_name: Cow<'a, str>,
}

/// Takes a request's records in.
pub(super) struct Records<'a, 'b> {
    batch: &'b mut Batch<'a>,
    room: Room,
    settings: &'a Settings,
    received_ms: i64,
    lines: Lines,
    stream: Pairs<'a>,
    /// What the resource says beside its stream, then what the scope says.
    around: Pairs<'a>,
    of_resource: usize,
    /// Why no record of the resource or scope at hand can be taken.
    refusals: [Option<&'static str>; 2],
}

impl<'a, 'b> Records<'a, 'b> {
    /// Nothing yet.
    pub(super) fn new(received: &Received<'a>, batch: &'b mut Batch<'a>) -> Self {
        Self {
            batch,
            room: Room::new(),
            settings: &received.settings.otlp,
            received_ms: received.received_ms,
            lines: Lines::default(),
            stream: Vec::new(),
            around: Vec::new(),
            of_resource: 0,
            refusals: [None; 2],
        }
    }

    /// Records from now on are of this resource.
    pub(super) fn resource(&mut self, attributes: &Attributes<'a>) -> Result<(), Malformed> {
        self.stream.clear();
        self.around.clear();
        self.refusals = [None; 2];
        match content(attributes.pairs())? {
            Ok(pairs) => {
                let is_indexed = |name: &str| INDEXED.contains(&name) || name == INDEXED_JOB;
                let (stream, around): (Pairs<'_>, Pairs<'_>) =
                    pairs.into_iter().partition(|(name, _)| is_indexed(name));
                self.stream = stream
                    .into_iter()
                    .map(|(name, text)| (Cow::Owned(name.replace('.', "_")), text))
                    .collect();
                self.around = self.named(around);
            }
            Err(what) => self.refusals[0] = Some(what),
        }
        let named = self.stream.iter().any(|(name, text)| name == "service_name" && !text.is_empty());
        if !named {
            self.stream.push((Cow::Borrowed("service_name"), Cow::Borrowed(UNKNOWN_SERVICE)));
        }
        // Of a name that stands twice the last counts.
        self.stream.reverse();
        let mut seen: Vec<Cow<'_, str>> = Vec::new();
        self.stream.retain(|(name, text)| {
            let is_new = !text.is_empty() && !seen.contains(name);
            if is_new {
                seen.push(name.clone());
            }
            is_new
        });
        self.stream.reverse();
        self.of_resource = self.around.len();
        Ok(())
    }

    /// Records from now on are of this scope.
    pub(super) fn scope(
        &mut self,
        name: Cow<'a, str>,
        version: Cow<'a, str>,
        attributes: &Attributes<'a>,
    ) -> Result<(), Malformed> {
        self.around.truncate(self.of_resource);
        self.refusals[1] = None;
        self.around.extend([(Cow::Borrowed("scope_name"), name), (Cow::Borrowed("scope_version"), version)]);
        match content(attributes.pairs())? {
            Ok(pairs) => {
                let pairs = self.named(pairs);
                self.around.extend(pairs);
            }
            Err(what) => self.refusals[1] = Some(what),
        }
        Ok(())
    }

    /// Attributes under names that a query can say without quotes.
    fn named(&self, pairs: Pairs<'a>) -> Pairs<'a> {
        let named = |(name, text): (Cow<'a, str>, Cow<'a, str>)| {
            let label = match &name {
                Cow::Borrowed(name) => names::escaped_label(self.settings, name),
                Cow::Owned(name) => Cow::Owned(names::escaped_label(self.settings, name).into_owned()),
            };
            (!label.is_empty()).then_some((label, text))
        };
        pairs.into_iter().filter_map(named).collect()
    }

    /// Keeps a record, or refuses it for what is in it.
    pub(super) fn record(&mut self, record: Result<Record<'a>, &'static str>) -> Result<(), Malformed> {
        self.batch.items.begin();
        self.room.take(size_of::<u32>()).map_err(full)?;
        let refusal = self.refusals.iter().flatten().next().copied();
        let record = match (record, refusal) {
            (Ok(record), None) => record,
            (Err(what), None) | (_, Some(what)) => {
                let explain = || format!("a log record has a {what}");
                self.batch.refuse_item(Signal::LogLine, Reason::InvalidLine, explain);
                return Ok(());
            }
        };
        self.keep(record).map_err(full)
    }

    /// Refuses a record that has a number, or its time, in a form that cannot be read.
    pub(super) fn unreadable(&mut self) -> Result<(), Malformed> {
        self.batch.items.begin();
        self.room.take(size_of::<u32>()).map_err(full)?;
        let explain = || "a log record has a number that cannot be read".to_owned();
        self.batch.refuse_item(Signal::LogLine, Reason::InvalidValue, explain);
        Ok(())
    }

    fn keep(&mut self, record: Record<'a>) -> Result<(), Full> {
        let fields = self.batch.pairs.len();
        let number = |number: u64| match number {
            0 => Cow::Borrowed(""),
            number => Cow::Owned(number.to_string()),
        };
        let own = [
            ("severity_text", record.severity_text),
            ("severity_number", number(record.severity_number.max(0) as u64)),
            ("trace_id", Cow::Owned(record.trace_id)),
            ("span_id", Cow::Owned(record.span_id)),
            ("observed_timestamp", number(record.observed_ns)),
            ("flags", number(u64::from(record.flags))),
            ("event_name", record.event_name),
        ];
        let own = own.into_iter().map(|(name, text)| (Cow::Borrowed(name), text));
        let attributes = self.named(record.attributes);
        let around = self.around.iter().cloned();
        for (name, text) in own.chain(attributes).chain(around).filter(|(_, text)| !text.is_empty()) {
            lines::put(self.batch, &mut self.room, name, text)?;
        }
        let times = [record.time_ns, record.observed_ns].map(|ns| i64::try_from(ns).unwrap_or(0));
        let time_ns = times.into_iter().find(|ns| *ns > 0);
        let time_ns = time_ns.unwrap_or(self.received_ms.saturating_mul(1_000_000));
        let stream = self.stream.iter().cloned();
        self.lines.push(self.batch, &mut self.room, stream, fields, time_ns, record.body)
    }
}

fn full(_: Full) -> Malformed {
    Malformed { what: Full::WHAT, offset: 0 }
}

/// What was read, or why it cannot be kept; that the rest cannot be read is an error.
pub(super) fn content<T>(read: Result<T, Malformed>) -> Result<Result<T, &'static str>, Malformed> {
    match read {
        Ok(value) => Ok(Ok(value)),
        Err(error) if is_about_content(error.what) => Ok(Err(error.what)),
        Err(error) => Err(error),
    }
}
