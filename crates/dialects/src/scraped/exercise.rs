//! What must hold for any page: the body of the fuzz target and of the mutation test.

use std::collections::HashSet;

use model::Metadata;

use super::{Format, Options, Row, Sink, Value, labels, read};

/// Reads `input` (one byte of choice, then a page).
///
/// # Panics
/// When a row that was given is none; never otherwise.
pub fn exercise(input: &[u8]) {
    let Some((choice, body)) = input.split_first() else { return };
    let format = [Format::Prometheus, Format::OpenMetrics, Format::Protobuf][usize::from(choice % 3)];
    let options = Options {
        native_histograms: choice & 4 != 0,
        classic_beside_native: choice & 8 != 0,
        start_timestamps: choice & 16 != 0,
        scraped_ms: 1_795_167_944_000,
    };
    let mut checked = Checked { families: HashSet::new(), rows: 0, repeats: format == Format::Protobuf };
    let result = read(format, body, &options, &mut checked);
    if let Err(violation) = result {
        assert!(!violation.what.is_empty() && violation.what.len() < 512, "{violation}");
    }
    assert!(checked.rows <= 4 * body.len(), "{} rows of {} bytes", checked.rows, body.len());
}

struct Checked {
    families: HashSet<String>,
    rows: usize,
    /// Whether a family may be told of again: messages of protobuf are read one by one.
    repeats: bool,
}

impl Sink for Checked {
    fn row(&mut self, row: Row<'_>) {
        self.rows += 1;
        assert!(!row.series.contains('\n'), "{:?} is not one line", row.series);
        let mut pairs = Vec::new();
        labels(row.series, &mut pairs).expect("a row's series can be split");
        assert_eq!(pairs[0].0, model::labels::METRIC_NAME);
        if let Value::Histogram(histogram) = row.value {
            assert_eq!(histogram.validate(), Ok(()));
        }
    }

    fn metadata(&mut self, family: &str, _: Metadata) {
        assert!(!family.is_empty());
        assert!(self.families.insert(family.to_owned()) || self.repeats, "{family} is told of twice");
    }
}
