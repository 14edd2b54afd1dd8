//! Answers as JSON, exactly as Prometheus shapes them, written straight into one string.
//!
//! Samples are most of what Weir ever sends; a generic serialiser would build or visit a value for each of them. Times
//! are seconds with three decimals at most, values are strings: JSON has no NaN, and no number that JavaScript would
//! not round.

use std::fmt::Write;

use codec::float;
use model::Labels;
use promql::{FloatHistogram, Point, Value, VectorSample};

use super::matrix::matrix;

/// The beginning of an answer, behind which `data` is written, with room for so many bytes.
pub fn begin(bytes: usize) -> String {
    let begin = "{\"status\":\"success\",\"data\":";
    let mut out = String::with_capacity(begin.len() + bytes + 64);
    out.push_str(begin);
    out
}

/// Ends an answer behind its `data`.
pub fn end(out: &mut String, warnings: &[String], infos: &[String]) {
    notes(out, "warnings", warnings);
    notes(out, "infos", infos);
    out.push('}');
}

/// Warnings, or infos, that an answer spells out; of the others it says how many there are.
const NOTES_MAX: usize = 10;

/// A further member of an object: `warnings` or `infos`, when there are any.
pub fn notes(out: &mut String, key: &str, notes: &[String]) {
    if notes.is_empty() {
        return;
    }
    let _ = write!(out, ",\"{key}\":");
    let (told, omitted) = notes.split_at(notes.len().min(NOTES_MAX));
    let kind = key.trim_end_matches('s');
    let last = (!omitted.is_empty()).then(|| format!("{} more {kind} annotations omitted", omitted.len()));
    list(out, told.iter().chain(&last), |out, note| string(out, note));
}

/// An evaluated expression, and the JSON of what it cost; at most so many threads write it.
pub fn value(out: &mut String, value: &Value, stats: Option<&str>, threads: usize) {
    let kind = match value {
        Value::Scalar(..) => "scalar",
        Value::String(..) => "string",
        Value::Vector(_) => "vector",
        Value::Matrix(_) => "matrix",
    };
    let _ = write!(out, "{{\"resultType\":\"{kind}\",\"result\":");
    match value {
        Value::Scalar(ms, number) => {
            time_and(out, *ms, |out| {
                out.push('"');
                float::write_plain(*number, out);
                out.push('"');
            });
        }
        Value::String(ms, text) => time_and(out, *ms, |out| string(out, text)),
        Value::Vector(samples) => list(out, samples, vector_sample),
        Value::Matrix(series) => matrix(out, series, threads),
    }
    if let Some(stats) = stats {
        out.push_str(",\"stats\":");
        out.push_str(stats);
    }
    out.push('}');
}

fn vector_sample(out: &mut String, sample: &VectorSample) {
    out.push_str("{\"metric\":");
    labels(out, &sample.labels);
    out.push_str(match sample.point {
        Point::Float(_) => ",\"value\":",
        Point::Histogram(_) => ",\"histogram\":",
    });
    point(out, sample.timestamp_ms, &sample.point);
    out.push('}');
}

fn point(out: &mut String, ms: i64, point: &Point) {
    time_and(out, ms, |out| match point {
        Point::Float(value) => quoted_float(out, *value),
        Point::Histogram(value) => histogram(out, value),
    });
}

fn time_and(out: &mut String, ms: i64, rest: impl FnOnce(&mut String)) {
    out.push('[');
    time(out, ms);
    out.push(',');
    rest(out);
    out.push(']');
}

/// A native histogram.
pub fn histogram(out: &mut String, histogram: &FloatHistogram) {
    out.push_str("{\"count\":");
    quoted_float(out, histogram.count);
    out.push_str(",\"sum\":");
    quoted_float(out, histogram.sum);
    let buckets = histogram.buckets();
    let mut filled = buckets.iter().filter(|bucket| bucket.count != 0.0).peekable();
    if filled.peek().is_some() {
        out.push_str(",\"buckets\":");
        list(out, filled, |out, bucket| {
            let rule = match (bucket.lower_inclusive, bucket.upper_inclusive) {
                (false, true) => 0,
                (true, false) => 1,
                (false, false) => 2,
                (true, true) => 3,
            };
            let _ = write!(out, "[{rule}");
            for number in [bucket.lower, bucket.upper, bucket.count] {
                out.push(',');
                quoted_float(out, number);
            }
            out.push(']');
        });
    }
    out.push('}');
}

