//! Writing to stdout and stderr.

use std::fmt;
use std::io::{self, Write};

use crate::failure::Failure;

/// Writes a message to stderr. When nobody can read it, there is nobody to tell.
pub(crate) fn say(message: impl fmt::Display) {
    let _ = writeln!(io::stderr().lock(), "{message}");
}

/// Writes data to stdout. A reader that went away (`| head`) ends the output and is no failure.
pub(crate) fn put(data: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(data.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Text from somebody else, without the control characters that a terminal would obey.
pub(crate) fn tame(text: &str) -> String {
    let tamed = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(tamed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_not_commanded_by_data() {
        assert_eq!(tame("a\u{1b}[2Jb\nä\u{9b}"), "a\\u{1b}[2Jb\\nä\\u{9b}");
    }
}
