//! What series a line's metric becomes, by the tenant's profile. Asked once for each key.
//!
//! `opstrace` is what an Agent would have sent for it: a counter is a rate, a histogram is its aggregates, all of them over
//! ten seconds. `plain` is what Prometheus would have: a counter is a running total, values are a native histogram.

use std::borrow::Cow;

use aggregation::{Described, Output, Role};
use dialects::datadog::record::{Kind, Name, Record, Source};
use dialects::datadog::{Counts, Profile, Settings, translate};
use dialects::statsd::{Metric, MetricKind, Tags};
use model::{HostTags, Labels};

use super::intake::Translation;

/// Seconds that each value stands for.
const INTERVAL_S: i64 = aggregation::WINDOW_MS / 1000;

/// What is written to a series, what stands behind its name, its type, its interval.
type Form = (Role, &'static str, Kind, i64);

/// A distribution's first form is what all of them have: the native histogram.
const NATIVE: Form = (Role::Native, "", Kind::Distribution, 0);

const HISTOGRAM: &[Form] = &[
    NATIVE,
    (Role::Max, "_max", Kind::Gauge, INTERVAL_S),
    (Role::Median, "_median", Kind::Gauge, INTERVAL_S),
    (Role::Average, "_avg", Kind::Gauge, INTERVAL_S),
    (Role::CountPerSecond, "_count", Kind::Rate, INTERVAL_S),
    (Role::Percentile95, "_95percentile", Kind::Gauge, INTERVAL_S),
];

/// As sketches have them.
const DISTRIBUTION: &[Form] =
    &[NATIVE, (Role::Min, "_min", Kind::Gauge, 0), (Role::Max, "_max", Kind::Gauge, 0)];

/// The forms of a metric's type.
fn forms(settings: &Settings, kind: MetricKind) -> &'static [Form] {
    match (kind, settings.profile, settings.counts) {
        (MetricKind::Counter, Profile::Plain, _) | (MetricKind::Counter, _, Counts::Cumulative) => {
            &[(Role::Total, "", Kind::Rate, INTERVAL_S)]
        }
        (MetricKind::Counter, Profile::Opstrace, Counts::Raw) => {
            &[(Role::PerSecond, "", Kind::Rate, INTERVAL_S)]
        }
        (MetricKind::Counter, Profile::Opstrace, Counts::PerInterval) => {
            &[(Role::Sum, "", Kind::Rate, INTERVAL_S)]
        }
        (MetricKind::Gauge, ..) => &[(Role::Last, "", Kind::Gauge, INTERVAL_S)],
        (MetricKind::Set, ..) => &[(Role::Distinct, "", Kind::Gauge, INTERVAL_S)],
        (MetricKind::Histogram | MetricKind::Timing, Profile::Opstrace, _) => HISTOGRAM,
        (MetricKind::Histogram | MetricKind::Timing, Profile::Plain, _) => DISTRIBUTION,
        (MetricKind::Distribution, ..) => DISTRIBUTION,
    }
}

/// The series of a metric; `None` when it has more tags than a series can have labels.
pub(super) fn series(metric: &Metric<'_>, translation: &Translation, hostname: &str) -> Option<Described> {
    let name = String::from_utf8_lossy(metric.name);
    let facts = Facts::read(metric.tags(), hostname, translation.labels_max)?;
    let output = |(role, suffix, kind, interval_s): &Form| {
        let counts = if *role == Role::Total { Counts::Cumulative } else { Counts::Raw };
        let settings = Settings { counts, ..translation.settings };
        let labels = facts.labels(
            &settings,
            &translation.hosts,
            Name::Metric(name.clone(), suffix),
            *kind,
            *interval_s,
        );
        Output { role: *role, labels }
    };
    Some(Described { outputs: forms(&translation.settings, metric.kind).iter().map(output).collect() })
}

/// What tags say, sorted out as an Agent does it.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Facts<'a> {
    pub(super) host: Cow<'a, str>,
    device: Cow<'a, str>,
    resources: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    pub(super) tags: Vec<Cow<'a, str>>,
}

impl<'a> Facts<'a> {
    /// `host:` names another host than the listener's, `device:` the device; what begins with `dd.internal.` is for the
    /// Agent itself. `None` when there are more than `labels_max`: making labels compares each tag with those before it.
    pub(super) fn read(mut tags: Tags<'a>, hostname: &'a str, labels_max: usize) -> Option<Self> {
        let mut facts = Self { host: Cow::Borrowed(hostname), ..Self::default() };
        while let Some(tag) = tags.next() {
            let mut tag = String::from_utf8_lossy(tag);
            if tags.is_in_name() {
                tag = Cow::Owned(tag.replacen('=', ":", 1));
            }
            if let Some(host) = without(&tag, "host:") {
                facts.host = host;
            } else if let Some(device) = without(&tag, "device:") {
                facts.device = device;
            } else if let Some(resource) = without(&tag, "dd.internal.resource:") {
                let resource =
                    resource.split_once(':').map(|(kind, name)| (kind.to_owned(), name.to_owned()));
                facts.resources.extend(resource.map(|(kind, name)| (kind.into(), name.into())));
            } else if !tag.starts_with("dd.internal.") {
                facts.tags.push(tag);
            }
            if facts.tags.len() + facts.resources.len() > labels_max {
                return None;
            }
        }
        Some(facts)
    }

