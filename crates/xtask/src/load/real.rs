//! The values of a real machine that lie beside the checkout: 711 series of its /proc, 8,400 rows.

use std::path::Path;

use super::remote_write;
pub use super::workload::STEP_MS;

/// Series with their values.
#[derive(Debug)]
pub struct Real {
    /// Labels of each series, sorted by name.
    pub labels: Vec<Vec<(&'static str, String)>>,
    /// Values of each series in order of time.
    pub values: Vec<Vec<f64>>,
}

impl Real {
    /// Reads them from beside the checkout at `root`; `None` when they are not there.
    pub fn read(root: &Path) -> Option<Self> {
        let folder = root.join("../shared/data");
        let keys = std::fs::read_to_string(folder.join("real-proc.keys")).ok()?;
        let packed = std::fs::read(folder.join("real-proc.bin.zst")).ok()?;
        let bytes = zstd::decode_all(packed.as_slice()).ok()?;
        let labels: Vec<Vec<(&str, String)>> = keys.lines().map(labels).collect();
        let mut values = vec![Vec::new(); labels.len()];
        let row_bytes = (labels.len() + 1) * 8;
        for row in bytes.chunks_exact(row_bytes) {
            // The first number is the wall clock of the reading.
            for (series, number) in row.chunks_exact(8).skip(1).enumerate() {
                values[series].push(f64::from_le_bytes(number.try_into().ok()?));
            }
        }
        Some(Self { labels, values })
    }

    /// Only the first rows.
    pub fn truncate(&mut self, rows: usize) {
        self.values.iter_mut().for_each(|values| values.truncate(rows));
    }

    /// Rows.
    pub fn rows(&self) -> usize {
        self.values.first().map_or(0, Vec::len)
    }

    /// The labels of a series as they lie in a remote-write body, with others beside.
    pub fn wire_labels(&self, series: usize, others: &[(&str, &str)]) -> Vec<u8> {
        let own = self.labels[series].iter().map(|(name, value)| (*name, value.as_str()));
        let mut pairs: Vec<(&str, &str)> = own.chain(others.iter().copied()).collect();
        pairs.sort_unstable();
        remote_write::labels(&pairs)
    }
}

/// `name|label|label` as labels sorted by name.
fn labels(key: &str) -> Vec<(&'static str, String)> {
    let mut parts = key.split('|').map(str::to_owned);
    let names = ["__name__", "device", "mode"];
    names.into_iter().zip(parts.by_ref()).collect()
}
