//! How calls end: `grpc-status` and `grpc-message`.

/// See <https://grpc.github.io/grpc/core/md_doc_statuscodes.html>.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[expect(missing_docs, reason = "the words are the protocol's own")]
pub enum Status {
    Ok,
    Cancelled,
    Unknown,
    InvalidArgument,
    DeadlineExceeded,
    NotFound,
    AlreadyExists,
    PermissionDenied,
    ResourceExhausted,
    FailedPrecondition,
    Aborted,
    OutOfRange,
    Unimplemented,
    Internal,
    Unavailable,
    DataLoss,
    Unauthenticated,
}

use Status::{
    Aborted, AlreadyExists, Cancelled, DataLoss, DeadlineExceeded, FailedPrecondition, Internal,
    InvalidArgument, NotFound, Ok, OutOfRange, PermissionDenied, ResourceExhausted, Unauthenticated,
    Unavailable, Unimplemented, Unknown,
};

impl Status {
    /// All, each at the place of its number.
    pub const ALL: [Self; 17] = [
        Ok,
        Cancelled,
        Unknown,
        InvalidArgument,
        DeadlineExceeded,
        NotFound,
        AlreadyExists,
        PermissionDenied,
        ResourceExhausted,
        FailedPrecondition,
        Aborted,
        OutOfRange,
        Unimplemented,
        Internal,
        Unavailable,
        DataLoss,
        Unauthenticated,
    ];

    /// The value of a `grpc-status` field. What is no number of the protocol's is `Unknown`, as clients take it.
    #[must_use]
    pub fn parse(value: &[u8]) -> Self {
        let number = match value {
            [digit @ b'0'..=b'9'] => digit - b'0',
            [b'1', digit @ b'0'..=b'9'] => 10 + digit - b'0',
            _ => return Unknown,
        };
        Self::ALL.get(usize::from(number)).copied().unwrap_or(Unknown)
    }

    /// The first `grpc-status` among field lines.
    #[must_use]
    pub fn in_lines(lines: &[u8]) -> Option<Self> {
        lines.split(|&byte| byte == b'\n').find_map(|line| {
            let (name, value) = line.split_at(line.iter().position(|&byte| byte == b':')?);
            name.eq_ignore_ascii_case(b"grpc-status").then(|| Self::parse(value[1..].trim_ascii()))
        })
    }

    /// The digits of its number.
    #[must_use]
    pub const fn digits(self) -> &'static str {
        const DIGITS: [&str; 17] =
            ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16"];
        DIGITS[self as usize]
    }

    /// Its word in configurations and metrics.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Ok => "ok",
            Cancelled => "cancelled",
            Unknown => "unknown",
            InvalidArgument => "invalid_argument",
            DeadlineExceeded => "deadline_exceeded",
            NotFound => "not_found",
            AlreadyExists => "already_exists",
            PermissionDenied => "permission_denied",
            ResourceExhausted => "resource_exhausted",
            FailedPrecondition => "failed_precondition",
            Aborted => "aborted",
            OutOfRange => "out_of_range",
            Unimplemented => "unimplemented",
            Internal => "internal",
            Unavailable => "unavailable",
            DataLoss => "data_loss",
            Unauthenticated => "unauthenticated",
        }
    }

    /// What a call ends with whose answer has this HTTP status and nothing else. `http-grpc-status-mapping.md`, but for two:
    /// where a client sends too much, or asks too often, sending it again is no help, which `Unavailable` would promise;
    /// and who waits for an answer in vain has met its deadline.
    #[must_use]
    pub const fn of_http(status: u16) -> Self {
        match status {
            200..=299 => Ok,
            400 => Internal,
            401 => Unauthenticated,
            403 => PermissionDenied,
            404 | 405 => Unimplemented,
            413 | 414 | 429 | 431 => ResourceExhausted,
            502 | 503 => Unavailable,
            408 | 504 => DeadlineExceeded,
            _ => Unknown,
        }
    }

    /// The HTTP status of an endpoint that ends calls so: what judges endpoints by that sees the same in both. The mapping of
    /// `google.rpc.Code`.
    #[must_use]
    pub const fn to_http(self) -> u16 {
        match self {
            Ok => 200,
            Cancelled => 499,
            InvalidArgument | FailedPrecondition | OutOfRange => 400,
            Unauthenticated => 401,
            PermissionDenied => 403,
            NotFound => 404,
            AlreadyExists | Aborted => 409,
            ResourceExhausted => 429,
            Unknown | Internal | DataLoss => 500,
            Unimplemented => 501,
            Unavailable => 503,
            DeadlineExceeded => 504,
        }
    }
}

/// Appends a text as the value of `grpc-message`: percent-encoded but for printable ASCII.
pub fn write_message(text: &[u8], out: &mut Vec<u8>) {
    const DIGITS: [u8; 16] = *b"0123456789ABCDEF";
    for &byte in text {
        if matches!(byte, b' '..=b'~') && byte != b'%' {
            out.push(byte);
        } else {
            out.extend([b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_their_numbers() {
        for (number, status) in (0_u8..).zip(Status::ALL) {
            assert_eq!(status as u8, number);
            assert_eq!(status.digits(), number.to_string());
            assert_eq!(Status::parse(status.digits().as_bytes()), status);
        }
        for wrong in ["", "17", "99", "-1", "00", "014", "1a", " 1", "100"] {
            assert_eq!(Status::parse(wrong.as_bytes()), Unknown, "{wrong}");
        }
    }

    #[test]
    fn the_status_is_found_among_lines() {
        let found = |lines: &str| Status::in_lines(lines.as_bytes());
        assert_eq!(found("a: 1\r\nGrpc-Status: 5\r\ngrpc-status: 0\r\n"), Some(NotFound));
        assert_eq!(found("grpc-status:14\r\n"), Some(Unavailable));
        assert_eq!(found("grpc-status-x: 1\r\nno line\r\n"), None);
        assert_eq!(found(""), None);
    }

    #[test]
    fn an_http_failure_is_never_ok() {
        for status in (100..200).chain(300..600) {
            assert_ne!(Status::of_http(status), Ok, "{status}");
        }
        // What endpoints are at fault for is the same in both.
        for status in [Unavailable, DeadlineExceeded] {
            assert_eq!(Status::of_http(status.to_http()), status);
        }
    }

    #[test]
    fn messages_are_percent_encoded() {
        let written = |text: &str| {
            let mut out = Vec::new();
            write_message(text.as_bytes(), &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(written("a b~!"), "a b~!");
        assert_eq!(written("100 %\r\nü\0\x7f"), "100 %25%0D%0A%C3%BC%00%7F");
    }
}
