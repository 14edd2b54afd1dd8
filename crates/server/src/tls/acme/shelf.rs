//! What outlives a restart: the account and the certificates, in `acme/` of the data directory, a folder for each
//! authority. Nobody else may read it, and files are replaced whole.
//!
//! A certificate lies with its key in one file, so that the two always belong together. What is damaged or is for other
//! names than are wanted counts as missing.

use std::io;
use std::path::{Path, PathBuf};

use env::Env;
use env::real;

use super::names::Names;
use crate::tls::TlsError;
use crate::tls::certificate::Certificate;

/// The folder in the data directory.
const FOLDER: &str = "acme";
/// The file with the account's key.
const ACCOUNT: &str = "account.json";

/// The folder of one authority.
#[derive(Debug)]
pub(super) struct Shelf {
    env: Env,
    directory: PathBuf,
}

impl Shelf {
    /// Makes the folder of the authority `folder`.
    pub(super) fn open(env: Env, data_dir: &Path, folder: &str) -> Result<Self, TlsError> {
        let (top, directory) = (data_dir.join(FOLDER), data_dir.join(FOLDER).join(folder));
        let make = |path: &Path| {
            env.files.create_dir(path)?;
            real::make_private(path)
        };
        for path in [&top, &directory] {
            make(path).map_err(|error| TlsError::Directory { path: path.clone(), error })?;
        }
        Ok(Self { env, directory })
    }

    /// The account, as it was kept.
    pub(super) fn account(&self) -> io::Result<Option<Vec<u8>>> {
        env::read_if_there(&*self.env.files, &self.directory.join(ACCOUNT))
    }

    /// Keeps an account.
    pub(super) fn keep_account(&self, account: &[u8]) -> io::Result<()> {
        env::replace(&*self.env.files, &self.directory, ACCOUNT, account)
    }

    /// Forgets the account.
    pub(super) fn remove_account(&self) {
        self.remove_file(ACCOUNT);
    }

    /// The certificate for these names, if it is there.
    pub(super) fn certificate(&self, names: &Names) -> Option<Certificate> {
        let path = self.directory.join(file(names));
        let pem = match env::read_if_there(&*self.env.files, &path) {
            Ok(pem) => pem?,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "a certificate cannot be read");
                return None;
            }
        };
        match Certificate::read(&pem, &pem) {
            Ok(certificate) if names.all().iter().all(|name| certificate.covers(name)) => Some(certificate),
            Ok(_) => None,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "a certificate is damaged");
                None
            }
        }
    }

    /// Keeps a certificate and its key.
    pub(super) fn keep(&self, names: &Names, key: &str, chain: &str) -> io::Result<()> {
        let pem = format!("{}\n{}\n", key.trim_end(), chain.trim_end());
        env::replace(&*self.env.files, &self.directory, &file(names), pem.as_bytes())
    }

    /// Forgets a certificate.
    pub(super) fn remove(&self, names: &Names) {
        self.remove_file(&file(names));
    }

    fn remove_file(&self, name: &str) {
        match self.env.files.remove(&self.directory.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(name, %error, "a file cannot be removed");
            }
            _ => {}
        }
    }
}

/// Names are of letters, digits, hyphens and dots.
fn file(names: &Names) -> String {
    format!("{}.pem", names.first())
}
