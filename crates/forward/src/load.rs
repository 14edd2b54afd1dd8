//! Rows on their way into requests: as they were read from the log, in its order, with their labels in one text.
//!
//! A load is filled by the reader of its output and sent by one shard. Its requests are cut from it by ranges of rows, so a
//! receiver that wants less gets the halves of the same load, in order.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use dialects::outgoing::{Parcel, Sent, SentLine};
use hashbrown::HashMap;
use model::batch::{Exemplar, HistogramSample};
use model::{Origin, Sample, SeriesId, Temporality};
use wal::Position;

use crate::family::Family;
use crate::whole::Whole;

/// Rows that a load may have above its bound so that no histogram is cut.
const PARTS_MAX: usize = 200;

/// A part of [`Load::text`].
type Text = Range<u32>;

/// Rows of one tenant that came the same way.
#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) origin: Origin,
    /// The position of the frame of its first row.
    pub(crate) first: Position,
    /// That of the frame of its last row.
    pub(crate) last: Position,
    /// Monotonic time of its first row.
    pub(crate) began: Duration,
    text: String,
    pairs: Vec<(Text, Text)>,
    series: Vec<Series>,
    /// Numbers of the series while rows come.
    numbers: HashMap<SeriesId, u32, foldhash::fast::RandomState>,
    rows: Vec<Row>,
    /// What each series is part of; empty where that does not matter.
    wholes: Vec<Whole>,
}

#[derive(Debug)]
struct Series {
    labels: Text,
    family: Option<Arc<Family>>,
    temporality: Temporality,
}

/// A row with the number of its series, or of its stream.
#[derive(Debug)]
enum Row {
    Sample(u32, Sample),
    Histogram(u32, HistogramSample),
    Exemplar(u32, Box<Exemplar>),
    Line(u32, Box<Line>),
}

#[derive(Debug)]
struct Line {
    fields: Text,
    timestamp_ns: i64,
    line: Text,
}

impl Row {
    fn series(&self) -> usize {
        match self {
            Self::Sample(series, _)
            | Self::Histogram(series, _)
            | Self::Exemplar(series, _)
            | Self::Line(series, _) => *series as usize,
        }
    }

    fn timestamp_ms(&self) -> i64 {
        match self {
            Self::Sample(_, sample) => sample.timestamp_ms,
            Self::Histogram(_, sample) => sample.timestamp_ms,
            Self::Exemplar(_, exemplar) => exemplar.timestamp_ms,
            Self::Line(_, line) => line.timestamp_ns / 1_000_000,
        }
    }
}

impl Load {
    pub(crate) fn new(origin: Origin, first: Position, began: Duration) -> Self {
        let numbers = HashMap::default();
        let (text, pairs, series, rows, wholes) = Default::default();
        Self { origin, first, last: first, began, text, pairs, series, numbers, rows, wholes }
    }

    /// Rows of all kinds.
    pub(crate) fn rows(&self) -> usize {
        self.rows.len()
    }

    /// Bytes of labels and lines.
    pub(crate) fn text_bytes(&self) -> usize {
        self.text.len()
    }

    /// The number of a series that is in it.
    pub(crate) fn number(&self, id: SeriesId) -> Option<u32> {
        self.numbers.get(&id).copied()
    }

