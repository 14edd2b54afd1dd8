//! `/api/v1/distribution_points`: values as they were observed, in JSON. They go into the buckets that sketches go into, so
//! that both add up.
//!
//! Each level is taken out of the one above it as raw text: a series or a point that is not as it should be costs itself,
//! and a body of many small things never lies in memory as a tree.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use model::batch::HistogramSample;
use model::{Batch, Histogram, Reason, Sample, Signal};
use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::submission::{Intake, shown};
use super::record::{Kind, Name, Record};
use super::sketch::Sketches;
use crate::rows::{Full, Rows};
use crate::{Malformed, Received};

/// Decodes a request.
pub(super) fn decode<'a>(received: &Received<'a>, batch: &mut Batch<'a>) -> Result<(), Malformed> {
    if received.body.is_empty() {
        return Ok(());
    }
    let mut intake = Intake::new(received, batch);
    let malformed = |error: serde_json::Error| Malformed {
        what: "not JSON with a list of series",
        offset: offset(received.body, &error),
    };
    let Body { series } = serde_json::from_slice(received.body).map_err(malformed)?;
    let mut decoder =
        Decoder { sketches: Sketches::default(), values: Vec::new(), now_ms: received.received_ms };
    let mut room = Ok(());
    let each = |raw: &'a RawValue| {
        room = decoder.series(raw, &mut intake, batch);
        room.is_ok()
    };
    let list = for_each(series, each);
    room.map_err(|Full| Malformed { what: Full::WHAT, offset: 0 })?;
    list.map_err(malformed)?;
    intake.finish(batch);
    Ok(())
}

/// Where in the body an error is.
fn offset(body: &[u8], error: &serde_json::Error) -> usize {
    let before = body.split_inclusive(|byte| *byte == b'\n').take(error.line().saturating_sub(1));
    (before.map(<[u8]>::len).sum::<usize>() + error.column()).min(body.len())
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    series: &'a RawValue,
}

#[derive(Deserialize)]
struct Series<'a> {
    #[serde(borrow, default)]
    metric: Option<Text<'a>>,
    #[serde(borrow, default)]
    points: Option<&'a RawValue>,
    #[serde(borrow, default)]
    host: Option<Text<'a>>,
    #[serde(borrow, default)]
    device: Option<Text<'a>>,
    #[serde(borrow, default)]
    tags: Option<&'a RawValue>,
}

/// A time and what was observed then: one value, or a list of them.
#[derive(Deserialize)]
struct Point<'a>(Number, #[serde(borrow)] &'a RawValue);

/// Memory that one series leaves to the next.
struct Decoder {
    sketches: Sketches,
    values: Vec<f64>,
    now_ms: i64,
}

