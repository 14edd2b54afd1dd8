//! The one decompressor: every dialect's body comes through here, capped.
//!
//! A declared length is compared with the caller's limit, and with what the input could possibly hold, before a byte
//! is allocated; formats that declare nothing grow their output step by step up to the limit. So a bomb costs at most
//! `limit` bytes, and a snappy body of six bytes that claims 4 GiB costs nothing. [`inflate_paid`] asks before each
//! step, so that many bombs together cost no more than the caller has for all of them.

use std::io::{BufRead, Read};

use zstd::zstd_safe::{self, DCtx, DParameter, InBuffer, OutBuffer};

/// How a body is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// As it is; header absent or `identity`.
    Identity,
    /// Snappy block format.
    Snappy,
    /// Zstandard frames.
    Zstd,
    /// Gzip members.
    Gzip,
    /// Zlib stream, as HTTP's `deflate`; a raw deflate stream too, because some clients send that.
    Deflate,
}

impl Encoding {
    /// Every encoding.
    pub const ALL: [Encoding; 5] = [Self::Identity, Self::Snappy, Self::Zstd, Self::Gzip, Self::Deflate];

    /// The token in `Content-Encoding`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Snappy => "snappy",
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
        }
    }

    /// The encoding with this token; case does not matter (RFC 9110 8.4.1).
    pub fn from_name(name: &str) -> Option<Self> {
        let name = if name.eq_ignore_ascii_case("x-gzip") { "gzip" } else { name };
        Self::ALL.into_iter().find(|e| e.as_str().eq_ignore_ascii_case(name))
    }
}

/// Why a body was not inflated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InflateError {
    /// Occurs when the inflated body is, or declares to be, over the limit.
    #[error("inflated body is over {limit} bytes")]
    TooBig {
        /// Bytes allowed.
        limit: usize,
    },
    /// Occurs when the bytes are not in the format.
    #[error("corrupt {0} body")]
    Corrupt(&'static str),
}

/// The largest zstd window: 8 MiB, what RFC 9659 lets an HTTP sender use.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// Steps in which output of unknown length grows.
const STEP: usize = 64 << 10;

/// Inflates `input` into `out` (cleared first, its memory kept). On an error the content of `out` has no meaning.
pub fn inflate(
    encoding: Encoding,
    input: &[u8],
    limit: usize,
    out: &mut Vec<u8>,
) -> Result<(), InflateError> {
    inflate_paid(encoding, input, limit, out, |_| Ok(()))
}

/// As [`inflate`], but calls `pay` with a number of bytes before `out` grows by as many. When `pay` refuses, nothing
/// more is inflated.
pub fn inflate_paid<E: From<InflateError>>(
    encoding: Encoding,
    input: &[u8],
    limit: usize,
    out: &mut Vec<u8>,
    pay: impl FnMut(u64) -> Result<(), E>,
) -> Result<(), E> {
    out.clear();
    let mut output = Output { bytes: out, limit, paid: 0, pay };
    match encoding {
        Encoding::Identity => {
            if input.len() > limit {
                return Err(InflateError::TooBig { limit }.into());
            }
            output.room(input.len())?;
            output.bytes.extend_from_slice(input);
            Ok(())
        }
        Encoding::Snappy => inflate_snappy(input, &mut output),
        Encoding::Zstd => inflate_zstd(input, &mut output),
        Encoding::Gzip => {
            let mut decoder = flate2::bufread::MultiGzDecoder::new(input);
            read_capped(&mut decoder, "gzip", &mut output)
        }
        Encoding::Deflate if is_zlib(input) => {
            let mut decoder = flate2::bufread::ZlibDecoder::new(input);
            read_capped(&mut decoder, "deflate", &mut output)?;
            Ok(nothing_left(decoder.into_inner())?)
        }
        Encoding::Deflate => {
            let mut decoder = flate2::bufread::DeflateDecoder::new(input);
            read_capped(&mut decoder, "deflate", &mut output)?;
            Ok(nothing_left(decoder.into_inner())?)
        }
    }
}

/// What is inflated so far, and who pays for more.
struct Output<'a, F> {
    bytes: &'a mut Vec<u8>,
    limit: usize,
    paid: usize,
    pay: F,
}

