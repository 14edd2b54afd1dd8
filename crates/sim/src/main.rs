//! Runs seeds: `cargo run -p sim -- --seed 7`, or `--seeds 0..1000`, or `--hours 8` from a first seed on.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line")]

use std::ops::Range;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use sim::world::{Tally, live};

const USAGE: &str = "usage: sim --seed N | --seeds A..B [--hours H]";

fn main() -> ExitCode {
    match run(std::env::args().skip(1)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error:#}\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: impl Iterator<Item = String>) -> Result<bool> {
    let plan = Plan::parse(arguments)?;
    let clock = env::real::SystemClock::new();
    let (mut tally, mut failed) = (Tally::default(), 0u64);
    let mut said = Duration::ZERO;
    for seed in plan.seeds.clone() {
        let now = env::Clock::monotonic(&clock);
        if now > plan.time {
            break;
        }
        match live_or_say(seed) {
            Ok(life) => tally.add(&life),
            Err(error) => {
                failed += 1;
                println!("seed {seed} FAILED: {error}\n  again: cargo run -p sim -- --seed {seed}");
            }
        }
        if now.saturating_sub(said) > Duration::from_secs(10) {
            said = now;
            println!("at seed {seed} after {} s: {failed} failed, {tally}", now.as_secs());
        }
    }
    let took = env::Clock::monotonic(&clock).as_secs_f64();
    println!("{} seeds in {took:.1} s, {failed} failed: {tally}", tally.lives + failed);
    Ok(failed == 0)
}

/// A panic is a failure like any other; its place was printed when it happened.
fn live_or_say(seed: u64) -> Result<Tally, String> {
    match std::panic::catch_unwind(|| live(seed)) {
        Ok(result) => result.map_err(|error| format!("{error:#}")),
        Err(_) => Err("panicked".to_owned()),
    }
}

/// Which seeds, for how long.
#[derive(Debug)]
struct Plan {
    seeds: Range<u64>,
    time: Duration,
}

impl Plan {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self> {
        let mut plan = Plan { seeds: 0..1000, time: Duration::MAX };
        while let Some(argument) = arguments.next() {
            let value = arguments.next().with_context(|| format!("{argument} needs a value"))?;
            match argument.as_str() {
                "--seed" => {
                    let seed: u64 = value.parse().context("--seed takes a number")?;
                    plan.seeds = seed..seed + 1;
                }
                "--seeds" => {
                    let (from, to) = value.split_once("..").context("--seeds takes A..B")?;
                    plan.seeds = from.parse().context("first seed")?..to.parse().context("last seed")?;
                }
                "--hours" => {
                    let hours: f64 = value.parse().context("--hours takes a number")?;
                    plan.time = Duration::try_from_secs_f64(hours * 3600.0).context("--hours")?;
                }
                _ => bail!("unknown argument {argument}"),
            }
        }
        Ok(plan)
    }
}
