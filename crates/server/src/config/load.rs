//! From file, environment and flags to [`Settings`]: each layer over the one before, every complaint collected.

use std::path::{Path, PathBuf};

use model::TenantName;

use super::Problem;
use super::section::Section;
use super::settings::Settings;
use super::suggest::nearest;
use super::tree::{Node, Origin, Shape};

/// Sections of a tenant.
const TENANT_SECTIONS: [&str; 6] = ["limits", "datadog", "influx", "splunk", "betterstack", "otlp"];

/// Sections with fixed names, as their paths in the file.
const SECTIONS: [&str; 20] = [
    "log",
    "http",
    "tls",
    "acme",
    "ingest",
    "query",
    "limits",
    "storage",
    "self_monitoring",
    "datadog",
    "influx",
    "otlp",
    "splunk",
    "betterstack",
    "statsd",
    "graphite",
    "opentsdb",
    "exposures",
    "dialects",
    "tenants",
];

/// What the command line says about the configuration.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// `--config`; without it `weir.yaml` in the working directory, when there is one.
    pub file: Option<PathBuf>,
    /// Flags that were given, as (flag, key, value): `("log-level", "log.level", "debug")`.
    pub flags: Vec<(&'static str, &'static str, String)>,
    /// Variables of the environment that begin with `WEIR_`.
    pub environment: Vec<(String, String)>,
}

impl Sources {
    /// The file that will be read, if any.
    pub fn path(&self) -> Option<PathBuf> {
        let usual = Path::new("weir.yaml");
        self.file.clone().or_else(|| usual.exists().then(|| usual.to_owned()))
    }

    /// Reads all layers.
    pub fn load(&self) -> Result<Settings, Vec<Problem>> {
        let mut layers = Layers::default();
        if let Some(path) = self.path() {
            match env::real::read_text(&path) {
                Ok(text) => layers.file(&path, &text),
                Err(error) => layers.complain_about_file(&path, &error),
            }
        }
        layers.environment(&self.environment);
        for (flag, key, value) in &self.flags {
            layers.set_path(&key.split('.').collect::<Vec<_>>(), value, &Origin::Flag(flag));
        }
        if layers.problems.is_empty() { Ok(layers.settings) } else { Err(layers.problems) }
    }
}

/// Settings in the making, and what was wrong so far.
#[derive(Debug, Default)]
pub(super) struct Layers {
    pub(super) settings: Settings,
    pub(super) problems: Vec<Problem>,
}

impl Layers {
    /// The layer of the file.
    pub(super) fn file(&mut self, path: &Path, text: &str) {
        match Node::parse(path, text) {
            Ok(Node { shape: Shape::Map(entries), .. }) => {
                entries.iter().for_each(|(key, node)| self.top(key, node));
            }
            Ok(node) => self.complain(&node.origin, "", "expected a map of keys"),
            Err(problem) => self.problems.push(problem),
        }
    }

    /// The layer of the environment: `WEIR_STORAGE__RETENTION=30d`. A name without `__` is a key without a section if
    /// there is such a key, else it is somebody else's: Kubernetes sets `WEIR_PORT` beside a service named weir.
    pub(super) fn environment(&mut self, variables: &[(String, String)]) {
        for (name, value) in variables {
            let Some(rest) = name.strip_prefix("WEIR_") else { continue };
            let path = rest.to_ascii_lowercase();
            let mut parts: Vec<String> = path.split("__").map(str::to_owned).collect();
            let known = super::settings::General::KEYS.iter().any(|key| key.name == path);
            if parts.len() == 1 && !known {
                continue;
            }
            // A variable's name cannot hold the hyphen that a tenant's name may.
            if let [section, tenant, ..] = parts.as_mut_slice()
                && section == "tenants"
            {
                *tenant = tenant.replace('_', "-");
            }
            let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
            self.set_path(&parts, value, &Origin::Environment(name.clone()));
        }
    }

    /// Sets one key by its path.
    pub(super) fn set_path(&mut self, path: &[&str], value: &str, origin: &Origin) {
        let Some((first, rest)) = path.split_first() else { return };
        let leaf = Node::scalar(value, origin.clone());
        let node = rest.iter().rev().fold(leaf, |node, key| Node {
            shape: Shape::Map(vec![((*key).to_owned(), node)]),
            origin: origin.clone(),
        });
        self.top(first, &node);
    }

    fn top(&mut self, key: &str, node: &Node) {
        let settings = &mut self.settings;
        let found = match key {
            "log" => fill(&mut settings.log, key, node),
            "http" => fill(&mut settings.http, key, node),
            "tls" => fill(&mut settings.tls, key, node),
            "acme" => fill(&mut settings.acme, key, node),
            "ingest" => fill(&mut settings.ingest, key, node),
            "query" => fill(&mut settings.query, key, node),
            "limits" => fill(&mut settings.limits, key, node),
            "storage" => fill(&mut settings.storage, key, node),
            "self_monitoring" => fill(&mut settings.self_monitoring, key, node),
            "datadog" => fill(&mut settings.datadog, key, node),
            "influx" => fill(&mut settings.influx, key, node),
            "otlp" => fill(&mut settings.otlp, key, node),
            "splunk" => fill(&mut settings.splunk, key, node),
            "betterstack" => fill(&mut settings.betterstack, key, node),
            "statsd" => fill_listeners(&mut settings.statsd, key, node),
            "graphite" => fill_listeners(&mut settings.graphite, key, node),
            "opentsdb" => fill_listeners(&mut settings.opentsdb, key, node),
            "exposures" => fill_listeners(&mut settings.exposures, key, node),
            "dialects" => self.dialects(node),
            "tenants" => self.tenants(node),
            _ => match (settings.pasted.set(key, node), settings.general.set(key, node)) {
                (Some(problems), _) => problems,
                (None, Some(Ok(()))) => Vec::new(),
                (None, Some(Err(message))) => vec![problem(&node.origin, key, message)],
                (None, None) => vec![unknown(
                    &node.origin,
                    "",
                    key,
                    SECTIONS.into_iter().chain(super::pasted::BLOCKS).chain(names::<super::General>()),
                )],
            },
        };
        self.problems.extend(found);
    }

