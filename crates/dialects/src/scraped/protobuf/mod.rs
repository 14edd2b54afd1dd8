//! `io.prometheus.client.MetricFamily`, one after the other, each behind its length.
//!
//! A family is gone through twice, because its name and type may stand behind its metrics. A metric has many rows (a
//! bucket each), whose texts share its labels: those are written once. What is not there is what the format says stands
//! for it; a time of 0 is none, as Prometheus has it.

mod exemplar;
mod histogram;
mod summary;

use codec::proto::{FIXED64, LEN, Reader, VARINT, WireError, key, known};
use model::batch::Exemplar;
use model::{Metadata, MetricType};

use super::{Options, Row, Sink, Value, bound, series};
use exemplar::Found;

/// Occurs when the bytes are no families, or nothing more is wanted of them.
pub(super) struct Fault {
    pub(super) what: String,
    pub(super) offset: usize,
}

impl From<WireError> for Fault {
    fn from(error: WireError) -> Self {
        Self { what: error.what.to_owned(), offset: error.offset }
    }
}

/// A text's bytes.
fn text<'a>(reader: &mut Reader<'a>) -> Result<&'a str, WireError> {
    let start = *reader;
    std::str::from_utf8(reader.bytes()?).map_err(|_| start.error("text is not valid UTF-8"))
}

/// Gives the rows of `body` to `sink`.
pub(super) fn read(body: &[u8], options: &Options, sink: &mut dyn Sink) -> Result<(), Fault> {
    let mut families = Reader::new(body);
    let mut rows = Rows { options: *options, sink, texts: Texts::default(), exemplars: Vec::new() };
    while !families.is_empty() {
        match rows.family(families.message()?) {
            Err(_) if rows.sink.has_enough() => return Ok(()),
            read => read?,
        }
    }
    Ok(())
}

const NAME: u32 = key(1, LEN);
const HELP: u32 = key(2, LEN);
const TYPE: u32 = key(3, VARINT);
const METRIC: u32 = key(4, LEN);
const UNIT: u32 = key(5, LEN);
const FAMILY: u64 = known(&[1, 2, 3, 4, 5]);

/// What a family is.
struct Family<'a> {
    name: &'a str,
    kind: MetricType,
}

/// Where rows go, and what is kept from one to the next.
struct Rows<'s> {
    options: Options,
    sink: &'s mut dyn Sink,
    texts: Texts,
    exemplars: Vec<Exemplar>,
}

/// Texts of a metric's series.
#[derive(Default)]
struct Texts {
    /// Its labels, each behind a comma.
    labels: String,
    /// And with the bound of a part.
    bounded: String,
    /// The whole text of a series.
    series: String,
}

/// A metric, before its value is read.
struct Metric<'f, 'a> {
    family: &'f Family<'a>,
    timestamp_ms: Option<i64>,
}

