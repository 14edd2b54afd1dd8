//! Windows against a naive model: a list of everything that was seen, from which each window's rows are worked out anew.

use std::collections::{BTreeMap, BTreeSet};

use model::histogram::BucketCounts;
use model::{Labels, is_stale};

use crate::{
    Described, FORGET_MS, Limits, Observation, Output, Refused, Role, RowValue, WINDOW_MS, Windows,
    ZERO_THRESHOLD,
};

const COUNTER: &[Role] = &[Role::PerSecond];
const TOTAL: &[Role] = &[Role::Total];
const GAUGE: &[Role] = &[Role::Last];
const SET: &[Role] = &[Role::Distinct];
const NATIVE: &[Role] = &[Role::Native, Role::Min, Role::Max];
const ALL: &[Role] = &[
    Role::Native,
    Role::Min,
    Role::Max,
    Role::Median,
    Role::Average,
    Role::CountPerSecond,
    Role::Percentile95,
];

fn describe(name: &str, roles: &[Role]) -> Described {
    let output = |role: &Role| Output {
        role: *role,
        labels: Labels::from_pairs([("__name__", name), ("role", &format!("{role:?}"))]),
    };
    Described { outputs: roles.iter().map(output).collect() }
}

/// A row as text: series, time, since when, value.
type Shown = BTreeSet<(String, i64, i64, String)>;

fn flushed(closed: crate::Flushed) -> Shown {
    let mut shown = Shown::new();
    for closed in closed {
        closed.rows(|row| {
            let value = match &row.value {
                RowValue::Float(value) if is_stale(*value) => "stale".to_owned(),
                RowValue::Float(value) => format!("{value:?}"),
                RowValue::Histogram(histogram) if histogram.is_stale() => "stale".to_owned(),
                RowValue::Histogram(histogram) => {
                    assert_eq!(histogram.validate(), Ok(()));
                    show_histogram(histogram)
                }
            };
            let fresh = shown.insert((row.output.labels.to_string(), row.timestamp_ms, row.start_ms, value));
            assert!(fresh, "a row comes once");
        });
    }
    shown
}

fn show_histogram(histogram: &model::Histogram) -> String {
    let mut buckets = BTreeMap::new();
    let (zero, positive, negative): (f64, Vec<f64>, Vec<f64>) = match &histogram.counts {
        BucketCounts::Integer { zero, positive, negative, .. } => {
            let floats = |counts: &[u64]| counts.iter().map(|count| *count as f64).collect();
            (*zero as f64, floats(positive), floats(negative))
        }
        BucketCounts::Float { zero, positive, negative, .. } => (*zero, positive.clone(), negative.clone()),
    };
    for (sign, spans, counts) in
        [(1, &histogram.positive_spans, positive), (-1, &histogram.negative_spans, negative)]
    {
        let (mut at, mut counts) = (0, counts.into_iter());
        for span in spans {
            at += span.offset;
            for _ in 0..span.length {
                buckets.insert((sign, at), format!("{:?}", counts.next().unwrap()));
                at += 1;
            }
        }
    }
    format!("{} {:?} {:?} {zero:?} {buckets:?}", histogram.schema, histogram.count(), histogram.sum)
}

/// What was seen of one key, in order.
#[derive(Default)]
struct Seen {
    window: Vec<Kept>,
    before: BTreeMap<i64, f64>,
    total: f64,
    start_ms: i64,
    gauge: f64,
    seen_ms: i64,
    roles: Vec<Role>,
}

#[derive(Clone, Debug)]
enum Kept {
    Count(f64),
    CountAt(f64, i64),
    Gauge(f64),
    GaugeBy(f64),
    GaugeAt(f64, i64),
    Values(Vec<f64>, f64),
    Member(u64),
}

impl Kept {
    fn observation(&self) -> Observation<'_> {
        match self {
            Self::Count(value) => Observation::Count(*value),
            Self::CountAt(value, at) => Observation::CountAt(*value, *at),
            Self::Gauge(value) => Observation::Gauge(*value),
            Self::GaugeBy(value) => Observation::GaugeBy(*value),
            Self::GaugeAt(value, at) => Observation::GaugeAt(*value, *at),
            Self::Values(values, weight) => Observation::Values(values, *weight),
            Self::Member(member) => Observation::Member(*member),
        }
    }
}

