//! One order, from the account to the certificate.

use std::sync::Arc;
use std::time::Duration;

use instant_acme::{
    Account, AuthorizationStatus, Error, Identifier, NewAccount, NewOrder, Order, OrderStatus, Problem,
    RetryPolicy,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use rustls::RootCertStore;

use super::Acme;
use super::challenges::{Challenges, Kind};
use super::client::Client;
use super::names::Names;
use crate::app::App;

/// Time that the authority has to validate names, and to issue.
const PATIENCE: RetryPolicy = RetryPolicy::new().timeout(Duration::from_secs(90));

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub(super) enum OrderError {
    /// Occurs when the authority does not believe that the names lead here, or issues nothing for them.
    #[error("{0}")]
    Refused(String),
    /// Occurs when the authority does not know the account that is kept.
    #[error("the authority does not know the account")]
    NoAccount,
    /// Occurs when the authority cannot be asked, or answers that nobody gets anything now, or something fails here.
    #[error("{error}")]
    Authority {
        /// What failed.
        error: String,
        /// How long it is to be left alone.
        retry_after: Option<Duration>,
    },
}

impl OrderError {
    /// Something that failed here.
    pub(super) fn here(error: impl std::fmt::Display) -> Self {
        Self::Authority { error: error.to_string(), retry_after: None }
    }
}

/// An authority where there is an account.
pub(super) struct Authority {
    client: Client,
    account: Account,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("account", &self.account.id()).finish_non_exhaustive()
    }
}

impl Authority {
    /// Takes the account that is kept, or makes one and keeps it.
    pub(super) async fn open(acme: &Arc<Acme>, app: &App, roots: RootCertStore) -> Result<Self, OrderError> {
        let client = Client::new(&acme.env, roots);
        let its = Arc::clone(acme);
        let kept = app.decoding.run(move || its.shelf.account()).await;
        let kept = kept.map_err(OrderError::here)?.map_err(OrderError::here)?;
        let builder = Account::builder_with_http(Box::new(client.clone()));
        // One that cannot be read is made anew: it owns nothing but its own orders.
        if let Some(credentials) = kept.and_then(|bytes| serde_json::from_slice(&bytes).ok()) {
            let account = builder.from_credentials(credentials).await;
            return account.map_err(|error| failed(&client, error)).map(|account| Self { client, account });
        }
        let contact: Vec<&str> = acme.config.contact.iter().map(String::as_str).collect();
        let new =
            NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
        let made = builder.create(&new, acme.config.directory.clone(), None).await;
        let (account, credentials) = made.map_err(|error| failed(&client, error))?;
        let credentials = serde_json::to_vec(&credentials).map_err(OrderError::here)?;
        let its = Arc::clone(acme);
        let kept = app.decoding.run(move || its.shelf.keep_account(&credentials)).await;
        kept.map_err(OrderError::here)?.map_err(OrderError::here)?;
        tracing::info!(directory = acme.config.directory, "an account was made with the authority");
        Ok(Self { client, account })
    }

    /// Orders a certificate; gives its key and its chain, both PEM.
    pub(super) async fn certificate(
        &self,
        names: &Names,
        challenges: &Arc<Challenges>,
        kind: Kind,
    ) -> Result<(String, String), OrderError> {
        let failed = |error| failed(&self.client, error);
        let identifiers: Vec<_> = names.all().iter().map(|name| Identifier::Dns(name.clone())).collect();
        let mut order = self.account.new_order(&NewOrder::new(&identifiers)).await.map_err(failed)?;
        // Dropped, and not answered any more, when the order has ended.
        let mut answered = Vec::new();
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization.map_err(failed)?;
            match authorization.status {
                AuthorizationStatus::Pending => {}
                AuthorizationStatus::Valid => continue,
                status => return Err(OrderError::Refused(format!("an authorization is {status:?}"))),
            }
            let name = authorization.identifier().to_string();
            let Some(mut challenge) = authorization.challenge(kind.acme()) else {
                return Err(OrderError::Refused(format!("the authority offers no {:?}", kind.acme())));
            };
            let key = challenge.key_authorization();
            let answer = challenges.begin(kind, &name, &challenge.token, &key).map_err(OrderError::here)?;
            answered.push(answer);
            challenge.set_ready().await.map_err(failed)?;
        }
        match order.poll_ready(&PATIENCE).await {
            Ok(OrderStatus::Ready) => {}
            Ok(_) | Err(Error::Api(_) | Error::Timeout(_)) => return Err(refused(&mut order).await),
            Err(error) => return Err(failed(error)),
        }
        drop(answered);
        let (key, request) = signing_request(names).map_err(OrderError::here)?;
        order.finalize_csr(&request).await.map_err(failed)?;
        let chain = order.poll_certificate(&PATIENCE).await.map_err(failed)?;
        Ok((key, chain))
    }
}

/// A new key, PEM, and the request to certify it for all names, DER.
fn signing_request(names: &Names) -> Result<(String, Vec<u8>), rcgen::Error> {
    let mut params = CertificateParams::new(names.all())?;
    params.distinguished_name = DistinguishedName::new();
    let key = KeyPair::generate()?;
    let request = params.serialize_request(&key)?;
    Ok((key.serialize_pem(), request.der().to_vec()))
}

/// Whose fault an error is.
fn failed(client: &Client, error: Error) -> OrderError {
    match error {
        Error::Api(problem) if is_about_names(&problem) => OrderError::Refused(problem.to_string()),
        Error::Api(problem) if kind(&problem) == Some("accountDoesNotExist") => OrderError::NoAccount,
        error => OrderError::Authority { error: error.to_string(), retry_after: client.retry_after() },
    }
}

/// Problems of names; all others are of the account, or of the authority itself.
fn is_about_names(problem: &Problem) -> bool {
    let kinds =
        ["rejectedIdentifier", "caa", "dns", "connection", "tls", "unauthorized", "incorrectResponse"];
    kind(problem).is_some_and(|kind| kinds.contains(&kind))
}

fn kind(problem: &Problem) -> Option<&str> {
    problem.r#type.as_deref()?.strip_prefix("urn:ietf:params:acme:error:")
}

/// Why the names were not believed, as the authority says at each challenge.
async fn refused(order: &mut Order) -> OrderError {
    let mut reasons = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        let name = authorization.identifier().to_string();
        let Ok(state) = authorization.refresh().await else { continue };
        let errors = state.challenges.iter().filter_map(|challenge| challenge.error.as_ref());
        reasons.extend(errors.map(|error| format!("{name}: {error}")));
    }
    if reasons.is_empty() {
        reasons.push("the authority did not validate the names in time".to_owned());
    }
    OrderError::Refused(reasons.join("; "))
}
