//! Notes that an evaluation leaves beside its answer: warnings and infos, with the place in the query they mean.
//!
//! Notes of equal text are one note, whichever series or step they came from; the place of the latest stays.

use std::collections::HashMap;

use crate::ast::{Expr, Span};
use crate::text::{float_general, float_two_digits, quoted};

/// How much a note matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Severity {
    /// The answer may not be what was meant.
    Warning,
    /// The answer is right, and worth a remark.
    Info,
}

/// One note.
#[derive(Clone, Debug)]
pub(crate) struct Note {
    severity: Severity,
    text: String,
    span: Span,
    detail: Detail,
}

/// What is gathered over all notes of the same text.
#[derive(Clone, Copy, Debug)]
enum Detail {
    None,
    /// Classic buckets that had to be lifted.
    Lifted(Lifted),
    /// How often a start time lay before the previous sample.
    Overlaps(usize),
}

/// Which classic buckets had to be lifted to the count of the one below, by how much, and when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lifted {
    pub(crate) lowest_bound: f64,
    pub(crate) highest_bound: f64,
    pub(crate) largest_difference: f64,
    pub(crate) first_ms: i64,
    pub(crate) last_ms: i64,
    pub(crate) samples: usize,
}

impl Note {
    pub(crate) fn warning(text: impl Into<String>, span: Span) -> Self {
        Self { severity: Severity::Warning, text: text.into(), span, detail: Detail::None }
    }

    pub(crate) fn info(text: impl Into<String>, span: Span) -> Self {
        Self { severity: Severity::Info, text: text.into(), span, detail: Detail::None }
    }

    pub(crate) fn quantile(q: f64, span: Span) -> Self {
        Self::warning(format!("quantile value should be between 0 and 1, got {}", float_general(q)), span)
    }

    pub(crate) fn ratio(ratio: f64, capped: f64, span: Span) -> Self {
        let (ratio, capped) = (float_general(ratio), float_general(capped));
        Self::warning(
            format!("ratio value should be between -1 and 1, got {ratio}, capping to {capped}"),
            span,
        )
    }

    pub(crate) fn bad_bucket_label(metric: &str, label: &str, span: Span) -> Self {
        let text = format!("bucket label \"le\" is missing or has a malformed value of {}", quoted(label));
        Self::warning(with_metric(text, metric), span)
    }

    pub(crate) fn mixed_floats_histograms(metric: &str, span: Span) -> Self {
        Self::warning(
            format!("encountered a mix of histograms and floats for metric name {}", quoted(metric)),
            span,
        )
    }

    pub(crate) fn mixed_in_aggregation(span: Span) -> Self {
        Self::warning("encountered a mix of histograms and floats for aggregation", span)
    }

    pub(crate) fn mixed_classic_native(metric: &str, span: Span) -> Self {
        Self::warning(
            with_metric("vector contains a mix of classic and native histograms".into(), metric),
            span,
        )
    }

    pub(crate) fn not_a_counter(metric: &str, span: Span) -> Self {
        Self::warning(format!("this native histogram metric is not a counter: {}", quoted(metric)), span)
    }

    pub(crate) fn not_a_gauge(metric: &str, span: Span) -> Self {
        Self::warning(format!("this native histogram metric is not a gauge: {}", quoted(metric)), span)
    }

    pub(crate) fn mixed_schemas(metric: &str, span: Span) -> Self {
        let text =
            "vector contains a mix of histograms with exponential and custom buckets schemas for metric name";
        Self::warning(format!("{text} {}", quoted(metric)), span)
    }

    pub(crate) fn incompatible_buckets(op: &str, span: Span) -> Self {
        Self::warning(format!("incompatible bucket layout encountered for binary operator {op}"), span)
    }

    pub(crate) fn incompatible_types(left: &str, op: &str, right: &str, span: Span) -> Self {
        let text = format!(
            "incompatible sample types encountered for binary operator {}: {left} {op} {right}",
            quoted(op)
        );
        Self::info(text, span)
    }

    pub(crate) fn sort_in_range_query(span: Span) -> Self {
        Self::warning(
            "sort is ineffective for range queries since results are always ordered by labels",
            span,
        )
    }

    pub(crate) fn possible_non_counter(metric: &str, span: Span) -> Self {
        let text = "metric might not be a counter, name does not end in _total/_sum/_count/_bucket:";
        Self::info(format!("{text} {}", quoted(metric)), span)
    }

    pub(crate) fn type_is_no_counter(metric: &str, kind: &str, span: Span) -> Self {
        let text = "metric might not be a counter, __type__ label is not set to \"counter\" or \"histogram\"";
        Self::info(format!("{text}, got {}: {}", quoted(kind), quoted(metric)), span)
    }

    pub(crate) fn histogram_ignored_in_aggregation(aggregation: &str, span: Span) -> Self {
        Self::info(format!("ignored histogram in {aggregation} aggregation"), span)
    }

