//! Varints and a reader that never goes past its end.
//!
//! The numbers are [`crate::varint`]'s. Writing appends to a `Vec`; reading shortens a slice and gives
//! [`Corrupt`] where bytes are missing, so that decoders are chains of `?`.

use super::Corrupt;
pub(super) use crate::varint::length as varint_length;
pub use crate::varint::{unzigzag, zigzag};
use crate::{COUNTER_MAX, varint};

/// Appends an unsigned number in 1 to 10 bytes.
#[inline]
pub fn put_varint(out: &mut Vec<u8>, number: u64) {
    varint::write(number, out);
}

/// Appends a signed number, small ones of either sign in few bytes.
#[inline]
pub fn put_zigzag(out: &mut Vec<u8>, number: i64) {
    put_varint(out, zigzag(number));
}

/// Appends a byte string with its length.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Reads from the front of a slice.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the first byte.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What has not been read.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Whether everything has been read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next byte.
    #[inline]
    pub fn byte(&mut self) -> Result<u8, Corrupt> {
        let (first, rest) = self.rest.split_first().ok_or(Corrupt)?;
        self.rest = rest;
        Ok(*first)
    }

    /// The next `length` bytes.
    #[inline]
    pub fn take(&mut self, length: usize) -> Result<&'a [u8], Corrupt> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Corrupt)?;
        self.rest = rest;
        Ok(taken)
    }

    /// The next `N` bytes as an array.
    #[inline]
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Corrupt> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(Corrupt)?;
        self.rest = rest;
        Ok(*taken)
    }

    /// A byte string with its length before it.
    pub fn bytes(&mut self) -> Result<&'a [u8], Corrupt> {
        let length = self.length()?;
        self.take(length)
    }

    /// A varint.
    #[inline]
    pub fn varint(&mut self) -> Result<u64, Corrupt> {
        let (number, length) = varint::read(self.rest).map_err(|_| Corrupt)?;
        self.rest = &self.rest[length..];
        Ok(number)
    }

    /// A zigzagged varint.
    #[inline]
    pub fn zigzag(&mut self) -> Result<i64, Corrupt> {
        Ok(unzigzag(self.varint()?))
    }

    /// A varint that counts or measures something in memory.
    #[inline]
    pub fn length(&mut self) -> Result<usize, Corrupt> {
        usize::try_from(self.varint()?).map_err(|_| Corrupt)
    }

    /// A varint that numbers something.
    #[inline]
    pub fn number(&mut self) -> Result<u32, Corrupt> {
        u32::try_from(self.varint()?).map_err(|_| Corrupt)
    }

    /// A varint that goes up for as long as a data directory lives.
    pub fn counter(&mut self) -> Result<u64, Corrupt> {
        let number = self.varint()?;
        if number < COUNTER_MAX { Ok(number) } else { Err(Corrupt) }
    }

    /// A count of things that take at least `size` bytes each of what is left: safe to allocate for.
    pub fn count_of(&mut self, size: usize) -> Result<usize, Corrupt> {
        let count = self.length()?;
        if count > self.rest.len() / size.max(1) { Err(Corrupt) } else { Ok(count) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_and_take_the_bytes_they_should() {
        for number in [0, 1, 127, 128, 16383, 16384, u64::from(u32::MAX), 1 << 63, u64::MAX] {
            let mut out = Vec::new();
            put_varint(&mut out, number);
            assert_eq!(out.len(), varint_length(number));
            assert_eq!(Reader::new(&out).varint(), Ok(number));
            let signed = number as i64;
            assert_eq!(unzigzag(zigzag(signed)), signed);
        }
    }

    #[test]
    fn an_unfinished_or_too_large_number_is_corrupt() {
        for bytes in [&[][..], &[0x80], &[0xff; 10], &[0x80; 11]] {
            assert_eq!(Reader::new(bytes).varint(), Err(Corrupt));
        }
        assert_eq!(Reader::new(&[5, 0, 0]).count_of(1), Err(Corrupt));
    }
}
