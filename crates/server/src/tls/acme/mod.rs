//! Certificates that Weir orders itself (ACME, RFC 8555), and renews when two thirds of their life are over.
//!
//! One certificate is for the domain, and one for the two names of each tenant that exists. What is wanted follows from
//! the control state alone: a name that a client asks for is never a reason to order ([`names`]). Orders go one after
//! the other. What fails is tried again later and later, with jitter: for one set of names when it is their fault, for
//! all when it is the authority's ([`patience`]). Certificates and the account's key outlive a restart ([`shelf`]), so a
//! start with good ones orders nothing. Until there is one for a name, handshakes that ask for it are refused: whoever
//! would take a self-signed one in between would take anybody's.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use env::Env;
use rustls::RootCertStore;
use tokio::sync::Mutex;

pub mod challenges;
mod client;
mod held;
mod names;
mod order;
mod patience;
mod shelf;

pub use held::Held;

use super::TlsError;
use super::certificate::Certificate;
use crate::app::App;
use crate::config::AcmeConfig;
use crate::metrics::Metrics;
use challenges::Challenges;
use names::Names;
use order::{Authority, OrderError};
use patience::Patience;
use shelf::Shelf;

/// Orders and keeps certificates.
#[derive(Debug)]
pub struct Acme {
    env: Env,
    config: AcmeConfig,
    metrics: Arc<Metrics>,
    shelf: Shelf,
    held: Arc<Held>,
    challenges: Arc<Challenges>,
    /// Held while certificates are ordered.
    ordering: Mutex<Ordering>,
}

/// What is remembered from one order to the next.
#[derive(Debug, Default)]
struct Ordering {
    authority: Option<Authority>,
    patience: Patience,
    /// What was issued and is not on the shelf yet.
    unkept: HashMap<Names, Arc<Pem>>,
}

/// A key and its chain.
struct Pem {
    key: String,
    chain: String,
}

impl std::fmt::Debug for Pem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pem").finish_non_exhaustive()
    }
}

impl Acme {
    /// Makes the directory where certificates are kept.
    pub fn open(
        env: Env,
        data_dir: &Path,
        config: AcmeConfig,
        metrics: Arc<Metrics>,
    ) -> Result<Self, TlsError> {
        let shelf = Shelf::open(env.clone(), data_dir, &config.folder)?;
        Ok(Self {
            env,
            config,
            metrics,
            shelf,
            held: Arc::default(),
            challenges: Arc::default(),
            ordering: Mutex::default(),
        })
    }

    /// What is configured.
    pub fn config(&self) -> &AcmeConfig {
        &self.config
    }

    /// The certificates that there are.
    pub fn held(&self) -> &Arc<Held> {
        &self.held
    }

    /// How many certificates there are.
    pub fn number(&self) -> usize {
        self.held.number()
    }

    /// What the authority asks for just now.
    pub fn challenges(&self) -> &Arc<Challenges> {
        &self.challenges
    }

    /// Takes what lies on the shelf for the names that are wanted.
    pub fn take_from_shelf(&self, authority: &admission::Authority) {
        let wanted = names::wanted(authority);
        self.held.want(&wanted);
        let found = wanted.iter().filter_map(|names| Some((names, self.shelf.certificate(names)?)));
        self.held.put(found.collect());
    }

    /// Orders what is missing or old, again and again, until the task is dropped.
    pub async fn keep_all(self: Arc<Self>, app: Arc<App>) {
        loop {
            if !app.is_draining() {
                self.look(&app).await;
            }
            tokio::time::sleep(self.config.look).await;
        }
    }

    async fn look(self: &Arc<Self>, app: &App) {
        let wanted = names::wanted(&app.authority());
        let gone = self.held.want(&wanted);
        if !gone.is_empty() {
            let its = Arc::clone(self);
            let _ = app.decoding.run(move || gone.iter().for_each(|names| its.shelf.remove(names))).await;
        }
        let mut ordering = self.ordering.lock().await;
        ordering.patience.keep(&wanted);
        ordering.unkept.retain(|names, _| wanted.contains(names));
        self.keep_issued(app, &mut ordering.unkept).await;
        for names in &wanted {
            let now = self.env.clock.monotonic();
            if self.is_due(names) && ordering.patience.allows(names, now) && !app.is_draining() {
                self.order(app, names, &mut ordering).await;
            }
        }
    }

    /// Whether two thirds of the certificate's life are over, or there is none.
    fn is_due(&self, names: &Names) -> bool {
        let Some(certificate) = self.held.of(names) else { return true };
        let life_s = certificate.not_after_s.saturating_sub(certificate.not_before_s);
        self.now_s() >= certificate.not_before_s.saturating_add(life_s / 3 * 2 + life_s % 3 * 2 / 3)
    }

    fn now_s(&self) -> u64 {
        u64::try_from(self.env.clock.now_ms() / 1000).unwrap_or(0)
    }

