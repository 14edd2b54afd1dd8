//! What the fuzz target and its seeded twin do with an expression.

use model::histogram::{BucketCounts, Histogram, ResetHint, Span};
use model::{Budget, Labels};

use crate::parse::{Syntax, matchers_of_selector, parse_with};
use crate::{MemorySource, MemoryValue, Options, Params, evaluate};

/// Bytes that an evaluation may take.
const BUDGET_BYTES: u64 = 1 << 20;

/// Reads an expression; what can be read is written, read and written again, and evaluated at once and over a range, as
/// it is by default and with everything that changes its meaning.
///
/// # Panics
///
/// When an expression reads back as another one.
pub fn expression(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let _ = matchers_of_selector(text);
    let _ = parse_with(text, &Syntax::default());
    let Ok(expr) = parse_with(text, &Syntax::all()) else { return };
    let written = expr.to_string();
    let again = parse_with(&written, &Syntax::all());
    let again = again.unwrap_or_else(|error| panic!("{text:?} is written as {written:?}: {error}"));
    assert_eq!(again.to_string(), written, "from {text:?}");
    let (source, budget) = (source(), Budget::new(BUDGET_BYTES));
    let other = Options { delayed_name_removal: true, start_timestamps: true, type_and_unit_labels: true };
    for options in [Options::default(), other] {
        for params in [Params::instant(300_000), Params::range(0, 600_000, 45_000)] {
            // An error is an answer, too.
            let _ = evaluate(&source, &expr, &Params { options, ..params }, &budget);
        }
    }
}

fn source() -> MemorySource {
    let mut source = MemorySource::new();
    for (number, job) in ["a", "b", "b"].into_iter().enumerate() {
        let labels = Labels::from_pairs([("__name__", "m"), ("job", job), ("n", &number.to_string())]);
        for minute in 0..10 {
            let value = if minute == 4 { f64::NAN } else { (minute * 7 % 5) as f64 + number as f64 };
            source.push(&labels, minute * 60_000, value);
        }
        let bucket = Labels::from_pairs([("__name__", "m_bucket"), ("le", ["1", "2", "+Inf"][number])]);
        let native = Labels::from_pairs([("__name__", "h"), ("job", job), ("n", &number.to_string())]);
        for minute in 0..10 {
            source.push(&bucket, minute * 60_000, (minute * (number as i64 + 1)) as f64);
            source.push_value(
                &native,
                minute * 60_000,
                0,
                MemoryValue::Histogram(histogram(minute as u64).into()),
            );
        }
    }
    source
}

fn histogram(minute: u64) -> Histogram {
    let (positive, negative) = (vec![minute, 2 * minute, 1], vec![minute % 3]);
    let count = positive.iter().chain(&negative).sum::<u64>() + 1;
    Histogram {
        schema: if minute < 5 { 1 } else { 0 },
        zero_threshold: 0.5,
        sum: minute as f64,
        reset_hint: ResetHint::Unknown,
        positive_spans: vec![Span { offset: 1, length: 2 }, Span { offset: 3, length: 1 }],
        negative_spans: vec![Span { offset: 0, length: 1 }],
        counts: BucketCounts::Integer { count, zero: 1, positive, negative },
        custom_bounds: Vec::new(),
    }
}
