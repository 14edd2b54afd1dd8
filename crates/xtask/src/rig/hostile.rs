//! Queries that nobody should ask, many at once, while samples come in and somebody asks for little: each is answered or
//! refused by the name of a limit, memory stays within its own, and neither the samples nor the others suffer.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::iter::repeat_n;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::weir::{self, Home};
use super::writer::now_ms;
use crate::load::http::{Connection, encoded};
use crate::load::process::Process;
use crate::load::remote_write::{self, Body};
use crate::load::workload::{Bodies, STEP_MS, Shape, Workload};

/// Bytes that the process may use at most.
const MEMORY_BYTES: u64 = 768 << 20;

/// Askers at once.
const ASKERS: usize = 6;

/// Longest wait for a query to end whose client has gone.
const GONE: Duration = Duration::from_secs(20);

const CONFIG: &str = "\
auth: off
memory_limit: 768MiB
query:
  timeout: 5s
  concurrency: 4
  features: [promql-experimental-functions]
limits:
  query_bytes: 48MiB
self_monitoring:
  interval: 0s
";

const FORM: &str = "Content-Type: application/x-www-form-urlencoded\r\n";

/// What is asked, and a part of the answer's error where it must be refused.
#[derive(Clone, Debug)]
struct Question {
    path: &'static str,
    form: String,
    refusal: Option<&'static str>,
}

/// What was asked and what came of it.
#[derive(Debug, Default)]
struct Counts {
    /// Answers by status, the error's type with it.
    by_status: BTreeMap<String, usize>,
    slowest: Duration,
}

/// Asks all of them from several sides; returns what happened as lines of text.
pub fn hostile(binary: &Path) -> Result<String> {
    let directory = tempfile::tempdir()?;
    let home = Home::new(binary, directory.path(), &directory.path().join("data"), CONFIG);
    let process = home.start()?;
    let shape = Shape { series: 12_000, steps: 40, ..Shape::named("B").context("a letter")? };
    let workload = Workload::Made(shape);
    let bodies = workload.bodies(1, now_ms());
    send(&process, &bodies)?;
    let asked = questions(workload.job(), bodies.last_ms / 1_000 + 1);
    let (over, next) = (AtomicBool::new(false), AtomicUsize::new(0));
    let counts = Mutex::new(Counts::default());
    let (written, cheap) = std::thread::scope(|scope| -> Result<_> {
        let written = scope.spawn(|| write_on(process.address, &over));
        let cheap = scope.spawn(|| ask_little(process.address, &over));
        let askers: Vec<_> =
            (0..ASKERS).map(|_| scope.spawn(|| ask_all(&process, &asked, &next, &counts))).collect();
        let done: Result<Vec<()>> = askers
            .into_iter()
            .map(|asker| asker.join().unwrap_or_else(|_| bail!("an asker panicked")))
            .collect();
        over.store(true, Ordering::Relaxed);
        let joined = |thread: std::thread::ScopedJoinHandle<'_, Result<Vec<Duration>>>| {
            thread.join().unwrap_or_else(|_| bail!("a thread panicked"))
        };
        let (written, cheap) = (joined(written)?, joined(cheap)?);
        done?;
        Ok((written, cheap))
    })?;
    hang_up(&process, &asked)?;
    home.check_log()?;
    let peak = process.memory_bytes("VmHWM")?;
    ensure!(peak <= MEMORY_BYTES, "{peak} bytes of memory, the limit is {MEMORY_BYTES}");
    let counts = counts.into_inner().unwrap_or_default();
    let by_status: Vec<String> =
        counts.by_status.iter().map(|(status, count)| format!("{count} × {status}")).collect();
    Ok(format!(
        "hostile queries: {}; slowest {:.1} s; peak {} MiB of {} MiB\n\
         meanwhile {} writes, slowest {:.0} ms, and {} small queries, slowest {:.0} ms, all answered",
        by_status.join(", "),
        counts.slowest.as_secs_f64(),
        peak >> 20,
        MEMORY_BYTES >> 20,
        written.len(),
        slowest(&written),
        cheap.len(),
        slowest(&cheap),
    ))
}

fn slowest(times: &[Duration]) -> f64 {
    times.iter().max().copied().unwrap_or_default().as_secs_f64() * 1e3
}