impl<E: From<InflateError>, F: FnMut(u64) -> Result<(), E>> Output<'_, F> {
    /// Makes room for `more` bytes, once they are paid. The one byte beyond the limit, by which a body of exactly the
    /// limit is told from one that is over it, is free.
    fn room(&mut self, more: usize) -> Result<(), E> {
        let wanted = (self.bytes.len() + more).min(self.limit);
        if wanted > self.paid {
            (self.pay)((wanted - self.paid) as u64)?;
            self.paid = wanted;
        }
        // Exactly: a vector that doubles by itself would take what nobody paid for.
        self.bytes.reserve_exact(more);
        Ok(())
    }

    /// How much to make room for where the format does not say: as much again, up to one byte beyond the limit.
    fn step(&self) -> usize {
        (self.limit.saturating_add(1) - self.bytes.len()).min(STEP.max(self.bytes.len()))
    }

    fn check(&self) -> Result<(), InflateError> {
        if self.bytes.len() > self.limit { Err(InflateError::TooBig { limit: self.limit }) } else { Ok(()) }
    }
}

/// The length that `input` declares to have when inflated, where the format declares one: what a byte permit is
/// taken for before anything is inflated.
pub fn declared_length(encoding: Encoding, input: &[u8]) -> Option<u64> {
    match encoding {
        Encoding::Identity => Some(input.len() as u64),
        Encoding::Snappy => crate::varint::read(input).ok().map(|(length, _)| length),
        Encoding::Zstd => zstd_safe::get_frame_content_size(input).ok().flatten(),
        Encoding::Gzip | Encoding::Deflate => None,
    }
}

fn inflate_snappy<E: From<InflateError>>(
    input: &[u8],
    output: &mut Output<'_, impl FnMut(u64) -> Result<(), E>>,
) -> Result<(), E> {
    const CORRUPT: InflateError = InflateError::Corrupt("snappy");
    let (declared, _) = crate::varint::read(input).map_err(|_| CORRUPT)?;
    if declared > output.limit as u64 {
        return Err(InflateError::TooBig { limit: output.limit }.into());
    }
    // Three bytes copy 64 at most: what declares more than that is lying.
    let declared = declared as usize;
    if declared > input.len().saturating_mul(64) / 3 + 1 {
        return Err(CORRUPT.into());
    }
    output.room(declared)?;
    output.bytes.resize(declared, 0);
    let written = snap::raw::Decoder::new().decompress(input, output.bytes).map_err(|_| CORRUPT)?;
    if written == declared { Ok(()) } else { Err(CORRUPT.into()) }
}

fn inflate_zstd<E: From<InflateError>>(
    input: &[u8],
    output: &mut Output<'_, impl FnMut(u64) -> Result<(), E>>,
) -> Result<(), E> {
    const CORRUPT: InflateError = InflateError::Corrupt("zstd");
    // The first frame may declare its length: refuse at once. What it declares is trusted only up to the limit, and
    // what it then really holds is counted below.
    let declared = zstd_safe::get_frame_content_size(input).map_err(|_| CORRUPT)?;
    if declared.is_some_and(|length| length > output.limit as u64) {
        return Err(InflateError::TooBig { limit: output.limit }.into());
    }
    let mut context = DCtx::try_create().ok_or(CORRUPT)?;
    context.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG_MAX)).map_err(|_| CORRUPT)?;
    let mut source = InBuffer::around(input);
    loop {
        // Memory that the caller kept may be filled beyond this; it is paid for in the next round.
        output.room(output.step())?;
        let start = output.bytes.len();
        let mut target = OutBuffer::around_pos(&mut *output.bytes, start);
        let hint = context.decompress_stream(&mut target, &mut source).map_err(|_| CORRUPT)?;
        let written = target.pos() - start;
        output.check()?;
        let consumed = source.pos == input.len();
        match (hint, consumed) {
            (0, true) => return Ok(()),
            (_, true) if written == 0 => return Err(CORRUPT.into()),
            _ => {}
        }
    }
}

fn is_zlib(input: &[u8]) -> bool {
    match input {
        [a, b, ..] => a & 0x0f == 8 && u16::from_be_bytes([*a, *b]) % 31 == 0,
        _ => false,
    }
}

fn read_capped<E: From<InflateError>>(
    decoder: &mut impl Read,
    format: &'static str,
    output: &mut Output<'_, impl FnMut(u64) -> Result<(), E>>,
) -> Result<(), E> {
    let mut capped = decoder.take((output.limit as u64).saturating_add(1));
    loop {
        let (start, room) = (output.bytes.len(), output.step());
        output.room(room)?;
        output.bytes.resize(start + room, 0);
        let read = capped.read(&mut output.bytes[start..]).map_err(|_| InflateError::Corrupt(format))?;
        output.bytes.truncate(start + read);
        output.check()?;
        if read == 0 {
            return Ok(());
        }
    }
}

fn nothing_left(mut rest: impl BufRead) -> Result<(), InflateError> {
    match rest.fill_buf() {
        Ok([]) => Ok(()),
        _ => Err(InflateError::Corrupt("deflate")),
    }
}

