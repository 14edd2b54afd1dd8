//! Dice that a seed decides: one small generator for everything random in a simulation, so that a seed is a life.
//!
//! xoshiro256** seeded by SplitMix64 (Blackman and Vigna); written here because a run must come out the same for
//! ever, whatever a library changes.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// A seeded generator.
#[derive(Clone, Debug)]
pub struct Rng {
    state: [u64; 4],
}

impl Rng {
    /// The generator of this seed.
    pub fn new(seed: u64) -> Self {
        let mut split = seed;
        let mut next = || {
            split = split.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (split ^ (split >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^ (mixed >> 31)
        };
        Self { state: [next(), next(), next(), next()] }
    }

    /// A generator of its own, decided by this one: what it is used for does not disturb the rest of the life.
    pub fn fork(&mut self) -> Rng {
        Rng::new(self.next_u64())
    }

    /// 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        let s = &mut self.state;
        let result = s[1].wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// A number below `bound`; 0 when `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        // The high half of a product is even enough for dice.
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// An index of something of this length.
    pub fn index(&mut self, length: usize) -> usize {
        self.below(length as u64) as usize
    }

    /// A number in the range, which must not be empty.
    pub fn range(&mut self, range: Range<i64>) -> i64 {
        range.start.wrapping_add(self.below(range.end.wrapping_sub(range.start) as u64) as i64)
    }

    /// True `numerator` times out of `denominator`.
    pub fn chance(&mut self, numerator: u64, denominator: u64) -> bool {
        self.below(denominator) < numerator
    }

    /// One of the items, which must not be none.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.index(items.len())]
    }

    /// Puts the items in random order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.index(last + 1));
        }
    }

    /// Random bytes.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let random = self.next_u64().to_le_bytes();
            chunk.copy_from_slice(&random[..chunk.len()]);
        }
    }

    /// Bytes as a fuzzer comes to try them: mostly small ones, which the lengths and counts of short inputs are, some of
    /// any size, some varints at the ends of their range.
    pub fn tries(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length + 10);
        while bytes.len() < length {
            match self.below(20) {
                0 => bytes.extend(self.end()),
                1..6 => bytes.push(self.next_u64() as u8),
                _ => bytes.push(self.below(24) as u8),
            }
        }
        bytes
    }

    /// Changes some bytes, as a fuzzer does to an input that came far.
    pub fn change(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(4) {
            let at = self.index(bytes.len() + 1);
            let next = (at + 1).min(bytes.len());
            match self.below(8) {
                0 if at < next => bytes[at] ^= 1 << self.below(8),
                1 | 2 => drop(bytes.splice(at..next, self.end())),
                3 => drop(bytes.splice(at..next, [self.next_u64() as u8])),
                4 => drop(bytes.drain(at..(at + self.index(8)).min(bytes.len()))),
                5 => {
                    let from = self.index(bytes.len() + 1);
                    let piece = bytes[from..(from + self.index(32)).min(bytes.len())].to_vec();
                    bytes.splice(at..at, piece);
                }
                6 if self.chance(1, 4) => bytes.truncate(at),
                _ => drop(bytes.splice(at..at, [self.below(24) as u8])),
            }
        }
    }

    /// A varint at the end of a field's range.
    fn end(&mut self) -> Vec<u8> {
        let mut bytes = match self.below(3) {
            0 => vec![0xff; 4],
            1 => vec![0xff; 9],
            _ => [&[0xfe][..], &[0xff; 8]].concat(),
        };
        bytes.push(if bytes.len() == 4 { 0x0f } else { 1 });
        bytes
    }
}

/// [`env::Random`] from a seed.
#[derive(Debug)]
pub struct SimRandom(Mutex<Rng>);

impl SimRandom {
    /// The dice of this seed.
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(Rng::new(seed)))
    }
}

impl env::Random for SimRandom {
    fn fill(&self, bytes: &mut [u8]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).fill(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_sequence_and_bounds_hold() {
        let sequence = |seed| {
            let mut rng = Rng::new(seed);
            (0..100).map(|_| rng.next_u64()).collect::<Vec<_>>()
        };
        assert_eq!(sequence(1), sequence(1));
        assert_ne!(sequence(1), sequence(2));
        let mut rng = Rng::new(3);
        let mut seen = [0u32; 5];
        for _ in 0..1000 {
            seen[rng.index(5)] += 1;
            assert!((-3..4).contains(&rng.range(-3..4)));
        }
        assert!(seen.iter().all(|n| *n > 100), "{seen:?}");
    }
}
