//! Figures of several runs: medians with their spread, ratios, a table for `bench/RESULTS.md`.

use std::fmt::Write;

use crate::load::mix::Shape;

/// One run of one server on one workload.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Figures {
    /// Samples a second until the last answer.
    pub(crate) samples_per_second: f64,
    /// CPU microseconds of the server a sample, until the last answer.
    pub(crate) cpu_us_answered: f64,
    /// The same, until every sample is queryable and synced.
    pub(crate) cpu_us_settled: f64,
    /// Resident bytes then.
    pub(crate) rss_bytes: f64,
    /// Most resident bytes ever.
    pub(crate) rss_bytes_max: f64,
    /// Bytes on disk then.
    pub(crate) disk_bytes: f64,
}

type Field = fn(&Figures) -> f64;

/// Column titles and how a figure is shown: field, divisor, digits.
const COLUMNS: &[(&str, Field, f64, usize)] = &[
    ("M samples/s", |figures| figures.samples_per_second, 1e6, 3),
    ("CPU µs/sample, answered", |figures| figures.cpu_us_answered, 1.0, 3),
    ("CPU µs/sample, queryable and synced", |figures| figures.cpu_us_settled, 1.0, 3),
    ("RSS MB", |figures| figures.rss_bytes, 1e6, 0),
    ("RSS MB, peak", |figures| figures.rss_bytes_max, 1e6, 0),
    ("disk MB", |figures| figures.disk_bytes, 1e6, 0),
];

/// The table of a workload: a line for each server with medians and spread, then Weir's ratios to the others.
pub(crate) fn table(shape: &Shape, rows: &[(&'static str, Vec<Figures>)]) -> String {
    let mut text = String::new();
    let Shape { name, series, steps, per_request } = shape;
    let _ = writeln!(
        text,
        "\nWorkload {name}: {series} series × {steps} samples, {per_request} samples a request\n"
    );
    let titles: Vec<&str> = COLUMNS.iter().map(|column| column.0).collect();
    let _ = writeln!(text, "| | {} |\n|---|{}", titles.join(" | "), "---|".repeat(titles.len()));
    for (server, runs) in rows {
        let cells: Vec<String> = COLUMNS.iter().map(|column| cell(runs, column)).collect();
        let _ = writeln!(text, "| {server} | {} |", cells.join(" | "));
    }
    let Some((_, weir)) = rows.iter().find(|(server, _)| *server == "Weir") else { return text };
    for (server, runs) in rows.iter().filter(|(server, _)| *server != "Weir") {
        let ratio = |column: &(&str, Field, f64, usize)| {
            format!("{:.2}", median(weir, column.1) / median(runs, column.1).max(f64::MIN_POSITIVE))
        };
        let cells: Vec<String> = COLUMNS.iter().map(ratio).collect();
        let _ = writeln!(text, "| Weir ÷ {server} | {} |", cells.join(" | "));
    }
    text
}

fn cell(runs: &[Figures], (_, field, divisor, digits): &(&str, Field, f64, usize)) -> String {
    let values = runs.iter().map(field);
    let (low, high) =
        (values.clone().fold(f64::MAX, f64::min) / divisor, values.fold(0.0, f64::max) / divisor);
    let middle = median(runs, *field) / divisor;
    if runs.len() == 1 {
        return format!("{middle:.digits$}");
    }
    format!("{middle:.digits$} ({low:.digits$}–{high:.digits$})")
}

fn median(runs: &[Figures], field: Field) -> f64 {
    let mut values: Vec<f64> = runs.iter().map(field).collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_spread_and_ratios() {
        let runs = |speeds: &[f64]| {
            speeds
                .iter()
                .map(|&samples_per_second| Figures { samples_per_second, ..Figures::default() })
                .collect()
        };
        let shape = Shape { name: "T", series: 1, steps: 2, per_request: 3 };
        let table = table(&shape, &[("Weir", runs(&[3e6, 1e6, 2e6])), ("Prometheus", runs(&[1e6]))]);
        assert!(table.contains("| Weir | 2.000 (1.000–3.000) |"), "{table}");
        assert!(table.contains("| Weir ÷ Prometheus | 2.00 |"), "{table}");
    }
}