    /// The labels of a series with these facts.
    pub(super) fn labels(
        &self,
        settings: &Settings,
        hosts: &HostTags,
        name: Name<'_>,
        kind: Kind,
        interval_s: i64,
    ) -> Labels {
        let record = Record {
            name,
            kind,
            interval_s,
            host: self.host.as_ref().into(),
            device: self.device.as_ref().into(),
            source_type: Cow::Borrowed(""),
            resources: 0..self.resources.len(),
            tags: 0..self.tags.len(),
        };
        let source = Source {
            settings,
            hosts,
            records: Vec::new(),
            tags: self.tags.clone(),
            resources: self.resources.clone(),
        };
        let mut pairs = Vec::new();
        // Nothing of a record that was read cannot be a label.
        let _ = translate::labels(&source, &record, &mut pairs);
        Labels::from_pairs(pairs)
    }
}

/// What follows `prefix`, as long as the tag's own text where that can be.
fn without<'a>(tag: &Cow<'a, str>, prefix: &str) -> Option<Cow<'a, str>> {
    match tag {
        Cow::Borrowed(tag) => tag.strip_prefix(prefix).map(Cow::Borrowed),
        Cow::Owned(tag) => tag.strip_prefix(prefix).map(|rest| Cow::Owned(rest.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use dialects::statsd::{Flavor, Line, for_each_line};

    use super::*;

    fn described(line: &str, profile: Profile) -> Vec<String> {
        let translation = Translation { settings: Settings::of(profile), ..Translation::default() };
        let mut shown = Vec::new();
        for_each_line(line.as_bytes(), Flavor::DogStatsD, |line| {
            let Ok(Line::Metric(metric)) = line else { panic!("{line:?}") };
            let described = series(&metric, &translation, "web-1").unwrap();
            shown = described
                .outputs
                .iter()
                .map(|output| format!("{:?} {}", output.role, output.labels))
                .collect();
        });
        shown
    }

    #[test]
    fn opstrace_is_what_an_agent_would_have_sent() {
        let rest = r#"instance="web-1", interval="10", job="ddagent""#;
        assert_eq!(
            described("blog.app.testcounter:2|c", Profile::Opstrace),
            [format!(r#"PerSecond blog_app_testcounter{{{rest}, type="rate"}}"#)]
        );
        assert_eq!(
            described("a.b:2|g|#env:prod,host:db-1,bare,dd.internal.entity_id:x", Profile::Opstrace),
            [r#"Last a_b{ddtag_env="prod", instance="db-1", interval="10", job="ddagent", type="gauge"}"#]
        );
        assert_eq!(
            described("t:2|ms", Profile::Opstrace),
            [
                r#"Native t{instance="web-1", job="ddagent", type="distribution"}"#.to_owned(),
                format!(r#"Max t_max{{{rest}, type="gauge"}}"#),
                format!(r#"Median t_median{{{rest}, type="gauge"}}"#),
                format!(r#"Average t_avg{{{rest}, type="gauge"}}"#),
                format!(r#"CountPerSecond t_count{{{rest}, type="rate"}}"#),
                format!(r#"Percentile95 t_95percentile{{{rest}, type="gauge"}}"#),
            ]
        );
        assert_eq!(
            described("t:2|d|#device:sda,host:,dd.internal.resource:db:x", Profile::Opstrace)[1],
            r#"Min t_min{ddres_db="x", device="sda", job="ddagent", type="gauge"}"#
        );
    }

    #[test]
    fn plain_is_what_prometheus_would_have() {
        assert_eq!(
            described("a.b,k=v,url=http://x:2|c|#bare", Profile::Plain),
            [r#"Total a_b_total{bare="no_label_value", host="web-1", k="v", url="http://x"}"#]
        );
        assert_eq!(
            described("t:2|h", Profile::Plain),
            [r#"Native t{host="web-1"}"#, r#"Min t_min{host="web-1"}"#, r#"Max t_max{host="web-1"}"#]
        );
        assert_eq!(described("u:x|s", Profile::Plain), [r#"Distinct u{host="web-1"}"#]);
    }

    #[test]
    fn too_many_tags_are_no_series() {
        let read = |tags: usize| {
            let tags: Vec<String> = (0..tags).map(|n| format!("k{n}:v")).collect();
            let line = format!("x:1|h|#dd.internal.a:b,host:h,{}", tags.join(","));
            let translation = Translation { labels_max: 128, ..Translation::default() };
            let mut is_series = None;
            for_each_line(line.as_bytes(), Flavor::DogStatsD, |line| {
                let Ok(Line::Metric(metric)) = line else { panic!("{line:?}") };
                is_series = Some(series(&metric, &translation, "web-1").is_some());
            });
            is_series.unwrap()
        };
        assert_eq!([1, 128, 129, 4000].map(read), [true, true, false, false]);
    }
}
