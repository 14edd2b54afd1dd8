//! From lines to windows: what all sockets of one tenant share.
//!
//! One lock, taken once for a batch of datagrams. Whoever finds the window over closes it, so that no observation falls into
//! the wrong one; rows are made of it later, outside of the lock.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aggregation::{Closed, Limits, Observation, Refused, Windows};
use codec::hash::key128;
use dialects::datadog;
use dialects::statsd::{BadLine, Flavor, Line, Metric, MetricKind, Value, for_each_line};
use model::labels::LABELS_MAX;
use model::{HostTags, TenantName};

use super::describe;
use super::happened::Happened;
use super::queue::{Queue, Weigh};
use crate::app::App;
use crate::metrics::Counter;

/// Events and checks that wait for the next write; further ones are refused.
const HAPPENED_MAX: usize = 10_000;

/// Their bytes.
const HAPPENED_BYTES_MAX: usize = 16 << 20;

/// Bytes of closed windows of one tenant, and of rows that were made of them, until they are written. Beyond it the oldest
/// are lost; the newest window has its own bound.
pub(super) const WAITING_BYTES_MAX: usize = 64 << 20;

/// A listener, as lines see it.
#[derive(Clone, Debug)]
pub(super) struct Door {
    /// What a gauge with a sign means.
    pub(super) flavor: Flavor,
    /// The host of lines that do not name one.
    pub(super) hostname: Arc<str>,
    /// Seed of its keys, secret: the same bytes mean another host at another door.
    pub(super) seed: u64,
}

impl Door {
    /// The door of listener `number`.
    pub(super) fn new(app: &App, flavor: Flavor, hostname: &str, number: usize) -> Self {
        let mut seed = [0; 8];
        app.env.random.fill(&mut seed);
        let seed = u64::from_le_bytes(seed) ^ number as u64;
        Self { flavor, hostname: hostname.into(), seed }
    }
}

/// How lines of a tenant are translated.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Translation {
    /// Its choices.
    pub(super) settings: datadog::Settings,
    /// What is known of its hosts, where that matters.
    pub(super) hosts: Arc<HostTags>,
    /// Labels that a series may have.
    pub(super) labels_max: usize,
}

impl Default for Translation {
    fn default() -> Self {
        Self { settings: datadog::Settings::default(), hosts: Arc::default(), labels_max: LABELS_MAX }
    }
}

impl Translation {
    /// Whether lines become the same series by both.
    fn agrees(&self, other: &Self) -> bool {
        self.settings == other.settings && self.hosts == other.hosts
    }
}

/// A tenant's lines.
#[derive(Debug)]
pub(super) struct Intake {
    /// Whose they are.
    pub(super) tenant: TenantName,
    limits: Limits,
    state: Mutex<State>,
    counters: Counters,
}

/// What is behind the lock.
pub(super) struct State {
    pub(super) translation: Translation,
    windows: Windows,
    closed: Queue<Closed>,
    /// Bytes that wait behind them, for the store.
    waiting_bytes: usize,
    happened: Vec<Happened>,
    happened_bytes: usize,
    /// Keys of closed windows for which there was no room.
    lost: u64,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("keys", &self.windows.keys()).finish_non_exhaustive()
    }
}

/// What was taken out to be written.
pub(super) struct Taken {
    pub(super) closed: Queue<Closed>,
    pub(super) happened: Vec<Happened>,
    pub(super) keys: usize,
    pub(super) bytes: usize,
    pub(super) lost: u64,
}

/// Counters of the tenant, found once.
#[derive(Debug)]
struct Counters {
    metrics: [Arc<Counter>; MetricKind::ALL.len()],
    events: Arc<Counter>,
    checks: Arc<Counter>,
    bad: [Arc<Counter>; BadLine::ALL.len()],
    refused: [Arc<Counter>; Refused::ALL.len()],
    happened_refused: Arc<Counter>,
}

impl Counters {
    fn new(app: &App, tenant: &str) -> Self {
        let lines = |kind| app.metrics.statsd_lines.of_tenant(tenant, &[kind]);
        let refused = |reason| app.metrics.statsd_refused.of_tenant(tenant, &[reason]);
        Self {
            metrics: MetricKind::ALL.map(|kind| lines(kind.as_str())),
            events: lines("event"),
            checks: lines("service_check"),
            bad: BadLine::ALL.map(|bad| app.metrics.statsd_malformed.of_tenant(tenant, &[bad.as_str()])),
            refused: Refused::ALL.map(|why| refused(why.as_str())),
            happened_refused: refused("waiting"),
        }
    }
}

