//! `cargo xtask COMMAND`: see `cargo xtask help`. Arguments are few, so they are read by hand.
#![allow(clippy::print_stdout, reason = "a command line")]

use std::path::PathBuf;

use anyhow::{Result, bail, ensure};
use xtask::bench::session::{self, Plan, Profile};
use xtask::repo::Repo;
use xtask::rig::mount::FileSystem;
use xtask::rig::powercut::{Syncs, powercut};
use xtask::{bench, ci, rig, test, tidy};

const HELP: &str = "\
cargo xtask COMMAND

  test [--yes] [FILTER]   provides what the tests need (asks first) and runs every test
  ci [--yes]              everything that has to be green before a merge
  tidy                    absences, sizes, licences, names in documents
  bench ingest [--workload=A,B] [--server=weir,victoria,prometheus] [--runs=5] [--smoke] [--out=FILE]
                          Weir and its peers on the same bodies; appended to a file, too
  bench disk|memory|restart|churn|query [as above]
                          what the data cost, and what the answers cost
  bench tenants [--smoke] [--out=FILE]
                          ten thousand tenants
  bench table [as above]  all of these, one after another: a night
  bench build             time of a clean release build, size of the binary
  torture [--cycles=N]    kill -9 under load, again and again
  powercut [--cycles=N] [--fs=ext4|xfs]
                          power cuts on a file system of its own (root)
  strace-order            no answer before its sync
  fuzz [--smoke]          every fuzz target for a minute (5 s)

--yes allows installing Debian packages; CI=true does too.
";

fn main() -> Result<()> {
    let repo = Repo::here();
    let arguments = Arguments::read();
    match arguments.command.as_str() {
        "test" => test::test(&repo, arguments.yes(), arguments.plain()),
        "ci" => ci::ci(&repo, arguments.yes()),
        "tidy" => tidy::tidy(&repo),
        "bench" => bench(&repo, &arguments),
        "torture" | "powercut" | "strace-order" => rig(&repo, &arguments),
        "fuzz" => ci::fuzz(&repo, arguments.has("--smoke")),
        "help" | "--help" | "-h" => {
            print!("{HELP}");
            Ok(())
        }
        other => bail!("unknown command {other:?}\n\n{HELP}"),
    }
}

fn bench(repo: &Repo, arguments: &Arguments) -> Result<()> {
    match arguments.plain() {
        Some("ingest") => bench::ingest::ingest(repo, &arguments.plan()?),
        Some("disk") => bench::disk::disk(repo, &arguments.plan()?),
        Some("memory") => bench::memory::memory(repo, &arguments.plan()?),
        Some("restart") => bench::restart::restart(repo, &arguments.plan()?),
        Some("churn") => bench::churn::churn(repo, &arguments.plan()?),
        Some("query") => bench::query::query(repo, &arguments.plan()?),
        Some("tenants") => bench::tenants::tenants(repo, &arguments.plan()?),
        Some("table") => bench::table::table(repo, &arguments.plan()?),
        Some("build") => bench::build::build(repo),
        _ => bail!("bench what? ingest, disk, memory, restart, churn, query, tenants, table or build"),
    }
}

/// A rig by hand, on the binary that a user builds.
fn rig(repo: &Repo, arguments: &Arguments) -> Result<()> {
    let binary = session::built(repo, Profile::Release)?;
    let seed = arguments.value("--seed").map_or_else(|| Ok(rig::seed()), str::parse)?;
    let cycles = |default| arguments.value("--cycles").map_or(Ok(default), str::parse);
    println!("seed {seed}");
    match arguments.command.as_str() {
        "torture" => println!("{}", rig::torture::torture(&binary, cycles(1_000)?, seed)?),
        "powercut" => {
            for kind in [FileSystem::Ext4, FileSystem::Xfs] {
                if arguments.value("--fs").is_none_or(|name| name == kind.name()) {
                    println!("{}", powercut(&binary, kind, cycles(500)?, seed, Syncs::Real)?.check()?);
                }
            }
        }
        _ => {
            let report = rig::order::order(&binary, "fsync", seed)?;
            println!("{report}");
            ensure!(report.violations.is_empty(), "answers came too early");
        }
    }
    Ok(())
}

/// The command line after `cargo xtask`.
struct Arguments {
    command: String,
    rest: Vec<String>,
}

impl Arguments {
    fn read() -> Self {
        let mut words = std::env::args().skip(1);
        Self { command: words.next().unwrap_or_else(|| "help".to_owned()), rest: words.collect() }
    }

    fn has(&self, flag: &str) -> bool {
        self.rest.iter().any(|word| word == flag)
    }

    /// The value of `--name=value`.
    fn value(&self, name: &str) -> Option<&str> {
        self.rest.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
    }

    fn list(&self, name: &str) -> Vec<String> {
        self.value(name).map(|list| list.split(',').map(str::to_owned).collect()).unwrap_or_default()
    }

    fn plan(&self) -> Result<Plan> {
        let smoke = self.has("--smoke");
        let runs = self.value("--runs").map_or(Ok(if smoke { 1 } else { 5 }), str::parse)?;
        let (workloads, servers) = (self.list("--workload"), self.list("--server"));
        Ok(Plan { workloads, servers, runs, smoke, out: self.value("--out").map(PathBuf::from) })
    }

    fn yes(&self) -> bool {
        self.has("--yes") || std::env::var("CI").is_ok_and(|ci| ci == "true" || ci == "1")
    }

    /// The first argument that is no flag.
    fn plain(&self) -> Option<&str> {
        self.rest.iter().map(String::as_str).find(|word| !word.starts_with("--"))
    }
}
