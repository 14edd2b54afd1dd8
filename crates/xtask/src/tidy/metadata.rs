//! `cargo metadata`, as far as the checks need it: packages, edges by kind, the graph of the binary on Linux.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::repo::Repo;
use crate::run;

/// The platform whose graph is counted.
const PLATFORM: &str = "x86_64-unknown-linux-gnu";

/// Packages and their resolved edges on [`PLATFORM`].
#[derive(Debug)]
pub(crate) struct Metadata {
    /// By package id.
    pub(crate) packages: BTreeMap<String, Package>,
    /// Ids of the workspace's own packages.
    pub(crate) members: Vec<String>,
}

/// A package with its edges.
#[derive(Debug)]
pub(crate) struct Package {
    /// Name.
    pub(crate) name: String,
    /// Version.
    pub(crate) version: String,
    /// Licence expression.
    pub(crate) licence: Option<String>,
    /// Ids it is linked with.
    pub(crate) normal: Vec<String>,
    /// Ids its build script uses.
    pub(crate) build: Vec<String>,
    /// Ids its tests use.
    pub(crate) dev: Vec<String>,
}

impl Metadata {
    /// Asks cargo.
    pub(crate) fn read(repo: &Repo) -> Result<Self> {
        let line = format!("cargo metadata --format-version 1 --locked --filter-platform {PLATFORM}");
        let output = run::command(repo, &line).output().context("run cargo metadata")?;
        if !output.status.success() {
            bail!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
        }
        Self::parse(&serde_json::from_slice(&output.stdout)?)
            .context("cargo metadata has another shape than expected")
    }

    fn parse(json: &Value) -> Option<Self> {
        let mut packages = BTreeMap::new();
        for package in json["packages"].as_array()? {
            let read = Package {
                name: package["name"].as_str()?.to_owned(),
                version: package["version"].as_str()?.to_owned(),
                licence: package["license"].as_str().map(str::to_owned),
                normal: Vec::new(),
                build: Vec::new(),
                dev: Vec::new(),
            };
            packages.insert(package["id"].as_str()?.to_owned(), read);
        }
        for node in json["resolve"]["nodes"].as_array()? {
            let package = packages.get_mut(node["id"].as_str()?)?;
            for edge in node["deps"].as_array()? {
                let to = edge["pkg"].as_str()?;
                for kind in edge["dep_kinds"].as_array()? {
                    let edges = match kind["kind"].as_str() {
                        None => &mut package.normal,
                        Some("build") => &mut package.build,
                        Some(_) => &mut package.dev,
                    };
                    edges.push(to.to_owned());
                }
            }
        }
        let members = json["workspace_members"].as_array()?;
        let members = members.iter().filter_map(|id| id.as_str().map(str::to_owned)).collect();
        Some(Self { packages, members })
    }

    /// The workspace's own packages.
    pub(crate) fn own(&self) -> impl Iterator<Item = &Package> {
        self.members.iter().map(|id| &self.packages[id])
    }

    /// A workspace package by name.
    pub(crate) fn member(&self, name: &str) -> Option<&Package> {
        self.own().find(|package| package.name == name)
    }

    /// Whether a name is a workspace package's.
    pub(crate) fn is_own(&self, id: &str) -> bool {
        self.members.iter().any(|member| member == id)
    }

    /// Everything that is linked into a package, itself excluded: ids.
    pub(crate) fn linked<'a>(&'a self, package: &'a Package) -> BTreeSet<&'a str> {
        let mut seen = BTreeSet::new();
        let mut pending: Vec<&str> = package.normal.iter().map(String::as_str).collect();
        while let Some(id) = pending.pop() {
            if seen.insert(id) {
                pending.extend(self.packages[id].normal.iter().map(String::as_str));
            }
        }
        seen
    }
}
