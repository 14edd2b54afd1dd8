//! `cargo xtask bench query`: the same questions to the same data, and whether the answers are the same.
//!
//! Everything was merged before. Questions end a second after the last sample, so that no sample lies on the edge of a
//! window: whether edges belong to it differs between versions. Figures are the fastest of several, as caches of the
//! page are warm and results are not cached.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Instant;

use anyhow::{Context, Result};
use serde_json::Value;

use super::peer::Running;
use super::session::{self, Load, Plan, loaded};
use crate::load::http;
use crate::repo::Repo;

/// Times that each question is asked.
const REPEATS: usize = 5;

/// Of a workload: expression, hours back (0 = at one time), step in seconds.
type Question = (&'static str, &'static str, f64, i64);

const QUESTIONS: &[Question] = &[
    ("A", "sum by (cpu) ({__name__!=\"\"})", 33.0, 120),
    ("A", "sum by (mode) (rate({job=\"node_exporter\",__name__=~\"node_cpu.*_3\"}[5m]))", 33.0, 120),
    ("A", "sum by (mode) ({job=\"node_exporter\"})", 24.0, 300),
    ("A", "node_memory_MemAvailable_bytes_7{cpu=\"89\"}", 24.0, 60),
    ("A", "max_over_time(node_memory_MemAvailable_bytes_7[1h])", 24.0, 300),
    ("A", "quantile(0.99, {__name__!=\"\"})", 1.0, 15),
    ("B", "sum by (mode) (rate(node_cpu_seconds_total_3[5m]))", 1.6, 15),
    ("B", "sum by (instance) ({job=\"node_exporter\"})", 1.6, 60),
    ("B", "count({job=\"node_exporter\"})", 1.6, 15),
    ("B", "topk(5, {job=\"node_exporter\"})", 1.6, 60),
    ("B", "sum by (mode) ({__name__=~\".*_(1|2|3)\",instance=~\"host-node-1.*\"})", 1.6, 60),
    ("E", "count({job=\"node_exporter\"})", 0.0, 0),
    ("E", "topk(10, {job=\"node_exporter\"})", 0.0, 0),
    ("E", "sum by (mode) ({job=\"node_exporter\"})", 0.0, 0),
    ("E", "count(node_load1_1)", 0.0, 0),
];

/// Series with their values by time.
type Found = BTreeMap<String, BTreeMap<i64, f64>>;

/// A question's fastest answer in ms, or why there is none.
type Answer = Result<(f64, Found), String>;

