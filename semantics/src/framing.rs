//! How long a message body is, decided in one place.
//!
//! The rules of RFC 9112 §6.3, with what the RFC leaves open decided for safety:
//!
//! | rule | message | body |
//! | --- | --- | --- |
//! | 1 | response to HEAD; 1xx, 204, 304 | none, whatever the fields say; Transfer-Encoding in a 1xx is an error (§6.1) |
//! | 2 | 2xx to CONNECT | none, whatever the fields say: what follows is the tunnel |
//! | 3 | Transfer-Encoding with Content-Length | an error (the RFC lets one override the other) |
//! | 4 | Transfer-Encoding | chunked; an error unless it is `chunked` once and alone, and the version 1.1 (§6.1) |
//! | 5 | Content-Length that is no number, or not one | an error (the RFC lets a list of equal numbers pass) |
//! | 6 | Content-Length | that many bytes |
//! | 7 | other requests | none |
//! | 8 | other responses | all until the connection closes |
//!
//! - A request with CONNECT has no content (RFC 9110 §9.3.6): rule 4, and rule 6 with more than 0 bytes, are errors there.
//! - Rules 3 to 5 are errors also in a response that ends with its head by rule 1, but for a 1xx: whoever reads it without
//!   the request at hand would be misled.

use crate::head::number;
use crate::{Fields, Known, Method, RequestHead, ResponseHead, Version};

/// How the end of a body is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFraming {
    /// There is no body.
    None,
    /// So many bytes.
    Length(u64),
    /// Chunked transfer coding; trailers may follow.
    Chunked,
    /// Everything until the connection closes; responses only.
    UntilClose,
}

/// Why the length of a body cannot be told without ambiguity. The connection is closed after the answer, because where
/// the next message begins is unknown: 400 to a client, 502 for an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    /// Content-Length and Transfer-Encoding in one message (RFC 9112 §6.1: a smuggling attempt).
    #[error("Content-Length with Transfer-Encoding")]
    LengthWithTransferEncoding,
    /// More than one Content-Length line, even if they agree, or a list in one.
    #[error("more than one Content-Length")]
    LengthRepeated,
    /// A Content-Length that is not 1 to 19 digits, or above 2^63-1.
    #[error("Content-Length is not a number")]
    LengthInvalid,
    /// A Transfer-Encoding other than exactly one `chunked`.
    #[error("Transfer-Encoding is not exactly `chunked`")]
    TransferEncodingUnsupported,
    /// Transfer-Encoding in an HTTP/1.0 message (RFC 9112 §6.1).
    #[error("Transfer-Encoding in HTTP/1.0")]
    TransferEncodingInHttp10,
    /// Transfer-Encoding in a response with a 1xx status (RFC 9112 §6.1).
    #[error("Transfer-Encoding in an interim response")]
    TransferEncodingInInterim,
    /// A CONNECT request with content (RFC 9110 §9.3.6): whether it is a body or the start of the tunnel is anyone's guess.
    #[error("CONNECT with content")]
    ContentInConnect,
}

/// The framing of a request's body.
///
/// # Errors
///
/// [`FramingError`]; the caller answers 400 and closes.
pub fn request_framing(head: &RequestHead, buffer: &[u8]) -> Result<BodyFraming, FramingError> {
    // Rules 3 to 6; rule 7.
    let framing = declared(&head.fields, head.version, buffer)?.unwrap_or(BodyFraming::None);
    if head.method == Method::Connect && !matches!(framing, BodyFraming::None | BodyFraming::Length(0)) {
        return Err(FramingError::ContentInConnect);
    }
    Ok(framing)
}

/// The framing of a response's body; `method` is the request's. `None` for a 2xx to CONNECT means that the tunnel begins.
///
/// # Errors
///
/// [`FramingError`]; the caller answers 502 and closes the upstream connection.
pub fn response_framing(
    head: &ResponseHead,
    buffer: &[u8],
    method: Method,
) -> Result<BodyFraming, FramingError> {
    match (head.status, method) {
        // Rule 1. RFC 9112 §6.1: a server must not send Transfer-Encoding there. What follows one is either a chunked body
        // that a careless peer skips, or the next response.
        (100..=199, _) if head.fields.has(Known::TransferEncoding) => {
            Err(FramingError::TransferEncodingInInterim)
        }
        (100..=199, _) => Ok(BodyFraming::None),
        // Rule 2: "A client MUST ignore any Content-Length or Transfer-Encoding header fields" there.
        (200..=299, Method::Connect) => Ok(BodyFraming::None),
        // Rule 1.
        (204 | 304, _) | (_, Method::Head) => {
            declared(&head.fields, head.version, buffer).map(|_| BodyFraming::None)
        }
        // Rules 3 to 6; rule 8.
        _ => Ok(declared(&head.fields, head.version, buffer)?.unwrap_or(BodyFraming::UntilClose)),
    }
}

