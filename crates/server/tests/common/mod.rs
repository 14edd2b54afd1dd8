//! A Weir in this process on a free port with a directory of its own, and the plainest of clients.
#![allow(dead_code, reason = "each test file uses its part")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

pub(crate) mod acme;
pub(crate) mod pages;
pub(crate) mod scalr;
pub(crate) mod tls;

use codec::inflate::{Encoding, inflate};
use env::Env;
use server::app::{App, Reload};
use server::config::{Config, Machine, Settings, Sources};
use server::control::{ADMIN_TOKEN, Control, DEFAULT_TOKEN, SYSTEM_TOKEN};
use server::{ServeError, Server};

#[derive(Debug)]
struct NoReload;

impl Reload for NoReload {
    fn reload(&self, _: &App) -> Result<(), String> {
        Err("this test has no configuration to reload".into())
    }
}

pub(crate) struct Weir {
    pub(crate) server: Option<Server>,
    pub(crate) address: SocketAddr,
    /// Reads and writes the tenant `default`.
    pub(crate) token: String,
    /// Reads and writes the tenant `system`.
    pub(crate) system: String,
    pub(crate) admin: String,
    pub(crate) directory: tempfile::TempDir,
    /// How TLS is spoken with it, when it is.
    pub(crate) secure: Option<tls::Client>,
}

impl Weir {
    pub(crate) fn start() -> Self {
        Self::start_with(|_| {})
    }

