//! A job with pages and a store of the test's own, in time that passes when everybody waits.

mod trouble;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use env::{Clock, Env};
use model::relabel::{Action, Names, Parts, Rule, Rules};
use model::{Batch, Labels, TenantName, is_stale};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, sleep};

use crate::config::Histograms;
use crate::fetch::{Fetch, Fetched};
use crate::job::{Command, Job, Order, Shown};
use crate::labelling::LabelTerms;
use crate::report::{Extra, Health};
use crate::store::{Boxed, Durable, Paid};
use crate::target::{Found, Target};
use crate::{Common, Lost, ScrapeError, Store, Terms, Timestamps, Told};

const INTERVAL: Duration = Duration::from_secs(10);
const BASE_MS: i64 = 1_700_000_000_000;

/// The time that tokio passes; the wall clock may be set.
struct Paused(Instant, AtomicI64);

impl Clock for Paused {
    fn now_ms(&self) -> i64 {
        BASE_MS + self.0.elapsed().as_millis() as i64 + self.1.load(Ordering::Relaxed)
    }

    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }
}

/// What a page answers.
type Answer = Result<(&'static str, Vec<u8>), ScrapeError>;

/// Pages by URL.
#[derive(Default)]
struct Pages {
    answers: Mutex<HashMap<String, Answer>>,
    takes: Mutex<Duration>,
    asked: Mutex<Vec<(String, Duration)>>,
}

struct Fetcher(Arc<Pages>, Arc<Paused>);

impl Fetch for Fetcher {
    fn fetch<'a>(&'a self, target: &'a Target, _: Duration) -> Boxed<'a, Result<Fetched, ScrapeError>> {
        Box::pin(async move {
            self.0.asked.lock().unwrap().push((target.url.to_string(), self.1.monotonic()));
            let takes = *self.0.takes.lock().unwrap();
            sleep(takes).await;
            let answer = self.0.answers.lock().unwrap().get(&target.url.to_string()).cloned();
            let (media, page) = answer.unwrap_or(Err(ScrapeError::NoAnswer("nobody listens".into())))?;
            Ok(Fetched { content_type: Some(media.to_owned()), body: Bytes::from(page) })
        })
    }
}

/// A store that finds series by their keys as the real one does.
#[derive(Default)]
struct Kept {
    keys: Mutex<HashMap<u128, String>>,
    samples: Mutex<BTreeMap<(String, i64), f64>>,
    metadata: Mutex<Vec<String>>,
    exemplars: Mutex<Vec<f64>>,
    /// So many appends are refused.
    full: AtomicU32,
    /// So many pages find no room among those that compute.
    crowded: AtomicU32,
    /// So many appends are taken, and do not become durable.
    failing: AtomicU32,
    appends: AtomicU32,
    told: Mutex<Vec<String>>,
}

struct Free;

impl Paid for Free {
    fn settle(&mut self, _: u64) -> Result<(), Lost> {
        Ok(())
    }
}

impl Store for Kept {
    fn seed(&self) -> Option<u64> {
        Some(7)
    }

    fn pay(&self, _: &TenantName, _: u64) -> Result<Box<dyn Paid>, Lost> {
        Ok(Box::new(Free))
    }

    fn append(&self, _: &TenantName, batch: &Batch<'_>, _: i64) -> Result<Durable, Lost> {
        self.appends.fetch_add(1, Ordering::Relaxed);
        if self.full.load(Ordering::Relaxed) > 0 {
            self.full.fetch_sub(1, Ordering::Relaxed);
            return Err(Lost::Full("queue"));
        }
        if self.failing.load(Ordering::Relaxed) > 0 {
            self.failing.fetch_sub(1, Ordering::Relaxed);
            return Ok(Box::pin(async { Err(Lost::NotDurable) }));
        }
        let (mut keys, mut samples) = (self.keys.lock().unwrap(), self.samples.lock().unwrap());
        for (index, series) in batch.series.iter().enumerate() {
            let made = batch.with_labels(index, |pairs| Labels::canonical(pairs, &Default::default()));
            let made = made.expect("labels").to_string();
            let name = keys.entry(series.key).or_insert_with(|| made.clone());
            assert_eq!(*name, made, "equal keys have equal labels");
            let exemplars = &batch.exemplars[series.exemplars.clone()];
            self.exemplars.lock().unwrap().extend(exemplars.iter().map(|exemplar| exemplar.value));
            for sample in &batch.samples[series.samples.clone()] {
                samples.insert((made.clone(), sample.timestamp_ms), sample.value);
            }
        }
        let mut metadata = self.metadata.lock().unwrap();
        metadata.extend(batch.metadata.iter().map(|m| format!("{} {}", m.family, m.metadata.kind.as_str())));
        Ok(Box::pin(async { Ok(()) }))
    }

    fn compute(&self, job: Box<dyn FnOnce() + Send>) -> Boxed<'_, Result<(), Lost>> {
        if self.crowded.load(Ordering::Relaxed) > 0 {
            self.crowded.fetch_sub(1, Ordering::Relaxed);
            return Box::pin(async { Err(Lost::Full("decoding queue")) });
        }
        job();
        Box::pin(async { Ok(()) })
    }

    fn tell(&self, told: Told<'_>) {
        self.told.lock().unwrap().push(match told {
            Told::Scraped { failure, samples, .. } => {
                format!("scraped {samples} {}", failure.unwrap_or("well"))
            }
            Told::Lost { why, .. } => format!("lost {}", why.as_str()),
            Told::Skipped { .. } => "skipped".to_owned(),
            Told::Targets { active, dropped, .. } => format!("targets {active} {dropped}"),
        });
    }
}