/// A sample's value.
pub fn quoted_float(out: &mut String, value: f64) {
    out.push('"');
    float::write_sample(value, out);
    out.push('"');
}

/// Milliseconds as seconds.
pub fn time(out: &mut String, ms: i64) {
    let (seconds, rest) = (ms / 1000, ms.unsigned_abs() % 1000);
    if ms < 0 && seconds == 0 {
        out.push('-');
    }
    float::write_whole(seconds, out);
    if rest > 0 {
        let _ = write!(out, ".{rest:03}");
    }
}

/// A label set as an object.
pub fn labels(out: &mut String, labels: &Labels) {
    pairs(out, labels.iter());
}

/// Pairs as an object.
pub fn pairs<'a>(out: &mut String, pairs: impl IntoIterator<Item = (&'a str, &'a str)>) {
    out.push('{');
    for (i, (name, value)) in pairs.into_iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        string(out, name);
        out.push(':');
        string(out, value);
    }
    out.push('}');
}

/// A list.
pub fn list<T>(out: &mut String, items: impl IntoIterator<Item = T>, mut one: impl FnMut(&mut String, T)) {
    out.push('[');
    for (i, item) in items.into_iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        one(out, item);
    }
    out.push(']');
}

/// A string with JSON's escapes.
pub fn string(out: &mut String, text: &str) {
    out.push('"');
    let mut plain = 0;
    for (i, byte) in text.bytes().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.push_str(&text[plain..i]);
        plain = i + 1;
        let _ = match byte {
            b'"' => out.write_str("\\\""),
            b'\\' => out.write_str("\\\\"),
            b'\n' => out.write_str("\\n"),
            b'\r' => out.write_str("\\r"),
            b'\t' => out.write_str("\\t"),
            byte => write!(out, "\\u{byte:04x}"),
        };
    }
    out.push_str(&text[plain..]);
    out.push('"');
}

/// Bytes of a string with JSON's escapes.
pub fn string_bytes(text: &str) -> usize {
    let escaped = |byte: u8| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' => 2,
        0x20.. => 1,
        _ => 6,
    };
    2 + text.bytes().map(escaped).sum::<usize>()
}

/// Bytes of a label set as an object, and a comma for each.
pub fn labels_bytes(labels: &Labels) -> usize {
    2 + labels.iter().map(|(name, value)| string_bytes(name) + string_bytes(value) + 2).sum::<usize>()
}

