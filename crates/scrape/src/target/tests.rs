use super::*;
use crate::config::{Global, JobBlock, StaticGroup};
use model::relabel::Action;
use outbound::RelabelConfig;

fn config(change: impl FnOnce(&mut JobBlock)) -> ScrapeConfig {
    let mut block = JobBlock::default();
    block.own.job_name = "job".to_owned();
    change(&mut block);
    ScrapeConfig::resolve(block, &Global::default()).unwrap()
}

fn rule(action: Action, source: &str, regex: &str, target: &str, replacement: &str) -> RelabelConfig {
    let source_labels = if source.is_empty() { Vec::new() } else { vec![source.to_owned()] };
    RelabelConfig {
        source_labels,
        regex: regex.to_owned(),
        target_label: target.to_owned(),
        replacement: replacement.to_owned(),
        action,
        ..RelabelConfig::default()
    }
}

fn group(targets: &[&[(&str, &str)]], labels: &[(&str, &str)]) -> TargetGroup {
    let owned = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    TargetGroup {
        source: "test".to_owned(),
        targets: targets.iter().map(|target| owned(target)).collect(),
        labels: owned(labels),
    }
}

fn one(config: &ScrapeConfig, labels: &[(&str, &str)]) -> Target {
    let mut found = targets(config, &[group(&[labels], &[])]);
    assert_eq!((found.dropped_count, found.invalid.as_slice()), (0, [].as_slice()));
    found.targets.remove(0)
}

fn why(config: &ScrapeConfig, labels: &[(&str, &str)]) -> InvalidTarget {
    let mut found = targets(config, &[group(&[labels], &[])]);
    assert_eq!(found.targets, []);
    found.invalid.remove(0).error
}

