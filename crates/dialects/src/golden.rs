//! Golden cases of every dialect in the registry: `<dialect>/cases/NAME.in` is a request, `NAME.want` what is wanted of
//! it. A request is a request line, headers, an empty line and the body as it was captured; `case-body: hex` instead
//! means hand-written bytes, already inflated, with `#` comments. `LINES NAME` are lines of a dialect. A path of no dialect is wanted to have no route. `WEIR_BLESS=1` writes what came out as wanted: read
//! the difference before committing it.

#[path = "../benches/decode/bodies.rs"]
mod bodies;

use std::fmt::Write as _;
use std::ops::Range;
use std::path::{Path, PathBuf};

use codec::inflate::inflate;
use model::batch::HistogramSample;
use model::histogram::{BucketCounts, Span};
use model::{Batch, Signal};

use crate::exercise::{CONTENT_TYPES, answer, exercise, said};
use crate::{
    ALL, Decode, Dialect, Kind, Received, Refusal, Reply, Request, Settings, Verdict, datadog, decoder, find,
    lines_of, owner,
};

/// When all golden requests arrive.
const RECEIVED_MS: i64 = 1_795_167_944_000;

struct Case {
    path: PathBuf,
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Case {
    fn read(path: &Path) -> Self {
        let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let end = memchr::memmem::find(&bytes, b"\n\n").expect("an empty line ends the head");
        let head = std::str::from_utf8(&bytes[..end]).expect("the head is text");
        let mut lines = head.lines();
        let (method, target) = lines.next().and_then(|line| line.split_once(' ')).expect("a request line");
        let headers = lines
            .map(|line| line.split_once(':').expect("a header"))
            .map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let body = bytes[end + 2..].to_vec();
        Self { path: path.to_owned(), method: method.into(), target: target.into(), headers, body }
    }

    fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value)
    }

    fn request(&self) -> Request<'_> {
        let (path, query) = self.target.split_once('?').unwrap_or((&self.target, ""));
        Request {
            path,
            query,
            content_type: self.header("content-type"),
            content_encoding: self.header("content-encoding"),
            channel: self.header("x-splunk-request-channel"),
            scheme: self.header("authorization").split(' ').next().unwrap_or(""),
        }
    }

    /// The inflated body.
    fn inflated(&self, dialect: &Dialect) -> Result<Vec<u8>, Refusal> {
        if self.header("case-body") == "hex" {
            return Ok(from_hex(&self.body));
        }
        let mut out = Vec::new();
        let mut body = self.body.clone();
        for encoding in dialect.encodings(&self.request())? {
            inflate(encoding, &body, dialect.limits.decoded, &mut out)?;
            std::mem::swap(&mut body, &mut out);
        }
        Ok(body)
    }
}

fn from_hex(text: &[u8]) -> Vec<u8> {
    let text = std::str::from_utf8(text).expect("hex is text");
    let digits: Vec<u32> = text
        .lines()
        .flat_map(|line| line.split('#').next().unwrap_or("").chars())
        .filter(|c| !c.is_whitespace())
        .map(|c| c.to_digit(16).expect("hex digits"))
        .collect();
    let (pairs, rest) = digits.as_chunks::<2>();
    assert!(rest.is_empty(), "an odd number of hex digits");
    pairs.iter().map(|[high, low]| (high << 4 | low) as u8).collect()
}

fn cases(dialect: &Dialect) -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(dialect.name).join("cases");
    let mut paths: Vec<_> = std::fs::read_dir(&folder)
        .unwrap_or_else(|e| panic!("{}: {e}", folder.display()))
        .map(|entry| entry.expect("a readable folder").path())
        .filter(|path| path.extension().is_some_and(|e| e == "in"))
        .collect();
    paths.sort();
    paths.iter().map(|path| Case::read(path)).collect()
}