impl Decoder {
    fn series<'a>(
        &mut self,
        raw: &'a RawValue,
        intake: &mut Intake<'a>,
        batch: &mut Batch<'a>,
    ) -> Result<(), Full> {
        let rows = Rows::begin(batch);
        let first_tag = intake.source.tags.len();
        let mut room = Ok(());
        let tag = |Text(tag)| {
            room = intake.room.take(2 * size_of::<Cow<'_, str>>() + tag.len());
            intake.source.tags.push(tag);
            room.is_ok()
        };
        let series = serde_json::from_str::<Series<'a>>(raw.get());
        let series = series.and_then(|series| {
            series.tags.map_or(Ok(()), |tags| for_each(tags, tag))?;
            Ok(series)
        });
        room?;
        let Ok(series) = series else {
            batch.rejections.add(Signal::Histogram, Reason::InvalidSeries, 1);
            batch.rejections.explain(|| "a series that is not as it should be".to_owned());
            return Ok(());
        };
        let tags = first_tag..intake.source.tags.len();
        for _ in 0..3 {
            intake.room_for(tags.len())?;
        }
        let text = |text: Option<Text<'a>>| text.map_or(Cow::Borrowed(""), |text| text.0);
        let record = Record {
            name: Name::Metric(text(series.metric), ""),
            kind: Kind::Distribution,
            interval_s: 0,
            host: text(series.host),
            device: text(series.device),
            source_type: Cow::Borrowed(""),
            resources: 0..0,
            tags,
        };
        let mut room = Ok(());
        let point = |point: &RawValue| match self.point(point, intake, batch) {
            Ok(true) => true,
            Ok(false) => {
                batch.rejections.add(Signal::Histogram, Reason::InvalidValue, 1);
                batch.rejections.explain(|| format!("{}: point without numbers", shown(&record)));
                true
            }
            Err(full) => {
                room = Err(full);
                false
            }
        };
        let points = series.points.map_or(Ok(()), |points| for_each(points, point));
        room?;
        if points.is_err() {
            batch.rejections.add(Signal::Histogram, Reason::InvalidSeries, 1);
            batch.rejections.explain(|| format!("{}: points that are no list", shown(&record)));
        }
        let dropped = intake.dropped(&record);
        self.sketches.keep(rows, record, dropped, Intake::key, intake, batch);
        Ok(())
    }

    /// Takes a point; whether it is one.
    fn point(
        &mut self,
        raw: &RawValue,
        intake: &mut Intake<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<bool, Full> {
        let Ok(Point(seconds, values)) = serde_json::from_str::<Point<'_>>(raw.get()) else {
            return Ok(false);
        };
        self.values.clear();
        let (mut room, mut is_good) = (Ok(()), true);
        let value = |Number(value)| {
            // A bucket, and a span in the worst case.
            room = intake.room.take(64);
            match value {
                Some(value) => self.values.push(value),
                None => is_good = false,
            }
            room.is_ok()
        };
        let list = for_each(values, value);
        room?;
        if list.is_err() {
            match serde_json::from_str(values.get()) {
                Ok(Number(Some(value))) => self.values.push(value),
                _ => is_good = false,
            }
        }
        if !is_good || !self.values.iter().sum::<f64>().is_finite() {
            return Ok(false);
        }
        if !self.values.is_empty() {
            let sample = size_of::<HistogramSample>() + 2 * size_of::<Sample>();
            intake.room.take(size_of::<Histogram>() + 2 * sample)?;
            // Absent times are now, as for all of v1.
            let timestamp_ms = match seconds.0 {
                Some(seconds) if seconds > 0.0 => (seconds * 1000.0).round() as i64,
                _ => self.now_ms,
            };
            self.sketches.push_values(timestamp_ms, &self.values, batch);
        }
        Ok(true)
    }
}

/// A text, borrowed unless it has escapes.
struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit;
        impl<'de> Visitor<'de> for Visit {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Visit)
    }
}

/// A number, or nothing where there is something else.
struct Number(Option<f64>);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit;
        impl<'de> Visitor<'de> for Visit {
            type Value = Number;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number")
            }
            fn visit_f64<E>(self, number: f64) -> Result<Number, E> {
                Ok(Number(Some(number)))
            }
            fn visit_i64<E>(self, number: i64) -> Result<Number, E> {
                Ok(Number(Some(number as f64)))
            }
            fn visit_u64<E>(self, number: u64) -> Result<Number, E> {
                Ok(Number(Some(number as f64)))
            }
            fn visit_unit<E>(self) -> Result<Number, E> {
                Ok(Number(None))
            }
            fn visit_bool<E>(self, _: bool) -> Result<Number, E> {
                Ok(Number(None))
            }
            fn visit_str<E>(self, _: &str) -> Result<Number, E> {
                Ok(Number(None))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Number, A::Error> {
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Number(None))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Number, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Number(None))
            }
        }
        deserializer.deserialize_any(Visit)
    }
}

/// Hands each item of a list to `take`, until that says no.
fn for_each<'a, T: Deserialize<'a>>(
    list: &'a RawValue,
    take: impl FnMut(T) -> bool,
) -> Result<(), serde_json::Error> {
    struct Each<T, F>(F, PhantomData<T>);
    impl<'de, T: Deserialize<'de>, F: FnMut(T) -> bool> DeserializeSeed<'de> for Each<T, F> {
        type Value = ();
        fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
            deserializer.deserialize_seq(self)
        }
    }
    impl<'de, T: Deserialize<'de>, F: FnMut(T) -> bool> Visitor<'de> for Each<T, F> {
        type Value = ();
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list")
        }
        fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
            while let Some(item) = list.next_element()? {
                if !(self.0)(item) {
                    return Err(A::Error::custom("no room"));
                }
            }
            Ok(())
        }
    }
    Each(take, PhantomData).deserialize(&mut serde_json::Deserializer::from_str(list.get()))
}
