//! Responses that an origin frames badly or not at all (RFC 9112 §4, §6.3, §7.1, §8): what is wrong is answered with 502 or
//! visibly cut, and its connection is never used again.

use super::case::{Case, End, GET, OK, Step, Then, When};
use super::run::Group;
use crate::support::Setup;

pub(super) const STATUS_LINES: Group = Group { name: "status lines", setup, cases: status_lines };
pub(super) const FIELDS: Group = Group { name: "response fields", setup, cases: fields };
pub(super) const FRAMING: Group = Group { name: "response framing", setup, cases: framing };
pub(super) const BODIES: Group = Group { name: "response bodies", setup, cases: bodies };
pub(super) const SURPLUS: Group = Group { name: "surplus", setup, cases: surplus };

/// A quarantine would hide which row's connection is used again.
pub(super) fn setup(setup: Setup) -> Setup {
    setup.upstream("quarantine_after = 0")
}

/// `200 OK` with these lines and a date.
fn ok(lines: &str, body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{lines}\r\nDate: x\r\n\r\n{body}")
}

/// A chunked `200 OK`.
fn chunked(body: impl AsRef<[u8]>) -> Vec<u8> {
    [CHUNKED.as_bytes(), body.as_ref()].concat()
}

/// As the proxy writes it: it says the framing anew, behind the other fields.
const CHUNKED: &str = "HTTP/1.1 200 OK\r\nDate: x\r\nTransfer-Encoding: chunked\r\n\r\n";

