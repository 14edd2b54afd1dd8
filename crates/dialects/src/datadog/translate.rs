//! Names and tags of Datadog as names and labels of Prometheus, by the tenant's profile.
//!
//! `opstrace` is what Opstrace's translator made of `/api/v1/series`, to the letter, and goes on where that was silent:
//! types of later routes, devices, resources. `plain` has no label that its sender did not send, so changing a type forks
//! no series.

use std::borrow::Cow;
use std::collections::BTreeSet;

use model::batch::Pair;
use model::labels::LENGTH_MAX;
use model::{LabelError, MetricType};

use super::record::{Kind, Name, Record, Source};
use super::settings::{BareTags, Counts, DuplicateTags, Names, Profile, Settings};

/// Stands before names that Datadog was told not to index.
const NO_INDEX: &str = "n_o_i_n_d_e_x.";
/// The name of service checks in the profile `plain`.
const CHECK: &str = "datadog_service_check_status";
/// The name of the series that carries a host's tags.
const HOST_INFO: &str = "datadog_host_info";
/// So many labels are compared each with each, which is faster than sorting them.
const FEW: usize = 32;
/// Labels of the profile `plain` that are no tags.
const RESERVED: [&str; 5] = ["__name__", "host", "device", "check", "le"];

/// Whether counts and rates of these settings become running totals.
pub fn is_total(settings: &Settings, kind: Kind) -> bool {
    settings.counts == Counts::Cumulative && matches!(kind, Kind::Count | Kind::Rate)
}

/// A value as it is stored: a rate becomes what happened in its interval where the settings say so.
#[inline]
pub fn value(settings: &Settings, kind: Kind, interval_s: i64, value: f64) -> f64 {
    match (settings.counts, kind) {
        (Counts::PerInterval | Counts::Cumulative, Kind::Rate) if interval_s > 0 => value * interval_s as f64,
        _ => value,
    }
}

/// The name under which a metric's metadata stands.
pub fn family<'a>(settings: &Settings, metric: &'a str, kind: Kind) -> Cow<'a, str> {
    let name = metric_name(settings, metric);
    if is_total(settings, kind) { Cow::Owned(format!("{name}_total")) } else { name }
}

/// A metric's type as metadata.
pub fn metric_type(settings: &Settings, kind: Kind) -> MetricType {
    match kind {
        Kind::Distribution => MetricType::GaugeHistogram,
        kind if is_total(settings, kind) => MetricType::Counter,
        _ => MetricType::Gauge,
    }
}

/// Appends a record's labels. A name that comes twice is no error of the sender: the knob for duplicate tags decides.
pub fn labels<'b>(
    source: &'b Source<'_>,
    record: &'b Record<'_>,
    pairs: &mut Vec<Pair<'b>>,
) -> Result<(), LabelError> {
    let settings = source.settings;
    fixed(settings, record, pairs);
    let first_tag = pairs.len();
    for tag in source.attached(record) {
        put_tag(settings, tag, pairs);
    }
    for (kind, name) in &source.resources[record.resources.clone()] {
        let label = match settings.profile {
            Profile::Opstrace => Cow::Owned(format!("ddres_{}", sanitised(kind))),
            Profile::Plain => plain_label(settings, kind),
        };
        put(label, Cow::Borrowed(name), pairs);
    }
    // A tag of the series comes after one of its host and one of its resource: under `last` it counts.
    for tag in &source.tags[record.tags.clone()] {
        put_tag(settings, tag, pairs);
    }
    unite(settings.duplicate_tags, first_tag, pairs);
    Ok(())
}

/// Whether a tag has no place under these settings. An empty one is no tag.
#[inline]
pub fn is_dropped(settings: &Settings, tag: &str) -> bool {
    settings.bare_tags == BareTags::Drop && !tag.is_empty() && memchr::memchr(b':', tag.as_bytes()).is_none()
}

fn fixed<'b>(settings: &Settings, record: &'b Record<'_>, pairs: &mut Vec<Pair<'b>>) {
    let total = is_total(settings, record.kind);
    let name = match &record.name {
        Name::Metric(name, suffix) => {
            let name = metric_name(settings, name);
            match (*suffix, total) {
                ("", false) => name,
                (suffix, _) => Cow::Owned(format!("{name}{suffix}{}", if total { "_total" } else { "" })),
            }
        }
        Name::Check(name) if settings.profile == Profile::Opstrace => metric_name(settings, name),
        Name::Check(_) => Cow::Borrowed(CHECK),
        Name::HostInfo => Cow::Borrowed(HOST_INFO),
    };
    pairs.push((Cow::Borrowed("__name__"), name));
    let mut label = |name: &'static str, value: Cow<'b, str>| {
        if !value.is_empty() {
            pairs.push((Cow::Borrowed(name), value));
        }
    };
    match settings.profile {
        Profile::Opstrace => {
            label("job", Cow::Borrowed("ddagent"));
            label("instance", Cow::Borrowed(&record.host));
            label("device", Cow::Borrowed(&record.device));
            label("source_type_name", Cow::Borrowed(&record.source_type));
            // They would split a total whose sender changes its interval.
            if !total {
                label("type", Cow::Borrowed(record.kind.as_str()));
                if record.interval_s != 0 {
                    label("interval", Cow::Owned(record.interval_s.to_string()));
                }
            }
        }
        Profile::Plain => {
            label("host", Cow::Borrowed(&record.host));
            label("device", Cow::Borrowed(&record.device));
            if let Name::Check(name) = &record.name {
                label("check", Cow::Borrowed(name));
            }
        }
    }
}

