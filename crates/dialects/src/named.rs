//! Series whose name and labels came as texts of their own: what dialects with tags in JSON, MessagePack or a line have in
//! common, and the one place that says how such names become labels.
//!
//! A name and a tag's key are what was sent, whatever characters they have: Weir's labels are UTF-8. An empty value is no
//! label. A key that stands twice, and a tag that is called like the metric's name, are refused by the store by name. So
//! the same metric is the same series from every dialect that says the same name and tags.

use std::borrow::Cow;

use codec::hash::key128;
use model::Batch;
use model::batch::{LabelSource, Pair, Temporality};
use model::labels::METRIC_NAME;

use crate::rows::{Full, Room, Rows, owned_bytes};

/// Keeps keys of these lists apart from those of label lists that lie on the wire.
const KEY_DOMAIN: u64 = 0x6e61_6d65_6420_7461;

/// A series as it was sent.
#[derive(Clone, Debug)]
pub(crate) struct Sent<'t, 'a> {
    /// The metric.
    pub(crate) name: Cow<'a, str>,
    /// Its tags.
    pub(crate) tags: &'t [Pair<'a>],
    /// One more: the bound of a bucket, a quantile.
    pub(crate) extra: Option<Pair<'a>>,
    /// What its samples are.
    pub(crate) temporality: Temporality,
}

/// Makes series of names and tags; keeps its memory from one to the next.
#[derive(Debug, Default)]
pub(crate) struct Named {
    bytes: Vec<u8>,
}

impl Named {
    /// Gives `rows` the labels that `sent` says. Without rows nothing is kept.
    pub(crate) fn keep<'a>(
        &mut self,
        batch: &mut Batch<'a>,
        room: &mut Room,
        rows: Rows,
        sent: Sent<'_, 'a>,
    ) -> Result<(), Full> {
        if rows.is_empty(batch) {
            return Ok(());
        }
        let start = batch.pairs.len();
        self.bytes.clear();
        self.put(batch, room, (Cow::Borrowed(METRIC_NAME), sent.name))?;
        for tag in sent.tags.iter().chain(&sent.extra).filter(|(_, value)| !value.is_empty()) {
            self.put(batch, room, tag.clone())?;
        }
        let key = key128(batch.seed ^ KEY_DOMAIN, &self.bytes);
        rows.keep_as(batch, LabelSource::Pairs(start..batch.pairs.len()), key, sent.temporality);
        Ok(())
    }

    fn put<'a>(&mut self, batch: &mut Batch<'a>, room: &mut Room, pair: Pair<'a>) -> Result<(), Full> {
        room.take(size_of::<Pair<'_>>() + owned_bytes(&pair.0) + owned_bytes(&pair.1))?;
        for text in [&pair.0, &pair.1] {
            self.bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
            self.bytes.extend_from_slice(text.as_bytes());
        }
        batch.pairs.push(pair);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use model::Sample;

    use super::*;

    #[test]
    fn equal_lists_have_equal_keys_and_others_others() {
        let (mut batch, mut named, mut room) = (Batch::new(7), Named::default(), Room::new());
        let lists: [&[(&str, &str)]; 5] =
            [&[("a", "bc")], &[("ab", "c")], &[("a", "bc"), ("d", "")], &[("a", "bc")], &[]];
        for tags in lists {
            let tags: Vec<Pair<'_>> = tags.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect();
            let rows = Rows::begin(&batch);
            batch.samples.push(Sample { timestamp_ms: 1, value: 1.0, start_ms: 0 });
            let sent =
                Sent { name: "m".into(), tags: &tags, extra: None, temporality: Temporality::Cumulative };
            named.keep(&mut batch, &mut room, rows, sent).unwrap();
        }
        let keys: Vec<_> = batch.series.iter().map(|series| series.key).collect();
        assert!(keys[0] == keys[2] && keys[0] == keys[3], "an empty value is no label");
        assert!(keys[0] != keys[1] && keys[0] != keys[4]);
        let labels = batch.with_labels(0, |pairs| Ok(format!("{pairs:?}"))).unwrap();
        assert_eq!(labels, r#"[("__name__", "m"), ("a", "bc")]"#);
    }
}