/// What Content-Length and Transfer-Encoding say, if anything.
fn declared(fields: &Fields, version: Version, buffer: &[u8]) -> Result<Option<BodyFraming>, FramingError> {
    // Rule 3: such a message "ought to be handled as an error".
    // Rule 4: chunked must be the final coding; no other is implemented, so it is the only one.
    if fields.has(Known::TransferEncoding) {
        if fields.has(Known::ContentLength) {
            return Err(FramingError::LengthWithTransferEncoding);
        }
        if version == Version::Http10 {
            return Err(FramingError::TransferEncodingInHttp10);
        }
        let value = fields.first(Known::TransferEncoding, buffer).unwrap_or_default();
        if fields.count(Known::TransferEncoding) != 1 || !value.eq_ignore_ascii_case(b"chunked") {
            return Err(FramingError::TransferEncodingUnsupported);
        }
        return Ok(Some(BodyFraming::Chunked));
    }
    // Rule 5: an invalid Content-Length is unrecoverable; so is a repeated one here.
    // Rule 6: a valid one is the length.
    match fields.count(Known::ContentLength) {
        0 => Ok(None),
        1 => {
            let value = fields.first(Known::ContentLength, buffer).unwrap_or_default();
            Ok(Some(BodyFraming::Length(parse_length(value)?)))
        }
        _ => Err(FramingError::LengthRepeated),
    }
}

