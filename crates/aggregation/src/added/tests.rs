//! Windows against a naive model: a list of what each row added, from which each window is worked out anew.

use std::collections::BTreeMap;

use model::{Labels, MetricType, Origin, STALE_NAN_BITS, Sample, SeriesId, Temporality};

use super::{Closed, LATENESS_MS, Nature, REMEMBERED_MS, Read, Row, Source, Unreadable, Windows};
use crate::WINDOW_MS;

/// Numbers without a pattern that are the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

fn labels(name: &str) -> Labels {
    Labels::from_pairs([("__name__", name)])
}

fn at(timestamp_ms: i64, value: f64) -> Sample {
    Sample { timestamp_ms, value, start_ms: 0 }
}

/// A row of the only series with these labels.
fn put(windows: &mut Windows, labels: &Labels, sample: &Sample, nature: Nature) {
    windows.take(&Source { id: SeriesId(0), labels, origin: &Origin::SENDER }, sample, nature);
}

fn restarted(windows: &Windows) -> Windows {
    let mut bytes = Vec::new();
    windows.encode(&mut bytes);
    let again = Windows::decode(&bytes, LATENESS_MS).unwrap();
    assert_eq!(&again, windows);
    let mut same = Vec::new();
    again.encode(&mut same);
    assert_eq!(same, bytes);
    again
}

/// All that a naive reader writes down.
#[derive(Default)]
struct Naive {
    /// Of each total the newest row that counted.
    last: BTreeMap<Labels, Sample>,
    /// What is in windows that are open: where they begin, whose, what.
    open: Vec<(i64, Labels, Nature, Sample)>,
    first_open_ms: i64,
    newest_ms: i64,
}

impl Naive {
    fn take(&mut self, labels: &Labels, sample: Sample, nature: Nature) {
        self.newest_ms = self.newest_ms.max(sample.timestamp_ms);
        let window = (sample.timestamp_ms / WINDOW_MS * WINDOW_MS).max(self.first_open_ms);
        if nature == Nature::Gauge {
            self.open.push((window, labels.clone(), nature, sample));
            return;
        }
        let is_number = sample.value.is_finite();
        if !is_number || self.last.get(labels).is_some_and(|last| last.timestamp_ms >= sample.timestamp_ms) {
            return;
        }
        let value = match self.last.insert(labels.clone(), sample) {
            None if sample.start_ms > sample.timestamp_ms - REMEMBERED_MS && sample.start_ms != 0 => {
                sample.value
            }
            None => return,
            Some(last) if last.timestamp_ms < sample.start_ms => sample.value,
            Some(last) if last.value > sample.value => sample.value,
            Some(last) => sample.value - last.value,
        };
        self.open.push((window, labels.clone(), nature, Sample { value, ..sample }));
    }

    fn close(&mut self, now_ms: i64, read: Read) -> Option<Closed> {
        let clock_ms = if read == Read::ToItsEnd { now_ms } else { now_ms.min(self.newest_ms) };
        let start_ms = self.open.iter().map(|(window, ..)| *window).min()?;
        let end_ms = start_ms + WINDOW_MS;
        if end_ms + LATENESS_MS > clock_ms {
            return None;
        }
        let mut rows = BTreeMap::new();
        for (_, labels, nature, sample) in self.open.iter().filter(|(window, ..)| *window == start_ms) {
            let row = rows.entry((labels.clone(), *nature == Nature::Gauge));
            let row: &mut Vec<Sample> = row.or_default();
            match nature {
                Nature::Gauge => row.push(*sample),
                Nature::Total if row.is_empty() => {
                    row.push(Sample { timestamp_ms: end_ms, value: sample.value, start_ms });
                }
                Nature::Total => row[0].value += sample.value,
            }
        }
        self.open.retain(|(window, ..)| *window != start_ms);
        self.first_open_ms = end_ms;
        let temporality = |is_gauge| if is_gauge { Temporality::Cumulative } else { Temporality::Delta };
        let rows = rows.into_iter().map(|((labels, is_gauge), samples)| Row {
            labels,
            samples,
            temporality: temporality(is_gauge),
        });
        Some(Closed { start_ms, end_ms, origin: Origin::SENDER, rows: rows.collect() })
    }
}

