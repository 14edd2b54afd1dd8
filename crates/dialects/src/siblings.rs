//! Series that have all labels but the metric's name in common: those of one event, of one list of values. Their labels are
//! made only where the store does not know the series, so a body that multiplies names by labels stays as small as it was
//! sent. They are the labels that [`crate::named`] would make.

use std::borrow::Cow;
use std::ops::Range;

use codec::hash::key128;
use model::Batch;
use model::batch::{LabelSource, MakeLabels, Pair, SeriesRow};
use model::labels::{LabelError, METRIC_NAME};

use crate::rows::{Full, Room, Rows, owned_bytes};

/// Keep keys of shared labels, and of names with them, apart from those of other lists.
const SHARED_DOMAIN: u64 = 0x7369_626c_696e_6773;
const NAMED_DOMAIN: u64 = 0x7369_626c_6e61_6d65;

/// A request's series.
#[derive(Debug, Default)]
pub(crate) struct Siblings<'a> {
    labels: Vec<Pair<'a>>,
    /// Names, and where in `labels` theirs are.
    series: Vec<(Cow<'a, str>, Range<usize>)>,
    bytes: Vec<u8>,
}

/// Labels that several series share.
#[derive(Debug)]
pub(crate) struct Shared {
    range: Range<usize>,
    key: u128,
}

impl<'a> Siblings<'a> {
    /// Takes labels for series to come. Empty values are no labels.
    pub(crate) fn share(
        &mut self,
        batch: &Batch<'_>,
        room: &mut Room,
        pairs: impl Iterator<Item = Pair<'a>>,
    ) -> Result<Shared, Full> {
        let start = self.labels.len();
        self.bytes.clear();
        for (name, value) in pairs.filter(|(_, value)| !value.is_empty()) {
            room.take(size_of::<Pair<'_>>() + owned_bytes(&name) + owned_bytes(&value))?;
            for text in [&name, &value] {
                self.bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
                self.bytes.extend_from_slice(text.as_bytes());
            }
            self.labels.push((name, value));
        }
        let key = key128(batch.seed ^ SHARED_DOMAIN, &self.bytes);
        Ok(Shared { range: start..self.labels.len(), key })
    }

    /// Gives `rows` a name beside shared labels. Without rows nothing is kept.
    pub(crate) fn keep(
        &mut self,
        batch: &mut Batch<'a>,
        room: &mut Room,
        rows: Rows,
        name: Cow<'a, str>,
        shared: &Shared,
    ) -> Result<(), Full> {
        if rows.is_empty(batch) {
            return Ok(());
        }
        let entry = size_of::<(Cow<'_, str>, Range<usize>)>();
        room.take(size_of::<SeriesRow<'_>>() + entry + owned_bytes(&name))?;
        self.bytes.clear();
        self.bytes.extend_from_slice(&shared.key.to_le_bytes());
        self.bytes.extend_from_slice(name.as_bytes());
        let key = key128(batch.seed ^ NAMED_DOMAIN, &self.bytes);
        let number = u32::try_from(self.series.len()).map_err(|_| Full)?;
        rows.keep(batch, LabelSource::Made(number), key);
        self.series.push((name, shared.range.clone()));
        Ok(())
    }

    /// Hands the labels over to the batch that has the rows.
    pub(crate) fn finish(self, batch: &mut Batch<'a>) {
        batch.source = Some(Box::new(self));
    }
}

impl MakeLabels for Siblings<'_> {
    fn make<'b>(&'b self, number: u32, pairs: &mut Vec<Pair<'b>>) -> Result<(), LabelError> {
        let (name, range) = &self.series[number as usize];
        pairs.push((METRIC_NAME.into(), name.as_ref().into()));
        let labels = self.labels[range.clone()].iter();
        pairs.extend(labels.map(|(name, value)| (name.as_ref().into(), value.as_ref().into())));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use model::Sample;
    use model::batch::Temporality;

    use super::*;
    use crate::named::{Named, Sent};

    #[test]
    fn labels_are_those_of_named_series() {
        let tags: [Pair<'_>; 3] =
            [("a".into(), "1".into()), ("empty".into(), "".into()), ("ü".into(), "x y".into())];
        let (mut batch, mut siblings, mut room) = (Batch::new(1), Siblings::default(), Room::new());
        let mut named = Named::default();
        let push = |batch: &mut Batch<'_>| {
            let rows = Rows::begin(batch);
            batch.samples.push(Sample { timestamp_ms: 1, value: 1.0, start_ms: 0 });
            rows
        };
        let shared = siblings.share(&batch, &mut room, tags.iter().cloned()).unwrap();
        for name in ["one", "two"] {
            let rows = push(&mut batch);
            siblings.keep(&mut batch, &mut room, rows, name.into(), &shared).unwrap();
            let rows = push(&mut batch);
            let sent =
                Sent { name: name.into(), tags: &tags, extra: None, temporality: Temporality::Cumulative };
            named.keep(&mut batch, &mut room, rows, sent).unwrap();
        }
        siblings.finish(&mut batch);
        let labels = |at| batch.with_labels(at, |pairs| Ok(format!("{pairs:?}"))).unwrap();
        assert_eq!(labels(0), r#"[("__name__", "one"), ("a", "1"), ("ü", "x y")]"#);
        assert_eq!((labels(0), labels(2)), (labels(1), labels(3)));
    }

    #[test]
    fn keys_are_equal_where_name_and_labels_are() {
        let (mut batch, mut siblings, mut room) = (Batch::new(1), Siblings::default(), Room::new());
        for (label, name) in [("a", "x"), ("a", "y"), ("b", "x"), ("a", "x")] {
            let pairs = [(Cow::Borrowed("l"), Cow::Borrowed(label))];
            let shared = siblings.share(&batch, &mut room, pairs.into_iter()).unwrap();
            let rows = Rows::begin(&batch);
            batch.samples.push(Sample { timestamp_ms: 1, value: 1.0, start_ms: 0 });
            siblings.keep(&mut batch, &mut room, rows, name.into(), &shared).unwrap();
        }
        let keys: Vec<u128> = batch.series.iter().map(|series| series.key).collect();
        assert_eq!(keys[0], keys[3]);
        assert!(keys[0] != keys[1] && keys[0] != keys[2] && keys[1] != keys[2]);
    }
}