/// A job that is tested.
struct Rig {
    pages: Arc<Pages>,
    kept: Arc<Kept>,
    clock: Arc<Paused>,
    shown: Arc<Shown>,
    commands: mpsc::Sender<Command>,
    task: tokio::task::JoinHandle<()>,
}

fn terms() -> Terms {
    Terms {
        timestamps: Timestamps::Honoured,
        sample_limit: 0,
        bucket_limit: 0,
        schema_max: 8,
        extra: Extra::Without,
    }
}

fn target(name: &str) -> Target {
    Target {
        url: outbound::Url::parse(&format!("http://{name}/metrics")).unwrap(),
        labels: Labels::from_pairs([("instance", name), ("job", "j"), ("__address__", name)]),
        discovered: Labels::from_pairs([("__address__", name)]),
        interval: INTERVAL,
        timeout: INTERVAL,
        histograms: Histograms { native: false, classic_beside_native: false, classic_as_native: false },
    }
}

impl Rig {
    fn start(terms: Terms, rules: Vec<Parts>) -> Self {
        let (pages, kept) = (Arc::<Pages>::default(), Arc::<Kept>::default());
        let clock = Arc::new(Paused(Instant::now(), AtomicI64::new(0)));
        let shown = Arc::<Shown>::default();
        let (commands, inbox) = mpsc::channel(8);
        let order = order(&pages, &kept, &clock, terms, rules);
        let job = Job::new(order, 0, Arc::new(Semaphore::new(100)), Arc::clone(&shown));
        let task = tokio::spawn(job.run(inbox));
        Self { pages, kept, clock, shown, commands, task }
    }

    async fn change(&self, terms: Terms, rules: Vec<Parts>) {
        let order = order(&self.pages, &self.kept, &self.clock, terms, rules);
        self.commands.send(Command::Change(order)).await.unwrap();
    }

    async fn targets(&self, names: &[&str]) {
        let targets = names.iter().map(|name| target(name)).collect();
        self.commands.send(Command::Targets(Found { targets, ..Found::default() })).await.unwrap();
    }

    fn page(&self, name: &str, page: &str) {
        self.answer(name, "text/plain; version=0.0.4", page.as_bytes().to_vec());
    }

    fn answer(&self, name: &str, media: &'static str, page: Vec<u8>) {
        let answer = Ok((media, page));
        self.pages.answers.lock().unwrap().insert(format!("http://{name}/metrics"), answer);
    }

