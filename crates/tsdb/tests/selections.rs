//! What a selection leaves out when it is told what will be looked at: never anything that is.

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use env::Env;
use model::select::Detail;
use model::{
    Budget, Hints, Labels, MatchOp, Matcher, STALE_NAN_BITS, SeriesBlock, TenantId, TenantLimits, TimeRange,
    WantedLabels, Windows,
};
use tsdb::{Job, Keep, Options, Progress, Selection, Store, WriteContext};

const TENANT: TenantId = TenantId(1);
const STEP_MS: i64 = 15_000;
const SERIES: u32 = 40;

/// Samples by series and time.
type Model = BTreeMap<u32, BTreeMap<i64, f64>>;

/// A sequence of numbers that look random.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

fn open(directory: &Path) -> Store {
    let options = Options { compaction_blocks: 4, ..Options::default() };
    Store::open(Env::real(), directory, options, &Progress::default()).unwrap()
}

fn write(store: &Store, model: &mut Model, rows: &[(u32, i64, f64)]) {
    for (i, ms, value) in rows {
        let series = model.entry(*i).or_default();
        if value.to_bits() != STALE_NAN_BITS || !series.contains_key(ms) {
            series.insert(*ms, *value);
        }
    }
    let limits = TenantLimits { retention_ms: 0, ..TenantLimits::default() };
    let context = WriteContext { tenant: TENANT, limits: &limits, epoch: 0, now_ms: 1 << 40, digest: None };
    let (ticket, _) = store.append(&context, &common::batch(store.seed(), rows)).unwrap();
    store.commit(Duration::ZERO);
    ticket.wait().unwrap();
}

/// Three days of whole numbers: counters that are reset now and then, series that pause and go stale; what comes late comes
/// twice, some of it is deleted, some is merged, some is in the head.
fn filled(store: &Store, model: &mut Model, dice: &mut Dice) {
    let steps = 3 * 86_400_000 / STEP_MS;
    let mut values = [0.0; SERIES as usize];
    let mut rows = Vec::new();
    for step in 0..steps {
        for i in 0..SERIES {
            if i % 5 == 4 && step / 500 % 2 == 1 {
                continue;
            }
            let value = &mut values[i as usize];
            *value = if dice.below(3_000) == 0 { 0.0 } else { *value + dice.below(5) as f64 };
            let stale = i % 7 == 3 && dice.below(400) == 0;
            rows.push((i, step * STEP_MS, if stale { f64::from_bits(STALE_NAN_BITS) } else { *value }));
        }
        if step % 400 == 399 {
            write(store, model, &rows);
            rows.clear();
        }
        if step % 1_200 == 1_199 {
            let late = dice.below(step as u64) as i64 * STEP_MS;
            let rows: Vec<(u32, i64, f64)> =
                (0..50).map(|n| (dice.below(3) as u32, late + n * STEP_MS / 2, n as f64)).collect();
            write(store, model, &rows);
            store.flush().unwrap();
        }
        if step == steps / 2 {
            let range = TimeRange { start_ms: 3_600_000, end_ms: 9_000_000 };
            let matcher = Matcher::new("i", MatchOp::Equal, "5").unwrap();
            store.delete_series(TENANT, &[vec![matcher]], range).unwrap();
            model.get_mut(&5).unwrap().retain(|ms, _| !range.contains(*ms));
            while let Some(job @ (Job::Compaction | Job::Flush)) = store.next_job(&|_| Keep::default()) {
                store.run(job, &|_| Keep::default()).unwrap();
            }
        }
    }
    write(store, model, &rows);
}

fn number(labels: &Labels) -> u32 {
    labels.get("i").unwrap().parse().unwrap()
}

/// Calls `each` with every series of a selection: its number, rows and summaries (with the number of rows before).
fn each_series(
    mut selection: Selection<'_>,
    mut each: impl FnMut(u32, Vec<(i64, f64)>, Vec<(usize, model::select::Summary)>),
) {
    let mut block = SeriesBlock::default();
    while selection.next_block(&mut block).unwrap() {
        for (index, series) in block.series.iter().enumerate() {
            let i = number(&selection.labels(*series).unwrap().unwrap());
            let rows = block.offsets[index] as usize..block.offsets[index + 1] as usize;
            let summaries = block.summary_offsets[index] as usize..block.summary_offsets[index + 1] as usize;
            let before =
                |point: &model::select::SummaryPoint| (point.row as usize - rows.start, point.summary);
            let summaries = block.summaries[summaries].iter().map(before).collect();
            let columns = &block.columns;
            each(i, rows.map(|row| (columns.timestamps[row], columns.values[row])).collect(), summaries);
        }
    }
    assert_eq!(selection.warnings(), Vec::<String>::new());
}

