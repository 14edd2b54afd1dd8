//! The configuration in force as a file that means the same, for whoever asks the running server.
//!
//! Of tenants only the one that asks is told, and no password that stands in a URL.

use std::fmt::Write;

use forward::config::Tenants;
use forward::{OutputConfig, RemoteWriteConfig};
use model::TenantName;
use scrape::config::{Global, JobBlock};
use serde::Serialize;

use super::section::Section;
use super::settings::{Dialect, Settings};

/// The settings, every key with its value; unset ones are left out.
pub fn effective(settings: &Settings, tenant: &TenantName) -> String {
    let Settings {
        general,
        log,
        http,
        tls,
        acme,
        ingest,
        query,
        limits,
        storage,
        self_monitoring,
        datadog,
        influx,
        otlp,
        splunk,
        betterstack,
        ..
    } = settings;
    let mut text = String::new();
    keys(&mut text, "", general);
    section(&mut text, "log", log);
    section(&mut text, "http", http);
    section(&mut text, "tls", tls);
    section(&mut text, "acme", acme);
    section(&mut text, "ingest", ingest);
    section(&mut text, "query", query);
    section(&mut text, "limits", limits);
    section(&mut text, "storage", storage);
    section(&mut text, "self_monitoring", self_monitoring);
    section(&mut text, "datadog", datadog);
    section(&mut text, "influx", influx);
    section(&mut text, "otlp", otlp);
    section(&mut text, "splunk", splunk);
    section(&mut text, "betterstack", betterstack);
    listeners(&mut text, "statsd", &settings.statsd);
    listeners(&mut text, "graphite", &settings.graphite);
    listeners(&mut text, "opentsdb", &settings.opentsdb);
    let exposures = settings.exposures.iter();
    let exposures = exposures.filter(|exposure| exposure.tenant.as_ref().is_none_or(|of| of == tenant));
    listeners(&mut text, "exposures", &exposures.cloned().collect::<Vec<_>>());
    text.push_str("dialects:\n");
    for dialect in dialects::ALL {
        let _ = writeln!(text, "  {}:", dialect.name);
        match settings.dialects.get(dialect.name) {
            Some(set) => keys(&mut text, "    ", set),
            None => keys(&mut text, "    ", &Dialect::default()),
        }
    }
    pasted(&mut text, settings, tenant);
    if let Some(set) = settings.tenants.get(tenant) {
        let _ = writeln!(text, "tenants:\n  {}:", quoted(tenant.as_str()));
        keys(&mut text, "    ", &set.own);
        text.push_str("    limits:\n");
        keys(&mut text, "      ", &set.limits);
        text.push_str("    datadog:\n");
        keys(&mut text, "      ", &set.datadog);
        text.push_str("    otlp:\n");
        keys(&mut text, "      ", &set.otlp);
        text.push_str("    influx:\n");
        keys(&mut text, "      ", &set.influx);
        text.push_str("    splunk:\n");
        keys(&mut text, "      ", &set.splunk);
        text.push_str("    betterstack:\n");
        keys(&mut text, "      ", &set.betterstack);
    }
    text
}

/// What was pasted from Prometheus' configuration, of jobs those whose samples are the tenant's. Secrets hide themselves.
fn pasted(text: &mut String, settings: &Settings, tenant: &TenantName) {
    #[derive(Serialize)]
    struct Blocks<'a> {
        global: &'a Global,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        scrape_configs: Vec<&'a JobBlock>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        remote_write: Vec<&'a RemoteWriteConfig>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        outputs: Vec<&'a OutputConfig>,
    }
    let is_theirs = |job: &&JobBlock| job.tenant.as_deref().unwrap_or("default") == tenant.as_str();
    let jobs = settings.pasted.jobs.iter().map(|job| &job.value);
    let is_sent_on = |own: Option<&str>, all: Option<&Tenants>| match (own, all) {
        (None, None) => tenant.as_str() == "default",
        (Some(own), _) => own == tenant.as_str() || own == "*",
        (None, Some(all)) => all.names(tenant.as_str()),
    };
    let writes = settings.pasted.remote_write.iter().map(|output| &output.value);
    let outputs = settings.pasted.outputs.iter().map(|output| &output.value);
    let blocks = Blocks {
        global: &settings.pasted.global,
        scrape_configs: jobs.filter(is_theirs).collect(),
        remote_write: writes.filter(|o| is_sent_on(o.tenant.as_deref(), o.tenants.as_ref())).collect(),
        outputs: outputs.filter(|o| is_sent_on(o.tenant.as_deref(), o.tenants.as_ref())).collect(),
    };
    let items = blocks.scrape_configs.len() + blocks.remote_write.len() + blocks.outputs.len();
    if *blocks.global != Global::default() || items > 0 {
        text.push_str(&serde_saphyr::to_string(&blocks).expect("what was read can be written"));
    }
}

fn section(text: &mut String, name: &str, section: &impl Section) {
    let _ = writeln!(text, "{name}:");
    keys(text, "  ", section);
}

