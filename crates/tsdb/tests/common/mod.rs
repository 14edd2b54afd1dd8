//! What several tests of the store send.

use model::batch::{LabelSource, SeriesRow, Temporality};
use model::{Batch, Sample};

/// A request with a sample of `metric{i="…"}` for each `(i, ms, value)`.
pub(crate) fn batch(seed: u64, rows: &[(u32, i64, f64)]) -> Batch<'static> {
    let mut batch = Batch::new(seed);
    for (at, (i, timestamp_ms, value)) in rows.iter().enumerate() {
        let start = batch.pairs.len();
        batch.pairs.push(("__name__".into(), "metric".into()));
        batch.pairs.push(("i".into(), i.to_string().into()));
        batch.samples.push(Sample { timestamp_ms: *timestamp_ms, value: *value, start_ms: 0 });
        batch.series.push(SeriesRow {
            labels: LabelSource::Pairs(start..start + 2),
            key: u128::from(*i),
            samples: at..at + 1,
            histograms: 0..0,
            exemplars: 0..0,
            temporality: Temporality::Cumulative,
            item: 0,
        });
    }
    batch
}