impl Seen {
    /// The rows of a window, by role, time and since when.
    fn close(&mut self, start_ms: i64, end_ms: i64) -> Vec<(Role, i64, i64, String)> {
        let window = std::mem::take(&mut self.window);
        let mut rows = Vec::new();
        let mut values: Vec<(f64, f64)> = Vec::new();
        let (mut sum, mut set, mut members) = (0.0, false, BTreeSet::new());
        let mut stamped: BTreeMap<i64, f64> = BTreeMap::new();
        let is_total = self.roles.contains(&Role::Total);
        for kept in window {
            match kept {
                Kept::CountAt(value, at) if !is_total => {
                    *stamped.entry(at).or_insert(self.before.get(&at).copied().unwrap_or(0.0)) += value;
                }
                Kept::Count(value) | Kept::CountAt(value, _) => sum += value,
                Kept::Gauge(value) => (self.gauge, set) = (value, true),
                Kept::GaugeBy(value) => (self.gauge, set) = (self.gauge + value, true),
                Kept::GaugeAt(value, at) => _ = stamped.insert(at, value),
                Kept::Values(list, weight) => values.extend(list.into_iter().map(|value| (value, weight))),
                Kept::Member(member) => _ = members.insert(member),
            }
        }
        self.before = stamped.clone();
        self.total += sum;
        let count: f64 = values.iter().map(|(_, weight)| weight).sum();
        let total: f64 = values.iter().fold(0.0, |sum, (value, weight)| sum + value * weight);
        let mut sorted = values.clone();
        sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
        let quantile = |rank: f64| {
            let mut seen = 0.0;
            for (value, weight) in &sorted {
                seen += weight;
                if seen > rank {
                    return *value;
                }
            }
            f64::NAN
        };
        for role in &self.roles {
            let some = !values.is_empty();
            let value = match role {
                Role::PerSecond => Some(sum / 10.0),
                Role::Total => {
                    rows.push((*role, end_ms, self.start_ms, format!("{:?}", self.total)));
                    None
                }
                Role::Last => set.then_some(self.gauge),
                Role::Distinct => (!members.is_empty()).then_some(members.len() as f64),
                Role::Max => some.then(|| sorted.last().unwrap().0),
                Role::Min => some.then(|| sorted[0].0),
                Role::Average => some.then(|| total / count),
                Role::CountPerSecond => some.then(|| count / 10.0),
                Role::Median => some.then(|| quantile(((count - 1.0) / 2.0).floor())),
                Role::Percentile95 => some.then(|| quantile(((95.0 * count - 1.0) / 100.0).floor())),
                Role::Native => {
                    if some {
                        rows.push((*role, start_ms, 0, naive_histogram(&values, count, total)));
                    }
                    None
                }
                Role::Sum => unreachable!(),
            };
            rows.extend(value.map(|value| (*role, start_ms, 0, format!("{value:?}"))));
            for (at, value) in &stamped {
                let value = if *role == Role::PerSecond { value / 10.0 } else { *value };
                rows.push((*role, *at, 0, format!("{value:?}")));
            }
        }
        rows
    }
}

fn naive_histogram(values: &[(f64, f64)], count: f64, total: f64) -> String {
    let (mut zero, mut buckets) = (0.0, BTreeMap::<(i32, i32), f64>::new());
    for (value, weight) in values {
        if value.abs() <= ZERO_THRESHOLD {
            zero += weight;
            continue;
        }
        let mut index = (value.abs().log2() * 32.0).floor() as i32 - 1;
        while f64::from(index).mul_add(1.0 / 32.0, 0.0).exp2() < value.abs() {
            index += 1;
        }
        *buckets.entry((if *value > 0.0 { 1 } else { -1 }, index)).or_default() += weight;
    }
    let buckets: BTreeMap<_, _> = buckets.into_iter().map(|(at, count)| (at, format!("{count:?}"))).collect();
    format!("5 {count:?} {total:?} {zero:?} {buckets:?}")
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    fn value(&mut self) -> f64 {
        match self.below(6) {
            0 => 0.0,
            1 => -(1.0 + self.below(1000) as f64) / 8.0,
            2 => self.below(40) as f64,
            _ => self.below(1_000_000) as f64 / 977.0,
        }
    }
}

