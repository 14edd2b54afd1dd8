//! Which histogram or summary a series is part of, for receivers that get it in one piece.
//!
//! It is told by labels alone, as the receiver gets them: all but `le` and `quantile`, and of the name what stands before
//! `_bucket`, `_sum` and `_count`. Types have no say, since they may come later than rows, and a series that went to another
//! shard then could overtake itself. So `disk_count` counts as a part of `disk`, which does no harm.

use std::hash::{BuildHasher, Hash, Hasher};

use hashbrown::HashMap;
use model::labels::METRIC_NAME;
use model::{SeriesId, TenantId};

/// Series remembered; with more all are worked out anew.
const SERIES_MAX: usize = 200_000;

/// What a series and its siblings have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Whole(pub(crate) u64);

impl Whole {
    /// That of a series with these labels.
    pub(crate) fn of<'p>(labels: impl Iterator<Item = (&'p str, &'p str)>) -> Self {
        let mut hasher = foldhash::fast::FixedState::default().build_hasher();
        for (name, value) in labels.filter(|(name, _)| !["le", "quantile"].contains(name)) {
            (name, if name == METRIC_NAME { base(value) } else { value }).hash(&mut hasher);
        }
        Self(hasher.finish())
    }
}

/// The family's name, if it is one of several series.
fn base(name: &str) -> &str {
    ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name)
}

/// Wholes by series.
#[derive(Default)]
pub(crate) struct Wholes {
    series: HashMap<(TenantId, SeriesId), Whole, foldhash::fast::RandomState>,
}

impl Wholes {
    /// That of a series, worked out unless it is remembered.
    pub(crate) fn of(&mut self, tenant: TenantId, id: SeriesId, work_out: impl FnOnce() -> Whole) -> Whole {
        if self.series.len() >= SERIES_MAX {
            self.series.clear();
        }
        *self.series.entry((tenant, id)).or_insert_with(work_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_told_by_their_labels() {
        let of = |labels: &[(&'static str, &'static str)]| Whole::of(labels.iter().copied());
        let job = ("job", "a");
        let bucket = of(&[("__name__", "x_bucket"), job, ("le", "1")]);
        for part in [
            &[("__name__", "x_bucket"), job, ("le", "+Inf")][..],
            &[("__name__", "x_sum"), job],
            &[("__name__", "x_count"), job],
            &[("__name__", "x"), job, ("quantile", "0.5")],
        ] {
            assert_eq!(of(part), bucket, "{part:?}");
        }
        for other in [
            &[("__name__", "y_bucket"), job, ("le", "1")][..],
            &[("__name__", "x_bucket"), ("job", "b"), ("le", "1")],
            &[("__name__", "x_total"), job],
        ] {
            assert_ne!(of(other), bucket, "{other:?}");
        }
    }
}