    fn dialects(&mut self, node: &Node) -> Vec<Problem> {
        let known = || dialects::ALL.iter().map(|dialect| dialect.name);
        each(node, "dialects", |name, node| match known().find(|known| *known == name) {
            Some(name) => {
                let dialect = self.settings.dialects.entry(name).or_default();
                fill(dialect, &format!("dialects.{name}"), node)
            }
            None => vec![unknown(&node.origin, "dialects", name, known())],
        })
    }

    fn tenants(&mut self, node: &Node) -> Vec<Problem> {
        if let Shape::List(names) = &node.shape {
            return names.iter().flat_map(|name| self.tenant_in_list(name)).collect();
        }
        each(node, "tenants", |name, node| {
            let key = format!("tenants.{name}");
            let tenant = match TenantName::parse(name) {
                Ok(tenant) => tenant,
                Err(invalid) => return vec![problem(&node.origin, &key, invalid.to_string())],
            };
            let settings = self.settings.tenants.entry(tenant).or_default();
            each(node, &key, |section, node| match section {
                "limits" => fill(&mut settings.limits, &format!("{key}.limits"), node),
                "datadog" => fill(&mut settings.datadog, &format!("{key}.datadog"), node),
                "influx" => fill(&mut settings.influx, &format!("{key}.influx"), node),
                "otlp" => fill(&mut settings.otlp, &format!("{key}.otlp"), node),
                "splunk" => fill(&mut settings.splunk, &format!("{key}.splunk"), node),
                "betterstack" => fill(&mut settings.betterstack, &format!("{key}.betterstack"), node),
                _ => match settings.own.set(section, node) {
                    Some(Ok(())) => Vec::new(),
                    Some(Err(message)) => vec![problem(&node.origin, &format!("{key}.{section}"), message)],
                    None => {
                        let known = TENANT_SECTIONS.into_iter().chain(names::<super::Tenant>());
                        vec![unknown(&node.origin, &key, section, known)]
                    }
                },
            })
        })
    }

    fn tenant_in_list(&mut self, node: &Node) -> Option<Problem> {
        let Shape::Scalar(name) = &node.shape else {
            return Some(problem(&node.origin, "tenants", "expected a tenant's name".to_owned()));
        };
        match TenantName::parse(name) {
            Ok(name) => {
                self.settings.tenants.entry(name).or_default();
                None
            }
            Err(invalid) => Some(problem(&node.origin, "tenants", invalid.to_string())),
        }
    }

    fn complain(&mut self, origin: &Origin, key: &str, message: &str) {
        self.problems.push(problem(origin, key, message.to_owned()));
    }

    fn complain_about_file(&mut self, path: &Path, error: &std::io::Error) {
        let origin = Origin::File { path: path.display().to_string().into(), line: 0 };
        self.complain(&origin, "", &format!("cannot be read: {error}"));
    }
}

/// Calls `entry` for each entry of a map and collects the complaints.
fn each(node: &Node, key: &str, mut entry: impl FnMut(&str, &Node) -> Vec<Problem>) -> Vec<Problem> {
    match &node.shape {
        Shape::Map(entries) => entries.iter().flat_map(|(name, node)| entry(name, node)).collect(),
        // A section whose keys are all commented out.
        Shape::Empty => Vec::new(),
        _ => vec![problem(&node.origin, key, "expected a map of keys".to_owned())],
    }
}

/// One listener or exposure, or a list of them. What comes from the environment or from flags is of the first.
fn fill_listeners<S: Section + Default + PartialEq>(
    listeners: &mut Vec<S>,
    name: &str,
    node: &Node,
) -> Vec<Problem> {
    if let Shape::List(nodes) = &node.shape {
        let first = listeners.len();
        listeners.resize_with(first + nodes.len(), S::default);
        let sections = listeners[first..].iter_mut().zip(nodes);
        return sections.flat_map(|(section, node)| fill(section, name, node)).collect();
    }
    if listeners.is_empty() {
        listeners.push(S::default());
    }
    let problems = fill(&mut listeners[0], name, node);
    // A section whose keys are all commented out, or that says what is so anyway.
    listeners.retain(|listener| *listener != S::default());
    problems
}

fn fill<S: Section>(section: &mut S, path: &str, node: &Node) -> Vec<Problem> {
    each(node, path, |key, node| match section.set(key, node) {
        Some(Ok(())) => Vec::new(),
        Some(Err(message)) => vec![problem(&node.origin, &format!("{path}.{key}"), message)],
        None => vec![unknown(&node.origin, path, key, names::<S>())],
    })
}

fn names<S: Section>() -> impl Iterator<Item = &'static str> {
    S::KEYS.iter().map(|key| key.name)
}

fn problem(origin: &Origin, key: &str, message: String) -> Problem {
    Problem { origin: origin.clone(), key: key.to_owned(), message }
}

fn unknown<'a>(origin: &Origin, path: &str, key: &str, known: impl IntoIterator<Item = &'a str>) -> Problem {
    let full = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    let hint = nearest(key, known).map(|near| format!(", did you mean {}?", full(near)));
    problem(origin, &full(key), format!("unknown key{}", hint.unwrap_or_default()))
}
