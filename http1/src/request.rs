//! Request heads (RFC 9112 §3): one complete head into spans.
//!
//! A head that is whole and breaks no rule is read in one pass (`one_pass.rs`). Any other is judged here: httparse splits
//! it into tokens; what it tolerates and RFC 9112 lets a server refuse is refused.

use std::ops::Range;

use corelane_semantics::{Method, RequestHead, Span, TargetForm, Version, is_authority};

use crate::bytes::is_token;
use crate::field_lines::{Slot, classify, collect_fields, with_slots};
use crate::one_pass;
use crate::{HeadError, HeadLimits, HeadScanner};

/// Reads the head that `buffer` starts with, as [`HeadScanner::scan`] and [`parse_request`] do one after the other: the
/// scanner keeps what a call has seen of a head that is not whole. Returns where the head stands; spans are relative to
/// its start. `None`: more bytes are needed.
///
/// # Errors
///
/// [`HeadError`]; the caller answers it and closes the connection.
pub fn read_request(
    scanner: &mut HeadScanner,
    buffer: &[u8],
    limits: &HeadLimits,
    out: &mut RequestHead,
) -> Result<Option<Range<usize>>, HeadError> {
    // Only bytes that were not seen before: a head that comes byte by byte is looked at once more, not each time.
    let is_new = scanner.is_new();
    if is_new && let Some(end) = one_pass::read_request(buffer, limits, out) {
        return Ok(Some(0..end));
    }
    let Some(end) = scanner.scan(buffer, limits)? else { return Ok(None) };
    let place = scanner.start()..end;
    // What was not taken just now will not be.
    let parse = if is_new { judge_request } else { parse_request };
    parse(&buffer[place.clone()], limits, out)?;
    Ok(Some(place))
}

/// Parses one complete head: exactly the bytes from `HeadScanner::start` to the end that `HeadScanner::scan` found. Spans
/// are relative to `head`. `out` is cleared first and its memory reused; after an error its content means nothing.
///
/// # Errors
///
/// [`HeadError`]; the caller answers it and closes the connection.
pub fn parse_request(head: &[u8], limits: &HeadLimits, out: &mut RequestHead) -> Result<(), HeadError> {
    if one_pass::read_request(head, limits, out) == Some(head.len()) {
        return Ok(());
    }
    judge_request(head, limits, out)
}

/// As [`parse_request`], with the rule that is broken.
pub(crate) fn judge_request(
    head: &[u8],
    limits: &HeadLimits,
    out: &mut RequestHead,
) -> Result<(), HeadError> {
    out.fields.clear();
    // Spans have 32 bits, whatever the configuration allows.
    if head.len() > limits.head_bytes_max.min(u32::MAX as usize) {
        return Err(HeadError::HeadTooLarge);
    }
    with_slots(limits, |slots| tokenise(head, slots, out))
}

fn tokenise<'a>(head: &'a [u8], slots: &mut [Slot<'a>], out: &mut RequestHead) -> Result<(), HeadError> {
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(head, slots) {
        Ok(httparse::Status::Complete(length)) if length == head.len() => {}
        Ok(_) => return Err(HeadError::NotOneHead),
        Err(error) => {
            return Err(classify(head, error, check_request_line, HeadError::RequestLineInvalid));
        }
    }
    let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version) else {
        return Err(HeadError::NotOneHead);
    };
    out.method_token = Span::of(head, method.as_bytes());
    out.method = Method::from_token(method.as_bytes());
    out.version = if minor == 0 { Version::Http10 } else { Version::Http11 };
    // httparse skips any number of empty lines; the scanner has skipped the one that RFC 9112 §2.2 speaks of.
    if out.method_token.start != 0 {
        return Err(HeadError::RequestLineInvalid);
    }
    split_target(head, Span::of(head, target.as_bytes()), out)?;
    (out.fields_start, out.fields_end) = collect_fields(head, request.headers, &mut out.fields)?;
    Ok(())
}

