//! Response heads (RFC 9112 §4): one complete head into spans, in two ways as a request's (`request.rs`).

use std::ops::Range;

use corelane_semantics::{ResponseHead, Span, Version};

use crate::field_lines::{Slot, check_text, classify, collect_fields, with_slots};
use crate::one_pass;
use crate::request::check_version;
use crate::{HeadError, HeadLimits, HeadScanner};

/// As [`read_request`](crate::read_request), for a response; the scanner is one for responses.
///
/// # Errors
///
/// [`HeadError`]; the caller answers 502 and closes the upstream connection.
pub fn read_response(
    scanner: &mut HeadScanner,
    buffer: &[u8],
    limits: &HeadLimits,
    out: &mut ResponseHead,
) -> Result<Option<Range<usize>>, HeadError> {
    let is_new = scanner.is_new();
    if is_new && let Some(end) = one_pass::read_response(buffer, limits, out) {
        return Ok(Some(0..end));
    }
    let Some(end) = scanner.scan(buffer, limits)? else { return Ok(None) };
    let place = scanner.start()..end;
    let parse = if is_new { judge_response } else { parse_response };
    parse(&buffer[place.clone()], limits, out)?;
    Ok(Some(place))
}

/// Parses one complete head: exactly the bytes from `HeadScanner::start` to the end that `HeadScanner::scan` found. Spans
/// are relative to `head`. `out` is cleared first and its memory reused; after an error its content means nothing.
///
/// # Errors
///
/// [`HeadError`]; the caller answers 502 and closes the upstream connection.
pub fn parse_response(head: &[u8], limits: &HeadLimits, out: &mut ResponseHead) -> Result<(), HeadError> {
    if one_pass::read_response(head, limits, out) == Some(head.len()) {
        return Ok(());
    }
    judge_response(head, limits, out)
}

/// As [`parse_response`], with the rule that is broken.
pub(crate) fn judge_response(
    head: &[u8],
    limits: &HeadLimits,
    out: &mut ResponseHead,
) -> Result<(), HeadError> {
    out.fields.clear();
    // Spans have 32 bits, whatever the configuration allows.
    if head.len() > limits.head_bytes_max.min(u32::MAX as usize) {
        return Err(HeadError::HeadTooLarge);
    }
    with_slots(limits, |slots| tokenise(head, slots, out))
}

fn tokenise<'a>(head: &'a [u8], slots: &mut [Slot<'a>], out: &mut ResponseHead) -> Result<(), HeadError> {
    let mut response = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    match config.parse_response_with_uninit_headers(&mut response, head, slots) {
        Ok(httparse::Status::Complete(length)) if length == head.len() => {}
        Ok(_) => return Err(HeadError::NotOneHead),
        Err(error) => {
            return Err(classify(head, error, check_status_line, HeadError::StatusLineInvalid));
        }
    }
    let (Some(minor), Some(status)) = (response.version, response.code) else {
        return Err(HeadError::NotOneHead);
    };
    // httparse skips empty lines before the status line; none is tolerated here.
    if !head.starts_with(b"HTTP/") {
        return Err(HeadError::StatusLineInvalid);
    }
    // RFC 9110 §15: codes below 100 have no class, and so no meaning for the framing of what follows.
    if status < 100 {
        return Err(HeadError::StatusLineInvalid);
    }
    out.status = status;
    out.version = if minor == 0 { Version::Http10 } else { Version::Http11 };
    (out.fields_start, out.fields_end) = collect_fields(head, response.headers, &mut out.fields)?;
    // RFC 9112 §4 wants a SP after the code even without a reason; some servers leave it out, and since the line is
    // written anew nothing depends on it. httparse hides a reason with obs-text, so it is found by its position.
    let line_end = out.fields_start - 2;
    out.reason = Span { start: REASON_START.min(line_end), end: line_end };
    Ok(())
}

/// The rule that a status line without its CRLF breaks, if any. Only for heads that httparse refused.
fn check_status_line(line: &[u8]) -> Result<(), HeadError> {
    if memchr::memchr(b'\r', line).is_some() {
        return Err(HeadError::BareCarriageReturn);
    }
    if memchr::memchr(0, line).is_some() {
        return Err(HeadError::Nul);
    }
    let (version, rest) = line.split_at_checked(8).ok_or(HeadError::StatusLineInvalid)?;
    check_version(version)?;
    match rest {
        [b' ', a, b, c] if [a, b, c].iter().all(|digit| digit.is_ascii_digit()) => Ok(()),
        [b' ', a, b, c, b' ', reason @ ..] if [a, b, c].iter().all(|digit| digit.is_ascii_digit()) => {
            check_text(reason, HeadError::StatusLineInvalid)
        }
        _ => Err(HeadError::StatusLineInvalid),
    }
}

/// Where the reason phrase starts: after `HTTP/1.1 200 `.
pub(crate) const REASON_START: u32 = 13;

#[cfg(test)]
mod tests {
    use super::*;
    use HeadError as E;
    use corelane_semantics::Known;

    fn parse(head: &[u8]) -> Result<ResponseHead, HeadError> {
        let mut out = ResponseHead::default();
        parse_response(head, &HeadLimits::default(), &mut out).map(|()| out)
    }

