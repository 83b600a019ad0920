//! Response heads: the request's method, raw bytes and what is made of them.

use Verdict::{More, Taken};
use corelane_http1::{HeadError as E, HeadLimits, HeadScanner, parse_response};
use corelane_semantics::Method::{Connect, Get, Head};
use corelane_semantics::{
    BodyFraming, FramingError as F, Method, ResponseHead, Span, Version, response_framing,
};

use crate::feed::{all_ways, scan};

#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    Taken(String),
    More,
    Refused(Refusal),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    Head(E),
    Framing(F),
}

fn judge(bytes: &[u8], method: Method, ends: &[usize]) -> Result<Option<String>, Refusal> {
    // As the proxy sets them for a response: the head's limit alone.
    let head_bytes_max = HeadLimits::default().head_bytes_max;
    let limits = HeadLimits {
        request_line_bytes_max: head_bytes_max,
        field_bytes_max: head_bytes_max,
        ..HeadLimits::default()
    };
    let found = scan(HeadScanner::for_response(), bytes, &limits, ends).map_err(Refusal::Head)?;
    let Some((start, end)) = found else { return Ok(None) };
    assert_eq!(start, 0);
    let mut head = ResponseHead::default();
    parse_response(&bytes[..end], &limits, &mut head).map_err(Refusal::Head)?;
    let framing = response_framing(&head, bytes, method).map_err(Refusal::Framing)?;
    Ok(Some(describe(&head, bytes, framing) + &format!(", then {}", bytes.len() - end)))
}

/// `version status "reason" [Name=value, ...] body`.
fn describe(head: &ResponseHead, bytes: &[u8], framing: BodyFraming) -> String {
    let text = |span: Span| span.bytes(bytes).escape_ascii().to_string();
    let version = if head.version == Version::Http10 { "1.0" } else { "1.1" };
    let fields: Vec<String> = head
        .fields
        .lines()
        .iter()
        .map(|field| format!("{}={}", text(field.name), text(field.value)))
        .collect();
    let body = match framing {
        BodyFraming::None => "none".to_owned(),
        BodyFraming::Length(length) => format!("length {length}"),
        BodyFraming::Chunked => "chunked".to_owned(),
        BodyFraming::UntilClose => "until close".to_owned(),
    };
    format!("{version} {} {:?} [{}] {body}", head.status, text(head.reason), fields.join(", "))
}

#[track_caller]
fn check(table: &[(&str, Method, &[u8], Verdict)]) {
    for (rule, method, bytes, expected) in table {
        let verdict = match all_ways(bytes, |ends| judge(bytes, *method, ends)) {
            Ok(Some(text)) => Taken(text),
            Ok(None) => More,
            Err(refusal) => Verdict::Refused(refusal),
        };
        assert_eq!(&verdict, expected, "{rule}: {}", bytes.escape_ascii());
    }
}

fn ok(text: &str) -> Verdict {
    Taken(if text.contains(", then ") { text.to_owned() } else { format!("{text}, then 0") })
}

fn no(error: E) -> Verdict {
    Verdict::Refused(Refusal::Head(error))
}

fn unframed(error: F) -> Verdict {
    Verdict::Refused(Refusal::Framing(error))
}

// The sections are of RFC 9112 where no other RFC is named.

