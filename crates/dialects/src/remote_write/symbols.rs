//! The table of texts that a request of remote write 2.0 carries once.
//!
//! Series of a parcel resemble the one before them: most names and many values stand at the same place there, and a
//! comparison finds that sooner than a hash.

use codec::proto::write_bytes;
use codec::varint;
use hashbrown::HashMap;

/// Texts with their numbers; the first is empty, as the specification wants it.
#[derive(Default)]
pub(super) struct Symbols<'p> {
    /// Without the empty one.
    texts: Vec<&'p str>,
    numbers: HashMap<&'p str, u32, foldhash::fast::FixedState>,
    bytes: usize,
    /// The labels referred to last, and their numbers.
    last: &'p [(&'p str, &'p str)],
    last_numbers: Vec<(u32, u32)>,
}

impl<'p> Symbols<'p> {
    /// The number of `text`.
    pub(super) fn refer(&mut self, text: &'p str) -> u32 {
        if text.is_empty() {
            return 0;
        }
        let next = self.texts.len() as u32 + 1;
        let number = *self.numbers.entry(text).or_insert(next);
        if number == next {
            self.texts.push(text);
            self.bytes += text.len() + 8;
        }
        number
    }

    /// Appends the numbers of all names and values, as varints.
    pub(super) fn refer_all(&mut self, labels: &'p [(&'p str, &'p str)], out: &mut Vec<u8>) {
        let mut numbers = std::mem::take(&mut self.last_numbers);
        for (at, (name, value)) in labels.iter().enumerate() {
            let (last, known) = (self.last.get(at), numbers.get(at).copied().unwrap_or_default());
            let name_number = match last {
                Some((last, _)) if last == name => known.0,
                _ => self.refer(name),
            };
            let value_number = match last {
                Some((_, last)) if last == value => known.1,
                _ => self.refer(value),
            };
            match numbers.get_mut(at) {
                Some(numbers) => *numbers = (name_number, value_number),
                None => numbers.push((name_number, value_number)),
            }
            varint::write(u64::from(name_number), out);
            varint::write(u64::from(value_number), out);
        }
        (self.last, self.last_numbers) = (labels, numbers);
    }

    /// Bytes of the table at most.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Appends the table, each text as a field.
    pub(super) fn write(&self, field: u32, out: &mut Vec<u8>) {
        write_bytes(field, b"", out);
        self.texts.iter().for_each(|text| write_bytes(field, text.as_bytes(), out));
    }
}
