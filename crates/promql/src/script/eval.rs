//! `eval instant at 5m …`, `eval range from 0 to 1h step 5m …`, and what they expect.

use model::{Budget, Labels};
use regex::Regex;

use crate::eval::{Answer, Params, Value, VectorSample, evaluate};
use crate::parse::parse_with;
use crate::script::Settings;
use crate::script::compare::{Expected, Place};
use crate::script::series::{self, SequenceValue};
use crate::source::Source;
use crate::{duration, literal};

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

/// An `eval` command with its expectations.
#[derive(Debug, Default)]
struct Case {
    query: String,
    start_ms: i64,
    end_ms: i64,
    step_ms: i64,
    expected: Expected,
    fail: Vec<Wanted>,
    warn: Vec<Wanted>,
    info: Vec<Wanted>,
    no_warn: bool,
    no_info: bool,
}

/// Runs one case; how many lines of the body belong to it, and why it failed.
pub(super) fn run(
    first: &str,
    body: &[&str],
    settings: &Settings,
    source: &dyn Source,
) -> Result<usize, (usize, String)> {
    let mut case = Case::parse_first(first).map_err(|message| (body.len(), message))?;
    let used = case.parse_body(body).map_err(|message| (body.len(), message))?;
    case.check(settings, source).map(|()| used).map_err(|message| (used, message))
}

impl Case {
    fn parse_first(line: &str) -> Result<Self, String> {
        let (word, rest) = line.split_once(char::is_whitespace).ok_or("invalid evaluation command")?;
        let rest = rest.trim_start();
        let mut case = Self::default();
        match word.strip_prefix("eval_") {
            Some("fail") => case.fail.push(Wanted::Anything),
            Some("warn") => case.warn.push(Wanted::Anything),
            Some("info") => case.info.push(Wanted::Anything),
            Some("ordered") => case.expected.ordered = true,
            _ => {}
        }
        if let Some(rest) = rest.strip_prefix("instant") {
            let rest = rest.trim_start().strip_prefix("at").ok_or("instant needs at")?;
            let (at, query) = rest.trim_start().split_once(char::is_whitespace).ok_or("query expected")?;
            case.start_ms = duration::parse(at)?;
            case.end_ms = case.start_ms;
            case.query = query.trim().to_owned();
            return Ok(case);
        }
        let mut words = rest.strip_prefix("range").ok_or("instant or range expected")?.trim_start();
        let mut times = [0; 3];
        for (name, time) in ["from", "to", "step"].into_iter().zip(&mut times) {
            words = words.strip_prefix(name).ok_or_else(|| format!("{name} expected"))?.trim_start();
            let (value, rest) = words.split_once(char::is_whitespace).ok_or("duration expected")?;
            *time = duration::parse(value)?;
            words = rest.trim_start();
        }
        [case.start_ms, case.end_ms, case.step_ms] = times;
        case.query = words.to_owned();
        Ok(case)
    }

