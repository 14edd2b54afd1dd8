//! An authority that speaks ACME (RFC 8555) and believes nothing: signatures, nonces, URLs and accounts are checked, a
//! name is validated by connecting to where it leads, and what is signed is what the validated request asks for.
//!
//! Every name leads to the addresses that the test sets. [`jws`] checks requests, [`validate`] names, [`der`] reads
//! certificates and what asks for them.

mod der;
mod jws;
mod validate;

use std::collections::{BTreeSet, HashSet};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rcgen::{
    CertificateParams, DistinguishedName, PKCS_ECDSA_P256_SHA256, PublicKeyData, SignatureAlgorithm,
};
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use super::tls::Ca;
use jws::{Key, Signed};

/// What is wrong with the authority.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Trouble {
    #[default]
    None,
    /// It answers every new order with an error of its own.
    Down,
    /// It says that it is too much, and for how long.
    RateLimited { retry_after_s: u64 },
}

/// The authority.
pub(crate) struct AcmeServer {
    shared: Arc<Shared>,
}

struct Shared {
    address: SocketAddr,
    root: Ca,
    issuing: Ca,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    last: u64,
    nonces: HashSet<String>,
    accounts: Vec<Key>,
    orders: Vec<Order>,
    authorizations: Vec<Authorization>,
    requests: u64,
    trouble: Trouble,
    refused: BTreeSet<String>,
    life_s: i64,
    tls_at: Option<SocketAddr>,
    http_at: Option<SocketAddr>,
}

struct Order {
    account: usize,
    names: Vec<String>,
    authorizations: Vec<usize>,
    chain: Option<String>,
}

struct Authorization {
    account: usize,
    name: String,
    token: String,
    status: &'static str,
    /// The kind of challenge that was taken on, and what was wrong with the answer.
    tried: Option<(String, Option<String>)>,
}

/// An answer: status, headers, body.
type Answer = (u16, Vec<(&'static str, String)>, String);

impl AcmeServer {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let root = Ca::new("root");
        let issuing = root.under("issuing");
        let own = root.issue(&["127.0.0.1"]);
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![own.certificate()],
                PrivateKeyDer::from_pem_slice(own.key.as_bytes()).unwrap(),
            )
            .unwrap();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let state = Mutex::new(State { life_s: 90 * 86_400, ..State::default() });
        let shared = Arc::new(Shared { address: listener.local_addr().unwrap(), root, issuing, state });
        let (its, config) = (Arc::clone(&shared), Arc::new(config));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (its, config) = (Arc::clone(&its), Arc::clone(&config));
                std::thread::spawn(move || serve(&its, config, stream.unwrap()));
            }
        });
        Self { shared }
    }

    pub(crate) fn directory(&self) -> String {
        self.shared.url("directory")
    }

    /// The authority itself, PEM.
    pub(crate) fn root(&self) -> String {
        self.shared.root.pem()
    }

    /// Where names lead to, for TLS and for HTTP. Validations wait until it is set.
    pub(crate) fn lead_to(&self, tls: Option<SocketAddr>, http: Option<SocketAddr>) {
        let mut state = self.shared.state();
        (state.tls_at, state.http_at) = (tls, http);
    }

    pub(crate) fn set_trouble(&self, trouble: Trouble) {
        self.shared.state().trouble = trouble;
    }

    /// Does not believe anything about this name.
    pub(crate) fn refuse(&self, name: &str) {
        self.shared.state().refused.insert(name.to_owned());
    }

    /// Certificates are good for so long from now on.
    pub(crate) fn set_life(&self, seconds: i64) {
        self.shared.state().life_s = seconds;
    }

    /// The names of each order so far.
    pub(crate) fn orders(&self) -> Vec<String> {
        self.shared.state().orders.iter().map(|order| order.names.join(" ")).collect()
    }

    pub(crate) fn accounts(&self) -> usize {
        self.shared.state().accounts.len()
    }

    /// Requests for new orders, whether one came of them or not.
    pub(crate) fn requests(&self) -> u64 {
        self.shared.state().requests
    }

    /// Kinds of challenges that were answered well.
    pub(crate) fn validated(&self) -> BTreeSet<String> {
        let state = self.shared.state();
        let tried = state.authorizations.iter().filter_map(|one| one.tried.as_ref());
        tried.filter(|(_, wrong)| wrong.is_none()).map(|(kind, _)| kind.clone()).collect()
    }
}

