//! Expositions: metrics written out for whoever scrapes Weir, in the form that he likes best.
//!
//! [`Format::negotiated`] reads what a scraper accepts, [`Writer`] takes one metric after the other, those of a family
//! together, and [`Writer::finish`] gives the body. What a format cannot say is left out of it: native histograms with
//! exponential buckets are in protobuf only, exemplars not in text 0.0.4. Names are escaped as the scraper asked for.
//! [`whole`] puts classic histograms and summaries together before they are written.
//!
//! ```
//! use dialects::exposition::{Family, Format, Metric, Value, Writer};
//! let mut writer = Writer::new(Format::negotiated(["text/plain"]));
//! let family = Family { name: "up", ..Family::default() };
//! writer.write(&family, &Metric { labels: &[("job", "api")], value: Value::Float(1.0), at_ms: Some(5), exemplar: None });
//! assert_eq!(writer.finish(), b"# TYPE up untyped\nup{job=\"api\"} 1 5\n");
//! ```

mod escape;
mod negotiate;
mod openmetrics;
mod protobuf;
mod shape;
pub(crate) mod text;
pub mod whole;

pub use escape::Escaping;
pub use negotiate::{Format, Syntax};

use std::collections::HashSet;

use model::batch::Exemplar;
use model::{Histogram, MetricType};

use shape::Shape;

/// What is said once for all metrics of a name.
#[derive(Clone, Copy, Debug, Default)]
pub struct Family<'a> {
    /// The name of its series: that of a counter ends in `_total`, if it does.
    pub name: &'a str,
    /// Its type. A part of a classic histogram or of a summary that is written alone is untyped. Of a state set each series
    /// has a label of the family's name, and 0 or 1: nobody looks.
    pub kind: MetricType,
    /// Its unit, or empty.
    pub unit: &'a str,
    /// Its help text, or empty.
    pub help: &'a str,
}

/// One series at one time.
#[derive(Clone, Copy, Debug)]
pub struct Metric<'a> {
    /// Names and values, without the metric's name. A value may be empty.
    pub labels: &'a [(&'a str, &'a str)],
    /// The value.
    pub value: Value<'a>,
    /// Milliseconds since the Unix epoch; none = when it is read.
    pub at_ms: Option<i64>,
    /// Of a counter.
    pub exemplar: Option<&'a Exemplar>,
}

/// A value.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    /// A number.
    Float(f64),
    /// A native histogram. One with custom bounds is written as a classic one.
    Histogram(&'a Histogram),
    /// A classic histogram, put together.
    Classic(Classic<'a>),
    /// A summary, put together.
    Summary(Summary<'a>),
}

/// A classic histogram.
#[derive(Clone, Copy, Debug)]
pub struct Classic<'a> {
    /// Upper bounds, rising, with everything up to them; without the last, which is everything.
    pub below: &'a [(f64, f64)],
    /// The sum of what was observed.
    pub sum: f64,
    /// How much was observed: the bucket `+Inf`.
    pub count: f64,
}

/// A summary.
#[derive(Clone, Copy, Debug)]
pub struct Summary<'a> {
    /// Quantiles with their values.
    pub quantiles: &'a [(f64, f64)],
    /// The sum of what was observed.
    pub sum: Option<f64>,
    /// How much was observed.
    pub count: Option<f64>,
}

/// An exposition in the making.
#[derive(Debug)]
pub struct Writer {
    format: Format,
    /// What is written, in the formats that are text.
    text: String,
    /// What is written in protobuf: whole families.
    out: Vec<u8>,
    /// And the family that is being written, whose length comes first.
    open: Vec<u8>,
    /// That family.
    family: Option<Begun>,
    /// In OpenMetrics: names that readers take for families' that were written.
    claimed: HashSet<String>,
}

/// A family that is being written.
#[derive(Debug)]
struct Begun {
    /// Its name, as it was given.
    name: String,
    /// What it was to be.
    wanted: Shape,
    /// What it is.
    shape: Shape,
}

impl Writer {
    /// An empty one.
    pub fn new(format: Format) -> Self {
        let (text, out, open) = (String::new(), Vec::new(), Vec::new());
        Self { format, text, out, open, family: None, claimed: HashSet::new() }
    }

    /// Bytes so far, about.
    pub fn len(&self) -> usize {
        self.text.len() + self.out.len() + self.open.len()
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends a metric, with what is said of its family when it is not the last one's.
    pub fn write(&mut self, family: &Family<'_>, metric: &Metric<'_>) {
        self.write_since(family, metric, None);
    }

    /// The same, and when a counter, a histogram or a summary began, in seconds. Text 0.0.4 has no place for it.
    pub fn write_since(&mut self, family: &Family<'_>, metric: &Metric<'_>, created_s: Option<f64>) {
        let Format { syntax, escaping } = self.format;
        if syntax != Syntax::Protobuf && metric.value.is_exponential() {
            return;
        }
        let wanted = Shape::of(family, &metric.value);
        let continued = self.family.as_ref().filter(|last| last.name == family.name && last.wanted == wanted);
        let (begins, shape) = match continued {
            Some(last) => (false, last.shape),
            None => (true, self.settled(family, wanted)),
        };
        match syntax {
            Syntax::Text(_) => {
                if begins {
                    text::begin(family, shape, escaping, &mut self.text);
                }
                text::write(family, metric, escaping, &mut self.text);
            }
            Syntax::OpenMetrics(_) => {
                if begins {
                    openmetrics::begin(family, shape, escaping, &mut self.text);
                }
                openmetrics::write(family, shape, metric, escaping, &mut self.text);
                if let Some(created_s) = created_s {
                    openmetrics::write_created(family, shape, metric, created_s, escaping, &mut self.text);
                }
            }
            Syntax::Protobuf => {
                if begins {
                    self.end_family();
                    protobuf::begin(family, shape, escaping, &mut self.open);
                }
                protobuf::write(shape, metric, created_s, escaping, &mut self.open);
            }
        }
        if begins {
            self.family = Some(Begun { name: family.name.to_owned(), wanted, shape });
        }
    }

    /// What a family is written as: readers of OpenMetrics refuse one that has a name of another, so what would be called
    /// without its suffix is unknown, under all of its name, where a name of it is another's.
    fn settled(&mut self, family: &Family<'_>, wanted: Shape) -> Shape {
        let Format { syntax: Syntax::OpenMetrics(_), escaping } = self.format else { return wanted };
        let name = escaping.metric(family.name);
        let names = openmetrics::claimed(&name, wanted);
        let gives_way = matches!(wanted, Shape::Counter | Shape::Info)
            && names.iter().any(|name| self.claimed.contains(name));
        if gives_way {
            self.claimed.insert(name.into_owned());
            return Shape::Untyped;
        }
        self.claimed.extend(names);
        wanted
    }

    fn end_family(&mut self) {
        if !self.open.is_empty() {
            codec::varint::write(self.open.len() as u64, &mut self.out);
            self.out.append(&mut self.open);
        }
    }

    /// The body.
    pub fn finish(mut self) -> Vec<u8> {
        self.end_family();
        match self.format.syntax {
            Syntax::Protobuf => self.out,
            Syntax::Text(_) => self.text.into_bytes(),
            Syntax::OpenMetrics(_) => {
                self.text.push_str("# EOF\n");
                self.text.into_bytes()
            }
        }
    }
}

#[cfg(test)]
mod tests;