#[test]
fn windows_are_what_a_list_of_everything_gives() {
    for seed in 0..60 {
        life(seed);
    }
}

fn life(seed: u64) {
    let mut random = Random(seed);
    let mut now = 1_795_167_000_000 + random.below(20_000) as i64;
    let (mut began, mut windows) = (now, Windows::new(Limits::default(), now));
    let mut naive: BTreeMap<String, Seen> = BTreeMap::new();
    let mut written = 0;
    let mut start = now - now % WINDOW_MS;
    for _ in 0..3000 {
        // Sometimes nothing comes for long, so that keys are forgotten.
        now += match random.below(400) {
            0 => random.below(400_000) as i64,
            1 => -(random.below(25_000) as i64),
            _ => random.below(200) as i64,
        };
        if now >= start + WINDOW_MS || now < start {
            let rows = flushed(windows.flush(now));
            let wanted = naive_flush(&mut naive, (start, began), now);
            let differences: Vec<_> = rows.symmetric_difference(&wanted).collect();
            assert_eq!(differences, Vec::<&_>::new(), "seed {seed} at {now}");
            written += rows.len();
            (start, began) = (now.div_euclid(WINDOW_MS) * WINDOW_MS, began.min(now));
        }
        let (kind, number) = (random.below(6), random.below(12));
        let name = format!("{}{number}", ["count", "total", "gauge", "set", "native", "all"][kind as usize]);
        let at = now / 1000 * 1000 - random.below(3) as i64 * 1000 + 1;
        let kept = match kind {
            0 | 1 if random.below(8) == 0 => Kept::CountAt(random.value(), at),
            0 | 1 => Kept::Count(random.value() / 0.3),
            2 => match random.below(4) {
                0 => Kept::GaugeBy(random.value()),
                1 => Kept::GaugeAt(random.value(), at),
                _ => Kept::Gauge(random.value()),
            },
            3 => Kept::Member(random.below(30) << 40),
            _ => {
                let values = (0..=random.below(4)).map(|_| random.value()).collect();
                Kept::Values(values, if random.below(4) == 0 { 1.0 / 0.3 } else { 1.0 })
            }
        };
        let roles = [COUNTER, TOTAL, GAUGE, SET, NATIVE, ALL][kind as usize];
        // More ways to write a key than are remembered.
        let hash = u128::from(kind << 16 | number << 8 | random.below(7)) << 3;
        windows.add(now, hash, kept.observation(), || Some(describe(&name, roles))).unwrap();
        let seen = naive.entry(name).or_insert_with(|| Seen {
            start_ms: start.max(began),
            roles: roles.to_vec(),
            ..Seen::default()
        });
        seen.window.push(kept);
        seen.seen_ms = now;
    }
    assert_eq!(windows.keys(), naive.len());
    assert!(written > 1000, "{written} rows");
}

fn naive_flush(naive: &mut BTreeMap<String, Seen>, (start, began): (i64, i64), now: i64) -> Shown {
    let start = start.max(began.min(start + WINDOW_MS - 1));
    let end = (start.div_euclid(WINDOW_MS) * WINDOW_MS + WINDOW_MS).min(now.max(start + 1));
    let mut shown = Shown::new();
    let name_of = |name: &str, role: Role| format!("{name}{{role=\"{role:?}\"}}");
    naive.retain(|name, seen| {
        let rows = seen.close(start, end);
        shown
            .extend(rows.into_iter().map(|(role, at, since, value)| (name_of(name, role), at, since, value)));
        seen.seen_ms = seen.seen_ms.min(now);
        let forgotten = now - seen.seen_ms >= FORGET_MS;
        if forgotten {
            // A total has a value at the window's end, which no marker would replace.
            let at = |role| if role == Role::Total { end + 1 } else { end };
            let marker = |role: &Role| (name_of(name, *role), at(*role), 0, "stale".to_owned());
            shown.extend(seen.roles.iter().map(marker));
        }
        !forgotten
    });
    shown
}

