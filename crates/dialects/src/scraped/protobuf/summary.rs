//! Summaries: count, sum and a row for each quantile.

use codec::proto::{FIXED64, LEN, Reader, VARINT, key, known};

use super::{Bound, Fault, Metric, Rows, exemplar};

impl Rows<'_> {
    /// Gives the rows of a `Summary`.
    pub(super) fn summary(&mut self, metric: &Metric<'_, '_>, mut message: Reader<'_>) -> Result<(), Fault> {
        const COUNT: u32 = key(1, VARINT);
        const SUM: u32 = key(2, FIXED64);
        const QUANTILE: u32 = key(3, LEN);
        const START: u32 = key(4, LEN);
        let mut quantiles = message;
        let (mut count, mut sum, mut start_ms) = (0, 0.0, 0);
        while let Some(key) = message.key()? {
            match key {
                COUNT => count = message.varint()?,
                SUM => sum = message.double()?,
                START => start_ms = exemplar::time_ms(message.message()?)?,
                _ => message.skip(key, known(&[1, 2, 4]))?,
            }
        }
        self.row(metric, "_count", Bound::None, count as f64, start_ms, None)?;
        self.row(metric, "_sum", Bound::None, sum, start_ms, None)?;
        while let Some(key) = quantiles.key()? {
            if key != QUANTILE {
                quantiles.skip(key, known(&[3]))?;
                continue;
            }
            let (quantile, value) = pair(quantiles.message()?)?;
            self.row(metric, "", Bound::Of("quantile", quantile), value, start_ms, None)?;
        }
        Ok(())
    }
}

/// Reads a `Quantile`.
fn pair(mut message: Reader<'_>) -> Result<(f64, f64), Fault> {
    const QUANTILE: u32 = key(1, FIXED64);
    const VALUE: u32 = key(2, FIXED64);
    let (mut quantile, mut value) = (0.0, 0.0);
    while let Some(key) = message.key()? {
        match key {
            QUANTILE => quantile = message.double()?,
            VALUE => value = message.double()?,
            _ => message.skip(key, known(&[1, 2]))?,
        }
    }
    Ok((quantile, value))
}