fn parse_length(value: &[u8]) -> Result<u64, FramingError> {
    // 19 digits always fit in 64 bits.
    match if matches!(value.len(), 1..=19) { number(value) } else { None } {
        // Many readers have signed 64 bits.
        Some(length) if length <= i64::MAX as u64 => Ok(length),
        _ if value.contains(&b',') => Err(FramingError::LengthRepeated),
        _ => Err(FramingError::LengthInvalid),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Span;

    fn fields(lines: &[(&str, &str)]) -> (Vec<u8>, Fields) {
        let mut buffer = Vec::new();
        let mut fields = Fields::default();
        for (name, value) in lines {
            let start = buffer.len();
            buffer.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
            let value_start = start + name.len() + 2;
            fields.push(
                Span::new(start, start + name.len()),
                Span::new(value_start, value_start + value.len()),
                Known::from_name(name.as_bytes()),
            );
        }
        (buffer, fields)
    }

    type Expected = Result<BodyFraming, FramingError>;
    type Lines<'a> = &'a [(&'a str, &'a str)];

    fn request(version: Version, lines: &[(&str, &str)]) -> Result<BodyFraming, FramingError> {
        let (buffer, fields) = fields(lines);
        request_framing(&RequestHead { version, fields, ..Default::default() }, &buffer)
    }

    fn response(status: u16, method: Method, lines: &[(&str, &str)]) -> Result<BodyFraming, FramingError> {
        let (buffer, fields) = fields(lines);
        response_framing(&ResponseHead { status, fields, ..Default::default() }, &buffer, method)
    }

    #[test]
    fn request_bodies() {
        use FramingError as E;
        let ok = |lines: &[(&str, &str)]| request(Version::Http11, lines);
        assert_eq!(ok(&[]), Ok(BodyFraming::None));
        assert_eq!(ok(&[("content-length", "0")]), Ok(BodyFraming::Length(0)));
        assert_eq!(ok(&[("Content-Length", "0012")]), Ok(BodyFraming::Length(12)));
        assert_eq!(
            ok(&[("Content-Length", "9223372036854775807")]),
            Ok(BodyFraming::Length(9_223_372_036_854_775_807))
        );
        assert_eq!(ok(&[("Transfer-Encoding", "Chunked")]), Ok(BodyFraming::Chunked));
        for bad in ["", "+1", "-1", "1 2", "0x1", "1_0", "99999999999999999999", "9223372036854775808", "1a"]
        {
            assert_eq!(ok(&[("Content-Length", bad)]), Err(E::LengthInvalid), "{bad}");
        }
        assert_eq!(ok(&[("Content-Length", "1,1")]), Err(E::LengthRepeated));
        assert_eq!(ok(&[("Content-Length", "1"), ("Content-Length", "1")]), Err(E::LengthRepeated));
        for bad in ["", "gzip", "gzip, chunked", "chunked, chunked", "chunked;q=1", "identity", "x chunked"] {
            assert_eq!(ok(&[("Transfer-Encoding", bad)]), Err(E::TransferEncodingUnsupported), "{bad}");
        }
        let twice = [("Transfer-Encoding", "chunked"), ("Transfer-Encoding", "chunked")];
        assert_eq!(ok(&twice), Err(E::TransferEncodingUnsupported));
        let both = [("Transfer-Encoding", "chunked"), ("Content-Length", "5")];
        assert_eq!(ok(&both), Err(E::LengthWithTransferEncoding));
        let old = request(Version::Http10, &[("Transfer-Encoding", "chunked")]);
        assert_eq!(old, Err(E::TransferEncodingInHttp10));
    }

    #[test]
    fn a_connect_request_has_no_content() {
        use FramingError as E;
        let connect = |lines: &[(&str, &str)]| {
            let (buffer, fields) = fields(lines);
            request_framing(&RequestHead { method: Method::Connect, fields, ..Default::default() }, &buffer)
        };
        assert_eq!(connect(&[]), Ok(BodyFraming::None));
        assert_eq!(connect(&[("Content-Length", "0")]), Ok(BodyFraming::Length(0)));
        assert_eq!(connect(&[("Content-Length", "1")]), Err(E::ContentInConnect));
        assert_eq!(connect(&[("Transfer-Encoding", "chunked")]), Err(E::ContentInConnect));
        assert_eq!(connect(&[("Transfer-Encoding", "gzip")]), Err(E::TransferEncodingUnsupported));
        assert_eq!(connect(&[("Content-Length", "x")]), Err(E::LengthInvalid));
    }

    #[test]
    fn response_bodies() {
        use FramingError as E;
        let length: &[(&str, &str)] = &[("Content-Length", "7")];
        let chunked: &[(&str, &str)] = &[("Transfer-Encoding", "chunked")];
        let both: &[(&str, &str)] = &[("Transfer-Encoding", "chunked"), ("Content-Length", "5")];
        let invalid: &[(&str, &str)] = &[("Content-Length", "x")];
        let table: &[(u16, Method, Lines<'_>, Expected)] = &[
            // Rule 1.
            (200, Method::Head, &[], Ok(BodyFraming::None)),
            (200, Method::Head, length, Ok(BodyFraming::None)),
            (200, Method::Head, chunked, Ok(BodyFraming::None)),
            (200, Method::Head, both, Err(E::LengthWithTransferEncoding)),
            (204, Method::Get, length, Ok(BodyFraming::None)),
            (204, Method::Get, chunked, Ok(BodyFraming::None)),
            (204, Method::Head, both, Err(E::LengthWithTransferEncoding)),
            (304, Method::Get, length, Ok(BodyFraming::None)),
            (304, Method::Get, invalid, Err(E::LengthInvalid)),
            (100, Method::Get, &[], Ok(BodyFraming::None)),
            (100, Method::Get, length, Ok(BodyFraming::None)),
            (101, Method::Get, invalid, Ok(BodyFraming::None)),
            (103, Method::Head, invalid, Ok(BodyFraming::None)),
            (199, Method::Get, length, Ok(BodyFraming::None)),
            (100, Method::Get, chunked, Err(E::TransferEncodingInInterim)),
            (101, Method::Get, chunked, Err(E::TransferEncodingInInterim)),
            (103, Method::Head, both, Err(E::TransferEncodingInInterim)),
            (199, Method::Connect, &[("Transfer-Encoding", "gzip")], Err(E::TransferEncodingInInterim)),
            // Rule 2.
            (200, Method::Connect, &[], Ok(BodyFraming::None)),
            (200, Method::Connect, length, Ok(BodyFraming::None)),
            (299, Method::Connect, both, Ok(BodyFraming::None)),
            (200, Method::Connect, invalid, Ok(BodyFraming::None)),
            (407, Method::Connect, length, Ok(BodyFraming::Length(7))),
            (300, Method::Connect, both, Err(E::LengthWithTransferEncoding)),
            // Rules 3 to 6.
            (200, Method::Get, both, Err(E::LengthWithTransferEncoding)),
            (200, Method::Get, chunked, Ok(BodyFraming::Chunked)),
            (200, Method::Get, &[("Transfer-Encoding", "gzip")], Err(E::TransferEncodingUnsupported)),
            (200, Method::Get, invalid, Err(E::LengthInvalid)),
            (200, Method::Get, &[("Content-Length", "1, 1")], Err(E::LengthRepeated)),
            (200, Method::Get, length, Ok(BodyFraming::Length(7))),
            (205, Method::Get, length, Ok(BodyFraming::Length(7))),
            // Rule 8.
            (200, Method::Get, &[], Ok(BodyFraming::UntilClose)),
            (999, Method::Post, &[], Ok(BodyFraming::UntilClose)),
        ];
        for (status, method, lines, expected) in table {
            assert_eq!(response(*status, *method, lines), *expected, "{status} to {method:?}: {lines:?}");
        }
        let (buffer, fields) = fields(chunked);
        let old = ResponseHead { version: Version::Http10, fields, ..Default::default() };
        let old = ResponseHead { status: 200, ..old };
        assert_eq!(response_framing(&old, &buffer, Method::Get), Err(E::TransferEncodingInHttp10));
    }
}
