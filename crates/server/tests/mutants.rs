//! Structured mutation over every push route: whatever is made of a request that a dialect knows, nothing panics, nothing is
//! answered 5xx, and what was received is what was accepted and what was rejected, request by request.
//!
//! Seeds are the golden cases of all dialects. `WEIR_MUTANTS` says how many requests, `WEIR_MUTANTS_SEED` which.

mod common;

use std::path::{Path, PathBuf};

use axum::Router;
use axum::body::Body;
use common::Weir;
use dialects::{ALL, Credential, Dialect, Door, Encoding};
use http::{HeaderName, HeaderValue, Request};
use model::{Reason, Signal};
use server::app::App;
use server::config::{Durability, Settings, Size};
use tower::ServiceExt;

/// Requests of a normal run.
const MUTANTS: u64 = 2000;

/// Headers that a request gets anew, or that only its connection knew.
const NOT_COPIED: [&str; 10] = [
    "authorization",
    "case-body",
    "connection",
    "content-encoding",
    "content-length",
    "dd-api-key",
    "expect",
    "host",
    "transfer-encoding",
    "x-scope-orgid",
];

/// A request that a dialect knows.
#[derive(Clone)]
struct Seed {
    path: PathBuf,
    dialect: &'static Dialect,
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    /// As it was captured, with the encoding that its header says.
    wire: Option<(String, Vec<u8>)>,
    /// As its dialect reads it.
    body: Vec<u8>,
}

impl Seed {
    fn read(path: &Path) -> Option<Self> {
        let bytes = std::fs::read(path).unwrap();
        let end = bytes.windows(2).position(|pair| pair == b"\n\n").unwrap();
        let head = std::str::from_utf8(&bytes[..end]).unwrap();
        let mut lines = head.lines();
        let (method, target) = lines.next().unwrap().split_once(' ').unwrap();
        let headers: Vec<(String, String)> = lines
            .map(|line| line.split_once(':').unwrap())
            .map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let header = |wanted: &str| headers.iter().find(|(n, _)| n == wanted).map_or("", |(_, v)| v.as_str());
        let (path_part, query) = target.split_once('?').unwrap_or((target, ""));
        let request = dialects::Request {
            path: path_part,
            query,
            content_type: header("content-type"),
            content_encoding: header("content-encoding"),
            channel: header("x-splunk-request-channel"),
            scheme: header("authorization").split(' ').next().unwrap_or(""),
        };
        let (dialect, _) = dialects::owner(method, &request)?;
        let raw = &bytes[end + 2..];
        let (wire, body) = if header("case-body") == "hex" {
            (None, from_hex(raw))
        } else {
            let named = header("content-encoding").to_owned();
            (Some((named, raw.to_vec())), inflated(dialect, &request, raw).unwrap_or_else(|| raw.to_vec()))
        };
        Some(Self {
            path: path.to_owned(),
            dialect,
            method: method.into(),
            target: target.into(),
            headers,
            wire,
            body,
        })
    }

    /// How a body is packed that comes without a word about it.
    fn unsaid(&self) -> Option<Encoding> {
        let content_type = self.headers.iter().find(|(name, _)| name == "content-type");
        let content_type = content_type.map_or("", |(_, value)| value);
        let request = dialects::Request { content_type, ..dialects::Request::default() };
        self.dialect.encodings(&request).ok()?.first().copied()
    }
}

fn inflated(dialect: &Dialect, request: &dialects::Request<'_>, raw: &[u8]) -> Option<Vec<u8>> {
    let mut body = raw.to_vec();
    for encoding in dialect.encodings(request).ok()? {
        let mut out = Vec::new();
        codec::inflate::inflate(encoding, &body, dialect.limits.decoded, &mut out).ok()?;
        body = out;
    }
    Some(body)
}

fn from_hex(text: &[u8]) -> Vec<u8> {
    let text = std::str::from_utf8(text).unwrap();
    let digits: Vec<u8> = text
        .lines()
        .flat_map(|line| line.split('#').next().unwrap().chars())
        .filter_map(|c| c.to_digit(16))
        .map(|digit| digit as u8)
        .collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn seeds() -> Vec<Seed> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dialects/src");
    let folders = ALL.iter().map(|dialect| sources.join(dialect.name).join("cases"));
    let mut paths: Vec<PathBuf> = folders
        .flat_map(|folder| std::fs::read_dir(folder).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "in"))
        .collect();
    paths.sort();
    let seeds: Vec<Seed> = paths.iter().filter_map(|path| Seed::read(path)).collect();
    // Others are lines on ports of their own.
    let takes_requests = |dialect: &&&Dialect| dialect.routes.iter().any(|route| route.door.http().is_some());
    for dialect in ALL.iter().filter(takes_requests) {
        assert!(seeds.iter().any(|seed| seed.dialect.name == dialect.name), "no seed of {}", dialect.name);
    }
    seeds
}

