//! `query`, `query_range`, `format_query`.

use model::{Budget, TimeRange};
use promql::{Answer, Params as Steps, Point, Value};

use super::error::{ApiError, Kind};
use super::params::InvalidParam;
use super::stats::{Counting, Timings};
use super::{Answered, Ask, encode, tree};
use crate::source::TenantSource;

pub(super) const TRUNCATED: &str = "results truncated due to limit";

/// An expression at one time.
pub(super) fn instant(ask: &Ask, budget: &Budget) -> Result<Answered, ApiError> {
    let limit = ask.params.limit("limit")?;
    let at_ms = ask.params.time("time", ask.now_ms)?;
    evaluate(ask, Steps::instant(at_ms), limit, budget)
}

/// An expression over a range of times.
pub(super) fn range(ask: &Ask, budget: &Budget) -> Result<Answered, ApiError> {
    let limit = ask.params.limit("limit")?;
    let range =
        TimeRange { start_ms: ask.params.required_time("start")?, end_ms: ask.params.required_time("end")? };
    if range.end_ms < range.start_ms {
        return Err(InvalidParam::new("end", "end timestamp must not be before start time").into());
    }
    let step_ms = ask.params.required_duration("step")?;
    if step_ms <= 0 {
        let what = "zero or negative query resolution step widths are not accepted. Try a positive integer";
        return Err(InvalidParam::new("step", what).into());
    }
    let points_max = ask.config.query_max_points;
    let steps = range.end_ms.abs_diff(range.start_ms) / step_ms.unsigned_abs();
    if steps > points_max as u64 {
        let most = thousands(points_max);
        let message = format!(
            "exceeded maximum resolution of {most} points per timeseries. Try decreasing the query resolution (?step=XX)"
        );
        return Err(ApiError::new(Kind::BadData, message));
    }
    evaluate(ask, Steps::range(range.start_ms, range.end_ms, step_ms), limit, budget)
}

/// An expression as a tree.
pub(super) fn parse(ask: &Ask, budget: &Budget) -> Result<Answered, ApiError> {
    let expr = ask.expression()?;
    let mut out = encode::begin(0);
    tree::write(&mut out, &expr, budget)?;
    Ok(Answered::begun(out))
}

/// An expression in its usual form, over several lines when it is long.
pub(super) fn format(ask: &Ask, budget: &Budget) -> Result<Answered, ApiError> {
    let expr = ask.expression()?;
    let mut out = encode::begin(0);
    encode::string(&mut out, &expr.pretty(budget)?);
    Ok(Answered::begun(out))
}

fn evaluate(ask: &Ask, steps: Steps, limit: usize, budget: &Budget) -> Result<Answered, ApiError> {
    // It counts from before; here it is read in its turn.
    let timeout_ms = ask.params.duration("timeout")?;
    let refused = |error: InvalidParam| {
        ApiError::new(Kind::BadData, format!("error parsing lookback delta duration: {}", error.what))
    };
    let lookback_ms = match ask.params.duration("lookback_delta").map_err(refused)? {
        Some(ms) if ms > 0 => ms,
        _ => i64::try_from(ask.config.query_lookback.as_millis()).unwrap_or(i64::MAX),
    };
    let options = promql::feature::options(&ask.config.query_features);
    let steps = Steps { lookback_ms, options, threads: ask.config.query_threads, ..steps };
    let clock = &ask.app.env.clock;
    let begun = clock.monotonic();
    let expr = ask.expression()?;
    if timeout_ms.is_some_and(|ms| ms <= 0) {
        // Where Prometheus finds it out.
        return Err(ApiError::new(Kind::Timeout, "query timed out in query queue"));
    }
    let source = TenantSource::new(ask.store.clone(), ask.tenant.id);
    let wanted = ask.params.get("stats");
    let (answer, stats) = if wanted.is_empty() {
        (promql::evaluate(&source, &expr, &steps, budget)?, None)
    } else {
        let counting = Counting::new(&source, &expr, steps);
        let parsed = clock.monotonic();
        let answer = promql::evaluate(&counting, &expr, &steps, budget)?;
        let ended = clock.monotonic();
        let timings = Timings { queue: begun - ask.asked, eval: ended - parsed, total: ended - ask.asked };
        (answer, Some(counting.stats(timings).json()))
    };
    let Answer { mut value, mut warnings, infos } = answer;
    if !matches!(wanted, "" | "true" | "all") {
        let wanted = promql::text::quoted(wanted);
        warnings.push(format!(
            "value {wanted} for parameter \"stats\" is deprecated and will be rejected in the next major release, use \"true\" or \"all\""
        ));
    }
    if truncate(&mut value, limit) {
        warnings.push(TRUNCATED.to_owned());
    }
    let bytes = encoded_bytes(&value);
    // Parts that other threads write are there twice for a moment.
    budget.charge(bytes.saturating_add(if steps.threads > 1 { bytes / 2 } else { 0 }))?;
    let mut out = encode::begin(usize::try_from(bytes).unwrap_or(0));
    encode::value(&mut out, &value, stats.as_deref(), steps.threads);
    Ok(Answered { warnings, infos, ..Answered::begun(out) })
}

