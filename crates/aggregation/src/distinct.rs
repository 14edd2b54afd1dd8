//! How many distinct members a set has: exact up to a bound, an estimate beyond it.
//!
//! Members are 64-bit hashes. When there are more than [`MEMBERS_MAX`], only those below half of the hash space are kept,
//! then below a quarter, and so on: what is left, times two for every halving, estimates them all with a standard error
//! of about one over the root of what is left, 0.8 % to 1.1 % (adaptive sampling; Flajolet 1990).

use hashbrown::HashTable;

/// Members that are told apart exactly.
pub(crate) const MEMBERS_MAX: usize = 16_384;

/// Bytes that a member takes in the table, with the table's slack.
pub(crate) const MEMBER_BYTES: usize = 16;

/// The members of one window.
#[derive(Default)]
pub(crate) struct Distinct {
    members: HashTable<u64>,
    halvings: u32,
}

impl Distinct {
    /// Whether `member` would have to be kept.
    pub(crate) fn is_new(&self, member: u64) -> bool {
        self.is_sampled(member) && self.members.find(mixed(member), |known| *known == member).is_none()
    }

    /// Takes a member for which [`Distinct::is_new`] holds.
    pub(crate) fn insert(&mut self, member: u64) {
        self.members.insert_unique(mixed(member), member, |known| mixed(*known));
        while self.members.len() > MEMBERS_MAX && self.halvings < 63 {
            self.halvings += 1;
            let halvings = self.halvings;
            self.members.retain(|known| *known >> (64 - halvings) == 0);
        }
    }

    /// How many there were.
    pub(crate) fn count(&self) -> f64 {
        self.members.len() as f64 * f64::from(self.halvings).exp2()
    }

    /// Members that are kept.
    pub(crate) fn kept(&self) -> usize {
        self.members.len()
    }

    fn is_sampled(&self, member: u64) -> bool {
        self.halvings == 0 || member >> (64 - self.halvings) == 0
    }
}

/// The table looks at high bits too, and those of sampled members are equal.
fn mixed(member: u64) -> u64 {
    member.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(number: u64) -> u64 {
        let z = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn count(members: u64) -> (f64, usize) {
        let mut distinct = Distinct::default();
        for number in (0..members).chain(0..members / 2) {
            if distinct.is_new(hash(number)) {
                distinct.insert(hash(number));
            }
        }
        (distinct.count(), distinct.kept())
    }

    #[test]
    fn it_is_exact_and_then_close() {
        for exact in [0, 1, 1000, MEMBERS_MAX as u64] {
            assert_eq!(count(exact).0, exact as f64);
        }
        for many in [20_000, 100_000, 1_000_000] {
            let (estimate, kept) = count(many);
            assert!((estimate / many as f64 - 1.0).abs() < 0.03, "{estimate} of {many}");
            assert!(kept <= MEMBERS_MAX);
        }
    }
}