    pub(crate) fn histogram_ignored_in_range(metric: &str, span: Span) -> Self {
        let text = "ignored histograms in a range containing both floats and histograms for metric name";
        Self::info(format!("{text} {}", quoted(metric)), span)
    }

    pub(crate) fn quantile_is_nan(metric: &str, span: Span) -> Self {
        let text = "input to histogram_quantile has NaN observations, result is NaN";
        Self::info(with_metric(text.into(), metric), span)
    }

    pub(crate) fn quantile_is_skewed(metric: &str, span: Span) -> Self {
        let text = "input to histogram_quantile has NaN observations, result is skewed higher";
        Self::info(with_metric(text.into(), metric), span)
    }

    pub(crate) fn fraction_without_nan(metric: &str, span: Span) -> Self {
        let text = "input to histogram_fraction has NaN observations, which are excluded from all fractions";
        Self::info(with_metric(text.into(), metric), span)
    }

    pub(crate) fn conflicting_resets(operation: &str, span: Span) -> Self {
        Self::warning(format!("conflicting counter resets during histogram {operation}"), span)
    }

    pub(crate) fn reconciled_buckets(operation: &str, span: Span) -> Self {
        Self::info(format!("mismatched custom buckets were reconciled during {operation}"), span)
    }

    pub(crate) fn start_overlap(metric: &str, span: Span) -> Self {
        let text = "sample has start time that overlaps with previous sample timestamp for metric";
        Self { detail: Detail::Overlaps(1), ..Self::warning(format!("{text} {}", quoted(metric)), span) }
    }

    pub(crate) fn lifted_buckets(metric: &str, lifted: Lifted, span: Span) -> Self {
        let text = "input to histogram_quantile needed to be fixed for monotonicity (see \
                    https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile)";
        Self { detail: Detail::Lifted(lifted), ..Self::info(with_metric(text.into(), metric), span) }
    }

    /// Takes in what an earlier note of the same text knew.
    fn absorb(&mut self, earlier: &Note) {
        match (&mut self.detail, earlier.detail) {
            (Detail::Lifted(now), Detail::Lifted(before)) => {
                now.lowest_bound = now.lowest_bound.min(before.lowest_bound);
                now.highest_bound = now.highest_bound.max(before.highest_bound);
                now.largest_difference = now.largest_difference.max(before.largest_difference);
                now.first_ms = now.first_ms.min(before.first_ms);
                now.last_ms = now.last_ms.max(before.last_ms);
                now.samples += before.samples;
                self.span = earlier.span;
            }
            (Detail::Overlaps(now), Detail::Overlaps(before)) => {
                *now += before;
                self.span = earlier.span;
            }
            _ => {}
        }
    }

    fn print(&self, expr: &Expr) -> String {
        let place = expr.position(self.span.start);
        let kind = match self.severity {
            Severity::Warning => "PromQL warning",
            Severity::Info => "PromQL info",
        };
        let text = &self.text;
        match self.detail {
            Detail::Lifted(l) => format!(
                "{kind}: {text}, from buckets {} to {}, with a max diff of {}, over {} samples from {} to {} ({place})",
                float_general(l.lowest_bound),
                float_general(l.highest_bound),
                float_two_digits(l.largest_difference),
                l.samples,
                rfc3339(l.first_ms),
                rfc3339(l.last_ms),
            ),
            Detail::Overlaps(count) if count > 1 => format!("{kind}: {text} ({count} occurrences) ({place})"),
            _ => format!("{kind}: {text} ({place})"),
        }
    }
}

fn with_metric(text: String, metric: &str) -> String {
    if metric.is_empty() { text } else { format!("{text} for metric name {}", quoted(metric)) }
}

fn rfc3339(millis: i64) -> String {
    jiff::Timestamp::from_second(millis.div_euclid(1000))
        .map_or_else(|_| millis.to_string(), |t| t.to_string())
}

/// All notes of an evaluation, in the order in which they first came.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    notes: Vec<Note>,
    by_text: HashMap<String, usize>,
}

impl Notes {
    pub(crate) fn add(&mut self, mut note: Note) {
        match self.by_text.get(&note.text) {
            Some(at) => {
                note.absorb(&self.notes[*at]);
                self.notes[*at] = note;
            }
            None => {
                self.by_text.insert(note.text.clone(), self.notes.len());
                self.notes.push(note);
            }
        }
    }

    /// Adds the notes of a part that was evaluated apart.
    pub(crate) fn extend(&mut self, part: Notes) {
        part.notes.into_iter().for_each(|note| self.add(note));
    }

    /// The texts of warnings and of infos.
    pub(crate) fn print(&self, expr: &Expr) -> (Vec<String>, Vec<String>) {
        let of = |severity| {
            let wanted = self.notes.iter().filter(move |note| note.severity == severity);
            wanted.map(|note| note.print(expr)).collect()
        };
        (of(Severity::Warning), of(Severity::Info))
    }
}
