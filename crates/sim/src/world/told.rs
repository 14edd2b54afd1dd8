//! What is read behind the writer, at the end of a life in which somebody held the log all the time: everything that was
//! acknowledged, and nothing that was never sent.

use std::sync::Arc;

use anyhow::{Result, bail, ensure};
use model::Labels;
use tsdb::{Entry, Hold, Step};
use wal::{Position, Stream};

use super::Life;
use crate::ledger::Told;
use crate::naive::{Point, Value};

/// A hold on the whole log.
pub(super) fn hold() -> Hold {
    Hold { holder: "sim".to_owned(), stream: Stream::Metrics, segment: 0 }
}

impl Life {
    /// Reads the log from its beginning.
    pub(super) fn check_told(&self) -> Result<()> {
        if self.damaged || self.scenario.options.holds.is_empty() {
            return Ok(());
        }
        let (mut told, failures) = (Told::new(), self.disk.failures());
        let mut follower = self.store().follow(Stream::Metrics, Position::default());
        loop {
            let step = follower.read(&mut |entry, pairs| {
                let (series, timestamp_ms, point) = match entry {
                    Entry::Sample { series, sample, .. } => {
                        let value = Value::Float(sample.value.to_bits());
                        (series, sample.timestamp_ms, Point { value, start_ms: sample.start_ms })
                    }
                    Entry::Histogram { series, sample, .. } => {
                        let value = Value::Histogram(Arc::clone(&sample.histogram));
                        (series, sample.timestamp_ms, Point { value, start_ms: sample.start_ms })
                    }
                    Entry::Exemplar { .. } | Entry::Metadata { .. } | Entry::Line { .. } => return,
                };
                let labels = Labels::from_pairs(pairs.of(series));
                told.insert((series.tenant, labels, timestamp_ms, format!("{point:?}")));
            });
            match step {
                // A frame that a replay found although its sync had failed, and that a power cut took later, is missing and was
                // never acknowledged: what was is asked of the ledger.
                Ok(Step::Frame { .. } | Step::Lost { .. }) => {}
                Ok(Step::End) => break,
                Err(_) if self.disk.failures() > failures => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        let untold: Vec<_> = self.ledger.acknowledged().difference(&told).cloned().collect();
        ensure!(untold.is_empty(), "{} acknowledged samples are not told: {:?}", untold.len(), untold[0]);
        let sent = self.ledger.sent();
        if let Some(phantom) = told.difference(&sent).next() {
            bail!("told and never sent: {phantom:?}");
        }
        Ok(())
    }
}
