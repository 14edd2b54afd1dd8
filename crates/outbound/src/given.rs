//! Small files that are given to Weir and change without a word: read again when they have, looked at every 30 seconds.
//!
//! They are read where the request runs that needs them, by the system's own calls: a few KiB every 30 seconds at most, and
//! never with the lock held, so that on a file system that hangs one request waits for it and the others use what was read
//! before. They are not Weir's own files, so the engine's `Env` does not have them.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
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
        let before = {
            let mut last = self.lock();
            if let Some(read) = last.as_mut() {
                let is_recent = read.looked.is_some_and(|looked| now.saturating_sub(looked) < LOOK);
                if is_recent || self.paths.is_empty() {
                    return Ok((read.made.clone(), Fresh::Kept));
                }
                // Whoever asks meanwhile uses what there is.
                read.looked = Some(now);
            }
            last.as_ref().map(|read| (read.stamps.clone(), read.made.clone()))
        };
        let stamps = self.stamps();
        match before {
            Some((known, made)) if known == stamps => Ok((made, Fresh::Kept)),
            Some((_, old)) => match make() {
                Ok(made) => Ok((self.keep(now, stamps, made), Fresh::Made)),
                Err(error) => {
                    tracing::warn!(%error, "a changed file cannot be used, what it held before is");
                    Ok((old, Fresh::Kept))
                }
            },
            None => Ok((self.keep(now, stamps, make()?), Fresh::Made)),
        }
    }

    fn keep(&self, now: Duration, stamps: Vec<Option<Stamp>>, made: T) -> T {
        *self.lock() = Some(Read { looked: Some(now), stamps, made: made.clone() });
        made
    }

    /// Looks again at the next call, whenever that is.
    pub(crate) fn doubt(&self) {
        if let Some(read) = self.lock().as_mut() {
            read.looked = None;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Read<T>>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Everyone who sent waited for the lock as long as one read a file that hung.
    #[test]
    fn files_are_read_without_the_lock() {
        let folder = tempfile::tempdir().unwrap();
        let given = Given::new(vec![folder.path().join("there is none")]);
        assert_eq!(given.get(Duration::ZERO, || Ok(1)).unwrap(), (1, Fresh::Made));
        given.lock().as_mut().unwrap().stamps.clear();
        let later = LOOK * 2;
        let made = given.get(later, || {
            assert!(given.last.try_lock().is_ok(), "the lock is free while a file is read");
            assert_eq!(given.get(later, || Ok(3)).unwrap(), (1, Fresh::Kept));
            Ok(2)
        });
        assert_eq!(made.unwrap(), (2, Fresh::Made));
    }
}
