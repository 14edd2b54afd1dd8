//! What a stream socket carries: datagrams, each behind its length in four bytes, the lowest first.

/// The longest datagram that a stream may carry; clients pack to 8 KiB.
pub const FRAME_BYTES_MAX: usize = 1 << 20;

/// Occurs when a length is over [`FRAME_BYTES_MAX`]: the stream is none of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a frame of {0} bytes")]
pub struct TooLong(pub usize);

/// A datagram, and what follows it.
pub type Frame<'a> = (&'a [u8], &'a [u8]);

/// The first datagram of `bytes`, once it has come as a whole.
pub fn first_frame(bytes: &[u8]) -> Result<Option<Frame<'_>>, TooLong> {
    let Some((length, rest)) = bytes.split_first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_le_bytes(*length) as usize;
    if length > FRAME_BYTES_MAX { Err(TooLong(length)) } else { Ok(rest.split_at_checked(length)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_whole_or_not_yet() {
        let bytes = b"\x05\0\0\0a:1|c\0\0\0\0\x01\0\0\0\n";
        for end in 0..9 {
            assert_eq!(first_frame(&bytes[..end]), Ok(None), "{end} bytes");
        }
        let (first, rest) = first_frame(bytes).unwrap().unwrap();
        assert_eq!(first, b"a:1|c");
        let (second, rest) = first_frame(rest).unwrap().unwrap();
        assert_eq!(second, b"");
        assert_eq!(first_frame(rest), Ok(Some((&b"\n"[..], &b""[..]))));
        assert_eq!(first_frame(b"\x01\0\x10\0"), Err(TooLong((1 << 20) + 1)));
        assert_eq!(first_frame(b"a:1|c\n"), Err(TooLong(0x7c31_3a61)));
    }
}
