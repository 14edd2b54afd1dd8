//! `cargo xtask bench query`: the same questions to the same data, and whether the answers are the same.
//!
//! Everything was merged before. Questions end a second after the last sample, so that no sample lies on the edge of a
//! window: whether edges belong to it differs between versions. All questions are asked once before anything is measured;
//! then in turn, so that what disturbs the machine for a while meets all of them.

use std::fmt::Write;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::answer;
use super::peer::Peer;
use super::report;
use super::running::Running;
use super::session::{self, Load, Plan, loaded};
use crate::load::http;
use crate::load::sent::{self, Labels, Samples, Value};
use crate::repo::Repo;

const ABOUT: &str = "\
Milliseconds from sending a question to having read the whole answer, result caches off. Everything was merged and every \
question asked once before; then each is asked five times a run, one after another. Answers are compared value by value \
with Weir's, equal to a billionth; with VictoriaMetrics' without the metric's name, which it keeps where PromQL drops it, \
and its `rate` and `increase` are other functions: they look at the sample before the window, and do not extrapolate.";

/// Times that each question is asked in a run.
const TURNS: usize = 5;

/// What is asked of a workload.
#[derive(Clone, Copy, Debug)]
struct Question {
    workload: &'static str,
    /// What it stands for, if that is not plain.
    name: &'static str,
    expression: &'static str,
    /// So far back; 0 = at one time.
    hours: f64,
    step_s: i64,
}

const fn over(
    workload: &'static str,
    name: &'static str,
    expression: &'static str,
    hours: f64,
    step_s: i64,
) -> Question {
    Question { workload, name, expression, hours, step_s }
}

const fn at_once(workload: &'static str, name: &'static str, expression: &'static str) -> Question {
    Question { workload, name, expression, hours: 0.0, step_s: 0 }
}

const QUESTIONS: &[Question] = &[
    over("A", "one series, a day", "node_memory_MemAvailable_bytes_7{cpu=\"88\"}", 24.0, 60),
    over(
        "A",
        "sum by, 1,000 series",
        "sum by (mode) ({job=\"node_exporter\",__name__!~\".+_1[01]\"})",
        24.0,
        300,
    ),
    over("A", "", "sum by (cpu) ({__name__!=\"\"})", 33.0, 120),
    over("A", "", "sum by (mode) (rate({job=\"node_exporter\",__name__=~\"node_cpu.*_3\"}[5m]))", 33.0, 120),
    over("A", "", "max_over_time(node_memory_MemAvailable_bytes_7[1h])", 24.0, 300),
    over("A", "", "quantile(0.99, {__name__!=\"\"})", 1.0, 15),
    over("B", "", "sum by (mode) (rate(node_cpu_seconds_total_3[5m]))", 1.6, 15),
    over("B", "", "sum by (instance) ({job=\"node_exporter\"})", 1.6, 60),
    over("B", "", "count({job=\"node_exporter\"})", 1.6, 15),
    over("B", "", "topk(5, {job=\"node_exporter\"})", 1.6, 60),
    over("B", "", "sum by (mode) ({__name__=~\".*_(1|2|3)\",instance=~\"host-node-1.*\"})", 1.6, 60),
    over("G", "rate", "rate(http_requests_total[5m])", 16.65, 60),
    over("G", "sum by", "sum by (handler) (rate(http_requests_total[5m]))", 16.65, 60),
    over("G", "sum by, gauges", "sum by (instance) (process_resident_memory_bytes)", 16.65, 60),
    over("G", "quantiles", "histogram_quantile(0.99, rate(http_request_seconds_bucket[5m]))", 16.65, 60),
    over(
        "G",
        "quantile",
        "histogram_quantile(0.99, sum by (le) (rate(http_request_seconds_bucket[5m])))",
        16.65,
        60,
    ),
    over("G", "regex", "{__name__=~\"http_req.+_total\",handler=~\"/api/v[0-9]/orders/[^x]+\"}", 16.65, 60),
    over("G", "subquery", "max_over_time(rate(http_requests_total[5m])[30m:1m])", 16.65, 60),
    over("G", "topk", "topk(5, process_resident_memory_bytes)", 16.65, 60),
    over(
        "G",
        "division",
        "http_requests_total / on (instance) group_left () (sum by (instance) (http_requests_total))",
        16.65,
        60,
    ),
    over("G", "over time", "quantile_over_time(0.9, process_resident_memory_bytes[30m])", 16.65, 60),
    at_once("E", "count, 1 M series", "count({job=\"node_exporter\"})"),
    at_once("E", "", "topk(10, {job=\"node_exporter\"})"),
    at_once("E", "", "sum by (mode) ({job=\"node_exporter\"})"),
    at_once("E", "", "count(node_load1_1)"),
];