/// Bytes of a native histogram at most.
pub fn histogram_bytes(histogram: &FloatHistogram) -> usize {
    const NUMBER: usize = "\"-2.2250738585072014e-308\",".len();
    const BUCKET: usize = "[0,],".len() + 3 * NUMBER;
    let buckets = [&histogram.positive, &histogram.negative].into_iter().flatten();
    let filled =
        buckets.filter(|(_, count)| *count != 0.0).count() + usize::from(histogram.zero_count != 0.0);
    "{\"count\":,\"sum\":,\"buckets\":[]}".len() + 2 * NUMBER + filled * BUCKET
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use model::histogram::ResetHint;
    use promql::MatrixSeries;

    use super::*;

    fn native() -> FloatHistogram {
        FloatHistogram {
            schema: 0,
            zero_threshold: 0.001,
            zero_count: 2.0,
            count: 7.5,
            sum: -3.25,
            reset_hint: ResetHint::Unknown,
            positive: vec![(0, 1.0), (1, 0.0), (2, 3.5)],
            negative: vec![(1, 1.0)],
            custom_bounds: Vec::new(),
        }
    }

    fn written(write: impl FnOnce(&mut String)) -> String {
        let mut out = String::new();
        write(&mut out);
        out
    }

    #[test]
    fn times_are_seconds() {
        let cases = [
            (0, "0"),
            (1000, "1"),
            (1, "0.001"),
            (1500, "1.500"),
            (-1500, "-1.500"),
            (1_700_000_000_123, "1700000000.123"),
        ];
        for (ms, wanted) in cases {
            assert_eq!(written(|out| time(out, ms)), wanted);
        }
        assert_eq!(written(|out| time(out, i64::MIN)), "-9223372036854775.808");
    }

    #[test]
    fn strings_are_escaped() {
        let text = "a\"b\\c\nd\r\te\u{1}f\u{7f}ü";
        let json = written(|out| string(out, text));
        assert_eq!(json, "\"a\\\"b\\\\c\\nd\\r\\te\\u0001f\u{7f}ü\"");
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
        assert_eq!(string_bytes(text), json.len());
    }

    /// As live engines print them: closed on both sides, from minus infinity.
    #[test]
    fn the_first_custom_bucket_begins_nowhere() {
        let custom = FloatHistogram {
            schema: model::histogram::CUSTOM_BOUNDS_SCHEMA,
            zero_threshold: 0.0,
            zero_count: 0.0,
            positive: vec![(0, 1.0), (1, 2.0), (2, 4.5)],
            negative: Vec::new(),
            custom_bounds: vec![5.0, 10.0],
            ..native()
        };
        let buckets = "[[3,\"-Inf\",\"5\",\"1\"],[0,\"5\",\"10\",\"2\"],[0,\"10\",\"+Inf\",\"4.5\"]]";
        let wanted = format!("{{\"count\":\"7.5\",\"sum\":\"-3.25\",\"buckets\":{buckets}}}");
        assert_eq!(written(|out| histogram(out, &custom)), wanted);
    }

    #[test]
    fn floats_and_histograms_of_one_series_stand_apart() {
        let labels = Labels::from_pairs([("__name__", "x"), ("a", "\"")]);
        let points = vec![
            (1000, Point::Float(1e21)),
            (2000, Point::Histogram(Arc::new(native()))),
            (3000, Point::Float(f64::NEG_INFINITY)),
        ];
        let series = MatrixSeries { labels, points: points.into() };
        let json = written(|out| value(out, &Value::Matrix(vec![series]), None, 1));
        let wanted = concat!(
            r#"{"resultType":"matrix","result":[{"metric":{"__name__":"x","a":"\""},"#,
            r#""values":[[1,"1e+21"],[3,"-Inf"]],"#,
            r#""histograms":[[2,{"count":"7.5","sum":"-3.25","buckets":["#,
            r#"[1,"-2","-1","1"],[3,"-0.001","0.001","2"],[0,"0.5","1","1"],[0,"2","4","3.5"]]}]]}]}"#,
        );
        assert_eq!(json, wanted);
    }

    #[test]
    fn what_is_written_is_as_long_as_was_said() {
        let labels_ = Labels::from_pairs([("__name__", "x\u{1}\u{2}"), ("a", "\"\\\n"), ("b", "ü")]);
        assert_eq!(labels_bytes(&labels_), written(|out| labels(out, &labels_)).len() + 1);
        let long = -2.225_073_858_507_201_4e-308;
        let buckets = (0..50).map(|index| (index, long)).collect();
        let native =
            FloatHistogram { count: long, sum: long, zero_count: 0.0, positive: buckets, ..native() };
        let length = written(|out| histogram(out, &native)).len();
        assert!(length <= histogram_bytes(&native), "{length}");
        assert!(histogram_bytes(&native) <= 2 * length, "{length}");
    }

    #[test]
    fn nothing_is_an_empty_list_and_notes_come_last() {
        assert_eq!(
            written(|out| value(out, &Value::Vector(Vec::new()), None, 1)),
            r#"{"resultType":"vector","result":[]}"#
        );
        let mut whole = begin(2);
        whole.push_str("[]");
        end(&mut whole, &["a\"b".to_owned()], &[]);
        assert_eq!(whole, r#"{"status":"success","data":[],"warnings":["a\"b"]}"#);
    }

    #[test]
    fn ten_notes_are_told_and_the_others_counted() {
        let numbers = |most: usize| (0..most).map(|i| i.to_string()).collect::<Vec<_>>();
        let told = |most: usize, key: &str| {
            let json = written(|out| notes(out, key, &numbers(most)));
            serde_json::from_str::<serde_json::Value>(&format!("{{{}}}", &json[1..])).unwrap()[key].clone()
        };
        assert_eq!(told(10, "warnings"), serde_json::json!(numbers(10)));
        let mut eleven = numbers(10);
        eleven.push("1 more info annotations omitted".to_owned());
        assert_eq!(told(11, "infos"), serde_json::json!(eleven));
        assert_eq!(told(30, "warnings")[10], "20 more warning annotations omitted");
    }
}
