//! Blocks of Prometheus' own YAML in weir.yaml: what they mean, and complaints with line and path.

use std::path::Path;
use std::time::Duration;

use forward::Chosen;
use outbound::Scheme;

use super::super::effective;
use super::super::load::Layers;
use super::*;

fn read(text: &str) -> Result<(Pasted, Vec<ScrapeConfig>), Vec<String>> {
    let mut layers = Layers::default();
    layers.file(Path::new("conf/weir.yaml"), text);
    let shown = |problems: Vec<Problem>| problems.iter().map(Problem::to_string).collect::<Vec<_>>();
    if !layers.problems.is_empty() {
        return Err(shown(layers.problems));
    }
    let pasted = layers.settings.pasted;
    let configs = pasted.resolve().map_err(shown)?;
    Ok((pasted, configs))
}

fn problems(text: &str) -> Vec<String> {
    read(text).map(|_| ()).unwrap_err()
}

/// As in Prometheus' own documentation and in what people have.
const PASTED: &str = r#"
global:
  scrape_interval: 15s
  evaluation_interval: 15s
  external_labels:
    monitor: codelab
    replica: 0

rule_files:
  # - "first.rules"

scrape_configs:
  - job_name: 'prometheus'
    static_configs:
      - targets: ['localhost:9090', "localhost:9091"]
        labels:
          env: prod
  - job_name: node
    tenant: team-a
    honor_labels: true
    honor_timestamps: false
    scrape_interval: 1m30s
    scrape_timeout: 1m
    scrape_protocols: [PrometheusProto, PrometheusText0.0.4]
    fallback_scrape_protocol: PrometheusText0.0.4
    metrics_path: /probe
    params:
      module: [http_2xx]
      target: ["a b", c]
    scheme: https
    body_size_limit: 10MB
    sample_limit: 5000
    basic_auth:
      username: me
      password: canary-1
    tls_config:
      ca_file: ca.pem
      insecure_skip_verify: yes
    http_headers:
      Prefer:
        values: [profile=x]
      X-Key:
        secrets: [canary-2]
    proxy_url: http://u:canary-3@proxy:3128
    follow_redirects: false
    file_sd_configs:
      - files: [targets/*.json, /abs/t.yml]
        refresh_interval: 10m
    http_sd_configs:
      - url: http://u:canary-4@sd/targets
        authorization:
          credentials: canary-5
        refresh_interval: 30s
    dns_sd_configs:
      - names: [_metrics._tcp.example.com]
      - names: [db]
        type: A
        port: 9104
    relabel_configs:
      - source_labels: [__address__]
        target_label: __param_target
      - source_labels: [__meta_x, __meta_y]
        separator: /
        regex: (.+)/(.+)
        target_label: x
        replacement: $2-${1}
      - regex: __meta_(.+)
        action: labelmap
    metric_relabel_configs:
      - source_labels: [__name__]
        regex: go_.*
        action: drop
"#;

#[test]
fn what_people_have_is_taken_as_it_is() {
    let (pasted, configs) = read(PASTED).unwrap();
    assert_eq!(pasted.global.external_labels["replica"], "0");
    let [prometheus, node] = configs.as_slice() else { panic!("two jobs") };
    assert_eq!(prometheus.interval, Duration::from_secs(15));
    assert_eq!(prometheus.timeout, Duration::from_secs(10));
    assert_eq!(prometheus.tenant.as_str(), "default");
    assert_eq!(prometheus.block.static_configs[0].targets, ["localhost:9090", "localhost:9091"]);
    assert_eq!(prometheus.block.static_configs[0].labels["env"], "prod");
    assert!(prometheus.http.follow_redirects && prometheus.compression && prometheus.honor_timestamps);

    assert_eq!((node.tenant.as_str(), node.scheme), ("team-a", Scheme::Https));
    assert_eq!((node.interval, node.timeout), (Duration::from_secs(90), Duration::from_secs(60)));
    assert_eq!((node.limits.body_bytes, node.limits.samples), (10 << 20, 5000));
    assert_eq!(node.params["target"], ["a b", "c"]);
    assert!(node.honor_labels && !node.honor_timestamps && !node.http.follow_redirects);
    assert!(node.http.tls_config.insecure_skip_verify);
    assert_eq!(node.http.tls_config.ca_file.as_deref(), Some(Path::new("conf/ca.pem")));
    assert_eq!(node.block.file_sd_configs[0].files, ["conf/targets/*.json", "/abs/t.yml"]);
    let http = &node.block.http_sd_configs[0];
    assert_eq!(http.refresh_interval, Duration::from_secs(30));
    assert_eq!(http.inner.authorization.as_ref().unwrap().credentials.as_ref().unwrap().reveal(), "canary-5");
    assert_eq!(node.block.dns_sd_configs.len(), 2);
    assert_eq!((node.relabel.iter().count(), node.metric_relabel.iter().count()), (3, 1));
    assert_eq!(node.protocols.len(), 2);
}

/// Every secret is a canary; the text is read again and means the same.
#[test]
fn what_is_shown_holds_no_secret_and_no_other_tenants_jobs() {
    let mut layers = Layers::default();
    layers.file(Path::new("weir.yaml"), PASTED);
    let tenant = |name: &str| model::TenantName::parse(name).unwrap();
    let shown = effective(&layers.settings, &tenant("team-a"));
    assert!(!shown.contains("canary"), "{shown}");
    assert!(shown.contains("job_name: node") && !shown.contains("job_name: prometheus"), "{shown}");
    assert!(shown.contains("password: <secret>") || shown.contains("password: \"<secret>\""), "{shown}");
    let mut again = Layers::default();
    again.file(Path::new("weir.yaml"), &shown);
    assert_eq!(again.problems, []);
    let jobs = again.settings.pasted.resolve().unwrap();
    assert_eq!(jobs[0].params["target"], ["a b", "c"]);
    assert_eq!(jobs[0].interval, Duration::from_secs(90));
    assert_eq!(again.settings.pasted.global, layers.settings.pasted.global);
    assert!(!format!("{:?}", layers.settings).contains("canary"));
}

#[test]
fn mistakes_are_told_with_line_and_path() {
    let job = |keys: &str| format!("scrape_configs:\n  - job_name: a\n{keys}");
    let cases = [
        (
            job("    scrape_intervall: 5s\n"),
            "conf/weir.yaml:3: scrape_configs[a].scrape_intervall: unknown key, did you mean scrape_interval?",
        ),
        (
            job("    basic_aut: {}\n"),
            "conf/weir.yaml:3: scrape_configs[a].basic_aut: unknown key, did you mean basic_auth?",
        ),
        (
            job("    basic_auth:\n      usernam: x\n"),
            "conf/weir.yaml:4: scrape_configs[a].basic_auth.usernam: unknown key, did you mean username?",
        ),
        (
            job("    scrape_interval: 5x\n"),
            "conf/weir.yaml:3: scrape_configs[a].scrape_interval: expected a duration like 30s or 1h30m, found \"5x\"",
        ),
        (
            job("    static_configs:\n      - targets: a\n"),
            "conf/weir.yaml:4: scrape_configs[a].static_configs[0].targets: expected a list",
        ),
        (
            job("    sample_limit: many\n"),
            "conf/weir.yaml:3: scrape_configs[a].sample_limit: expected a whole number, found \"many\"",
        ),
        (
            job("    http_sd_configs:\n      - url: ftp://x\n"),
            "conf/weir.yaml:4: scrape_configs[a].http_sd_configs[0].url: unsupported scheme \"ftp\", only http and https are",
        ),
        (
            job("    http_sd_configs:\n      - url: http://x\n        tls: {}\n"),
            "conf/weir.yaml:5: scrape_configs[a].http_sd_configs[0].tls: unknown key",
        ),
        (
            job("    kubernetes_sd_configs: []\n"),
            "conf/weir.yaml:3: scrape_configs[a].kubernetes_sd_configs: this discovery is not in Weir; there are static_configs, file_sd_configs, http_sd_configs and dns_sd_configs",
        ),
        (
            job("    oauth2:\n      client_id: x\n"),
            "conf/weir.yaml:4: scrape_configs[a].oauth2: Weir fetches no tokens by OAuth 2: let something else write one to a file and name it as authorization.credentials_file",
        ),
        (
            "alerting:\n  alertmanagers:\n    - static_configs: [{targets: [a]}]\n".into(),
            "conf/weir.yaml:2: alerting: Weir sends no alerts",
        ),
        (
            "global:\n  scrape_interval: 1\n".into(),
            "conf/weir.yaml:2: global.scrape_interval: expected a duration like 30s or 1h30m, found \"1\"",
        ),
        (
            "scrape_config:\n".into(),
            "conf/weir.yaml:1: scrape_config: unknown key, did you mean scrape_configs?",
        ),
        // What contradicts itself is found once everything is read.
        (
            job("    scrape_timeout: 2m\n"),
            "conf/weir.yaml:2: scrape_configs[a].scrape_timeout: is longer than scrape_interval",
        ),
        (job("    tenant: '...'\n"), "conf/weir.yaml:2: scrape_configs[a].tenant: "),
        (
            job("    static_configs: [{targets: ['http://a/']}]\n"),
            "conf/weir.yaml:2: scrape_configs[a].static_configs: \"http://a/\" is no host with a port",
        ),
        (
            job("    relabel_configs:\n      - action: hashmod\n"),
            "conf/weir.yaml:2: scrape_configs[a].relabel_configs[0]: hashmod needs a modulus above 0",
        ),
        (
            job("    bearer_token: x\n    bearer_token_file: y\n"),
            "conf/weir.yaml:2: scrape_configs[a].bearer_token_file: at most one of bearer_token and bearer_token_file may be set",
        ),
        (
            job("  - job_name: a\n"),
            "conf/weir.yaml:3: scrape_configs[a].job_name: there are two jobs of this name",
        ),
        (
            "scrape_configs: [{static_configs: []}]\n".into(),
            "conf/weir.yaml:1: scrape_configs[].job_name: is needed",
        ),
        (
            "global: {scrape_interval: 1s, scrape_timeout: 2s}\n".into(),
            "conf/weir.yaml:1: global.scrape_timeout: is longer than scrape_interval",
        ),
        (
            job("    file_sd_configs: [{files: [a.txt]}]\n"),
            "conf/weir.yaml:2: scrape_configs[a].file_sd_configs.files: ",
        ),
        (
            job("    dns_sd_configs: [{names: [a], type: A}]\n"),
            "conf/weir.yaml:2: scrape_configs[a].dns_sd_configs.port: is needed: only SRV records say one",
        ),
    ];
    for (text, expected) in cases {
        let problems = problems(&text);
        assert!(
            problems.iter().any(|problem| problem.starts_with(expected)),
            "{text}\n{problems:#?}\n{expected}"
        );
    }
}

#[test]
fn every_job_is_complained_about() {
    let text = "scrape_configs:\n  - job_name: a\n    x: 1\n  - job_name: b\n    y: 1\n";
    assert_eq!(problems(text).len(), 2);
}

#[test]
fn jobs_come_from_other_files_too() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("main.yaml", "scrape_config_files: [jobs-*.yaml]\nscrape_configs: [{job_name: main}]\n");
    write("jobs-1.yaml", "scrape_configs:\n  - job_name: one\n    bearer_token_file: t\n");
    write("jobs-2.yaml", "scrape_configs: [{job_name: two}]\n");
    let load = || {
        let mut layers = Layers::default();
        let path = folder.path().join("main.yaml");
        layers.file(&path, &std::fs::read_to_string(&path).unwrap());
        layers
    };
    let configs = load().settings.pasted.resolve().unwrap();
    let names: Vec<&str> = configs.iter().map(|config| config.job_name.as_str()).collect();
    assert_eq!(names, ["one", "two", "main"]);
    assert_eq!(configs[0].http.bearer_token_file, Some(folder.path().join("t")));
    write("jobs-2.yaml", "global: {}\n");
    let problems = load().problems;
    assert!(problems[0].to_string().ends_with("jobs-2.yaml:1: global: unknown key"), "{problems:?}");
}

/// What `remote_write` and `outputs` mean.
fn outputs(text: &str) -> Result<Vec<forward::Settings>, Vec<String>> {
    let (pasted, _) = read(text)?;
    pasted.resolve_outputs().map_err(|problems| problems.iter().map(Problem::to_string).collect())
}

#[test]
fn a_block_of_remote_write_is_taken_as_it_is() {
    let list = outputs(
        r#"
global:
  external_labels: {region: eu}
remote_write:
  - url: https://euw1-01.example.com/api/v1/push
    authorization:
      credentials: canary
    headers:
      X-Scope-OrgID: acme
  - url: http://vm:8428/api/v1/write
    name: vm
    remote_timeout: 10s
    send_exemplars: true
    send_native_histograms: true
    round_robin_dns: true
    protobuf_message: io.prometheus.write.v2.Request
    write_relabel_configs:
      - source_labels: [__name__]
        regex: go_.*
        action: drop
    queue_config: {capacity: 2500, max_shards: 200, min_shards: 2, max_samples_per_send: 500, batch_send_deadline: 1s,
      min_backoff: 30ms, max_backoff: 5s, retry_on_http_429: true, sample_age_limit: 1h}
    metadata_config: {send: true, send_interval: 2m, max_samples_per_send: 100}
    tenants: [team-a, team-b]
    max_lag_age: 2h
    max_lag_bytes: 1GB
outputs:
  - type: datadog
    name: dd
    url: https://api.datadoghq.eu
    token: canary
    tenants: "*"
"#,
    )
    .unwrap();
    let [hosted, vm, datadog] = list.as_slice() else { panic!("three outputs") };
    assert_eq!(hosted.headers["X-Scope-OrgID"], "acme");
    assert_eq!(hosted.external_labels["region"], "eu");
    assert!(hosted.name.starts_with("remote_write-"), "{}", hosted.name);
    assert_eq!(hosted.queues.rows_max, 2_000);
    assert!(!hosted.adds());
    let Chosen::Named(tenants) = &vm.tenants else { panic!("two tenants") };
    assert_eq!(tenants.iter().map(|name| name.as_str()).collect::<Vec<_>>(), ["team-a", "team-b"]);
    assert_eq!((vm.queues.capacity, vm.queues.shards_min, vm.queues.shards_max), (2_500, 2, 200));
    assert_eq!(
        (vm.pauses.min, vm.queues.sample_age),
        (Duration::from_millis(30), Some(Duration::from_secs(3600)))
    );
    assert_eq!((vm.lag_age_max, vm.lag_bytes_max), (Duration::from_secs(7200), Some(1 << 30)));
    assert_eq!((datadog.url.path_and_query(), &datadog.tenants), ("/api/v2/series", &Chosen::All));
    assert!(datadog.adds());
    assert!(!format!("{list:?}").contains("canary"));
}

#[test]
fn what_is_wrong_with_outputs_is_told_with_its_place() {
    let wrong = |text: &str| outputs(text).map(|_| ()).unwrap_err().join("\n");
    let write = |more: &str| wrong(&format!("remote_write:\n  - url: http://x/write\n    {more}\n"));
    for (more, message) in [
        ("sigv4: {region: x}", "Weir signs no requests for AWS (sigv4)"),
        ("azuread: {cloud: x}", "Weir signs no requests for Azure AD (azuread)"),
        ("queue_config: {max_shards: 0}", "queue_config.max_shards: 0 is not between 1 and"),
        ("queue_config: {min_backoff: 10m}", "queue_config.min_backoff: is more than max_backoff"),
        ("headers: {Authorization: x}", "use authorization or basic_auth"),
        ("name: a/b", "name: \"a/b\" is not up to 64"),
        ("tenant: A", "tenants: \"A\": invalid tenant name"),
        ("remote_timout: 1s", "did you mean remote_timeout"),
        ("write_relabel_configs: [{action: hashmod, target_label: x}]", "hashmod needs a modulus"),
    ] {
        let problem = write(more);
        assert!(problem.contains(message) && problem.contains("conf/weir.yaml:"), "{more}: {problem}");
    }
    let twice = wrong("remote_write: [{url: \"http://x\", name: a}, {url: \"http://y\", name: a}]");
    assert!(twice.contains("remote_write[1].name: two outputs are called \"a\""), "{twice}");
    let unknown = wrong("outputs: [{type: statsd, name: a, url: \"http://x\"}]");
    assert!(unknown.contains("unknown type \"statsd\", there are remote_write, otlp, datadog"), "{unknown}");
}
