//! What a client adds to each request: `Authorization` and `http_headers`, from the configuration and from files.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use http::header::{self, HeaderName, HeaderValue};

use crate::config::HttpConfig;
use crate::error::SendError;
use crate::given::{self, Given};
use crate::secret::Secret;
use crate::url::{self, Url};

/// The credentials of a client.
pub(crate) struct Credentials {
    config: HttpConfig,
    authorization: Given<Option<HeaderValue>>,
    headers: Given<Arc<[(HeaderName, HeaderValue)]>>,
}

impl Credentials {
    /// Those that the configuration names; no file is read yet.
    pub(crate) fn new(config: &HttpConfig) -> Self {
        let basic = config.basic_auth.iter();
        let basic = basic.flat_map(|basic| [&basic.username_file, &basic.password_file]);
        let other = config.authorization.iter().map(|other| &other.credentials_file);
        let files = basic.chain(other).chain([&config.bearer_token_file]).flatten().cloned();
        let header_files = config.http_headers.values().flat_map(|values| values.files.iter().cloned());
        Self {
            authorization: Given::new(files.collect()),
            headers: Given::new(header_files.collect()),
            config: config.clone(),
        }
    }

    /// Adds them to what a request to `url` says itself. An `Authorization` of its own comes before a user in the URL, and
    /// both before the configuration's, as in Go.
    pub(crate) fn add(&self, url: &Url, now: Duration, headers: &mut HeaderMap) -> Result<(), SendError> {
        let (own, _) = self.headers.get(now, || self.read_headers())?;
        for (name, value) in own.iter() {
            headers.append(name, value.clone());
        }
        if headers.contains_key(header::AUTHORIZATION) {
            return Ok(());
        }
        let authorization = match url.basic_auth() {
            Some(basic) => Some(sensitive("Authorization", basic.reveal())?),
            None => self.authorization.get(now, || self.read_authorization())?.0,
        };
        if let Some(value) = authorization {
            headers.insert(header::AUTHORIZATION, value);
        }
        Ok(())
    }

    /// A server refused them: files are looked at again at the next request.
    pub(crate) fn doubt(&self) {
        self.authorization.doubt();
        self.headers.doubt();
    }

    fn read_headers(&self) -> Result<Arc<[(HeaderName, HeaderValue)]>, SendError> {
        let mut own = Vec::new();
        for (name, values) in &self.config.http_headers {
            let parsed: HeaderName = name.parse().map_err(|_| SendError::Header(name.clone()))?;
            for value in &values.values {
                let value = HeaderValue::from_str(value).map_err(|_| SendError::Header(name.clone()))?;
                own.push((parsed.clone(), value));
            }
            for secret in &values.secrets {
                own.push((parsed.clone(), sensitive(name, secret.reveal())?));
            }
            for file in &values.files {
                own.push((parsed.clone(), sensitive(name, &given::text(file)?)?));
            }
        }
        Ok(own.into())
    }

    /// The value of `Authorization`, from the configuration or from files.
    fn read_authorization(&self) -> Result<Option<HeaderValue>, SendError> {
        let config = &self.config;
        let text = |inline: Option<&str>, file: Option<&std::path::Path>| match (inline, file) {
            (Some(text), _) => Ok(text.to_owned()),
            (None, Some(path)) => given::text(path),
            (None, None) => Ok(String::new()),
        };
        let revealed = |secret: &'_ Option<Secret>| secret.as_ref().map(|secret| secret.reveal().clone());
        let value = if let Some(basic) = &config.basic_auth {
            let user = Some(basic.username.as_str()).filter(|user| !user.is_empty());
            let user = text(user, basic.username_file.as_deref())?;
            let password = text(revealed(&basic.password).as_deref(), basic.password_file.as_deref())?;
            url::basic(&user, &password)
        } else if let Some(other) = &config.authorization {
            let credentials =
                text(revealed(&other.credentials).as_deref(), other.credentials_file.as_deref())?;
            let kind = Some(other.kind.trim()).filter(|kind| !kind.is_empty()).unwrap_or("Bearer");
            Secret::new(format!("{kind} {credentials}"))
        } else if config.bearer_token.is_some() || config.bearer_token_file.is_some() {
            let token = text(revealed(&config.bearer_token).as_deref(), config.bearer_token_file.as_deref())?;
            Secret::new(format!("Bearer {token}"))
        } else {
            return Ok(None);
        };
        sensitive("Authorization", value.reveal()).map(Some)
    }
}

pub(crate) fn header_value(name: &str, value: &str) -> Result<HeaderValue, SendError> {
    HeaderValue::from_str(value).map_err(|_| SendError::Header(name.to_owned()))
}

/// A value that hyper and whoever logs headers keep to themselves.
pub(crate) fn sensitive(name: &str, value: &str) -> Result<HeaderValue, SendError> {
    let mut value = header_value(name, value)?;
    value.set_sensitive(true);
    Ok(value)
}
