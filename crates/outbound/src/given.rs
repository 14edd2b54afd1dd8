//! Small files that are given to Weir and change without a word: read again when they have, looked at every 30 seconds.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use env::real::{self, Stamp};

use crate::error::SendError;

/// Time between two looks at a file.
const LOOK: Duration = Duration::from_secs(30);

/// Tokens are short, authorities of a whole system some 200 KiB.
const BYTES_MAX: u64 = 4 << 20;

/// Files, and what was made of them.
#[derive(Debug)]
pub(crate) struct Given<T> {
    paths: Vec<PathBuf>,
    last: Mutex<Option<Read<T>>>,
}

#[derive(Debug)]
struct Read<T> {
    /// None when it is in doubt.
    looked: Option<Duration>,
    stamps: Vec<Option<Stamp>>,
    made: T,
}

/// Whether something is as it was before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fresh {
    /// It was made just now.
    Made,
    /// It is that of before.
    Kept,
}

impl<T: Clone> Given<T> {
    /// These files; none of them is read yet.
    pub(crate) fn new(paths: Vec<PathBuf>) -> Self {
        Self { paths, last: Mutex::new(None) }
    }

    /// What `make` makes of the files: that of before unless one has changed. When it fails, what was made before goes on
    /// to be used: files are replaced one after the other.
    pub(crate) fn get(
        &self,
        now: Duration,
        make: impl FnOnce() -> Result<T, SendError>,
    ) -> Result<(T, Fresh), SendError> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(read) = last.as_mut() {
            let is_recent = read.looked.is_some_and(|looked| now.saturating_sub(looked) < LOOK);
            if is_recent || self.paths.is_empty() {
                return Ok((read.made.clone(), Fresh::Kept));
            }
            let stamps = self.stamps();
            read.looked = Some(now);
            if stamps == read.stamps {
                return Ok((read.made.clone(), Fresh::Kept));
            }
        }
        let stamps = self.stamps();
        match (make(), last.as_mut()) {
            (Ok(made), _) => {
                *last = Some(Read { looked: Some(now), stamps, made: made.clone() });
                Ok((made, Fresh::Made))
            }
            (Err(error), Some(read)) => {
                tracing::warn!(%error, "a changed file cannot be used, what it held before is");
                Ok((read.made.clone(), Fresh::Kept))
            }
            (Err(error), None) => Err(error),
        }
    }

    /// Looks again at the next call, whenever that is.
    pub(crate) fn doubt(&self) {
        if let Some(read) = self.last.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            read.looked = None;
        }
    }

    fn stamps(&self) -> Vec<Option<Stamp>> {
        self.paths.iter().map(|path| real::stamp(path).ok()).collect()
    }
}

/// Reads a file.
pub(crate) fn bytes(path: &Path) -> Result<Vec<u8>, SendError> {
    real::read_given(path, BYTES_MAX).map_err(|error| unusable(path, error.to_string()))
}

/// Reads a text, without the space around it.
pub(crate) fn text(path: &Path) -> Result<String, SendError> {
    let text = String::from_utf8(bytes(path)?).map_err(|_| unusable(path, "is no text".to_owned()))?;
    Ok(text.trim().to_owned())
}

pub(crate) fn unusable(path: &Path, message: String) -> SendError {
    SendError::Given { path: path.to_owned(), message }
}
