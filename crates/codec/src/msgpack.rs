//! A zero-copy reader of MessagePack.
//!
//! Ask for the next [`Token`]: a scalar is all of it, texts and bytes are borrowed; of a list or a map only its length was
//! read, and [`Reader::each`] or [`Reader::rest_of`] must follow. A length is compared with the bytes that
//! are there before anybody sees it: an element takes a byte at least, so whoever reserves what a token says reserves no
//! more than a small multiple of the body. Lists and maps that somebody goes through are counted in depth; what is skipped
//! is skipped without recursion.
//!
//! The format is that of <https://github.com/msgpack/msgpack/blob/master/spec.md>, with the texts of its older generation,
//! which has no bytes of its own.

/// How deep lists and maps may lie in one another.
pub const DEPTH_MAX: u32 = 128;

/// The type of extensions that are times.
pub const TIMESTAMP: i8 = -1;

/// Occurs when bytes are not MessagePack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {offset}")]
pub struct MsgpackError {
    /// What is wrong.
    pub what: &'static str,
    /// Offset in the reader's bytes.
    pub offset: usize,
}

/// The next value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Token<'a> {
    /// Nothing.
    Nil,
    /// True or false.
    Bool(bool),
    /// A whole number from zero up.
    Unsigned(u64),
    /// A whole number below zero.
    Negative(i64),
    /// A floating-point number; one of 32 bits is exact in 64.
    Float(f64),
    /// A text; whether it is UTF-8 was not looked at.
    Text(&'a [u8]),
    /// Bytes.
    Bytes(&'a [u8]),
    /// An extension of a type.
    Extension(i8, &'a [u8]),
    /// So many values follow.
    List(u32),
    /// So many pairs of values follow.
    Map(u32),
}

/// A place in a body.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    depth: u32,
}

impl<'a> Reader<'a> {
    /// Reads `bytes`: values that lie behind one another.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, depth: 0 }
    }

    /// Whether nothing is left.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.at >= self.bytes.len()
    }

    /// How far it has read.
    #[inline]
    pub fn offset(&self) -> usize {
        self.at
    }

    /// What was read since [`Reader::offset`] was `start`.
    #[inline]
    pub fn since(&self, start: usize) -> &'a [u8] {
        &self.bytes[start..self.at]
    }

    /// The same bytes, to be read once more from where [`Reader::offset`] was `start`.
    pub fn again(&self, start: usize) -> Self {
        Self { at: start, ..*self }
    }

    /// An error at this place.
    #[cold]
    pub fn error(&self, what: &'static str) -> MsgpackError {
        MsgpackError { what, offset: self.at }
    }

    /// The next value. Where there is none the reader stays where it is.
    #[inline]
    pub fn token(&mut self) -> Result<Token<'a>, MsgpackError> {
        let start = self.at;
        let token = self.read();
        if token.is_err() {
            self.at = start;
        }
        token
    }

    #[inline]
    fn read(&mut self) -> Result<Token<'a>, MsgpackError> {
        let first = self.number::<1>()?[0];
        Ok(match first {
            0x00..=0x7f => Token::Unsigned(u64::from(first)),
            0x80..=0x8f => Token::Map(self.fits(u32::from(first & 0xf), 2)?),
            0x90..=0x9f => Token::List(self.fits(u32::from(first & 0xf), 1)?),
            0xa0..=0xbf => Token::Text(self.take(u32::from(first & 0x1f))?),
            0xc0 => Token::Nil,
            0xc1 => return Err(self.error("a byte that begins no MessagePack value")),
            0xc2 => Token::Bool(false),
            0xc3 => Token::Bool(true),
            0xc4 => Token::Bytes(self.sized::<1>()?),
            0xc5 => Token::Bytes(self.sized::<2>()?),
            0xc6 => Token::Bytes(self.sized::<4>()?),
            0xc7 => self.extension(1)?,
            0xc8 => self.extension(2)?,
            0xc9 => self.extension(4)?,
            0xca => Token::Float(f64::from(f32::from_be_bytes(self.number()?))),
            0xcb => Token::Float(f64::from_be_bytes(self.number()?)),
            0xcc => Token::Unsigned(u64::from(u8::from_be_bytes(self.number()?))),
            0xcd => Token::Unsigned(u64::from(u16::from_be_bytes(self.number()?))),
            0xce => Token::Unsigned(u64::from(u32::from_be_bytes(self.number()?))),
            0xcf => Token::Unsigned(u64::from_be_bytes(self.number()?)),
            0xd0 => signed(i64::from(i8::from_be_bytes(self.number()?))),
            0xd1 => signed(i64::from(i16::from_be_bytes(self.number()?))),
            0xd2 => signed(i64::from(i32::from_be_bytes(self.number()?))),
            0xd3 => signed(i64::from_be_bytes(self.number()?)),
            0xd4..=0xd8 => {
                let kind = i8::from_be_bytes(self.number()?);
                Token::Extension(kind, self.take(1 << (first - 0xd4))?)
            }
            0xd9 => Token::Text(self.sized::<1>()?),
            0xda => Token::Text(self.sized::<2>()?),
            0xdb => Token::Text(self.sized::<4>()?),
            0xdc => {
                let length = self.length::<2>()?;
                Token::List(self.fits(length, 1)?)
            }
            0xdd => {
                let length = self.length::<4>()?;
                Token::List(self.fits(length, 1)?)
            }
            0xde => {
                let length = self.length::<2>()?;
                Token::Map(self.fits(length, 2)?)
            }
            0xdf => {
                let length = self.length::<4>()?;
                Token::Map(self.fits(length, 2)?)
            }
            0xe0..=0xff => Token::Negative(i64::from(first as i8)),
        })
    }

    /// Skips what is in a list or a map whose length was read.
    pub fn rest_of(&mut self, token: &Token<'_>) -> Result<(), MsgpackError> {
        let mut left = inside(token);
        while left > 0 {
            let token = self.token()?;
            left = left - 1 + inside(&token);
        }
        Ok(())
    }

    /// Goes through a list of `length` values, each of which `each` must read, or through a map of as many pairs.
    pub fn each<E: From<MsgpackError>>(
        &mut self,
        length: u32,
        mut each: impl FnMut(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.depth == DEPTH_MAX {
            return Err(self.error("nested over 128 deep").into());
        }
        self.depth += 1;
        for _ in 0..length {
            each(self)?;
        }
        self.depth -= 1;
        Ok(())
    }

    /// A length whose elements take `least` bytes each at least, if that many are there.
    #[inline]
    fn fits(&self, length: u32, least: u64) -> Result<u32, MsgpackError> {
        let left = (self.bytes.len() - self.at) as u64;
        if u64::from(length) * least > left {
            return Err(self.error("a list or map beyond the end"));
        }
        Ok(length)
    }

    #[inline]
    fn number<const N: usize>(&mut self) -> Result<[u8; N], MsgpackError> {
        match self.bytes.get(self.at..).and_then(<[u8]>::first_chunk) {
            Some(bytes) => {
                self.at += N;
                Ok(*bytes)
            }
            None => Err(self.error("it ends early")),
        }
    }

    #[inline]
    fn length<const N: usize>(&mut self) -> Result<u32, MsgpackError> {
        let bytes = self.number::<N>()?;
        Ok(bytes.iter().fold(0, |length, byte| length << 8 | u32::from(*byte)))
    }

    #[inline]
    fn take(&mut self, length: u32) -> Result<&'a [u8], MsgpackError> {
        match self.bytes[self.at..].split_at_checked(length as usize) {
            Some((taken, _)) => {
                self.at += taken.len();
                Ok(taken)
            }
            None => Err(self.error("a length beyond the end")),
        }
    }

    #[inline]
    fn sized<const N: usize>(&mut self) -> Result<&'a [u8], MsgpackError> {
        let length = self.length::<N>()?;
        self.take(length)
    }

    fn extension(&mut self, length_bytes: u32) -> Result<Token<'a>, MsgpackError> {
        let length = match length_bytes {
            1 => self.length::<1>()?,
            2 => self.length::<2>()?,
            _ => self.length::<4>()?,
        };
        let kind = i8::from_be_bytes(self.number()?);
        Ok(Token::Extension(kind, self.take(length)?))
    }
}

