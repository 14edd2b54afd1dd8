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
    server::run(sources, config).map_err(|error| Failure::new(Code::Failed, error))
}

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