impl Shared {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn url(&self, path: &str) -> String {
        format!("https://{}/{path}", self.address)
    }

    fn answer(self: &Arc<Self>, method: &str, path: &str, body: &[u8]) -> Answer {
        if (method, path) == ("GET", "directory") {
            let url = |path| self.url(path);
            let directory = json!({
                "newNonce": url("new-nonce"), "newAccount": url("new-account"), "newOrder": url("new-order"),
                "revokeCert": url("revoke"), "keyChange": url("key-change"), "meta": {},
            });
            return (200, Vec::new(), directory.to_string());
        }
        if path == "new-nonce" {
            return (200, Vec::new(), String::new());
        }
        match jws::check(self, path, body).and_then(|signed| self.act(path, &signed)) {
            Ok(answer) => answer,
            Err((status, kind, detail)) => problem(status, kind, &detail),
        }
    }

    fn act(self: &Arc<Self>, path: &str, signed: &Signed) -> Result<Answer, Wrong> {
        let parts: Vec<&str> = path.split('/').collect();
        let number = |text: &str| text.parse::<usize>().map_err(|_| wrong(404, "malformed", path));
        match parts.as_slice() {
            ["new-account"] => self.new_account(signed),
            ["new-order"] => self.new_order(signed),
            ["order", order] => self.order(signed, number(order)?, 200),
            ["authorization", authorization] => {
                let number = number(authorization)?;
                let state = self.state();
                let found = own(signed, state.authorizations.get(number), |one| one.account)?;
                Ok((200, Vec::new(), self.authorization_json(number, found).to_string()))
            }
            ["challenge", authorization, kind] => self.challenge(signed, number(authorization)?, kind),
            ["finalize", order] => self.finalize(signed, number(order)?),
            ["certificate", order] => {
                let state = self.state();
                let order = own(signed, state.orders.get(number(order)?), |order| order.account)?;
                let chain =
                    order.chain.clone().ok_or_else(|| wrong(404, "malformed", "no certificate yet"))?;
                Ok((200, vec![("content-type", "application/pem-certificate-chain".into())], chain))
            }
            _ => Err(wrong(404, "malformed", path)),
        }
    }

    fn new_account(&self, signed: &Signed) -> Result<Answer, Wrong> {
        if signed.payload["termsOfServiceAgreed"] != true {
            return Err(wrong(403, "userActionRequired", "the terms are not agreed to"));
        }
        let mut state = self.state();
        let known = state.accounts.iter().position(|key| *key == signed.key);
        let number = known.unwrap_or(state.accounts.len());
        if known.is_none() {
            state.accounts.push(signed.key.clone());
        }
        let body = json!({ "status": "valid", "contact": signed.payload["contact"] });
        let location = ("location", self.url(&format!("account/{number}")));
        Ok((if known.is_some() { 200 } else { 201 }, vec![location], body.to_string()))
    }

    fn new_order(&self, signed: &Signed) -> Result<Answer, Wrong> {
        let account = signed.account()?;
        let mut state = self.state();
        state.requests += 1;
        match state.trouble {
            Trouble::None => {}
            Trouble::Down => return Err(wrong(500, "serverInternal", "no orders today")),
            Trouble::RateLimited { retry_after_s } => {
                let (status, mut headers, body) = problem(429, "rateLimited", "too many orders");
                headers.push(("retry-after", retry_after_s.to_string()));
                return Ok((status, headers, body));
            }
        }
        let identifiers = signed.payload["identifiers"].as_array().cloned().unwrap_or_default();
        let names: Option<Vec<String>> = identifiers
            .iter()
            .map(|one| (one["type"] == "dns").then(|| one["value"].as_str().map(str::to_owned)).flatten())
            .collect();
        let names =
            names.filter(|names| !names.is_empty()).ok_or_else(|| wrong(400, "malformed", "identifiers"))?;
        let mut authorizations = Vec::new();
        for name in &names {
            authorizations.push(state.authorizations.len());
            let token = state.unused("token");
            let name = name.clone();
            state.authorizations.push(Authorization { account, name, token, status: "pending", tried: None });
        }
        let number = state.orders.len();
        state.orders.push(Order { account, names, authorizations, chain: None });
        drop(state);
        let (status, mut headers, body) = self.order(signed, number, 201)?;
        headers.push(("location", self.url(&format!("order/{number}"))));
        Ok((status, headers, body))
    }