fn send(process: &Process, bodies: &Bodies) -> Result<()> {
    let mut connection = weir::connect(process.address, "default")?;
    for body in bodies.lists.iter().flatten() {
        let answer = connection.post("/api/v1/write", remote_write::HEADERS, body)?;
        ensure!(answer.is_success(), "{}: {}", answer.status, answer.text());
    }
    Ok(())
}

/// Takes questions until there are none.
fn ask_all(process: &Process, asked: &[Question], next: &AtomicUsize, counts: &Mutex<Counts>) -> Result<()> {
    while let Some(question) = asked.get(next.fetch_add(1, Ordering::Relaxed)) {
        let began = Instant::now();
        let mut connection = weir::connect(process.address, "default")?;
        let shown: String = question.form.chars().take(100).collect();
        let answer = connection
            .post(question.path, FORM, question.form.as_bytes())
            .with_context(|| format!("{} {shown}", question.path))?;
        let took = began.elapsed();
        let text = || answer.text().chars().take(300).collect::<String>();
        let error = match answer.status {
            200 => String::new(),
            400 | 422 | 503 => {
                let json: serde_json::Value = serde_json::from_slice(&answer.body).with_context(text)?;
                ensure!(json["error"].as_str().is_some_and(|error| !error.is_empty()), "{shown}: {}", text());
                json["errorType"].as_str().unwrap_or_default().to_owned()
            }
            other => bail!("{shown}: {other} {}", text()),
        };
        if let Some(wanted) = question.refusal {
            // Under a flood a query may get no turn in time, or no memory beside the others.
            let beside = answer.text().contains("query.memory_bytes");
            let refused = answer.text().contains(wanted) || error == "timeout" || beside;
            ensure!(refused, "{shown}: {} {}, not refused for {wanted:?}", answer.status, text());
        }
        if let Ok(mut counts) = counts.lock() {
            *counts.by_status.entry(format!("{} {error}", answer.status).trim().to_owned()).or_default() += 1;
            counts.slowest = counts.slowest.max(took);
        }
    }
    Ok(())
}

/// Sends a sample at a time; each must be stored.
fn write_on(address: SocketAddr, over: &AtomicBool) -> Result<Vec<Duration>> {
    let labels = remote_write::labels(&[("__name__", "written_meanwhile")]);
    let mut connection = weir::connect(address, "default")?;
    let (mut times, mut body) = (Vec::new(), Body::default());
    while !over.load(Ordering::Relaxed) {
        body.clear();
        body.series(&labels, &[(now_ms(), times.len() as f64)]);
        let began = Instant::now();
        let answer = connection.post("/api/v1/write", remote_write::HEADERS, &body.packed())?;
        ensure!(answer.is_success(), "a write: {} {}", answer.status, answer.text());
        times.push(began.elapsed());
    }
    Ok(times)
}

/// Another tenant asks for little; it must get it.
fn ask_little(address: SocketAddr, over: &AtomicBool) -> Result<Vec<Duration>> {
    let mut connection = weir::connect(address, "system")?;
    let mut times = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let began = Instant::now();
        let answer = connection.get("/api/v1/query?query=up")?;
        ensure!(answer.is_success(), "a small query: {} {}", answer.status, answer.text());
        times.push(began.elapsed());
    }
    Ok(times)
}

/// Clients that go away before they are answered: their queries end.
fn hang_up(process: &Process, asked: &[Question]) -> Result<()> {
    for question in asked.iter().filter(|question| question.path.ends_with("query_range")) {
        let mut stream = TcpStream::connect(process.address)?;
        let (path, form) = (question.path, &question.form);
        let length = form.len();
        write!(
            stream,
            "POST {path} HTTP/1.1\r\nHost: weir\r\nX-Scope-OrgID: default\r\n{FORM}Content-Length: {length}\r\n\r\n{form}"
        )?;
    }
    let began = Instant::now();
    while active(process)? > 0.0 {
        ensure!(began.elapsed() < GONE, "queries of clients that have gone run on");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Queries that run or wait.
fn active(process: &Process) -> Result<f64> {
    let text = Connection::open_as(process.address, "system")?.get("/metrics")?.text();
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.parse::<f64>().ok()).with_context(|| format!("no {name}: {text}"))
    };
    Ok(value("weir_queries_active")? + value("weir_queries_waiting")?)
}