/// xorshift64*: the seed alone tells the run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % sides.max(1)
    }

    fn one_in(&mut self, sides: usize) -> bool {
        self.roll(sides) == 0
    }

    fn pick<'t, T>(&mut self, of: &'t [T]) -> &'t T {
        &of[self.roll(of.len())]
    }

    /// A part of `length` places.
    fn range(&mut self, length: usize, most: usize) -> std::ops::Range<usize> {
        let start = self.roll(length);
        start..(start + self.roll(most)).min(length)
    }
}

/// What a number in a text may become.
const NUMBERS: [&str; 16] = [
    "0",
    "-0",
    "-1",
    "1e999",
    "-1e999",
    "1e-999",
    "5e-324",
    "NaN",
    "Infinity",
    "null",
    "\"\"",
    "2147483648",
    "9223372036854775807",
    "-9223372036854775808",
    "18446744073709551616",
    "0.1000000000000000055511151231257827021181583404541015625",
];

/// What bytes that may be a number, a length or a tag may become.
const WORDS: [&[u8]; 10] = [
    &[0; 8],
    &[0xff; 8],
    &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
    &[0xff, 0xff, 0xff, 0xff, 0x0f],
    &[0, 0, 0, 0, 0, 0, 0xf8, 0x7f],
    &[0, 0, 0, 0, 0, 0, 0xf0, 0x7f],
    &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
    &[0x80, 0x80, 0x80, 0x80, 0x80],
    &[0x7f],
    &[],
];

const SIGNS: &[u8] = b"{}[]\",:=\\\n\r\t |#;@\0\xff";

fn mutate(dice: &mut Dice, body: &mut Vec<u8>, other: &[u8]) {
    for _ in 0..=dice.roll(3) {
        match dice.roll(8) {
            0 if !body.is_empty() => {
                let at = dice.roll(body.len());
                body[at] ^= 1 << dice.roll(8);
            }
            1 if !body.is_empty() => {
                let at = dice.roll(body.len());
                body[at] = *dice.pick(SIGNS);
            }
            2 => drop(body.drain(dice.range(body.len(), 200))),
            3 => {
                let piece = body[dice.range(body.len(), 400)].to_vec();
                let at = dice.roll(body.len());
                body.splice(at..at, piece);
            }
            4 => {
                let piece = other[dice.range(other.len(), 400)].to_vec();
                let at = dice.roll(body.len());
                body.splice(at..at, piece);
            }
            5 => number(dice, body),
            6 => {
                let word = *dice.pick(&WORDS);
                let at = dice.roll(body.len());
                let end = (at + word.len()).min(body.len());
                body.splice(at..end, word.iter().copied());
            }
            _ if dice.one_in(4) => body.truncate(dice.roll(body.len() + 1)),
            _ => {}
        }
    }
}

/// Replaces one of the numbers in a text.
fn number(dice: &mut Dice, body: &mut Vec<u8>) {
    let from = dice.roll(body.len());
    let is_digit = |byte: &u8| byte.is_ascii_digit();
    let Some(start) = body[from..].iter().position(is_digit).map(|at| from + at) else { return };
    let length = body[start..].iter().take_while(|byte| is_digit(byte) || **byte == b'.').count();
    let value = dice.pick(&NUMBERS).as_bytes().to_vec();
    body.splice(start..start + length, value);
}

/// A request made of `seed`, with what stands in `other`; `None` where it is none that a client could send.
fn mutant(dice: &mut Dice, token: &str, seed: &Seed, other: &Seed) -> Option<Request<Body>> {
    let mut headers: Vec<(String, String)> = seed.headers.clone();
    headers.retain(|(name, _)| !NOT_COPIED.contains(&name.as_str()));
    let mut target = seed.target.clone();
    if dice.one_in(16) {
        headers = other.headers.clone();
        headers.retain(|(name, _)| !NOT_COPIED.contains(&name.as_str()));
    }
    if dice.one_in(16) {
        let path = target.split('?').next()?.to_owned();
        target = format!("{path}?{}", other.target.split_once('?').map_or("", |(_, query)| query));
    }
    if dice.one_in(16) {
        let mut bytes = target.into_bytes();
        mutate(dice, &mut bytes, other.target.as_bytes());
        target = String::from_utf8(bytes).ok()?;
    }
    let mut method = seed.method.as_str();
    if dice.one_in(50) {
        method = ["GET", "PUT", "HEAD", "POST", "OPTIONS"][dice.roll(5)];
    }
    let calls = seed.dialect.routes.iter().filter_map(|route| match route.door {
        Door::Grpc { path } => Some(path),
        _ => None,
    });
    let calls: Vec<&str> = calls.collect();
    let mut body = seed.body.clone();
    let as_call = !calls.is_empty() && dice.one_in(3);
    if let Some((encoding, wire)) = seed.wire.as_ref().filter(|_| !as_call && dice.one_in(8)) {
        // What is packed is damaged as it lies on the wire.
        body = wire.clone();
        mutate(dice, &mut body, &other.body);
        if !encoding.is_empty() {
            headers.push(("content-encoding".to_owned(), encoding.clone()));
        }
    } else {
        if !dice.one_in(20) {
            mutate(dice, &mut body, &other.body);
        }
        if as_call {
            target = (*dice.pick(&calls)).to_owned();
            headers.retain(|(name, _)| name != "content-type");
            headers.push(("content-type".to_owned(), "application/grpc".to_owned()));
            let mut frame = [&[0][..], &u32::try_from(body.len()).ok()?.to_be_bytes()].concat();
            frame.append(&mut body);
            body = frame;
            if dice.one_in(8) {
                mutate(dice, &mut body, &other.body);
            }
        } else if seed.unsaid() == Some(Encoding::Snappy) {
            body = codec::pack::snappy(&body).ok()?;
        }
    }
    let mut request = Request::builder().method(method).uri(target);
    if let Some((name, value)) = credential(seed.dialect, token).filter(|_| !dice.one_in(50)) {
        request = request.header(name, value);
    }
    for (name, value) in headers {
        request = request.header(HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?);
    }
    request.body(Body::from(body)).ok()
}