#[test]
fn a_target_gets_job_and_instance_and_its_page_lies_where_the_job_says() {
    let config = config(|block| {
        block.own.static_configs = vec![StaticGroup::default()];
        block.own.metrics_path = "/a b/métrics".to_owned();
        block.own.scheme = "https".to_owned();
        block.own.scrape_interval = Some(Duration::from_secs(90));
        let params = [("z", vec!["1 &", "2"]), ("a", vec!["x"]), ("none", vec![])];
        let params = params.into_iter();
        block.own.params = params
            .map(|(name, values)| (name.to_owned(), values.into_iter().map(str::to_owned).collect()))
            .collect();
    });
    let target = one(&config, &[(ADDRESS, "db:9100"), ("env", "prod")]);
    assert_eq!(target.url.to_string(), "https://db:9100/a%20b/m%C3%A9trics?a=x&z=1+%26&z=2");
    assert_eq!(target.public().to_string(), r#"{env="prod", instance="db:9100", job="job"}"#);
    assert_eq!((target.interval, target.timeout), (Duration::from_secs(90), Duration::from_secs(10)));
    assert_eq!(
        target.discovered.iter().collect::<Vec<_>>(),
        [
            ("__address__", "db:9100"),
            ("__always_scrape_classic_histograms__", "false"),
            ("__convert_classic_histograms_to_nhcb__", "false"),
            ("__metrics_path__", "/a b/métrics"),
            ("__param_a", "x"),
            ("__param_z", "1 &"),
            ("__scheme__", "https"),
            ("__scrape_interval__", "1m30s"),
            ("__scrape_native_histograms__", "false"),
            ("__scrape_timeout__", "10s"),
            ("env", "prod"),
            ("job", "job"),
        ]
    );
}

#[test]
fn no_port_is_added() {
    let target = one(&config(|_| {}), &[(ADDRESS, "Host")]);
    assert_eq!((target.url.port(), target.url.authority().as_str()), (80, "host"));
    assert_eq!(target.labels.get("instance"), Some("Host"));
    let target = one(&config(|_| {}), &[(ADDRESS, "[::1]:90")]);
    assert_eq!((target.url.host(), target.url.port()), ("::1", 90));
}

#[test]
fn a_targets_own_labels_win_over_its_groups_and_both_over_the_jobs() {
    let found = targets(
        &config(|_| {}),
        &[group(&[&[(ADDRESS, "a:1"), ("x", "own"), ("job", "mine")]], &[("x", "group"), ("y", "group")])],
    );
    assert_eq!(found.targets[0].public().to_string(), r#"{instance="a:1", job="mine", x="own", y="group"}"#);
}

/// The blackbox exporter's way: the address becomes a parameter, the exporter's own the address.
#[test]
fn rules_rewrite_where_a_page_lies() {
    let config = config(|block| {
        block.own.metrics_path = "/probe".to_owned();
        block.own.params =
            BTreeMap::from([("target".to_owned(), vec!["default".to_owned(), "kept".to_owned()])]);
        block.own.relabel_configs = vec![
            rule(Action::Replace, ADDRESS, "(.*)", "__param_target", "$1"),
            rule(Action::Replace, "__param_target", "(.*)", "instance", "$1"),
            rule(Action::Replace, "", "(.*)", ADDRESS, "exporter:9115"),
            rule(Action::Replace, "__meta_path", "(.+)", METRICS_PATH, "$1"),
            rule(Action::Replace, "", "(.*)", INTERVAL, "2m"),
            rule(Action::Replace, "", "(.*)", TIMEOUT, "90s"),
            rule(Action::LabelMap, "", "__meta_label_(.+)", "", "$1"),
        ];
    });
    let target =
        one(&config, &[(ADDRESS, "https://site/x"), ("__meta_path", "p"), ("__meta_label_team", "web")]);
    assert_eq!(target.url.to_string(), "http://exporter:9115/p?target=https%3A%2F%2Fsite%2Fx&target=kept");
    assert_eq!((target.interval, target.timeout), (Duration::from_secs(120), Duration::from_secs(90)));
    assert_eq!(target.public().to_string(), r#"{instance="https://site/x", job="job", team="web"}"#);
    assert!(target.labels.iter().all(|(name, _)| !name.starts_with(META)));
    assert_eq!(target.discovered.get("__meta_path"), Some("p"));
}

#[test]
fn dropped_targets_are_counted_and_some_of_them_kept() {
    let config = config(|block| {
        block.own.keep_dropped_targets = 1;
        block.own.relabel_configs = vec![rule(Action::Keep, ADDRESS, "a.*", "", "$1")];
    });
    let found =
        targets(&config, &[group(&[&[(ADDRESS, "a:1")], &[(ADDRESS, "b:1")], &[(ADDRESS, "c:1")]], &[])]);
    assert_eq!((found.targets.len(), found.dropped_count, found.dropped.len()), (1, 2, 1));
    assert_eq!(found.dropped[0].get(ADDRESS), Some("b:1"));
}

#[test]
fn the_same_target_is_scraped_once() {
    let groups = [
        group(&[&[(ADDRESS, "a:1")]], &[]),
        group(&[&[(ADDRESS, "a:1")], &[(ADDRESS, "a:1"), ("x", "y")]], &[]),
    ];
    let found = targets(&config(|_| {}), &groups);
    assert_eq!(found.targets.len(), 2);
    assert_ne!(found.targets[0].hash(), found.targets[1].hash());
    assert_eq!(found.targets[0].hash(), targets(&config(|_| {}), &groups).targets[0].hash());
}

#[test]
fn what_cannot_be_scraped_says_why() {
    let config = config(|_| {});
    assert_eq!(why(&config, &[("x", "y")]), InvalidTarget::NoAddress);
    for address in ["http://a", "a/b", "u@a", "a:b", "a b", "a?b", "a#b", "[::1"] {
        assert_eq!(why(&config, &[(ADDRESS, address)]), InvalidTarget::Address(address.to_owned()));
    }
    let with = |label: &'static str, value: &'static str| why(&config, &[(ADDRESS, "a:1"), (label, value)]);
    assert_eq!(with(SCHEME, "ftp"), InvalidTarget::Scheme("ftp".to_owned()));
    assert_eq!(with(INTERVAL, "0s"), InvalidTarget::Time { label: INTERVAL, value: "0s".to_owned() });
    assert_eq!(with(TIMEOUT, "x"), InvalidTarget::Time { label: TIMEOUT, value: "x".to_owned() });
    assert_eq!(with(NATIVE, "maybe"), InvalidTarget::Truth { label: NATIVE, value: "maybe".to_owned() });
    let (timeout, interval) = (Duration::from_secs(61), Duration::from_secs(60));
    assert_eq!(with(TIMEOUT, "61s"), InvalidTarget::Timeout { timeout, interval });
    let found = targets(&config, &[group(&[&[(ADDRESS, "good:1")], &[]], &[])]);
    assert_eq!(
        (found.targets.len(), found.invalid[0].index, found.invalid[0].source.as_str()),
        (1, 1, "test")
    );
}

#[test]
fn labels_say_which_histograms_are_taken() {
    let target = one(&config(|_| {}), &[(ADDRESS, "a:1"), (NATIVE, "T"), (CLASSIC_BESIDE_NATIVE, "1")]);
    let expected = Histograms { native: true, classic_beside_native: true, classic_as_native: false };
    assert_eq!(target.histograms, expected);
}