    #[test]
    fn splits_a_head_into_spans() {
        let head = b"HTTP/1.0 404 Not  Found\r\nContent-Length: 3\r\nServer: a\r\n\r\n";
        let response = parse(head).unwrap();
        assert_eq!((response.status, response.version), (404, Version::Http10));
        assert_eq!(response.reason.bytes(head), b"Not  Found");
        assert_eq!(response.fields.first(Known::ContentLength, head), Some(&b"3"[..]));
        assert_eq!(response.fields.find(b"server", head), Some(&b"a"[..]));
        let fields = Span { start: response.fields_start, end: response.fields_end }.bytes(head);
        assert_eq!(fields, b"Content-Length: 3\r\nServer: a\r\n");
    }

    #[test]
    fn status_lines() {
        type Expected = Result<(u16, &'static [u8]), HeadError>;
        let table: &[(&[u8], Expected)] = &[
            // RFC 9112 §4.
            (b"HTTP/1.1 200 OK", Ok((200, b"OK"))),
            (b"HTTP/1.1 200 ", Ok((200, b""))),
            (b"HTTP/1.1 200", Ok((200, b""))),
            (b"HTTP/1.1 200 \xff\xfe", Ok((200, b"\xff\xfe"))),
            (b"HTTP/1.1 200  a\tb ", Ok((200, b" a\tb "))),
            (b"HTTP/1.1 100 Continue", Ok((100, b"Continue"))),
            (b"HTTP/1.1 999 x", Ok((999, b"x"))),
            // RFC 9110 §15: three digits, classes 1 to 5 and what clients must treat as x00.
            (b"HTTP/1.1 099 x", Err(E::StatusLineInvalid)),
            (b"HTTP/1.1 000 x", Err(E::StatusLineInvalid)),
            (b"HTTP/1.1 20 OK", Err(E::StatusLineInvalid)),
            (b"HTTP/1.1 2000 OK", Err(E::StatusLineInvalid)),
            (b"HTTP/1.1 -20 OK", Err(E::StatusLineInvalid)),
            (b"HTTP/1.1 +20 OK", Err(E::StatusLineInvalid)),
            (b"HTTP/1.1 20a OK", Err(E::StatusLineInvalid)),
            (b"HTTP/1.1  200 OK", Err(E::StatusLineInvalid)),
            (b"HTTP/1.1\t200 OK", Err(E::StatusLineInvalid)),
            (b"HTTP/1.1 200\tOK", Err(E::StatusLineInvalid)),
            (b"HTTP/1.1 ", Err(E::StatusLineInvalid)),
            (b"HTTP/1.1", Err(E::StatusLineInvalid)),
            (b" HTTP/1.1 200 OK", Err(E::VersionInvalid)),
            (b"\r\nHTTP/1.1 200 OK", Err(E::StatusLineInvalid)),
            (b"HTTP/1.1 200 \x7f", Err(E::StatusLineInvalid)),
            (b"HTTP/1.1 200 a\0", Err(E::Nul)),
            (b"HTTP/1.1 200 a\rb", Err(E::BareCarriageReturn)),
            (b"HTTP/1.1 200 a\nb", Err(E::BareLineFeed)),
            (b"HTTP/1.1 200 OK\nA: b", Err(E::BareLineFeed)),
            // RFC 9112 §2.3.
            (b"HTTP/2.0 200 OK", Err(E::VersionUnsupported)),
            (b"HTTP/1.2 200 OK", Err(E::VersionUnsupported)),
            (b"http/1.1 200 OK", Err(E::VersionInvalid)),
            (b"ICY/1.10 200 OK", Err(E::VersionInvalid)),
            (b"HTTP/1.10 200 OK", Err(E::StatusLineInvalid)),
        ];
        for (line, expected) in table {
            for fields in [&b""[..], b"A: b\r\n"] {
                let head = [line, &b"\r\n"[..], fields, b"\r\n"].concat();
                let result = parse(&head);
                let result = result.as_ref().map(|out| (out.status, out.reason.bytes(&head))).map_err(|&e| e);
                assert_eq!(result, *expected, "{:?}", head.escape_ascii().to_string());
            }
        }
    }

    #[test]
    fn refuses_broken_field_lines() {
        let table: &[(&[u8], HeadError)] = &[
            // RFC 9112 §5.1: a proxy must remove such white space from a response or refuse it.
            (b"Server : a\r\n", E::FieldNameInvalid),
            (b"Server\r\n", E::FieldNameInvalid),
            (b": a\r\n", E::FieldNameInvalid),
            // RFC 9112 §5.2: a proxy must answer 502 or replace the folding.
            (b"A: b\r\n c\r\n", E::LineFolding),
            (b" A: b\r\n", E::LineFolding),
            (b"A: b\x01\r\n", E::FieldValueInvalid),
            (b"A: b\0\r\n", E::Nul),
            (b"A: b\rC: d\r\n", E::BareCarriageReturn),
            (b"A: b\nC: d\r\n", E::BareLineFeed),
            (b"A: b\r\nC: d\n", E::BareLineFeed),
        ];
        for (fields, expected) in table {
            let head = [b"HTTP/1.1 200 OK\r\n", *fields, b"\r\n"].concat();
            assert_eq!(parse(&head).err(), Some(*expected), "{:?}", head.escape_ascii().to_string());
        }
    }

    #[test]
    fn refuses_other_than_exactly_one_head() {
        let head = b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n";
        for end in 0..head.len() {
            assert!(parse(&head[..end]).is_err(), "{end}");
        }
        assert_eq!(parse(&[&head[..], b"x"].concat()).err(), Some(E::NotOneHead));
        let limits = HeadLimits { fields_max: 0, ..HeadLimits::default() };
        assert_eq!(parse_response(head, &limits, &mut ResponseHead::default()), Err(E::TooManyFields));
    }
}
