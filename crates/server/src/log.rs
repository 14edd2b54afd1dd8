//! The log: lines to stderr with UTC times, for people or as JSON, at a level that a reload may change.

use std::io;

use tracing::Level as TracingLevel;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, reload};

use crate::config::{Format, Level, Log};

/// The handle on a running log.
#[derive(Clone, Debug)]
pub(crate) struct Handle(reload::Handle<LevelFilter, Registry>);

/// Starts the log of this process. A second start (in tests) leaves the first one as it is.
pub(crate) fn start(config: &Log) -> Handle {
    let (filter, handle) = reload::Layer::new(filter(config.level));
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr).with_ansi(false);
    let layer = match config.format {
        Format::Text => lines.with_target(false).boxed(),
        Format::Json => lines.json().flatten_event(true).boxed(),
    };
    let _ = tracing_subscriber::registry().with(filter).with(layer).try_init();
    Handle(handle)
}

impl Handle {
    /// Changes the level.
    pub(crate) fn set_level(&self, level: Level) {
        // It fails only when the log is gone, and then there is nobody to tell.
        let _ = self.0.reload(filter(level));
    }
}

fn filter(level: Level) -> LevelFilter {
    LevelFilter::from_level(match level {
        Level::Error => TracingLevel::ERROR,
        Level::Warn => TracingLevel::WARN,
        Level::Info => TracingLevel::INFO,
        Level::Debug => TracingLevel::DEBUG,
        Level::Trace => TracingLevel::TRACE,
    })
}