    pub(crate) fn start_with(change: impl FnOnce(&mut Settings)) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), change)
    }

    pub(crate) fn start_in(directory: tempfile::TempDir, change: impl FnOnce(&mut Settings)) -> Self {
        let weir = Self::begin_in(directory, change);
        weir.wait_until_ready();
        weir
    }

    /// Speaks TLS with `client`, and waits until it is ready.
    pub(crate) fn start_secure(
        directory: tempfile::TempDir,
        client: tls::Client,
        change: impl FnOnce(&mut Settings),
    ) -> Self {
        let mut weir = Self::begin_in(directory, change);
        weir.secure = Some(client);
        weir.wait_until_ready();
        weir
    }

    /// Does not wait until it is ready.
    pub(crate) fn begin_in(directory: tempfile::TempDir, change: impl FnOnce(&mut Settings)) -> Self {
        Self::begin_as(directory, change, |_| {})
    }

    /// As well, with what is in no settings.
    pub(crate) fn begin_as(
        directory: tempfile::TempDir,
        change: impl FnOnce(&mut Settings),
        resolved: impl FnOnce(&mut Config),
    ) -> Self {
        Self::begin_on(Env::real(), directory, change, resolved)
    }

    /// As well, on another machine than the real one.
    pub(crate) fn begin_on(
        env: Env,
        directory: tempfile::TempDir,
        change: impl FnOnce(&mut Settings),
        resolved: impl FnOnce(&mut Config),
    ) -> Self {
        let server = begin(env, directory.path(), change, resolved).unwrap();
        let read = |name| std::fs::read_to_string(directory.path().join(name)).unwrap().trim().to_owned();
        let (token, system, admin) = (read(DEFAULT_TOKEN), read(SYSTEM_TOKEN), read(ADMIN_TOKEN));
        let address = server.address();
        Self { server: Some(server), address, token, system, admin, directory, secure: None }
    }

    /// Why it does not start.
    pub(crate) fn refused_in(directory: &tempfile::TempDir, change: impl FnOnce(&mut Settings)) -> String {
        begin(Env::real(), directory.path(), change, |_| {}).unwrap_err().to_string()
    }

    /// Where it listens by this key of the configuration.
    pub(crate) fn address_of(&self, key: &str) -> SocketAddr {
        let others = self.server.as_ref().unwrap().others();
        others.iter().find(|(other, _)| *other == key).unwrap().1
    }

    /// Where it takes StatsD by UDP.
    pub(crate) fn statsd(&self) -> SocketAddr {
        self.server.as_ref().unwrap().statsd_address().unwrap()
    }

    pub(crate) fn lines(&self, dialect: &str) -> SocketAddr {
        self.server.as_ref().unwrap().lines_address(dialect).unwrap()
    }

    pub(crate) fn app(&self) -> &App {
        self.server.as_ref().unwrap().app()
    }

    /// What serves its requests, to be asked without a socket.
    pub(crate) fn router(&self) -> axum::Router {
        server::routes::router(self.server.as_ref().unwrap().app())
    }

    pub(crate) fn wait_until_ready(&self) {
        for _ in 0..2000 {
            if self.get("/-/ready", "").status == 200 {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("not ready: {}", self.get("/-/ready", "").body);
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    /// Sends bytes, reads until the connection is closed.
    pub(crate) fn exchange(&self, bytes: &[u8]) -> String {
        if let Some(client) = &self.secure {
            return client.exchange(self.address, bytes).unwrap();
        }
        let mut stream = self.connect();
        stream.write_all(bytes).unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// The body of an answer that was asked for packed, as it came: by gzip.
    pub(crate) fn get_gzipped(&self, path: &str) -> String {
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAccept-Encoding: gzip, deflate\r\n\
             Authorization: Bearer {}\r\n\r\n",
            self.token
        );
        let mut stream = self.connect();
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let end = answer.windows(4).position(|part| part == b"\r\n\r\n").unwrap() + 4;
        assert!(String::from_utf8_lossy(&answer[..end]).contains("content-encoding: gzip\r\n"));
        let mut body = Vec::new();
        inflate(Encoding::Gzip, &answer[end..], 1 << 20, &mut body).unwrap();
        String::from_utf8(body).unwrap()
    }

    pub(crate) fn get(&self, path: &str, token: &str) -> Response {
        self.request("GET", path, token, "", b"")
    }

    pub(crate) fn post(&self, path: &str, body: &str) -> Response {
        self.request("POST", path, &self.token, "", body.as_bytes())
    }

    /// `headers` are whole lines, each with its line end.
    pub(crate) fn request(
        &self,
        method: &str,
        path: &str,
        token: &str,
        headers: &str,
        body: &[u8],
    ) -> Response {
        let host = self.secure.as_ref().map_or("weir", |client| client.name.as_str());
        let auth =
            if token.is_empty() { String::new() } else { format!("Authorization: Bearer {token}\r\n") };
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{auth}{headers}Content-Length: {}\r\n\r\n",
            body.len()
        );
        Response::parse(&self.exchange(&[head.as_bytes(), body].concat()))
    }

    pub(crate) fn stop(mut self) -> tempfile::TempDir {
        self.server.take().unwrap().stop().unwrap();
        std::mem::replace(&mut self.directory, tempfile::tempdir().unwrap())
    }
}

fn begin(
    env: Env,
    directory: &Path,
    change: impl FnOnce(&mut Settings),
    resolved: impl FnOnce(&mut Config),
) -> Result<Server, ServeError> {
    let mut settings = Settings::default();
    settings.general.listen = "127.0.0.1:0".parse().unwrap();
    settings.general.data_dir = directory.to_owned();
    change(&mut settings);
    let mut config = Config::resolve(settings, Machine { memory_bytes: 2 << 30, cores: 2 }).unwrap();
    resolved(&mut config);
    let (control, _) = Control::open(env.clone(), directory, config.policy.clone()).unwrap();
    Server::start(env, config, control, Box::new(NoReload))
}

impl Drop for Weir {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            let _ = server.stop();
        }
    }
}

/// The settings that a file says.
pub(crate) fn typed(text: &str) -> Settings {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("weir.yaml");
    std::fs::write(&path, text).unwrap();
    Sources { file: Some(path), ..Sources::default() }.load().unwrap()
}

/// Waits for what other threads do.
pub(crate) fn until(what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..4000 {
        if is_so() {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("never: {what}");
}

#[derive(Debug, Clone)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Response {
    pub(crate) fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
        let body = if chunked { unchunk(body) } else { body.to_owned() };
        Self { status, head: head.to_ascii_lowercase(), body }
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
}

fn unchunk(mut text: &str) -> String {
    let mut out = String::new();
    while let Some((size, rest)) = text.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap_or(0);
        if size == 0 {
            break;
        }
        out.push_str(&rest[..size]);
        text = rest.get(size + 2..).unwrap_or("");
    }
    out
}

/// Says that a test was skipped for want of a program or of data.
#[expect(clippy::print_stdout, reason = "a test that did not run must not look as if it had")]
pub(crate) fn skipped(program: &str) {
    println!("skipped: no {program} here");
}
