//! Functions of histograms, native and classic.
//!
//! A classic histogram is a set of series that differ in `le` alone; a native one is a single sample. Where both of
//! one name and labels meet, neither is used.

use std::collections::HashMap;
use std::sync::Arc;

use model::Labels;

use crate::annotation::Note;
use crate::ast::Span;
use crate::column::{ABSENT, Column, Row, Rows, Steps, is_absent};
use crate::eval::math::KahanSum;
use crate::eval::{Evaluated, Evaluates, Evaluator};
use crate::functions::Call;
use crate::functions::classic::{self, Ranks};
use crate::histogram::{Bucket, FloatHistogram};
use crate::text::float_general;

type Result<'a> = Evaluates<Evaluated<'a>>;

pub(super) fn count<'a>(evaluator: &mut Evaluator<'a>, call: &mut Call<'_, 'a>) -> Result<'a> {
    of_native(evaluator, call, |h| h.count)
}

pub(super) fn sum<'a>(evaluator: &mut Evaluator<'a>, call: &mut Call<'_, 'a>) -> Result<'a> {
    of_native(evaluator, call, |h| h.sum)
}

pub(super) fn avg<'a>(evaluator: &mut Evaluator<'a>, call: &mut Call<'_, 'a>) -> Result<'a> {
    of_native(evaluator, call, |h| h.sum / h.count)
}

pub(super) fn stddev<'a>(evaluator: &mut Evaluator<'a>, call: &mut Call<'_, 'a>) -> Result<'a> {
    of_native(evaluator, call, |h| variance(h).sqrt())
}

pub(super) fn stdvar<'a>(evaluator: &mut Evaluator<'a>, call: &mut Call<'_, 'a>) -> Result<'a> {
    of_native(evaluator, call, variance)
}

/// Each native histogram by itself; floats are left out.
fn of_native<'a>(
    evaluator: &mut Evaluator<'a>,
    call: &mut Call<'_, 'a>,
    function: fn(&FloatHistogram) -> f64,
) -> Result<'a> {
    let mut rows = call.rows(0, evaluator);
    for row in &mut rows.rows {
        let histograms = std::mem::take(&mut row.column.histograms);
        let value =
            |step: usize| histograms.get(step).and_then(Option::as_ref).map_or(ABSENT, |h| function(h));
        row.column.floats = (0..call.steps.count).map(value).collect();
        evaluator.drop_name(row);
    }
    Ok(Evaluated::Rows(rows))
}

/// The variance, every observation taken to lie in the middle of its bucket: the arithmetic middle for custom
/// bounds, zero for the zero bucket, the geometric middle for all others.
fn variance(histogram: &FloatHistogram) -> f64 {
    let mean = histogram.sum / histogram.count;
    let mut squares = KahanSum::default();
    for bucket in histogram.buckets().iter().filter(|bucket| bucket.count != 0.0) {
        let middle = if histogram.has_custom_bounds() {
            (bucket.upper + bucket.lower) / 2.0
        } else if bucket.lower <= 0.0 && bucket.upper >= 0.0 {
            0.0
        } else {
            (bucket.upper * bucket.lower).sqrt().copysign(bucket.upper)
        };
        let delta = middle - mean;
        squares.add(bucket.count * delta * delta);
    }
    squares.value() / histogram.count
}

/// One place for each histogram of the vector, classic or native.
struct Found {
    labels: Labels,
    /// The rows of a classic one with their upper bounds, sorted by these.
    classic: Vec<(f64, usize)>,
    /// The row of a native one.
    native: Option<usize>,
}