/// The range that windows look at, all together.
fn range_of(windows: &Windows) -> TimeRange {
    TimeRange {
        start_ms: windows.first_ms - windows.length_ms + 1,
        end_ms: windows.end_ms(windows.count - 1),
    }
}

fn inside(windows: &Windows, window: usize, ms: i64) -> bool {
    let end_ms = windows.end_ms(window);
    end_ms - windows.length_ms < ms && ms <= end_ms
}

fn bits(rows: &[(i64, f64)]) -> Vec<(i64, u64)> {
    rows.iter().map(|(ms, value)| (*ms, value.to_bits())).collect()
}

/// Samples of a series in a window.
fn wanted(model: &Model, i: u32, windows: &Windows, window: usize) -> Vec<(i64, f64)> {
    let range = (windows.end_ms(window) - windows.length_ms + 1)..=windows.end_ms(window);
    model.get(&i).into_iter().flat_map(|rows| rows.range(range.clone())).map(|(ms, v)| (*ms, *v)).collect()
}

fn check_all(store: &Store, model: &Model, windows: &Windows, budget: &Budget) {
    let hints = Hints { windows: Some(*windows), ..Hints::default() };
    let mut missing = model.clone();
    let selection = store.select(TENANT, &[], range_of(windows), &hints, budget).unwrap();
    each_series(selection, |i, rows, summaries| {
        assert!(summaries.is_empty());
        for window in 0..windows.count {
            let found: Vec<_> = rows.iter().copied().filter(|(ms, _)| inside(windows, window, *ms)).collect();
            assert_eq!(bits(&found), bits(&wanted(model, i, windows, window)), "series {i}, {windows:?}");
        }
        missing.remove(&i);
    });
    for i in missing.keys() {
        assert!((0..windows.count).all(|window| wanted(model, *i, windows, window).is_empty()));
    }
}

fn check_newest(store: &Store, model: &Model, windows: &Windows, budget: &Budget) -> usize {
    let hints = Hints { windows: Some(*windows), detail: Detail::Newest, ..Hints::default() };
    let (mut found, mut rows_read) = (BTreeMap::new(), 0);
    let selection = store.select(TENANT, &[], range_of(windows), &hints, budget).unwrap();
    each_series(selection, |i, rows, _| {
        rows_read += rows.len();
        found.insert(i, rows);
    });
    for i in model.keys() {
        for window in 0..windows.count {
            let newest = wanted(model, *i, windows, window).last().copied();
            let mut rows = found.get(i).into_iter().flatten().copied();
            let last = rows.rfind(|(ms, _)| *ms <= windows.end_ms(window));
            let last = last.filter(|(ms, _)| inside(windows, window, *ms));
            assert_eq!(last.map(|s| bits(&[s])), newest.map(|s| bits(&[s])), "series {i}, {windows:?}");
        }
    }
    rows_read
}

fn check_summaries(
    store: &Store,
    model: &Model,
    windows: &Windows,
    counters: bool,
    budget: &Budget,
) -> usize {
    let detail = if counters { Detail::Counters } else { Detail::Summaries };
    let hints = Hints { windows: Some(*windows), detail, ..Hints::default() };
    let mut told = 0;
    let selection = store.select(TENANT, &[], range_of(windows), &hints, budget).unwrap();
    each_series(selection, |i, rows, summaries| {
        told += summaries.len();
        // In one order of time, none over another.
        let mut edges = Vec::new();
        let mut next = 0;
        for (row, summary) in &summaries {
            edges.extend(rows[next..*row].iter().map(|(ms, _)| (*ms, *ms)));
            edges.push((summary.range.start_ms, summary.range.end_ms));
            next = *row;
        }
        edges.extend(rows[next..].iter().map(|(ms, _)| (*ms, *ms)));
        assert!(edges.windows(2).all(|pair| pair[0].1 < pair[1].0), "series {i}");
        for window in 0..windows.count {
            let wanted = wanted(model, i, windows, window);
            let within = |range: TimeRange| inside(windows, window, range.start_ms);
            let (mut count, mut sum) = (0, 0.0);
            for (ms, value) in rows.iter().filter(|(ms, _)| inside(windows, window, *ms)) {
                assert!(wanted.contains(&(*ms, *value)) || value.is_nan());
                count += 1;
                sum += if value.is_nan() { 0.0 } else { *value };
            }
            for (_, summary) in summaries.iter().filter(|(_, summary)| within(summary.range)) {
                let samples: Vec<_> =
                    wanted.iter().filter(|(ms, _)| summary.range.contains(*ms)).map(|s| s.1).collect();
                assert!(inside(windows, window, summary.range.end_ms), "cut by a window");
                let resets = samples.windows(2).filter(|pair| pair[1] < pair[0]).count();
                assert!(!counters || resets == 0);
                let of = |f: fn(f64, f64) -> f64| samples.iter().copied().reduce(f).unwrap();
                assert_eq!((summary.min, summary.max), (of(f64::min), of(f64::max)));
                assert_eq!((summary.first, summary.last), (samples[0], samples[samples.len() - 1]));
                assert_eq!((summary.count as usize, summary.resets as usize), (samples.len(), resets));
                count += samples.len();
                sum += summary.sum;
            }
            assert_eq!(count, wanted.len(), "series {i}, {windows:?}");
            assert_eq!(sum, wanted.iter().map(|(_, v)| if v.is_nan() { 0.0 } else { *v }).sum::<f64>());
        }
    });
    told
}