fn put_tag<'b>(settings: &Settings, tag: &'b str, pairs: &mut Vec<Pair<'b>>) {
    let (key, value) = match (tag.split_once(':'), settings.bare_tags) {
        (Some((key, value)), _) => (key, value),
        (None, BareTags::Drop) => return,
        (None, _) if tag.is_empty() => return,
        (None, BareTags::Label) => (tag, "true"),
        (None, BareTags::Value) => (tag, "no_label_value"),
    };
    let label = match settings.profile {
        Profile::Opstrace => Cow::Owned(format!("ddtag_{}", sanitised(key))),
        Profile::Plain => plain_label(settings, key),
    };
    put(label, Cow::Borrowed(value), pairs);
}

/// Puts a label behind the fixed ones. An empty value is no label, and takes none away.
fn put<'b>(label: Cow<'b, str>, value: Cow<'b, str>, pairs: &mut Vec<Pair<'b>>) {
    if !value.is_empty() && !label.is_empty() {
        pairs.push((label, value));
    }
}

/// Makes one label of those with the same name. Many are sorted for that: a series may have thousands.
fn unite<'b>(duplicates: DuplicateTags, first_tag: usize, pairs: &mut Vec<Pair<'b>>) {
    let labels = &pairs[first_tag..];
    let is_new = |at: usize| labels[..at].iter().all(|(name, _)| *name != labels[at].0);
    if labels.len() <= FEW && (1..labels.len()).all(is_new) {
        return;
    }
    // Equal ones stay in their order.
    pairs[first_tag..].sort_by(|(one, _), (other, _)| one.cmp(other));
    let (mut end, mut start) = (first_tag, first_tag);
    while let Some((name, _)) = pairs.get(start) {
        let next = start + pairs[start..].iter().take_while(|(other, _)| other == name).count();
        match duplicates {
            _ if next - start == 1 => {}
            DuplicateTags::First => {}
            DuplicateTags::Last => pairs[start].1 = std::mem::take(&mut pairs[next - 1].1),
            DuplicateTags::Join => pairs[start].1 = joined(&pairs[start..next]),
        }
        pairs.swap(end, start);
        (end, start) = (end + 1, next);
    }
    pairs.truncate(end);
}

/// The values as a set, sorted. A value with a comma in it is several.
fn joined<'b>(pairs: &[Pair<'_>]) -> Cow<'b, str> {
    let (mut values, mut bytes) = (BTreeSet::new(), 0);
    for value in pairs.iter().flat_map(|(_, value)| value.split(',')) {
        // One that is too long to be a value gets no longer.
        if bytes > LENGTH_MAX + 1 {
            break;
        }
        if values.insert(value) {
            bytes += value.len() + 1;
        }
    }
    Cow::Owned(Vec::from_iter(values).join(","))
}

fn plain_label<'b>(settings: &Settings, key: &'b str) -> Cow<'b, str> {
    let label = match settings.names {
        Names::Underscores => sanitised(key),
        Names::Utf8 => Cow::Borrowed(key),
    };
    if RESERVED.contains(&label.as_ref()) { Cow::Owned(format!("exported_{label}")) } else { label }
}

fn metric_name<'b>(settings: &Settings, metric: &'b str) -> Cow<'b, str> {
    let metric = metric.strip_prefix(NO_INDEX).unwrap_or(metric);
    match (settings.profile, settings.names) {
        (Profile::Plain, Names::Utf8) => Cow::Borrowed(metric),
        _ => sanitised(metric),
    }
}

/// Each character that is not `[a-zA-Z0-9_:]` as `_`.
pub fn sanitised(name: &str) -> Cow<'_, str> {
    let good = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    if name.chars().all(good) {
        return Cow::Borrowed(name);
    }
    Cow::Owned(name.chars().map(|c| if good(c) { c } else { '_' }).collect())
}

#[cfg(test)]
mod tests {
    use model::HostTags;

    use super::super::settings::HostTagsUse;
    use super::*;

    fn translated(settings: Settings, tags: &[&'static str], change: impl FnOnce(&mut Record<'_>)) -> String {
        let hosts = {
            let mut hosts = HostTags::default();
            let tags = ["env:prod", "role:web"].map(str::to_owned).to_vec();
            hosts.set(model::HostRow { host: "web-1".to_owned(), tags });
            hosts
        };
        let mut record = Record {
            name: Name::Metric("system.net.bytes_rcvd".into(), ""),
            kind: Kind::Gauge,
            interval_s: 0,
            host: "web-1".into(),
            device: "eth0".into(),
            source_type: "System".into(),
            resources: 0..1,
            tags: 0..tags.len(),
        };
        change(&mut record);
        let source = Source {
            settings: &settings,
            hosts: &hosts,
            records: Vec::new(),
            tags: tags.iter().map(|tag| Cow::Borrowed(*tag)).collect(),
            resources: vec![("database_instance".into(), "db-1".into())],
        };
        let mut pairs = Vec::new();
        labels(&source, &record, &mut pairs).unwrap();
        let mut shown: Vec<_> = pairs.iter().skip(1).map(|(name, value)| format!("{name}={value}")).collect();
        shown.sort();
        format!("{}{{{}}}", pairs[0].1, shown.join(","))
    }