    fn order(&self, signed: &Signed, number: usize, status: u16) -> Result<Answer, Wrong> {
        let state = self.state();
        let order = own(signed, state.orders.get(number), |order| order.account)?;
        let statuses: Vec<_> =
            order.authorizations.iter().map(|one| state.authorizations[*one].status).collect();
        let standing = match &order.chain {
            Some(_) => "valid",
            None if statuses.contains(&"invalid") => "invalid",
            None if statuses.iter().all(|status| *status == "valid") => "ready",
            None => "pending",
        };
        let url = |kind: &str, number: usize| self.url(&format!("{kind}/{number}"));
        let mut body = json!({
            "status": standing,
            "identifiers":
                order.names.iter().map(|name| json!({ "type": "dns", "value": name })).collect::<Vec<_>>(),
            "authorizations": order.authorizations.iter().map(|one| url("authorization", *one)).collect::<Vec<_>>(),
            "finalize": url("finalize", number),
        });
        if order.chain.is_some() {
            body["certificate"] = url("certificate", number).into();
        }
        Ok((status, Vec::new(), body.to_string()))
    }

    fn authorization_json(&self, number: usize, authorization: &Authorization) -> Value {
        let challenge = |kind: &str| {
            let mut body = json!({
                "type": kind,
                "url": self.url(&format!("challenge/{number}/{kind}")),
                "token": authorization.token,
                "status": "pending",
            });
            if let Some((_, wrong)) = authorization.tried.as_ref().filter(|(tried, _)| tried == kind) {
                body["status"] = authorization.status.into();
                if let Some(wrong) = wrong {
                    let kind = "urn:ietf:params:acme:error:unauthorized";
                    body["error"] = json!({ "type": kind, "detail": wrong, "status": 403 });
                }
            }
            body
        };
        json!({
            "identifier": { "type": "dns", "value": authorization.name },
            "status": authorization.status,
            "challenges": [challenge("http-01"), challenge("tls-alpn-01")],
        })
    }

    /// Takes on a challenge: it is validated meanwhile.
    fn challenge(self: &Arc<Self>, signed: &Signed, number: usize, kind: &str) -> Result<Answer, Wrong> {
        let state = self.state();
        let authorization = own(signed, state.authorizations.get(number), |one| one.account)?;
        if authorization.status != "pending" || !["http-01", "tls-alpn-01"].contains(&kind) {
            return Err(wrong(400, "malformed", "nothing to validate"));
        }
        let body = json!({
            "type": kind,
            "url": self.url(&format!("challenge/{number}/{kind}")),
            "token": authorization.token,
            "status": "processing",
        });
        let key = signed.key.authorization(&authorization.token);
        let (its, kind, name) = (Arc::clone(self), kind.to_owned(), authorization.name.clone());
        let token = authorization.token.clone();
        std::thread::spawn(move || {
            let refused = its.state().refused.contains(&name);
            let found = match refused {
                true => Err("nothing is believed about this name".to_owned()),
                false => validate::validate(&its, &kind, &name, &token, &key),
            };
            let mut state = its.state();
            let authorization = &mut state.authorizations[number];
            authorization.status = if found.is_ok() { "valid" } else { "invalid" };
            authorization.tried = Some((kind, found.err()));
        });
        Ok((200, Vec::new(), body.to_string()))
    }