/// Sorts the series of a vector into histograms.
fn gather<'a>(evaluator: &mut Evaluator<'a>, rows: &Rows<'a>, span: Span) -> Vec<Found> {
    let mut found: Vec<Found> = Vec::new();
    let mut places: HashMap<Labels, usize> = HashMap::new();
    let mut place = |labels: Labels, found: &mut Vec<Found>| {
        *places.entry(labels).or_insert_with_key(|labels| {
            found.push(Found { labels: labels.clone(), classic: Vec::new(), native: None });
            found.len() - 1
        })
    };
    let shown_name = |labels: &Labels| match evaluator.params.options.delayed_name_removal {
        true => labels.metric_name().unwrap_or_default().to_owned(),
        false => String::new(),
    };
    let mut notes = Vec::new();
    for (index, row) in rows.rows.iter().enumerate() {
        if !row.column.histograms.is_empty() {
            let at = place(row.labels.clone(), &mut found);
            found[at].native = Some(index);
        }
        if row.column.floats.iter().all(|value| is_absent(*value)) {
            continue;
        }
        let le = row.labels.get("le").unwrap_or_default();
        match bound(le) {
            Some(upper) => {
                let labels = row.labels.iter().filter(|(name, _)| *name != "le").collect();
                let at = place(labels, &mut found);
                found[at].classic.push((upper, index));
            }
            None => notes.push(Note::bad_bucket_label(&shown_name(&row.labels), le, span)),
        }
    }
    notes.into_iter().for_each(|note| evaluator.notes.add(note));
    for histogram in &mut found {
        histogram.classic.sort_by(|a, b| a.0.total_cmp(&b.0));
    }
    // Upstream answers native ones first.
    found.sort_by_key(|histogram| histogram.native.is_none());
    found
}

/// A bound as text, as Go reads floats.
fn bound(text: &str) -> Option<f64> {
    if text.contains('_') || text.is_empty() {
        return None;
    }
    match text.to_ascii_lowercase().as_str() {
        "inf" | "+inf" | "infinity" | "+infinity" => Some(f64::INFINITY),
        "-inf" | "-infinity" => Some(f64::NEG_INFINITY),
        _ => text.parse().ok(),
    }
}

/// What is known of one histogram at one step.
enum Shape<'h> {
    Native(&'h Arc<FloatHistogram>),
    /// Upper bounds and counts, sorted by bounds.
    Classic(&'h mut Vec<(f64, f64)>),
}

impl Found {
    /// The histogram at a step; `None` when there is none, or one of each kind. `buckets` is only room.
    fn at<'h>(
        &self,
        rows: &'h Rows<'_>,
        step: usize,
        buckets: &'h mut Vec<(f64, f64)>,
        conflict: &mut bool,
    ) -> Option<Shape<'h>> {
        let count = |(upper, row): &(f64, usize)| {
            let count = rows.rows[*row].column.floats[step];
            (!is_absent(count)).then_some((*upper, count))
        };
        buckets.clear();
        buckets.extend(self.classic.iter().filter_map(count));
        let native = self.native.and_then(|row| rows.rows[row].column.histogram(step));
        match (native, buckets.is_empty()) {
            (Some(_), false) => {
                *conflict = true;
                None
            }
            (Some(native), true) => Some(Shape::Native(native)),
            (None, false) => Some(Shape::Classic(buckets)),
            (None, true) => None,
        }
    }
}

/// Evaluates a function on each histogram at each step.
fn each_histogram<'a>(
    evaluator: &mut Evaluator<'a>,
    rows: &Rows<'a>,
    steps: Steps,
    span: Span,
    out: &mut Rows<'a>,
    mut function: impl FnMut(&mut Evaluator<'a>, Shape<'_>, usize, &str) -> f64,
    relabel: impl Fn(&Labels) -> Labels,
) -> Evaluates<()> {
    let delayed = evaluator.params.options.delayed_name_removal;
    let mut buckets = Vec::new();
    for histogram in gather(evaluator, rows, span) {
        evaluator.budget.check()?;
        out.charge.add_row(steps.count)?;
        let mut column = Column::absent(steps.count);
        // Without delayed removal upstream has dropped the name before it writes a note.
        let name = if delayed { histogram.labels.metric_name().unwrap_or_default() } else { "" };
        let mut conflict = false;
        for step in 0..steps.count {
            if let Some(shape) = histogram.at(rows, step, &mut buckets, &mut conflict) {
                column.floats[step] = function(evaluator, shape, step, name);
            }
        }
        if conflict {
            evaluator.notes.add(Note::mixed_classic_native(name, span));
        }
        if column.has_any() {
            let mut row = Row::new(histogram.labels, column);
            evaluator.drop_name(&mut row);
            row.labels = relabel(&row.labels);
            out.push_charged(row)?;
        }
    }
    Ok(())
}

pub(super) fn quantile<'a>(evaluator: &mut Evaluator<'a>, call: &mut Call<'_, 'a>) -> Result<'a> {
    let rows = call.rows(1, evaluator);
    let qs = call.scalar(0);
    note_quantiles(evaluator, qs, evaluator.span(call.args[0]));
    let mut out = Rows::none(evaluator.budget);
    let span = evaluator.span(call.args[1]);
    quantile_rows(evaluator, &rows, call.steps, qs, span, &mut out, Labels::clone)?;
    Ok(Evaluated::Rows(out))
}

