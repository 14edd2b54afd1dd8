//! What of an append is refused: by kind and reason, and which of the things that its sender counts lost something.

use model::{Batch, Reason, Rejections, Signal};

/// Refused by one stage.
#[derive(Debug, Default)]
pub(crate) struct Refused {
    pub(crate) rejections: Rejections,
    /// Numbers of [`model::batch::Items`], in any order and some more than once.
    pub(crate) items: Vec<u32>,
    counts_items: bool,
}

impl Refused {
    /// Nothing yet, of a batch. Items are noted only where its sender counts them.
    pub(crate) fn of(batch: &Batch<'_>) -> Self {
        let counts_items = batch.items.sent() > 0;
        Self { rejections: Rejections::default(), items: Vec::new(), counts_items }
    }

    /// Counts `count` things of one item. Call [`Refused::explain`] once per cause as well.
    pub(crate) fn add(&mut self, signal: Signal, reason: Reason, count: u64, item: u32) {
        self.rejections.add(signal, reason, count);
        let is_of_item = match signal {
            Signal::Sample | Signal::Histogram | Signal::LogLine => self.counts_items && count > 0,
            Signal::Exemplar | Signal::Metadata => false,
        };
        if is_of_item && self.items.last() != Some(&item) {
            self.items.push(item);
        }
    }

    /// Adds a message for the sender.
    pub(crate) fn explain(&mut self, message: impl FnOnce() -> String) {
        self.rejections.explain(message);
    }
}