impl Rows<'_> {
    fn family(&mut self, mut message: Reader<'_>) -> Result<(), Fault> {
        let mut metrics = message;
        let (mut name, mut kind) = ("", 0);
        let mut metadata = Metadata::default();
        let mut has_metric = false;
        while let Some(key) = message.key()? {
            match key {
                NAME => name = text(&mut message)?,
                HELP => metadata.help = text(&mut message)?.to_owned(),
                TYPE => kind = message.varint()?,
                UNIT => metadata.unit = text(&mut message)?.to_owned(),
                METRIC => {
                    has_metric = true;
                    message.message()?;
                }
                _ => message.skip(key, FAMILY)?,
            }
        }
        if !has_metric {
            return Ok(());
        }
        if name.is_empty() {
            return Err(metrics.error("metric name is missing").into());
        }
        metadata.kind = match kind {
            0 => MetricType::Counter,
            1 => MetricType::Gauge,
            2 => MetricType::Summary,
            3 => MetricType::Unknown,
            4 => MetricType::Histogram,
            5 => MetricType::GaugeHistogram,
            _ => return Err(metrics.error("unknown metric type").into()),
        };
        let family = Family { name, kind: metadata.kind };
        while let Some(key) = metrics.key()? {
            match key {
                METRIC => self.metric(&family, metrics.message()?)?,
                _ => metrics.skip(key, 0)?,
            }
        }
        self.sink.metadata(name, metadata);
        Ok(())
    }

    fn metric(&mut self, family: &Family<'_>, mut message: Reader<'_>) -> Result<(), Fault> {
        const LABEL: u32 = key(1, LEN);
        const GAUGE: u32 = key(2, LEN);
        const COUNTER: u32 = key(3, LEN);
        const SUMMARY: u32 = key(4, LEN);
        const UNTYPED: u32 = key(5, LEN);
        const TIMESTAMP: u32 = key(6, VARINT);
        const HISTOGRAM: u32 = key(7, LEN);
        let wanted = match family.kind {
            MetricType::Counter => COUNTER,
            MetricType::Gauge => GAUGE,
            MetricType::Summary => SUMMARY,
            MetricType::Histogram | MetricType::GaugeHistogram => HISTOGRAM,
            _ => UNTYPED,
        };
        self.texts.labels.clear();
        let mut metric = Metric { family, timestamp_ms: None };
        // Without a value it is one whose fields have none: zeros.
        let mut value = Reader::new(&[]);
        while let Some(key) = message.key()? {
            match key {
                LABEL => {
                    let (name, value) = label(message.message()?)?;
                    if name.is_empty() {
                        return Err(message.error("label without a name").into());
                    }
                    series::push_label(name, value, &mut self.texts.labels);
                }
                TIMESTAMP => metric.timestamp_ms = Some(message.varint()? as i64).filter(|ms| *ms != 0),
                key if key == wanted => value = message.message()?,
                GAUGE | COUNTER | SUMMARY | UNTYPED | HISTOGRAM => {
                    message.message()?;
                }
                _ => message.skip(key, known(&[1, 2, 3, 4, 5, 6, 7]))?,
            }
        }
        match wanted {
            SUMMARY => self.summary(&metric, value),
            HISTOGRAM => self.histogram(&metric, value),
            _ => self.number(&metric, value),
        }
    }

    /// A counter, a gauge or something untyped.
    fn number(&mut self, metric: &Metric<'_, '_>, mut message: Reader<'_>) -> Result<(), Fault> {
        const VALUE: u32 = key(1, FIXED64);
        const EXEMPLAR: u32 = key(2, LEN);
        const START: u32 = key(3, LEN);
        let is_counter = metric.family.kind == MetricType::Counter;
        let (mut number, mut exemplar, mut start_ms) = (0.0, None, 0);
        while let Some(key) = message.key()? {
            match key {
                VALUE => number = message.double()?,
                EXEMPLAR if is_counter => exemplar = Some(exemplar::read(message.message()?)?),
                START if is_counter => start_ms = exemplar::time_ms(message.message()?)?,
                _ => message.skip(key, known(&[1]))?,
            }
        }
        self.row(metric, "", Bound::None, number, start_ms, exemplar)
    }

    /// Gives a row to the sink.
    fn row(
        &mut self,
        metric: &Metric<'_, '_>,
        suffix: &str,
        bound: Bound,
        value: f64,
        start_ms: i64,
        exemplar: Option<Found<'_>>,
    ) -> Result<(), Fault> {
        self.exemplars.clear();
        let at_ms = metric.timestamp_ms.unwrap_or(self.options.scraped_ms);
        if let Some(exemplar) = exemplar {
            self.push_exemplar(exemplar, at_ms);
        }
        let Texts { labels, bounded, series } = &mut self.texts;
        let labels = match bound {
            Bound::None => labels,
            Bound::Of(name, bound) => {
                bounded.clear();
                bounded.push_str(labels);
                bounded.extend([",", name, "=\""]);
                bound::write(bound, bounded);
                bounded.push('"');
                bounded
            }
        };
        series::write(metric.family.name, suffix, labels, series);
        self.give(metric, Value::Float(value), start_ms)
    }

    /// Gives the series and exemplars that were made to the sink. It is an error that nothing more is wanted.
    fn give(&mut self, metric: &Metric<'_, '_>, value: Value, start_ms: i64) -> Result<(), Fault> {
        self.sink.row(Row {
            series: &self.texts.series,
            value,
            timestamp_ms: metric.timestamp_ms,
            start_ms: if self.options.start_timestamps { start_ms } else { 0 },
            exemplars: &self.exemplars,
        });
        match self.sink.has_enough() {
            true => Err(Fault { what: "nothing more is wanted".to_owned(), offset: 0 }),
            false => Ok(()),
        }
    }

    fn push_exemplar(&mut self, exemplar: Found<'_>, at_ms: i64) {
        match exemplar.own(at_ms) {
            Ok(exemplar) => self.exemplars.push(exemplar),
            Err(what) => self.sink.bad_exemplar(what),
        }
    }
}

/// The label that a part of a histogram or summary has of its own.
#[derive(Clone, Copy)]
enum Bound {
    None,
    Of(&'static str, f64),
}

fn label<'a>(mut message: Reader<'a>) -> Result<(&'a str, &'a str), WireError> {
    const NAME: u32 = key(1, LEN);
    const VALUE: u32 = key(2, LEN);
    let (mut name, mut value) = ("", "");
    while let Some(key) = message.key()? {
        match key {
            NAME => name = text(&mut message)?,
            VALUE => value = text(&mut message)?,
            _ => message.skip(key, known(&[1, 2]))?,
        }
    }
    Ok((name, value))
}