/// A question's times in ms, sorted, with the answer; or why there is none.
type Answer = Result<(Vec<f64>, Samples), String>;

/// A server with its answers, in the order of the questions.
type Answers = (Peer, Vec<Answer>);

/// Runs the plan and prints tables. Fails when Weir and Prometheus do not agree, or when there was nothing to find.
pub fn query(repo: &Repo, plan: &Plan) -> Result<()> {
    if cfg!(debug_assertions) && !plan.smoke {
        return session::again_optimised(repo);
    }
    let peers = session::peers(repo, plan)?;
    session::heading(repo, "query", ABOUT, &peers, plan)?;
    let mut wrong = Vec::new();
    for load in session::loads(repo, plan, &["A", "B", "E", "G"]) {
        let of_load = |question: &&Question| question.workload == load.workload.name();
        let questions: Vec<Question> = QUESTIONS.iter().filter(of_load).copied().collect();
        let mut columns = Vec::new();
        for peer in &peers {
            let directory = tempfile::tempdir()?;
            let server = loaded(peer, &load, directory.path())?;
            server.merge()?;
            let answers = ask_all(&server, &questions, load.bodies.last_ms, plan);
            columns.push((peer.clone(), answers.with_context(|| peer.name())?));
            eprintln!("  {} has answered", peer.name());
        }
        plan.publish(&table(&load, &questions, &columns))?;
        wrong.extend(disagreements(&questions, &columns));
        if !plan.smoke {
            wrong.extend(empty(&questions, &columns));
        }
    }
    if !wrong.is_empty() {
        bail!("{}", wrong.join("; "));
    }
    Ok(())
}

/// Asks all questions, in turn and often enough. One that is refused is not asked again.
fn ask_all(server: &Running, questions: &[Question], last_ms: i64, plan: &Plan) -> Result<Vec<Answer>> {
    let mut answers = Vec::new();
    for question in questions {
        let (_, answer) = ask(server, question, last_ms)?;
        answers.push(match answer.is_success() {
            true => Ok((Vec::new(), answer::samples(&answer)?)),
            false => Err(answer.text().chars().take(120).collect()),
        });
    }
    let turns = if plan.smoke { 1 } else { TURNS * plan.runs };
    for _ in 0..turns {
        for (question, answer) in questions.iter().zip(&mut answers) {
            if let Ok((times, _)) = answer {
                times.push(ask(server, question, last_ms)?.0);
            }
        }
    }
    answers.iter_mut().flatten().for_each(|(times, _)| times.sort_by(f64::total_cmp));
    Ok(answers)
}

/// Asks one question; ms until the whole answer was there. Not over one connection all the time: VictoriaMetrics closes
/// what is two minutes old.
fn ask(server: &Running, question: &Question, last_ms: i64) -> Result<(f64, http::Answer)> {
    let query = http::encoded(question.expression);
    let end = last_ms / 1_000 + 1;
    let target = match question.hours {
        0.0 => format!("/api/v1/query?query={query}&time={end}&nocache=1"),
        hours => {
            let (start, step) = (end - (hours * 3_600.0) as i64, question.step_s);
            format!("/api/v1/query_range?query={query}&start={start}&end={end}&step={step}&nocache=1")
        }
    };
    let mut connection = server.connection()?;
    let start = Instant::now();
    let answer = connection.get(&target)?;
    Ok((start.elapsed().as_secs_f64() * 1e3, answer))
}

