//! TLS on the one port, with certificates from files or from an authority that is asked for them ([`acme`]).
//!
//! A connection keeps what it was greeted with; [`Tls`] holds what the next one is greeted with and swaps all of it at
//! once, so certificates are replaced without a connection noticing. What does not parse or does not belong together
//! never gets there: the old one stays. There is one crypto provider (ring), TLS 1.2 and 1.3, and no setting for
//! either: rustls has no bad ones to turn off.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use env::Env;
use rustls::ServerConfig;
use rustls::server::ResolvesServerCert;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::server::TlsStream;

pub mod acme;
pub mod certificate;
mod failure;
mod files;
mod greeting;
mod resolve;

pub use failure::Failure;
pub use files::trusted;
pub use greeting::Greeting;

use crate::app::App;
use crate::config::{Identity, TlsConfig};
use crate::metrics::Metrics;
use acme::Acme;
use certificate::{BadCertificate, Certificate};
use files::Files;
use resolve::{ByName, One};

/// Time between two looks whether files have changed.
pub const POLL_PAUSE: Duration = Duration::from_secs(30);

/// Why TLS cannot be spoken with what there is.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Occurs when a file cannot be read.
    #[error("{}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// Occurs when a file holds something else than it should.
    #[error("{}: {error}", path.display())]
    Bad {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: BadCertificate,
    },
    /// Occurs when certificate and key do not belong together.
    #[error("{} is not the key of {}: {error}", key.display(), cert.display())]
    Strangers {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's.
        key: PathBuf,
        /// What is wrong.
        error: BadCertificate,
    },
    /// Occurs when the directory of ordered certificates cannot be used.
    #[error("{}: {error}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
}

/// What TLS is spoken with.
#[derive(Debug)]
pub struct Tls {
    env: Env,
    metrics: Arc<Metrics>,
    /// What the next connection is greeted with.
    live: ArcSwap<ServerConfig>,
    /// What `live` was made of, to see whether it has changed; held while it is being made.
    made_of: Mutex<(TlsConfig, Files)>,
    /// Certificates that are ordered; none where they come from files.
    acme: Option<Arc<Acme>>,
}

impl Tls {
    /// Reads what `config` names.
    pub fn open(
        env: &Env,
        data_dir: &std::path::Path,
        config: TlsConfig,
        metrics: Arc<Metrics>,
    ) -> Result<Self, TlsError> {
        let acme = match &config.identity {
            Identity::Files { .. } => None,
            Identity::Acme(acme) => {
                Some(Arc::new(Acme::open(env.clone(), data_dir, acme.clone(), Arc::clone(&metrics))?))
            }
        };
        let Prepared { config, files, live, until_s } = make(env, config, acme.as_ref())?;
        tell_until(&metrics, until_s);
        let live = ArcSwap::from_pointee(live);
        Ok(Self { env: env.clone(), metrics, live, made_of: Mutex::new((config, files)), acme })
    }

    /// Certificates that are ordered, when they are.
    pub fn acme(&self) -> Option<&Arc<Acme>> {
        self.acme.as_ref()
    }

    /// Reads everything again, as `config` names it now. Nothing has changed until [`Tls::take`].
    pub fn prepare(&self, config: TlsConfig) -> Result<Prepared, TlsError> {
        make(&self.env, config, self.acme.as_ref()).inspect_err(|error| {
            self.metrics.tls_reloads.with(&["failure"]).add(1);
            tracing::error!(%error, "certificates stay as they were");
        })
    }

    /// From now on connections are greeted with what was prepared.
    pub fn take(&self, prepared: Prepared) {
        self.put(&mut self.made_of(), prepared);
    }

    /// Reads everything again if a file has changed since it was read; gives whether it did.
    pub fn look(&self) -> bool {
        let mut made_of = self.made_of();
        let changed = Files::of(&made_of.0) != made_of.1;
        if changed {
            let files = Files::of(&made_of.0);
            match self.prepare(made_of.0.clone()) {
                Ok(prepared) => self.put(&mut made_of, prepared),
                // A file that could not be read may be read the next time, although it is the same.
                Err(TlsError::Read { .. }) => made_of.1 = Files::default(),
                Err(_) => made_of.1 = files,
            }
        }
        changed
    }

    fn made_of(&self) -> MutexGuard<'_, (TlsConfig, Files)> {
        self.made_of.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, made_of: &mut (TlsConfig, Files), prepared: Prepared) {
        let Prepared { config, files, live, until_s } = prepared;
        tell_until(&self.metrics, until_s);
        self.live.store(Arc::new(live));
        *made_of = (config, files);
        self.metrics.tls_reloads.with(&["success"]).add(1);
        tracing::info!("certificates were read");
    }

    /// Greets whoever begins to speak on `stream`.
    pub async fn greet<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> Result<Greeting<S>, Failure> {
        greeting::greet(self, stream).await
    }

    /// Counts a handshake that failed.
    pub fn count(&self, failure: &Failure) {
        self.metrics.tls_handshake_failures.with(&[failure.label()]).add(1);
    }
}

/// What was read and is not used yet.
#[derive(Debug)]
pub struct Prepared {
    config: TlsConfig,
    files: Files,
    live: ServerConfig,
    /// When a certificate from a file ends.
    until_s: Option<u64>,
}

/// Looks again and again whether files have changed, until the task is dropped.
pub async fn watch(app: Arc<App>) {
    loop {
        tokio::time::sleep(POLL_PAUSE).await;
        let its = Arc::clone(&app);
        // Files are read: not on a thread that serves sockets. One look that has no place there is none.
        let _ = app.decoding.run(move || its.tls.as_ref().is_some_and(|tls| tls.look())).await;
    }
}

/// Reads the files and makes of them what connections are greeted with.
fn make(env: &Env, config: TlsConfig, acme: Option<&Arc<Acme>>) -> Result<Prepared, TlsError> {
    // Before they are read: what changes meanwhile is read once more.
    let files = Files::of(&config);
    let clients = files::clients(&config)?;
    let (resolver, until_s): (Arc<dyn ResolvesServerCert>, _) = match (&config.identity, acme) {
        (Identity::Files { cert, key }, _) => {
            let certificate = files::certificate(cert, key)?;
            warn_of_its_end(env, &certificate);
            (Arc::new(One(certificate.key)), Some(certificate.not_after_s))
        }
        (Identity::Acme(_), Some(acme)) => (Arc::new(ByName(Arc::clone(acme.held()))), None),
        // Whether certificates are ordered does not change while the process runs.
        (Identity::Acme(acme), None) => {
            let error = std::io::Error::other("certificates come from files until the next start");
            return Err(TlsError::Directory { path: acme.directory.clone().into(), error });
        }
    };
    let live = certificate::server_config(env, resolver, clients);
    Ok(Prepared { config, files, live, until_s })
}

fn tell_until(metrics: &Metrics, until_s: Option<u64>) {
    if let Some(until_s) = until_s {
        metrics.tls_expiry.with(&["static"]).set(until_s as f64);
    }
}

fn warn_of_its_end(env: &Env, certificate: &Certificate) {
    let now_s = u64::try_from(env.clock.now_ms() / 1000).unwrap_or(0);
    if certificate.not_after_s < now_s {
        tracing::warn!("the certificate has expired");
    }
}

/// A TLS stream on the heap: it is large, and a greeting may be without one.
type Opened<S> = Box<TlsStream<S>>;