/// What a batch had, counted at once at its end: counters are shared by threads.
#[derive(Default)]
struct Counts {
    metrics: [u64; MetricKind::ALL.len()],
    events: u64,
    checks: u64,
    bad: [u64; BadLine::ALL.len()],
    refused: [u64; Refused::ALL.len()],
    happened_refused: u64,
}

impl Counts {
    fn tell(&self, counters: &Counters) {
        let single = [
            (&counters.events, self.events),
            (&counters.checks, self.checks),
            (&counters.happened_refused, self.happened_refused),
        ];
        let all = (counters.metrics.iter().zip(self.metrics))
            .chain(counters.bad.iter().zip(self.bad))
            .chain(counters.refused.iter().zip(self.refused))
            .chain(single);
        all.filter(|(_, count)| *count > 0).for_each(|(counter, count)| counter.add(count));
    }
}

impl Intake {
    /// Nothing yet.
    pub(super) fn new(app: &App, tenant: TenantName, limits: Limits) -> Self {
        let counters = Counters::new(app, tenant.as_str());
        let state = State {
            translation: translation(app, &tenant),
            windows: Windows::new(limits, app.env.clock.now_ms()),
            closed: Queue::default(),
            waiting_bytes: 0,
            happened: Vec::new(),
            happened_bytes: 0,
            lost: 0,
        };
        Self { tenant, limits, state: Mutex::new(state), counters }
    }