/// Everything, times around `end` (seconds).
fn questions(job: &str, end: i64) -> Vec<Question> {
    let all = format!("{{job=\"{job}\"}}");
    let mut asked = Vec::new();
    let mut ask = |path, form: String, refusal| asked.push(Question { path, form, refusal });
    let budget = Some("limits.query_bytes");
    for (query, refusal) in instant(&all) {
        ask("/api/v1/query", format!("query={}&time={end}", encoded(&query)), refusal);
    }
    for (query, seconds, step, refusal) in over_time(&all) {
        let start = end - seconds;
        let form = format!("query={}&start={start}&end={end}&step={step}", encoded(&query));
        ask("/api/v1/query_range", form, refusal);
    }
    let everything = encoded("{__name__!=\"\"}");
    ask("/api/v1/series", format!("match[]={everything}"), None);
    ask("/api/v1/series", repeat_n(format!("match[]={everything}"), 50).collect::<Vec<_>>().join("&"), None);
    ask("/api/v1/labels", repeat_n(format!("match[]={everything}"), 50).collect::<Vec<_>>().join("&"), None);
    ask("/api/v1/query_exemplars", format!("query={everything}&start=0&end=99999999999999"), None);
    ask("/api/v1/format_query", format!("query={}", encoded(&nested("(", "1", ")", 200_000))), Some("limit"));
    ask("/api/v1/format_query", format!("query={}", encoded(&nested("1+", "1", "", 20_000))), None);
    ask("/api/v1/query_range", format!("query=up&start=0&end={end}&step=0.001"), Some("11,000 points"));
    ask("/api/v1/query_range", format!("query=up&start={end}&end=0&step=1"), Some("end timestamp"));
    ask("/api/v1/query", format!("query={}&time={end}", encoded(&format!("{all}[1h:1s]"))), budget);
    asked
}

fn instant(all: &str) -> Vec<(String, Option<&'static str>)> {
    let budget = Some("limits.query_bytes");
    let regex = Some("error parsing regexp");
    let one = "node_load1_1";
    let mut asked = vec![
        (format!("avg_over_time({all}[30d:1s])"), budget),
        (format!("avg_over_time({one}[30d:1s])"), budget),
        (format!("max_over_time({one}[30d:1ms])"), budget),
        (format!("{all}[100y]"), None),
        (nested("(", "1", ")", 100_000), Some("nested more than")),
        (nested("-", "1", "", 100_000), Some("nested more than")),
        (nested("1+", "1", "", 20_000), None),
        (nested("sum(", one, ")", 5_000), Some("nested more than")),
        (nested("max_over_time(", one, "[1h:1m])", 50), None),
        (nested("max_over_time(", one, "[1d:1s])", 8), budget),
        (nested("absent(", one, ")", 190), None),
        ("\"".to_owned() + &"a".repeat(3_000_000) + "\"", Some("the limit is")),
        (format!("{all} * on () {all}"), Some("duplicate series")),
        (format!("{all} * on (job) group_left () {all}"), Some("duplicate series")),
        (format!("{all} and {all}"), None),
        (format!("{all} or on (cpu) {all}"), None),
        (format!("{all} unless ignoring (mode) {all}"), None),
        (
            format!("label_replace({all}, \"x\", \"{}\", \"instance\", \"(.*)\")", "$1".repeat(10_000)),
            Some("16383"),
        ),
        (
            nested("label_replace(", one, ", \"instance\", \"$1$1$1$1\", \"instance\", \"(.*)\")", 30),
            Some("16383"),
        ),
        (nested("label_join(", one, ", \"instance\", \"-\", \"instance\", \"instance\")", 30), Some("16383")),
        ("{__name__=~\".+\"}".to_owned(), None),
        ("{__name__=~\".*.*.*.*.*.*.*x\"}".to_owned(), None),
        ("{__name__=~\"(x+x+)+y\"}".to_owned(), None),
        ("{__name__=~\"(a{0,1000}){0,1000}\"}".to_owned(), regex),
        ("{__name__=~\"(((a{0,30}){0,30}){0,30})\"}".to_owned(), regex),
        ("{__name__=~`(?:\\pL{100}){10}`}".to_owned(), Some("too large")),
        (format!("{{instance=~\"{}\"}}", alternatives("", "", 10_000)), None),
        (format!("{{instance=~\"{}\"}}", alternatives(".*", ".*", 3_000)), None),
        (format!("{{job=~\"{}\"}}", "(.*)*".repeat(2_000)), Some("non-empty matcher")),
        (format!("{{job=~\"{}\"}}", nested("(", "a", ")", 5_000)), regex),
        (format!("topk(1e9, {all})"), None),
        (format!("topk by (instance, cpu, mode, __name__) (1, {all})"), None),
        (format!("topk(NaN, {all})"), Some("NaN")),
        (format!("quantile(NaN, {all})"), None),
        (format!("count_values(\"v\", {all})"), None),
        (format!("count_values(\"instance\", {all})"), None),
        (format!("sort_desc({all})"), None),
        (format!("sum without () ({all})"), None),
        (format!("{one} @ 9223372036854775807"), Some("out of bounds")),
        (format!("{one} @ 1e300"), Some("out of bounds")),
        (format!("{one} offset 292y"), None),
        (format!("{one}[292y] offset -292y"), None),
        (format!("sum_over_time({one}[292y:1h])"), None),
        (format!("mad_over_time({all}[1h])"), None),
        (format!("double_exponential_smoothing({all}[1h], 0.5, 0.5)"), None),
        (format!("quantile_over_time(0.5, {all}[1h:1s])"), budget),
        (format!("predict_linear({all}[1h:1s], 1)"), budget),
        ("sum_over_time(vector(1)[100y:1s])".to_owned(), budget),
        (format!("histogram_quantile(0.9, {all})"), None),
        (format!("label_replace({all}, \"__name__\", \"x\", \"\", \"\")"), None),
        (format!("info({all})"), None),
        (format!("{{{}}}", labels(20_000, "=")), None),
        (format!("{{{}}}", labels(1_000, "=~\".*b.*")), Some("need more than")),
    ];
    let selectors: Vec<String> = (0..1_000).map(|n| format!("node_load1_{n}")).collect();
    asked.push((selectors.join(" or "), None));
    asked
}

