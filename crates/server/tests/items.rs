//! What a sender hears of the things that it counts: accepted and refused are what was sent, whichever stage refused.

mod common;

use std::sync::Arc;

use axum::body::Body;
use common::Weir;
use dialects::{ByteLimits, Dialect, Encoding, Malformed, Received, Refusal, Reply, Statuses, Verdict};
use http::Request;
use model::Batch;
use model::batch::{LabelSource, SeriesRow, Temporality};
use model::{LogRow, Reason, Sample, Signal};
use server::ingest::{self, Entry, Frame, Task};
use server::respond::Answer;

/// A dialect of this test: a line is an item, a word of it is a series with a sample.
static WORDS: Dialect = Dialect {
    name: "words",
    title: "Words",
    routes: &[],
    credentials: &[dialects::Credential::Bearer],
    limits: LIMITS,
    encodings: &[Encoding::Identity],
    inner: None,
    encoding_aliases: &[],
    statuses: Statuses { stored: 200, partial: 200, over_rate: 429, ..Statuses::USUAL },
};

const LIMITS: ByteLimits = ByteLimits { wire: 1 << 20, decoded: 1 << 20 };

/// `old` is before any retention, `long` over the label limit, `bad` refused by the decoder, `log` a line; `NAME@SECONDS` is
/// a delta that ended so long ago.
fn decode<'a>(received: &Received<'a>, batch: &mut Batch<'a>) -> Result<(), Malformed> {
    let now_ms = received.received_ms;
    for line in std::str::from_utf8(received.body).unwrap().lines() {
        batch.items.begin();
        for word in line.split_whitespace() {
            let item = batch.items.current();
            let (name, ago_s) = word.split_once('@').unwrap_or((word, ""));
            match name {
                "bad" => {
                    batch.refuse_item(Signal::Sample, Reason::InvalidValue, || "bad".to_owned());
                    continue;
                }
                "log" => {
                    let (timestamp_ns, line) = (now_ms * 1_000_000, "a line".into());
                    batch.logs.push(LogRow { stream: 0..0, fields: 0..0, timestamp_ns, line, item });
                    continue;
                }
                _ => {}
            }
            let timestamp_ms = match (name, ago_s.parse::<i64>()) {
                ("old", _) => 1,
                (_, Ok(ago_s)) => now_ms - ago_s * 1000,
                _ => now_ms,
            };
            let temporality = if ago_s.is_empty() { Temporality::Cumulative } else { Temporality::Delta };
            let name = if name == "long" { "long".repeat(1 << 16) } else { name.to_owned() };
            let (first, row) = (batch.pairs.len(), batch.samples.len());
            let key = name.bytes().fold(1, |key: u128, byte| key.wrapping_mul(31) ^ u128::from(byte));
            batch.pairs.push(("__name__".into(), name.into()));
            batch.samples.push(Sample { timestamp_ms, value: 1.0, start_ms: 0 });
            batch.series.push(SeriesRow {
                labels: LabelSource::Pairs(first..first + 1),
                key,
                samples: row..row + 1,
                histograms: 0..0,
                exemplars: 0..0,
                temporality,
                item,
            });
        }
    }
    Ok(())
}

fn reply(_: &dialects::Request<'_>, verdict: &Verdict) -> Reply {
    let body = match &verdict.refusal {
        Some(Refusal::Overloaded { what, .. }) => format!("cannot take more now: {what}"),
        other => {
            assert_eq!(*other, None);
            format!("{} of {}", verdict.items.refused(), verdict.items.sent())
        }
    };
    Reply { status: 200, headers: Vec::new(), body: body.into_bytes() }
}

/// How many of how many items were refused.
fn send(weir: &Weir, body: &str) -> String {
    let task = Task::Store { accept: |_| Ok(()), decode };
    let entry = Entry { dialect: &WORDS, limits: LIMITS, frame: Frame::Bare, task, reply };
    let token = format!("Bearer {}", weir.token);
    let request = Request::post("/words").header("authorization", token).body(Body::from(body.to_owned()));
    let app = Arc::clone(weir.server.as_ref().unwrap().app());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let answer: Answer = ingest::ingest(app, entry, request.unwrap()).await;
        let bytes = axum::body::to_bytes(Body::new(answer.into_body()), 1 << 20).await.unwrap();
        String::from_utf8(bytes.to_vec()).unwrap()
    })
}

#[test]
fn items_are_refused_once_whoever_refuses_them() {
    let weir = Weir::start();
    assert_eq!(send(&weir, "a b\nc\n\n"), "0 of 3");
    assert_eq!(send(&weir, "a bad old long\nb\nbad\nold\nlong a\n"), "4 of 5");
    // A delta is late only when its turn comes.
    assert_eq!(send(&weir, "d@10\nd@5\n"), "0 of 2");
    assert_eq!(send(&weir, "d@8 a\nd@3\nold d@7\n"), "2 of 3");
}

#[test]
fn items_whose_lines_find_no_room_are_asked_for_again() {
    let weir = Weir::start_with(|settings| settings.storage.log_bytes = server::config::Size(1));
    assert_eq!(send(&weir, "log\n"), "0 of 1");
    assert_eq!(send(&weir, "b\nlog a\n"), "cannot take more now: room for log lines");
}
