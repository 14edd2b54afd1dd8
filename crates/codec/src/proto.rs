//! A zero-copy reader of protobuf's wire format.
//!
//! A [`Reader`] walks one message: take a [`Reader::key`], match it against the message's known keys, take the payload.
//! A nested message is a reader over the same bytes with a nearer end, so a fault's offset is always one of the whole
//! body. Unknown fields are skipped; groups, field number 0 and a known field in the wrong wire type are errors,
//! because skipping one of those would drop data in silence. There is no recursion: depth is the caller's code.

use std::ops::Range;

use crate::varint::{self, VarintError};

/// Wire type of varints.
pub const VARINT: u32 = 0;
/// Wire type of eight bytes.
pub const FIXED64: u32 = 1;
/// Wire type of strings, messages and packed lists.
pub const LEN: u32 = 2;
/// Wire type of four bytes.
pub const FIXED32: u32 = 5;

/// The key of field `number` with `wire_type`.
pub const fn key(number: u32, wire_type: u32) -> u32 {
    number << 3 | wire_type
}

/// Occurs when bytes are not a protobuf message of the wanted shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {offset}")]
pub struct WireError {
    /// What is wrong.
    pub what: &'static str,
    /// Offset in the outermost reader's bytes.
    pub offset: usize,
}

/// A place in a message.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    /// All bytes of the outermost message: a varint near a nested message's end is still read as a word.
    bytes: &'a [u8],
    at: usize,
    end: usize,
}

impl<'a> Reader<'a> {
    /// Reads `bytes` as one message.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, end: bytes.len() }
    }

    /// Whether the message ends here.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.at >= self.end
    }

    /// Offset in the outermost reader's bytes.
    #[inline]
    pub fn offset(&self) -> usize {
        self.at
    }

    /// Offset of this message's end in the outermost reader's bytes.
    #[inline]
    pub fn end(&self) -> usize {
        self.end
    }

    /// What is left of this message.
    #[inline]
    pub fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..self.end]
    }

    /// The bytes between two offsets of this message.
    #[inline]
    pub fn between(&self, offsets: Range<usize>) -> &'a [u8] {
        &self.bytes[offsets]
    }

    /// An error at this place.
    #[cold]
    pub fn error(&self, what: &'static str) -> WireError {
        WireError { what, offset: self.at }
    }

    /// Steps over `count` bytes that were read from [`Reader::rest`].
    #[inline]
    pub fn advance(&mut self, count: usize) {
        debug_assert!(count <= self.end - self.at, "only what is there can be stepped over");
        self.at = (self.at + count).min(self.end);
    }

    /// Steps over the length-delimited fields with this one-byte `key` that follow each other from here on. One that
    /// is not well-formed is left for [`Reader::key`] to come upon.
    #[inline]
    pub fn skip_run(&mut self, key: u8) {
        let bytes = &self.bytes[..self.end];
        while let Some([k, length]) = bytes.get(self.at..).and_then(<[u8]>::first_chunk)
            && *k == key
            && *length < 0x80
            && self.at + 2 + usize::from(*length) <= bytes.len()
        {
            self.at += 2 + usize::from(*length);
        }
    }

    /// The next field's key, `None` at the end.
    #[inline]
    pub fn key(&mut self) -> Result<Option<u32>, WireError> {
        let start = *self;
        if self.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        match u32::try_from(key) {
            Ok(key) if key >> 3 != 0 => Ok(Some(key)),
            _ => Err(start.error("invalid field number")),
        }
    }

    /// A varint.
    #[inline(always)]
    pub fn varint(&mut self) -> Result<u64, WireError> {
        match varint::read(&self.bytes[self.at..]) {
            Ok((value, length)) if length <= self.end - self.at => {
                self.at += length;
                Ok(value)
            }
            Ok(_) | Err(VarintError::Truncated) => Err(self.error("truncated varint")),
            Err(VarintError::Overflow) => Err(self.error("varint over 64 bits")),
        }
    }

    /// Eight bytes as a float.
    #[inline]
    pub fn double(&mut self) -> Result<f64, WireError> {
        match self.rest().first_chunk::<8>() {
            Some(bytes) => {
                self.at += 8;
                Ok(f64::from_le_bytes(*bytes))
            }
            None => Err(self.error("truncated 64-bit field")),
        }
    }

    /// A length and that many bytes, as a message of their own.
    #[inline]
    pub fn message(&mut self) -> Result<Reader<'a>, WireError> {
        let length = self.varint()?;
        if length > (self.end - self.at) as u64 {
            return Err(self.error("length beyond the end of the message"));
        }
        let start = self.at;
        self.at += length as usize;
        Ok(Reader { bytes: self.bytes, at: start, end: self.at })
    }

    /// A length and that many bytes.
    #[inline]
    pub fn bytes(&mut self) -> Result<&'a [u8], WireError> {
        self.message().map(|message| message.rest())
    }

    /// Skips the payload of an unknown field. `known` has a bit for each field number (up to 63) that the message
    /// defines: such a field comes here only when its wire type is wrong.
    pub fn skip(&mut self, key: u32, known: u64) -> Result<(), WireError> {
        let (number, wire_type) = (key >> 3, key & 7);
        if number < 64 && known >> number & 1 == 1 {
            return Err(self.error("known field with a wrong wire type"));
        }
        match wire_type {
            VARINT => self.varint().map(drop),
            FIXED64 => self.double().map(drop),
            LEN => self.message().map(drop),
            FIXED32 if self.end - self.at >= 4 => {
                self.at += 4;
                Ok(())
            }
            FIXED32 => Err(self.error("truncated 32-bit field")),
            3 | 4 => Err(self.error("groups are not supported")),
            _ => Err(self.error("invalid wire type")),
        }
    }

    /// The varints of a packed list, each handed to `push`.
    pub fn packed_varints(&mut self, mut push: impl FnMut(u64)) -> Result<(), WireError> {
        let mut list = self.message()?;
        while !list.is_empty() {
            push(list.varint()?);
        }
        Ok(())
    }

    /// The floats of a packed list, each handed to `push`.
    pub fn packed_doubles(&mut self, mut push: impl FnMut(f64)) -> Result<(), WireError> {
        let mut list = self.message()?;
        while !list.is_empty() {
            push(list.double()?);
        }
        Ok(())
    }
}