#[test]
fn a_key_is_described_once_and_again_after_it_was_forgotten() {
    let mut windows = Windows::new(Limits::default(), 0);
    let mut asked = 0;
    let mut hit = |windows: &mut Windows, now, hash| {
        let described = || {
            asked += 1;
            Some(describe("hits", TOTAL))
        };
        windows.add(now, hash, Observation::Count(1.0), described).unwrap();
        asked
    };
    assert_eq!(hit(&mut windows, 1, 11), 1);
    assert_eq!(hit(&mut windows, 2, 11), 1);
    assert_eq!(hit(&mut windows, 3, 22), 2);
    assert_eq!(hit(&mut windows, 4, 22), 2);
    assert_eq!(windows.keys(), 1);
    let rows = flushed(windows.flush(10_000));
    assert_eq!(rows.len(), 1);
    let rows = flushed(windows.flush(310_000));
    let shown: Vec<_> = rows.iter().map(|row| (row.1, row.3.as_str())).collect();
    assert_eq!(shown, [(20_000, "4.0"), (20_001, "stale")]);
    assert_eq!((windows.keys(), windows.bytes()), (0, 0));
    assert_eq!(hit(&mut windows, 310_001, 22), 3);
    let rows = flushed(windows.flush(320_000));
    assert_eq!(rows.iter().map(|row| (row.2, row.3.as_str())).collect::<Vec<_>>(), [(310_000, "1.0")]);
}

#[test]
fn memory_has_bounds_and_known_keys_go_on() {
    let mut windows = Windows::new(Limits { keys: 2, bytes: 1 << 20 }, 0);
    let mut count = |hash: u128| {
        let name = format!("m{hash}");
        windows.add(1, hash, Observation::Count(1.0), || Some(describe(&name, COUNTER)))
    };
    assert_eq!([count(1), count(2), count(3), count(1)], [Ok(()), Ok(()), Err(Refused::Keys), Ok(())]);
    assert_eq!(windows.add(1, 9, Observation::Count(1.0), || None), Err(Refused::Labels));
    let before = windows.bytes();

    let mut windows = Windows::new(Limits { keys: 1000, bytes: 1 << 20 }, 0);
    let mut refused = 0;
    for hash in 0..400u128 {
        let name = format!("m{hash}");
        for value in 0..400 {
            let observation = Observation::Values(&[f64::from(value).exp2(), 1.5], 1.0);
            refused += u64::from(windows.add(1, hash, observation, || Some(describe(&name, ALL))).is_err());
        }
    }
    assert!(refused > 0 && windows.bytes() <= 1 << 20, "{refused} {}", windows.bytes());
    assert!(windows.keys() > 50, "{}", windows.keys());
    windows.flush(10_000).for_each(drop);
    assert!(windows.bytes() >= before);
    let kept = windows.bytes();
    let known = Observation::Values(&[1.0], 1.0);
    assert_eq!(windows.add(10_001, 1, known, || unreachable!()), Ok(()));
    assert!(windows.bytes() > kept);
}

#[test]
fn sums_that_are_no_number_are_refused() {
    let mut windows = Windows::new(Limits::default(), 0);
    let mut add = |name: &str, hash, observation: Observation<'_>, roles| {
        windows.add(1, hash, observation, || Some(describe(name, roles)))
    };
    for (hash, name, observation, roles) in [
        (1, "c", Observation::Count(f64::MAX), TOTAL),
        (2, "g", Observation::GaugeBy(f64::MAX), GAUGE),
        (3, "d", Observation::Values(&[f64::MAX], 1.0), NATIVE),
        (4, "t", Observation::CountAt(f64::MAX, 5), COUNTER),
        (5, "total", Observation::CountAt(f64::MAX, 5), TOTAL),
    ] {
        assert_eq!(add(name, hash, observation, roles), Ok(()), "{name}");
        assert_eq!(add(name, hash, observation, roles), Err(Refused::Overflow), "{name}");
    }
    flushed(windows.flush(10_000));
}