/// What became of a case under `settings`, in words.
fn outcome(dialect: &Dialect, case: &Case, settings: &Settings) -> String {
    let request = case.request();
    if case.method == "LINES" {
        return lines_outcome(dialect, case, settings);
    }
    let Some((found, route)) = owner(&case.method, &request) else { return "no route\n".to_owned() };
    assert_eq!(found.name, dialect.name);
    let mut out = String::new();
    match route.kind {
        Kind::Health(answer) => {
            show_reply(&answer(&[]), &mut out);
            show_reply(&answer(&["store is not ready: disk".to_owned()]), &mut out);
        }
        Kind::Answer(answer) => show_reply(&answer(&request), &mut out),
        Kind::Check(reply) | Kind::Discard(reply) => {
            show_reply(&reply(&request, &Verdict::default()), &mut out)
        }
        Kind::Lines { .. } => unreachable!("lines have no path"),
        Kind::Ingest { accept, decode, reply } => {
            match accept(&request).and_then(|()| case.inflated(dialect)) {
                Err(refusal) => show_reply(&reply(&request, &Verdict::refused(refusal)), &mut out),
                Ok(body) => {
                    let received = Received {
                        body: &body,
                        received_ms: RECEIVED_MS,
                        settings,
                        ..Received::new(request)
                    };
                    let (_, reply) = answer(route.kind, &received);
                    show_reply(&reply, &mut out);
                    show_batch(decode, &received, &mut out);
                }
            }
        }
    }
    out
}

/// Of lines, which have no head.
fn lines_outcome(dialect: &Dialect, case: &Case, settings: &Settings) -> String {
    let (_, decode, answer) = lines_of(&case.target).expect("a dialect with lines");
    let body = case.inflated(dialect).expect("lines are not packed");
    let received =
        Received { body: &body, received_ms: RECEIVED_MS, settings, ..Received::new(Request::default()) };
    let (verdict, said) = said(decode, answer, &received);
    let mut out = format!("{}{}", said.text, if said.closes { "closed\n" } else { "" });
    show_batch(decode, &received, &mut out);
    let (sent, refused) = (verdict.items.sent(), verdict.items.refused());
    let _ = writeln!(out, "lines {sent}, refused {refused}");
    out
}

fn show_reply(reply: &Reply, out: &mut String) {
    let _ = writeln!(out, "{}", reply.status);
    for (name, value) in &reply.headers {
        let _ = writeln!(out, "{name}: {value}");
    }
    let _ = writeln!(out, "{}", String::from_utf8_lossy(&reply.body));
}

fn show_batch(decode: Decode, received: &Received<'_>, out: &mut String) {
    let mut batch = Batch::new(42);
    if decode(received, &mut batch).is_err() {
        return;
    }
    for (index, series) in batch.series.iter().enumerate() {
        let shown = batch.with_labels(index, |pairs| {
            let pairs: Vec<_> = pairs.iter().map(|(n, v)| format!("{n}={v:?}")).collect();
            Ok(format!("{{{}}}", pairs.join(", ")))
        });
        let _ = writeln!(out, "{}", shown.unwrap_or_else(|error| format!("({error})")));
        for sample in &batch.samples[series.samples.clone()] {
            let mut value = String::new();
            codec::float::write_sample(sample.value, &mut value);
            if sample.value.is_nan() {
                value = format!("NaN({:#x})", sample.value.to_bits());
            }
            let start =
                if sample.start_ms == 0 { String::new() } else { format!(" since {}", sample.start_ms) };
            let _ = writeln!(out, "    {value} @ {}{start}", sample.timestamp_ms);
        }
        for sample in &batch.histograms[series.histograms.clone()] {
            show_histogram(sample, out);
        }
        for exemplar in &batch.exemplars[series.exemplars.clone()] {
            let _ = writeln!(
                out,
                "    exemplar {:?} {} @ {}",
                exemplar.labels, exemplar.value, exemplar.timestamp_ms
            );
        }
    }
    for row in &batch.metadata {
        let metadata = &row.metadata;
        let _ = writeln!(
            out,
            "metadata {:?} {} unit={:?} help={:?}",
            row.family,
            metadata.kind.as_str(),
            metadata.unit,
            metadata.help
        );
    }
    let pairs = |range: &Range<usize>| {
        let pairs: Vec<_> = batch.pairs[range.clone()].iter().map(|(n, v)| format!("{n}={v:?}")).collect();
        pairs.join(", ")
    };
    for row in &batch.logs {
        let _ = writeln!(out, "line {{{}}} {:?} @ {}", pairs(&row.stream), row.line, row.timestamp_ns);
        let _ = writeln!(out, "    {}", pairs(&row.fields));
    }
    for row in &batch.hosts {
        let _ = writeln!(out, "host {:?} {:?}", row.host, row.tags);
    }
    for (what, count) in &batch.notes {
        let _ = writeln!(out, "note {what} {count}");
    }
    for detail in batch.rejections.details() {
        let _ = writeln!(out, "refused: {detail}");
    }
}

