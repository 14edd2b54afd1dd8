//! The store's small files: what is found where one should be.

use std::path::Path;

use codec::envelope::{self, Unreadable};
use env::Files;

use crate::open::OpenError;

/// A small file as it is found.
pub(crate) enum SmallFile {
    Missing,
    /// Not what was written, or the disk does not give it.
    Damaged,
    /// Its body.
    Whole(Vec<u8>),
}

/// Reads a small file; only one of a newer Weir and trouble that is not the file's are errors.
pub(crate) fn read(
    files: &dyn Files,
    directory: &Path,
    name: &str,
    magic: &[u8; 8],
    version: u16,
) -> Result<SmallFile, OpenError> {
    let bytes = match env::read_if_there(files, &directory.join(name)) {
        Ok(None) => return Ok(SmallFile::Missing),
        Ok(Some(bytes)) => bytes,
        Err(error) if env::is_unreadable(&error) => return Ok(SmallFile::Damaged),
        Err(error) => return Err(error.into()),
    };
    match envelope::unwrap(magic, version, &bytes) {
        Ok(body) => Ok(SmallFile::Whole(body.to_vec())),
        Err(Unreadable::Damaged) => Ok(SmallFile::Damaged),
        Err(Unreadable::Newer(found)) => {
            Err(OpenError::Newer { what: name.to_owned(), found: found.into(), known: version.into() })
        }
    }
}