fn table(load: &Load, questions: &[Question], columns: &[Answers]) -> String {
    let mut titles: Vec<String> = columns.iter().map(|(peer, _)| format!("{} ms", peer.name())).collect();
    let others = columns.iter().skip(1);
    titles.extend(others.map(|(peer, _)| format!("{} ÷ {}", columns[0].0.name(), peer.name())));
    let mut text = format!(
        "{}\n\n| | {} | answers |\n|---|{}---|\n",
        load.workload.title(),
        titles.join(" | "),
        "---|".repeat(titles.len())
    );
    for (at, question) in questions.iter().enumerate() {
        let answers: Vec<&Answer> = columns.iter().map(|(_, answers)| &answers[at]).collect();
        let shown = answers.iter().map(|answer| match answer {
            Ok((times, _)) => report::spread(times, 1.0, 1),
            Err(_) => "refused".to_owned(),
        });
        let ratios = answers.iter().skip(1).map(|theirs| match (answers[0], theirs) {
            (Ok((ours, _)), Ok((theirs, _))) => {
                format!("{:.2}", report::median(ours) / report::median(theirs))
            }
            _ => "–".to_owned(),
        });
        let cells: Vec<String> = shown.chain(ratios).collect();
        let verdict = verdicts(question, columns, at);
        let _ = writeln!(text, "| {} | {} | {verdict} |", question.title(), cells.join(" | "));
    }
    text
}

impl Question {
    /// Whether it asks for something that VictoriaMetrics defines in another way.
    fn has_a_rate(&self) -> bool {
        ["rate(", "increase("].iter().any(|function| self.expression.contains(function))
    }

    fn title(&self) -> String {
        let name = if self.name.is_empty() { String::new() } else { format!("{}: ", self.name) };
        let expression = self.expression.replace('|', "\\|");
        let when = match self.step_s {
            0 => "at once".to_owned(),
            step => format!("{} h, step {step} s", self.hours),
        };
        format!("{name}`{expression}`, {when}")
    }
}

/// How the others' answers compare with the first one's.
fn verdicts(question: &Question, columns: &[Answers], at: usize) -> String {
    let [(_, ours), others @ ..] = columns else { return String::new() };
    let Ok((_, ours)) = &ours[at] else { return "none".to_owned() };
    let all: usize = ours.values().map(Vec::len).sum();
    let of_others = others.iter().map(|(peer, answers)| {
        let verdict = match &answers[at] {
            Err(_) => "none".to_owned(),
            Ok((_, theirs)) => verdict(question, peer, ours, theirs),
        };
        format!("{} {verdict}", peer.name())
    });
    let verdicts: Vec<String> = of_others.collect();
    if verdicts.is_empty() {
        format!("{all} values")
    } else {
        format!("{all} values; {}", verdicts.join(", "))
    }
}

fn verdict(question: &Question, peer: &Peer, ours: &Samples, theirs: &Samples) -> String {
    let differ = match peer {
        Peer::VictoriaMetrics if question.has_a_rate() => {
            return "other definition".to_owned();
        }
        Peer::VictoriaMetrics => differences(&without_name(ours), &without_name(theirs)),
        _ => differences(ours, theirs),
    };
    if differ == 0 { "same".to_owned() } else { format!("{differ} differ") }
}

/// Series without their metric's name. Two that become one keep the values of both, which then differ from anything else.
fn without_name(samples: &Samples) -> Samples {
    let mut nameless = Samples::new();
    for (labels, points) in samples {
        let mut labels: Labels = labels.clone();
        labels.remove("__name__");
        nameless.entry(labels).or_default().extend(points.iter().cloned());
    }
    nameless.values_mut().for_each(|points| points.sort_by_key(|(ms, _)| *ms));
    nameless
}

/// Questions to which Weir and Prometheus, where both are there, gave different answers, or only one any.
fn disagreements(questions: &[Question], columns: &[Answers]) -> Vec<String> {
    let weir = columns.iter().find(|(peer, _)| matches!(peer, Peer::Weir(_)));
    let prometheus = columns.iter().find(|(peer, _)| *peer == Peer::Prometheus);
    let Some(((_, ours), (_, theirs))) = weir.zip(prometheus) else { return Vec::new() };
    let disagree = |at: &usize| match (&ours[*at], &theirs[*at]) {
        (Ok((_, ours)), Ok((_, theirs))) => differences(ours, theirs) > 0,
        (ours, theirs) => ours.is_ok() != theirs.is_ok(),
    };
    let told = |at: usize| format!("Weir and Prometheus do not agree on {}", questions[at].title());
    (0..questions.len()).filter(disagree).map(told).collect()
}