fn show_histogram(sample: &HistogramSample, out: &mut String) {
    let histogram = &sample.histogram;
    let spans = |spans: &[Span]| {
        spans.iter().map(|s| format!("{:+}x{}", s.offset, s.length)).collect::<Vec<_>>().join(" ")
    };
    let counts = match &histogram.counts {
        BucketCounts::Integer { count, zero, positive, negative } => {
            format!("integer {count}, zero {zero}, positive {positive:?}, negative {negative:?}")
        }
        BucketCounts::Float { count, zero, positive, negative } => {
            format!("float {count}, zero {zero}, positive {positive:?}, negative {negative:?}")
        }
    };
    let _ = writeln!(
        out,
        "    histogram schema {} sum {} zero {} {:?} spans [{}] [{}] bounds {:?}: {counts} @ {} since {}",
        histogram.schema,
        if histogram.is_stale() { "stale".to_owned() } else { histogram.sum.to_string() },
        histogram.zero_threshold,
        histogram.reset_hint,
        spans(&histogram.positive_spans),
        spans(&histogram.negative_spans),
        histogram.custom_bounds,
        sample.timestamp_ms,
        sample.start_ms,
    );
}

#[test]
fn every_case_comes_out_as_wanted() {
    let all: Vec<_> =
        ALL.iter().flat_map(|dialect| cases(dialect).into_iter().map(|c| (*dialect, c))).collect();
    for dialect in ALL {
        assert!(all.iter().any(|(owner, _)| owner.name == dialect.name), "{} has no cases", dialect.name);
    }
    compare(&all, Settings::standard(), "want");
}

/// Every Datadog case once more, under the other profile and with tags of hosts attached: `NAME.plain`.
#[test]
fn every_datadog_case_comes_out_as_wanted_in_the_plain_profile() {
    let plain = datadog::Settings::of(datadog::Profile::Plain);
    let datadog = datadog::Settings { host_tags: datadog::HostTagsUse::Attach, ..plain };
    let settings = Settings { datadog, ..Settings::default() };
    let all: Vec<_> = cases(&datadog::DIALECT).into_iter().map(|case| (&datadog::DIALECT, case)).collect();
    compare(&all, &settings, "plain");
}

