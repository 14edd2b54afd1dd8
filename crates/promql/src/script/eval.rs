//! `eval instant at 5m …`, `eval range from 0 to 1h step 5m …`, and what they expect.

use model::{Budget, Labels};
use regex::Regex;

use crate::eval::{Answer, Params, Value, VectorSample, evaluate};
use crate::parse::parse_with;
use crate::script::Settings;
use crate::script::again;
use crate::script::compare::{Expected, Place, sorted};
use crate::script::series::{self, SequenceValue};
use crate::source::Source;
use crate::{Point, duration, literal};

/// Bytes that a case may use.
const BUDGET_BYTES: u64 = 256 << 20;

/// What an `expect` line asks of a message.
#[derive(Debug)]
enum Wanted {
    Anything,
    Text(String),
    Pattern(Regex),
}

impl Wanted {
    fn fits(&self, message: &str) -> bool {
        match self {
            Self::Anything => true,
            Self::Text(text) => text == message,
            Self::Pattern(pattern) => pattern.is_match(message),
        }
    }
}

/// What `eval_…` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Legacy {
    Fail,
    Warn,
    Info,
    Ordered,
}

/// An `eval` command with its expectations.
#[derive(Debug, Default)]
struct Case {
    query: String,
    legacy: Option<Legacy>,
    place: Place,
    expected: Expected,
    fail: Vec<Wanted>,
    warn: Vec<Wanted>,
    info: Vec<Wanted>,
    no_warn: bool,
    no_info: bool,
}

/// What came of one case.
pub(super) struct Outcome {
    /// Lines of the body that belong to it.
    pub(super) used: usize,
    /// Answers that were compared.
    pub(super) checks: usize,
    pub(super) result: Result<(), String>,
}

/// Runs one case.
pub(super) fn run(first: &str, body: &[&str], settings: &Settings, source: &dyn Source) -> Outcome {
    let mut case = match Case::parse_first(first) {
        Ok(case) => case,
        Err(message) => return Outcome { used: body.len(), checks: 0, result: Err(message) },
    };
    match case.parse_body(body) {
        Ok(used) => {
            let mut checks = 0;
            let result = case.check(settings, source, &mut checks);
            Outcome { used, checks, result }
        }
        Err(message) => Outcome { used: body.len(), checks: 0, result: Err(message) },
    }
}

/// What follows a word and the space behind it.
fn after<'l>(line: &'l str, word: &str) -> Result<&'l str, String> {
    let rest = line.strip_prefix(word).filter(|rest| rest.starts_with(char::is_whitespace));
    rest.map(str::trim_start).ok_or_else(|| format!("{word} expected"))
}

/// A duration and what follows it.
fn duration_and_rest(line: &str) -> Result<(i64, &str), String> {
    let (word, rest) =
        line.split_once(char::is_whitespace).ok_or("duration expected, and something behind it")?;
    Ok((duration::parse(word)?, rest.trim_start()))
}

/// The end of a range, which must not lie before its start.
fn place(start_ms: i64, end_ms: i64, step_ms: i64) -> Result<Place, String> {
    if end_ms < start_ms || step_ms <= 0 {
        return Err("a range needs a step and an end behind its start".into());
    }
    Ok(Place { start_ms, end_ms, step_ms })
}

impl Case {
    fn parse_first(line: &str) -> Result<Self, String> {
        let (word, rest) = line.split_once(char::is_whitespace).ok_or("invalid evaluation command")?;
        let legacy = match word.strip_prefix("eval").ok_or("eval expected")? {
            "" => None,
            "_fail" => Some(Legacy::Fail),
            "_warn" => Some(Legacy::Warn),
            "_info" => Some(Legacy::Info),
            "_ordered" => Some(Legacy::Ordered),
            _ => return Err(format!("invalid evaluation command {word:?}")),
        };
        let mut case = Self { legacy, ..Self::default() };
        case.expected.ordered = legacy == Some(Legacy::Ordered);
        let rest = rest.trim_start();
        if let Ok(rest) = after(rest, "instant") {
            let (at_ms, query) = duration_and_rest(after(rest, "at")?)?;
            case.place = Place { start_ms: at_ms, end_ms: at_ms, step_ms: 0 };
            case.query = query.to_owned();
            return Ok(case);
        }
        if legacy == Some(Legacy::Ordered) {
            return Err("a range has no order".into());
        }
        let (start_ms, rest) = duration_and_rest(after(after(rest, "range")?, "from")?)?;
        let (end_ms, rest) = duration_and_rest(after(rest, "to")?)?;
        let (step_ms, query) = duration_and_rest(after(rest, "step")?)?;
        case.place = place(start_ms, end_ms, step_ms)?;
        case.query = query.to_owned();
        Ok(case)
    }

