//! The one decompressor: every dialect's body comes through here, capped.
//!
//! A declared length is compared with the caller's limit, and with what the input could possibly hold, before a byte
//! is allocated; formats that declare nothing grow their output step by step up to the limit. So a bomb costs at most
//! `limit` bytes, and a snappy body of six bytes that claims 4 GiB costs nothing.

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
    out.clear();
    match encoding {
        Encoding::Identity if input.len() > limit => Err(InflateError::TooBig { limit }),
        Encoding::Identity => {
            out.extend_from_slice(input);
            Ok(())
        }
        Encoding::Snappy => inflate_snappy(input, limit, out),
        Encoding::Zstd => inflate_zstd(input, limit, out),
        Encoding::Gzip => {
            let mut decoder = flate2::bufread::MultiGzDecoder::new(input);
            read_capped(&mut decoder, "gzip", limit, out)
        }
        Encoding::Deflate if is_zlib(input) => {
            let mut decoder = flate2::bufread::ZlibDecoder::new(input);
            read_capped(&mut decoder, "deflate", limit, out)?;
            nothing_left(decoder.into_inner())
        }
        Encoding::Deflate => {
            let mut decoder = flate2::bufread::DeflateDecoder::new(input);
            read_capped(&mut decoder, "deflate", limit, out)?;
            nothing_left(decoder.into_inner())
        }
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

fn inflate_snappy(input: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), InflateError> {
    const CORRUPT: InflateError = InflateError::Corrupt("snappy");
    let (declared, _) = crate::varint::read(input).map_err(|_| CORRUPT)?;
    if declared > limit as u64 {
        return Err(InflateError::TooBig { limit });
    }
    // Three bytes copy 64 at most: what declares more than that is lying.
    let declared = declared as usize;
    if declared > input.len().saturating_mul(64) / 3 + 1 {
        return Err(CORRUPT);
    }
    out.resize(declared, 0);
    let written = snap::raw::Decoder::new().decompress(input, out).map_err(|_| CORRUPT)?;
    if written == declared { Ok(()) } else { Err(CORRUPT) }
}

fn inflate_zstd(input: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), InflateError> {
    const CORRUPT: InflateError = InflateError::Corrupt("zstd");
    // The first frame may declare its length: refuse or reserve at once. What it declares is trusted only up to the
    // limit, and what it then really holds is counted below.
    let declared = zstd_safe::get_frame_content_size(input).map_err(|_| CORRUPT)?;
    if declared.is_some_and(|length| length > limit as u64) {
        return Err(InflateError::TooBig { limit });
    }
    let mut context = DCtx::try_create().ok_or(CORRUPT)?;
    context.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG_MAX)).map_err(|_| CORRUPT)?;
    let mut source = InBuffer::around(input);
    loop {
        // One byte beyond the limit, so that a body of exactly the limit is told from one that is over it.
        let room = (limit.saturating_add(1) - out.len()).min(STEP.max(out.len()));
        out.reserve(room);
        let start = out.len();
        let mut target = OutBuffer::around_pos(out, start);
        let hint = context.decompress_stream(&mut target, &mut source).map_err(|_| CORRUPT)?;
        let written = target.pos() - start;
        if out.len() > limit {
            return Err(InflateError::TooBig { limit });
        }
        let consumed = source.pos == input.len();
        match (hint, consumed) {
            (0, true) => return Ok(()),
            (_, true) if written == 0 => return Err(CORRUPT),
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

fn read_capped(
    decoder: &mut impl Read,
    format: &'static str,
    limit: usize,
    out: &mut Vec<u8>,
) -> Result<(), InflateError> {
    let mut capped = decoder.take((limit as u64).saturating_add(1));
    loop {
        let start = out.len();
        let room = (limit.saturating_add(1) - start).min(STEP.max(start));
        if room == 0 {
            return Err(InflateError::TooBig { limit });
        }
        out.resize(start + room, 0);
        let read = match capped.read(&mut out[start..]) {
            Ok(read) => read,
            Err(_) => return Err(InflateError::Corrupt(format)),
        };
        out.truncate(start + read);
        if out.len() > limit {
            return Err(InflateError::TooBig { limit });
        }
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
