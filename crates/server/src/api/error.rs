//! Errors of the query API: Prometheus' `errorType`s and the statuses that belong to them.

use http::StatusCode;
use model::select::Stop;
use promql::{EvalError, ParseError};
use tsdb::SelectError;

use super::params::InvalidParam;
use crate::queries::QueryError;
use crate::respond::{self, Answer};

/// `errorType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The request makes no sense.
    BadData,
    /// The data does not fit the query, or it needs too much.
    Execution,
    /// The client left.
    Canceled,
    /// Time ran out.
    Timeout,
    /// Weir is at fault.
    Internal,
    /// Weir cannot answer now.
    Unavailable,
}

impl Kind {
    /// As in the answer.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadData => "bad_data",
            Self::Execution => "execution",
            Self::Canceled => "canceled",
            Self::Timeout => "timeout",
            Self::Internal => "internal",
            Self::Unavailable => "unavailable",
        }
    }

    /// The HTTP status. Prometheus answers `unavailable` with 500; nobody retries that, so here it is 503.
    pub fn status(self) -> StatusCode {
        match self {
            Self::BadData => StatusCode::BAD_REQUEST,
            Self::Execution => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Canceled => StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
            Self::Timeout | Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// Its type.
    pub kind: Kind,
    /// In words.
    pub message: String,
}

impl ApiError {
    /// With this message.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// The answer.
    pub fn answer(&self) -> Answer {
        self.retried(respond::error(self.kind.status(), self.kind.as_str(), &self.message))
    }

    /// The answer where errors are text.
    pub fn text(&self) -> Answer {
        self.retried(respond::text(self.kind.status(), format!("{}\n", self.message)))
    }

    fn retried(&self, answer: Answer) -> Answer {
        if self.kind == Kind::Unavailable { respond::retry_after(answer, 1) } else { answer }
    }
}

impl From<InvalidParam> for ApiError {
    fn from(error: InvalidParam) -> Self {
        Self::new(Kind::BadData, error.to_string())
    }
}

impl From<ParseError> for ApiError {
    fn from(error: ParseError) -> Self {
        InvalidParam::new("query", error.to_string()).into()
    }
}

impl From<Stop> for ApiError {
    fn from(stop: Stop) -> Self {
        let kind = if stop == Stop::Cancelled { Kind::Canceled } else { Kind::Execution };
        Self::new(kind, stop.to_string())
    }
}

impl From<EvalError> for ApiError {
    fn from(error: EvalError) -> Self {
        match error {
            EvalError::Invalid(message) => InvalidParam::new("query", message).into(),
            EvalError::Execution(message) => Self::new(Kind::Execution, message),
            EvalError::Stop(stop) => stop.into(),
            EvalError::Storage(message) => Self::new(Kind::Internal, message),
        }
    }
}

impl From<SelectError> for ApiError {
    fn from(error: SelectError) -> Self {
        match error {
            SelectError::Stop(stop) => stop.into(),
            SelectError::Io(message) => Self::new(Kind::Internal, message),
        }
    }
}

impl From<QueryError> for ApiError {
    fn from(error: QueryError) -> Self {
        let kind = match error {
            QueryError::Overloaded => Kind::Unavailable,
            QueryError::Timeout => Kind::Timeout,
            QueryError::Panicked => Kind::Internal,
        };
        Self::new(kind, error.to_string())
    }
}
