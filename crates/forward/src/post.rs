//! One request to one receiver.
//!
//! The engine knows requests as headers and bytes; that they go through the house's HTTP client stands here, so that tests
//! can put a receiver with a script in its place.

use std::pin::Pin;

use bytes::Bytes;
use env::Env;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use outbound::{Bounds, Client, ConfigError, Reach, Request, Response, Unreadable};

use crate::settings::Settings;

/// Bytes of an answer that are read: what is in it is for people.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// What came back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }
}

/// An answer, or why there is none.
pub(crate) type Posted<'p> = Pin<Box<dyn Future<Output = Result<Answer, String>> + Send + 'p>>;

/// Sends requests to an output's receiver.
pub(crate) trait Post: Send + Sync {
    /// Sends one.
    fn post<'p>(&'p self, headers: &'p [(String, String)], body: Bytes) -> Posted<'p>;
}

/// Sends them over HTTP.
pub(crate) struct Http {
    client: Client,
    url: outbound::Url,
    bounds: Bounds,
}

impl Http {
    pub(crate) fn new(settings: &Settings, env: &Env) -> Result<Self, ConfigError> {
        let client = Client::new(&settings.http, Reach::Anything, env)?;
        let bounds = Bounds {
            timeout: settings.timeout,
            body_bytes_max: ANSWER_BYTES_MAX,
            inflated_bytes_max: ANSWER_BYTES_MAX,
            // Whether rows were taken is in the status: were a page that is too long no answer, they would be sent for ever.
            unreadable: Unreadable::Cut,
        };
        Ok(Self { client, url: settings.url.clone(), bounds })
    }
}

impl Post for Http {
    fn post<'p>(&'p self, headers: &'p [(String, String)], body: Bytes) -> Posted<'p> {
        Box::pin(async move {
            let mut request = Request::post(self.url.clone(), body);
            request.headers = header_map(headers)?;
            let response =
                self.client.send(request, &self.bounds).await.map_err(|error| error.to_string())?;
            Ok(answer(&response))
        })
    }
}

fn header_map(headers: &[(String, String)]) -> Result<HeaderMap, String> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let bad = || format!("header {name} cannot be sent");
        let value = HeaderValue::from_str(value).map_err(|_| bad())?;
        map.insert(HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad())?, value);
    }
    Ok(map)
}

fn answer(response: &Response) -> Answer {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers = response.headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value)));
    Answer { status: response.status, headers: headers.collect(), body: response.body.to_vec() }
}
