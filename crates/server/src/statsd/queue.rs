//! What waits, oldest first, bounded by its bytes.

use std::collections::VecDeque;

/// Something that takes memory.
pub(super) trait Weigh {
    /// Bytes, roughly.
    fn bytes(&self) -> usize;
}

/// A queue that knows its bytes.
pub(super) struct Queue<T> {
    items: VecDeque<T>,
    bytes: usize,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { items: VecDeque::new(), bytes: 0 }
    }
}

impl<T: Weigh> Queue<T> {
    pub(super) fn push(&mut self, item: T) {
        self.bytes += item.bytes();
        self.items.push_back(item);
    }

    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Bytes of all of them.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The oldest, `count` at most.
    pub(super) fn first(&mut self, count: usize) -> &[T] {
        let count = count.min(self.items.len());
        &self.items.make_contiguous()[..count]
    }

    /// Takes the oldest out.
    pub(super) fn skip(&mut self, count: usize) {
        let count = count.min(self.items.len());
        self.bytes -= self.items.drain(..count).map(|item| item.bytes()).sum::<usize>();
    }

    /// Takes the oldest out until no more than `bytes` are left; how many those were.
    pub(super) fn shrink(&mut self, bytes: usize) -> u64 {
        let before = self.items.len();
        while self.bytes > bytes {
            self.skip(1);
        }
        (before - self.items.len()) as u64
    }

    pub(super) fn into_items(self) -> VecDeque<T> {
        self.items
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Weigh for usize {
        fn bytes(&self) -> usize {
            *self
        }
    }

    #[test]
    fn the_oldest_make_room() {
        let mut queue = Queue::default();
        [5, 1, 7, 2].into_iter().for_each(|bytes| queue.push(bytes));
        assert_eq!((queue.shrink(15), queue.shrink(9), queue.bytes()), (0, 2, 9));
        assert_eq!(queue.first(9), [7, 2]);
        queue.skip(1);
        assert_eq!((queue.len(), queue.bytes(), queue.shrink(0), queue.is_empty()), (1, 2, 1, true));
    }
}