    /// Adds a series; its number.
    pub(crate) fn add_series<'l>(
        &mut self,
        id: SeriesId,
        labels: impl Iterator<Item = (&'l str, &'l str)>,
        family: Option<Arc<Family>>,
    ) -> u32 {
        let number = self.push_series(labels, family, Temporality::Cumulative);
        self.numbers.insert(id, number);
        number
    }

    /// As [`Load::add_series`], of a series whose rows come at once.
    pub(crate) fn push_series<'l>(
        &mut self,
        labels: impl Iterator<Item = (&'l str, &'l str)>,
        family: Option<Arc<Family>>,
        temporality: Temporality,
    ) -> u32 {
        let labels = self.push_pairs(labels);
        self.series.push(Series { labels, family, temporality });
        self.series.len() as u32 - 1
    }

    /// Says of the series that was added last what it is part of; of each, or of none.
    pub(crate) fn belongs(&mut self, whole: Whole) {
        self.wholes.push(whole);
        debug_assert_eq!(self.wholes.len(), self.series.len());
    }

    /// Whether it has as many rows as it may have before one of `whole`: some more where that is in it already.
    pub(crate) fn ends_before(&self, whole: Option<Whole>, rows_max: usize) -> bool {
        let rows = self.rows();
        let is_cut = || whole.is_some() && rows > 0 && self.whole_at(rows - 1) == whole;
        rows >= rows_max && (rows >= rows_max + PARTS_MAX || !is_cut())
    }

    /// Where two or more rows are cut in two: in the middle, or where no histogram is cut.
    pub(crate) fn middle(&self, range: Range<usize>) -> usize {
        let middle = range.start + range.len() / 2;
        if self.wholes.is_empty() {
            return middle;
        }
        let is_between = |at: &usize| self.whole_at(*at - 1) != self.whole_at(*at);
        (range.start + 1..=middle).rev().chain(middle + 1..range.end).find(is_between).unwrap_or(middle)
    }

    fn whole_at(&self, row: usize) -> Option<Whole> {
        self.wholes.get(self.rows[row].series()).copied()
    }

    pub(crate) fn push_sample(&mut self, series: u32, sample: Sample) {
        self.rows.push(Row::Sample(series, sample));
    }

    pub(crate) fn push_histogram(&mut self, series: u32, sample: HistogramSample) {
        self.rows.push(Row::Histogram(series, sample));
    }

    pub(crate) fn push_exemplar(&mut self, series: u32, exemplar: Exemplar) {
        self.rows.push(Row::Exemplar(series, Box::new(exemplar)));
    }

    pub(crate) fn push_line<'l>(
        &mut self,
        stream: u32,
        fields: impl Iterator<Item = (&'l str, &'l str)>,
        timestamp_ns: i64,
        line: &str,
    ) {
        let fields = self.push_pairs(fields);
        let line = self.push_text(line);
        self.rows.push(Row::Line(stream, Box::new(Line { fields, timestamp_ns, line })));
    }

    /// No further series: what finds them again is not needed any more.
    pub(crate) fn seal(&mut self) {
        self.numbers = HashMap::default();
    }

    fn push_pairs<'l>(&mut self, pairs: impl Iterator<Item = (&'l str, &'l str)>) -> Text {
        let start = self.pairs.len() as u32;
        for (name, value) in pairs {
            let pair = (self.push_text(name), self.push_text(value));
            self.pairs.push(pair);
        }
        start..self.pairs.len() as u32
    }

    fn push_text(&mut self, text: &str) -> Text {
        let start = self.text.len() as u32;
        self.text.push_str(text);
        start..self.text.len() as u32
    }

    fn text(&self, part: &Text) -> &str {
        &self.text[part.start as usize..part.end as usize]
    }

    /// The rows of a range that are not older than `oldest_ms`, and how many are.
    pub(crate) fn parcel(&self, range: Range<usize>, oldest_ms: i64) -> (Parcel<'_>, u64) {
        let mut parcel = Parcel::default();
        let mut too_old = 0;
        // Rows by series, each series' in their order: the places of rows, sorted stably by series.
        let mut places: Vec<u32> = Vec::with_capacity(range.len());
        for place in range {
            match self.rows[place].timestamp_ms() < oldest_ms {
                true => too_old += 1,
                false => places.push(place as u32),
            }
        }
        places.sort_by_key(|place| self.rows[*place as usize].series());
        for of_series in places.chunk_by(|a, b| self.series_at(*a) == self.series_at(*b)) {
            self.put(of_series, &mut parcel);
        }
        (parcel, too_old)
    }

    fn series_at(&self, place: u32) -> usize {
        self.rows[place as usize].series()
    }

    /// Adds a series with the rows at `places`.
    fn put<'l>(&'l self, places: &[u32], parcel: &mut Parcel<'l>) {
        let series = &self.series[self.series_at(places[0])];
        let labels = self.put_pairs(&series.labels, parcel);
        let (samples, histograms) = (parcel.samples.len(), parcel.histograms.len());
        let exemplars = parcel.exemplars.len();
        for place in places {
            match &self.rows[*place as usize] {
                Row::Sample(_, sample) => parcel.samples.push(*sample),
                Row::Histogram(_, sample) => parcel.histograms.push(sample.clone()),
                Row::Exemplar(_, exemplar) => parcel.exemplars.push((**exemplar).clone()),
                Row::Line(_, line) => {
                    let fields = self.put_pairs(&line.fields, parcel);
                    let (timestamp_ns, text) = (line.timestamp_ns, self.text(&line.line));
                    parcel.lines.push(SentLine { stream: labels.clone(), fields, timestamp_ns, line: text });
                }
            }
        }
        let rows = (samples..parcel.samples.len(), histograms..parcel.histograms.len());
        let exemplars = exemplars..parcel.exemplars.len();
        if rows.0.is_empty() && rows.1.is_empty() && exemplars.is_empty() {
            return;
        }
        parcel.series.push(Sent {
            labels,
            samples: rows.0,
            histograms: rows.1,
            exemplars,
            family: series.family.as_ref().map(|family| (&*family.name, &family.metadata)),
            temporality: series.temporality,
        });
    }

    fn put_pairs<'l>(&'l self, pairs: &Text, parcel: &mut Parcel<'l>) -> Range<usize> {
        let start = parcel.pairs.len();
        let pairs = &self.pairs[pairs.start as usize..pairs.end as usize];
        parcel.pairs.extend(pairs.iter().map(|(name, value)| (self.text(name), self.text(value))));
        start..parcel.pairs.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_ends_and_is_cut_between_histograms() {
        let mut load = Load::new(Origin::SENDER, Position::default(), Duration::ZERO);
        for (id, whole) in [1, 1, 1, 1, 1, 2, 2].into_iter().enumerate() {
            let number = load.add_series(SeriesId(id as u128), [("__name__", "a")].into_iter(), None);
            load.belongs(Whole(whole));
            load.push_sample(number, Sample { timestamp_ms: 1, value: 1.0, start_ms: 0 });
        }
        let ends = |whole, rows_max| load.ends_before(whole, rows_max);
        assert_eq!(
            (ends(Some(Whole(2)), 7), ends(Some(Whole(3)), 7), ends(Some(Whole(3)), 8)),
            (false, true, false)
        );
        assert!(ends(None, 7));
        assert_eq!((load.middle(0..7), load.middle(4..7), load.middle(0..5)), (5, 5, 2));
        let of_one = load.number(SeriesId(6)).unwrap();
        for _ in 0..PARTS_MAX {
            load.push_sample(of_one, Sample { timestamp_ms: 1, value: 1.0, start_ms: 0 });
        }
        assert!(load.ends_before(Some(Whole(2)), 7), "one thing may have rows without end");
    }

    #[test]
    fn rows_lie_by_series_and_in_their_order() {
        let mut load = Load::new(Origin::SENDER, Position::default(), Duration::ZERO);
        let sample = |ms: i64| Sample { timestamp_ms: ms, value: ms as f64, start_ms: 0 };
        let a = load.add_series(SeriesId(1), [("__name__", "a"), ("x", "1")].into_iter(), None);
        load.push_sample(a, sample(1));
        let b = load.add_series(SeriesId(2), [("__name__", "b")].into_iter(), None);
        load.push_sample(b, sample(2));
        load.push_exemplar(a, Exemplar { labels: Vec::new(), value: 0.0, timestamp_ms: 3 });
        load.push_sample(a, sample(4));
        assert_eq!(load.number(SeriesId(2)), Some(b));
        load.seal();
        let (parcel, too_old) = load.parcel(0..load.rows(), 2);
        assert_eq!((parcel.rows(), too_old), (3, 1));
        let names: Vec<_> =
            parcel.series().map(|series| (series.name().to_owned(), series.samples.len())).collect();
        assert_eq!(names, [("a".to_owned(), 1), ("b".to_owned(), 1)]);
        let (parcel, _) = load.parcel(0..3, i64::MIN);
        let first = parcel.series().next().unwrap();
        assert_eq!((first.samples, first.exemplars.len()), (&[sample(1)][..], 1));
        assert_eq!(first.labels, [("__name__", "a"), ("x", "1")]);
    }
}
