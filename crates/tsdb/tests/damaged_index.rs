//! Any one page of a large index is damaged: what can be read is answered by every way of asking and nothing else is, what
//! was deleted stays so, no more is missing than the check says, and whatever is missing is warned of.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use env::Env;
use model::batch::{LabelSource, SeriesRow, Temporality};
use model::{
    Batch, Budget, Hints, MatchOp, Matcher, Sample, SeriesBlock, TenantId, TenantLimits, TimeRange,
    WantedLabels,
};
use sim::clock::SimClock;
use sim::files::SimFiles;
use sim::random::SimRandom;
use tsdb::{Options, Progress, Store, WriteContext};

const ALWAYS: TimeRange = TimeRange { start_ms: i64::MIN, end_ms: i64::MAX };
const DATA: &str = "/data";
const TENANT: TenantId = TenantId(1);
/// So many that ids, rows, symbols and postings take several pages each.
const SERIES: u32 = 6_000;
const FILE_HEADER_BYTES: usize = 48;
const PAGE_HEADER_BYTES: usize = 48;
const INDEX_PAGE: u32 = 2;

/// The value of a series' label `k`, of one of 16 kinds by its first digit.
fn key(i: u32) -> String {
    let mixed = u64::from(i).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    format!("{mixed:016x}-{:032x}", u128::from(mixed) << 64 | u128::from(!mixed))
}

/// Those of some kinds.
fn of_kinds(all: &BTreeSet<u32>, kinds: Range<char>) -> BTreeSet<u32> {
    all.iter().copied().filter(|i| key(*i).starts_with(|kind| kinds.contains(&kind))).collect()
}

fn matcher(name: &str, op: MatchOp, value: &str) -> Matcher {
    Matcher::new(name, op, value).unwrap()
}

fn open(disk: &SimFiles) -> Store {
    let env = Env {
        clock: Arc::new(SimClock::new(1_000_000)),
        files: Arc::new(disk.clone()),
        random: Arc::new(SimRandom::new(1)),
    };
    let options = Options { disk_reserve_bytes: 0, ..Options::default() };
    Store::open(env, Path::new(DATA), options, &Progress::default()).unwrap()
}

/// Sends a sample of each series, whose value is its number.
fn send(store: &Store, series: impl IntoIterator<Item = u32>) {
    let mut batch = Batch::new(store.seed());
    for (at, i) in series.into_iter().enumerate() {
        let labels = [("__name__", "metric".to_owned()), ("i", i.to_string()), ("k", key(i))];
        batch.pairs.extend(labels.map(|(name, value)| (name.into(), value.into())));
        batch.samples.push(Sample { timestamp_ms: 1_000, value: f64::from(i), start_ms: 0 });
        batch.series.push(SeriesRow {
            labels: LabelSource::Pairs(3 * at..3 * at + 3),
            key: u128::from(i),
            samples: at..at + 1,
            histograms: 0..0,
            exemplars: 0..0,
            temporality: Temporality::Cumulative,
            item: 0,
        });
    }
    let limits = TenantLimits { retention_ms: 0, ..TenantLimits::default() };
    let context = WriteContext { tenant: TENANT, limits: &limits, epoch: 0, now_ms: 1_000_000, digest: None };
    let (ticket, _) = store.append(&context, &batch).unwrap();
    store.commit(Duration::ZERO);
    ticket.wait().unwrap();
}

/// A block of all series but those of four kinds, which are deleted; and what is left.
fn deleted_in_part() -> (SimFiles, BTreeSet<u32>) {
    let disk = SimFiles::new(1);
    env::Files::create_dir(&disk, Path::new(DATA)).unwrap();
    let store = open(&disk);
    send(&store, 0..SERIES);
    store.flush().unwrap();
    store.delete_series(TENANT, &[vec![matcher("k", MatchOp::Regex, "[0-3].*")]], ALWAYS).unwrap();
    disk.kill();
    let all = (0..SERIES).collect();
    let left = &all - &of_kinds(&all, '0'..'4');
    assert!(left.len() > SERIES as usize / 2 && left.len() < SERIES as usize);
    (disk, left)
}

/// The block, and where the payloads of its index pages lie.
fn index_pages(disk: &SimFiles) -> (PathBuf, Vec<Range<usize>>) {
    let mut blocks = disk.paths();
    blocks.retain(|path| path.extension().is_some_and(|extension| extension == "block"));
    let [path] = blocks.as_slice() else { panic!("{blocks:?}") };
    let bytes = disk.content(path).unwrap();
    let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let (mut at, mut pages) = (FILE_HEADER_BYTES, Vec::new());
    while at + PAGE_HEADER_BYTES < bytes.len() {
        let payload = at + PAGE_HEADER_BYTES..at + PAGE_HEADER_BYTES + number(at + 4) as usize;
        if number(at + 8) == INDEX_PAGE {
            pages.push(payload.clone());
        }
        at = payload.end;
    }
    (path.clone(), pages)
}

/// What is answered to each way of asking.
#[derive(Debug, PartialEq)]
struct Answers {
    /// Values of the samples that come, with labels or without.
    samples: BTreeSet<u32>,
    /// Of those that come with the label `i`, its value.
    labelled: BTreeSet<u32>,
    /// Of `k=~"a.*"` and no label wanted.
    matched: BTreeSet<u32>,
    /// Label sets.
    listed: BTreeSet<u32>,
    /// Values of `i`.
    values: BTreeSet<u32>,
    /// Whether each of them warned.
    warned: [bool; 4],
}

