//! A receiver with a script: each request gets the next answer, and 204 when there is none left.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex};

use bytes::Bytes;
use codec::inflate::{Encoding, inflate};
use dialects::{Kind, Received};
use model::{Batch, Labels, Sample};

use super::PATIENCE;
use crate::post::{Answer, Post, Posted};

/// What happens to a request.
#[derive(Clone, Debug)]
pub(super) enum Play {
    /// It is answered, and counts as taken when the status is one of 2xx.
    Answer(u16, &'static [(&'static str, &'static str)]),
    /// It is taken, and the connection is cut before the answer.
    Cut,
    /// The thread that sends it panics.
    Panic,
    /// It waits until the script goes on.
    Wait,
}

#[derive(Default)]
pub(super) struct Receiver {
    state: Mutex<State>,
    changed: Condvar,
    go_on: tokio::sync::Notify,
}

#[derive(Default)]
struct State {
    script: VecDeque<Play>,
    /// What all else gets.
    always: Option<Play>,
    seen: Vec<Request>,
}

/// A request that came.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Bytes,
    /// Whether the receiver has it now.
    pub(super) taken: bool,
}

impl Request {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// Its rows, read as a request of remote write.
    pub(super) fn rows(&self) -> Vec<(Labels, Sample)> {
        let mut body = Vec::new();
        inflate(Encoding::Snappy, &self.body, 1 << 20, &mut body).unwrap();
        let (_, route) = dialects::find("POST", "/api/v1/write").unwrap();
        let Kind::Ingest { decode, .. } = route.kind else { panic!("no ingest") };
        let request = dialects::Request {
            content_type: self.header("content-type").unwrap(),
            ..dialects::Request::default()
        };
        let mut batch = Batch::new(1);
        decode(&Received { body: &body, ..Received::new(request) }, &mut batch).unwrap();
        assert!(batch.rejections.is_empty());
        let mut rows = Vec::new();
        for (index, series) in batch.series.iter().enumerate() {
            let labels =
                batch.with_labels(index, |pairs| Ok(Labels::from_pairs(pairs.iter().copied()))).unwrap();
            rows.extend(batch.samples[series.samples.clone()].iter().map(|sample| (labels.clone(), *sample)));
        }
        rows
    }
}

impl Receiver {
    /// One that plays `script` and takes everything afterwards.
    pub(super) fn playing(script: impl IntoIterator<Item = Play>) -> std::sync::Arc<Self> {
        let receiver = Self::default();
        receiver.state.lock().unwrap().script.extend(script);
        std::sync::Arc::new(receiver)
    }

    /// Adds to the script.
    pub(super) fn play(&self, script: impl IntoIterator<Item = Play>) {
        self.state.lock().unwrap().script.extend(script);
    }

    /// From now on all requests for which the script has nothing get this.
    pub(super) fn always(&self, play: Option<Play>) {
        self.state.lock().unwrap().always = play;
        self.go_on.notify_waiters();
    }

    /// Waits until `enough` holds of the requests that came.
    pub(super) fn wait(&self, enough: impl Fn(&[Request]) -> bool) -> Vec<Request> {
        let state = self.state.lock().unwrap();
        let (state, timeout) =
            self.changed.wait_timeout_while(state, PATIENCE, |state| !enough(&state.seen)).unwrap();
        assert!(!timeout.timed_out(), "waited in vain; {} requests came", state.seen.len());
        state.seen.clone()
    }

    /// Waits for rows of requests that were taken, and gives them.
    pub(super) fn wait_rows(&self, count: usize) -> Vec<(Labels, Sample)> {
        let seen = self.wait(|seen| taken(seen).len() >= count);
        taken(&seen)
    }
}

pub(super) fn taken(seen: &[Request]) -> Vec<(Labels, Sample)> {
    seen.iter().filter(|request| request.taken).flat_map(Request::rows).collect()
}

impl Post for Receiver {
    fn post<'p>(&'p self, headers: &'p [(String, String)], body: Bytes) -> Posted<'p> {
        Box::pin(async move {
            loop {
                let goes_on = self.go_on.notified();
                let play = {
                    let mut state = self.state.lock().unwrap();
                    let State { script, always, .. } = &mut *state;
                    script.pop_front().or_else(|| always.clone()).unwrap_or(Play::Answer(204, &[]))
                };
                let taken = match play {
                    Play::Wait => {
                        goes_on.await;
                        continue;
                    }
                    Play::Panic => panic!("as the script says"),
                    Play::Answer(status, _) => (200..300).contains(&status),
                    Play::Cut => true,
                };
                self.state.lock().unwrap().seen.push(Request { headers: headers.to_vec(), body, taken });
                self.changed.notify_all();
                let Play::Answer(status, headers) = play else {
                    return Err("the connection was cut".to_owned());
                };
                let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
                return Ok(Answer { status, headers: headers.collect(), body: b"because".to_vec() });
            }
        })
    }
}