/// Finds the form and the parts of the target (RFC 9112 §3.2).
pub(crate) fn split_target(head: &[u8], span: Span, out: &mut RequestHead) -> Result<(), HeadError> {
    let target = span.bytes(head);
    if !is_target_text(target) {
        return Err(HeadError::TargetInvalid);
    }
    out.target = span;
    out.authority = None;
    out.path = Span { start: span.end, end: span.end };
    out.query = None;
    match (out.method, target) {
        // RFC 9112 §3.2.3: authority-form is for CONNECT alone, and CONNECT has no other.
        (Method::Connect, _) => {
            out.form = TargetForm::Authority;
            if !is_host_and_port(target) {
                return Err(HeadError::TargetInvalid);
            }
            out.authority = Some(span);
        }
        (_, [b'/', ..]) => {
            out.form = TargetForm::Origin;
            split_path_and_query(head, span, out);
        }
        // RFC 9112 §3.2.4: asterisk-form is for OPTIONS alone.
        (Method::Options, b"*") => out.form = TargetForm::Asterisk,
        _ => {
            out.form = TargetForm::Absolute;
            split_absolute(head, span, out)?;
        }
    }
    Ok(())
}

/// RFC 9112 §3.2.2: `http://` or `https://`, then an authority that is not empty and names no user (RFC 9110 §4.2.4).
fn split_absolute(head: &[u8], span: Span, out: &mut RequestHead) -> Result<(), HeadError> {
    let target = span.bytes(head);
    let scheme_length = [&b"http://"[..], b"https://"]
        .into_iter()
        .find(|scheme| target.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)))
        .ok_or(HeadError::TargetInvalid)?
        .len();
    let after_scheme = &target[scheme_length..];
    let authority_length = memchr::memchr2(b'/', b'?', after_scheme).unwrap_or(after_scheme.len());
    let authority = &after_scheme[..authority_length];
    if authority.is_empty() || authority.contains(&b'@') {
        return Err(HeadError::TargetInvalid);
    }
    let authority = Span::of(head, authority);
    out.authority = Some(authority);
    split_path_and_query(head, Span { start: authority.end, end: span.end }, out);
    Ok(())
}

fn split_path_and_query(head: &[u8], span: Span, out: &mut RequestHead) {
    let bytes = span.bytes(head);
    match memchr::memchr(b'?', bytes) {
        None => out.path = span,
        Some(mark) => {
            let (path, query) = (&bytes[..mark], &bytes[mark + 1..]);
            out.path = Span::of(head, path);
            out.query = Some(Span::of(head, query));
        }
    }
}

/// Visible ASCII without `#`: a target has no fragment (RFC 9112 §3.2), and its bytes are ASCII (RFC 3986 §2).
fn is_target_text(target: &[u8]) -> bool {
    // Without an early exit, so that the compiler makes SIMD of it.
    target.iter().fold(true, |ok, &byte| ok & byte.is_ascii_graphic() & (byte != b'#'))
}

/// RFC 9112 §3.2.3: `uri-host ":" port`, both given; RFC 9110 §9.3.6: an empty or invalid port is refused.
fn is_host_and_port(target: &[u8]) -> bool {
    let port = target.rsplit(|&byte| byte == b':').next().unwrap_or_default();
    let is_number = port.iter().all(u8::is_ascii_digit) && port.iter().any(|&digit| digit != b'0');
    is_authority(target) && is_number && port.len() < target.len()
}

/// The rule that a request line without its CRLF breaks, if any. Only for heads that httparse refused.
fn check_request_line(line: &[u8]) -> Result<(), HeadError> {
    if memchr::memchr(b'\r', line).is_some() {
        return Err(HeadError::BareCarriageReturn);
    }
    if memchr::memchr(0, line).is_some() {
        return Err(HeadError::Nul);
    }
    // RFC 9112 §3: exactly one SP between the parts. A lenient reader splits elsewhere than a strict one.
    let parts: [&[u8]; 3] = {
        let mut parts = line.split(|&byte| byte == b' ');
        let three = [parts.next(), parts.next(), parts.next()].map(Option::unwrap_or_default);
        if parts.next().is_some() || three.iter().any(|part| part.is_empty()) {
            return Err(HeadError::RequestLineInvalid);
        }
        three
    };
    let [method, target, version] = parts;
    if !is_token(method) {
        return Err(HeadError::MethodInvalid);
    }
    if !is_target_text(target) {
        return Err(HeadError::TargetInvalid);
    }
    check_version(version)
}

