//! Samples as the servers' APIs print them.
//!
//! Values are texts that read back as the same bits, in Prometheus' API as strings, in VictoriaMetrics' export as JSON
//! numbers, which are cut out and parsed here: a JSON reader may round the last bit.

use anyhow::{Context, Result, ensure};
use serde_json::Value as Json;

use crate::load::histogram::{self, Histogram};
use crate::load::http::Answer;
use crate::load::sent::{Labels, Samples, Value};

/// The series of an answer to a query, instant or range. A warning is an error: something may be missing.
pub(crate) fn samples(answer: &Answer) -> Result<Samples> {
    let json: Json = serde_json::from_slice(&answer.body).context("an answer is no JSON")?;
    ensure!(
        json["status"] == "success" && json["warnings"].is_null(),
        "status {}: {:.400}",
        answer.status,
        answer.text()
    );
    let mut samples = Samples::new();
    for series in json["data"]["result"].as_array().context("an answer without a result")? {
        let points = points(series).with_context(|| format!("{:.400}", series.to_string()))?;
        samples.entry(labels(&series["metric"])?).or_default().extend(points);
    }
    Ok(samples)
}

fn labels(json: &Json) -> Result<Labels> {
    let pair = |(name, value): (&String, &Json)| Some((name.clone(), value.as_str()?.to_owned()));
    let labels = json.as_object().map(|labels| labels.iter().map(pair).collect::<Option<Labels>>());
    labels.flatten().context("labels have another shape")
}

/// A series' samples by time: floats and histograms come in lists of their own.
fn points(series: &Json) -> Option<Vec<(i64, Value)>> {
    let of = |many: &str, one: &str| -> Vec<Json> {
        series[many].as_array().cloned().unwrap_or_else(|| series.get(one).cloned().into_iter().collect())
    };
    let time = |point: &Json| Some((point[0].as_f64()? * 1e3).round() as i64);
    let floats = of("values", "value");
    let floats = floats.iter().map(|point| Some((time(point)?, Value::Float(float(&point[1])?))));
    let histograms = of("histograms", "histogram");
    let histograms =
        histograms.iter().map(|point| Some((time(point)?, Value::Histogram(read_histogram(&point[1])?))));
    let mut points: Vec<(i64, Value)> = floats.chain(histograms).collect::<Option<_>>()?;
    points.sort_by_key(|(ms, _)| *ms);
    Some(points)
}

fn float(json: &Json) -> Option<f64> {
    json.as_str()?.parse().ok()
}

/// Counts are printed as floats and are whole; a bucket that the loader never sends is none.
fn read_histogram(json: &Json) -> Option<Histogram> {
    let whole = |json: &Json| float(json).filter(|n| n.fract() == 0.0 && (0.0..=2f64.powi(53)).contains(n));
    let mut histogram =
        Histogram { count: whole(&json["count"])? as u64, sum: float(&json["sum"])?, ..Histogram::default() };
    for bucket in json["buckets"].as_array().into_iter().flatten() {
        // The rule says which bounds belong to the bucket: 0 = the upper one, 3 = both.
        let (rule, lower, upper) = (bucket[0].as_u64()?, float(&bucket[1])?, float(&bucket[2])?);
        let count = whole(&bucket[3])? as u64;
        match rule {
            0 => histogram.buckets.push((histogram::bucket_between(lower, upper)?, count)),
            3 if (-lower, upper) == (histogram::ZERO_THRESHOLD, histogram::ZERO_THRESHOLD) => {
                histogram.zero_count = count;
            }
            _ => return None,
        }
    }
    Some(histogram)
}

/// The series of VictoriaMetrics' `/api/v1/export`: a line of JSON for each, or several for one.
pub(crate) fn exported(answer: &Answer) -> Result<Samples> {
    ensure!(answer.is_success(), "status {}: {:.400}", answer.status, answer.text());
    let mut samples = Samples::new();
    for line in answer.text().lines() {
        let (labels, points) = exported_line(line).with_context(|| format!("{line:.400}"))?;
        samples.entry(labels).or_default().extend(points);
    }
    samples.values_mut().for_each(|points| points.sort_by_key(|(ms, _)| *ms));
    Ok(samples)
}

fn exported_line(line: &str) -> Result<(Labels, Vec<(i64, Value)>)> {
    // Quotes within labels are escaped, so the first of these stands behind them.
    let (metric, rest) = line.split_once(",\"values\":[").context("no values")?;
    let (values, rest) = rest.split_once("],\"timestamps\":[").context("no timestamps")?;
    let times = rest.strip_suffix("]}").context("more than timestamps")?;
    let metric: Json = serde_json::from_str(&format!("{metric}}}"))?;
    let numbers = values.split(',').map(|text| match text.trim_matches('"') {
        "null" => Ok(f64::NAN),
        text => text.parse(),
    });
    let mut points = Vec::new();
    for (value, ms) in numbers.zip(times.split(',')) {
        points.push((ms.parse()?, Value::Float(value?)));
    }
    Ok((labels(&metric["metric"])?, points))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(body: &str) -> Answer {
        Answer { status: 200, body: body.as_bytes().to_vec(), ..Answer::default() }
    }

    fn up() -> Labels {
        Labels::from([("__name__".to_owned(), "up".to_owned())])
    }

    #[test]
    fn floats_and_histograms_of_a_query() {
        let body = r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"__name__":"up"},
            "values":[[15,"0.1"],[45.5,"-0"]],"histograms":[[30,{"count":"9","sum":"1.5","buckets":[
            [3,"-2.938735877055719e-39","2.938735877055719e-39","2"],[0,"1","1.0905077326652577","7"]]}]]}]}}"#;
        let histogram = Histogram { count: 9, sum: 1.5, zero_count: 2, buckets: vec![(1, 7)] };
        let expected = vec![
            (15_000, Value::Float(0.1)),
            (30_000, Value::Histogram(histogram)),
            (45_500, Value::Float(-0.0)),
        ];
        assert_eq!(samples(&answer(body)).expect("samples"), Samples::from([(up(), expected)]));
        let warned = body.replace("\"success\",", "\"success\",\"warnings\":[\"damaged\"],");
        assert!(samples(&answer(&warned)).is_err());
        assert!(
            samples(&answer(&body.replace("[0,\"1\"", "[0,\"0.5\""))).is_err(),
            "no bucket of this schema"
        );
    }

    #[test]
    fn lines_of_an_export() {
        let line = "{\"metric\":{\"__name__\":\"up\"},\"values\":[0.1,1e-7,null],\"timestamps\":[1,2,3]}\n";
        let expected = [(1, 0.1), (2, 1e-7), (3, f64::NAN)].map(|(ms, value)| (ms, Value::Float(value)));
        assert_eq!(exported(&answer(line)).expect("samples"), Samples::from([(up(), expected.to_vec())]));
    }
}