    /// Takes the lines of datagrams that came through `door`.
    pub(super) fn take<'a>(&self, door: &Door, now_ms: i64, datagrams: impl Iterator<Item = &'a [u8]>) {
        let mut counts = Counts::default();
        {
            let mut state = self.state();
            state.close_if_due(now_ms);
            for datagram in datagrams {
                for_each_line(datagram, door.flavor, |line| state.take(door, now_ms, line, &mut counts));
            }
        }
        counts.tell(&self.counters);
    }

    /// What is there to be written; `now_ms` closes a window that is over. Other translations begin with new windows:
    /// series of the old ones end.
    pub(super) fn collect(&self, app: &App, now_ms: i64) -> Taken {
        let translation = translation(app, &self.tenant);
        let mut state = self.state();
        state.close_if_due(now_ms);
        if !state.translation.agrees(&translation) {
            let windows = std::mem::replace(&mut state.windows, Windows::new(self.limits, now_ms));
            state.keep(windows.end(now_ms));
        }
        state.translation = translation;
        state.taken()
    }

    /// What is there to be written before everything stops.
    pub(super) fn collect_all(&self, now_ms: i64) -> Taken {
        let mut state = self.state();
        let closed = state.windows.close(now_ms);
        state.keep(closed);
        state.taken()
    }

    /// Tells how many bytes wait for the store.
    pub(super) fn set_waiting(&self, bytes: usize) {
        self.state().waiting_bytes = bytes;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Weigh for Closed {
    fn bytes(&self) -> usize {
        Closed::bytes(self)
    }
}

/// How the tenant wants its lines now. Tags of hosts matter only where they are attached to series.
fn translation(app: &App, tenant: &TenantName) -> Translation {
    let settings = app.config().choices.of(tenant).datadog;
    let attached = settings.host_tags == datadog::HostTagsUse::Attach;
    let authority = app.authority();
    let known = authority.tenant(tenant.as_str());
    let hosts = known.filter(|_| attached).map(|tenant| app.hosts.of(tenant.id)).unwrap_or_default();
    let labels_max = known.map_or(LABELS_MAX, |tenant| tenant.limits.labels.labels.min(LABELS_MAX));
    Translation { settings, hosts, labels_max }
}

impl State {
    fn close_if_due(&mut self, now_ms: i64) {
        if self.windows.is_due(now_ms) {
            let closed = self.windows.flush(now_ms);
            self.keep(closed);
        }
    }

    fn keep(&mut self, closed: aggregation::Flushed) {
        let newest: usize = closed.as_slice().iter().map(Closed::bytes).sum();
        self.lost += self.closed.shrink(WAITING_BYTES_MAX.saturating_sub(self.waiting_bytes + newest));
        closed.for_each(|closed| self.closed.push(closed));
    }

    fn taken(&mut self) -> Taken {
        self.happened_bytes = 0;
        Taken {
            closed: std::mem::take(&mut self.closed),
            happened: std::mem::take(&mut self.happened),
            keys: self.windows.keys(),
            bytes: self.windows.bytes(),
            lost: std::mem::take(&mut self.lost),
        }
    }

    fn take(&mut self, door: &Door, now_ms: i64, line: Result<Line<'_>, BadLine>, counts: &mut Counts) {
        match line {
            Ok(Line::Metric(metric)) => {
                counts.metrics[metric.kind as usize] += 1;
                if let Err(why) = self.add(door, now_ms, &metric) {
                    counts.refused[why as usize] += 1;
                }
            }
            Ok(Line::Event(event)) => {
                counts.events += 1;
                let event = Happened::event(&event, &self.translation, &door.hostname, now_ms);
                self.happen(event, counts);
            }
            Ok(Line::ServiceCheck(check)) => {
                counts.checks += 1;
                let check = Happened::check(&check, &self.translation, &door.hostname, now_ms);
                self.happen(check, counts);
            }
            Err(bad) => counts.bad[bad as usize] += 1,
        }
    }

    fn happen(&mut self, happened: Option<Happened>, counts: &mut Counts) {
        let Some(happened) = happened else {
            counts.refused[Refused::Labels as usize] += 1;
            return;
        };
        let bytes = self.happened_bytes + happened.bytes();
        let fits = self.happened.len() < HAPPENED_MAX && bytes <= HAPPENED_BYTES_MAX;
        if fits {
            self.happened_bytes = bytes;
            self.happened.push(happened);
        } else {
            counts.happened_refused += 1;
        }
    }

    #[inline]
    fn add(&mut self, door: &Door, now_ms: i64, metric: &Metric<'_>) -> Result<(), Refused> {
        let (windows, translation) = (&mut self.windows, &self.translation);
        let key = metric.key(door.seed);
        let mut add = |observation| {
            windows.add(now_ms, key, observation, || describe::series(metric, translation, &door.hostname))
        };
        let is_counter = metric.kind == MetricKind::Counter;
        match (metric.value, metric.timestamp_ms) {
            (Value::Member(member), _) => add(Observation::Member(key128(door.seed, member) as u64)),
            (Value::Changes(changes), _) => add(Observation::GaugeBy(changes.iter().sum())),
            (Value::Numbers(values), Some(at)) if is_counter => {
                add(Observation::CountAt(values.iter().sum::<f64>() * metric.weight, at))
            }
            (Value::Numbers(values), None) if is_counter => {
                add(Observation::Count(values.iter().sum::<f64>() * metric.weight))
            }
            (Value::Numbers(&[.., last]), Some(at)) if metric.kind == MetricKind::Gauge => {
                add(Observation::GaugeAt(last, at))
            }
            (Value::Numbers(&[.., last]), None) if metric.kind == MetricKind::Gauge => {
                add(Observation::Gauge(last))
            }
            // A distribution of the past is one of now: its sender aggregated nothing.
            (Value::Numbers(values), _) => add(Observation::Values(values, metric.weight)),
        }
    }
}

#[cfg(test)]
mod tests {
    use aggregation::{Described, Output, Role};
    use model::Labels;

    use super::*;

    /// Windows that nobody fetches, of 16,000 distributions with ten values each.
    #[test]
    fn closed_windows_are_bounded_by_their_bytes() {
        let mut state = State {
            translation: Translation::default(),
            windows: Windows::new(Limits::default(), 0),
            closed: Queue::default(),
            waiting_bytes: 0,
            happened: Vec::new(),
            happened_bytes: 0,
            lost: 0,
        };
        let window = |state: &mut State, number: i64| {
            for key in 0..16_000u32 {
                let labels = || Labels::from_pairs([("__name__", format!("d{key}").as_str())]);
                let describe =
                    || Some(Described { outputs: [Output { role: Role::Native, labels: labels() }].into() });
                let values = Observation::Values(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0], 1.0);
                state.windows.add(number * 10_000, u128::from(key) + 1, values, describe).unwrap();
            }
            state.close_if_due((number + 1) * 10_000);
        };
        (0..12).for_each(|number| window(&mut state, number));
        let kept = state.closed.len() as u64;
        assert!(state.closed.bytes() <= WAITING_BYTES_MAX && kept > 32_000, "{}", state.closed.bytes());
        assert_eq!(state.lost + kept, 12 * 16_000);
        // What waits behind takes the room of all but the newest.
        state.waiting_bytes = WAITING_BYTES_MAX;
        window(&mut state, 12);
        assert_eq!((state.closed.len(), state.lost), (16_000, 12 * 16_000));
        let taken = state.taken();
        assert_eq!((taken.closed.len(), taken.lost, state.closed.bytes()), (16_000, 12 * 16_000, 0));
    }
}