/// RFC 9112 §2.3: `HTTP/` DIGIT `.` DIGIT, in upper case.
pub(crate) fn check_version(version: &[u8]) -> Result<(), HeadError> {
    match version {
        b"HTTP/1.0" | b"HTTP/1.1" => Ok(()),
        [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => Err(HeadError::VersionUnsupported),
        _ => Err(HeadError::VersionInvalid),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use HeadError as E;
    use corelane_semantics::Known;

    fn parse(head: &[u8]) -> Result<RequestHead, HeadError> {
        let mut out = RequestHead::default();
        parse_request(head, &HeadLimits::default(), &mut out).map(|()| out)
    }

    fn refusal(head: &[u8]) -> Option<HeadError> {
        parse(head).err()
    }

    fn show(bytes: &[u8]) -> String {
        bytes.escape_ascii().to_string()
    }

    #[test]
    fn splits_a_head_into_spans() {
        let head = b"POST /a/b?c=d&e HTTP/1.1\r\nHost: x\r\nEmpty:\r\nSpaced: \t v w \t\r\nhost:\xff\r\n\r\n";
        let request = parse(head).unwrap();
        assert_eq!(request.method, Method::Post);
        assert_eq!(request.method_token.bytes(head), b"POST");
        assert_eq!(request.target.bytes(head), b"/a/b?c=d&e");
        assert_eq!(request.form, TargetForm::Origin);
        assert_eq!(request.authority, None);
        assert_eq!(request.path.bytes(head), b"/a/b");
        assert_eq!(request.query.unwrap().bytes(head), b"c=d&e");
        assert_eq!(request.version, Version::Http11);
        let lines: Vec<(&[u8], &[u8])> = request
            .fields
            .lines()
            .iter()
            .map(|field| (field.name.bytes(head), field.value.bytes(head)))
            .collect();
        // RFC 9112 §5.1: white space around a value is not part of it.
        let expected: [(&[u8], &[u8]); 4] =
            [(b"Host", b"x"), (b"Empty", b""), (b"Spaced", b"v w"), (b"host", b"\xff")];
        assert_eq!(lines, expected);
        assert_eq!(request.fields.count(Known::Host), 2);
        let fields = Span { start: request.fields_start, end: request.fields_end }.bytes(head);
        assert!(fields.starts_with(b"Host: x\r\n") && fields.ends_with(b"host:\xff\r\n"));
    }

    #[test]
    fn knows_whether_a_name_holds_an_underscore() {
        for (fields, expected) in [
            ("", false),
            ("Host: a_b\r\nX-Y: _\r\n", false),
            ("Host: a\r\nX_Y: b\r\n", true),
            ("content_length: 5\r\n", true),
            ("A: b\r\n_: c\r\n", true),
        ] {
            let head = format!("GET /_ HTTP/1.1\r\n{fields}\r\n");
            assert_eq!(parse(head.as_bytes()).unwrap().fields.has_underscore(), expected, "{fields}");
        }
    }

    #[test]
    fn a_head_without_fields_has_an_empty_field_section() {
        let head = b"GET / HTTP/1.0\r\n\r\n";
        let request = parse(head).unwrap();
        assert_eq!(request.version, Version::Http10);
        assert_eq!((request.fields_start, request.fields_end), (16, 16));
        assert!(request.fields.lines().is_empty());
    }

    #[test]
    fn a_second_head_leaves_nothing_of_the_first() {
        let mut out = RequestHead::default();
        let limits = HeadLimits::default();
        parse_request(b"GET http://a/?q HTTP/1.0\r\nHost: a\r\n\r\n", &limits, &mut out).unwrap();
        let head = b"OPTIONS * HTTP/1.1\r\n\r\n";
        parse_request(head, &limits, &mut out).unwrap();
        assert_eq!((out.authority, out.query, out.path.len()), (None, None, 0));
        assert_eq!((out.form, out.version), (TargetForm::Asterisk, Version::Http11));
        assert_eq!((out.fields.count(Known::Host), out.fields.lines().len()), (0, 0));
    }

    #[test]
    fn knows_the_four_forms_of_a_target() {
        type Parts = (TargetForm, Option<&'static str>, &'static str, Option<&'static str>);
        let table: &[(&str, &str, Option<Parts>)] = &[
            // RFC 9112 §3.2.1: origin-form.
            ("GET", "/", Some((TargetForm::Origin, None, "/", None))),
            ("GET", "//a", Some((TargetForm::Origin, None, "//a", None))),
            ("GET", "/a?", Some((TargetForm::Origin, None, "/a", Some("")))),
            ("GET", "/a?b?c/d", Some((TargetForm::Origin, None, "/a", Some("b?c/d")))),
            ("get", "/%zz|{}\"<>\\^`", Some((TargetForm::Origin, None, "/%zz|{}\"<>\\^`", None))),
            ("OPTIONS", "/*", Some((TargetForm::Origin, None, "/*", None))),
            // RFC 9112 §3.2.2: absolute-form.
            ("GET", "http://a:80/b?c", Some((TargetForm::Absolute, Some("a:80"), "/b", Some("c")))),
            ("GET", "HttpS://[::1]", Some((TargetForm::Absolute, Some("[::1]"), "", None))),
            ("GET", "http://a?b/c", Some((TargetForm::Absolute, Some("a"), "", Some("b/c")))),
            ("OPTIONS", "http://a", Some((TargetForm::Absolute, Some("a"), "", None))),
            ("GET", "http://", None),
            ("GET", "http:///a", None),
            ("GET", "http://?a", None),
            ("GET", "http://u@a/", None),
            ("GET", "http:/a", None),
            ("GET", "http:a", None),
            ("GET", "ftp://a/", None),
            ("GET", "httpx://a/", None),
            ("GET", "a", None),
            ("GET", "a:80", None),
            ("GET", "?a", None),
            // RFC 9112 §3.2.3: authority-form.
            ("CONNECT", "a:80", Some((TargetForm::Authority, Some("a:80"), "", None))),
            ("CONNECT", "[::1]:443", Some((TargetForm::Authority, Some("[::1]:443"), "", None))),
            ("CONNECT", "a", None),
            ("CONNECT", "a:", None),
            ("CONNECT", ":80", None),
            ("CONNECT", "a:0", None),
            ("CONNECT", "a:65536", None),
            ("CONNECT", "a:123456", None),
            ("CONNECT", "80", None),
            ("CONNECT", "a:80:80", None),
            ("CONNECT", "a,b:80", None),
            ("CONNECT", "a\\b:80", None),
            ("CONNECT", "[::1]", None),
            ("CONNECT", "::1:443", None),
            ("CONNECT", "[g]:443", None),
            ("CONNECT", "[]:443", None),
            ("CONNECT", "u@a:80", None),
            ("CONNECT", "a/b:80", None),
            ("CONNECT", "/", None),
            ("CONNECT", "*", None),
            ("CONNECT", "http://a:80", None),
            // RFC 9112 §3.2.4: asterisk-form.
            ("OPTIONS", "*", Some((TargetForm::Asterisk, None, "", None))),
            ("GET", "*", None),
            ("options", "*", None),
            ("OPTIONS", "**", None),
            // RFC 9112 §3.2: no fragment.
            ("GET", "/a#b", None),
            ("GET", "/#", None),
        ];
        for (method, target, expected) in table {
            let head = format!("{method} {target} HTTP/1.1\r\n\r\n").into_bytes();
            let text = |span: Span| String::from_utf8(span.bytes(&head).to_vec()).unwrap();
            match (parse(&head), expected) {
                (Ok(request), Some((form, authority, path, query))) => {
                    assert_eq!(request.form, *form, "{target}");
                    assert_eq!(request.authority.map(text).as_deref(), *authority, "{target}");
                    assert_eq!(text(request.path), *path, "{target}");
                    assert_eq!(request.query.map(text).as_deref(), *query, "{target}");
                    assert_eq!(text(request.target), *target);
                }
                (result, None) => assert_eq!(result.err(), Some(E::TargetInvalid), "{method} {target}"),
                (Err(error), Some(_)) => panic!("{method} {target}: {error}"),
            }
        }
    }

    #[test]
    fn refuses_broken_request_lines() {
        let table: &[(&[u8], HeadError)] = &[
            // RFC 9112 §3: exactly one SP between the parts.
            (b"GET  / HTTP/1.1", E::RequestLineInvalid),
            (b"GET /  HTTP/1.1", E::RequestLineInvalid),
            (b"GET\t/ HTTP/1.1", E::RequestLineInvalid),
            (b"GET /\tHTTP/1.1", E::RequestLineInvalid),
            (b"GET / HTTP/1.1 ", E::RequestLineInvalid),
            (b"GET / a HTTP/1.1", E::RequestLineInvalid),
            (b" GET / HTTP/1.1", E::RequestLineInvalid),
            (b"GET /", E::RequestLineInvalid),
            (b"GET / ", E::RequestLineInvalid),
            (b"GET", E::RequestLineInvalid),
            (b"GET HTTP/1.1", E::RequestLineInvalid),
            // RFC 9112 §2.2: an empty line, however it ends; that one may be ignored is the scanner's matter.
            (b"\r\nGET / HTTP/1.1", E::RequestLineInvalid),
            (b"\nGET / HTTP/1.1", E::RequestLineInvalid),
            // RFC 9110 §9.1: a method is a token.
            (b"G(T / HTTP/1.1", E::MethodInvalid),
            (b"G\x80T / HTTP/1.1", E::MethodInvalid),
            (b"G\x7fT / HTTP/1.1", E::MethodInvalid),
            (b"GET: / HTTP/1.1", E::MethodInvalid),
            // RFC 9112 §2.3 and RFC 9110 §15.6.6.
            (b"GET / HTTP/2.0", E::VersionUnsupported),
            (b"PRI * HTTP/2.0", E::VersionUnsupported),
            (b"GET / HTTP/1.2", E::VersionUnsupported),
            (b"GET / HTTP/0.9", E::VersionUnsupported),
            (b"GET / HTTP/1", E::VersionInvalid),
            (b"GET / HTTP/2", E::VersionInvalid),
            (b"GET / HTTP/1.10", E::VersionInvalid),
            (b"GET / HTTP/01.1", E::VersionInvalid),
            (b"GET / http/1.1", E::VersionInvalid),
            (b"GET / HTTP/1,1", E::VersionInvalid),
            (b"GET / HTTP/1.1x", E::VersionInvalid),
            (b"GET / ICY/1.1", E::VersionInvalid),
            // RFC 9112 §2.2.
            (b"GET / HTTP/1.1\r", E::BareCarriageReturn),
            (b"GET /\r HTTP/1.1", E::BareCarriageReturn),
            (b"GET / HTTP/1.1\nA: b", E::BareLineFeed),
            (b"GET /\0 HTTP/1.1", E::Nul),
        ];
        for (line, expected) in table {
            for fields in [&b""[..], b"Host: a\r\n"] {
                let head = [line, &b"\r\n"[..], fields, b"\r\n"].concat();
                assert_eq!(refusal(&head), Some(*expected), "{}", show(&head));
            }
        }
    }

    #[test]
    fn refuses_every_byte_that_a_target_may_not_have() {
        for byte in 0..=u8::MAX {
            let head = [b"GET /a", &[byte][..], b"b HTTP/1.1\r\n\r\n"].concat();
            let allowed = byte.is_ascii_graphic() && byte != b'#';
            assert_eq!(parse(&head).is_ok(), allowed, "{byte:#04x}");
        }
    }

    #[test]
    fn refuses_every_byte_that_a_field_may_not_have() {
        for byte in 0..=u8::MAX {
            // Long enough to meet httparse's SIMD paths as well as its tables.
            for padding in [0, 1, 7, 8, 15, 16, 31, 32, 40] {
                let before = vec![b'a'; padding];
                let after = vec![b'z'; 40 - padding];
                let byte_text: &[u8] = &[byte];
                let name = [b"GET / HTTP/1.1\r\n", &before[..], byte_text, &after, b": v\r\n\r\n"].concat();
                // A colon ends the name, and must not start it.
                let allowed = crate::bytes::is_token_byte(byte) || (byte == b':' && padding > 0);
                assert_eq!(parse(&name).is_ok(), allowed, "name {byte:#04x} at {padding}");
                let value =
                    [b"GET / HTTP/1.1\r\nA: v", &before[..], byte_text, &after, b"w\r\n\r\n"].concat();
                let expected = match byte {
                    b'\r' => Some(E::BareCarriageReturn),
                    // What follows is read as a line.
                    b'\n' => Some(E::BareLineFeed),
                    0 => Some(E::Nul),
                    b'\t' | b' '..=0x7e | 0x80..=0xff => None,
                    _ => Some(E::FieldValueInvalid),
                };
                assert_eq!(refusal(&value), expected, "value {byte:#04x} at {padding}");
            }
        }
    }

    #[test]
    fn refuses_broken_field_lines() {
        let table: &[(&[u8], HeadError)] = &[
            // RFC 9112 §5.1: no white space between the name and the colon.
            (b"Host : a\r\n", E::FieldNameInvalid),
            (b"Host\t: a\r\n", E::FieldNameInvalid),
            (b"A: b\r\nContent-Length : 1\r\n", E::FieldNameInvalid),
            (b": a\r\n", E::FieldNameInvalid),
            (b"Host\r\n", E::FieldNameInvalid),
            (b"A: b\r\nHost\r\nC: d\r\n", E::FieldNameInvalid),
            (b"Ho st: a\r\n", E::FieldNameInvalid),
            (b"H\x80st: a\r\n", E::FieldNameInvalid),
            (b"[Host]: a\r\n", E::FieldNameInvalid),
            (b"GET / HTTP/1.1\r\n", E::FieldNameInvalid),
            // RFC 9112 §5.2: line folding; §2.2: white space before the first field.
            (b"A: b\r\n c\r\n", E::LineFolding),
            (b"A: b\r\n\tc\r\n", E::LineFolding),
            (b"A: b\r\n \r\n", E::LineFolding),
            (b" Host: a\r\n", E::LineFolding),
            (b"A:\r\n b\r\n", E::LineFolding),
            // RFC 9110 §5.5: control bytes.
            (b"A: b\x7f\r\n", E::FieldValueInvalid),
            (b"A: \x1b[0m\r\n", E::FieldValueInvalid),
            (b"A: b\0\r\n", E::Nul),
            (b"A: b\rC: d\r\n", E::BareCarriageReturn),
            (b"A: b\r\r\n", E::BareCarriageReturn),
            (b"A: b\n", E::BareLineFeed),
            (b"A: b\nC: d\r\n", E::BareLineFeed),
            (b"A:\nC: d\r\n", E::BareLineFeed),
            (b"A: b\r\nC: d\n", E::BareLineFeed),
        ];
        for (fields, expected) in table {
            let head = [b"GET / HTTP/1.1\r\n", *fields, b"\r\n"].concat();
            assert_eq!(refusal(&head), Some(*expected), "{}", show(&head));
        }
    }

    #[test]
    fn refuses_other_than_exactly_one_head() {
        let head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        for end in 0..head.len() {
            assert!(refusal(&head[..end]).is_some(), "{end}");
        }
        assert_eq!(refusal(b""), Some(E::NotOneHead));
        assert_eq!(refusal(&head[..head.len() - 2]), Some(E::NotOneHead));
        assert_eq!(refusal(&[&head[..], b"x"].concat()), Some(E::NotOneHead));
        assert_eq!(refusal(b"GET / HTTP/1.1\r\n\n"), Some(E::BareLineFeed));
        assert_eq!(refusal(b"GET / HTTP/1.1\n\r\n"), Some(E::BareLineFeed));
    }

    #[test]
    fn field_count_is_bounded_on_the_stack_and_beyond() {
        for fields_max in [0, 1, 100, 128, 129, 1000] {
            let limits = HeadLimits { fields_max, ..HeadLimits::default() };
            let mut out = RequestHead::default();
            for (count, expected) in [(fields_max, Ok(())), (fields_max + 1, Err(E::TooManyFields))] {
                let head = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(count));
                assert_eq!(parse_request(head.as_bytes(), &limits, &mut out), expected, "{count}");
                assert!(out.fields.lines().len() <= fields_max);
            }
        }
    }

    #[test]
    fn head_size_is_bounded_without_a_scanner() {
        let head = b"GET / HTTP/1.1\r\n\r\n";
        let parse = |head_bytes_max| {
            let limits = HeadLimits { head_bytes_max, ..HeadLimits::default() };
            parse_request(head, &limits, &mut RequestHead::default())
        };
        assert_eq!(parse(head.len()), Ok(()));
        assert_eq!(parse(head.len() - 1), Err(E::HeadTooLarge));
    }
}