    #[test]
    fn opstrace_is_as_its_tutorial_prints() {
        let settings = Settings::of(Profile::Opstrace);
        assert_eq!(
            translated(settings, &["a.b:1", "bare", "x:", "a_b:2", "url:http://y"], |_| ()),
            "system_net_bytes_rcvd{ddres_database_instance=db-1,ddtag_a_b=2,ddtag_url=http://y,device=eth0,\
             instance=web-1,job=ddagent,source_type_name=System,type=gauge}"
        );
        let counter = |record: &mut Record<'_>| {
            record.name = Name::Metric("n_o_i_n_d_e_x.blog.app.testcounter".into(), "");
            (record.kind, record.interval_s, record.resources) = (Kind::Rate, 10, 0..0);
            (record.device, record.source_type) = (Cow::Borrowed(""), Cow::Borrowed(""));
        };
        assert_eq!(
            translated(settings, &[], counter),
            "blog_app_testcounter{instance=web-1,interval=10,job=ddagent,type=rate}"
        );
        let total = Settings { counts: Counts::Cumulative, ..settings };
        assert_eq!(translated(total, &[], counter), "blog_app_testcounter_total{instance=web-1,job=ddagent}");
    }

    #[test]
    fn plain_adds_nothing_and_keeps_everything() {
        let settings = Settings::of(Profile::Plain);
        assert_eq!(
            translated(settings, &["b:2", "bare", "b:1", "host:y", "__name__:z"], |_| ()),
            "system_net_bytes_rcvd{b=1,2,bare=no_label_value,database_instance=db-1,device=eth0,\
             exported___name__=z,exported_host=y,host=web-1}"
        );
        let utf8 = Settings { names: Names::Utf8, bare_tags: BareTags::Label, ..settings };
        assert_eq!(
            translated(utf8, &["a.b:2", "bare"], |record| record.resources = 0..0),
            "system.net.bytes_rcvd{a.b=2,bare=true,device=eth0,host=web-1}"
        );
        let check = |record: &mut Record<'_>| record.name = Name::Check("app.ok".into());
        assert!(translated(settings, &[], check).starts_with("datadog_service_check_status{check=app.ok,"));
    }

    #[test]
    fn a_series_own_tag_stands_before_its_hosts() {
        let attach = Settings { host_tags: HostTagsUse::Attach, ..Settings::of(Profile::Opstrace) };
        let shown = translated(attach, &["env:test"], |record| record.resources = 0..0);
        assert!(shown.contains("ddtag_env=test,ddtag_role=web,"), "{shown}");
        let first = Settings { duplicate_tags: DuplicateTags::First, ..attach };
        assert!(translated(first, &["env:test"], |_| ()).contains("ddtag_env=prod"));
    }

    #[test]
    fn labels_of_one_name_are_one() {
        let of = |duplicate_tags, tags: &[&'static str]| {
            let settings = Settings { duplicate_tags, ..Settings::of(Profile::Plain) };
            let shown =
                translated(settings, tags, |record| (record.resources, record.host) = (0..0, "".into()));
            shown.replace("system_net_bytes_rcvd", "").replace(",device=eth0", "")
        };
        let tags = ["b:2", "a:y,x", "b:1", "c:z", "b:3,1", "b:"];
        assert_eq!(of(DuplicateTags::Join, &tags), "{a=y,x,b=1,2,3,c=z}");
        assert_eq!(of(DuplicateTags::Last, &tags), "{a=y,x,b=3,1,c=z}");
        assert_eq!(of(DuplicateTags::First, &tags), "{a=y,x,b=2,c=z}");
        let long: &'static str = format!("b:{}", "x".repeat(LENGTH_MAX)).leak();
        assert_eq!(of(DuplicateTags::Join, &[long, "b:1", "b:2"]).len(), "{b=1,}".len() + LENGTH_MAX);
    }

    #[test]
    fn a_rate_times_its_interval_is_what_happened() {
        let of = |counts| Settings { counts, ..Settings::default() };
        assert_eq!(value(&of(Counts::Raw), Kind::Rate, 10, 2.0), 2.0);
        assert_eq!(value(&of(Counts::PerInterval), Kind::Rate, 10, 2.0), 20.0);
        assert_eq!(value(&of(Counts::Cumulative), Kind::Rate, 10, 2.0), 20.0);
        assert_eq!(value(&of(Counts::PerInterval), Kind::Count, 10, 2.0), 2.0);
        assert_eq!(value(&of(Counts::PerInterval), Kind::Rate, 0, 2.0), 2.0);
    }
}
