//! Why a message head is refused.

/// The rule that a head breaks. The peer that sent it is at fault: a client gets [`HeadError::status`] and the connection
/// is closed; for an upstream's response the caller answers 502 and closes the upstream connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// LF without CR before it (RFC 9112 §2.2 lets a recipient take it for a line end; this one does not).
    #[error("LF without CR")]
    BareLineFeed,
    /// CR without LF after it (RFC 9112 §2.2).
    #[error("CR without LF")]
    BareCarriageReturn,
    /// A NUL byte (RFC 9110 §5.5).
    #[error("NUL byte")]
    Nul,
    /// More than `head_bytes_max` bytes.
    #[error("head too large")]
    HeadTooLarge,
    /// More than `request_line_bytes_max` bytes in the first line (RFC 9112 §3).
    #[error("request line too long")]
    RequestLineTooLong,
    /// More than `field_bytes_max` bytes in a field line.
    #[error("field too large")]
    FieldTooLarge,
    /// More than `fields_max` lines.
    #[error("too many fields")]
    TooManyFields,
    /// Not `method SP target SP version` (RFC 9112 §3), or no line where one is due.
    #[error("invalid request line")]
    RequestLineInvalid,
    /// The method is not a token (RFC 9110 §9.1).
    #[error("invalid method")]
    MethodInvalid,
    /// The target has none of the four forms, or not the one of its method (RFC 9112 §3.2).
    #[error("invalid request target")]
    TargetInvalid,
    /// Not `HTTP/x.y` (RFC 9112 §2.3).
    #[error("invalid HTTP version")]
    VersionInvalid,
    /// A version other than 1.0 and 1.1.
    #[error("HTTP version not supported")]
    VersionUnsupported,
    /// Not `version SP status [SP reason]` (RFC 9112 §4).
    #[error("invalid status line")]
    StatusLineInvalid,
    /// A field name that is not a token, or not followed by `:` at once (RFC 9112 §5.1).
    #[error("invalid field name")]
    FieldNameInvalid,
    /// A control byte in a field value (RFC 9110 §5.5).
    #[error("invalid field value")]
    FieldValueInvalid,
    /// A field line that starts with white space (RFC 9112 §5.2 and §2.2).
    #[error("line folding")]
    LineFolding,
    /// The bytes do not end with the empty line of the head, or go on after it: the caller passed the wrong ones.
    #[error("not exactly one head")]
    NotOneHead,
}

impl HeadError {
    /// The status that answers a request with this fault: 400, 414, 431 or 505.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            // RFC 9112 §3: a request-target longer than what the server wishes to parse.
            Self::RequestLineTooLong => 414,
            // RFC 6585 §5.
            Self::HeadTooLarge | Self::FieldTooLarge | Self::TooManyFields => 431,
            // RFC 9110 §15.6.6.
            Self::VersionUnsupported => 505,
            _ => 400,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_follow_the_rule_that_is_broken() {
        assert_eq!(HeadError::BareLineFeed.status(), 400);
        assert_eq!(HeadError::TargetInvalid.status(), 400);
        assert_eq!(HeadError::RequestLineTooLong.status(), 414);
        assert_eq!(HeadError::HeadTooLarge.status(), 431);
        assert_eq!(HeadError::FieldTooLarge.status(), 431);
        assert_eq!(HeadError::TooManyFields.status(), 431);
        assert_eq!(HeadError::VersionUnsupported.status(), 505);
    }
}