fn compare(cases: &[(&Dialect, Case)], settings: &Settings, extension: &str) {
    let bless = std::env::var_os("WEIR_BLESS").is_some();
    let mut wrong = Vec::new();
    for (dialect, case) in cases {
        let path = case.path.with_extension(extension);
        let got = outcome(dialect, case, settings);
        if bless {
            std::fs::write(&path, &got).expect("cases can be written");
        } else if std::fs::read_to_string(&path).ok().as_deref() != Some(&got) {
            wrong.push(format!("{}: got\n{got}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Inputs for [`exercise`] from the golden cases: the byte that picks the case's media type, then its body.
fn seeds(dialect: &Dialect) -> Vec<Vec<u8>> {
    let seed = |case: Case| {
        let body = case.inflated(dialect).ok()?;
        let content_type = case.header("content-type");
        let choice = CONTENT_TYPES.iter().position(|known| *known == content_type).unwrap_or(0);
        Some([&[choice as u8], body.as_slice()].concat())
    };
    cases(dialect).into_iter().filter_map(seed).collect()
}

/// xorshift64*: mutations need no better dice, and the seed alone tells the run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % sides.max(1)
    }

    fn mutate(&mut self, bytes: &mut Vec<u8>, other: &[u8]) {
        for _ in 0..=self.roll(4) {
            let at = self.roll(bytes.len());
            match self.roll(7) {
                0 if !bytes.is_empty() => bytes[at] ^= 1 << self.roll(8),
                1 if !bytes.is_empty() => {
                    bytes[at] = [0, 1, 0x7f, 0x80, 0xff, b'"', b'\\', b'\n'][self.roll(8)]
                }
                2 => bytes.truncate(at.max(1)),
                3 => bytes.insert(at, self.roll(256) as u8),
                4 if bytes.len() > 1 => drop(bytes.drain(at..(at + 1 + self.roll(8)).min(bytes.len()))),
                5 => {
                    let from = self.roll(other.len());
                    let piece = other[from..(from + self.roll(32)).min(other.len())].to_vec();
                    bytes.splice(at..at, piece);
                }
                _ => {
                    let piece = bytes[at..(at + self.roll(32)).min(bytes.len())].to_vec();
                    bytes.splice(at..at, piece);
                }
            }
        }
    }
}

#[test]
fn mutated_cases_break_no_rule() {
    for dialect in ALL {
        let seeds = seeds(dialect);
        for seed in &seeds {
            exercise(dialect, seed);
        }
        for round in 1..=10_000u64 {
            let mut dice = Dice(round.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let mut input = seeds[dice.roll(seeds.len())].clone();
            let other = dice.roll(seeds.len());
            dice.mutate(&mut input, &seeds[other]);
            let outcome = std::panic::catch_unwind(|| exercise(dialect, &input));
            assert!(outcome.is_ok(), "{} breaks with round {round}: {input:02x?}", dialect.name);
        }
    }
}

#[test]
fn every_refusal_has_its_status_in_every_dialect() {
    let refusals = [
        Refusal::NoCredential,
        Refusal::BadCredential,
        Refusal::Forbidden,
        Refusal::TooBig { limit: 1 },
        Refusal::Undecodable("undecodable".into()),
        Refusal::UnsupportedMedia("media".into()),
        Refusal::UnsupportedEncoding("encoding".into()),
        Refusal::OverRate { retry_after_s: 3 },
        Refusal::Overloaded { retry_after_s: 4, what: "disk" },
        Refusal::Internal,
    ];
    for dialect in ALL {
        for route in dialect.routes {
            let Kind::Ingest { reply, .. } = route.kind else { continue };
            for refusal in &refusals {
                let reply = reply(&Request::default(), &Verdict::refused(refusal.clone()));
                let what = format!("{} {refusal:?} {reply:?}", dialect.name);
                assert_eq!(reply.status, dialect.statuses.of(refusal), "{what}");
                assert!(reply.status >= 400 && !reply.body.is_empty(), "{what}");
                let wait =
                    reply.headers.iter().find(|(name, _)| *name == "retry-after").map(|(_, v)| v.as_str());
                match refusal {
                    Refusal::OverRate { .. } => assert_eq!(wait, Some("3"), "{what}"),
                    Refusal::Overloaded { .. } => assert_eq!(wait, Some("4"), "{what}"),
                    _ => assert_eq!(wait, None, "{what}"),
                }
            }
            let complete = Verdict {
                accepted: Default::default(),
                rejected: Default::default(),
                refusal: None,
                echo: None,
                items: Default::default(),
            };
            assert_eq!(reply(&Request::default(), &complete).status, dialect.statuses.stored);
            let mut partial = complete;
            partial.rejected.add(Signal::Sample, model::Reason::TooOld, 1);
            assert_eq!(reply(&Request::default(), &partial).status, dialect.statuses.partial);
        }
    }
}

#[test]
fn every_dialect_has_a_benchmark_whose_body_is_decoded_whole() {
    for dialect in ALL {
        let owns = |case: &bodies::Case| decoder(case.path).is_some_and(|(d, _)| d.name == dialect.name);
        assert!(bodies::CASES.iter().any(owns), "{} has no benchmark", dialect.name);
    }
    for bodies::Case { name, path, content_type, body, rows } in bodies::CASES.iter().copied() {
        let request = Request { path, content_type, ..Request::default() };
        let received = Received { body: &body(50), received_ms: RECEIVED_MS, ..Received::new(request) };
        let verdict = match lines_of(path) {
            Some((_, decode, answer)) => said(decode, answer, &received).0,
            None => answer(find("POST", path).expect("the registry has the path").1.kind, &received).0,
        };
        let accepted = verdict.accepted;
        assert_eq!(
            (accepted.samples + accepted.histograms + accepted.log_lines, verdict.rejected.is_empty()),
            (50 * rows as u64, true),
            "{name}: {verdict:?}"
        );
    }
}

/// Two bytes can stand for an empty histogram: a body far below the byte limit must not become gigabytes.
#[test]
fn a_body_of_nothings_is_refused_before_it_fills_the_memory() {
    let (_, route) = find("POST", "/api/v1/write").expect("the registry has the path");
    let mut body = Vec::new();
    codec::proto::write_bytes(1, &[0x22, 0].repeat(1 << 20), &mut body);
    let received = Received { body: &body, ..Received::new(Request::default()) };
    let (verdict, reply) = answer(route.kind, &received);
    assert!(matches!(verdict.refusal, Some(Refusal::Undecodable(_))), "{verdict:?}");
    assert!(String::from_utf8_lossy(&reply.body).contains("send smaller requests"));
}