fn listeners<S: Section>(text: &mut String, name: &str, listeners: &[S]) {
    if !listeners.is_empty() {
        let _ = writeln!(text, "{name}:");
    }
    for listener in listeners {
        let mut shown = String::new();
        keys(&mut shown, "    ", listener);
        // The first key of an item stands behind its dash.
        let _ = writeln!(text, "  - {}", shown.trim());
    }
}

fn keys(text: &mut String, indent: &str, section: &impl Section) {
    for (key, value) in section.shown() {
        let value = match value {
            Shown::Unset => continue,
            Shown::Scalar(value) => quoted(&without_password(&value)),
            Shown::List(values) => {
                let values: Vec<String> = values.iter().map(|value| quoted(value)).collect();
                format!("[{}]", values.join(", "))
            }
        };
        let _ = writeln!(text, "{indent}{key}: {value}");
    }
}

/// A value as a user would write it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    /// Left open.
    Unset,
    /// One text.
    Scalar(String),
    /// Several.
    List(Vec<String>),
}

/// Bare where YAML reads nothing else into it.
fn quoted(value: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-%".contains(&byte);
    let is_bare = value.bytes().all(is_plain) && value.starts_with(|c: char| c.is_ascii_alphanumeric());
    if is_bare && !matches!(value, "off" | "on" | "yes" | "no" | "null") {
        value.to_owned()
    } else {
        serde_json::Value::from(value).to_string()
    }
}

/// A URL without the password that may stand in it; anything else as it is.
pub fn without_password(value: &str) -> String {
    let credentials = value.split_once("://").and_then(|(scheme, rest)| {
        let authority = rest.split('/').next()?;
        let (user, _) = authority.rsplit_once('@')?;
        Some((scheme, user.split(':').next()?, &rest[user.len()..]))
    });
    match credentials {
        Some((scheme, user, rest)) => format!("{scheme}://{user}:redacted{rest}"),
        None => value.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Sources;
    use super::super::value::ExternalUrl;
    use super::*;

    fn read(text: &str) -> Settings {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("weir.yaml");
        std::fs::write(&path, text).unwrap();
        let sources = Sources { file: Some(path), ..Sources::default() };
        sources.load().unwrap_or_else(|problems| panic!("{problems:?}\n{text}"))
    }

    #[test]
    fn what_is_told_means_what_is_in_force() {
        let name = |name: &str| TenantName::parse(name).unwrap();
        let typed = "listen: 127.0.0.1:1\nauth: \"off\"\ntrusted_proxies: [10.0.0.0/8, \"::1/128\"]\n\
                     external_url: https://example.com/x\nlog: {level: debug}\n\
                     http: {cors_origin: \"https://(a|b)\\\\.example\"}\n\
                     tls: {client_auth: none, client_ca: \"/etc/ca 1.pem\"}\n\
                     acme: {directory: letsencrypt-staging, contact: [a@example.com], accept_terms: true, \
                     http_listen: \"0.0.0.0:80\"}\n\
                     storage: {retention: 90d, memory_bytes: 1GiB, durability: os}\n\
                     dialects: {text: {enabled: false, wire_bytes: 1MiB}}\n\
                     datadog: {profile: plain, host_tags: off}\n\
                     influx: {value_field: keep}\notlp: {translation_strategy: NoTranslation, promote_resource_attributes: [a.b, c]}\nsplunk: {query_token: false}\nbetterstack: {max_past: 15m}\n\
                     exposures: [{path: /api/iacp/v3/metrics, match: ['{__name__=~\"a,b\"}', up], profiles: [preview], \
                     max_age: 5m}]\n\
                     tenants: {team-a: {store: none, limits: {labels: 5, retention: 1h30m}, datadog: {counts: raw}, \
                     influx: {database_label: db}, splunk: {query_token: true}, \
                     otlp: {promote_all_resource_attributes: true, target_info: false}, \
                     betterstack: {histogram_series: prometheus, requests_per_minute: 0}}, team-b: {limits: {labels: 6}}}\n";
        for typed in ["listen: 127.0.0.1:1\n", typed] {
            let settings = read(typed);
            let told = effective(&settings, &name("team-a"));
            let again = read(&told);
            assert_eq!(effective(&again, &name("team-a")), told);
            assert_eq!(
                (again.general, again.log, again.http),
                (settings.general, settings.log, settings.http)
            );
            assert_eq!((again.tls, again.acme), (settings.tls, settings.acme));
            assert_eq!((again.storage, again.limits), (settings.storage, settings.limits));
            assert_eq!(again.exposures, settings.exposures);
            assert_eq!(again.datadog, settings.datadog);
            assert_eq!((again.influx, again.splunk), (settings.influx, settings.splunk));
            assert_eq!((again.betterstack, again.otlp), (settings.betterstack, settings.otlp));
            assert_eq!(again.tenants.get(&name("team-a")), settings.tenants.get(&name("team-a")));
            assert!(!told.contains("team-b"), "{told}");
        }
    }

    #[test]
    fn a_password_in_a_url_is_not_told() {
        let mut settings = Settings::default();
        settings.general.external_url = ExternalUrl(Some("https://user:s3cret@example.com/x".into()));
        let told = effective(&settings, &TenantName::parse("a").unwrap());
        assert!(!told.contains("s3cret"), "{told}");
        assert!(told.contains("https://user:redacted@example.com/x"), "{told}");
    }
}
