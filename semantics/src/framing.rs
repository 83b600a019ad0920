//! How long a message body is, decided in one place (RFC 9112 §6.3).

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
    /// A Content-Length that is not 1 to 19 digits.
    #[error("Content-Length is not a number")]
    LengthInvalid,
    /// A Transfer-Encoding other than exactly one `chunked`.
    #[error("Transfer-Encoding is not exactly `chunked`")]
    TransferEncodingUnsupported,
    /// Transfer-Encoding in an HTTP/1.0 message (RFC 9112 §6.1).
    #[error("Transfer-Encoding in HTTP/1.0")]
    TransferEncodingInHttp10,
}

/// The framing of a request's body.
///
/// # Errors
///
/// [`FramingError`]; the caller answers 400 and closes.
pub fn request_framing(head: &RequestHead, buffer: &[u8]) -> Result<BodyFraming, FramingError> {
    // RFC 9112 §6.3 rules 3 to 5 are shared with responses; rule 7: a request with neither field has no body.
    Ok(declared(&head.fields, head.version, buffer)?.unwrap_or(BodyFraming::None))
}

/// The framing of a response's body; `method` is the request's.
///
/// # Errors
///
/// [`FramingError`]; the caller answers 502 and closes the upstream connection.
pub fn response_framing(
    head: &ResponseHead,
    buffer: &[u8],
    method: Method,
) -> Result<BodyFraming, FramingError> {
    let declared = declared(&head.fields, head.version, buffer)?;
    // RFC 9112 §6.3 rule 1: HEAD, 1xx, 204 and 304 end with the head, whatever the fields say.
    if method == Method::Head || matches!(head.status, 100..=199 | 204 | 304) {
        return Ok(BodyFraming::None);
    }
    // RFC 9112 §6.3 rule 2: a 2xx to CONNECT becomes a tunnel. CONNECT is refused before it gets here.
    // RFC 9112 §6.3 rule 8: a response with neither field lasts until the connection closes.
    Ok(declared.unwrap_or(BodyFraming::UntilClose))
}

/// What Content-Length and Transfer-Encoding say, if anything.
fn declared(fields: &Fields, version: Version, buffer: &[u8]) -> Result<Option<BodyFraming>, FramingError> {
    let lengths = fields.count(Known::ContentLength);
    // RFC 9112 §6.3 rule 3: Transfer-Encoding overrides Content-Length "or the message is an error": an error here.
    // RFC 9112 §6.3 rule 4: chunked must be the final coding; no other coding is implemented, so it is the only one.
    if fields.count(Known::TransferEncoding) > 0 {
        if lengths > 0 {
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
    // RFC 9112 §6.3 rule 5: an invalid Content-Length is unrecoverable; so is a repeated one for us.
    // RFC 9112 §6.3 rule 6: a valid one is the length.
    match lengths {
        0 => Ok(None),
        1 => {
            let value = fields.first(Known::ContentLength, buffer).unwrap_or_default();
            Ok(Some(BodyFraming::Length(parse_length(value)?)))
        }
        _ => Err(FramingError::LengthRepeated),
    }
}

fn parse_length(value: &[u8]) -> Result<u64, FramingError> {
    if value.contains(&b',') {
        return Err(FramingError::LengthRepeated);
    }
    // 19 digits always fit in 64 bits.
    if value.is_empty() || value.len() > 19 || !value.iter().all(u8::is_ascii_digit) {
        return Err(FramingError::LengthInvalid);
    }
    Ok(value.iter().fold(0, |length, digit| length * 10 + u64::from(digit - b'0')))
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
            ok(&[("Content-Length", "9999999999999999999")]),
            Ok(BodyFraming::Length(9_999_999_999_999_999_999))
        );
        assert_eq!(ok(&[("Transfer-Encoding", "Chunked")]), Ok(BodyFraming::Chunked));
        for bad in ["", "+1", "-1", "1 2", "0x1", "1_0", "99999999999999999999", "1a"] {
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
    fn response_bodies() {
        let length: &[(&str, &str)] = &[("Content-Length", "7")];
        assert_eq!(response(200, Method::Get, length), Ok(BodyFraming::Length(7)));
        assert_eq!(response(200, Method::Head, length), Ok(BodyFraming::None));
        for status in [100, 103, 204, 304] {
            assert_eq!(response(status, Method::Get, length), Ok(BodyFraming::None));
        }
        assert_eq!(response(200, Method::Get, &[]), Ok(BodyFraming::UntilClose));
        let both = [("Transfer-Encoding", "chunked"), ("Content-Length", "5")];
        assert_eq!(response(204, Method::Head, &both), Err(FramingError::LengthWithTransferEncoding));
    }
}