    async fn order(self: &Arc<Self>, app: &App, names: &Names, ordering: &mut Ordering) {
        tracing::info!(name = names.first(), names = names.all().len(), "a certificate is ordered");
        match self.ordered(app, names, ordering).await {
            Ok((certificate, pem)) => {
                self.metrics.acme_orders.with(&["success"]).add(1);
                ordering.patience.succeeded(names);
                let until_s = certificate.not_after_s;
                ordering.unkept.insert(names.clone(), Arc::new(pem));
                // First, so that what is shown is there after a restart. Without that it is shown all the same.
                self.keep_issued(app, &mut ordering.unkept).await;
                self.held.put(vec![(names, certificate)]);
                tracing::info!(name = names.first(), until_s, "a certificate was issued");
            }
            Err(error) => {
                self.metrics.acme_orders.with(&["failure"]).add(1);
                // The next order asks the directory anew, and knows the account only if the authority does.
                ordering.authority = None;
                let pause = self.pause_after(names, &error, &mut ordering.patience);
                let retry_s = pause.as_secs();
                tracing::error!(name = names.first(), %error, retry_s, "a certificate was not issued");
            }
        }
    }

    /// Puts on the shelf what was issued. What cannot be kept is tried again at the next look, and not ordered again: an
    /// authority counts what it issued.
    async fn keep_issued(self: &Arc<Self>, app: &App, unkept: &mut HashMap<Names, Arc<Pem>>) {
        for (names, pem) in std::mem::take(unkept) {
            let (its, its_names, its_pem) = (Arc::clone(self), names.clone(), Arc::clone(&pem));
            let keep = move || its.shelf.keep(&its_names, &its_pem.key, &its_pem.chain);
            let kept = app.decoding.run(keep).await.map_err(|error| error.to_string());
            if let Err(error) = kept.and_then(|kept| kept.map_err(|error| error.to_string())) {
                tracing::error!(name = names.first(), error, "a certificate that was issued cannot be kept");
                unkept.insert(names, pem);
            }
        }
    }

    fn pause_after(&self, names: &Names, error: &OrderError, patience: &mut Patience) -> std::time::Duration {
        let (now, dice, first) = (self.env.clock.monotonic(), self.env.random_u64(), self.config.retry);
        match error {
            OrderError::Refused(_) => patience.names_failed(names, now, first, dice),
            OrderError::NoAccount => {
                self.shelf.remove_account();
                patience.authority_failed(now, first, dice, std::time::Duration::ZERO)
            }
            OrderError::Authority { retry_after, .. } => {
                patience.authority_failed(now, first, dice, retry_after.unwrap_or_default())
            }
        }
    }

    async fn ordered(
        self: &Arc<Self>,
        app: &App,
        names: &Names,
        ordering: &mut Ordering,
    ) -> Result<(Certificate, Pem), OrderError> {
        let authority = match ordering.authority.take() {
            Some(authority) => authority,
            None => {
                let its = Arc::clone(self);
                let roots = app.decoding.run(move || its.roots()).await;
                let roots = roots.map_err(OrderError::here)?.map_err(OrderError::here)?;
                Authority::open(self, app, roots).await?
            }
        };
        let authority = ordering.authority.insert(authority);
        let (key, chain) = authority.certificate(names, &self.challenges, self.kind()).await?;
        let certificate = Certificate::read(chain.as_bytes(), key.as_bytes()).map_err(OrderError::here)?;
        if let Some(name) = names.all().iter().find(|name| !certificate.covers(name)) {
            return Err(OrderError::here(format!("the certificate that was issued is not for {name}")));
        }
        Ok((certificate, Pem { key, chain }))
    }

    fn kind(&self) -> challenges::Kind {
        match self.config.http_listen {
            Some(_) => challenges::Kind::Http,
            None => challenges::Kind::TlsAlpn,
        }
    }

    /// By whom the directory is known.
    fn roots(&self) -> Result<RootCertStore, TlsError> {
        let mut roots = RootCertStore::empty();
        // Some that a system has are too old to be understood; the others count.
        roots.add_parsable_certificates(super::trusted(self.config.directory_ca.as_deref())?);
        Ok(roots)
    }

    /// Copies what there is into the self-metrics.
    pub fn tell(&self, authority: &admission::Authority) {
        let wanted = names::wanted(authority);
        let mut held: Vec<(&Names, u64)> =
            wanted.iter().filter_map(|names| Some((names, self.held.of(names)?.not_after_s))).collect();
        self.metrics.acme_missing.set((wanted.len() - held.len()) as f64);
        self.metrics.tls_expiry.clear();
        // Beyond the bound several share one gauge: it is that of the first to end.
        held.sort_by_key(|(_, until_s)| std::cmp::Reverse(*until_s));
        for (names, until_s) in held {
            self.metrics.tls_expiry.of_tenant(names.first(), &[]).set(until_s as f64);
        }
    }
}