#[test]
fn nothing_that_is_looked_at_is_left_out() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let (mut model, mut dice) = (Model::new(), Dice(3));
    filled(&store, &mut model, &mut dice);
    let budget = Budget::new(1 << 40);
    let (mut told, mut rows) = (0, 0);
    for round in 0..120 {
        let length_ms = [1, 300_000, 3_600_000, 20 * 3_600_000][round % 4] + dice.below(1_000_000) as i64;
        let windows = Windows {
            first_ms: dice.below(3 * 86_400_000) as i64,
            step_ms: 1 + dice.below(86_400_000) as i64,
            count: 1 + dice.below(3) as usize * (round / 60),
            length_ms,
        };
        check_all(&store, &model, &windows, &budget);
        rows += check_newest(&store, &model, &windows, &budget);
        told += check_summaries(&store, &model, &windows, round % 2 == 0, &budget);
    }
    assert!(told > 1_000, "{told} summaries are few");
    assert!(rows > 1_000, "{rows} newest samples are few");
    // For one window's newest samples nearly nothing else is read.
    let windows = Windows { first_ms: 2 * 86_400_000 + 7, step_ms: 1, count: 1, length_ms: 300_000 };
    assert!(check_newest(&store, &model, &windows, &budget) < SERIES as usize * 500);
}

#[test]
fn parts_are_the_whole_and_labels_are_as_wanted() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let (mut model, mut dice) = (Model::new(), Dice(9));
    filled(&store, &mut model, &mut dice);
    // In the head alone, behind all others, and not the last by its label.
    write(&store, &mut model, &[(100, 3 * 86_400_000, 1.0)]);
    let range = TimeRange { start_ms: 86_400_000, end_ms: i64::MAX };
    let budget = Budget::new(1 << 40);
    let select = |hints: &Hints| store.select(TENANT, &[], range, hints, &budget).unwrap();
    let mut whole = Vec::new();
    each_series(select(&Hints::default()), |i, rows, _| whole.push((i, bits(&rows))));
    assert_eq!(whole.len(), SERIES as usize + 1);
    for parts in [1, 2, 3, 7, 100] {
        let mut found = Vec::new();
        let selections = select(&Hints::default()).split(parts);
        assert!(selections.len() <= parts.max(1));
        for part in selections {
            each_series(part, |i, rows, _| found.push((i, bits(&rows))));
        }
        assert!(found == whole, "{parts} parts");
    }
    let mut sorted = select(&Hints::default());
    sorted.sort_by_labels().unwrap();
    let mut found = Vec::new();
    each_series(sorted, |i, rows, _| found.push((i.to_string(), (i, bits(&rows)))));
    // The number is the label that differs, and labels are text.
    assert!(found.is_sorted_by(|a, b| a.0 < b.0));
    let mut found: Vec<_> = found.into_iter().map(|(_, series)| series).collect();
    found.sort();
    whole.sort();
    assert!(found == whole, "sorted by labels");
    assert_eq!(select(&Hints { limit: 3, ..Hints::default() }).len(), 3);
    let only = WantedLabels::Only(vec!["i".into(), "none".into()]);
    let without = WantedLabels::Without(vec!["i".into()]);
    for (labels, names) in [(WantedLabels::All, "__name__,i"), (only, "i"), (without, "__name__")] {
        let mut selection = select(&Hints { labels, ..Hints::default() });
        let mut block = SeriesBlock::default();
        while selection.next_block(&mut block).unwrap() {
            for series in &block.series {
                let labels = selection.labels(*series).unwrap().unwrap();
                let found: Vec<&str> = labels.iter().map(|(name, _)| name).collect();
                assert_eq!(found.join(","), names);
            }
        }
    }
}