fn over_time(all: &str) -> Vec<(String, i64, i64, Option<&'static str>)> {
    let budget = Some("limits.query_bytes");
    vec![
        (all.to_owned(), 11_000, 1, budget),
        (format!("rate({all}[5m])"), 11_000, 1, budget),
        (format!("rate({all}[1h:1s])"), 3_600, 4, budget),
        (format!("{all} + {all}"), 2_000, 1, budget),
        (format!("sum by (instance, cpu, mode) ({all})"), 11_000, 1, budget),
        (format!("avg by (instance, cpu, mode) ({all})"), 11_000, 1, budget),
        (format!("stddev by (instance, cpu, mode) ({all})"), 11_000, 1, budget),
        (format!("quantile by (instance, cpu, mode) (0.5, {all})"), 11_000, 1, budget),
        (format!("topk(1e9, {all})"), 3_600, 15, None),
        (format!("topk by (instance, cpu, mode, __name__) (1, {all})"), 3_600, 15, None),
        (format!("count_values(\"v\", {all})"), 600, STEP_MS / 1_000, None),
        (format!("quantile_over_time(0.5, {all}[1h])"), 3_600, 15, None),
        (format!("deriv({all}[1h])"), 3_600, 15, None),
        ("vector(1)".to_owned() + &" or vector(1)".repeat(2_000), 11_000, 1, None),
        ("1".to_owned() + &" + 1".repeat(5_000), 11_000, 1, None),
        ("time()".to_owned() + &" + time()".repeat(3_000), 11_000, 1, None),
        ("scalar(node_load1_1) * ".repeat(3_000) + "1", 1_000, 1, None),
    ]
}

fn nested(open: &str, middle: &str, close: &str, times: usize) -> String {
    open.repeat(times) + middle + &close.repeat(times)
}

fn alternatives(before: &str, after: &str, count: usize) -> String {
    let all: Vec<String> = (0..count).map(|n| format!("{before}host-{n}{after}")).collect();
    all.join("|")
}

fn labels(count: usize, compares: &str) -> String {
    let quote = if compares.contains('"') { "" } else { "\"" };
    let all: Vec<String> = (0..count).map(|n| format!("a{n}{compares}{quote}b{n}\"")).collect();
    all.join(",")
}
