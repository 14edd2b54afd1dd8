//! Prometheus' text format, 0.0.4 and 1.0.0.

use codec::float;
use model::labels::is_legacy_name;

use super::shape::{Buckets, Count, Shape};
use super::{Escaping, Family, Metric, Value};

/// Appends what a family begins with.
pub(super) fn begin(family: &Family<'_>, shape: Shape, escaping: Escaping, out: &mut String) {
    let name = escaping.metric(family.name);
    if !family.help.is_empty() {
        comment("HELP", &name, out);
        push_escaped(family.help, |c| c == '\\', out);
        out.push('\n');
    }
    comment("TYPE", &name, out);
    out.push_str(match shape {
        Shape::Untyped => "untyped\n",
        Shape::Counter => "counter\n",
        Shape::Gauge | Shape::Info | Shape::StateSet => "gauge\n",
        Shape::Summary => "summary\n",
        Shape::Histogram | Shape::GaugeHistogram => "histogram\n",
    });
}

/// Appends a metric of the family.
pub(super) fn write(family: &Family<'_>, metric: &Metric<'_>, escaping: Escaping, out: &mut String) {
    let name = escaping.metric(family.name);
    let mut line = |suffix: &str, more: Option<(&str, &str)>, value: Count| {
        series(&name, suffix, metric.labels, more, escaping, out);
        push_count(value, out);
        if let Some(ms) = metric.at_ms {
            out.push(' ');
            float::write_whole(ms, out);
        }
        out.push('\n');
    };
    let buckets = match metric.value {
        Value::Float(value) => return line("", None, Count::Float(value)),
        Value::Summary(summary) => {
            for (quantile, value) in summary.quantiles {
                line("", Some(("quantile", &general(*quantile))), Count::Float(*value));
            }
            summary.sum.into_iter().for_each(|sum| line("_sum", None, Count::Float(sum)));
            summary.count.into_iter().for_each(|count| line("_count", None, Count::of(count)));
            return;
        }
        Value::Histogram(histogram) => Buckets::of(histogram),
        Value::Classic(classic) => Buckets::of_classic(&classic),
    };
    for (bound, count) in buckets.below {
        line("_bucket", Some(("le", &general(bound))), count);
    }
    line("_bucket", Some(("le", "+Inf")), buckets.count);
    line("_sum", None, Count::Float(buckets.sum));
    line("_count", None, buckets.count);
}

/// Appends `# WHAT name `.
pub(super) fn comment(what: &str, name: &str, out: &mut String) {
    out.push_str("# ");
    out.push_str(what);
    out.push(' ');
    push_name(name, out);
    out.push(' ');
}

/// Whether a metric's name needs no quotes.
pub(crate) fn is_bare(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b':')
}

fn push_name(name: &str, out: &mut String) {
    if is_bare(name) { out.push_str(name) } else { push_quoted(name, out) }
}

/// Appends `name{labels} `, with one label `more`; a name that needs quotes stands among the labels.
pub(super) fn series(
    name: &str,
    suffix: &str,
    labels: &[(&str, &str)],
    more: Option<(&str, &str)>,
    escaping: Escaping,
    out: &mut String,
) {
    let mut separator = '{';
    if is_bare(name) {
        out.push_str(name);
        out.push_str(suffix);
    } else {
        out.push('{');
        push_quoted(&format!("{name}{suffix}"), out);
        separator = ',';
    }
    for (label, value) in labels.iter().copied().chain(more) {
        out.push(separator);
        push_label_name(&escaping.label(label), out);
        out.push('=');
        push_quoted(value, out);
        separator = ',';
    }
    out.push_str(if separator == ',' { "} " } else { " " });
}

pub(crate) fn push_label_name(name: &str, out: &mut String) {
    if is_legacy_name(name) { out.push_str(name) } else { push_quoted(name, out) }
}

pub(crate) fn push_quoted(text: &str, out: &mut String) {
    out.push('"');
    push_escaped(text, |c| c == '\\' || c == '"', out);
    out.push('"');
}

/// Appends `text` on one line, a backslash before what is `special`.
pub(super) fn push_escaped(text: &str, special: impl Fn(char) -> bool, out: &mut String) {
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            c if special(c) => out.extend(['\\', c]),
            c => out.push(c),
        }
    }
}

fn general(value: f64) -> String {
    let mut out = String::new();
    float::write_general(value, &mut out);
    out
}

fn push_count(count: Count, out: &mut String) {
    match count {
        Count::Whole(count) => out.push_str(&count.to_string()),
        Count::Float(value) => float::write_general(value, out),
    }
}