fn truncate(value: &mut Value, limit: usize) -> bool {
    let limit = if limit == 0 { usize::MAX } else { limit };
    match value {
        Value::Vector(samples) => shorten(samples, limit),
        Value::Matrix(series) => shorten(series, limit),
        Value::Scalar(..) | Value::String(..) => false,
    }
}

/// Cuts a list to `limit`; whether there was something to cut.
pub(super) fn shorten<T>(list: &mut Vec<T>, limit: usize) -> bool {
    let over = list.len() > limit;
    list.truncate(limit);
    over
}

/// About what the answer takes as text.
fn encoded_bytes(value: &Value) -> u64 {
    const POINT: usize = 32;
    const SERIES: usize = 64;
    let series = |labels| SERIES + encode::labels_bytes(labels);
    let bytes = match value {
        Value::Vector(samples) => {
            samples.iter().map(|sample| series(&sample.labels) + POINT + buckets_bytes(&sample.point)).sum()
        }
        Value::Matrix(all) => all
            .iter()
            .map(|one| {
                let points = &one.points;
                let buckets = match points.has_histograms() {
                    true => points.iter().map(|(_, point)| buckets_bytes(&point)).sum(),
                    false => 0,
                };
                series(&one.labels) + points.len() * POINT + buckets
            })
            .sum(),
        Value::Scalar(..) => POINT,
        Value::String(_, text) => POINT + encode::string_bytes(text),
    };
    bytes as u64
}

/// What a sample takes as text besides its time. A histogram that stands at many steps is held once and written often.
fn buckets_bytes(point: &Point) -> usize {
    match point {
        Point::Float(_) => 0,
        Point::Histogram(histogram) => encode::histogram_bytes(histogram),
    }
}

fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use model::Labels;
    use model::histogram::ResetHint;
    use promql::{FloatHistogram, MatrixSeries};

    use super::*;

    /// A histogram at 1,000 steps was charged as 1,000 floats, and labels as 256 bytes however long they are.
    #[test]
    fn answers_are_charged_as_they_are_written() {
        let histogram = Arc::new(FloatHistogram {
            schema: 0,
            zero_threshold: 0.0,
            zero_count: 0.0,
            count: 160.0,
            sum: 1.5,
            reset_hint: ResetHint::Unknown,
            positive: (0..160).map(|index| (index, 1.0)).collect(),
            negative: Vec::new(),
            custom_bounds: Vec::new(),
        });
        let points: Vec<_> =
            (0..1_000).map(|step| (step * 1_000, Point::Histogram(histogram.clone()))).collect();
        let short = Labels::from_pairs([("__name__", "m")]);
        let long = Labels::from_pairs([("a".to_owned(), "\u{1}".repeat(8_000))]);
        let floats: Vec<_> = (0..10).map(|step| (step * 1_000, Point::Float(0.5))).collect();
        for (labels, points) in [(short, points), (long, floats)] {
            let value = Value::Matrix(vec![MatrixSeries { labels, points: points.into() }]);
            let mut out = String::new();
            encode::value(&mut out, &value, None, 1);
            let (said, is) = (encoded_bytes(&value), out.len() as u64);
            assert!(is <= said && said <= 3 * is, "{said} for {is}");
        }
    }
}
