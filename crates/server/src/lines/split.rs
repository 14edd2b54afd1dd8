//! What came over a stream, as whole lines.

/// The longest line.
pub(super) const LINE_BYTES_MAX: usize = 64 << 10;

/// Bytes that are read at once.
const READ_BYTES: usize = 64 << 10;

/// Memory that a connection keeps while it brings nothing.
const IDLE_BYTES: usize = 4 << 10;

/// Bytes that came, until they are whole lines.
#[derive(Debug, Default)]
pub(super) struct Split {
    bytes: Vec<u8>,
    /// Whether a line that is too long is being skipped.
    skips: bool,
    /// How many were.
    too_long: u64,
}

impl Split {
    /// Where the next bytes are to be read into, by appending.
    pub(super) fn room(&mut self) -> bytes::buf::Limit<&mut Vec<u8>> {
        use bytes::BufMut as _;
        // Else it would read what happens to fit.
        self.bytes.reserve(READ_BYTES);
        (&mut self.bytes).limit(READ_BYTES)
    }

    /// The whole lines that have come, and how many too long ones were skipped, once.
    pub(super) fn lines(&mut self) -> (&[u8], u64) {
        if self.skips {
            match memchr::memchr(b'\n', &self.bytes) {
                Some(end) => {
                    self.bytes.drain(..=end);
                    self.skips = false;
                }
                None => self.bytes.clear(),
            }
        }
        let end = memchr::memrchr(b'\n', &self.bytes).map_or(0, |at| at + 1);
        if self.bytes.len() - end > LINE_BYTES_MAX {
            self.bytes.truncate(end);
            self.skips = true;
            self.too_long += 1;
        }
        (&self.bytes[..end], std::mem::take(&mut self.too_long))
    }

    /// The whole lines are done with.
    pub(super) fn taken(&mut self) {
        let end = memchr::memrchr(b'\n', &self.bytes).map_or(0, |at| at + 1);
        self.bytes.drain(..end);
        if self.bytes.len() < IDLE_BYTES {
            self.bytes.shrink_to(IDLE_BYTES);
        }
    }

    /// Whether a line has begun that has not ended.
    pub(super) fn is_cut(&self) -> bool {
        !self.bytes.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use bytes::BufMut as _;

    use super::*;

    fn lines(split: &mut Split, bytes: &[u8]) -> (String, u64) {
        split.room().put_slice(bytes);
        let (lines, too_long) = split.lines();
        let lines = (String::from_utf8_lossy(lines).into_owned(), too_long);
        split.taken();
        lines
    }

    #[test]
    fn lines_are_whole_however_they_come() {
        let mut split = Split::default();
        assert_eq!(lines(&mut split, b"a 1\nb"), ("a 1\n".to_owned(), 0));
        assert!(split.is_cut());
        assert_eq!(lines(&mut split, b" 2"), (String::new(), 0));
        assert_eq!(lines(&mut split, b"\nc 3\n"), ("b 2\nc 3\n".to_owned(), 0));
        assert!(!split.is_cut());
    }

    #[test]
    fn a_line_that_is_too_long_costs_itself() {
        let mut split = Split::default();
        assert_eq!(lines(&mut split, b"a 1\nx"), ("a 1\n".to_owned(), 0));
        assert_eq!(lines(&mut split, &[b'x'; LINE_BYTES_MAX]), (String::new(), 1));
        assert_eq!(lines(&mut split, &[b'x'; LINE_BYTES_MAX]), (String::new(), 0));
        assert!(split.bytes.capacity() <= IDLE_BYTES.max(LINE_BYTES_MAX));
        assert_eq!(lines(&mut split, b"x\nb 2\n"), ("b 2\n".to_owned(), 0));
    }
}