#[inline]
fn signed(number: i64) -> Token<'static> {
    u64::try_from(number).map_or(Token::Negative(number), Token::Unsigned)
}

/// How many values lie in a token.
fn inside(token: &Token<'_>) -> u64 {
    match token {
        Token::List(length) => u64::from(*length),
        Token::Map(length) => 2 * u64::from(*length),
        _ => 0,
    }
}

/// The seconds since the Unix epoch, and nanoseconds after them, of an extension's content; `None` when it is no time.
pub fn timestamp(kind: i8, content: &[u8]) -> Option<(i64, u32)> {
    if kind != TIMESTAMP {
        return None;
    }
    let (seconds, nanos) = if let Ok(seconds) = content.try_into().map(u32::from_be_bytes) {
        (i64::from(seconds), 0)
    } else if let Ok(both) = content.try_into().map(u64::from_be_bytes) {
        ((both & ((1 << 34) - 1)) as i64, (both >> 34) as u32)
    } else {
        let (nanos, seconds) = content.split_first_chunk()?;
        (i64::from_be_bytes(seconds.try_into().ok()?), u32::from_be_bytes(*nanos))
    };
    (nanos < 1_000_000_000).then_some((seconds, nanos))
}

/// What must hold for any bytes, for the fuzz target: each value is read or refused within the body, what can be gone
/// through can be skipped, and no reader stands still.
///
/// # Panics
/// When the reader breaks one of these.
pub fn exercise(body: &[u8]) {
    fn walk(reader: &mut Reader<'_>) -> Result<(), MsgpackError> {
        match reader.token()? {
            Token::List(length) => reader.each(length, walk),
            Token::Map(length) => reader.each(length, |reader| {
                walk(reader)?;
                walk(reader)
            }),
            Token::Extension(kind, content) => {
                timestamp(kind, content);
                Ok(())
            }
            _ => Ok(()),
        }
    }
    let mut reader = Reader::new(body);
    while !reader.is_empty() {
        let start = reader.offset();
        let mut skipped = reader;
        let skips = skipped.token().and_then(|token| skipped.rest_of(&token));
        match walk(&mut reader) {
            Ok(()) => assert_eq!((skips, skipped.offset()), (Ok(()), reader.offset())),
            Err(error) => {
                assert!(error.offset <= body.len());
                assert!(skips.is_err() || error.what == "nested over 128 deep", "{error}");
                return;
            }
        }
        assert!(start < reader.offset() && reader.offset() <= body.len(), "stands still at {start}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(bytes: &[u8]) -> Result<Token<'_>, &'static str> {
        let mut reader = Reader::new(bytes);
        let token = reader.token().map_err(|error| error.what)?;
        Ok(token)
    }

    /// The examples of the specification's format tables, each at its bounds.
    #[test]
    fn every_format_is_read() {
        let long = |head: &[u8], length: usize| [head, &vec![b'x'; length]].concat();
        for (bytes, wanted) in [
            (&[0x00][..], Token::Unsigned(0)),
            (&[0x7f], Token::Unsigned(127)),
            (&[0xe0], Token::Negative(-32)),
            (&[0xff], Token::Negative(-1)),
            (&[0xc0], Token::Nil),
            (&[0xc2], Token::Bool(false)),
            (&[0xc3], Token::Bool(true)),
            (&[0xcc, 0xff], Token::Unsigned(255)),
            (&[0xcd, 0xff, 0xfe], Token::Unsigned(0xfffe)),
            (&[0xce, 0xff, 0xff, 0xff, 0xfe], Token::Unsigned(0xffff_fffe)),
            (&[0xcf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], Token::Unsigned(u64::MAX)),
            (&[0xd0, 0x80], Token::Negative(-128)),
            (&[0xd0, 0x7f], Token::Unsigned(127)),
            (&[0xd1, 0x80, 0x00], Token::Negative(-32_768)),
            (&[0xd2, 0x80, 0, 0, 0], Token::Negative(-2_147_483_648)),
            (&[0xd3, 0x80, 0, 0, 0, 0, 0, 0, 0], Token::Negative(i64::MIN)),
            (&[0xca, 0x3f, 0xc0, 0, 0], Token::Float(1.5)),
            (&[0xcb, 0x40, 0x4f, 0xc0, 0, 0, 0, 0, 0], Token::Float(63.5)),
            (&[0xa0], Token::Text(b"")),
            (b"\xa3abc", Token::Text(b"abc")),
            (b"\xd9\x02ab", Token::Text(b"ab")),
            (b"\xda\x00\x01a", Token::Text(b"a")),
            (b"\xdb\x00\x00\x00\x01a", Token::Text(b"a")),
            (b"\xc4\x01\xff", Token::Bytes(&[0xff])),
            (b"\xc5\x00\x01\xff", Token::Bytes(&[0xff])),
            (b"\xc6\x00\x00\x00\x01\xff", Token::Bytes(&[0xff])),
            (b"\xd4\x05a", Token::Extension(5, b"a")),
            (b"\xd5\x05ab", Token::Extension(5, b"ab")),
            (b"\xd6\xffabcd", Token::Extension(-1, b"abcd")),
            (b"\xd7\x7fabcdefgh", Token::Extension(127, b"abcdefgh")),
            (b"\xd8\x80abcdefghabcdefgh", Token::Extension(-128, b"abcdefghabcdefgh")),
            (b"\xc7\x00\x01", Token::Extension(1, b"")),
            (b"\xc8\x00\x01\x01a", Token::Extension(1, b"a")),
            (b"\xc9\x00\x00\x00\x01\x01a", Token::Extension(1, b"a")),
            (&[0x90], Token::List(0)),
            (&[0x80], Token::Map(0)),
            (&[0x92, 1, 2], Token::List(2)),
            (&[0x81, 1, 2], Token::Map(1)),
            (&[0xdc, 0, 1, 1], Token::List(1)),
            (&[0xdd, 0, 0, 0, 1, 1], Token::List(1)),
            (&[0xde, 0, 1, 1, 2], Token::Map(1)),
            (&[0xdf, 0, 0, 0, 1, 1, 2], Token::Map(1)),
        ] {
            assert_eq!(token(bytes), Ok(wanted), "{bytes:02x?}");
            for end in 0..bytes.len() {
                assert!(token(&bytes[..end]).is_err(), "{bytes:02x?} cut to {end}");
            }
        }
        assert_eq!(token(&long(&[0xbf], 31)), Ok(Token::Text(&[b'x'; 31])));
        assert_eq!(token(&long(&[0xd9, 0xff], 255)), Ok(Token::Text(&[b'x'; 255])));
        assert_eq!(token(&long(&[0xda, 0xff, 0xff], 65_535)), Ok(Token::Text(&[b'x'; 65_535])));
        assert_eq!(token(&long(&[0xdb, 0, 1, 0, 0], 65_536)), Ok(Token::Text(&[b'x'; 65_536])));
        assert_eq!(token(&[0xc1]), Err("a byte that begins no MessagePack value"));
    }

    #[test]
    fn what_is_declared_must_be_there() {
        for bytes in [
            &[0x91][..],
            &[0x81, 1],
            &[0xdd, 0xff, 0xff, 0xff, 0xff, 1],
            &[0xdf, 0xff, 0xff, 0xff, 0xff, 1],
            &[0xdf, 0, 0, 0, 2, 1, 2, 3],
        ] {
            assert_eq!(token(bytes), Err("a list or map beyond the end"), "{bytes:02x?}");
        }
        for bytes in [&[0xa1][..], &[0xdb, 0xff, 0xff, 0xff, 0xff, 1], &[0xc9, 0, 0, 0, 2, 1, 1]] {
            assert_eq!(token(bytes), Err("a length beyond the end"), "{bytes:02x?}");
        }
        // A reader that was refused stands where it stood.
        let mut reader = Reader::new(&[1, 0xd9]);
        reader.token().unwrap();
        assert_eq!(reader.token(), Err(MsgpackError { what: "it ends early", offset: 2 }));
        assert_eq!(reader.offset(), 1);
    }

    /// The three sizes of the specification's timestamp type.
    #[test]
    fn times_come_in_three_sizes() {
        assert_eq!(timestamp(-1, &[0x6b, 0x00, 0x15, 0x69]), Some((1_795_167_593, 0)));
        assert_eq!(timestamp(-1, &[0xff; 4]), Some((u32::MAX.into(), 0)));
        let both = (500_000_000u64 << 34 | 1_795_167_593).to_be_bytes();
        assert_eq!(timestamp(-1, &both), Some((1_795_167_593, 500_000_000)));
        assert_eq!(timestamp(-1, &((1u64 << 34) - 1).to_be_bytes()), Some(((1 << 34) - 1, 0)));
        let wide = |nanos: u32, seconds: i64| [&nanos.to_be_bytes()[..], &seconds.to_be_bytes()].concat();
        assert_eq!(timestamp(-1, &wide(5, -1)), Some((-1, 5)));
        assert_eq!(timestamp(-1, &wide(999_999_999, i64::MAX)), Some((i64::MAX, 999_999_999)));
        assert_eq!(timestamp(-1, &wide(1_000_000_000, 0)), None);
        assert_eq!(timestamp(-1, &(1_000_000_000u64 << 34).to_be_bytes()), None);
        assert_eq!(timestamp(0, &[0; 4]), None);
        for length in [0, 1, 3, 5, 11, 13] {
            assert_eq!(timestamp(-1, &vec![0; length]), None, "{length}");
        }
    }

    #[test]
    fn what_is_gone_through_has_a_depth_and_what_is_skipped_has_none() {
        fn walk(reader: &mut Reader<'_>) -> Result<(), MsgpackError> {
            match reader.token()? {
                Token::List(length) => reader.each(length, walk),
                _ => Ok(()),
            }
        }
        let nested = |depth: usize| [vec![0x91; depth], vec![1]].concat();
        assert_eq!(walk(&mut Reader::new(&nested(128))), Ok(()));
        let body = nested(129);
        assert_eq!(
            walk(&mut Reader::new(&body)),
            Err(MsgpackError { what: "nested over 128 deep", offset: 129 })
        );
        let body = nested(1_000_000);
        let mut reader = Reader::new(&body);
        let first = reader.token().unwrap();
        reader.rest_of(&first).unwrap();
        assert!(reader.is_empty());
    }

    #[test]
    fn any_bytes_are_read_or_refused() {
        for a in 0..=255 {
            for b in 0..=255 {
                exercise(&[a, b, a ^ b, 1]);
            }
        }
        let mut seed = 1u64;
        for _ in 0..20_000 {
            let body: Vec<u8> = (0..40)
                .map(|_| {
                    seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    // Short lists, maps and texts nest and fit.
                    let byte = (seed >> 33) as u8;
                    if seed >> 63 == 1 { byte } else { byte & 0x33 | 0x80 }
                })
                .collect();
            exercise(&body);
        }
    }
}
