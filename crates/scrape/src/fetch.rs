//! Getting a page: the request that Prometheus makes, and what of the answer is a page.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use outbound::{Bounds, Client, Request, SendError, Unreadable};

use crate::error::ScrapeError;
use crate::store::Boxed;
use crate::target::Target;

/// Bytes of any page, packed or not. One that has no limit of its own still has this one.
pub const PAGE_BYTES_MAX: u64 = 256 << 20;

/// A page as it came, unpacked.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// Its media type, where the answer has one.
    pub content_type: Option<String>,
    /// Its bytes.
    pub body: Bytes,
}

/// Gets pages. An answer that is no page, or none in time, is an error.
pub trait Fetch: Send + Sync {
    /// The page of a target, `within` this time.
    fn fetch<'a>(&'a self, target: &'a Target, within: Duration) -> Boxed<'a, Result<Fetched, ScrapeError>>;
}

/// Whether pages may come packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Packing {
    /// By gzip (`enable_compression: true`).
    #[default]
    Gzip,
    /// Not.
    None,
}

/// Pages over HTTP.
#[derive(Debug)]
pub struct Pages {
    client: Client,
    headers: HeaderMap,
    bytes_max: u64,
}

impl Pages {
    /// Asks by `client` for what `accept` says. A page of `body_size_limit` bytes is too long; 0 = no limit.
    pub fn new(client: Client, accept: &str, packing: Packing, body_size_limit: u64) -> Self {
        let mut headers = HeaderMap::new();
        let accept = HeaderValue::from_str(accept).unwrap_or(HeaderValue::from_static("*/*"));
        headers.insert(header::ACCEPT, accept);
        let packed = match packing {
            Packing::Gzip => "gzip",
            Packing::None => "identity",
        };
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(packed));
        let agent = concat!("Weir/", env!("CARGO_PKG_VERSION"));
        headers.insert(header::USER_AGENT, HeaderValue::from_static(agent));
        let bytes_max = if body_size_limit == 0 { PAGE_BYTES_MAX } else { body_size_limit - 1 };
        Self { client, headers, bytes_max: bytes_max.min(PAGE_BYTES_MAX) }
    }

    async fn get(&self, target: &Target, within: Duration) -> Result<Fetched, ScrapeError> {
        let mut request = Request::get(target.url.clone());
        request.headers.clone_from(&self.headers);
        let seconds = HeaderValue::from_str(&target.timeout.as_secs_f64().to_string());
        if let Ok(seconds) = seconds {
            request.headers.insert("x-prometheus-scrape-timeout-seconds", seconds);
        }
        let bytes_max = usize::try_from(self.bytes_max).unwrap_or(usize::MAX);
        let bounds = Bounds {
            timeout: within,
            body_bytes_max: bytes_max,
            inflated_bytes_max: bytes_max,
            unreadable: Unreadable::Refused,
        };
        let response = self.client.send(request, &bounds).await.map_err(|error| match error {
            SendError::TooBig { .. } => ScrapeError::BodySize,
            SendError::Timeout(_) => ScrapeError::Timeout(target.timeout),
            error => ScrapeError::NoAnswer(error.to_string()),
        })?;
        if response.status != StatusCode::OK {
            let status = StatusCode::from_u16(response.status).unwrap_or(StatusCode::IM_A_TEAPOT);
            return Err(ScrapeError::Status(status));
        }
        let content_type = response.header("content-type").map(str::to_owned);
        Ok(Fetched { content_type, body: response.body })
    }
}

impl Fetch for Pages {
    fn fetch<'a>(&'a self, target: &'a Target, within: Duration) -> Boxed<'a, Result<Fetched, ScrapeError>> {
        Box::pin(self.get(target, within))
    }
}