    fn down(&self, name: &str) {
        let answer = Err(ScrapeError::NoAnswer("refused".into()));
        self.pages.answers.lock().unwrap().insert(format!("http://{name}/metrics"), answer);
    }

    /// Runs until there was another scrape.
    async fn scrape(&self) {
        let is_scraped = |told: &String| told.starts_with("scraped");
        let count = || self.kept.told.lock().unwrap().iter().filter(|told| is_scraped(told)).count();
        let before = count();
        while count() == before {
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// The samples of the latest time, without the reports' varying ones, and forgets all.
    fn taken(&self) -> Vec<String> {
        let samples = std::mem::take(&mut *self.kept.samples.lock().unwrap());
        let last = samples.keys().map(|(_, at)| *at).max().unwrap_or(0);
        let shown = |((labels, at), value): (&(String, i64), &f64)| {
            let value = if is_stale(*value) { "stale".to_owned() } else { value.to_string() };
            let own = "instance=\"a\", job=\"j\"";
            let labels = labels.replace(&format!("{{{own}}}"), "").replace(own, "…");
            let late = if *at == last { String::new() } else { format!(" @{}", at - last) };
            format!("{labels} {value}{late}")
        };
        let all = samples.iter().map(shown);
        all.filter(|line| !line.starts_with("scrape_duration")).collect()
    }
}

fn order(
    pages: &Arc<Pages>,
    kept: &Arc<Kept>,
    clock: &Arc<Paused>,
    terms: Terms,
    rules: Vec<Parts>,
) -> Order {
    let rules = rules.into_iter().map(|parts| Rule::new(parts, Names::Utf8).unwrap()).collect();
    Order {
        common: Arc::new(Common {
            job: "j".into(),
            tenant: TenantName::parse("default").unwrap(),
            terms,
            fallback: None,
            fetch: Box::new(Fetcher(Arc::clone(pages), Arc::clone(clock))),
            store: Arc::clone(kept) as Arc<dyn Store>,
            env: Env { clock: Arc::clone(clock) as Arc<dyn Clock>, ..Env::real() },
        }),
        labels: LabelTerms { rules: Arc::new(Rules::new(rules)), ..LabelTerms::default() },
        target_limit: 0,
    }
}

/// The report of a scrape.
fn report(up: u8, scraped: u8, kept: u8, added: u8) -> Vec<String> {
    vec![
        format!("scrape_samples_post_metric_relabeling {kept}"),
        format!("scrape_samples_scraped {scraped}"),
        format!("scrape_series_added {added}"),
        format!("up {up}"),
    ]
}

fn with(lines: &[&str], report: Vec<String>) -> Vec<String> {
    let mut all: Vec<String> = lines.iter().map(|line| (*line).to_owned()).chain(report).collect();
    all.sort();
    all
}

fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort();
    lines
}

#[tokio::test(start_paused = true)]
async fn what_is_not_on_the_page_any_more_ends_once() {
    let rig = Rig::start(terms(), Vec::new());
    rig.page("a", "# TYPE x gauge\nx{n=\"1\"} 1\nx{n=\"2\"} 2\ny 3\n");
    rig.targets(&["a"]).await;
    rig.scrape().await;
    let rows = ["x{…, n=\"1\"} 1", "x{…, n=\"2\"} 2", "y 3"];
    assert_eq!(sorted(rig.taken()), with(&rows, report(1, 3, 3, 3)));
    assert_eq!(*rig.kept.metadata.lock().unwrap(), ["x gauge"]);
    rig.page("a", "# TYPE x gauge\nx{n=\"2\"} 5\ny 6\n");
    rig.scrape().await;
    let ends: Vec<_> = rig.taken().into_iter().filter(|line| line.ends_with("stale")).collect();
    assert_eq!(ends, ["x{…, n=\"1\"} stale"]);
    rig.scrape().await;
    let taken = sorted(rig.taken());
    assert_eq!(taken, with(&["x{…, n=\"2\"} 5", "y 6"], report(1, 2, 2, 0)));
    // What is said of families did not change, so it was said once.
    assert_eq!(rig.kept.metadata.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_failed_scrape_ends_everything_and_stores_none_of_its_rows() {
    let rig = Rig::start(terms(), Vec::new());
    rig.page("a", "x 1\ny 2\n");
    rig.targets(&["a"]).await;
    rig.scrape().await;
    rig.taken();
    rig.page("a", "x 3\nnot a line\n");
    rig.scrape().await;
    assert_eq!(sorted(rig.taken()), with(&["x stale", "y stale"], report(0, 1, 1, 0)));
    let last = rig.shown.list().active[0].last();
    assert_eq!(last.health, Health::Down);
    assert!(last.error.starts_with("line 2: "), "{}", last.error);
    rig.down("a");
    rig.scrape().await;
    assert_eq!(sorted(rig.taken()), report(0, 0, 0, 0));
    // It is back, and nothing of it is new.
    rig.page("a", "x 4\ny 5\n");
    rig.scrape().await;
    assert_eq!(sorted(rig.taken()), with(&["x 4", "y 5"], report(1, 2, 2, 0)));
}

#[tokio::test(start_paused = true)]
async fn series_of_a_target_that_is_gone_end_at_its_next_time() {
    let rig = Rig::start(terms(), Vec::new());
    rig.page("a", "x 1\n");
    rig.targets(&["a"]).await;
    rig.scrape().await;
    let scraped_ms = rig.shown.list().active[0].last().at_ms;
    rig.taken();
    rig.targets(&[]).await;
    sleep(INTERVAL * 2).await;
    assert_eq!(rig.taken(), [""; 0], "not before it could have come back");
    sleep(INTERVAL / 5).await;
    let ends = rig.kept.samples.lock().unwrap().keys().map(|(_, at)| *at).collect::<Vec<_>>();
    assert_eq!(ends, [scraped_ms + 10_000; 6]);
    let names = rig.taken();
    assert!(names.contains(&"x stale".to_owned()) && names.contains(&"up stale".to_owned()), "{names:?}");
}

#[tokio::test(start_paused = true)]
async fn a_target_that_comes_back_goes_on() {
    let rig = Rig::start(terms(), Vec::new());
    rig.page("a", "x 1\n");
    rig.targets(&["a"]).await;
    rig.scrape().await;
    rig.targets(&[]).await;
    sleep(INTERVAL).await;
    rig.targets(&["a"]).await;
    rig.taken();
    rig.scrape().await;
    assert_eq!(sorted(rig.taken()), with(&["x 1"], report(1, 1, 1, 0)));
    sleep(INTERVAL * 3).await;
    assert!(rig.taken().iter().all(|line| !line.contains("stale")));
}

#[tokio::test(start_paused = true)]
async fn a_target_with_another_interval_remembers_its_page() {
    let rig = Rig::start(terms(), Vec::new());
    rig.page("a", "x 1\ny 2\n");
    rig.targets(&["a"]).await;
    rig.scrape().await;
    rig.taken();
    rig.page("a", "x 1\n");
    let labels = Labels::from_pairs(target("a").labels.iter().chain([("__scrape_interval__", "5s")]));
    let faster = Target { interval: INTERVAL / 2, labels, ..target("a") };
    assert_ne!(faster.hash(), target("a").hash());
    rig.commands.send(Command::Targets(Found { targets: vec![faster], ..Found::default() })).await.unwrap();
    rig.scrape().await;
    assert_eq!(sorted(rig.taken()), with(&["x 1", "y stale"], report(1, 1, 1, 0)));
    sleep(INTERVAL * 3).await;
    assert!(rig.taken().iter().all(|line| !line.contains("stale")));
}

#[tokio::test(start_paused = true)]
async fn a_job_that_ends_ends_its_series_and_one_that_is_dropped_does_not() {
    for (is_ended, wanted) in [(true, 6), (false, 0)] {
        let rig = Rig::start(terms(), Vec::new());
        rig.page("a", "x 1\n");
        rig.targets(&["a"]).await;
        rig.scrape().await;
        rig.taken();
        if is_ended {
            rig.commands.send(Command::End).await.unwrap();
            drop(rig.commands);
            rig.task.await.unwrap();
        } else {
            rig.task.abort();
            sleep(INTERVAL * 3).await;
        }
        assert_eq!(rig.kept.samples.lock().unwrap().len(), wanted);
    }
}

#[tokio::test(start_paused = true)]
async fn rows_with_a_time_are_not_ended_by_their_absence() {
    for (timestamps, wanted) in [
        (Timestamps::Honoured, &[][..]),
        (Timestamps::Tracked, &["t stale"][..]),
        (Timestamps::Ignored, &["t stale"][..]),
    ] {
        let rig = Rig::start(Terms { timestamps, ..terms() }, Vec::new());
        rig.page("a", &format!("t 1 {}\nu 2\n", BASE_MS - 50_000));
        rig.targets(&["a"]).await;
        rig.scrape().await;
        let at = rig.kept.samples.lock().unwrap().keys().find(|(name, _)| name.starts_with("t{")).unwrap().1;
        assert_eq!(at == BASE_MS - 50_000, timestamps != Timestamps::Ignored);
        rig.taken();
        rig.page("a", "u 2\n");
        rig.scrape().await;
        let ends: Vec<_> = rig.taken().into_iter().filter(|line| line.ends_with("stale")).collect();
        assert_eq!(ends, wanted, "{timestamps:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn of_two_rows_of_a_series_the_first_one_counts() {
    let rig = Rig::start(terms(), Vec::new());
    rig.page("a", "x 1\ny 2\nx 3\n");
    rig.targets(&["a"]).await;
    for added in [2, 0] {
        rig.scrape().await;
        assert_eq!(sorted(rig.taken()), with(&["x 1", "y 2"], report(1, 3, 3, added)));
    }
    rig.page("a", "y 2\nx 3\n");
    rig.scrape().await;
    assert_eq!(sorted(rig.taken()), with(&["x 3", "y 2"], report(1, 2, 2, 0)));
}

#[tokio::test(start_paused = true)]
async fn another_order_and_another_text_of_the_same_labels_end_nothing() {
    let rig = Rig::start(terms(), Vec::new());
    rig.page("a", "x{b=\"1\",c=\"2\"} 1\ny 2\n");
    rig.targets(&["a"]).await;
    rig.scrape().await;
    rig.taken();
    rig.page("a", "y 2\nx{b=\"1\",c=\"2\"} 1\n");
    rig.scrape().await;
    assert_eq!(rig.taken().len(), 6);
    rig.page("a", "y 2\nx{c=\"2\",b=\"1\"} 4\n");
    rig.scrape().await;
    let taken = rig.taken();
    assert!(taken.iter().all(|line| !line.contains("stale")), "{taken:?}");
    assert!(taken[4..].contains(&"x{b=\"1\", c=\"2\", …} 4".to_owned()), "{taken:?}");
}

#[tokio::test(start_paused = true)]
async fn what_rules_drop_is_counted_and_remembered() {
    let drop = Parts {
        source_labels: vec!["__name__".into()],
        regex: "go_.*".into(),
        action: Action::Drop,
        ..Parts::default()
    };
    let rig = Rig::start(terms(), vec![drop]);
    rig.page("a", "go_a 1\nx 2\ngo_b 3\n");
    rig.targets(&["a"]).await;
    for added in [1, 0] {
        rig.scrape().await;
        assert_eq!(sorted(rig.taken()), with(&["x 2"], report(1, 3, 1, added)));
    }
    rig.page("a", "x 2\ngo_b 3\nz 4\n");
    rig.scrape().await;
    assert_eq!(sorted(rig.taken()), with(&["x 2", "z 4"], report(1, 3, 2, 1)));
}

#[tokio::test(start_paused = true)]
async fn series_that_are_called_otherwise_after_a_reload_end() {
    let rename =
        |name: &str| Parts { target_label: "env".into(), replacement: name.into(), ..Parts::default() };
    let rig = Rig::start(terms(), vec![rename("one")]);
    rig.page("a", "x 1\n");
    rig.targets(&["a"]).await;
    rig.scrape().await;
    rig.taken();
    rig.change(terms(), vec![rename("two")]).await;
    rig.scrape().await;
    let wanted = ["x{env=\"one\", …} stale", "x{env=\"two\", …} 1"];
    assert_eq!(rig.taken()[4..], wanted);
}

#[tokio::test(start_paused = true)]
async fn over_the_sample_limit_nothing_is_stored_and_all_is_counted() {
    let rig = Rig::start(Terms { sample_limit: 2, extra: Extra::With, ..terms() }, Vec::new());
    rig.page("a", "x 1\ny 2\nz 3\n");
    rig.targets(&["a"]).await;
    rig.scrape().await;
    let mut wanted = report(0, 3, 3, 0);
    wanted.extend(
        ["scrape_body_size_bytes 12", "scrape_sample_limit 2", "scrape_timeout_seconds 10"].map(String::from),
    );
    assert_eq!(sorted(rig.taken()), sorted(wanted));
    assert_eq!(rig.shown.list().active[0].last().error, "sample limit exceeded");
}

#[tokio::test(start_paused = true)]
async fn a_full_store_is_asked_again_within_the_timeout() {
    let rig = Rig::start(terms(), Vec::new());
    rig.page("a", "x 1\n");
    rig.kept.full.store(3, Ordering::Relaxed);
    rig.targets(&["a"]).await;
    rig.scrape().await;
    assert_eq!(sorted(rig.taken()), with(&["x 1"], report(1, 1, 1, 1)));
    assert_eq!(rig.kept.appends.load(Ordering::Relaxed), 4);
    // It stays full for the whole timeout; that the target is down is written once there is room.
    let tries = (INTERVAL.as_millis() / 50) as u32 - 1;
    rig.kept.full.store(tries + 1, Ordering::Relaxed);
    while rig.kept.full.load(Ordering::Relaxed) > 1 {
        sleep(Duration::from_millis(10)).await;
    }
    rig.kept.full.store(1, Ordering::Relaxed);
    sleep(INTERVAL).await;
    let told = rig.kept.told.lock().unwrap().clone();
    assert!(told.contains(&"lost full".to_owned()), "{told:?}");
    assert!(told.contains(&"scraped 0 full".to_owned()), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn times_are_regular_and_a_scrape_that_runs_is_not_run_again() {
    let rig = Rig::start(terms(), Vec::new());
    rig.page("a", "x 1\n");
    rig.targets(&["a"]).await;
    sleep(INTERVAL * 5).await;
    let times: Vec<i64> = rig
        .kept
        .samples
        .lock()
        .unwrap()
        .keys()
        .filter(|(name, _)| name.starts_with("x{"))
        .map(|(_, at)| *at)
        .collect();
    assert_eq!(times.len(), 5);
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] == 10_000), "{times:?}");
    // The wall clock is set: times go with it.
    rig.clock.1.store(-3000, Ordering::Relaxed);
    rig.scrape().await;
    let at = rig.shown.list().active[0].last().at_ms;
    assert_eq!(at, times[4] + 10_000 - 3000);
    *rig.pages.takes.lock().unwrap() = INTERVAL * 3 / 2;
    sleep(INTERVAL * 4).await;
    let told = rig.kept.told.lock().unwrap().clone();
    assert!(told.iter().filter(|told| *told == "skipped").count() >= 2, "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn a_target_has_the_same_place_in_its_interval_after_a_restart() {
    let mut places = Vec::new();
    for pause in [0, 3, 17] {
        let rig = Rig::start(terms(), Vec::new());
        sleep(Duration::from_secs(pause)).await;
        rig.page("a", "x 1\n");
        rig.targets(&["a"]).await;
        rig.scrape().await;
        places.push(rig.shown.list().active[0].last().at_ms.rem_euclid(10_000));
    }
    assert!(places.windows(2).all(|pair| pair[0] == pair[1]), "{places:?}");
}