/// A server with its answers, in the order of the questions.
type Answers = (&'static str, Vec<Answer>);

/// Runs the plan and prints tables.
pub fn query(repo: &Repo, plan: &Plan) -> Result<()> {
    if cfg!(debug_assertions) && !plan.smoke {
        return session::again_optimised(repo);
    }
    let peers = session::peers(repo, plan)?;
    let mut text = session::heading(repo, "query", &peers, plan);
    for load in session::loads(repo, plan, &["A", "B", "E"]) {
        let asked = |(letter, ..): &&Question| load.title.starts_with(&format!("Workload {letter}:"));
        let questions: Vec<Question> = QUESTIONS.iter().filter(asked).copied().collect();
        let mut columns = Vec::new();
        for peer in &peers {
            let directory = tempfile::tempdir()?;
            let server = loaded(peer, &load, directory.path())?;
            server.merge(&directory.path().join("data"))?;
            let answers = questions.iter().map(|question| ask(&server, question, load.bodies.last_ms));
            columns.push((peer.name(), answers.collect::<Result<Vec<_>>>()?));
        }
        table(&mut text, &load, &questions, &columns);
    }
    println!("{text}");
    Ok(())
}

/// The fastest of several answers in ms, or why there is none.
fn ask(server: &Running, question: &Question, last_ms: i64) -> Result<Answer> {
    let (_, expression, hours, step) = question;
    let query = http::encoded(expression);
    let end = last_ms / 1_000 + 1;
    let target = match *hours {
        0.0 => format!("/api/v1/query?query={query}&time={end}&nocache=1"),
        hours => {
            let start = end - (hours * 3_600.0) as i64;
            format!("/api/v1/query_range?query={query}&start={start}&end={end}&step={step}&nocache=1")
        }
    };
    let mut connection = server.connection()?;
    let mut best = f64::MAX;
    let mut body = Vec::new();
    for _ in 0..REPEATS {
        let start = Instant::now();
        let answer = connection.get(&target)?;
        best = best.min(start.elapsed().as_secs_f64() * 1e3);
        if !answer.is_success() {
            let text = answer.text();
            return Ok(Err(text.chars().take(120).collect()));
        }
        body = answer.body;
    }
    let json: Value = serde_json::from_slice(&body).context("an answer is no JSON")?;
    Ok(Ok((best, found(&json))))
}

fn found(json: &Value) -> Found {
    let mut found = Found::new();
    for series in json["data"]["result"].as_array().into_iter().flatten() {
        let values = found.entry(series["metric"].to_string()).or_default();
        let pairs = series["values"].as_array().cloned().unwrap_or_else(|| vec![series["value"].clone()]);
        for pair in pairs {
            let number = pair[1].as_str().and_then(|text| text.parse().ok()).unwrap_or(f64::NAN);
            values.insert((pair[0].as_f64().unwrap_or_default() * 1e3) as i64, number);
        }
    }
    found
}

fn table(text: &mut String, load: &Load, questions: &[Question], columns: &[Answers]) {
    let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
    let titles: Vec<String> = names.iter().map(|name| format!("{name} ms")).collect();
    let _ = writeln!(
        text,
        "\n{}\n\n| | {} | answers |\n|---|{}---|",
        load.title,
        titles.join(" | "),
        "---|".repeat(names.len())
    );
    for (at, (_, expression, hours, step)) in questions.iter().enumerate() {
        let cells: Vec<String> = columns
            .iter()
            .map(|(_, answers)| match &answers[at] {
                Ok((ms, _)) => format!("{ms:.1}"),
                Err(_) => "refused".to_owned(),
            })
            .collect();
        let when = if *step == 0 { "at once".to_owned() } else { format!("{hours} h, step {step} s") };
        let expression = expression.replace('|', "\\|");
        let verdict = verdict(columns, at);
        let _ = writeln!(text, "| `{expression}`, {when} | {} | {verdict} |", cells.join(" | "));
    }
}

/// How the others' answers compare with the first one's.
fn verdict(columns: &[Answers], at: usize) -> String {
    let Some((_, ours)) = columns.first() else { return String::new() };
    let Ok((_, ours)) = &ours[at] else { return "none".to_owned() };
    let all: usize = ours.values().map(BTreeMap::len).sum();
    let of_others = columns.iter().skip(1).map(|(name, answers)| match &answers[at] {
        Err(_) => format!("{name} none"),
        Ok((_, theirs)) => match differences(ours, theirs) {
            0 => format!("{name} same"),
            n => format!("{name} {n} of {all} differ"),
        },
    });
    let verdicts: Vec<String> = of_others.collect();
    if verdicts.is_empty() { format!("{all} values") } else { verdicts.join(", ") }
}

/// Values that only one has, or that differ by more than a billionth.
fn differences(a: &Found, b: &Found) -> usize {
    let missing = |a: &Found, b: &Found| -> usize {
        let of = |(series, values): (&String, &BTreeMap<i64, f64>)| {
            let other = b.get(series);
            values.keys().filter(|ms| other.is_none_or(|other| !other.contains_key(ms))).count()
        };
        a.iter().map(of).sum()
    };
    let differ = |x: f64, y: f64| x != y && (x - y).abs() > 1e-9 * x.abs().max(y.abs());
    let both: usize = a
        .iter()
        .filter_map(|(series, values)| Some((values, b.get(series)?)))
        .map(|(x, y)| x.iter().filter(|(ms, x)| y.get(ms).is_some_and(|y| differ(**x, *y))).count())
        .sum();
    both + missing(a, b) + missing(b, a)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_compared_value_by_value() {
        let of = |values: &[(i64, f64)]| Found::from([("{}".to_owned(), values.iter().copied().collect())]);
        let ours = of(&[(1, 1.0), (2, 2.0), (3, f64::INFINITY)]);
        assert_eq!(differences(&ours, &ours), 0);
        assert_eq!(differences(&ours, &of(&[(1, 1.0 + 1e-12), (2, 2.1), (4, 0.0)])), 3);
        assert_eq!(differences(&ours, &Found::new()), 3);
    }
}
