//! Events and service checks: nothing to add up, so they are written as they came.

use std::borrow::Cow;

use dialects::datadog::record::{Kind, Name};
use dialects::datadog::translate::sanitised;
use dialects::datadog::{BareTags, Profile, Settings};
use dialects::statsd::{Event, ServiceCheck};
use model::Labels;

use super::describe::Facts;
use super::intake::Translation;
use super::queue::Weigh;

/// What statuses are called, by number.
const STATUSES: [&str; 4] = ["ok", "warning", "critical", "unknown"];

/// A log line, and for a check its status as a sample.
#[derive(Debug, PartialEq)]
pub(super) struct Happened {
    pub(super) sample: Option<CheckSample>,
    pub(super) line: Option<LogLine>,
}

/// A check's status, 0 to 3.
#[derive(Debug, PartialEq)]
pub(super) struct CheckSample {
    pub(super) labels: Labels,
    pub(super) timestamp_ms: i64,
    pub(super) status: u8,
}

/// A line of the tenant's logs.
#[derive(Debug, PartialEq)]
pub(super) struct LogLine {
    pub(super) stream: Vec<(String, String)>,
    pub(super) fields: Vec<(String, String)>,
    pub(super) timestamp_ns: i64,
    pub(super) line: String,
}

impl Happened {
    /// An event is a log line: its text, or its title where it has none.
    /// `None` when it has more tags than a series can have labels.
    pub(super) fn event(
        event: &Event<'_>,
        translation: &Translation,
        hostname: &str,
        now_ms: i64,
    ) -> Option<Self> {
        let settings = &translation.settings;
        let mut facts = Facts::read(event.tags(), hostname, translation.labels_max)?;
        let said = text(event.host);
        if !said.is_empty() {
            facts.host = Cow::Owned(said);
        }
        let (title, body) = (lines_of(event.title), lines_of(event.text));
        let line = if body.is_empty() { title.clone() } else { body };
        let stream = pairs([
            ("job", "ddagent".to_owned()),
            ("source", "datadog_event".to_owned()),
            (host_label(settings), facts.host.to_string()),
            ("alert_type", event.alert_type.as_str().to_owned()),
            ("source_type_name", text(event.source_type_name)),
        ]);
        let mut fields = pairs([
            ("title", title),
            ("priority", text(event.priority)),
            ("aggregation_key", text(event.aggregation_key)),
        ]);
        put_tags(settings, &facts, &mut fields);
        let timestamp_ns = nanoseconds(event.timestamp_s, now_ms);
        Some(Self { sample: None, line: Some(LogLine { stream, fields, timestamp_ns, line }) })
    }

    /// A check is a sample, and a log line where it says something. `None` as for events.
    pub(super) fn check(
        check: &ServiceCheck<'_>,
        translation: &Translation,
        hostname: &str,
        now_ms: i64,
    ) -> Option<Self> {
        let settings = &translation.settings;
        let mut facts = Facts::read(check.tags(), hostname, translation.labels_max)?;
        let said = text(check.host);
        if !said.is_empty() {
            facts.host = Cow::Owned(said);
        }
        let timestamp_ns = nanoseconds(check.timestamp_s, now_ms);
        let name = String::from_utf8_lossy(check.name);
        let message = lines_of(check.message).replace("m\\:", "m:");
        let line = (!message.is_empty()).then(|| {
            let stream = pairs([
                ("job", "ddagent".to_owned()),
                ("source", "datadog_check".to_owned()),
                (host_label(settings), facts.host.to_string()),
            ]);
            let status = STATUSES[usize::from(check.status)].to_owned();
            let host = facts.host.to_string();
            let mut fields = pairs([("check", name.to_string()), ("status", status), ("host", host)]);
            put_tags(settings, &facts, &mut fields);
            LogLine { stream, fields, timestamp_ns, line: message }
        });
        let labels = facts.labels(settings, &translation.hosts, Name::Check(name), Kind::Unspecified, 0);
        let timestamp_ms = timestamp_ns / 1_000_000;
        let sample = CheckSample { labels, timestamp_ms, status: check.status };
        Some(Self { sample: Some(sample), line })
    }

    /// Bytes that it takes, roughly.
    pub(super) fn bytes(&self) -> usize {
        let line = self.line.as_ref().map_or(0, LogLine::bytes);
        let sample = self.sample.as_ref().map_or(0, |sample| sample.labels.as_canonical().len());
        size_of::<Self>() + line + sample
    }
}

