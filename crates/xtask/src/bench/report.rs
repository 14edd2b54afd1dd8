//! Figures of several runs: medians with their spread, ratios, a table for `bench/RESULTS.md`.

use std::fmt::Write;

/// What a figure is called and how it is shown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    pub(crate) title: &'static str,
    /// What a figure is divided by before it is shown.
    pub(crate) divisor: f64,
    /// Digits behind the point.
    pub(crate) digits: usize,
}

impl Column {
    pub(crate) const fn new(title: &'static str, divisor: f64, digits: usize) -> Self {
        Self { title, divisor, digits }
    }

    fn cell(&self, figures: &[f64]) -> String {
        spread(figures, self.divisor, self.digits)
    }
}

/// A server with the figures of its runs, in the order of the columns; NaN = there is none.
pub(crate) type Row = (&'static str, Vec<Vec<f64>>);

/// A table: a line for each server with medians and spread, then Weir's ratios to the others.
pub(crate) fn table(columns: &[Column], rows: &[Row]) -> String {
    let mut text = String::new();
    let titles: Vec<&str> = columns.iter().map(|column| column.title).collect();
    let _ = writeln!(text, "| | {} |\n|---|{}", titles.join(" | "), "---|".repeat(titles.len()));
    for (server, runs) in rows {
        let cells: Vec<String> =
            columns.iter().enumerate().map(|(at, column)| column.cell(&figures(runs, at))).collect();
        let _ = writeln!(text, "| {server} | {} |", cells.join(" | "));
    }
    let Some((_, weir)) = rows.iter().find(|(server, _)| *server == "Weir") else { return text };
    for (server, runs) in rows.iter().filter(|(server, _)| *server != "Weir") {
        let ratio = |at: usize| {
            let ratio = median(&figures(weir, at)) / median(&figures(runs, at));
            if ratio.is_finite() { format!("{ratio:.2}") } else { "–".to_owned() }
        };
        let cells: Vec<String> = (0..columns.len()).map(ratio).collect();
        let _ = writeln!(text, "| Weir ÷ {server} | {} |", cells.join(" | "));
    }
    text
}

/// A column's figures, sorted, without those that are missing.
fn figures(runs: &[Vec<f64>], at: usize) -> Vec<f64> {
    let mut figures: Vec<f64> = runs.iter().map(|run| run[at]).filter(|figure| !figure.is_nan()).collect();
    figures.sort_by(f64::total_cmp);
    figures
}

/// The median of sorted figures with the lowest and the highest, all divided before they are shown.
pub(crate) fn spread(figures: &[f64], divisor: f64, digits: usize) -> String {
    match figures {
        [] => "–".to_owned(),
        [only] => format!("{:.digits$}", only / divisor),
        [low, .., high] => {
            let middle = median(figures) / divisor;
            format!("{middle:.digits$} ({:.digits$}–{:.digits$})", low / divisor, high / divisor)
        }
    }
}

/// The median of sorted figures; NaN when there are none.
pub(crate) fn median(figures: &[f64]) -> f64 {
    let middle = figures.len() / 2;
    match figures.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => figures[middle],
        _ => f64::midpoint(figures[middle - 1], figures[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_spread_and_ratios() {
        let runs = |speeds: &[f64]| speeds.iter().map(|speed| vec![*speed, f64::NAN]).collect();
        let columns = [Column::new("M samples/s", 1e6, 3), Column::new("nothing", 1.0, 0)];
        let table = table(&columns, &[("Weir", runs(&[3e6, 1e6, 2e6])), ("Prometheus", runs(&[1e6]))]);
        assert!(table.contains("| Weir | 2.000 (1.000–3.000) | – |"), "{table}");
        assert!(table.contains("| Weir ÷ Prometheus | 2.00 | – |"), "{table}");
    }
}
