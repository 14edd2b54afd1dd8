//! Short lists of numbers, one for each series, packed without an allocation each.
//!
//! A list that is given back leaves a place for the next one of its length. What lengths that nobody needs any more leave
//! behind is the owner's to put together again: he is told when it is half of everything.

use std::num::NonZeroU16;

use model::labels::LABELS_MAX;

/// Numbers of a chunk; a list lies in one.
const CHUNK: usize = 1 << 14;

const _: () = assert!(LABELS_MAX <= CHUNK);

/// Bytes of a number.
const NUMBER_BYTES: u64 = size_of::<u32>() as u64;

/// Where a list lies. None is empty: a series has a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    at: u32,
    length: NonZeroU16,
}

/// The lists.
#[derive(Debug, Default)]
pub(crate) struct Lists {
    chunks: Vec<Box<[u32]>>,
    /// Behind the last list.
    end: usize,
    /// Places that were given back, by length.
    free: Vec<Vec<u32>>,
    free_places: usize,
    free_numbers: usize,
}

impl Lists {
    /// Adds a list of one to [`CHUNK`] numbers.
    pub(crate) fn add(&mut self, list: &[u32]) -> Place {
        let length = u16::try_from(list.len()).ok().and_then(NonZeroU16::new);
        let length = length.expect("a series has one label at least and no more than a chunk takes");
        let at = match self.free.get_mut(list.len()).and_then(Vec::pop) {
            Some(at) => {
                self.free_places -= 1;
                self.free_numbers -= list.len();
                at as usize
            }
            None => self.place_behind(list.len()),
        };
        self.chunks[at / CHUNK][at % CHUNK..][..list.len()].copy_from_slice(list);
        Place { at: u32::try_from(at).expect("lists are bounded by memory"), length }
    }

    fn place_behind(&mut self, length: usize) -> usize {
        if self.end % CHUNK + length > CHUNK {
            let rest = CHUNK - self.end % CHUNK;
            self.give_back(self.end, rest);
            self.end += rest;
        }
        if self.end / CHUNK == self.chunks.len() {
            self.chunks.push(vec![0; CHUNK].into());
        }
        self.end += length;
        self.end - length
    }

    /// A list.
    pub(crate) fn get(&self, place: Place) -> &[u32] {
        let at = place.at as usize;
        &self.chunks[at / CHUNK][at % CHUNK..][..usize::from(place.length.get())]
    }

    /// Gives a list's place back.
    pub(crate) fn remove(&mut self, place: Place) {
        self.give_back(place.at as usize, usize::from(place.length.get()));
    }

    fn give_back(&mut self, at: usize, length: usize) {
        if length > 0 {
            if self.free.len() <= length {
                self.free.resize_with(length + 1, Vec::new);
            }
            self.free[length].push(at as u32);
            self.free_places += 1;
            self.free_numbers += length;
        }
    }

    /// Whether so much is given back that what is left should be put into new lists.
    pub(crate) fn is_sparse(&self) -> bool {
        self.free_numbers > CHUNK && self.free_numbers * 2 > self.end
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> u64 {
        (self.chunks.len() * CHUNK + self.free_places) as u64 * NUMBER_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_come_back_and_their_places_are_used_again() {
        let mut lists = Lists::default();
        let list = |n: u32| (0..=n % 7).map(|i| n * 10 + i).collect::<Vec<u32>>();
        let mut places: Vec<Place> = (0..20_000).map(|n| lists.add(&list(n))).collect();
        let full = lists.bytes();
        for n in (0..20_000).step_by(3) {
            lists.remove(places[n]);
        }
        assert!(!lists.is_sparse());
        for n in (0..20_000).step_by(3) {
            places[n] = lists.add(&list(n as u32));
        }
        for (n, place) in places.iter().enumerate() {
            assert_eq!(lists.get(*place), list(n as u32), "list {n}");
        }
        assert!(lists.bytes() <= full, "{} after {full}", lists.bytes());
        places.iter().skip(10).for_each(|place| lists.remove(*place));
        assert!(lists.is_sparse());
    }
}
