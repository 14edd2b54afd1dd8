//! `weir serve`: the process around a [`Server`]. Log, lock, control state, signals, reloads, and the order of an end.
//!
//! SIGTERM and SIGINT end it in good order, a second one at once: what was acknowledged is on disk either way.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use env::{Env, LockError};
use tokio::signal::unix::{SignalKind, signal};

use crate::app::{App, Reload};
use crate::config::{Config, Machine, Problem, Sources};
use crate::control::{self, Control};
use crate::proxies::Proxies;
use crate::serve::{ServeError, Server};
use crate::{log, system};

/// Runs until SIGTERM or SIGINT. `sources` is what `config` was made of, to be read again at a reload.
pub fn run(sources: Sources, config: Config) -> Result<(), ServeError> {
    let log = log::start(&config.log);
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "panic");
        // The message may quote what somebody sent.
        tracing::debug!("{panic}");
    }));
    let env = Env::real();
    let data_dir = config.data_dir.clone();
    let _lock = control::lock(&env, &data_dir).map_err(|error| locked(&data_dir, error))?;
    let (control, opening) = Control::open(env.clone(), &data_dir, config.policy.clone())
        .map_err(|error| ServeError::DataDir { path: data_dir.clone(), error: error.to_string() })?;
    for warning in &opening.warnings {
        tracing::error!("{warning}");
    }
    if opening.first_start {
        tracing::info!(data_dir = %data_dir.display(), "first start: tenants and their token files were made");
    }
    let external_url = config.settings.general.external_url.0.clone();
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    let reloader = Reloader { sources, log, one_at_a_time: Mutex::default() };
    let mut server = Server::start(env, config, control, Box::new(reloader))?;
    let address = server.address();
    tracing::info!(%address, data_dir = %data_dir.display(), version = env!("CARGO_PKG_VERSION"), "started");
    for (key, address) in server.others() {
        tracing::info!(key, %address, "listens there too");
    }
    let url = external_url.unwrap_or_else(|| format!("{scheme}://{address}"));
    greet(&format!(
        "{}\nData is in {}.\n",
        system::two_lines(&url, &shell_word(&data_dir)),
        data_dir.display()
    ));
    let app = Arc::clone(server.app());
    let ended = server.wait(ending(app));
    tracing::info!("stopping");
    server.spawn(exit_on_signal());
    let stopped = server.stop();
    let name = ended??;
    stopped?;
    tracing::info!(signal = name, "stopped");
    Ok(())
}

/// Waits for the signal to end; SIGHUP reloads meanwhile.
async fn ending(app: Arc<App>) -> io::Result<&'static str> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok("SIGTERM"),
            _ = interrupt.recv() => return Ok("SIGINT"),
            // What went wrong is logged where it is found.
            _ = hang_up.recv() => drop(system::reload_now(&app).await),
        }
    }
}

/// Ends the process at the next signal, in whatever order it is.
async fn exit_on_signal() {
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::warn!("stopped at once by a second signal");
    std::process::exit(1);
}

/// Reads the configuration again.
#[derive(Debug)]
struct Reloader {
    sources: Sources,
    log: log::Handle,
    one_at_a_time: Mutex<()>,
}

impl Reload for Reloader {
    fn reload(&self, app: &App) -> Result<(), String> {
        let _reloading = self.one_at_a_time.lock().unwrap_or_else(PoisonError::into_inner);
        let result = self.apply(app);
        app.metrics.reload_failed.set(f64::from(u8::from(result.is_err())));
        match &result {
            Ok(()) => {
                app.metrics.reloads.with(&["success"]).add(1);
                app.metrics.reload_time.set(app.env.clock.now_ms() as f64 / 1000.0);
                tracing::info!("configuration reloaded");
            }
            Err(why) => {
                app.metrics.reloads.with(&["failure"]).add(1);
                tracing::error!("configuration not reloaded, nothing was applied: {why}");
            }
        }
        result
    }
}

impl Reloader {
    fn apply(&self, app: &App) -> Result<(), String> {
        let config = self.sources.load().and_then(|settings| Config::resolve(settings, Machine::this()));
        let config = config.map_err(|problems| listed(&problems))?;
        let restart = app.config().restart_needed(&config);
        if !restart.is_empty() {
            return Err(format!("a restart is needed for {}", restart.join(", ")));
        }
        // The steps that can fail come first.
        let tls = app.tls.as_ref().zip(config.tls.clone());
        let tls = tls.map(|(tls, config)| tls.prepare(config).map(|prepared| (tls, prepared)));
        let tls = tls.transpose().map_err(|error| error.to_string())?;
        app.control.set_policy(config.policy.clone()).map_err(|error| error.to_string())?;
        if let Some((tls, prepared)) = tls {
            tls.take(prepared);
        }
        self.log.set_level(config.log.level);
        app.proxies.store(Arc::new(Proxies::new(config.trusted_proxies.clone())));
        let outputs = config.outputs.clone();
        app.config.store(Arc::new(config));
        app.reloaded.send_replace(());
        if let Some(running) = app.outputs.get() {
            running.apply(outputs);
        }
        Ok(())
    }
}

fn listed(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

fn locked(path: &Path, error: LockError) -> ServeError {
    let error = match error {
        LockError::Held(process) => format!("is in use by process {process}"),
        LockError::Io(error) => error.to_string(),
    };
    ServeError::DataDir { path: PathBuf::from(path), error }
}

/// A path as one word of a shell's command line.
fn shell_word(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,:@%".contains(c);
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

/// Tells how to begin, on stdout: it is no line of the log. Nobody may be there to read it.
fn greet(text: &str) {
    let mut stdout = io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_word() {
        assert_eq!(shell_word(Path::new("weir-data")), "weir-data");
        assert_eq!(shell_word(Path::new("/a b/it's")), "'/a b/it'\\''s'");
    }
}