pub(super) fn quantiles<'a>(evaluator: &mut Evaluator<'a>, call: &mut Call<'_, 'a>) -> Result<'a> {
    let rows = call.rows(0, evaluator);
    let label = String::from_utf8_lossy(evaluator.string(call.args[1])).into_owned();
    let span = evaluator.span(call.args[0]);
    let mut out = Rows::none(evaluator.budget);
    for arg in 2..call.args.len() {
        let qs = call.scalar(arg);
        note_quantiles(evaluator, qs, evaluator.span(call.args[arg]));
        // A quantile that changes from step to step names another series each time.
        let mut distinct: Vec<f64> = Vec::new();
        for q in qs {
            if !distinct.iter().any(|d| d.to_bits() == q.to_bits()) {
                distinct.push(*q);
            }
        }
        for q in distinct {
            let value = float_openmetrics(q);
            let relabel = |labels: &Labels| {
                let others = labels.iter().filter(|(name, _)| *name != label);
                others.chain([(label.as_str(), value.as_str())]).collect()
            };
            let before = out.rows.len();
            quantile_rows(evaluator, &rows, call.steps, qs, span, &mut out, relabel)?;
            for row in &mut out.rows[before..] {
                let other = |step: &usize| qs[*step].to_bits() != q.to_bits();
                (0..call.steps.count).filter(other).for_each(|step| row.column.clear(step));
            }
        }
    }
    Ok(Evaluated::Rows(out))
}

/// As OpenMetrics writes numbers: never without a decimal point or exponent.
fn float_openmetrics(value: f64) -> String {
    let text = float_general(value);
    if value.is_finite() && !text.contains(['.', 'e']) { text + ".0" } else { text }
}

fn note_quantiles(evaluator: &mut Evaluator<'_>, qs: &[f64], span: Span) {
    for q in qs.iter().filter(|q| !(0.0..=1.0).contains(*q)) {
        evaluator.notes.add(Note::quantile(*q, span));
    }
}

fn quantile_rows<'a>(
    evaluator: &mut Evaluator<'a>,
    rows: &Rows<'a>,
    steps: Steps,
    qs: &[f64],
    span: Span,
    out: &mut Rows<'a>,
    relabel: impl Fn(&Labels) -> Labels,
) -> Evaluates<()> {
    let function = |evaluator: &mut Evaluator<'a>, shape: Shape<'_>, step: usize, name: &str| match shape {
        Shape::Native(histogram) => {
            let (value, note) = native_quantile(qs[step], histogram);
            if let Some(note) = note {
                evaluator.notes.add(note(name, span));
            }
            value
        }
        Shape::Classic(buckets) => {
            let (value, lifted) = classic::quantile(qs[step], buckets, steps.at(step));
            if let Some(lifted) = lifted {
                evaluator.notes.add(Note::lifted_buckets(name, lifted, span));
            }
            value
        }
    };
    each_histogram(evaluator, rows, steps, span, out, function, relabel)
}

pub(super) fn fraction<'a>(evaluator: &mut Evaluator<'a>, call: &mut Call<'_, 'a>) -> Result<'a> {
    let rows = call.rows(2, evaluator);
    let (lower, upper) = (call.scalar(0), call.scalar(1));
    let span = evaluator.span(call.args[2]);
    let mut out = Rows::none(evaluator.budget);
    let function = |evaluator: &mut Evaluator<'a>, shape: Shape<'_>, step: usize, name: &str| match shape {
        Shape::Native(histogram) => {
            let (value, without_nan) = native_fraction(lower[step], upper[step], histogram);
            if without_nan {
                evaluator.notes.add(Note::fraction_without_nan(name, span));
            }
            value
        }
        Shape::Classic(buckets) => classic::fraction(lower[step], upper[step], buckets),
    };
    each_histogram(evaluator, &rows, call.steps, span, &mut out, function, Labels::clone)?;
    Ok(Evaluated::Rows(out))
}

type NoteMaker = fn(&str, Span) -> Note;

