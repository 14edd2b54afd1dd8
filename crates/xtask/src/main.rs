//! `cargo xtask COMMAND`: see `cargo xtask help`. Arguments are few, so they are read by hand.
#![allow(clippy::print_stdout, reason = "a command line")]

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use xtask::bench::scrape::Size;
use xtask::bench::session::{self, Plan, Profile};
use xtask::repo::Repo;
use xtask::rig::mount::FileSystem;
use xtask::rig::powercut::{Syncs, powercut};
use xtask::{bench, ci, conformance, rig, test, tidy};

const HELP: &str = "\
cargo xtask COMMAND

  test [--yes] [FILTER]   provides what the tests need (asks first) and runs every test
  check                   what of ci needs no program to run: format, tidy, clippy, docs
  ci [--yes]              everything that has to be green before a merge
  tidy                    absences, sizes, licences, names in documents
  bench ingest [--workload=A,B] [--server=weir,victoria,prometheus] [--runs=5] [--smoke] [--out=FILE]
                          Weir and its peers on the same bodies; appended to a file, too
  bench disk|memory|restart|churn|query [as above]
                          what the data cost, and what the answers cost
  bench tenants [--smoke] [--out=FILE]
                          ten thousand tenants
  bench statsd [--smoke] [--out=FILE]
                          datagrams on one core, and a flood of them
  bench scrape [--targets=N] [--series=N] [--interval=SECONDS] [--duration=SECONDS] [--server=NAME,...] [--smoke] [--out=FILE]
                          ten thousand targets, every ten seconds
  bench agent [as scrape]  what scraping and sending on takes, beside vmagent
  bench decode [--smoke] [--out=FILE]
                          a body of each dialect, decoded alone and up to its answer
  bench table [as above]  all of these, one after another: a night
  bench build             time of a clean release build, size of the binary
  torture [--cycles=N] [--seed=N]
                          kill -9 under load, again and again
  powercut [--cycles=N] [--fs=ext4|xfs] [--seed=N]
                          power cuts on a file system of its own (root)
  strace-order [--seed=N] no answer before its sync
  conformance promql [--dir DIR] [--source memory|head|blocks]
                          Prometheus' own corpus, on every kind of source
  fuzz [--smoke]          every fuzz target for a minute (5 s)
  help, --help, -h        this text; after a command, too

--yes allows installing Debian packages; CI=true does too.
";

/// Each command, its flags and how many words that are no flags it takes. A flag that ends in `=` takes a value, which may
/// also be the next word.
const COMMANDS: &[(&str, &[&str], usize)] = &[
    ("test", &["--yes"], 1),
    ("check", &[], 0),
    ("ci", &["--yes"], 0),
    ("tidy", &[], 0),
    (
        "bench",
        &[
            "--workload=",
            "--server=",
            "--runs=",
            "--smoke",
            "--out=",
            "--targets=",
            "--series=",
            "--interval=",
            "--duration=",
        ],
        1,
    ),
    ("pages", &[], 2),
    ("torture", &["--cycles=", "--seed="], 0),
    ("powercut", &["--cycles=", "--fs=", "--seed="], 0),
    ("strace-order", &["--seed="], 0),
    ("conformance", &["--dir=", "--source="], 1),
    ("fuzz", &["--smoke"], 0),
    ("help", &[], 1),
];