#[test]
fn status_lines() {
    check(&[
        ("§4", Get, b"HTTP/1.1 200 OK\r\n\r\n", ok("1.1 200 \"OK\" [] until close")),
        ("§4", Get, b"HTTP/1.0 404 Not  Found\r\n\r\n", ok("1.0 404 \"Not  Found\" [] until close")),
        ("§4 no reason", Get, b"HTTP/1.1 200 \r\n\r\n", ok("1.1 200 \"\" [] until close")),
        // §4 asks for the SP; it is left out by some servers, and nothing depends on it.
        ("§4 no SP", Get, b"HTTP/1.1 200\r\n\r\n", ok("1.1 200 \"\" [] until close")),
        ("§4 obs-text", Get, b"HTTP/1.1 200 \xe9\tb\r\n\r\n", ok("1.1 200 \"\\\\xe9\\\\tb\" [] until close")),
        ("§4 unfinished", Get, b"HTTP/1.1 200 OK\r\n", More),
        ("§4 unfinished", Get, b"HTTP/1.1 200 OK\r\nA: b\r\n\r", More),
        (
            "§2.1 a body behind it",
            Get,
            b"HTTP/1.1 200 OK\r\n\r\n\0\n",
            ok("1.1 200 \"OK\" [] until close, then 2"),
        ),
        ("RFC 9110 §15", Get, b"HTTP/1.1 599 x\r\n\r\n", ok("1.1 599 \"x\" [] until close")),
        ("RFC 9110 §15", Get, b"HTTP/1.1 999 x\r\n\r\n", ok("1.1 999 \"x\" [] until close")),
        ("RFC 9110 §15", Get, b"HTTP/1.1 099 x\r\n\r\n", no(E::StatusLineInvalid)),
        ("RFC 9110 §15", Get, b"HTTP/1.1 000 x\r\n\r\n", no(E::StatusLineInvalid)),
        ("§4 digits", Get, b"HTTP/1.1 20 OK\r\n\r\n", no(E::StatusLineInvalid)),
        ("§4 digits", Get, b"HTTP/1.1 2000 OK\r\n\r\n", no(E::StatusLineInvalid)),
        ("§4 digits", Get, b"HTTP/1.1 0200 OK\r\n\r\n", no(E::StatusLineInvalid)),
        ("§4 digits", Get, b"HTTP/1.1 -20 OK\r\n\r\n", no(E::StatusLineInvalid)),
        ("§4 digits", Get, b"HTTP/1.1 +20 OK\r\n\r\n", no(E::StatusLineInvalid)),
        ("§4 digits", Get, b"HTTP/1.1 2x0 OK\r\n\r\n", no(E::StatusLineInvalid)),
        ("§4 digits", Get, b"HTTP/1.1 \xb2\xb2\xb2 OK\r\n\r\n", no(E::StatusLineInvalid)),
        ("§4 SP", Get, b"HTTP/1.1  200 OK\r\n\r\n", no(E::StatusLineInvalid)),
        ("§4 SP", Get, b"HTTP/1.1\t200 OK\r\n\r\n", no(E::StatusLineInvalid)),
        ("§4 SP", Get, b"HTTP/1.1 200\tOK\r\n\r\n", no(E::StatusLineInvalid)),
        ("§4 SP", Get, b"HTTP/1.1 200OK\r\n\r\n", no(E::StatusLineInvalid)),
        ("§4 SP", Get, b" HTTP/1.1 200 OK\r\n\r\n", no(E::VersionInvalid)),
        ("§4 no status", Get, b"HTTP/1.1 OK\r\n\r\n", no(E::StatusLineInvalid)),
        ("§4 no status", Get, b"HTTP/1.1\r\n\r\n", no(E::StatusLineInvalid)),
        ("§2.3", Get, b"HTTP/2 200\r\n\r\n", no(E::VersionInvalid)),
        ("§2.3", Get, b"HTTP/1.2 200 OK\r\n\r\n", no(E::VersionUnsupported)),
        ("§2.3", Get, b"http/1.1 200 OK\r\n\r\n", no(E::VersionInvalid)),
        ("§2.3", Get, b"ICY 200 OK\r\n\r\n", no(E::VersionInvalid)),
        ("HTTP/0.9", Get, b"<html>\r\n\r\n", no(E::StatusLineInvalid)),
        ("§2.2 empty line", Get, b"\r\nHTTP/1.1 200 OK\r\n\r\n", no(E::StatusLineInvalid)),
        ("§2.2", Get, b"\nHTTP/1.1 200 OK\r\n\r\n", no(E::BareLineFeed)),
        ("§2.2", Get, b"HTTP/1.1 200 OK\n\r\n", no(E::BareLineFeed)),
        ("§2.2", Get, b"HTTP/1.1 200 OK\rA: b\r\n\r\n", no(E::BareCarriageReturn)),
        ("§4 reason", Get, b"HTTP/1.1 200 O\0K\r\n\r\n", no(E::Nul)),
        ("§4 reason", Get, b"HTTP/1.1 200 O\x7fK\r\n\r\n", no(E::StatusLineInvalid)),
        ("§4 reason", Get, b"HTTP/1.1 200 O\x1bK\r\n\r\n", no(E::StatusLineInvalid)),
        ("a request", Get, b"GET / HTTP/1.1\r\n\r\n", no(E::VersionInvalid)),
    ]);
}