#[test]
fn counts_of_one_time_in_two_windows_are_one_sum() {
    let mut windows = Windows::new(Limits::default(), 0);
    let (mut sums, at) = (Vec::new(), 9_500);
    for now in [0, 10_000, 20_000, 30_000, 40_000, 50_000] {
        let rows = flushed(windows.flush(now));
        sums.extend(rows.into_iter().filter(|row| row.1 == at).map(|row| row.3));
        // A window that has nothing of it forgets it.
        if now != 30_000 {
            let count = Observation::CountAt(10.0, at);
            windows.add(now, 1, count, || Some(describe("c", COUNTER))).unwrap();
        }
    }
    assert_eq!(sums, ["1.0", "2.0", "3.0", "1.0"]);
}

#[test]
fn times_of_one_key_have_a_bound() {
    for (roles, observation) in [
        (COUNTER, (|at| Observation::CountAt(1.0, at)) as fn(i64) -> Observation<'static>),
        (GAUGE, |at| Observation::GaugeAt(1.0, at)),
    ] {
        let mut windows = Windows::new(Limits::default(), 0);
        let mut add = |at| windows.add(1, 1, observation(at), || Some(describe("x", roles)));
        // In no order.
        let taken = (0..1001).map(|n| add(n * 7919 % 1009 + 1));
        assert_eq!(taken.filter(|taken| *taken == Err(Refused::Memory)).count(), 1);
        assert_eq!(add(1), Ok(()));
        let rows = flushed(windows.flush(10_000));
        assert_eq!(rows.iter().filter(|row| row.1 > 0).count(), 1000);
    }
}

#[test]
fn what_is_refused_keeps_no_key() {
    let mut windows = Windows::new(Limits::default(), 0);
    let mut add = |now| windows.add(now, 1, Observation::Count(f64::MAX), || Some(describe("c", TOTAL)));
    assert_eq!([add(1), add(FORGET_MS - 1)], [Ok(()), Err(Refused::Overflow)]);
    windows.flush(FORGET_MS + 1).for_each(drop);
    assert_eq!(windows.keys(), 0);
}

#[test]
fn a_stopped_and_a_started_process_do_not_write_over_each_other() {
    let add = |windows: &mut Windows, now| {
        for (name, hash, roles) in [("c", 1, COUNTER), ("t", 2, TOTAL)] {
            windows.add(now, hash, Observation::Count(30.0), || Some(describe(name, roles))).unwrap();
        }
    };
    let mut before = Windows::new(Limits::default(), 1_000);
    before.flush(10_000).for_each(drop);
    add(&mut before, 11_000);
    let mut rows = flushed(before.close(13_000));
    let mut after = Windows::new(Limits::default(), 14_500);
    add(&mut after, 15_000);
    rows.append(&mut flushed(after.flush(20_000)));
    let rows: Vec<_> =
        rows.iter().map(|(name, at, since, value)| (&name[..1], *at, *since, value.as_str())).collect();
    assert_eq!(
        rows,
        [
            ("c", 10_000, 0, "3.0"),
            ("c", 14_500, 0, "3.0"),
            ("t", 13_000, 10_000, "30.0"),
            ("t", 20_000, 14_500, "30.0")
        ]
    );
}

#[test]
fn a_distribution_that_is_also_a_histogram_has_all_of_its_series() {
    let mut windows = Windows::new(Limits::default(), 0);
    windows.add(1, 1, Observation::Values(&[1.0], 1.0), || Some(describe("x", NATIVE))).unwrap();
    windows.add(2, 2, Observation::Values(&[2.0], 1.0), || Some(describe("x", ALL))).unwrap();
    windows.add(3, 1, Observation::Values(&[6.0], 1.0), || unreachable!()).unwrap();
    let rows = flushed(windows.flush(10_000));
    assert_eq!((windows.keys(), rows.len()), (1, ALL.len()));
    let average = rows.iter().find(|row| row.0.contains("Average")).unwrap();
    assert_eq!(average.3, "3.0");
}