fn status_lines() -> Vec<Case> {
    let line = |name, line: &str, reason| {
        Case::response(name, format!("{line}\r\nContent-Length: 2\r\nDate: x\r\n\r\nok")).bad_gateway(reason)
    };
    let invalid = |name, text: &str| line(name, text, "status_line_invalid");
    let passed = |name, line: &str, written: &str| {
        Case::response(name, format!("{line}\r\nContent-Length: 2\r\nDate: x\r\n\r\nok"))
            .sees(format!("{written}\r\nContent-Length: 2\r\nDate: x\r\n\r\nok"))
    };
    vec![
        invalid("a status of two digits", "HTTP/1.1 20 OK"),
        invalid("a status of four digits", "HTTP/1.1 2000 OK"),
        invalid("a status of letters", "HTTP/1.1 2OO OK"),
        invalid("a status with a sign", "HTTP/1.1 +20 OK"),
        invalid("a status below 100", "HTTP/1.1 099 OK"),
        invalid("a status of zeros", "HTTP/1.1 000 OK"),
        invalid("no status", "HTTP/1.1"),
        invalid("no status but a reason", "HTTP/1.1 OK"),
        invalid("two spaces before the status", "HTTP/1.1  200 OK"),
        invalid("a tab before the status", "HTTP/1.1\t200 OK"),
        invalid("a control byte in the reason", "HTTP/1.1 200 O\x01K"),
        line("a word before the version", "x HTTP/1.1 200 OK", "version_invalid"),
        line("a response in lower case", "http/1.1 200 OK", "version_invalid"),
        line("a response of HTTP/2", "HTTP/2.0 200 OK", "version_unsupported"),
        line("a response of version 1.2", "HTTP/1.2 200 OK", "version_unsupported"),
        line("a response of SHOUTcast", "ICY 200 OK", "version_invalid"),
        line("a response of SSH", "SSH-2.0-OpenSSH_9.2", "version_invalid"),
        line("NUL in the reason", "HTTP/1.1 200 O\0K", "nul"),
        line("CR in the reason", "HTTP/1.1 200 O\rK", "bare_carriage_return"),
        line("LF behind the status line", "HTTP/1.1 200 OK\nX-A: 1", "bare_line_feed"),
        Case::response("an empty line before the response", [b"\r\n", OK].concat())
            .bad_gateway("status_line_invalid"),
        Case::response("a response of HTTP/0.9", "<html>hello</html>\r\n\r\n").bad_gateway("version_invalid"),
        Case::response("a request in place of a response", "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            .bad_gateway("version_invalid"),
        passed("no reason", "HTTP/1.1 200 ", "HTTP/1.1 200 "),
        passed("no reason and no space", "HTTP/1.1 200", "HTTP/1.1 200 "),
        passed("another reason", "HTTP/1.1 200 Fine, thanks", "HTTP/1.1 200 Fine, thanks"),
        passed("a status of no class", "HTTP/1.1 999 What", "HTTP/1.1 999 What"),
        Case::response("nothing but the end", "")
            .then(Then::Close)
            .received(super::case::Received::Twice(GET.to_vec()))
            .fails(502, "upstream_closed")
            .end(End::Open)
            .pooled(false),
        Case::response("half a head and the end", "HTTP/1.1 200 OK\r\nContent-Le")
            .then(Then::Close)
            .bad_gateway("upstream_closed"),
        Case::response("half a head and a reset", "HTTP/1.1 200 OK\r\nContent-Le")
            .then(Then::Reset)
            .bad_gateway("upstream_closed"),
        Case::response("a response head in two pieces", "HTTP/1.1 200 OK\r\nConte")
            .replies_later("nt-Length: 2\r\nDate: x\r\n\r\nok")
            .sees(ok("Content-Length: 2", "ok")),
    ]
}

fn fields() -> Vec<Case> {
    let with = |name, line: &[u8], reason| {
        let head = [b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n", line, b"\r\n\r\nok"].concat();
        Case::response(name, head).bad_gateway(reason)
    };
    let passed = |name, lines: &str, written: &str| {
        Case::response(name, format!("HTTP/1.1 200 OK\r\n{lines}\r\n\r\nok"))
            .sees(format!("HTTP/1.1 200 OK\r\n{written}\r\n\r\nok"))
    };
    let many = |count: usize| "X-A: 1\r\n".repeat(count);
    vec![
        with("a response with a space before the colon", b"X-A : 1", "field_name_invalid"),
        with("a response with a space in a name", b"X A: 1", "field_name_invalid"),
        with("a response with a line without colon", b"X-A", "field_name_invalid"),
        with("a response with an empty name", b": 1", "field_name_invalid"),
        with("a response with a name beyond ASCII", b"X\xc3\xa9: 1", "field_name_invalid"),
        with("a response with NUL in a value", b"X-A: 1\x002", "nul"),
        with("a response with a control byte in a value", b"X-A: \x01", "field_value_invalid"),
        with("a response with DEL in a value", b"X-A: \x7f", "field_value_invalid"),
        with("a response with CR in a value", b"X-A: 1\r2", "bare_carriage_return"),
        with("a response with LF in a value", b"X-A: 1\n2", "bare_line_feed"),
        with("a response whose value splits it", b"Location: /\rSet-Cookie: a=b", "bare_carriage_return"),
        with("a response whose value splits it at LF", b"Location: /\nSet-Cookie: a=b", "bare_line_feed"),
        with("a response with a folded line", b"X-A: 1\r\n 2", "line_folding"),
        with("a response with a line of white space", b"X-A: 1\r\n \t", "line_folding"),
        Case::response(
            "a response with white space before its fields",
            "HTTP/1.1 200 OK\r\n X-A: 1\r\nContent-Length: 2\r\n\r\nok",
        )
        .bad_gateway("line_folding"),
        Case::response(
            "a response with a head that is too large",
            ok(&format!("X-A: {}", "v".repeat(70_000)), ""),
        )
        .bad_gateway("head_too_large"),
        Case::response(
            "a response with a head without end",
            format!("HTTP/1.1 200 OK\r\n{}", "X-A: 1\r\n".repeat(10_000)),
        )
        .bad_gateway("head_too_large"),
        Case::response("a response with too many fields", ok(&many(101), "")).bad_gateway("too_many_fields"),
        Case::response(
            "a response with too many options",
            ok(&format!("Connection: {}", ",".repeat(40)), ""),
        )
        .bad_gateway("connection_options_excess"),
        passed(
            "a response's fields keep their case and order",
            "x-B: 1\r\nContent-Length: 2\r\nX-b: 2\r\nDate: x\r\nSet-Cookie: a\r\nSet-Cookie: b",
            "x-B: 1\r\nContent-Length: 2\r\nX-b: 2\r\nDate: x\r\nSet-Cookie: a\r\nSet-Cookie: b",
        ),
        passed(
            "a response's names with an underscore pass",
            "Content-Length: 2\r\nX_A: 1\r\nDate: x",
            "Content-Length: 2\r\nX_A: 1\r\nDate: x",
        ),
        passed(
            "a response's hop-by-hop fields end here",
            "Content-Length: 2\r\nKeep-Alive: timeout=5\r\nConnection: keep-alive\r\nProxy-Connection: x\r\n\
             Upgrade: h2\r\nProxy-Authenticate: Basic\r\nDate: x",
            "Content-Length: 2\r\nDate: x",
        ),
        passed(
            "what a response's Connection names ends here",
            "Content-Length: 2\r\nX-Hop: 1\r\nConnection: X-Hop, x-other\r\nX-Other: 2\r\nDate: x",
            "Content-Length: 2\r\nDate: x",
        ),
        passed(
            "a response cannot name its length away",
            "Connection: Content-Length\r\nContent-Length: 2\r\nDate: x",
            "Content-Length: 2\r\nDate: x",
        ),
        passed(
            "a response cannot name its cookies away",
            "Connection: Set-Cookie, WWW-Authenticate\r\nContent-Length: 2\r\nSet-Cookie: a=b\r\n\
             WWW-Authenticate: x\r\nDate: x",
            "Content-Length: 2\r\nSet-Cookie: a=b\r\nWWW-Authenticate: x\r\nDate: x",
        ),
        passed(
            "a response's close is its own connection's",
            "Content-Length: 2\r\nDate: x\r\nConnection: close",
            "Content-Length: 2\r\nDate: x",
        )
        .then(Then::Close)
        .pooled(false),
    ]
}

fn framing() -> Vec<Case> {
    let refused =
        |name, lines: &str, reason| Case::response(name, ok(lines, "0\r\n\r\nok")).bad_gateway(reason);
    let length = |name, value: &str| refused(name, &format!("Content-Length: {value}"), "length_invalid");
    let coding = |name, lines: &str| refused(name, lines, "transfer_encoding_unsupported");
    vec![
        refused(
            "a response with CL and TE",
            "Content-Length: 5\r\nTransfer-Encoding: chunked",
            "length_with_transfer_encoding",
        ),
        refused(
            "a response with TE and CL",
            "Transfer-Encoding: chunked\r\nContent-Length: 5",
            "length_with_transfer_encoding",
        ),
        refused("a response with two lengths", "Content-Length: 5\r\nContent-Length: 2", "length_repeated"),
        refused(
            "a response with the same length twice",
            "Content-Length: 5\r\nContent-Length: 5",
            "length_repeated",
        ),
        refused("a response with a list of lengths", "Content-Length: 5, 5", "length_repeated"),
        length("a response with a length with plus", "+2"),
        length("a response with a length with minus", "-2"),
        length("a response with a length in hexadecimal", "0x2"),
        length("a response with an empty length", ""),
        length("a response with a length past 64 bits", "18446744073709551618"),
        length("a response with a length and a unit", "2 bytes"),
        coding("a response with TE gzip", "Transfer-Encoding: gzip"),
        coding("a response with TE gzip, chunked", "Transfer-Encoding: gzip, chunked"),
        coding("a response with TE identity", "Transfer-Encoding: identity"),
        coding("a response with TE xchunked", "Transfer-Encoding: xchunked"),
        coding("a response with an empty TE", "Transfer-Encoding:"),
        coding(
            "a response with TE chunked twice",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        ),
        Case::response(
            "a response of HTTP/1.0 with TE",
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        )
        .bad_gateway("transfer_encoding_in_http10"),
        Case::response(
            "a response of HTTP/1.0 with a length",
            "HTTP/1.0 200 OK\r\nContent-Length: 2\r\nDate: x\r\n\r\nok",
        )
        .then(Then::Close)
        .sees(ok("Content-Length: 2", "ok"))
        .pooled(false),
        Case::response(
            "a response of HTTP/1.0 that says keep-alive is not kept",
            "HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\nDate: x\r\n\r\nok",
        )
        .sees(ok("Content-Length: 2", "ok"))
        .pooled(false),
        Case::response("a response that ends with its connection", "HTTP/1.1 200 OK\r\nDate: x\r\n\r\nhello")
            .then(Then::Close)
            .sees(chunked("5\r\nhello\r\n0\r\n\r\n"))
            .pooled(false),
        Case::response("a length with leading zeros is a plain number", ok("Content-Length: 002", "ok"))
            .sees("HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 2\r\n\r\nok"),
        Case::new("HEAD: a response has no body", HEAD)
            .replies("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\nDate: x\r\n\r\n")
            .sees("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\nDate: x\r\n\r\n"),
        Case::new("HEAD: a chunked response has no body", HEAD)
            .replies("HTTP/1.1 200 OK\r\nDate: x\r\nTransfer-Encoding: chunked\r\n\r\n")
            .sees("HTTP/1.1 200 OK\r\nDate: x\r\n\r\n"),
        Case::new("HEAD: CL and TE are refused all the same", HEAD)
            .replies(ok("Content-Length: 5\r\nTransfer-Encoding: chunked", ""))
            .bad_gateway("length_with_transfer_encoding")
            .without_body(),
        Case::response(
            "204 has no length",
            "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\nDate: x\r\n\r\n",
        )
        .sees("HTTP/1.1 204 No Content\r\nDate: x\r\n\r\n"),
        Case::response(
            "204 has no body, whatever its length",
            "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\nDate: x\r\n\r\n",
        )
        .sees("HTTP/1.1 204 No Content\r\nDate: x\r\n\r\n"),
        Case::response(
            "304 keeps the length and has no body",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nDate: x\r\n\r\n",
        ),
        Case::response(
            "205 has the body that it declares",
            "HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\nDate: x\r\n\r\n",
        ),
    ]
}

const HEAD: &str = "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n";

fn bodies() -> Vec<Case> {
    // What the client sees of a chunked response that is cut after its first chunk.
    let cut = |name, bytes: &[u8], reason| {
        Case::response(name, chunked("3\r\nabc\r\n"))
            .replies_later(bytes)
            .cut(chunked("3\r\nabc\r\n"), reason)
    };
    // Nothing has gone out yet.
    let at_once = |name, body: &str, reason| Case::response(name, chunked(body)).bad_gateway(reason);
    vec![
        at_once("a response whose first chunk is none", "xyz\r\nabc\r\n0\r\n\r\n", "chunk_size_invalid"),
        at_once("a response whose first chunk has a sign", "+3\r\nabc\r\n0\r\n\r\n", "chunk_size_invalid"),
        at_once("a response whose second chunk is none", "3\r\nabc\r\nxyz\r\n", "chunk_size_invalid"),
        at_once("a response whose chunk ends with LF", "3\nabc\r\n0\r\n\r\n", "chunk_bare_line_feed"),
        at_once("a response whose chunk is too long", "3\r\nabcdef\r\n0\r\n\r\n", "chunk_data_unterminated"),
        at_once("a response whose trailer is none", "0\r\nX-A : 1\r\n\r\n", "trailer_invalid"),
        Case::response("a body that is shorter than it says", ok("Content-Length: 10", "abc"))
            .then(Then::Close)
            .cut(ok("Content-Length: 10", "abc"), "response_truncated"),
        Case::response("a body that is reset", ok("Content-Length: 10", "abc"))
            .reply_step(Step::Sleep(std::time::Duration::from_millis(60)))
            .then(Then::Reset)
            .cut(ok("Content-Length: 10", "abc"), "response_truncated"),
        cut("a chunked body without its end", b"", "response_truncated").then(Then::Close),
        cut("a chunked body whose last chunk has no end", b"0\r\n", "response_truncated").then(Then::Close),
        cut("a chunked body whose chunk is cut", b"a\r\n", "response_truncated").then(Then::Close),
        cut("a response's chunk size of letters", b"xyz\r\nabc\r\n0\r\n\r\n", "chunk_size_invalid"),
        cut("a response's chunk size with minus", b"-1\r\nabc\r\n0\r\n\r\n", "chunk_size_invalid"),
        cut("a response's chunk size with 0x", b"0x3\r\nabc\r\n0\r\n\r\n", "chunk_size_invalid"),
        cut(
            "a response's chunk size past 64 bits",
            b"10000000000000003\r\nabc\r\n0\r\n\r\n",
            "chunk_size_too_long",
        ),
        cut("a response's chunk size with LF", b"3\nabc\r\n0\r\n\r\n", "chunk_bare_line_feed"),
        cut("a response's extension with CR", b"3;a\rb\r\nabc\r\n0\r\n\r\n", "chunk_bare_carriage_return"),
        cut("a response's extension with NUL", b"3;a=\0\r\nabc\r\n0\r\n\r\n", "chunk_extension_invalid"),
        cut(
            "a response's extension that is too long",
            &[b"3;".as_slice(), &b"a".repeat(5_000), b"\r\nabc\r\n0\r\n\r\n"].concat(),
            "chunk_line_too_long",
        ),
        cut("a response's trailer with a space before the colon", b"0\r\nX-A : 1\r\n\r\n", "trailer_invalid"),
        cut(
            "a response's trailers without end",
            &[b"0\r\n".as_slice(), &b"X-A: 1\r\n".repeat(500)].concat(),
            "too_many_trailers",
        ),
        cut("a response's chunk without its CRLF", b"3\r\nabcdef\r\n0\r\n\r\n", "chunk_data_unterminated"),
        Case::response("a response's extensions end here", chunked("3;a=b\r\nabc\r\n0;c\r\n\r\n"))
            .sees(chunked("3\r\nabc\r\n0\r\n\r\n")),
        Case::response("a response's trailers pass", chunked("3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n")),
        Case::response(
            "a response's trailers that may not pass end here",
            chunked("3\r\nabc\r\n0\r\nSet-Cookie: a=b\r\nContent-Length: 5\r\nX-Sum: 1\r\nHost: b\r\n\r\n"),
        )
        .sees(chunked("3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n")),
        Case::new("a body that breaks off ends HTTP/1.0 with a reset", "GET / HTTP/1.0\r\nHost: a\r\n\r\n")
            .arrives(GET)
            .replies(chunked("3\r\nabc\r\n"))
            .reply_step(Step::Sleep(std::time::Duration::from_millis(60)))
            .then(Then::Close)
            .cut("HTTP/1.1 200 OK\r\nDate: x\r\nConnection: close\r\n\r\nabc", "response_truncated")
            .end(End::Reset),
    ]
}

fn surplus() -> Vec<Case> {
    let behind = |name, bytes: &[u8]| Case::response(name, [OK, bytes].concat()).sees(OK).pooled(false);
    let second = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";
    vec![
        behind("a byte behind a response", b"x"),
        behind("a line break behind a response", b"\r\n"),
        behind("a second response behind a response", second),
        behind("a second head behind a response", b"HTTP/1.1 100 Continue\r\n\r\n"),
        behind("a megabyte behind a response", &[b'x'; 1 << 20]),
        Case::response(
            "a second response behind the last chunk",
            [chunked("3\r\nabc\r\n0\r\n\r\n").as_slice(), second].concat(),
        )
        .sees(chunked("3\r\nabc\r\n0\r\n\r\n"))
        .pooled(false),
        Case::response("a second response a moment later", OK)
            .replies_later(second)
            .sees(OK)
            .end(End::Ours)
            .step(Step::Pause(std::time::Duration::from_millis(150)))
            .pooled(false),
        Case::new("HEAD: a response with a body all the same", HEAD)
            .replies(ok("Content-Length: 5", "hello"))
            .sees(ok("Content-Length: 5", ""))
            .pooled(false),
        Case::response(
            "204 with a body all the same",
            "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\nDate: x\r\n\r\nhello",
        )
        .sees("HTTP/1.1 204 No Content\r\nDate: x\r\n\r\n")
        .pooled(false),
        Case::response(
            "304 with a body all the same",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nDate: x\r\n\r\nhello",
        )
        .sees("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nDate: x\r\n\r\n")
        .pooled(false),
        Case::new(
            "a response before the request is complete",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc",
        )
        .when(When::Head)
        .then(Then::Hold)
        .later("def")
        .received(super::case::Received::Cut(
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabcdef".to_vec(),
        ))
        .sees(super::case::OK_CLOSE)
        .end(End::Closed),
        Case::response("a connection that closes behind a response", OK).then(Then::Close).pooled(false),
        Case::response("a connection that is reset behind a response", OK).then(Then::Reset).pooled(false),
    ]
}
