//! Blocks of Prometheus' configuration, pasted as they are: `global`, `scrape_configs`, `scrape_config_files`,
//! `remote_write`; and `outputs`, which is written like them.
//!
//! They mean what they mean there; paths in them are relative to the file in which they stand. What Prometheus has and Weir
//! has not is refused by name where something is asked of it.

use std::path::Path;

use forward::config::{Output, RemoteWrite, check_names};
use forward::{OutputConfig, RemoteWriteConfig};
use scrape::ScrapeConfig;
use scrape::config::{Global, JobBlock};
use serde::de::DeserializeOwned;

use super::Problem;
use super::tree::{Node, Origin, Shape};
use super::typed;

/// The blocks as typed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pasted {
    /// `global`
    pub global: Global,
    /// Where `global` stands.
    origin: Option<Origin>,
    /// `scrape_configs`, and those of `scrape_config_files`.
    pub jobs: Vec<Placed<JobBlock>>,
    /// `remote_write`
    pub remote_write: Vec<Placed<RemoteWriteConfig>>,
    /// `outputs`
    pub outputs: Vec<Placed<OutputConfig>>,
}

/// An item of a list, with its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Placed<T> {
    /// The item.
    pub value: T,
    /// Where it stands.
    pub origin: Origin,
}

/// Keys of a file of Prometheus that Weir takes.
pub(super) const BLOCKS: [&str; 5] =
    ["global", "scrape_configs", "scrape_config_files", "remote_write", "outputs"];

/// Keys of a file of Prometheus that ask for what Weir has not.
const ABSENT: [(&str, &str); 5] = [
    ("alerting", "Weir sends no alerts"),
    ("remote_read", "Weir reads from no other server"),
    ("rule_files", "Weir evaluates no rules"),
    ("runtime", "there is no runtime to tune"),
    ("tracing", "Weir sends no traces"),
];

/// What a file of `scrape_config_files` may hold.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
struct JobsFile {
    scrape_configs: Vec<serde::de::IgnoredAny>,
}

impl Pasted {
    /// Reads a block of the main file; `None` when the key is none of Prometheus'.
    pub(super) fn set(&mut self, key: &str, node: &Node) -> Option<Vec<Problem>> {
        if let Some((_, message)) = ABSENT.iter().find(|(absent, _)| *absent == key) {
            return Some(if is_empty(node) { Vec::new() } else { vec![at(node, key, *message)] });
        }
        if !BLOCKS.contains(&key) {
            return None;
        }
        let Origin::File { path, .. } = &node.origin else {
            return Some(vec![at(node, key, "can only be set in the file")]);
        };
        let directory = Path::new(&**path).parent().unwrap_or(Path::new("")).to_owned();
        Some(match key {
            "global" => self.global(node),
            "scrape_configs" => self.jobs(node, &directory),
            "remote_write" => {
                let (mut list, problems) = list::<RemoteWriteConfig>(node, key, "name");
                list.iter_mut().for_each(|output| output.value.inner.place(&directory));
                self.remote_write = list;
                problems
            }
            "outputs" => {
                let (mut list, problems) = list::<OutputConfig>(node, key, "name");
                list.iter_mut().for_each(|output| forward::config::place(&mut output.value, &directory));
                self.outputs = list;
                problems
            }
            _ => self.files(node, &directory),
        })
    }

    fn global(&mut self, node: &Node) -> Vec<Problem> {
        match typed::read(node, "global") {
            Ok(global) => {
                self.global = global;
                self.origin = Some(node.origin.clone());
                Vec::new()
            }
            Err(problem) => vec![problem],
        }
    }

    fn jobs(&mut self, node: &Node, directory: &Path) -> Vec<Problem> {
        let (mut jobs, problems) = list::<JobBlock>(node, "scrape_configs", "job_name");
        jobs.iter_mut().for_each(|job| scrape::config::place(&mut job.value, directory));
        self.jobs.append(&mut jobs);
        problems
    }

    fn files(&mut self, node: &Node, directory: &Path) -> Vec<Problem> {
        let patterns: Vec<String> = match typed::read(node, "scrape_config_files") {
            Ok(patterns) => patterns,
            Err(problem) => return vec![problem],
        };
        let complain = |message: String| vec![at(node, "scrape_config_files", message)];
        let mut problems = Vec::new();
        for pattern in patterns {
            let pattern = directory.join(&pattern);
            match scrape::discovery::files_named(&pattern.display().to_string()) {
                Ok(paths) => paths.iter().for_each(|path| problems.extend(self.file(path))),
                Err(error) => problems.extend(complain(format!("{}: {error}", pattern.display()))),
            }
        }
        problems
    }

