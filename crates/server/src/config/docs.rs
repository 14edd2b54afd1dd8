//! The configuration as a commented file, and as docs/config.md.

use std::fmt::Write;

use super::betterstack::Betterstack;
use super::datadog::Datadog;
use super::exposures::Exposure;
use super::influx::Influx;
use super::lines::LineListener;
use super::otlp::Otlp;
use super::section::{Key, Section, When};
use super::settings::{
    Acme, Dialect, General, Http, Ingest, Limits, Log, Query, SelfMonitoring, Storage, Tenant, TenantLimits,
    Tls,
};
use super::splunk::Splunk;
use super::statsd::Statsd;

/// A section as it stands in the file.
struct Row {
    path: &'static str,
    doc: &'static [&'static str],
    keys: &'static [Key],
}

fn row<S: Section>(path: &'static str) -> Row {
    Row { path, doc: S::DOC, keys: S::KEYS }
}

fn rows() -> [Row; 22] {
    [
        row::<General>(""),
        row::<Log>("log"),
        row::<Http>("http"),
        row::<Tls>("tls"),
        row::<Acme>("acme"),
        row::<Ingest>("ingest"),
        row::<Query>("query"),
        row::<Limits>("limits"),
        row::<Storage>("storage"),
        row::<SelfMonitoring>("self_monitoring"),
        row::<Datadog>("datadog"),
        row::<Influx>("influx"),
        row::<Otlp>("otlp"),
        row::<Splunk>("splunk"),
        row::<Betterstack>("betterstack"),
        row::<Statsd>("statsd"),
        row::<LineListener>("graphite"),
        row::<LineListener>("opentsdb"),
        row::<Exposure>("exposures"),
        row::<Dialect>("dialects.<name>"),
        row::<Tenant>("tenants.<name>"),
        row::<TenantLimits>("tenants.<name>.limits"),
    ]
}

/// Every key with its default, as a file in which everything is commented out.
pub fn commented_defaults() -> String {
    let mut text = String::from(
        "# weir.yaml: every key with its default. Uncomment what you change.\n\
         # Each key may also be set as WEIR_SECTION__KEY in the environment; flags come before both.\n",
    );
    for row in rows() {
        let _ = write!(text, "\n{}", comment("# ", row.doc));
        let mut indent = String::new();
        for part in row.path.split('.').filter(|part| !part.is_empty()) {
            let _ = writeln!(text, "#{indent}{part}:");
            indent += "  ";
        }
        for key in row.keys {
            let _ = write!(text, "{}", comment(&format!("#{indent}# "), key.doc));
            let value = if key.default.is_empty() { String::new() } else { format!(" {}", key.default) };
            let _ = writeln!(text, "#{indent}{}:{value}", key.name);
        }
    }
    text
}

/// docs/config.md.
pub fn markdown() -> String {
    let mut text = String::from(INTRODUCTION);
    for row in rows() {
        let title = if row.path.is_empty() { "Top level".to_owned() } else { format!("`{}`", row.path) };
        let _ = write!(text, "\n## {title}\n\n{}\n\n", prose(row.doc));
        text += "| key | default | changes at | what it does |\n| --- | --- | --- | --- |\n";
        for key in row.keys {
            let when = match key.when {
                When::Reload => "reload",
                When::Restart => "restart",
            };
            let default = if key.default.is_empty() { String::new() } else { format!("`{}`", key.default) };
            let _ = writeln!(
                text,
                "| `{}` | {default} | {when} | {} |",
                key.name,
                prose(key.doc).replace('|', "\\|")
            );
        }
    }
    let names: Vec<String> = dialects::ALL.iter().map(|row| format!("`{}`", row.name)).collect();
    let _ = write!(text, "\nThe dialects' names: {}.\n", names.join(", "));
    text
}

const INTRODUCTION: &str = "\
# Configuration

Weir runs without a configuration. What is to be different stands in one file, `weir.yaml`: the one that `--config`
names, else the one in the working directory. `weir serve --print-config` prints it with every key and default,
`weir check config` reads it as `weir serve` would and reports everything that is wrong with it.

Each key may be set in the environment as `WEIR_SECTION__KEY` (`WEIR_STORAGE__RETENTION=30d`, `WEIR_LISTEN=0.0.0.0:9347`),
lists with commas. A flag comes before the environment, the environment before the file, the file before the default.
Unknown keys are errors.

SIGHUP and `POST /-/reload` (with a token of scope `admin`) read all of it again. When a key changed that takes effect at a
restart only, the answer names it and nothing is applied.

Blocks of Prometheus' configuration stand in the same file as they are: `global`, `scrape_configs` and
`scrape_config_files`, with every key that Prometheus documents for them, durations and sizes written as there, and paths
relative to the file. What Weir has not is refused by name: other discoveries than static, file, HTTP and DNS (any other
`*_sd_configs`); `oauth2`; `sigv4`, `azuread` and `google_iam` of `remote_write`; and, unless they are empty, `alerting`,
`remote_read`, `rule_files`, `runtime` and `tracing`.
Weir adds one key to a job, `tenant`: whose the samples are, `default` unless it is set.

Sizes are written `64MiB`, `1.5GB` or as bytes; durations `500ms`, `30s`, `10m`, `1h30m`, `400d`, `100y`.

```yaml
listen: 0.0.0.0:9347
storage:
  retention: 90d
tenants:
  team-a:
    limits:
      active_series: 500000
scrape_configs:
  - job_name: node
    static_configs:
      - targets: [localhost:9100]
```
";

fn comment(prefix: &str, lines: &[&str]) -> String {
    lines.iter().map(|line| format!("{prefix}{}\n", line.trim())).collect()
}

fn prose(lines: &[&str]) -> String {
    lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
}