    fn finalize(&self, signed: &Signed, number: usize) -> Result<Answer, Wrong> {
        let (names, life_s) = {
            let state = self.state();
            let order = own(signed, state.orders.get(number), |order| order.account)?;
            let ready = order.authorizations.iter().all(|one| state.authorizations[*one].status == "valid");
            if !ready || order.chain.is_some() {
                return Err(wrong(403, "orderNotReady", "not all names are validated"));
            }
            (order.names.clone(), state.life_s)
        };
        let request =
            signed.payload["csr"].as_str().and_then(|text| BASE64_URL_SAFE_NO_PAD.decode(text).ok());
        let request = request.and_then(|request| der::signing_request(&request));
        let request = request.ok_or_else(|| wrong(400, "badCSR", "it cannot be read, or is not signed"))?;
        let asked: BTreeSet<_> = request.names.iter().collect();
        if asked != names.iter().collect() {
            return Err(wrong(400, "badCSR", "it is for other names"));
        }
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name = DistinguishedName::new();
        let now_ms = env::Env::real().clock.now_ms();
        let now = std::time::UNIX_EPOCH + Duration::from_millis(now_ms as u64);
        params.not_before = now.into();
        params.not_after = (now + Duration::from_secs(life_s as u64)).into();
        let certificate = params.signed_by(&Point(request.point), self.issuing.issuer()).unwrap();
        let chain = format!("{}{}", certificate.pem(), self.issuing.pem());
        self.state().orders[number].chain = Some(chain);
        self.order(signed, number, 200)
    }
}

impl State {
    /// A word that was never given out.
    fn unused(&mut self, kind: &str) -> String {
        self.last += 1;
        format!("{kind}-{}", self.last)
    }
}

/// A public key as a request for a certificate names it.
struct Point(Vec<u8>);

impl PublicKeyData for Point {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

/// What is wrong with a request: status, kind of problem, details.
type Wrong = (u16, &'static str, String);

fn wrong(status: u16, kind: &'static str, detail: &str) -> Wrong {
    (status, kind, detail.to_owned())
}

fn problem(status: u16, kind: &str, detail: &str) -> Answer {
    let kind = format!("urn:ietf:params:acme:error:{kind}");
    let body = json!({ "type": kind, "detail": detail, "status": status });
    (status, vec![("content-type", "application/problem+json".into())], body.to_string())
}

/// What there is, if it is the account's that asks.
fn own<'a, T>(signed: &Signed, found: Option<&'a T>, account: impl Fn(&T) -> usize) -> Result<&'a T, Wrong> {
    let asks = signed.account()?;
    found
        .filter(|found| account(found) == asks)
        .ok_or_else(|| wrong(403, "unauthorized", "another account's"))
}

/// One request on a connection.
fn serve(shared: &Arc<Shared>, config: Arc<ServerConfig>, tcp: TcpStream) {
    let mut stream = StreamOwned::new(ServerConnection::new(config).unwrap(), tcp);
    let mut request = Vec::new();
    let (head, mut body) = loop {
        if let Some(at) = request.windows(4).position(|at| at == b"\r\n\r\n") {
            let body = request.split_off(at + 4);
            break (String::from_utf8(request).unwrap().to_ascii_lowercase(), body);
        }
        if read(&mut stream, &mut request) == 0 {
            return;
        }
    };
    let length =
        head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
    while body.len() < length && read(&mut stream, &mut body) > 0 {}
    let mut words = head.split([' ', '\r']);
    let (method, path) = (words.next().unwrap().to_ascii_uppercase(), words.next().unwrap().to_owned());
    assert!(method != "POST" || head.contains("\r\ncontent-type: application/jose+json\r\n"), "{head}");
    let (status, headers, text) = shared.answer(&method, path.trim_start_matches('/'), &body);
    let nonce = {
        let mut state = shared.state();
        let nonce = state.unused("nonce");
        state.nonces.insert(nonce.clone());
        nonce
    };
    let mut answer =
        format!("HTTP/1.1 {status} x\r\nreplay-nonce: {nonce}\r\ncontent-length: {}\r\n", text.len());
    for (name, value) in headers {
        answer += &format!("{name}: {value}\r\n");
    }
    answer += &format!("connection: close\r\n\r\n{}", if method == "HEAD" { "" } else { &text });
    let _ = stream.write_all(answer.as_bytes());
    stream.conn.send_close_notify();
    let _ = stream.flush();
}

fn read(stream: &mut impl Read, into: &mut Vec<u8>) -> usize {
    let mut part = [0; 4096];
    let length = stream.read(&mut part).unwrap_or(0);
    into.extend_from_slice(&part[..length]);
    length
}