impl Answers {
    fn of(store: &Store) -> Answers {
        let (samples, labelled, all_warned) = select(store, &[], WantedLabels::All);
        let of_a = [matcher("k", MatchOp::Regex, "a.*")];
        let (matched, _, matched_warned) = select(store, &of_a, WantedLabels::Only(Vec::new()));
        let budget = Budget::new(1 << 30);
        let series = store.series(TENANT, &[], ALWAYS, 0, &budget).unwrap();
        let values = store.label_values(TENANT, "i", &[], ALWAYS, &budget).unwrap();
        let listed = series.found.iter().map(|labels| {
            let i = labels.get("i").unwrap().parse().unwrap();
            assert_eq!(labels.get("k"), Some(&*key(i)));
            i
        });
        Answers {
            samples,
            labelled,
            matched,
            listed: listed.collect(),
            values: values.found.iter().map(|value| value.parse().unwrap()).collect(),
            warned: [all_warned, matched_warned, !series.warnings.is_empty(), !values.warnings.is_empty()],
        }
    }

    /// Those of a whole store that has these series.
    fn whole(left: &BTreeSet<u32>) -> Answers {
        Answers {
            samples: left.clone(),
            labelled: left.clone(),
            matched: of_kinds(left, 'a'..'b'),
            listed: left.clone(),
            values: left.clone(),
            warned: [false; 4],
        }
    }

    /// Nothing is there that should not be, at most `lost` are missing, and each of the four ways warns then.
    #[track_caller]
    fn expect_part_of(&self, left: &BTreeSet<u32>, lost: usize, what: &str) {
        let whole = Answers::whole(left);
        let pairs = [
            (&self.labelled, &whole.labelled, self.warned[0]),
            (&self.samples, &whole.samples, self.warned[0]),
            (&self.matched, &whole.matched, self.warned[1]),
            (&self.listed, &whole.listed, self.warned[2]),
            (&self.values, &whole.values, self.warned[3]),
        ];
        for (way, (found, wanted, warned)) in pairs.into_iter().enumerate() {
            let wrong: Vec<_> = (found - wanted).into_iter().take(5).collect();
            assert_eq!(wrong, [0; 0], "{what}, way {way}: nothing of this is left");
            let missing = wanted.len() - found.len();
            assert!(missing <= lost, "{what}, way {way}: {missing} missing, {lost} lost");
            assert!(missing == 0 || warned, "{what}, way {way}: {missing} missing without a warning");
        }
    }
}

/// Values of samples, values of the label `i`, and whether there were warnings.
fn select(store: &Store, matchers: &[Matcher], labels: WantedLabels) -> (BTreeSet<u32>, BTreeSet<u32>, bool) {
    let (hints, budget) = (Hints { labels, ..Hints::default() }, Budget::new(1 << 30));
    let mut selection = store.select(TENANT, matchers, ALWAYS, &hints, &budget).unwrap();
    let (mut samples, mut labelled, mut block) = (BTreeSet::new(), BTreeSet::new(), SeriesBlock::default());
    while selection.next_block(&mut block).unwrap() {
        for (series, value) in block.series.iter().zip(&block.columns.values) {
            samples.insert(*value as u32);
            let labels = selection.labels(*series).unwrap();
            if let Some(i) = labels.as_ref().and_then(|labels| labels.get("i")) {
                assert_eq!(i, value.to_string(), "labels of another series");
                labelled.insert(*value as u32);
            }
        }
    }
    (samples, labelled, !selection.warnings().is_empty())
}

#[test]
fn a_damaged_page_of_an_index_costs_what_it_says_and_no_answer() {
    let (disk, left) = deleted_in_part();
    assert_eq!(Answers::of(&open(&disk.fork(1))), Answers::whole(&left));
    let (path, pages) = index_pages(&disk);
    assert!(pages.len() > 20, "{} pages", pages.len());
    let mut losses = BTreeMap::new();
    for page in pages {
        let what = format!("page at {}", page.start - PAGE_HEADER_BYTES);
        let disk = disk.fork(1);
        disk.flip_bit(&path, (page.start + page.len() / 2) * 8).unwrap();
        let report = tsdb::check(&disk, Path::new(DATA), &mut |_| {}).unwrap();
        let [finding] = report.damage.as_slice() else { panic!("{what}: {report:?}") };
        let lost = finding.series.unwrap() as usize;
        *losses.entry(lost > 0).or_insert(0) += 1;
        let store = open(&disk);
        Answers::of(&store).expect_part_of(&left, lost, &what);
        // Deletes take what cannot be told from what they are to take, and what is sent again is there.
        store.delete_series(TENANT, &[vec![matcher("k", MatchOp::Regex, "[4-7].*")]], ALWAYS).unwrap();
        let left = &left - &of_kinds(&left, '4'..'8');
        Answers::of(&store).expect_part_of(&left, lost, &format!("{what}, more deleted"));
        drop(store);
        let store = open(&disk);
        Answers::of(&store).expect_part_of(&left, lost, &format!("{what}, started again"));
        let again: BTreeSet<u32> = of_kinds(&(0..SERIES).collect(), '5'..'6');
        send(&store, again.iter().copied());
        store.compact_all().unwrap();
        let left = &left | &again;
        Answers::of(&store).expect_part_of(&left, lost, &format!("{what}, merged"));
        let answers = Answers::of(&store);
        assert!(again.is_subset(&answers.labelled) && again.is_subset(&answers.listed), "{what}: sent again");
    }
    // Postings cost nothing.
    assert!(losses.len() == 2, "{losses:?}");
}
