//! Buckets by index: adding, coarsening and widening are walks over sorted lists.
//!
//! Spans are a shape for the wire and the disk. These walks are those of the store, which adds deltas up and keeps whole
//! counts whole, and of queries, which count in floats.

use super::Span;
use super::bounds::exponential;

/// Buckets by index, ascending. An index may hold a count of zero.
pub type Buckets<N> = Vec<(i32, N)>;

/// How observations are counted.
pub trait Count: Copy + Default + PartialEq {
    /// Both together; whole counts end at the largest.
    fn plus(self, other: Self) -> Self;
}

impl Count for f64 {
    fn plus(self, other: Self) -> Self {
        self + other
    }
}

impl Count for u64 {
    fn plus(self, other: Self) -> Self {
        self.saturating_add(other)
    }
}

/// The buckets that spans describe.
pub fn indexed<N: Count>(spans: &[Span], counts: &[N]) -> Buckets<N> {
    let mut next = 0i32;
    let indexes = spans.iter().flat_map(|span| {
        let first = next.saturating_add(span.offset);
        next = first.saturating_add_unsigned(span.length);
        first..next
    });
    indexes.zip(counts.iter().copied()).collect()
}

/// The spans that describe buckets, and their counts.
pub fn spans<N: Count>(buckets: &Buckets<N>) -> (Vec<Span>, Vec<N>) {
    let (mut spans, mut next): (Vec<Span>, i32) = (Vec::new(), 0);
    for (index, _) in buckets {
        match spans.last_mut() {
            Some(span) if *index == next => span.length += 1,
            _ => spans.push(Span { offset: index.saturating_sub(next), length: 1 }),
        }
        next = index.saturating_add(1);
    }
    (spans, buckets.iter().map(|(_, count)| *count).collect())
}

/// Adds bucket by bucket.
pub fn merge<N: Count>(left: &Buckets<N>, right: impl IntoIterator<Item = (i32, N)>) -> Buckets<N> {
    let mut right = right.into_iter().peekable();
    let mut out = Vec::with_capacity(left.len() + right.size_hint().0);
    for (index, count) in left {
        while let Some(before) = right.next_if(|(other, _)| other < index) {
            out.push(before);
        }
        let same = right.next_if(|(other, _)| other == index);
        out.push((*index, same.map_or(*count, |(_, other)| count.plus(other))));
    }
    out.extend(right);
    out
}

/// Merges exponential buckets down to a schema that is lower by `by`.
pub fn coarsen<N: Count>(buckets: &mut Buckets<N>, by: i32) {
    let shift = by.clamp(0, 31);
    regroup(buckets, |index| (index.saturating_sub(1) >> shift).saturating_add(1));
}

/// The bounds that both lists have; both are sorted.
pub fn common_bounds(a: &[f64], b: &[f64]) -> Vec<f64> {
    let is_in = |bound: &f64| b.get(b.partition_point(|other| other < bound)) == Some(bound);
    a.iter().copied().filter(is_in).collect()
}

/// Custom buckets under fewer bounds: each goes where its upper bound lies.
pub fn rebound<N: Count>(buckets: &Buckets<N>, bounds: &[f64], fewer: &[f64]) -> Buckets<N> {
    let mut out = buckets.clone();
    regroup(&mut out, |index| {
        let upper = usize::try_from(index).ok().and_then(|index| bounds.get(index));
        upper.map_or(fewer.len(), |upper| fewer.partition_point(|bound| bound < upper)) as i32
    });
    out
}

/// Gives buckets other indexes, which ascend as they did, and puts those together that then have the same.
fn regroup<N: Count>(buckets: &mut Buckets<N>, target: impl Fn(i32) -> i32) {
    buckets.iter_mut().for_each(|(index, _)| *index = target(*index));
    buckets.dedup_by(|(index, count), (kept, sum)| {
        let is_same = index == kept;
        if is_same {
            *sum = sum.plus(*count);
        }
        is_same
    });
}

/// The threshold of a zero bucket that is to reach to `threshold`: a populated bucket that it would cut moves it further
/// out. Negative buckets are given by their mirror images, as ever.
pub fn uncut_threshold<N: Count>(schema: i32, threshold: f64, sides: [&Buckets<N>; 2]) -> f64 {
    let mut uncut = threshold;
    loop {
        let before = uncut;
        for buckets in sides {
            let at = buckets.partition_point(|(index, _)| exponential(schema, *index) <= uncut);
            let Some((index, count)) = buckets.get(at) else { continue };
            // An empty bucket may be cut.
            if begins_below(schema, *index, uncut) && *count != N::default() {
                uncut = exponential(schema, *index);
            }
        }
        if uncut <= before || uncut.is_nan() {
            return uncut;
        }
    }
}

/// Whether a bucket begins below a threshold: it goes into the zero bucket.
pub fn begins_below(schema: i32, index: i32, threshold: f64) -> bool {
    exponential(schema, index.saturating_sub(1)) < threshold
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_spans_and_back() {
        let buckets: Buckets<u64> = vec![(-3, 1), (-2, 0), (4, 7)];
        let (shape, counts) = spans(&buckets);
        assert_eq!(shape, [Span { offset: -3, length: 2 }, Span { offset: 5, length: 1 }]);
        assert_eq!(indexed(&shape, &counts), buckets);
    }

    #[test]
    fn merging_adds_what_is_in_both() {
        let merged = merge(&vec![(1, 1u64), (3, u64::MAX)], [(0, 5), (1, 2), (3, 1), (9, 1)]);
        assert_eq!(merged, [(0, 5), (1, 3), (3, u64::MAX), (9, 1)]);
    }

    #[test]
    fn a_coarser_bucket_holds_two() {
        // (0.5,1] is 0, (1,2] is 1, (2,4] is 2, and then (0.25,1] is 0, (1,4] is 1.
        let mut buckets: Buckets<u64> = vec![(-1, 1), (0, 2), (1, 4), (2, 8)];
        coarsen(&mut buckets, 1);
        assert_eq!(buckets, [(0, 3), (1, 12)]);
    }

    #[test]
    fn fewer_bounds_hold_more() {
        let (bounds, other) = ([1.0, 2.0, 3.0], [2.0, 2.5]);
        let common = common_bounds(&bounds, &other);
        assert_eq!(common, [2.0]);
        let rebound = rebound(&vec![(0, 1u64), (1, 2), (2, 4), (3, 8)], &bounds, &common);
        assert_eq!(rebound, [(0, 3), (1, 12)]);
    }

    #[test]
    fn a_threshold_cuts_no_populated_bucket() {
        let wide = |threshold, positive: &[(i32, u64)], negative: &[(i32, u64)]| {
            uncut_threshold(0, threshold, [&positive.to_vec(), &negative.to_vec()])
        };
        assert_eq!(wide(3.0, &[(1, 1), (2, 0)], &[]), 3.0);
        assert_eq!(wide(3.0, &[(1, 1), (2, 1)], &[]), 4.0);
        assert_eq!(wide(3.0, &[(2, 1)], &[(3, 1)]), 4.0, "it begins where the other ends");
        assert_eq!(wide(5.0, &[(2, 1)], &[(3, 1)]), 8.0);
        assert!(wide(f64::NAN, &[(2, 1)], &[(3, 1)]).is_nan());
    }
}
