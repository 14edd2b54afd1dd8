//! `weir serve`: flags over environment over file, then the server.

use server::config::{self, Config, Machine, Sources};

use crate::arguments::Serve;
use crate::failure::{Code, Failure};
use crate::terminal::put;

/// `weir serve`, and `weir` alone.
pub(crate) fn serve(flags: &Serve) -> Result<(), Failure> {
    if flags.print_config {
        return put(&config::commented_defaults());
    }
    let sources = sources(flags);
    let config = config(&sources)?;
    if !config.passing.is_empty() {
        sparingly();
    }
    server::run(sources, config).map_err(|error| Failure::new(Code::Failed, error))
}

/// How the allocator is told to give memory back at once and to take it in small pages. It reads this when the process begins.
const SPARING: [(&str, &str); 2] = [("MIMALLOC_ALLOW_THP", "0"), ("MIMALLOC_PURGE_DELAY", "0")];

/// Begins this process anew with an allocator that is sparing, unless its user has said how it is to be. Weir that sends on
/// what comes holds little, in many places: with a hundred thousand series 57 MB instead of 64 MB, and without huge pages far
/// less than with them. A store that answers queries goes through much memory, and is better off otherwise. Where it cannot
/// begin anew it goes on as it is.
#[cfg(target_os = "linux")]
fn sparingly() {
    use std::os::unix::process::CommandExt;
    if SPARING.iter().any(|(name, _)| std::env::var_os(name).is_some()) {
        return;
    }
    let mut arguments = std::env::args_os();
    let (Some(name), Ok(program)) = (arguments.next(), std::env::current_exe()) else { return };
    let _cannot = std::process::Command::new(program).arg0(name).args(arguments).envs(SPARING).exec();
}

#[cfg(not(target_os = "linux"))]
fn sparingly() {}

/// Where the configuration comes from.
pub(crate) fn sources(flags: &Serve) -> Sources {
    let typed = [
        ("data-dir", "data_dir", &flags.data_dir),
        ("listen", "listen", &flags.listen),
        ("auth", "auth", &flags.auth),
        ("log-level", "log.level", &flags.log_level),
        ("log-format", "log.format", &flags.log_format),
        ("memory-limit", "memory_limit", &flags.memory_limit),
    ];
    let given = typed.into_iter().filter_map(|(flag, key, value)| Some((flag, key, value.clone()?)));
    // A name or value that is not UTF-8 is no configuration of ours.
    let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    let environment = std::env::vars_os().filter_map(text).filter(|(name, _)| name.starts_with("WEIR_"));
    Sources { file: flags.config.clone(), flags: given.collect(), environment: environment.collect() }
}

/// The configuration in force.
pub(crate) fn config(sources: &Sources) -> Result<Config, Failure> {
    let config = sources.load().and_then(|settings| Config::resolve(settings, Machine::this()));
    config.map_err(|problems| Failure::several(Code::Configuration, problems.iter().map(ToString::to_string)))
}
