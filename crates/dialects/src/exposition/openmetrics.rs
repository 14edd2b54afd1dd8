//! OpenMetrics 1.0.0 and 0.0.1.

use codec::float;
use model::batch::Exemplar;

use super::shape::{Buckets, Count, Shape};
use super::text::{comment, push_escaped, push_label_name, push_quoted, series};
use super::{Escaping, Family, Metric, Value};

/// Appends what a family begins with.
pub(super) fn begin(family: &Family<'_>, shape: Shape, escaping: Escaping, out: &mut String) {
    let (name, kind) = named(family.name, shape);
    let name = escaping.metric(name);
    comment("TYPE", &name, out);
    out.push_str(kind);
    out.push('\n');
    // A unit must be the end of the name.
    let ends = name.strip_suffix(family.unit).is_some_and(|rest| rest.ends_with('_'));
    if !family.unit.is_empty() && ends {
        comment("UNIT", &name, out);
        out.push_str(family.unit);
        out.push('\n');
    }
    if !family.help.is_empty() {
        comment("HELP", &name, out);
        push_escaped(family.help, |c| c == '\\' || c == '"', out);
        out.push('\n');
    }
}

/// Appends a metric of the family.
pub(super) fn write(
    family: &Family<'_>,
    shape: Shape,
    metric: &Metric<'_>,
    escaping: Escaping,
    out: &mut String,
) {
    let (_, kind) = named(family.name, shape);
    let series_name = escaping.metric(family.name);
    let mut line = |suffix: &str, more: Option<(&str, &str)>, value: Count| {
        series(&series_name, suffix, metric.labels, more, escaping, out);
        match value {
            Count::Whole(count) => out.push_str(&count.to_string()),
            Count::Float(value) => out.push_str(&number(value)),
        }
        if let Some(ms) = metric.at_ms {
            out.push(' ');
            push_seconds(ms, out);
        }
        match metric.exemplar {
            Some(exemplar) if kind == "counter" => push_exemplar(exemplar, escaping, out),
            _ => {}
        }
        out.push('\n');
    };
    let (sum, count) = if shape == Shape::GaugeHistogram { ("_gsum", "_gcount") } else { ("_sum", "_count") };
    let buckets = match metric.value {
        Value::Float(value) => return line("", None, Count::Float(value)),
        Value::Summary(summary) => {
            for (quantile, value) in summary.quantiles {
                line("", Some(("quantile", &number(*quantile))), Count::Float(*value));
            }
            summary.sum.into_iter().for_each(|value| line(sum, None, Count::Float(value)));
            summary.count.into_iter().for_each(|value| line(count, None, Count::of(value)));
            return;
        }
        Value::Histogram(histogram) => Buckets::of(histogram),
        Value::Classic(classic) => Buckets::of_classic(&classic),
    };
    for (bound, count) in buckets.below {
        line("_bucket", Some(("le", &number(bound))), count);
    }
    line("_bucket", Some(("le", "+Inf")), buckets.count);
    line(sum, None, Count::Float(buckets.sum));
    line(count, None, buckets.count);
}

/// Appends when a metric of the family began, where its type has a line for it.
pub(super) fn write_created(
    family: &Family<'_>,
    shape: Shape,
    metric: &Metric<'_>,
    created_s: f64,
    escaping: Escaping,
    out: &mut String,
) {
    let (name, kind) = named(family.name, shape);
    if !matches!(kind, "counter" | "histogram" | "summary") {
        return;
    }
    series(&escaping.metric(name), "_created", metric.labels, None, escaping, out);
    out.push_str(&number(created_s));
    if let Some(ms) = metric.at_ms {
        out.push(' ');
        push_seconds(ms, out);
    }
    out.push('\n');
}

/// A family's name and type: counters and infos have a suffix, and those that do not are something unknown.
fn named(name: &str, shape: Shape) -> (&str, &'static str) {
    match shape {
        Shape::Counter => name.strip_suffix("_total").map_or((name, "unknown"), |name| (name, "counter")),
        Shape::Info => name.strip_suffix("_info").map_or((name, "unknown"), |name| (name, "info")),
        Shape::Gauge => (name, "gauge"),
        Shape::StateSet => (name, "stateset"),
        Shape::Untyped => (name, "unknown"),
        Shape::Summary => (name, "summary"),
        Shape::Histogram => (name, "histogram"),
        Shape::GaugeHistogram => (name, "gaugehistogram"),
    }
}

/// The names that a reader takes for those of a family whose series are called `name`.
pub(super) fn claimed(name: &str, shape: Shape) -> Vec<String> {
    let (base, kind) = named(name, shape);
    let suffixes: &[&str] = match kind {
        "counter" => &["", "_total", "_created"],
        "info" => &["", "_info"],
        "summary" => &["", "_sum", "_count", "_created"],
        "histogram" => &["", "_bucket", "_sum", "_count", "_created"],
        "gaugehistogram" => &["", "_bucket", "_gsum", "_gcount", "_sum", "_count"],
        _ => &[""],
    };
    suffixes.iter().map(|suffix| format!("{base}{suffix}")).collect()
}

/// A float, which is told from a whole number by its point.
fn number(value: f64) -> String {
    let mut out = String::new();
    float::write_general(value, &mut out);
    if out.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') {
        out.push_str(".0");
    }
    out
}

/// Seconds with as many decimals as are needed.
fn push_seconds(ms: i64, out: &mut String) {
    let (ms, sign) = (ms.unsigned_abs(), if ms < 0 { "-" } else { "" });
    let text = format!("{sign}{}.{:03}", ms / 1000, ms % 1000);
    out.push_str(text.trim_end_matches('0').trim_end_matches('.'));
}

fn push_exemplar(exemplar: &Exemplar, escaping: Escaping, out: &mut String) {
    out.push_str(" # {");
    for (i, (name, value)) in exemplar.labels.iter().enumerate() {
        out.push_str(if i > 0 { "," } else { "" });
        push_label_name(&escaping.label(name), out);
        out.push('=');
        push_quoted(value, out);
    }
    out.push_str("} ");
    out.push_str(&number(exemplar.value));
    out.push(' ');
    push_seconds(exemplar.timestamp_ms, out);
}