/// The token, where the dialect looks for one.
fn credential(dialect: &Dialect, token: &str) -> Option<(&'static str, String)> {
    dialect.credentials.iter().find_map(|place| match place {
        Credential::Bearer => Some(("authorization", format!("Bearer {token}"))),
        Credential::Scheme(scheme) => Some(("authorization", format!("{scheme} {token}"))),
        Credential::Header(name) => Some((*name, token.to_owned())),
        _ => None,
    })
}

/// What was received, accepted and rejected so far.
fn counted(app: &App) -> [u64; 3] {
    let metrics = &app.metrics;
    let mut sums = [0; 3];
    let reasons = || Reason::ALL.iter().map(|reason| reason.as_str()).chain(["not_taken", "not_durable"]);
    for kind in Signal::ALL.map(Signal::as_str) {
        sums[0] += metrics.samples_received.of_tenant("default", &[kind]).get();
        sums[1] += metrics.samples_accepted.of_tenant("default", &[kind]).get();
        sums[2] += reasons()
            .map(|reason| metrics.samples_rejected.of_tenant("default", &[kind, reason]).get())
            .sum::<u64>();
    }
    sums
}

/// Everything that must hold of one request; the status that it was answered.
async fn check(app: &App, router: &Router, request: Request<Body>, what: &str) -> u16 {
    let before = counted(app);
    let answer = router.clone().oneshot(request).await.unwrap();
    let after = counted(app);
    let [received, accepted, rejected] = std::array::from_fn(|i| after[i] - before[i]);
    assert_eq!(received, accepted + rejected, "{what}");
    assert_eq!(app.metrics.panics.get(), 0, "{what} ended in a panic");
    let status = answer.status();
    assert!(!status.is_server_error(), "{what} was answered {status}");
    let code = answer.headers().get("grpc-status").map_or("", |code| code.to_str().unwrap());
    assert!(code != "14" && code != "2", "{what} ended with {code}");
    let failed = !code.is_empty() && code != "0";
    let said = answer.headers().contains_key("x-weir-rejected");
    assert!(
        rejected == 0 || said || failed || !status.is_success(),
        "{what}: {status} over {rejected} refused"
    );
    // Remote write 2.0 refuses a series that has neither samples nor histograms: nothing of it can be counted.
    let may_have_nothing = what.contains("remote_write/cases/v2");
    assert!(
        accepted == 0 || status.is_success() || rejected > 0 || may_have_nothing,
        "{what}: {status} over what was all stored"
    );
    status.as_u16()
}

fn number_of(variable: &str, standard: u64) -> u64 {
    std::env::var(variable).map_or(standard, |text| text.parse().unwrap())
}

fn roomy(settings: &mut Settings) {
    // What is asked here is not what becomes of a power cut.
    settings.storage.durability = Durability::Os;
    settings.storage.log_bytes = Size(64 << 30);
    settings.limits.samples_per_second = 1e12;
    settings.limits.samples_burst = 1e12;
    settings.betterstack.requests_per_minute = Some(0);
}

#[test]
fn no_mutant_panics_or_is_answered_5xx_and_all_are_accounted_for() {
    let weir = Weir::start_with(roomy);
    let (app, router) = (weir.app(), weir.router());
    let seeds = seeds();
    let (mutants, first) = (number_of("WEIR_MUTANTS", MUTANTS), number_of("WEIR_MUTANTS_SEED", 1));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut statuses = std::collections::BTreeMap::new();
    for round in first..first + mutants {
        let mut dice = Dice(round.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let (seed, other) = (dice.pick(&seeds).clone(), dice.pick(&seeds).clone());
        let Some(request) = mutant(&mut dice, &weir.token, &seed, &other) else { continue };
        let what = format!("round {round} of {}", seed.path.display());
        let status = runtime.block_on(check(app, &router, request, &what));
        *statuses.entry((seed.dialect.name, status)).or_insert(0u64) += 1;
    }
    let taken: u64 = statuses.iter().filter(|((_, status), _)| *status < 300).map(|(_, count)| count).sum();
    assert!(taken > mutants / 10, "few are close enough to be taken: {statuses:?}");
    let [received, accepted, rejected] = counted(app);
    assert!(accepted > 0 && rejected > 0 && received == accepted + rejected, "{:?}", counted(app));
}