    fn is_instant(&self) -> bool {
        self.place.step_ms == 0
    }

    fn parse_body(&mut self, body: &[&str]) -> Result<usize, String> {
        let mut position = 0;
        for (at, line) in body.iter().enumerate() {
            let fails = self.legacy == Some(Legacy::Fail);
            if let Some(message) = line.strip_prefix("expected_fail_message").filter(|_| fails) {
                self.fail = vec![Wanted::Text(message.trim().to_owned())];
                return Ok(at + 1);
            } else if let Some(text) = line.strip_prefix("expected_fail_regexp").filter(|_| fails) {
                self.fail = vec![pattern(text)?];
                return Ok(at + 1);
            } else if let Some(rest) = line.strip_prefix("expect").filter(|rest| is_word_end(rest)) {
                self.parse_expect(rest.trim())?;
            } else if let Ok(value) = series::plain_number(line) {
                self.expected.scalar = Some(value);
                return Ok(at + 1);
            } else {
                position += 1;
                let (labels, values) = series::parse(line)?;
                self.expect_series(labels, position, values)?;
            }
        }
        Ok(body.len())
    }

    fn expect_series(
        &mut self,
        labels: Labels,
        position: usize,
        values: Vec<SequenceValue>,
    ) -> Result<(), String> {
        if values.len() > 1 && self.is_instant() && self.expected.range.is_none() {
            return Err("several values expected of an instant evaluation".into());
        }
        self.expected.series.insert(labels, (position, values));
        Ok(())
    }

    /// What follows `expect`.
    fn parse_expect(&mut self, rest: &str) -> Result<(), String> {
        let invalid = || format!("invalid expect statement {rest:?}");
        let (kind, what) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        let what = what.trim();
        match kind {
            "string" => {
                let bytes = literal::unquote(what).ok_or("a quoted string is expected")?;
                self.expected.string = Some(String::from_utf8_lossy(&bytes).into_owned());
                return Ok(());
            }
            "range" => {
                let (start_ms, rest) = duration_and_rest(after(after(what, "vector")?, "from")?)?;
                let (end_ms, rest) = duration_and_rest(after(rest, "to")?)?;
                let step_ms = duration::parse(after(rest, "step")?)?;
                self.expected.range = Some(place(start_ms, end_ms, step_ms)?);
                return Ok(());
            }
            _ => {}
        }
        let wanted = match what.split_once(':') {
            None if what.is_empty() => Wanted::Anything,
            Some((_, "")) => return Err(invalid()),
            Some(("msg", text)) => Wanted::Text(text.trim().to_owned()),
            Some(("regex", text)) => pattern(text)?,
            _ => return Err(invalid()),
        };
        match kind {
            "fail" => self.fail.push(wanted),
            "warn" => self.warn.push(wanted),
            "info" => self.info.push(wanted),
            "no_warn" => self.no_warn = true,
            "no_info" => self.no_info = true,
            "ordered" => self.expected.ordered = true,
            _ => return Err(invalid()),
        }
        if self.fail.len() > 1 {
            return Err("a case fails in one way".into());
        }
        if (self.no_warn && !self.warn.is_empty()) || (self.no_info && !self.info.is_empty()) {
            return Err("notes of a kind are expected and none are".into());
        }
        Ok(())
    }

    fn must_fail(&self) -> bool {
        self.legacy == Some(Legacy::Fail) || !self.fail.is_empty()
    }

    /// The query as it stands, then the ways in which upstream asks it again. Adds the answers looked at to `checks`.
    fn check(&self, settings: &Settings, source: &dyn Source, checks: &mut usize) -> Result<(), String> {
        let run = Run { settings, source };
        let expr = parse_with(&self.query, &settings.syntax).map_err(|error| error.to_string())?;
        if !self.is_instant() {
            *checks += 1;
            return self.check_answer(run.evaluate(&self.query, self.place), self.place).map(|_| ());
        }
        let at_ms = self.expected.range.map_or(self.place.end_ms, |range| range.end_ms);
        self.check_instant(&run, &self.query, at_ms, checks)?;
        let Some(query) = again::pinned(&expr, at_ms).filter(|_| settings.asks_again) else { return Ok(()) };
        for time in again::times(at_ms) {
            self.check_instant(&run, &query, time, checks)
                .map_err(|message| format!("{query} at {time} ms: {message}"))?;
        }
        Ok(())
    }

