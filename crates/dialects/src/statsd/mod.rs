//! StatsD and DogStatsD: the bytes of a datagram → lines, one by one.
//!
//! No dialect of [`crate::ALL`]: nobody is answered, and a line is no sample yet. [`for_each_line`] says what stands in
//! each line, borrowed from the datagram; what becomes of it is decided where the windows are. DogStatsD 1.6 (packed
//! values, rates, tags, containers, timestamps, cardinality, in any order; events, service checks), plain StatsD and
//! Telegraf's way of writing tags (`name,k=v:1|c`) are told apart by what a line looks like, so all of them are always
//! taken. Only one thing looks alike and means two things, a gauge with a sign, and that is what [`Flavor`] is for.
//!
//! A line that cannot be read costs itself and nothing else.
//!
//! ```
//! use dialects::statsd::{BadLine, Flavor, Line, for_each_line};
//! let mut seen = Vec::new();
//! for_each_line(b"page.views:1:2|c|@0.5|#env:prod\nwhat?\n", Flavor::DogStatsD, |line| match line {
//!     Ok(Line::Metric(metric)) => seen.push(format!("{:?} x {}", metric.value, metric.weight)),
//!     Ok(_) => unreachable!(),
//!     Err(bad) => seen.push(bad.as_str().to_owned()),
//! });
//! assert_eq!(seen, ["Numbers([1.0, 2.0]) x 2", "no_type"]);
//! ```

mod check;
mod event;
mod fields;
mod frame;
mod metric;

pub use check::ServiceCheck;
pub use event::{AlertType, Event};
pub use fields::{Origin, Tags};
pub use frame::{FRAME_BYTES_MAX, Frame, TooLong, first_frame};
pub use metric::{Metric, MetricKind, Value};

#[cfg(test)]
mod cases;
#[cfg(test)]
mod tests;

/// What a gauge with a sign means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Flavor {
    /// `x:-3|g` sets the gauge to -3.
    #[default]
    DogStatsD,
    /// `x:-3|g` takes 3 off, `x:+3|g` adds 3, as in Etsy's StatsD.
    StatsD,
}

/// What stands in a line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Line<'a> {
    /// Values of a metric.
    Metric(Metric<'a>),
    /// Something that happened.
    Event(Event<'a>),
    /// The state of a service.
    ServiceCheck(ServiceCheck<'a>),
}

/// Why a line cannot be read. `as_str` is the value of the self-metrics' label `reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BadLine {
    /// Occurs when nothing stands before the first `:`, or there is none.
    NoName,
    /// Occurs when nothing stands between `:` and `|`, or only separators do.
    NoValue,
    /// Occurs when there is no `|`.
    NoType,
    /// Occurs when the type is none of `c g h d ms s`.
    Type,
    /// Occurs when a value is no number, is not finite, or is among relative ones and has no sign.
    Value,
    /// Occurs when a sample rate is no number from [`RATE_MIN`] to 1.
    Rate,
    /// Occurs when a timestamp is no whole number of seconds from 1 to the year 9999.
    Timestamp,
    /// Occurs when an event's lengths are not those of its title and text, or its title is empty.
    Event,
    /// Occurs when a service check has no name, or a status that is none of 0 to 3.
    ServiceCheck,
}

impl BadLine {
    /// Every reason.
    pub const ALL: [BadLine; 9] = [
        Self::NoName,
        Self::NoValue,
        Self::NoType,
        Self::Type,
        Self::Value,
        Self::Rate,
        Self::Timestamp,
        Self::Event,
        Self::ServiceCheck,
    ];

    /// The value of the self-metrics' label `reason`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoName => "no_name",
            Self::NoValue => "no_value",
            Self::NoType => "no_type",
            Self::Type => "type",
            Self::Value => "value",
            Self::Rate => "rate",
            Self::Timestamp => "timestamp",
            Self::Event => "event",
            Self::ServiceCheck => "service_check",
        }
    }
}

/// The smallest sample rate: one observation then stands for a thousand million.
pub const RATE_MIN: f64 = 1e-9;

/// Calls `each` for every line of a datagram that is not empty. Allocates only for lines with several values.
pub fn for_each_line(
    datagram: &[u8],
    flavor: Flavor,
    mut each: impl for<'a> FnMut(Result<Line<'a>, BadLine>),
) {
    let mut room = metric::Room::default();
    let mut rest = datagram;
    while !rest.is_empty() {
        let (line, after) = match memchr::memchr(b'\n', rest) {
            Some(end) => (&rest[..end], &rest[end + 1..]),
            None => (rest, &rest[rest.len()..]),
        };
        rest = after;
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            continue;
        }
        let read = if line.starts_with(b"_e{") {
            event::read(line).map(Line::Event)
        } else if line.starts_with(b"_sc|") {
            check::read(line).map(Line::ServiceCheck)
        } else {
            metric::read(line, flavor, &mut room).map(Line::Metric)
        };
        each(read);
    }
}

/// What must hold for any bytes, for the fuzz target.
///
/// # Panics
/// When a line is lost, depends on its neighbours, or says something that its bytes do not.
pub fn exercise(input: &[u8]) {
    let Some((choice, datagram)) = input.split_first() else { return };
    let flavor = if choice & 1 == 0 { Flavor::DogStatsD } else { Flavor::StatsD };
    let alone: Vec<&[u8]> = datagram
        .split(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .filter(|line| !line.is_empty())
        .collect();
    let mut lines = alone.iter();
    for_each_line(datagram, flavor, |together| {
        let line = lines.next().expect("no more than there are");
        let mut calls = 0;
        // With its line end, of which one return is a part: it may have another one of its own.
        for_each_line(&[line, &b"\r\n"[..]].concat(), flavor, |read| {
            calls += 1;
            assert_eq!(read, together, "neighbours do not matter");
        });
        assert_eq!(calls, 1);
        if let Ok(read) = together {
            check_line(&read, line, flavor);
        }
    });
    assert_eq!(lines.next(), None, "every line is told of");
}

fn check_line(read: &Line<'_>, line: &[u8], flavor: Flavor) {
    let inside = |part: &[u8]| {
        part.is_empty() || line.as_ptr_range().contains(&part.as_ptr()) && part.len() <= line.len()
    };
    let tags = match read {
        Line::Metric(metric) => {
            assert!(!metric.name.is_empty() && line.starts_with(metric.name));
            assert!((1.0..=1.0 / RATE_MIN).contains(&metric.weight));
            match metric.value {
                Value::Numbers(values) | Value::Changes(values) => {
                    assert!(!values.is_empty() && values.iter().all(|value| value.is_finite()));
                }
                Value::Member(member) => assert!(!member.is_empty() && inside(member)),
            }
            let relative = matches!(metric.value, Value::Changes(_));
            assert!(!relative || (flavor, metric.kind) == (Flavor::StatsD, MetricKind::Gauge));
            let moved = [line, &b"\r\n"[..]].concat();
            for_each_line(&moved, flavor, |again| {
                let Ok(Line::Metric(again)) = again else { panic!("it was a metric") };
                assert_eq!(again.key(7), metric.key(7));
            });
            metric.tags()
        }
        Line::Event(event) => {
            assert!(!event.title.is_empty() && inside(event.title) && inside(event.text));
            event.tags()
        }
        Line::ServiceCheck(check) => {
            assert!(!check.name.is_empty() && check.status <= 3);
            check.tags()
        }
    };
    for tag in tags {
        assert!(!tag.is_empty() && tag.len() <= line.len());
    }
}