#[test]
fn windows_are_those_of_the_naive_model_whenever_it_is_restarted() {
    let mut given = 0;
    for seed in 0..60 {
        let mut dice = Dice(seed);
        let (mut windows, mut naive) = (Windows::default(), Naive::default());
        let names = ["a_total", "b_total", "c_bucket", "d"].map(labels);
        let mut values = [0.0; 4];
        let mut clock_ms = 1_700_000_000_000;
        for _ in 0..400 {
            clock_ms += dice.below(4_000) as i64;
            let which = dice.below(4) as usize;
            let nature = if which == 3 { Nature::Gauge } else { Nature::Total };
            match dice.below(12) {
                0 => values[which] = dice.below(5) as f64,
                1 => {}
                _ => values[which] += dice.below(100) as f64 / 7.0,
            }
            let value = match dice.below(40) {
                0 => f64::from_bits(STALE_NAN_BITS),
                1 => f64::NAN,
                _ => values[which],
            };
            let timestamp_ms = clock_ms - [0, 0, 0, 3_000, 45_000][dice.below(5) as usize];
            let start_ms = if dice.below(5) == 0 { timestamp_ms - dice.below(9_000) as i64 } else { 0 };
            let sample = Sample { timestamp_ms, value, start_ms };
            put(&mut windows, &names[which], &sample, nature);
            naive.take(&names[which], sample, nature);
            if dice.below(6) == 0 {
                windows = restarted(&windows);
            }
            let read = if dice.below(2) == 0 { Read::ToItsEnd } else { Read::InParts };
            let now_ms = clock_ms + dice.below(20_000) as i64 - 10_000;
            while let Some(closed) = windows.close(now_ms, read) {
                assert_eq!(Some(closed), naive.close(now_ms, read), "seed {seed}");
                given += 1;
            }
            assert_eq!(naive.close(now_ms, read), None, "seed {seed}");
        }
    }
    assert!(given > 3_000, "{given} windows");
}

#[test]
fn all_windows_come_to_what_the_total_grew_by() {
    let mut dice = Dice(7);
    let (mut windows, name) = (Windows::default(), labels("a_total"));
    let (first, mut value, mut sum, mut bounds) = (13.0, 13.0, 0.0, Vec::new());
    for step in 0..5_000 {
        put(&mut windows, &name, &at(1_000_000 + step * 777, value), Nature::Total);
        value += dice.below(1_000) as f64;
        while let Some(closed) = windows.close(i64::MAX, Read::InParts) {
            sum += closed.rows[0].samples[0].value;
            bounds.push(closed.start_ms);
        }
        if dice.below(10) == 0 {
            windows = restarted(&windows);
        }
    }
    put(&mut windows, &name, &at(10_000_000, value), Nature::Total);
    while let Some(closed) = windows.close(i64::MAX, Read::ToItsEnd) {
        sum += closed.rows[0].samples[0].value;
        bounds.push(closed.start_ms);
    }
    assert_eq!(sum, value - first);
    assert!(bounds.iter().all(|start| start % WINDOW_MS == 0) && bounds.is_sorted_by(|a, b| a < b));
}

#[test]
fn a_total_that_began_lately_counts_whole_and_a_fall_is_a_beginning() {
    let grown = |samples: &[Sample]| {
        let mut windows = Windows::default();
        for sample in samples {
            put(&mut windows, &labels("a_total"), sample, Nature::Total);
        }
        let closed = std::iter::from_fn(|| windows.close(i64::MAX, Read::ToItsEnd));
        closed.map(|closed| closed.rows[0].samples[0].value).sum::<f64>()
    };
    let from = |start_ms, timestamp_ms, value| Sample { timestamp_ms, value, start_ms };
    assert_eq!(grown(&[at(5_000_000, 7.0)]), 0.0);
    assert_eq!(grown(&[from(4_999_000, 5_000_000, 7.0)]), 7.0);
    assert_eq!(grown(&[from(5_000_000 - REMEMBERED_MS, 5_000_000, 7.0)]), 0.0);
    assert_eq!(grown(&[at(1, 7.0), at(2, 9.0), at(3, 4.0)]), 6.0);
    // It began between the rows and is over what it was before.
    assert_eq!(grown(&[at(1_000, 7.0), from(1_500, 2_000, 9.0)]), 9.0);
    // The same start is none anew.
    assert_eq!(grown(&[from(500, 1_000, 7.0), from(500, 2_000, 9.0)]), 9.0);
    // Old rows and rows that come again are no resets.
    assert_eq!(grown(&[at(1, 7.0), at(9, 9.0), at(5, 8.0), at(9, 8.0), at(10, 10.0)]), 3.0);
}