/// Bits for [`Reader::skip`].
pub const fn known(numbers: &[u32]) -> u64 {
    let (mut bits, mut i) = (0, 0);
    while i < numbers.len() {
        bits |= 1 << numbers[i];
        i += 1;
    }
    bits
}

/// Appends a field's key.
pub fn write_key(number: u32, wire_type: u32, out: &mut Vec<u8>) {
    varint::write(u64::from(key(number, wire_type)), out);
}

/// Appends a varint field.
pub fn write_number(number: u32, value: u64, out: &mut Vec<u8>) {
    write_key(number, VARINT, out);
    varint::write(value, out);
}

/// Appends a field that is a double.
pub fn write_double(number: u32, value: f64, out: &mut Vec<u8>) {
    write_key(number, FIXED64, out);
    out.extend_from_slice(&value.to_le_bytes());
}

/// Appends a length-delimited field.
pub fn write_bytes(number: u32, bytes: &[u8], out: &mut Vec<u8>) {
    write_key(number, LEN, out);
    varint::write(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// Appends a length-delimited field whose content `write` appends.
pub fn write_message(number: u32, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    write(out);
    let mut head = [0; 2 * varint::LENGTH_MAX];
    let tag = varint::put(u64::from(key(number, LEN)), &mut head);
    let length = varint::put((out.len() - start) as u64, &mut head[tag..]);
    // Its length is known only now: the content makes room, which is no more than a copy of it.
    out.splice(start..start, head[..tag + length].iter().copied());
}

/// What must hold for any bytes, for the fuzz target: each field is read or refused within the body, and what looks like
/// a message is read as one, some levels deep.
///
/// # Panics
/// When the reader leaves its bytes or stands still.
pub fn exercise(body: &[u8]) {
    let mut open = vec![(Reader::new(body), 0)];
    while let Some((mut reader, depth)) = open.pop() {
        loop {
            let start = reader.offset();
            match reader.key() {
                Ok(Some(key)) if key & 7 == LEN && depth < 8 => match reader.message() {
                    Ok(message) => open.push((message, depth + 1)),
                    Err(error) => break assert!(error.offset <= body.len()),
                },
                Ok(Some(key)) => match reader.skip(key, 0) {
                    Ok(()) => {}
                    Err(error) => break assert!(error.offset <= body.len()),
                },
                Ok(None) => break,
                Err(error) => break assert!(error.offset <= body.len()),
            }
            assert!(start < reader.offset() && reader.offset() <= body.len(), "stands still at {start}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nested_fault_is_placed_in_the_whole_body() {
        // Field 1, 4 bytes: field 2, varint that does not end inside the message.
        let body = [0x0a, 4, 0x10, 0x80, 0x80, 0x80, 0x01];
        let mut outer = Reader::new(&body);
        assert_eq!(outer.key(), Ok(Some(key(1, LEN))));
        let mut inner = outer.message().unwrap();
        assert_eq!(inner.key(), Ok(Some(key(2, VARINT))));
        assert_eq!(inner.varint(), Err(WireError { what: "truncated varint", offset: 3 }));
        assert_eq!(outer.offset(), 6);
    }

    #[test]
    fn lengths_groups_numbers_and_types_are_checked() {
        let fault = |body: &[u8], known| {
            let mut reader = Reader::new(body);
            let key = match reader.key() {
                Ok(key) => key.unwrap(),
                Err(e) => return e.what,
            };
            reader.skip(key, known).unwrap_err().what
        };
        assert_eq!(fault(&[0x0a, 5, 1], 0), "length beyond the end of the message");
        assert_eq!(
            fault(&[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1], 0),
            "length beyond the end of the message"
        );
        assert_eq!(fault(&[0x0b, 0x0c], 0), "groups are not supported");
        assert_eq!(fault(&[0x0c], 0), "groups are not supported");
        assert_eq!(fault(&[0x02, 0], 0), "invalid field number");
        assert_eq!(fault(&[0x80, 0x80, 0x80, 0x80, 0x10, 0], 0), "invalid field number");
        assert_eq!(fault(&[0x08, 1], known(&[1, 2])), "known field with a wrong wire type");
        assert_eq!(fault(&[0x1d, 1, 2, 3], 0), "truncated 32-bit field");
        assert_eq!(fault(&[0x19, 1, 2, 3], 0), "truncated 64-bit field");
        assert_eq!(fault(&[0x0e], 0), "invalid wire type");
    }

    #[test]
    fn any_bytes_are_read_or_refused() {
        for a in 0..=255 {
            for b in 0..=255 {
                exercise(&[a, b, a ^ b, 1]);
            }
        }
        let mut seed = 1u64;
        for _ in 0..5000 {
            let body: Vec<u8> = (0..40)
                .map(|_| {
                    seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    // Small bytes make keys and lengths that fit.
                    (seed >> 33) as u8 & if seed >> 63 == 1 { 0xff } else { 0x1f }
                })
                .collect();
            exercise(&body);
        }
    }

    #[test]
    fn a_run_is_skipped_as_far_as_it_is_well_formed() {
        let skipped = |body: &[u8]| {
            let mut reader = Reader::new(body);
            reader.skip_run(0x0a);
            reader.offset()
        };
        assert_eq!(skipped(&[0x0a, 1, 7, 0x0a, 0, 0x12, 0]), 5);
        assert_eq!(skipped(&[0x0a, 1, 7, 0x0a, 2, 7]), 3);
        assert_eq!(skipped(&[0x0a, 0x80, 0x01]), 0);
        assert_eq!(skipped(&[0x0a]), 0);
        assert_eq!(skipped(&[]), 0);
    }
}
