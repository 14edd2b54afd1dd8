//! Exit codes, and the words that come with them.

use std::fmt;
use std::io;
use std::process::ExitCode;

use crate::terminal::say;

/// Which kind of failure it was. The numbers are part of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    /// Anything else.
    Failed = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// What was checked is not in order.
    Findings = 3,
    /// Some samples were refused, the others are stored.
    Partial = 4,
    /// The server cannot be reached.
    Unreachable = 5,
    /// No token, an unknown one, or one that may not do this.
    Unauthorised = 6,
    /// The configuration is wrong (`EX_CONFIG`).
    Configuration = 78,
}

/// Why a command ends without success.
#[derive(Debug)]
pub(crate) struct Failure {
    code: Code,
    lines: Vec<String>,
}

impl Failure {
    /// A failure with its message.
    pub(crate) fn new(code: Code, message: impl fmt::Display) -> Self {
        Self { code, lines: vec![message.to_string()] }
    }

    /// A failure with several messages.
    pub(crate) fn several(code: Code, messages: impl IntoIterator<Item = String>) -> Self {
        Self { code, lines: messages.into_iter().collect() }
    }

    /// Says what failed and gives the exit code. Whoever closed stdout has seen enough: that is no failure.
    pub(crate) fn report(self) -> ExitCode {
        for line in &self.lines {
            say(format_args!("weir: {line}"));
        }
        ExitCode::from(self.code as u8)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::new(Code::Failed, error)
    }
}