/// What must hold for any bytes, for the fuzz target: the first byte picks the encoding.
///
/// # Panics
/// When more is kept than the limit allows.
pub fn exercise(input: &[u8]) {
    const LIMIT: usize = 1 << 20;
    let Some((choice, packed)) = input.split_first() else { return };
    let encoding = Encoding::ALL[usize::from(*choice) % Encoding::ALL.len()];
    let mut out = Vec::new();
    let result = inflate(encoding, packed, LIMIT, &mut out);
    assert!(out.capacity() <= 2 * LIMIT + STEP, "{encoding:?} keeps {} bytes", out.capacity());
    if result.is_ok() {
        assert!(out.len() <= LIMIT, "{encoding:?} gives {} bytes", out.len());
        if let (Encoding::Snappy, Some(declared)) = (encoding, declared_length(encoding, packed)) {
            assert_eq!(out.len() as u64, declared);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

    use super::*;

    fn deflate<W: Write>(mut encoder: W, bytes: &[u8], finish: fn(W) -> Vec<u8>) -> Vec<u8> {
        encoder.write_all(bytes).unwrap();
        finish(encoder)
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        deflate(GzEncoder::new(Vec::new(), Default::default()), bytes, |e| e.finish().unwrap())
    }

    fn raw_deflate(bytes: &[u8]) -> Vec<u8> {
        deflate(DeflateEncoder::new(Vec::new(), Default::default()), bytes, |e| e.finish().unwrap())
    }

    fn zstd_frame(bytes: &[u8]) -> Vec<u8> {
        zstd::bulk::compress(bytes, 1).unwrap()
    }

    fn pack(encoding: Encoding, bytes: &[u8]) -> Vec<u8> {
        match encoding {
            Encoding::Identity => bytes.to_vec(),
            Encoding::Snappy => snap::raw::Encoder::new().compress_vec(bytes).unwrap(),
            Encoding::Zstd => zstd_frame(bytes),
            Encoding::Gzip => gzip(bytes),
            Encoding::Deflate => {
                deflate(ZlibEncoder::new(Vec::new(), Default::default()), bytes, |e| e.finish().unwrap())
            }
        }
    }

    /// Bytes that compress somewhat.
    fn sample(length: usize) -> Vec<u8> {
        (0..length as u32).map(|i| (i.wrapping_mul(i) >> 5) as u8 & 0x3f).collect()
    }

    fn unpack(encoding: Encoding, input: &[u8], limit: usize) -> Result<Vec<u8>, InflateError> {
        let mut out = Vec::new();
        inflate(encoding, input, limit, &mut out).map(|()| out)
    }

    #[test]
    fn every_encoding_comes_back_and_stops_at_the_limit() {
        for encoding in Encoding::ALL {
            for length in [0, 1, 100, STEP - 1, STEP, STEP + 1, 3 * STEP + 7] {
                let (bytes, what) = (sample(length), format!("{encoding:?} {length}"));
                let packed = pack(encoding, &bytes);
                assert_eq!(unpack(encoding, &packed, length).as_ref(), Ok(&bytes), "{what}");
                if length > 0 {
                    let short = unpack(encoding, &packed, length - 1);
                    assert_eq!(short, Err(InflateError::TooBig { limit: length - 1 }), "{what}");
                }
            }
        }
    }

    #[test]
    fn a_bomb_costs_no_more_than_the_limit() {
        let zeros = vec![0; 32 << 20];
        for encoding in [Encoding::Snappy, Encoding::Zstd, Encoding::Gzip, Encoding::Deflate] {
            let (bomb, limit) = (pack(encoding, &zeros), 1 << 20);
            let mut out = Vec::new();
            assert_eq!(inflate(encoding, &bomb, limit, &mut out), Err(InflateError::TooBig { limit }));
            assert!(out.capacity() <= 2 * limit + STEP, "{encoding:?} took {}", out.capacity());
        }
    }

    #[test]
    fn whatever_is_inflated_was_paid_for_before() {
        const PAID_MAX: u64 = 1 << 20;
        for encoding in Encoding::ALL {
            for length in [0, 1, STEP, 3 * STEP + 7, 1 << 20, (1 << 20) + 1, 8 << 20] {
                let packed = pack(encoding, &vec![0; length]);
                let (mut out, mut paid) = (Vec::new(), 0);
                let result = inflate_paid(encoding, &packed, 64 << 20, &mut out, |more| {
                    if paid + more > PAID_MAX {
                        return Err(InflateError::Corrupt("purse"));
                    }
                    paid += more;
                    Ok(())
                });
                assert!(
                    out.capacity() as u64 <= paid,
                    "{encoding:?} {length}: {paid} for {}",
                    out.capacity()
                );
                assert!(
                    paid >= length as u64 || result == Err(InflateError::Corrupt("purse")),
                    "{encoding:?}"
                );
            }
        }
    }

    #[test]
    fn a_body_of_exactly_the_limit_costs_no_more_than_it() {
        for encoding in Encoding::ALL {
            let (mut out, mut paid) = (Vec::new(), 0);
            let pay = |more| {
                paid += more;
                Ok::<_, InflateError>(())
            };
            inflate_paid(encoding, &pack(encoding, &vec![0; 100_000]), 100_000, &mut out, pay).unwrap();
            assert_eq!(paid, 100_000, "{encoding:?}");
        }
    }

    #[test]
    fn a_declared_length_costs_nothing() {
        // The bug class: six bytes that declare 4 GiB, and a decoder that allocates them.
        let mut out = Vec::new();
        let four_gib = [0xff, 0xff, 0xff, 0xff, 0x0f, 0x00];
        let too_big = Err(InflateError::TooBig { limit: 64 << 20 });
        assert_eq!(inflate(Encoding::Snappy, &four_gib, 64 << 20, &mut out), too_big);
        let sixty_mib = [0x80, 0x80, 0x80, 0x1e, 0x00, 0x61];
        let corrupt = Err(InflateError::Corrupt("snappy"));
        assert_eq!(inflate(Encoding::Snappy, &sixty_mib, 64 << 20, &mut out), corrupt);
        // A zstd frame header with a content size of 2^40 and no block.
        let frame = [0x28, 0xb5, 0x2f, 0xfd, 0xe0, 0, 0, 0, 0, 0, 1, 0, 0];
        assert_eq!(inflate(Encoding::Zstd, &frame, 64 << 20, &mut out), too_big);
        assert_eq!(declared_length(Encoding::Zstd, &frame), Some(1 << 40));
        assert_eq!(declared_length(Encoding::Snappy, &four_gib), Some(u64::from(u32::MAX)));
        assert_eq!(out.capacity(), 0);
    }

    #[test]
    fn members_frames_and_raw_deflate_are_read() {
        let members = [gzip(b"one "), gzip(b"two")].concat();
        assert_eq!(unpack(Encoding::Gzip, &members, 100).unwrap(), b"one two");
        let skippable = [0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3];
        let frames = [&zstd_frame(b"one ")[..], &skippable, &zstd_frame(b"two")].concat();
        assert_eq!(unpack(Encoding::Zstd, &frames, 100).unwrap(), b"one two");
        assert_eq!(unpack(Encoding::Deflate, &raw_deflate(b"raw"), 100).unwrap(), b"raw");
    }

    #[test]
    fn what_is_cut_off_or_goes_on_is_corrupt() {
        let bytes = sample(5000);
        for encoding in [Encoding::Snappy, Encoding::Zstd, Encoding::Gzip, Encoding::Deflate] {
            let packed = pack(encoding, &bytes);
            for cut in [0, 1, packed.len() / 2, packed.len() - 1] {
                let result = unpack(encoding, &packed[..cut], 1 << 20);
                assert!(matches!(result, Err(InflateError::Corrupt(_))), "{encoding:?} {cut}: {result:?}");
            }
            let longer = [&packed[..], b"more"].concat();
            let result = unpack(encoding, &longer, 1 << 20);
            assert!(matches!(result, Err(InflateError::Corrupt(_))), "{encoding:?}: {result:?}");
        }
    }

    #[test]
    fn a_window_over_8_mib_is_refused() {
        let frame = |window_log| {
            let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
            encoder.include_contentsize(false).unwrap();
            encoder.window_log(window_log).unwrap();
            encoder.write_all(&sample(1000)).unwrap();
            encoder.finish().unwrap()
        };
        assert_eq!(unpack(Encoding::Zstd, &frame(23), 1 << 20).unwrap(), sample(1000));
        assert_eq!(unpack(Encoding::Zstd, &frame(24), 1 << 20), Err(InflateError::Corrupt("zstd")));
    }

    #[test]
    fn damage_is_an_error_or_other_bytes_and_never_more_than_the_limit() {
        let mut seed = 1u64;
        for (choice, encoding) in Encoding::ALL.into_iter().enumerate() {
            let packed = [&[choice as u8], pack(encoding, &sample(2000)).as_slice()].concat();
            for _ in 0..2000 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let mut damaged = packed.clone();
                damaged[1 + (seed >> 33) as usize % (packed.len() - 1)] ^= 1 << (seed >> 60 & 7);
                exercise(&damaged);
            }
        }
    }
}
