//! The collector's answers: status, number and text of each, as Splunk documents them.

/// One answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Code {
    pub(super) status: u16,
    pub(super) number: u8,
    pub(super) text: &'static str,
}

const fn code(status: u16, number: u8, text: &'static str) -> Code {
    Code { status, number, text }
}

pub(super) const SUCCESS: Code = code(200, 0, "Success");
pub(super) const TOKEN_DISABLED: Code = code(403, 1, "Token disabled");
pub(super) const TOKEN_REQUIRED: Code = code(401, 2, "Token is required");
pub(super) const INVALID_AUTHORIZATION: Code = code(401, 3, "Invalid authorization");
pub(super) const INVALID_TOKEN: Code = code(403, 4, "Invalid token");
pub(super) const NO_DATA: Code = code(400, 5, "No data");
pub(super) const INVALID_FORMAT: Code = code(400, 6, "Invalid data format");
pub(super) const INCORRECT_INDEX: Code = code(400, 7, "Incorrect index");
pub(super) const INTERNAL: Code = code(500, 8, "Internal server error");
pub(super) const BUSY: Code = code(503, 9, "Server is busy");
pub(super) const CHANNEL_MISSING: Code = code(400, 10, "Data channel is missing");
pub(super) const INVALID_CHANNEL: Code = code(400, 11, "Invalid data channel");
pub(super) const EVENT_REQUIRED: Code = code(400, 12, "Event field is required");
pub(super) const EVENT_BLANK: Code = code(400, 13, "Event field cannot be blank");
pub(super) const INVALID_FIELDS: Code = code(400, 15, "Error in handling indexed fields");
pub(super) const QUERY_TOKEN_OFF: Code = code(400, 16, "Query string authorization is not enabled");
pub(super) const HEALTHY: Code = code(200, 17, "HEC is healthy");
pub(super) const UNHEALTHY: Code = code(503, 18, "HEC is unhealthy, queues are full");
pub(super) const TOO_LARGE: Code = code(413, 27, "Request entity too large");

/// Those of a whole body that is refused.
const OF_BODIES: [Code; 4] = [NO_DATA, CHANNEL_MISSING, INVALID_CHANNEL, QUERY_TOKEN_OFF];

impl Code {
    /// The code of a body of which a decoder said `what` is wrong.
    pub(super) fn of_body(what: &str) -> Self {
        OF_BODIES.into_iter().find(|code| what.starts_with(code.text)).unwrap_or(INVALID_FORMAT)
    }

    /// The answer's body.
    pub(super) fn body(self) -> String {
        format!(r#"{{"text":"{}","code":{}}}"#, self.text, self.number)
    }

    /// As well, with one more number.
    pub(super) fn body_with(self, name: &str, number: u64) -> String {
        format!(r#"{{"text":"{}","code":{},"{name}":{number}}}"#, self.text, self.number)
    }

    /// The answer of which event `number` is the reason.
    pub(super) fn body_of_event(self, number: u64) -> String {
        self.body_with("invalid-event-number", number)
    }
}