fn native_quantile(q: f64, histogram: &FloatHistogram) -> (f64, Option<NoteMaker>) {
    if q < 0.0 {
        return (f64::NEG_INFINITY, None);
    }
    if q > 1.0 {
        return (f64::INFINITY, None);
    }
    if histogram.count == 0.0 || q.is_nan() {
        return (f64::NAN, None);
    }
    let nan_seen = histogram.sum.is_nan();
    // NaN observations are counted but in no bucket, as if above all others; else one walks from the nearer end.
    let upward = nan_seen || q < 0.5;
    let mut buckets = histogram.buckets();
    let mut rank = if upward { q * histogram.count } else { (1.0 - q) * histogram.count };
    if !upward {
        buckets.reverse();
    }
    let mut count = 0.0;
    let mut walked = 0;
    let mut bucket =
        Bucket { lower: 0.0, upper: 0.0, lower_inclusive: false, upper_inclusive: false, count: 0.0 };
    for next in &buckets {
        walked += 1;
        if next.count == 0.0 {
            continue;
        }
        bucket = *next;
        count += bucket.count;
        if count >= rank {
            break;
        }
    }
    if histogram.has_custom_bounds() {
        if bucket.lower == f64::NEG_INFINITY {
            if bucket.upper <= 0.0 {
                return (bucket.upper, None);
            }
            bucket.lower = 0.0;
        } else if bucket.upper == f64::INFINITY {
            return (bucket.lower, None);
        }
    } else if bucket.lower < 0.0 && bucket.upper > 0.0 {
        narrow_zero_bucket(&mut bucket, histogram);
    }
    count = count.min(histogram.count);
    if count < rank {
        return if nan_seen { (f64::NAN, Some(Note::quantile_is_nan)) } else { (bucket.upper, None) };
    }
    rank = if upward { rank - (count - bucket.count) } else { count - rank };
    let mut note: Option<NoteMaker> = None;
    if nan_seen {
        let all = count + buckets[walked..].iter().map(|bucket| bucket.count).sum::<f64>();
        note = (all < histogram.count).then_some(Note::quantile_is_skewed);
    }
    let share = rank / bucket.count;
    if histogram.has_custom_bounds() || (bucket.lower <= 0.0 && bucket.upper >= 0.0) {
        return (bucket.lower + (bucket.upper - bucket.lower) * share, note);
    }
    let (lower, upper) = (bucket.lower.abs().log2(), bucket.upper.abs().log2());
    let value = if bucket.lower > 0.0 {
        (lower + (upper - lower) * share).exp2()
    } else {
        -(upper + (lower - upper) * (1.0 - share)).exp2()
    };
    (value, note)
}

/// With observations on one side only, the zero bucket's are taken to lie on that side.
fn narrow_zero_bucket(bucket: &mut Bucket, histogram: &FloatHistogram) {
    match (histogram.negative.is_empty(), histogram.positive.is_empty()) {
        (true, false) => bucket.lower = 0.0,
        (false, true) => bucket.upper = 0.0,
        _ => {}
    }
}

/// The share of observations between two values, and whether some observations were NaN.
fn native_fraction(lower: f64, upper: f64, histogram: &FloatHistogram) -> (f64, bool) {
    if histogram.count == 0.0 || lower.is_nan() || upper.is_nan() {
        return (f64::NAN, false);
    }
    if lower >= upper {
        return (0.0, false);
    }
    let (mut ranks, mut rank, mut seen) = (Ranks::default(), 0.0, 0.0);
    let buckets = histogram.buckets();
    let mut rest = buckets.iter();
    for bucket in rest.by_ref() {
        let mut bucket = *bucket;
        seen += bucket.count;
        let zero_bucket = bucket.lower <= 0.0 && bucket.upper >= 0.0;
        if zero_bucket {
            narrow_zero_bucket(&mut bucket, histogram);
        }
        let linear = zero_bucket || histogram.has_custom_bounds();
        ranks.take((lower, upper), (bucket.lower, bucket.upper), rank, |value| {
            if linear && bucket.lower == f64::NEG_INFINITY {
                return bucket.count;
            }
            rank + bucket.count * bucket.share_below(value, linear)
        });
        if ranks.done() {
            break;
        }
        rank += bucket.count;
    }
    let mut without_nan = false;
    let mut count = histogram.count;
    if histogram.sum.is_nan() {
        count = seen + rest.map(|bucket| bucket.count).sum::<f64>();
        without_nan = count < histogram.count;
    }
    (ranks.fraction(count, histogram.count), without_nan)
}
