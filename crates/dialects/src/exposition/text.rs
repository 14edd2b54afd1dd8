//! Prometheus' text format, 0.0.4 and 1.0.0.

use codec::float;
use model::labels::is_legacy_name;

use super::shape::{Count, Shape, cumulative, total};
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
        Shape::Gauge | Shape::Info => "gauge\n",
        Shape::Histogram | Shape::GaugeHistogram => "histogram\n",
    });
}

/// Appends a metric of the family.
pub(super) fn write(family: &Family<'_>, metric: &Metric<'_>, escaping: Escaping, out: &mut String) {
    let name = escaping.metric(family.name);
    let mut line = |suffix: &str, bound: Option<&str>, value: Count| {
        series(&name, suffix, metric.labels, bound, escaping, out);
        push_count(value, out);
        if let Some(ms) = metric.at_ms {
            out.push(' ');
            float::write_whole(ms, out);
        }
        out.push('\n');
    };
    match metric.value {
        Value::Float(value) => line("", None, Count::Float(value)),
        Value::Histogram(histogram) => {
            for (bound, count) in cumulative(histogram) {
                line("_bucket", Some(&general(bound)), count);
            }
            line("_bucket", Some("+Inf"), total(histogram));
            line("_sum", None, Count::Float(histogram.sum));
            line("_count", None, total(histogram));
        }
    }
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
fn is_bare(name: &str) -> bool {
    is_legacy_name(&name.replace(':', "_"))
}

fn push_name(name: &str, out: &mut String) {
    if is_bare(name) { out.push_str(name) } else { push_quoted(name, out) }
}

/// Appends `name{labels} `; a name that needs quotes stands among the labels.
pub(super) fn series(
    name: &str,
    suffix: &str,
    labels: &[(&str, &str)],
    bound: Option<&str>,
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
    let bound = bound.map(|bound| ("le", bound));
    for (label, value) in labels.iter().copied().chain(bound) {
        out.push(separator);
        push_label_name(&escaping.label(label), out);
        out.push('=');
        push_quoted(value, out);
        separator = ',';
    }
    out.push_str(if separator == ',' { "} " } else { " " });
}

pub(super) fn push_label_name(name: &str, out: &mut String) {
    if is_legacy_name(name) { out.push_str(name) } else { push_quoted(name, out) }
}

pub(super) fn push_quoted(text: &str, out: &mut String) {
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
