//! Jobs as Prometheus writes them: defaults, limits, what is refused by name.

use super::*;

fn resolve(change: impl FnOnce(&mut JobKeys, &mut Global)) -> Result<ScrapeConfig, Vec<String>> {
    let (mut block, mut global) = (JobBlock::default(), Global::default());
    block.own.job_name = "a".to_owned();
    change(&mut block.own, &mut global);
    ScrapeConfig::resolve(block, &global)
        .map_err(|problems| problems.iter().map(JobProblem::to_string).collect())
}

#[test]
fn what_a_job_leaves_open_is_as_in_global() {
    let secs = Duration::from_secs;
    let config = resolve(|_, global| {
        global.scrape_interval = Some(secs(5));
        global.sample_limit = 7;
        global.scrape_native_histograms = true;
        global.extra_scrape_metrics = true;
        global.metric_name_validation_scheme = NameValidation::Legacy;
    })
    .unwrap();
    // The usual timeout is ten seconds, but no longer than the interval.
    assert_eq!((config.interval, config.timeout, config.limits.samples), (secs(5), secs(5), 7));
    assert!(config.histograms.native && config.extra_metrics);
    assert_eq!(config.protocols, Protocol::PROTOBUF_FIRST);
    assert_eq!((config.names, config.escaping), (Names::Legacy, Escaping::Underscores));

    let config = resolve(|keys, global| {
        global.sample_limit = 7;
        keys.sample_limit = 8;
        keys.scrape_interval = Some(secs(2));
        keys.scrape_timeout = Some(secs(1));
    })
    .unwrap();
    assert_eq!((config.interval, config.timeout, config.limits.samples), (secs(2), secs(1), 8));
    assert_eq!(config.protocols, Protocol::USUAL);
}

#[test]
fn all_that_is_wrong_is_told() {
    let problems = resolve(|keys, _| {
        keys.scheme = "ftp".to_owned();
        keys.scrape_protocols = Some(vec!["PrometheusProto".to_owned(), "PrometheusProto".to_owned()]);
        keys.fallback_scrape_protocol = Some("text".to_owned());
        keys.metric_name_validation_scheme = Some(NameValidation::Legacy);
        keys.metric_name_escaping_scheme = Some(Escaping::AllowUtf8);
        keys.tenant = Some("/".to_owned());
    })
    .unwrap_err();
    let keys: Vec<&str> = problems.iter().filter_map(|problem| problem.split(':').next()).collect();
    let expected =
        ["tenant", "scheme", "scrape_protocols", "fallback_scrape_protocol", "metric_name_escaping_scheme"];
    assert_eq!(keys, expected, "{problems:?}");
}

#[test]
fn global_is_checked_on_its_own() {
    let global = Global {
        scrape_protocols: Some(Vec::new()),
        external_labels: BTreeMap::from([(String::new(), "x".to_owned())]),
        scrape_timeout: Some(Duration::from_secs(90)),
        ..Global::default()
    };
    let keys: Vec<String> = global.check().into_iter().map(|problem| problem.key).collect();
    assert_eq!(keys, ["scrape_timeout", "scrape_protocols", "external_labels"]);
    assert_eq!(Global::default().check(), []);
}