impl Weigh for LogLine {
    fn bytes(&self) -> usize {
        let of =
            |pairs: &[(String, String)]| pairs.iter().map(|(n, v)| 48 + n.len() + v.len()).sum::<usize>();
        size_of::<Self>() + of(&self.stream) + of(&self.fields) + self.line.len()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A text whose line breaks were written as `\n`.
fn lines_of(bytes: &[u8]) -> String {
    text(bytes).replace("\\n", "\n")
}

/// Without those whose value is empty.
fn pairs<const N: usize>(all: [(&str, String); N]) -> Vec<(String, String)> {
    let some = all.into_iter().filter(|(_, value)| !value.is_empty());
    some.map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Tags under the names that they have as labels of series; one without a colon has its place here in any case.
fn put_tags(settings: &Settings, facts: &Facts<'_>, fields: &mut Vec<(String, String)>) {
    let bare = if settings.bare_tags == BareTags::Value { "no_label_value" } else { "true" };
    for tag in &facts.tags {
        let (key, value) = tag.split_once(':').unwrap_or((tag, bare));
        if key.is_empty() || value.is_empty() {
            continue;
        }
        let name = match settings.profile {
            Profile::Opstrace => format!("ddtag_{}", sanitised(key)),
            Profile::Plain => sanitised(key).into_owned(),
        };
        fields.push((name, value.to_owned()));
    }
}

fn host_label(settings: &Settings) -> &'static str {
    match settings.profile {
        Profile::Opstrace => "instance",
        Profile::Plain => "host",
    }
}

fn nanoseconds(said_s: Option<i64>, now_ms: i64) -> i64 {
    said_s.map_or(now_ms.saturating_mul(1_000_000), |seconds| seconds.saturating_mul(1_000_000_000))
}

#[cfg(test)]
mod tests {
    use dialects::statsd::{Flavor, Line, for_each_line};
    use model::labels::LABELS_MAX;

    use super::*;

    fn happened(line: &str) -> Happened {
        told(line).unwrap()
    }

    fn told(line: &str) -> Option<Happened> {
        let mut happened = None;
        for_each_line(line.as_bytes(), Flavor::DogStatsD, |line| {
            let translation = Translation::default();
            happened = Some(match line {
                Ok(Line::Event(event)) => Happened::event(&event, &translation, "web-1", 5),
                Ok(Line::ServiceCheck(check)) => Happened::check(&check, &translation, "web-1", 5),
                other => panic!("{other:?}"),
            });
        });
        happened.unwrap()
    }

    #[test]
    fn too_many_tags_are_nothing_that_happened() {
        let tags: Vec<String> = (0..=LABELS_MAX).map(|n| format!("k{n}:v")).collect();
        let (most, more) = (tags[1..].join(","), tags.join(","));
        for start in ["_e{1,1}:a|b", "_sc|x|0"] {
            let is_some = [&most, &more].map(|tags| told(&format!("{start}|#{tags}")).is_some());
            assert_eq!(is_some, [true, false], "{start}");
        }
    }

    fn shown(pairs: &[(String, String)]) -> String {
        pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn an_event_is_a_line_of_the_log() {
        let event = happened("_e{4,6}:down|a\\nb!x|t:error|k:k1|s:py|#env:prod,bare");
        assert_eq!(event.sample, None);
        let line = event.line.unwrap();
        assert_eq!(
            shown(&line.stream),
            "job=ddagent source=datadog_event instance=web-1 alert_type=error source_type_name=py"
        );
        assert_eq!(shown(&line.fields), "title=down aggregation_key=k1 ddtag_env=prod ddtag_bare=true");
        assert_eq!((line.line.as_str(), line.timestamp_ns), ("a\nb!x", 5_000_000));
        let event = happened("_e{4,0}:down||d:1700000000|h:db-1");
        let line = event.line.unwrap();
        assert_eq!((line.line.as_str(), line.timestamp_ns), ("down", 1_700_000_000_000_000_000));
        assert!(shown(&line.stream).contains("instance=db-1"));
    }

    #[test]
    fn a_check_is_a_sample_and_what_it_says() {
        let check = happened("_sc|redis up|2|d:1700000000|h:db-1|#env:dev|m:timed out|m\\: x\\ny");
        let sample = check.sample.unwrap();
        assert_eq!(
            (sample.labels.to_string().as_str(), sample.timestamp_ms, sample.status),
            (r#"redis_up{ddtag_env="dev", instance="db-1", job="ddagent"}"#, 1_700_000_000_000, 2)
        );
        let line = check.line.unwrap();
        assert_eq!(line.line, "timed out|m: x\ny");
        assert_eq!(shown(&line.stream), "job=ddagent source=datadog_check instance=db-1");
        assert_eq!(shown(&line.fields), "check=redis up status=critical host=db-1 ddtag_env=dev");
        assert_eq!(happened("_sc|x|0").line, None);
    }
}