fn main() -> Result<()> {
    let repo = Repo::here();
    let arguments = Arguments::parse(std::env::args().skip(1))?;
    match arguments.command.as_str() {
        "test" => test::test(&repo, arguments.yes(), arguments.plain()),
        "check" => ci::check(&repo),
        "ci" => ci::ci(&repo, arguments.yes()),
        "tidy" => tidy::tidy(&repo),
        "bench" => bench(&repo, &arguments),
        "pages" => match &arguments.rest[..] {
            [port, series] => xtask::load::pages::serve(port.parse()?, series.parse()?),
            _ => bail!("pages at which port, of how many series?"),
        },
        "torture" | "powercut" | "strace-order" => rig(&repo, &arguments),
        "conformance" => match arguments.plain() {
            Some("promql") => {
                conformance::promql(&repo, arguments.value("--dir"), arguments.value("--source"))
            }
            _ => bail!("conformance of what? promql"),
        },
        "fuzz" => ci::fuzz(&repo, arguments.has("--smoke")),
        _ => {
            print!("{HELP}");
            Ok(())
        }
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
        Some("decode") => bench::decode::decode(repo, &arguments.plan()?),
        Some("statsd") => bench::statsd::statsd(repo, &arguments.plan()?),
        Some("scrape") => bench::scrape::scrape(repo, &arguments.plan()?, arguments.size(Size::GOAL)?),
        Some("agent") => bench::agent::agent(repo, &arguments.plan()?, arguments.size(bench::agent::GOAL)?),
        Some("table") => bench::table::table(repo, &arguments.plan()?),
        Some("build") => bench::build::build(repo),
        _ => {
            bail!(
                "bench what? ingest, disk, memory, restart, churn, query, tenants, statsd, scrape, agent, decode, table or build"
            )
        }
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
#[derive(Debug)]
struct Arguments {
    command: String,
    rest: Vec<String>,
}

impl Arguments {
    /// Whatever asks for help is the command `help`; what is not known is refused, since a command may run for hours.
    fn parse(words: impl Iterator<Item = String>) -> Result<Self> {
        let mut words: Vec<String> = words.collect();
        if words.is_empty() || words.iter().any(|word| word == "--help" || word == "-h") {
            words = vec!["help".to_owned()];
        }
        let command = words.remove(0);
        let known = COMMANDS.iter().find(|(name, ..)| *name == command);
        let Some((_, flags, plain_max)) = known else { bail!("unknown command {command:?}\n\n{HELP}") };
        let words = joined(words, flags);
        let is_known = |word: &str| {
            flags.iter().any(|flag| if flag.ends_with('=') { word.starts_with(flag) } else { word == *flag })
        };
        let (plain, given): (Vec<&String>, Vec<&String>) =
            words.iter().partition(|word| !word.starts_with('-'));
        let unknown =
            given.into_iter().find(|word| !is_known(word)).or_else(|| plain.get(*plain_max).copied());
        if let Some(word) = unknown {
            bail!("{command} does not take {word:?}\n\n{HELP}");
        }
        Ok(Self { command, rest: words })
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

    /// How much there is to scrape.
    fn size(&self, goal: Size) -> Result<Size> {
        let all = if self.has("--smoke") { Size::SMOKE } else { goal };
        let seconds = |name, default: Duration| {
            self.value(name).map_or(Ok(default), |text| text.parse().map(Duration::from_secs))
        };
        Ok(Size {
            targets: self.value("--targets").map_or(Ok(all.targets), str::parse)?,
            series: self.value("--series").map_or(Ok(all.series), str::parse)?,
            interval: seconds("--interval", all.interval)?,
            time: seconds("--duration", all.time)?,
        })
    }

    fn yes(&self) -> bool {
        self.has("--yes") || std::env::var("CI").is_ok_and(|ci| ci == "true" || ci == "1")
    }

    /// The first argument that is no flag.
    fn plain(&self) -> Option<&str> {
        self.rest.iter().map(String::as_str).find(|word| !word.starts_with("--"))
    }
}

/// The words with each `--name value` as `--name=value`.
fn joined(words: Vec<String>, flags: &[&str]) -> Vec<String> {
    let mut joined: Vec<String> = Vec::with_capacity(words.len());
    for word in words {
        match joined.last_mut() {
            Some(flag) if flags.contains(&format!("{flag}=").as_str()) => *flag += &format!("={word}"),
            _ => joined.push(word),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<String, String> {
        let parsed = Arguments::parse(line.split_whitespace().map(str::to_owned));
        parsed.map(|arguments| arguments.command).map_err(|error| error.to_string())
    }

    /// `cargo xtask torture --help` ran the rig with its thousand kills.
    #[test]
    fn help_is_asked_for_after_any_command() {
        for line in ["", "help", "-h", "--help", "torture --help", "bench disk -h", "test --yes --help x"] {
            assert_eq!(parsed(line).as_deref(), Ok("help"), "{line:?}");
        }
    }

    #[test]
    fn what_a_command_does_not_know_is_refused_with_the_usage() {
        for line in [
            "tortrue",
            "torture --cycle=1",
            "torture --cycles",
            "torture --cycles 1 2",
            "torture --fs=xfs",
            "ci -y",
            "tidy all",
            "bench disk --smoke=1",
            "bench disk memory",
            "fuzz --runs=3",
            "conformance promql corpus",
            "conformance promql --sources=head",
        ] {
            let error = parsed(line).expect_err(line);
            assert!(error.contains(HELP), "{line}: {error}");
        }
    }

    #[test]
    fn every_flag_of_the_usage_is_known() {
        for line in [
            "test --yes some_filter",
            "ci --yes",
            "bench ingest --workload=A,B --server=weir --runs=5 --smoke --out=/tmp/x",
            "torture --cycles=5 --seed=7",
            "powercut --cycles=5 --fs=xfs --seed=7",
            "strace-order --seed=7",
            "fuzz --smoke",
            "conformance promql --dir=/tmp/x --source=head",
            "conformance promql --dir /tmp/x --source head",
            "torture --cycles 5 --seed 7",
        ] {
            assert_eq!(parsed(line).as_deref(), Ok(line.split(' ').next().unwrap_or_default()));
        }
    }
}