    fn check_instant(
        &self,
        run: &Run<'_>,
        query: &str,
        at_ms: i64,
        checks: &mut usize,
    ) -> Result<(), String> {
        let place = Place { start_ms: at_ms, end_ms: at_ms, step_ms: 0 };
        *checks += 1;
        let Some(value) = self.check_answer(run.evaluate(query, place), place)? else { return Ok(()) };
        let has_range_form = self.expected.string.is_none() && self.expected.range.is_none();
        if run.settings.asks_again && has_range_form && !again::asks_for_its_range(query) {
            *checks += 1;
            self.check_middle(run, query, at_ms, &value)
                .map_err(|message| format!("in range mode: {message}"))?;
        }
        Ok(())
    }

    /// The value, if it is the expected one; `None` if the query failed as it should.
    fn check_answer(&self, answer: Result<Answer, String>, place: Place) -> Result<Option<Value>, String> {
        let answer = match answer {
            Ok(_) if self.must_fail() => return Err("expected an error but got none".into()),
            Ok(answer) => answer,
            Err(error) if !self.must_fail() => return Err(format!("error: {error}")),
            Err(error) if self.fail.iter().all(|wanted| wanted.fits(&error)) => return Ok(None),
            Err(error) => return Err(format!("expected {:?}, got the error {error}", self.fail)),
        };
        self.check_notes(&answer)?;
        self.expected.compare(&answer.value, self.expected.range.unwrap_or(place))?;
        Ok(Some(answer.value))
    }

    fn check_notes(&self, answer: &Answer) -> Result<(), String> {
        for (kind, legacy, wanted, none, found) in [
            ("warning", Legacy::Warn, &self.warn, self.no_warn, &answer.warnings),
            ("info", Legacy::Info, &self.info, self.no_info, &answer.infos),
        ] {
            if none && !found.is_empty() {
                return Err(format!("unexpected {kind}: {found:?}"));
            }
            if found.is_empty() && (self.legacy == Some(legacy) || !wanted.is_empty()) {
                return Err(format!("expected a {kind} but got none"));
            }
            if wanted.is_empty() {
                continue;
            }
            if let Some(missing) = wanted.iter().find(|wanted| !found.iter().any(|f| wanted.fits(f))) {
                return Err(format!("expected the {kind} {missing:?}, got {found:?}"));
            }
            if let Some(extra) = found.iter().find(|f| !wanted.iter().any(|wanted| wanted.fits(f))) {
                return Err(format!("unexpected {kind}: {extra}"));
            }
        }
        Ok(())
    }

    /// The same query a minute before and after as well: what it gives in the middle must be what it gave at the instant.
    fn check_middle(&self, run: &Run<'_>, query: &str, at_ms: i64, instant: &Value) -> Result<(), String> {
        const MINUTE_MS: i64 = 60_000;
        let (start_ms, end_ms) = (at_ms.saturating_sub(MINUTE_MS), at_ms.saturating_add(MINUTE_MS));
        let answer = run
            .evaluate(query, Place { start_ms, end_ms, step_ms: MINUTE_MS })
            .map_err(|error| format!("error: {error}"))?;
        if self.expected.ordered {
            return Ok(());
        }
        let Value::Matrix(series) = answer.value else { return Err("no matrix".into()) };
        sorted(&series)?;
        let middle = series.into_iter().filter_map(|series| {
            let (_, point) = series.points.iter().find(|(time, _)| *time == at_ms)?;
            Some(VectorSample { labels: series.labels, timestamp_ms: at_ms, point })
        });
        let middle: Vec<VectorSample> = middle.collect();
        let value = match (instant, middle.first()) {
            (Value::Scalar(..), Some(VectorSample { point: Point::Float(value), .. })) => {
                Value::Scalar(at_ms, *value)
            }
            _ => Value::Vector(middle),
        };
        self.expected.compare(&value, Place { start_ms: at_ms, end_ms: at_ms, step_ms: 0 })
    }
}

/// What queries run with and on.
struct Run<'r> {
    settings: &'r Settings,
    source: &'r dyn Source,
}

impl Run<'_> {
    fn evaluate(&self, query: &str, place: Place) -> Result<Answer, String> {
        let expr = parse_with(query, &self.settings.syntax).map_err(|error| error.to_string())?;
        let params = match place.step_ms {
            0 => Params::instant(place.start_ms),
            step_ms => Params::range(place.start_ms, place.end_ms, step_ms),
        };
        let params = Params { options: self.settings.options, ..params };
        evaluate(self.source, &expr, &params, &Budget::new(BUDGET_BYTES)).map_err(|error| error.to_string())
    }
}

fn is_word_end(rest: &str) -> bool {
    rest.is_empty() || rest.starts_with(' ')
}

fn pattern(text: &str) -> Result<Wanted, String> {
    Regex::new(text.trim()).map(Wanted::Pattern).map_err(|error| error.to_string())
}
