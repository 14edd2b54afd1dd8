//! HTTP to a Weir server: where it is, as whom, and what a failure means.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use ureq::http::Response;
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Body};

use crate::arguments;
use crate::failure::{Code, Failure};

const DEFAULT_URL: &str = "http://127.0.0.1:9347";
/// Bytes of an answer at most; beyond it a query is better narrowed than printed.
const ANSWER_BYTES_MAX: u64 = 1 << 30;

/// A server.
#[derive(Debug)]
pub(crate) struct Client {
    agent: Agent,
    base: String,
    token: Option<String>,
    tenant: Option<String>,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    /// HTTP status.
    pub(crate) status: u16,
    /// Seconds of `Retry-After`.
    pub(crate) retry_after_s: Option<u64>,
    /// The body.
    pub(crate) body: String,
}

impl Client {
    /// The server that the flags name. On this machine, and without a token, `token_file` of the data directory is read.
    pub(crate) fn new(
        flags: &arguments::Server,
        tenant: Option<&str>,
        token_file: &str,
    ) -> Result<Self, Failure> {
        let base = flags.url.as_deref().unwrap_or(DEFAULT_URL).trim_end_matches('/').to_owned();
        let local = check_url(&base)?;
        let tls = if base.starts_with("https:") { tls(flags)? } else { TlsConfig::default() };
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            // A redirect would take the token along to wherever it points.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .tls_config(tls)
            .user_agent(concat!("weir/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(Duration::from_secs(10)))
            .timeout_recv_response(Some(Duration::from_secs(180)));
        if local {
            config = config.proxy(None);
        }
        let token = token(flags, local, token_file)?;
        Ok(Self { agent: config.build().new_agent(), base, token, tenant: tenant.map(str::to_owned) })
    }

    /// Where the server is.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// GET with a query.
    pub(crate) fn get(&self, path: &str, query: &[(&str, String)]) -> Result<Answer, Failure> {
        let request = self.agent.get(self.url(path)).query_pairs(query.iter().map(|(k, v)| (*k, v.as_str())));
        self.finish(self.with_headers(request).call())
    }

    /// DELETE.
    pub(crate) fn delete(&self, path: &str) -> Result<Answer, Failure> {
        self.finish(self.with_headers(self.agent.delete(self.url(path))).call())
    }

    /// POST of a form.
    pub(crate) fn post_form(&self, path: &str, form: &[(&str, String)]) -> Result<Answer, Failure> {
        let request = self.with_headers(self.agent.post(self.url(path)));
        self.finish(request.send_form(form.iter().map(|(k, v)| (*k, v.as_str()))))
    }

    /// POST or PUT of JSON.
    pub(crate) fn send_json(&self, method: &str, path: &str, body: &Value) -> Result<Answer, Failure> {
        let url = self.url(path);
        let request = if method == "PUT" { self.agent.put(url) } else { self.agent.post(url) };
        let request = self.with_headers(request).header("content-type", "application/json");
        self.finish(request.send(body.to_string()))
    }

    /// POST of bytes.
    pub(crate) fn post(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Answer, Failure> {
        let request = self.with_headers(self.agent.post(self.url(path)));
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        self.finish(request.send(body))
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    fn with_headers<T>(&self, mut request: ureq::RequestBuilder<T>) -> ureq::RequestBuilder<T> {
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if let Some(tenant) = &self.tenant {
            request = request.header("x-scope-orgid", tenant);
        }
        request
    }

    fn finish(&self, result: Result<Response<Body>, ureq::Error>) -> Result<Answer, Failure> {
        let unreachable = |error: ureq::Error| {
            Failure::new(Code::Unreachable, format_args!("no answer from {}: {error}", self.base))
        };
        let mut response = result.map_err(unreachable)?;
        let status = response.status().as_u16();
        let retry_after = response.headers().get("retry-after").and_then(|value| value.to_str().ok());
        let retry_after_s = retry_after.and_then(|value| value.parse().ok());
        let body =
            response.body_mut().with_config().limit(ANSWER_BYTES_MAX).lossy_utf8(true).read_to_string();
        let answer = Answer { status, retry_after_s, body: body.map_err(unreachable)? };
        if matches!(status, 401 | 403) {
            let hint =
                if self.token.is_none() { " (give --token-file, WEIR_TOKEN or --data-dir)" } else { "" };
            let message = format!("{} refuses: {}{hint}", self.base, answer.error());
            return Err(Failure::new(Code::Unauthorised, message));
        }
        Ok(answer)
    }
}

/// What somebody else's server answered.
#[derive(Debug)]
pub(crate) struct Fetched {
    /// `Content-Type`, where it says so.
    pub(crate) content_type: Option<String>,
    /// The body.
    pub(crate) body: Vec<u8>,
}

/// GET from anywhere, without a credential.
pub(crate) fn fetch(url: &str, accept: &str, flags: &arguments::Server) -> Result<Fetched, Failure> {
    let local = check_url(url)?;
    let tls = if url.starts_with("https:") { tls(flags)? } else { TlsConfig::default() };
    let mut config = Agent::config_builder()
        .http_status_as_error(false)
        .tls_config(tls)
        .user_agent(concat!("weir/", env!("CARGO_PKG_VERSION")))
        .timeout_global(Some(Duration::from_secs(60)));
    if local {
        config = config.proxy(None);
    }
    let unreachable =
        |error: ureq::Error| Failure::new(Code::Unreachable, format_args!("no answer from {url}: {error}"));
    let agent = config.build().new_agent();
    let mut response = agent.get(url).header("accept", accept).call().map_err(unreachable)?;
    let status = response.status().as_u16();
    if !response.status().is_success() {
        let code = if matches!(status, 401 | 403) { Code::Unauthorised } else { Code::Failed };
        return Err(Failure::new(code, format_args!("{url} answers {status}")));
    }
    let content_type = response.headers().get("content-type").and_then(|value| value.to_str().ok());
    let content_type = content_type.map(str::to_owned);
    let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
    Ok(Fetched { content_type, body: body.map_err(unreachable)? })
}

impl Answer {
    /// Whether the status is 2xx.
    pub(crate) fn is_good(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// What an error says: the `error` of Prometheus' shape, else the text.
    pub(crate) fn error(&self) -> String {
        let json: Option<Value> = serde_json::from_str(&self.body).ok();
        let message = json.as_ref().and_then(|json| json.get("error")).and_then(Value::as_str);
        let text = message.unwrap_or(&self.body).trim();
        if text.is_empty() { format!("status {}", self.status) } else { crate::terminal::tame(text) }
    }

    /// The JSON of a good answer.
    pub(crate) fn json(&self) -> Result<Value, Failure> {
        if !self.is_good() {
            return Err(Failure::new(Code::Failed, self.error()));
        }
        serde_json::from_str(&self.body)
            .map_err(|error| Failure::new(Code::Failed, format_args!("the answer is not Weir's: {error}")))
    }
}

/// How a server that speaks TLS is known: with the server's own crypto, for there is one of it in the binary.
fn tls(flags: &arguments::Server) -> Result<TlsConfig, Failure> {
    let trusted = server::tls::trusted(flags.ca_cert.as_deref());
    let trusted = trusted.map_err(|error| Failure::new(Code::Usage, format_args!("--ca-cert: {error}")))?;
    let roots: Vec<_> = trusted.iter().map(|authority| Certificate::from_der(authority).to_owned()).collect();
    Ok(TlsConfig::builder()
        .unversioned_rustls_crypto_provider(server::tls::certificate::provider())
        .root_certs(RootCerts::Specific(Arc::new(roots)))
        .build())
}

/// Checks the URL and says whether it is on this machine.
fn check_url(base: &str) -> Result<bool, Failure> {
    let usage = |message: String| Failure::new(Code::Usage, message);
    let uri: ureq::http::Uri = base.parse().map_err(|error| usage(format!("{base}: {error}")))?;
    let (Some("http" | "https"), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(usage(format!("{base}: expected a URL like {DEFAULT_URL}")));
    };
    if authority.as_str().contains('@') {
        return Err(usage("a URL must not hold a credential: give --token-file".to_owned()));
    }
    let host = authority.host().trim_matches(['[', ']']);
    let address = host.parse::<std::net::IpAddr>();
    Ok(host == "localhost" || address.is_ok_and(|address| address.is_loopback()))
}

fn token(flags: &arguments::Server, local: bool, name: &str) -> Result<Option<String>, Failure> {
    let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    if let Some(token) = &flags.token {
        return Ok(Some(token.clone()));
    }
    if let Some(path) = &flags.token_file {
        return read_token(path).map(Some);
    }
    if let Some(token) = variable("WEIR_TOKEN") {
        return Ok(Some(token));
    }
    if let Some(path) = variable("WEIR_TOKEN_FILE") {
        return read_token(Path::new(&path)).map(Some);
    }
    let path = flags.data_dir.join(name);
    // A server that asks for no tokens has them all the same; one elsewhere on this machine may have other files.
    if local && path.exists() { read_token(&path).map(Some) } else { Ok(None) }
}

fn read_token(path: &Path) -> Result<String, Failure> {
    let text = env::real::read_text(path);
    let failed = |error| Failure::new(Code::Unauthorised, format_args!("{}: {error}", path.display()));
    text.map(|text| text.trim().to_owned()).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_checked_before_a_token_goes_out() {
        for local in
            ["http://127.0.0.1:9347", "http://localhost", "http://[::1]:1", "https://127.9.9.9:1/prefix"]
        {
            assert!(check_url(local).unwrap(), "{local}");
        }
        for remote in ["https://weir.example:9347", "http://10.0.0.1", "http://127.0.0.1.example"] {
            assert!(!check_url(remote).unwrap(), "{remote}");
        }
        for bad in
            ["https://user:pass@weir", "weir.example:9347", "ftp://x", "http://user:pass@weir", "", "http://"]
        {
            assert!(check_url(bad).is_err(), "{bad}");
        }
    }
}