    fn parse_body(&mut self, body: &[&str]) -> Result<usize, String> {
        let mut position = 0;
        for (at, line) in body.iter().enumerate() {
            if let Some(range) = line.strip_prefix("expect range vector ") {
                let words: Vec<&str> = range.split_whitespace().collect();
                let ["from", from, "to", to, "step", step] = words.as_slice() else {
                    return Err(format!("invalid range vector definition {line:?}"));
                };
                let (start_ms, end_ms) = (duration::parse(from)?, duration::parse(to)?);
                self.expected.range = Some(Place { start_ms, end_ms, step_ms: duration::parse(step)? });
            } else if let Some(text) = line.strip_prefix("expect string ") {
                let bytes = literal::unquote(text.trim()).ok_or("string expected")?;
                self.expected.string = Some(String::from_utf8_lossy(&bytes).into_owned());
            } else if let Some(rest) = line.strip_prefix("expect ") {
                self.parse_expect(rest)?;
            } else if let Some(message) = line.strip_prefix("expected_fail_message") {
                self.fail = vec![Wanted::Text(message.trim().to_owned())];
                return Ok(at + 1);
            } else if let Some(pattern) = line.strip_prefix("expected_fail_regexp") {
                self.fail = vec![Wanted::Pattern(Regex::new(pattern.trim()).map_err(|e| e.to_string())?)];
                return Ok(at + 1);
            } else if let Ok(value) = series::number(line) {
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
        if values.len() > 1 && self.step_ms == 0 && self.expected.range.is_none() {
            return Err("several values expected of an instant evaluation".into());
        }
        self.expected.series.insert(labels, (position, values));
        Ok(())
    }

    fn parse_expect(&mut self, rest: &str) -> Result<(), String> {
        let (kind, what) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        let what = what.trim();
        let wanted = match what.split_once(':') {
            None if what.is_empty() => Wanted::Anything,
            Some(("msg", text)) => Wanted::Text(text.trim().to_owned()),
            Some(("regex", text)) => Wanted::Pattern(Regex::new(text.trim()).map_err(|e| e.to_string())?),
            _ => return Err(format!("invalid expect statement {rest:?}")),
        };
        match kind {
            "fail" => self.fail.push(wanted),
            "warn" => self.warn.push(wanted),
            "info" => self.info.push(wanted),
            "no_warn" => self.no_warn = true,
            "no_info" => self.no_info = true,
            "ordered" => self.expected.ordered = true,
            _ => return Err(format!("invalid expect statement {rest:?}")),
        }
        Ok(())
    }

    fn check(&self, settings: &Settings, source: &dyn Source) -> Result<(), String> {
        let place = Place { start_ms: self.start_ms, end_ms: self.end_ms, step_ms: self.step_ms };
        let answer = match self.evaluate(place, settings, source) {
            Ok(_) if !self.fail.is_empty() => return Err("expected an error but got none".into()),
            Ok(answer) => answer,
            Err(error) if self.fail.is_empty() => return Err(format!("error: {error}")),
            Err(error) if self.fail.iter().all(|wanted| wanted.fits(&error)) => return Ok(()),
            Err(error) => return Err(format!("expected {:?}, got the error {error}", self.fail)),
        };
        self.check_notes(&answer)?;
        self.expected.compare(&answer.value, place)?;
        if settings.as_range_too && self.step_ms == 0 && self.may_be_range() {
            self.check_as_range(&answer.value, settings, source)?;
        }
        Ok(())
    }

    fn evaluate(&self, place: Place, settings: &Settings, source: &dyn Source) -> Result<Answer, String> {
        let expr = parse_with(&self.query, &settings.syntax).map_err(|e| e.message)?;
        let params = match place.step_ms {
            0 => Params::instant(place.start_ms),
            step_ms => Params::range(place.start_ms, place.end_ms, step_ms),
        };
        let params = Params { options: settings.options, ..params };
        evaluate(source, &expr, &params, &Budget::new(BUDGET_BYTES)).map_err(|e| e.to_string())
    }

    fn check_notes(&self, answer: &Answer) -> Result<(), String> {
        for (kind, wanted, none, found) in [
            ("warning", &self.warn, self.no_warn, &answer.warnings),
            ("info", &self.info, self.no_info, &answer.infos),
        ] {
            if none && !found.is_empty() {
                return Err(format!("unexpected {kind}: {found:?}"));
            }
            if wanted.is_empty() {
                continue;
            }
            if found.is_empty() {
                return Err(format!("expected a {kind} but got none"));
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

    /// Strings and range vectors have no range form; what asks for the query's own range means something else in it.
    fn may_be_range(&self) -> bool {
        let own_range =
            ["start()", "end()", "range()", "step()"].iter().any(|call| self.query.contains(call));
        self.expected.string.is_none() && self.expected.range.is_none() && !own_range
    }

    /// The same expression a minute before and after as well; the answer in the middle must be the instant one.
    fn check_as_range(
        &self,
        instant: &Value,
        settings: &Settings,
        source: &dyn Source,
    ) -> Result<(), String> {
        let (at, minute) = (self.start_ms, 60_000);
        let place = Place { start_ms: at - minute, end_ms: at + minute, step_ms: minute };
        let answer = self
            .evaluate(place, settings, source)
            .map_err(|error| format!("in range mode: error: {error}"))?;
        if self.expected.ordered {
            return Ok(());
        }
        let Value::Matrix(series) = answer.value else { return Err("in range mode: no matrix".into()) };
        let samples = series.into_iter().filter_map(|series| {
            let (_, point) = series.points.iter().find(|(time, _)| *time == at)?;
            Some(VectorSample { labels: series.labels, timestamp_ms: at, point })
        });
        let samples: Vec<VectorSample> = samples.collect();
        let value = match (instant, samples.first()) {
            (Value::Scalar(..), Some(VectorSample { point: crate::Point::Float(value), .. })) => {
                Value::Scalar(at, *value)
            }
            _ => Value::Vector(samples),
        };
        let place = Place { start_ms: at, end_ms: at, step_ms: 0 };
        self.expected.compare(&value, place).map_err(|message| format!("in range mode: {message}"))
    }
}