#[test]
fn what_is_late_counts_in_the_oldest_open_window() {
    let (mut windows, total, gauge) = (Windows::default(), labels("a_total"), labels("g"));
    put(&mut windows, &total, &at(10_000, 1.0), Nature::Total);
    put(&mut windows, &gauge, &at(10_500, 5.0), Nature::Gauge);
    assert_eq!(windows.close(29_999, Read::ToItsEnd), None);
    let closed = windows.close(30_000, Read::ToItsEnd).unwrap();
    assert_eq!(
        (closed.start_ms, closed.rows.len()),
        (10_000, 1),
        "a first row is only what the next is held against"
    );
    put(&mut windows, &total, &at(11_000, 3.0), Nature::Total);
    put(&mut windows, &gauge, &at(9_000, 6.0), Nature::Gauge);
    let closed = windows.close(40_000, Read::ToItsEnd).unwrap();
    let shown: Vec<_> = closed.rows.iter().map(|row| (row.temporality, row.samples.as_slice())).collect();
    let added = Sample { timestamp_ms: 30_000, value: 2.0, start_ms: 20_000 };
    assert_eq!(
        shown,
        [(Temporality::Delta, [added].as_slice()), (Temporality::Cumulative, [at(9_000, 6.0)].as_slice())]
    );
}

#[test]
fn a_clock_that_runs_ahead_closes_nothing_too_soon() {
    let (mut windows, gauge) = (Windows::default(), labels("g"));
    put(&mut windows, &gauge, &at(10_000, 5.0), Nature::Gauge);
    put(&mut windows, &gauge, &at(900_000, 5.0), Nature::Gauge);
    assert_eq!(windows.close(15_000, Read::InParts), None);
    assert!(windows.close(900_000, Read::InParts).is_some());
    assert_eq!(windows.close(900_000, Read::InParts), None);
}

#[test]
fn an_idle_total_is_forgotten_and_counts_nothing_twice_when_it_comes_back() {
    let (mut windows, total, other) = (Windows::default(), labels("a_total"), labels("b_total"));
    let from = |timestamp_ms, value| Sample { timestamp_ms, value, start_ms: 1_000 };
    put(&mut windows, &total, &from(2_000, 5.0), Nature::Total);
    for (timestamp_ms, remembered) in [(2_000, 2), (30_000, 2), (31_000 + REMEMBERED_MS, 1)] {
        put(&mut windows, &other, &at(timestamp_ms, 0.0), Nature::Total);
        put(&mut windows, &other, &at(timestamp_ms + 1, 0.0), Nature::Total);
        windows = restarted(&windows);
        while windows.close(timestamp_ms + 20_000, Read::ToItsEnd).is_some() {}
        assert_eq!(windows.len(), remembered, "{timestamp_ms}");
    }
    put(&mut windows, &total, &from(3_000 + REMEMBERED_MS, 6.0), Nature::Total);
    assert_eq!(windows.close(i64::MAX, Read::ToItsEnd), None);
}

#[test]
fn a_total_whose_rows_come_hours_late_keeps_what_it_grows_from() {
    let late_ms = 3 * REMEMBERED_MS;
    for read in [Read::ToItsEnd, Read::InParts] {
        let (mut windows, late, other) = (Windows::default(), labels("a_total"), labels("b_total"));
        let mut sum = 0.0;
        for step in 0..1_000 {
            let now_ms = 2 * late_ms + step * 15_000;
            put(&mut windows, &late, &at(now_ms - late_ms, step as f64), Nature::Total);
            put(&mut windows, &other, &at(now_ms, 1.0), Nature::Total);
            while let Some(closed) = windows.close(now_ms, read) {
                let grown = closed.rows.iter().filter(|row| row.labels == late);
                sum += grown.map(|row| row.samples[0].value).sum::<f64>();
            }
        }
        assert!(sum > 990.0, "{read:?}: {sum}");
    }
}

#[test]
fn how_late_rows_may_come_is_said_anew_and_not_by_the_state() {
    let (mut windows, mut bytes) = (Windows::new(3_600_000), Vec::new());
    put(&mut windows, &labels("g"), &at(10_000, 5.0), Nature::Gauge);
    windows.encode(&mut bytes);
    let mut windows = Windows::decode(&bytes, 5_000).unwrap();
    assert_eq!(windows.close(24_999, Read::ToItsEnd), None);
    assert!(windows.close(25_000, Read::ToItsEnd).is_some());
}