#[test]
fn field_lines() {
    check(&[
        (
            "§5.1",
            Get,
            b"HTTP/1.1 200 OK\r\nA:b\r\nC: \t \r\n\r\n",
            ok("1.1 200 \"OK\" [A=b, C=] until close"),
        ),
        ("§5.1", Get, b"HTTP/1.1 200 OK\r\nA: \xff\r\n\r\n", ok("1.1 200 \"OK\" [A=\\xff] until close")),
        // A proxy must remove such white space from a response, or refuse it.
        ("§5.1", Get, b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n", no(E::FieldNameInvalid)),
        ("§5.1", Get, b"HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\n", no(E::FieldNameInvalid)),
        // A proxy must answer 502 or replace the folding.
        ("§5.2", Get, b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", no(E::LineFolding)),
        ("§5.2", Get, b"HTTP/1.1 200 OK\r\nA:\r\n\tc\r\n\r\n", no(E::LineFolding)),
        ("§2.2", Get, b"HTTP/1.1 200 OK\r\n A: b\r\n\r\n", no(E::LineFolding)),
        ("§5", Get, b"HTTP/1.1 200 OK\r\n: b\r\n\r\n", no(E::FieldNameInvalid)),
        ("§5", Get, b"HTTP/1.1 200 OK\r\nA\r\n\r\n", no(E::FieldNameInvalid)),
        ("§5", Get, b"HTTP/1.1 200 OK\r\nA: b\r\nHTTP/1.1 200 OK\r\n\r\n", no(E::FieldNameInvalid)),
        ("RFC 9110 §5.1", Get, b"HTTP/1.1 200 OK\r\nA b: c\r\n\r\n", no(E::FieldNameInvalid)),
        ("RFC 9110 §5.1", Get, b"HTTP/1.1 200 OK\r\nA\xff: c\r\n\r\n", no(E::FieldNameInvalid)),
        ("RFC 9110 §5.5", Get, b"HTTP/1.1 200 OK\r\nA: b\0\r\n\r\n", no(E::Nul)),
        ("RFC 9110 §5.5", Get, b"HTTP/1.1 200 OK\r\nA: b\rC: d\r\n\r\n", no(E::BareCarriageReturn)),
        ("RFC 9110 §5.5", Get, b"HTTP/1.1 200 OK\r\nA: b\x01\r\n\r\n", no(E::FieldValueInvalid)),
        ("RFC 9110 §5.5", Get, b"HTTP/1.1 200 OK\r\nA: b\x7f\r\n\r\n", no(E::FieldValueInvalid)),
        ("§2.2", Get, b"HTTP/1.1 200 OK\r\nA: b\n\r\n", no(E::BareLineFeed)),
        ("§2.2", Get, b"HTTP/1.1 200 OK\r\nA: b\r\n\n", no(E::BareLineFeed)),
        ("§2.2", Get, b"HTTP/1.1 200 OK\r\nA: b\r\r\n\r\n", no(E::BareCarriageReturn)),
    ]);
}

#[test]
fn framing() {
    check(&[
        // Rule 1: what ends with its head.
        (
            "§6.3 rule 1",
            Head,
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
            ok("1.1 200 \"OK\" [Content-Length=5] none"),
        ),
        (
            "§6.3 rule 1",
            Head,
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            ok("1.1 200 \"OK\" [Transfer-Encoding=chunked] none"),
        ),
        (
            "§6.3 rule 1",
            Get,
            b"HTTP/1.1 204 x\r\nContent-Length: 5\r\n\r\n",
            ok("1.1 204 \"x\" [Content-Length=5] none"),
        ),
        (
            "§6.3 rule 1",
            Get,
            b"HTTP/1.1 304 x\r\nContent-Length: 5\r\n\r\n",
            ok("1.1 304 \"x\" [Content-Length=5] none"),
        ),
        (
            "§6.3 rule 1",
            Get,
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
            ok("1.1 100 \"Continue\" [] none, then 19"),
        ),
        ("§6.3 rule 1", Get, b"HTTP/1.1 103 x\r\nLink: a\r\n\r\n", ok("1.1 103 \"x\" [Link=a] none")),
        (
            "§6.3 rule 1",
            Get,
            b"HTTP/1.1 101 x\r\nUpgrade: a\r\n\r\n\x81\0",
            ok("1.1 101 \"x\" [Upgrade=a] none, then 2"),
        ),
        (
            "§6.3 rule 1",
            Get,
            b"HTTP/1.1 103 x\r\nContent-Length: 5\r\n\r\n",
            ok("1.1 103 \"x\" [Content-Length=5] none"),
        ),
        (
            "§6.3 rule 1",
            Get,
            b"HTTP/1.1 150 x\r\nContent-Length: y\r\n\r\n",
            ok("1.1 150 \"x\" [Content-Length=y] none"),
        ),
        (
            "§6.1",
            Get,
            b"HTTP/1.1 103 x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            unframed(F::TransferEncodingInInterim),
        ),
        (
            "§6.1",
            Get,
            b"HTTP/1.0 100 x\r\nTransfer-Encoding: x\r\n\r\n",
            unframed(F::TransferEncodingInInterim),
        ),
        (
            "§6.3 rule 3",
            Head,
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            unframed(F::LengthWithTransferEncoding),
        ),
        // Rule 2: the tunnel.
        (
            "§6.3 rule 2",
            Connect,
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            ok("1.1 200 \"OK\" [Content-Length=5, Transfer-Encoding=chunked] none"),
        ),
        (
            "§6.3 rule 2",
            Connect,
            b"HTTP/1.1 407 x\r\nContent-Length: 5\r\n\r\n",
            ok("1.1 407 \"x\" [Content-Length=5] length 5"),
        ),
        // Rules 3 to 6.
        (
            "§6.3 rule 3",
            Get,
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            unframed(F::LengthWithTransferEncoding),
        ),
        (
            "§6.3 rule 4",
            Get,
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n",
            ok("1.1 200 \"OK\" [Transfer-Encoding=Chunked] chunked"),
        ),
        (
            "§6.3 rule 4",
            Get,
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            unframed(F::TransferEncodingUnsupported),
        ),
        (
            "§6.3 rule 4",
            Get,
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
            unframed(F::TransferEncodingUnsupported),
        ),
        (
            "§6.3 rule 4",
            Get,
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            unframed(F::TransferEncodingUnsupported),
        ),
        (
            "§6.1",
            Get,
            b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            unframed(F::TransferEncodingInHttp10),
        ),
        ("§6.3 rule 5", Get, b"HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n", unframed(F::LengthRepeated)),
        (
            "§6.3 rule 5",
            Get,
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
            unframed(F::LengthRepeated),
        ),
        ("§6.3 rule 5", Get, b"HTTP/1.1 304 x\r\nContent-Length: -1\r\n\r\n", unframed(F::LengthInvalid)),
        ("§6.3 rule 5", Get, b"HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n", unframed(F::LengthInvalid)),
        (
            "§6.3 rule 6",
            Get,
            b"HTTP/1.1 206 x\r\nContent-Length: 5\r\n\r\nhello",
            ok("1.1 206 \"x\" [Content-Length=5] length 5, then 5"),
        ),
        // Rule 8.
        (
            "§6.3 rule 8",
            Get,
            b"HTTP/1.1 500 x\r\nA: b\r\n\r\nc",
            ok("1.1 500 \"x\" [A=b] until close, then 1"),
        ),
    ]);
}