    /// A file that holds nothing but jobs.
    fn file(&mut self, path: &Path) -> Vec<Problem> {
        let origin = Origin::File { path: path.display().to_string().into(), line: 0 };
        let text = match env::real::read_text(path) {
            Ok(text) => text,
            Err(error) => {
                let message = format!("cannot be read: {error}");
                return vec![Problem { origin, key: "scrape_config_files".to_owned(), message }];
            }
        };
        let node = match Node::parse(path, &text) {
            Ok(node) => node,
            Err(problem) => return vec![problem],
        };
        if let Err(problem) = typed::read::<JobsFile>(&node, "") {
            return vec![problem];
        }
        let Shape::Map(entries) = &node.shape else { return Vec::new() };
        let directory = path.parent().unwrap_or(Path::new(""));
        entries.iter().flat_map(|(_, jobs)| self.jobs(jobs, directory)).collect()
    }

    /// What the jobs mean, or what is wrong with them.
    pub(super) fn resolve(&self) -> Result<Vec<ScrapeConfig>, Vec<Problem>> {
        let whole = || Origin::Whole;
        let problem = |error: scrape::config::JobProblem| Problem {
            origin: self.origin.clone().unwrap_or_else(whole),
            key: format!("global.{}", error.key),
            message: error.message,
        };
        let mut problems: Vec<Problem> = self.global.check().into_iter().map(problem).collect();
        let mut configs: Vec<ScrapeConfig> = Vec::new();
        for job in &self.jobs {
            let place = format!("scrape_configs[{}]", job.value.own.job_name);
            let mut complain = |key: &str, message: String| {
                problems.push(Problem { origin: job.origin.clone(), key: format!("{place}.{key}"), message });
            };
            if configs.iter().any(|other| other.job_name == job.value.own.job_name) {
                complain("job_name", "there are two jobs of this name".to_owned());
                continue;
            }
            match ScrapeConfig::resolve(job.value.clone(), &self.global) {
                Ok(config) => configs.push(config),
                Err(found) => found.into_iter().for_each(|error| complain(&error.key, error.message)),
            }
        }
        if problems.is_empty() { Ok(configs) } else { Err(problems) }
    }
}

impl Pasted {
    /// What the outputs mean, or what is wrong with them.
    pub(super) fn resolve_outputs(&self) -> Result<Vec<forward::Settings>, Vec<Problem>> {
        let external = &self.global.external_labels;
        let writes = self.remote_write.iter().enumerate().map(|(at, output)| {
            (format!("remote_write[{at}]"), &output.origin, RemoteWrite::settings(&output.value, external))
        });
        let others = self.outputs.iter().enumerate().map(|(at, output)| {
            (format!("outputs[{at}]"), &output.origin, Output::settings(&output.value, external))
        });
        let (mut list, mut problems) = (Vec::new(), Vec::new());
        for (place, origin, settings) in writes.chain(others) {
            let named = settings.and_then(|settings| {
                list.push(settings);
                check_names(&list)
            });
            if let Err(invalid) = named {
                let (origin, key) = (origin.clone(), format!("{place}.{}", invalid.key));
                problems.push(Problem { origin, key, message: invalid.message });
            }
        }
        if problems.is_empty() { Ok(list) } else { Err(problems) }
    }
}

/// Reads a list of structures, each of which has a name under the key `named`. Every item is read, so every one can be
/// complained about.
pub(super) fn list<T: DeserializeOwned>(
    node: &Node,
    key: &str,
    named: &str,
) -> (Vec<Placed<T>>, Vec<Problem>) {
    let items = match &node.shape {
        Shape::List(items) => items.as_slice(),
        Shape::Empty => &[],
        Shape::Map(_) | Shape::Scalar(_) => return (Vec::new(), vec![at(node, key, "expected a list")]),
    };
    let (mut read, mut problems) = (Vec::new(), Vec::new());
    for (index, item) in items.iter().enumerate() {
        let place = format!("{key}[{}]", name(item, named).unwrap_or(&index.to_string()));
        match typed::read(item, &place) {
            Ok(value) => read.push(Placed { value, origin: item.origin.clone() }),
            Err(problem) => problems.push(problem),
        }
    }
    (read, problems)
}

/// What an item calls itself.
fn name<'n>(item: &'n Node, key: &str) -> Option<&'n str> {
    let Shape::Map(entries) = &item.shape else { return None };
    match &entries.iter().find(|(name, _)| name == key)?.1.shape {
        Shape::Scalar(text) => Some(text),
        _ => None,
    }
}

fn is_empty(node: &Node) -> bool {
    match &node.shape {
        Shape::Empty => true,
        Shape::Scalar(text) => text.is_empty(),
        Shape::List(items) => items.is_empty(),
        Shape::Map(entries) => entries.iter().all(|(_, node)| is_empty(node)),
    }
}

fn at(node: &Node, key: &str, message: impl Into<String>) -> Problem {
    Problem { origin: node.origin.clone(), key: key.to_owned(), message: message.into() }
}

#[cfg(test)]
mod tests;