#[test]
fn series_that_go_on_under_the_same_labels_are_one_sum_of_what_each_grew_by() {
    let (mut windows, labels) = (Windows::default(), labels("a_total"));
    for step in 0..10 {
        for (id, first) in [(1, 1_000_000.0), (2, 5.0), (3, 70.0)] {
            let source = Source { id: SeriesId(id), labels: &labels, origin: &Origin::SENDER };
            let sample = at(10_000 + step * 900, first + step as f64);
            windows.take(&source, &sample, Nature::Total);
        }
        windows = restarted(&windows);
    }
    let closed = windows.close(i64::MAX, Read::ToItsEnd).unwrap();
    assert_eq!((closed.rows.len(), closed.rows[0].samples[0].value), (1, 27.0));
}

#[test]
fn a_window_knows_the_ways_of_its_own_rows() {
    let (mut windows, labels) = (Windows::default(), labels("g"));
    let origins = [(1, vec![7]), (3, vec![8, 7]), (2, vec![9])];
    for ((hops, via), timestamp_ms) in origins.into_iter().zip([10_000, 11_000, 20_000]) {
        let source = Source { id: SeriesId(0), labels: &labels, origin: &Origin { hops, via } };
        windows.take(&source, &at(timestamp_ms, 1.0), Nature::Gauge);
    }
    put(&mut windows, &labels, &at(30_000, 1.0), Nature::Gauge);
    windows = restarted(&windows);
    let closed = std::iter::from_fn(|| windows.close(i64::MAX, Read::ToItsEnd));
    let origins: Vec<Origin> = closed.map(|closed| closed.origin).collect();
    let wanted = [(3, vec![7, 8]), (2, vec![9]), (0, vec![])];
    assert_eq!(origins, wanted.map(|(hops, via)| Origin { hops, via }));
}

#[test]
fn a_window_is_given_away_without_a_look_at_the_others() {
    // With a look at each series and window it would take minutes.
    let (mut windows, gauge) = (Windows::default(), labels("g"));
    let names: Vec<Labels> = (0..20_000).map(|number| labels(&format!("t{number}_total"))).collect();
    for name in &names {
        put(&mut windows, name, &at(1_000, 1.0), Nature::Total);
    }
    for window in 0..20_000 {
        put(&mut windows, &gauge, &at(window * WINDOW_MS, 1.0), Nature::Gauge);
    }
    let given = std::iter::from_fn(|| windows.close(200_000_000 + LATENESS_MS, Read::ToItsEnd)).count();
    assert_eq!((given, windows.len()), (20_000, 20_000));
}

#[test]
fn types_tell_what_adds_up_and_names_where_there_is_none() {
    use MetricType::{Counter, Gauge, GaugeHistogram, Histogram, Summary};
    for (name, family, wanted) in [
        ("a", Some(Counter), Nature::Total),
        ("a_total", Some(Gauge), Nature::Gauge),
        ("a_bucket", Some(Histogram), Nature::Total),
        ("a", Some(Histogram), Nature::Gauge),
        ("a_bucket", Some(GaugeHistogram), Nature::Gauge),
        ("a_sum", Some(Summary), Nature::Total),
        ("a", Some(Summary), Nature::Gauge),
        ("a_total", Some(MetricType::Unknown), Nature::Total),
        ("a_sum", None, Nature::Total),
        ("a", None, Nature::Gauge),
    ] {
        assert_eq!(Nature::of(name, family), wanted, "{name} {family:?}");
    }
}

#[test]
fn damaged_states_are_refused() {
    let (mut windows, mut bytes) = (Windows::default(), Vec::new());
    put(&mut windows, &labels("g"), &at(10_000, 5.0), Nature::Gauge);
    put(&mut windows, &labels("a_total"), &at(10_000, 5.0), Nature::Total);
    windows.encode(&mut bytes);
    for length in 0..bytes.len() {
        assert_eq!(Windows::decode(&bytes[..length], LATENESS_MS), Err(Unreadable::Damaged), "{length}");
    }
    bytes.push(0);
    assert_eq!(Windows::decode(&bytes, LATENESS_MS), Err(Unreadable::Damaged));
    bytes[0] = 1;
    assert_eq!(Windows::decode(&bytes, LATENESS_MS), Err(Unreadable::Damaged));
    bytes[0] = 4;
    assert_eq!(Windows::decode(&bytes, LATENESS_MS), Err(Unreadable::Newer(4)));
}