/// Questions to which somebody's answer is that there is nothing: they measure nothing.
fn empty(questions: &[Question], columns: &[Answers]) -> Vec<String> {
    let is_empty = |at: &usize| {
        let mut answers = columns.iter().map(|(_, answers)| &answers[*at]);
        answers.any(|answer| matches!(answer, Ok((_, samples)) if samples.is_empty()))
    };
    let told = |at: usize| format!("there is nothing to find for {}", questions[at].title());
    (0..questions.len()).filter(is_empty).map(told).collect()
}

/// Values that only one has, or that differ by more than a billionth.
fn differences(ours: &Samples, theirs: &Samples) -> usize {
    sent::differences_by(ours, theirs, |ours, theirs| match (ours, theirs) {
        (Value::Float(x), Value::Float(y)) if x.is_finite() && y.is_finite() => {
            (x - y).abs() <= 1e-9 * x.abs().max(y.abs())
        }
        _ => ours == theirs,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::workload::{Shape, Workload};

    fn of(name: &str, values: &[(i64, f64)]) -> Samples {
        let labels = [("__name__", name), ("mode", "idle")];
        let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let points = values.iter().map(|(ms, value)| (*ms, Value::Float(*value)));
        Samples::from([(Labels::from(labels), points.collect())])
    }

    #[test]
    fn answers_are_compared_value_by_value() {
        let ours = of("a", &[(1, 1.0), (2, 2.0), (3, f64::INFINITY)]);
        assert_eq!(differences(&ours, &ours), 0);
        assert_eq!(differences(&ours, &of("a", &[(1, 1.0 + 1e-12), (2, 2.1), (4, 0.0)])), 3);
        assert_eq!(differences(&ours, &of("a", &[(1, 1.0), (2, 2.0), (3, f64::MAX)])), 1);
        assert_eq!(differences(&ours, &Samples::new()), 3);
    }

    #[test]
    fn a_name_matters_to_prometheus_alone() {
        let (ours, theirs) = (of("a", &[(1, 1.0), (2, 2.0)]), of("b", &[(1, 1.0), (2, 2.5)]));
        let max = at_once("A", "", "max_over_time(a[1h])");
        let verdict = |question, peer| verdict(question, &peer, &ours, &theirs);
        assert_eq!(verdict(&max, Peer::VictoriaMetrics), "1 differ");
        assert_eq!(verdict(&max, Peer::Prometheus), "4 differ");
        let rate = at_once("A", "", "rate(a[1h])");
        assert_eq!(verdict(&rate, Peer::VictoriaMetrics), "other definition");
        assert_eq!(verdict(&rate, Peer::Prometheus), "4 differ");
        let both = [of("a", &[(1, 1.0)]), of("b", &[(1, 1.0)])].into_iter().flatten().collect();
        assert_eq!(
            differences(&without_name(&both), &without_name(&of("a", &[(1, 1.0)]))),
            1,
            "two became one"
        );
    }

    #[test]
    fn questions_mean_what_their_names_say() {
        let named =
            |name| QUESTIONS.iter().find(|question| question.name == name).expect("a question").expression;
        assert!(named("sum by, 1,000 series").contains("__name__!~\".+_1[01]\""));
        let workload = Workload::Made(Shape { steps: 1, ..Shape::named("A").expect("a letter") });
        let (mut one, mut thousand) = (0, 0);
        let count = |piece: &sent::Piece| -> Result<()> {
            for labels in piece.samples.keys() {
                let (name, cpu) = (&labels["__name__"], &labels["cpu"]);
                one += usize::from(named("one series, a day") == format!("{name}{{cpu=\"{cpu}\"}}"));
                thousand += usize::from(!name.ends_with("_10") && !name.ends_with("_11"));
            }
            Ok(())
        };
        sent::each_piece(&workload, 0, count).expect("all are wanted");
        assert_eq!((one, thousand), (1, 1_000));
        assert_eq!(Shape::named("E").map(|shape| shape.series), Some(1_000_000));
    }
}
