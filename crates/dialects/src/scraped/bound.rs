//! Bounds of classic histograms and quantiles of summaries: one number may be written in several ways, and is one series.

use codec::float;
use model::MetricType;

/// The label whose values are numbers in families of this type; empty where there is none.
pub(super) fn label_of(kind: MetricType) -> &'static str {
    match kind {
        MetricType::Histogram => "le",
        MetricType::Summary => "quantile",
        _ => "",
    }
}

/// Writes `series` into `out` with the value of its label `name` as OpenMetrics writes numbers (`1.0`, `1e+06`); false
/// when it has no such label, or the value is written so already, or is no number.
pub(super) fn rewrite(series: &str, name: &str, out: &mut String) -> bool {
    let Some(value) = value_of(series, name) else { return false };
    let text = &series[value.clone()];
    if is_usual(text.as_bytes()) {
        return false;
    }
    let Some(number) = float::parse(text) else { return false };
    out.clear();
    out.push_str(&series[..value.start]);
    write(number, out);
    if &out[value.start..] == text {
        return false;
    }
    out.push_str(&series[value.end..]);
    true
}

/// Appends a number that is told from a whole one by its point.
pub(super) fn write(number: f64, out: &mut String) {
    let start = out.len();
    float::write_general(number, out);
    if out[start..].bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') {
        out.push_str(".0");
    }
}

/// Where the value of the label `name` stands in a series that was checked.
fn value_of(series: &str, name: &str) -> Option<std::ops::Range<usize>> {
    let bytes = series.as_bytes();
    // Between quotes no quote stands without a backslash before it, so what looks like the label is the label, or the
    // end of a value that is followed by no number.
    let equals = memchr::memchr_iter(b'=', bytes).find(|at| {
        let before = bytes[..*at].strip_suffix(name.as_bytes());
        bytes.get(at + 1) == Some(&b'"') && matches!(before, Some([.., b'{' | b',' | b' ' | b'\t']))
    })?;
    let start = equals + 2;
    memchr::memchr(b'"', &bytes[start..]).map(|length| start..start + length)
}

/// Whether a number is surely written as [`write()`] would write it: few digits around a point, without zeros to spare.
fn is_usual(text: &[u8]) -> bool {
    if text == b"+Inf" {
        return true;
    }
    let Some(point) = memchr::memchr(b'.', text) else { return false };
    let (whole, fraction) = (&text[..point], &text[point + 1..]);
    let are_digits = |digits: &[u8]| digits.iter().all(u8::is_ascii_digit);
    let usual_fraction = match fraction {
        [] => false,
        b"0" => true,
        [.., last] => *last != b'0',
    };
    let usual_whole = match whole {
        // Below 1e-4 there is an exponent.
        b"0" => fraction == b"0" || fraction.iter().take(4).any(|digit| *digit != b'0'),
        [first, ..] => *first != b'0' && whole.len() <= 6,
        [] => false,
    };
    usual_fraction && usual_whole && text.len() <= 15 && are_digits(whole) && are_digits(fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(text: &str) -> String {
        let series = format!("h_bucket{{a=\"le=\",le=\"{text}\",z=\"\"}}");
        let mut out = String::new();
        if !rewrite(&series, "le", &mut out) {
            return text.to_owned();
        }
        out.strip_prefix("h_bucket{a=\"le=\",le=\"").unwrap().strip_suffix("\",z=\"\"}").unwrap().to_owned()
    }

    #[test]
    fn numbers_are_written_one_way() {
        for (text, wanted) in [
            ("1", "1.0"),
            ("1.0", "1.0"),
            ("1.50", "1.5"),
            ("01.5", "1.5"),
            ("0.1", "0.1"),
            (".1", "0.1"),
            ("0.0001", "0.0001"),
            ("0.00001", "1e-05"),
            ("1e-05", "1e-05"),
            ("0", "0.0"),
            ("-1", "-1.0"),
            ("-2.5", "-2.5"),
            ("1000000", "1e+06"),
            ("1000000.0", "1e+06"),
            ("123456.5", "123456.5"),
            ("1234567.5", "1.2345675e+06"),
            ("+Inf", "+Inf"),
            ("inf", "+Inf"),
            ("Nan", "NaN"),
            ("0.30000000000000004", "0.30000000000000004"),
            ("", ""),
            ("x", "x"),
        ] {
            assert_eq!(bound(text), wanted, "{text:?}");
        }
    }

    #[test]
    fn what_is_usual_is_what_is_written() {
        for whole in ["0", "1", "9", "10", "99", "123456"] {
            for fraction in ["0", "1", "05", "001", "0001", "00001", "123456", "5"] {
                let text = format!("{whole}.{fraction}");
                let mut written = String::new();
                write(text.parse().unwrap(), &mut written);
                assert!(!is_usual(text.as_bytes()) || written == text, "{text}: {written}");
            }
        }
    }

    #[test]
    fn only_the_label_is_rewritten() {
        let mut out = String::new();
        for series in ["up", "up{}", "up{title=\"1\"}", "up{a=\",le=\",b=\"1\"}", "up{le=\"x\\\"1\"}"] {
            assert!(!rewrite(series, "le", &mut out), "{series}");
        }
        assert!(rewrite("up{ le=\"1\"}", "le", &mut out));
        assert_eq!(out, "up{ le=\"1.0\"}");
    }
}
