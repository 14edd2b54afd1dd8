//! Things with numbers that stay theirs as long as they are there; numbers that are free are given again.

/// The things.
#[derive(Debug)]
pub(crate) struct Numbered<T> {
    chunks: Vec<Vec<Option<T>>>,
    free: Vec<u32>,
}

/// Things of a chunk: growing never copies more than these, and leaves no more of them unused.
const CHUNK: usize = 1 << 12;

impl<T> Default for Numbered<T> {
    fn default() -> Self {
        Self { chunks: Vec::new(), free: Vec::new() }
    }
}

impl<T> Numbered<T> {
    /// Adds a thing; returns its number.
    pub(crate) fn add(&mut self, thing: T) -> u32 {
        if let Some(number) = self.free.pop() {
            *self.place(number) = Some(thing);
            return number;
        }
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
            // Only the first grows from little: most tenants are small.
            let capacity = if self.chunks.is_empty() { 0 } else { CHUNK };
            self.chunks.push(Vec::with_capacity(capacity));
        }
        self.chunks.last_mut().expect("just pushed").push(Some(thing));
        number_of(self.end() - 1)
    }

    /// The number that the next thing gets.
    pub(crate) fn next(&self) -> u32 {
        self.free.last().copied().unwrap_or_else(|| number_of(self.end()))
    }

    fn place(&mut self, number: u32) -> &mut Option<T> {
        &mut self.chunks[number as usize / CHUNK][number as usize % CHUNK]
    }

    /// The thing with a number, if it is in use.
    pub(crate) fn get(&self, number: u32) -> Option<&T> {
        self.chunks.get(number as usize / CHUNK)?.get(number as usize % CHUNK)?.as_ref()
    }

    /// The thing with a number, if it is in use, to change it.
    pub(crate) fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        self.chunks.get_mut(number as usize / CHUNK)?.get_mut(number as usize % CHUNK)?.as_mut()
    }

    /// Takes a thing out; its number is free then.
    pub(crate) fn remove(&mut self, number: u32) -> Option<T> {
        let taken = self.place(number).take();
        if taken.is_some() {
            self.free.push(number);
        }
        taken
    }

    /// All things with their numbers, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        let all = self.chunks.iter().flatten().enumerate();
        all.filter_map(|(number, thing)| Some((number as u32, thing.as_ref()?)))
    }

    /// All things with their numbers, ascending, to change them.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (u32, &mut T)> {
        let all = self.chunks.iter_mut().flatten().enumerate();
        all.filter_map(|(number, thing)| Some((number as u32, thing.as_mut()?)))
    }

    /// Highest number there ever was, + 1.
    pub(crate) fn end(&self) -> usize {
        self.chunks.last().map_or(0, |last| (self.chunks.len() - 1) * CHUNK + last.len())
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> u64 {
        let things = self.chunks.last().map_or(0, |last| (self.chunks.len() - 1) * CHUNK + last.capacity());
        (things * size_of::<Option<T>>() + self.free.capacity() * size_of::<u32>()) as u64
    }

    /// Bytes held once there is room for one more.
    pub(crate) fn bytes_with_another(&self) -> u64 {
        let full = self.free.is_empty() && self.chunks.last().is_none_or(|last| last.len() == CHUNK);
        self.bytes() + if full { (CHUNK * size_of::<Option<T>>()) as u64 } else { 0 }
    }
}

fn number_of(count: usize) -> u32 {
    u32::try_from(count).expect("counts are limited far below 2^32")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_and_free_ones_are_given_again() {
        let mut things = Numbered::default();
        for thing in 0..CHUNK * 2 + 10 {
            assert_eq!((things.next(), things.add(thing)), (thing as u32, thing as u32));
        }
        assert_eq!(things.end(), CHUNK * 2 + 10);
        assert_eq!((things.remove(5), things.remove(5)), (Some(5), None));
        assert_eq!(things.get(5), None);
        assert_eq!(things.remove(CHUNK as u32), Some(CHUNK));
        let next = [things.add(100_001), things.add(100_002)];
        assert_eq!(next, [CHUNK as u32, 5]);
        assert_eq!(things.iter().count(), CHUNK * 2 + 10);
        assert_eq!(things.iter().nth(5), Some((5, &100_002)));
        assert_eq!(things.get(CHUNK as u32 * 2 + 10), None);
    }
}
