//! The chunked coding in requests (RFC 9112 §7.1): by the grammar alone, and never forwarded as it was framed.

use super::case::{Case, End, OK, Step};
use super::run::Group;

pub(super) const SIZES: Group = Group { name: "chunk sizes and ends", setup: |setup| setup, cases: sizes };
pub(super) const EXTENSIONS: Group =
    Group { name: "chunk extensions", setup: |setup| setup, cases: extensions };
pub(super) const TRAILERS: Group = Group { name: "trailers", setup: |setup| setup, cases: trailers };
pub(super) const NAMED_TRAILERS: Group = Group {
    name: "trailers by name",
    setup: |setup| setup.listener("trailers = [\"x-sum\"]"),
    cases: named_trailers,
};

const HEAD: &str = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";

/// The client sends this body.
fn body(name: &'static str, body: impl AsRef<[u8]>) -> Case {
    Case::new(name, [HEAD.as_bytes(), body.as_ref()].concat())
}

/// The body is refused; of it at most `abc` has gone out.
fn refused(name: &'static str, bytes: impl AsRef<[u8]>, reason: &'static str) -> Case {
    let status = if matches!(reason, "trailers_too_large" | "too_many_trailers") { 431 } else { 400 };
    body(name, bytes).fails(status, reason).end(End::Closed).arrives_cut([HEAD, "3\r\nabc\r\n"].concat())
}

/// The body is taken, and reframed.
fn taken(name: &'static str, bytes: impl AsRef<[u8]>, framed: &str) -> Case {
    body(name, bytes).arrives([HEAD, framed].concat())
}

fn sizes() -> Vec<Case> {
    let invalid = |name, bytes: &str| refused(name, bytes, "chunk_size_invalid");
    vec![
        invalid("no chunk size", "\r\nabc\r\n0\r\n\r\n"),
        invalid("a chunk size of letters", "xyz\r\nabc\r\n0\r\n\r\n"),
        invalid("a chunk size with plus", "+3\r\nabc\r\n0\r\n\r\n"),
        invalid("a chunk size with minus", "-3\r\nabc\r\n0\r\n\r\n"),
        invalid("a chunk size with 0x", "0x3\r\nabc\r\n0\r\n\r\n"),
        invalid("a chunk size with an underscore", "0_3\r\nabc\r\n0\r\n\r\n"),
        invalid("a space before the chunk size", " 3\r\nabc\r\n0\r\n\r\n"),
        invalid("a tab before the chunk size", "\t3\r\nabc\r\n0\r\n\r\n"),
        invalid("a chunk size with a fraction", "3.0\r\nabc\r\n0\r\n\r\n"),
        invalid("a chunk size with a comma", "3,3\r\nabc\r\n0\r\n\r\n"),
        invalid("a chunk size in quotes", "\"3\"\r\nabc\r\n0\r\n\r\n"),
        invalid("NUL behind the chunk size", "3\0\r\nabc\r\n0\r\n\r\n"),
        invalid("a line break before the chunk size", "\r\n3\r\nabc\r\n0\r\n\r\n"),
        invalid("a line break between chunks", "3\r\nabc\r\n\r\n0\r\n\r\n"),
        refused("a chunk size of 17 digits", "00000000000000003\r\nabc\r\n0\r\n\r\n", "chunk_size_too_long"),
        refused(
            "a chunk size that wraps to 3",
            "10000000000000003\r\nabc\r\n0\r\n\r\n",
            "chunk_size_too_long",
        ),
        refused("a chunk size without end", "0".repeat(20_000), "chunk_size_too_long"),
        refused("a space behind the chunk size", "3 \r\nabc\r\n0\r\n\r\n", "chunk_extension_invalid"),
        refused("a tab behind the chunk size", "3\t\r\nabc\r\n0\r\n\r\n", "chunk_extension_invalid"),
        refused("two numbers as a chunk size", "3 3\r\nabc\r\n0\r\n\r\n", "chunk_extension_invalid"),
        refused("a bare LF behind the chunk size", "3\nabc\r\n0\r\n\r\n", "chunk_bare_line_feed"),
        refused("a bare CR behind the chunk size", "3\rabc\r\n0\r\n\r\n", "chunk_bare_carriage_return"),
        refused("CRCRLF behind the chunk size", "3\r\r\nabc\r\n0\r\n\r\n", "chunk_bare_carriage_return"),
        refused("a bare LF behind the chunk", "3\r\nabc\n0\r\n\r\n", "chunk_data_unterminated"),
        refused("a bare CR behind the chunk", "3\r\nabc\r0\r\n\r\n", "chunk_data_unterminated"),
        refused("nothing behind the chunk", "3\r\nabc0\r\n\r\n", "chunk_data_unterminated"),
        refused("a chunk that is longer than it says", "3\r\nabcdef\r\n0\r\n\r\n", "chunk_data_unterminated"),
        refused("a chunk that is shorter than it says", "7\r\nabc\r\n0\r\n\r\n", "chunk_data_unterminated")
            .arrives_cut([HEAD, "7\r\nabc\r\n0\r\r\n"].concat()),
        // What looks like the last chunk is data, and what looks like the next request a chunk.
        refused("a chunk that takes the last one in", "8\r\nabc\r\n0\r\n\r\n", "chunk_size_invalid")
            .arrives_cut([HEAD, "8\r\nabc\r\n0\r\n\r\n"].concat())
            .later("GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"),
        refused("a bare LF behind the last chunk", "3\r\nabc\r\n0\n\r\n", "chunk_bare_line_feed"),
        refused("a bare LF as the end", "3\r\nabc\r\n0\r\n\n", "chunk_bare_line_feed"),
        refused("a bare CR as the end", "3\r\nabc\r\n0\r\n\rX", "chunk_bare_carriage_return"),
        taken("leading zeros in a chunk size", "0003\r\nabc\r\n000\r\n\r\n", "3\r\nabc\r\n0\r\n\r\n"),
        taken("a chunk size of 16 digits", "0000000000000003\r\nabc\r\n0\r\n\r\n", "3\r\nabc\r\n0\r\n\r\n"),
        taken("chunk sizes in upper case", "A\r\n0123456789\r\n0\r\n\r\n", "a\r\n0123456789\r\n0\r\n\r\n"),
        taken("no chunk but the last", "0\r\n\r\n", "0\r\n\r\n"),
        body("a chunk of all the bytes there are is cut with its client", "ffffffffffffffff\r\nabc")
            .step(Step::HalfClose)
            .arrives_cut([HEAD, "3\r\nabc\r\n"].concat())
            .sees("")
            .logs(&[(499, Some("client_gone"))])
            .end(End::Closed),
    ]
}

fn extensions() -> Vec<Case> {
    let invalid = |name, line: &[u8]| {
        refused(name, [line, b"\r\nabc\r\n0\r\n\r\n"].concat(), "chunk_extension_invalid")
    };
    let plain =
        |name, line: &str| taken(name, [line, "\r\nabc\r\n0\r\n\r\n"].concat(), "3\r\nabc\r\n0\r\n\r\n");
    let long = "a".repeat(5_000);
    let tiny = format!("1;{}\r\nx\r\n", "a".repeat(3_000));
    vec![
        plain("an extension is dropped", "3;name"),
        plain("an extension with a value is dropped", "3;name=value"),
        plain("an extension with a quoted value is dropped", "3;name=\"a b;c=d\""),
        plain("extensions with white space are dropped", "3 ; name = value ;\tother"),
        plain("a quoted pair in an extension is dropped", "3;name=\"a\\\"b\""),
        taken(
            "an extension of the last chunk is dropped",
            "3\r\nabc\r\n0;last\r\n\r\n",
            "3\r\nabc\r\n0\r\n\r\n",
        ),
        invalid("an extension without a name", b"3;"),
        invalid("extensions without names", b"3;;;"),
        invalid("an extension of white space", b"3; "),
        invalid("an extension that is no token", b"3;a[b]"),
        invalid("an extension without its value", b"3;a="),
        invalid("an extension whose quote does not end", b"3;a=\"b"),
        invalid("an extension with more behind its quote", b"3;a=\"b\"c"),
        invalid("an extension with NUL", b"3;a=\0"),
        invalid("an extension with a control byte", b"3;a=\x01"),
        invalid("an extension with DEL", b"3;a=\"\x7f\""),
        // Some readers take the quoted line break for a part of the value, others for the end of the line.
        refused(
            "an extension with a line break in quotes",
            "3;a=\"\r\nabc\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\nX: \"\r\n\r\n",
            "chunk_extension_invalid",
        ),
        refused("an extension with a bare LF", "3;a\nabc\r\n0\r\n\r\n", "chunk_bare_line_feed"),
        refused(
            "an extension with a bare LF in quotes",
            "3;a=\"\n\"\r\nabc\r\n0\r\n\r\n",
            "chunk_bare_line_feed",
        ),
        refused("an extension with a bare CR", "3;a\rb\r\nabc\r\n0\r\n\r\n", "chunk_bare_carriage_return"),
        // One reader ends the line at the LF, finds a chunk of zero bytes and then a request.
        refused(
            "an extension that hides a last chunk",
            "3;\nxx\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
            "chunk_bare_line_feed",
        ),
        refused(
            "an extension that is too long",
            format!("3;{long}\r\nabc\r\n0\r\n\r\n"),
            "chunk_line_too_long",
        ),
        refused("extensions without end", format!("3;{}", "a".repeat(60_000)), "chunk_line_too_long"),
        body("more extensions than data", tiny.repeat(8) + "0\r\n\r\n")
            .fails(400, "chunk_extensions_too_long")
            .end(End::Closed)
            .arrives_cut([HEAD, &"1\r\nx\r\n".repeat(8)].concat()),
    ]
}

fn trailers() -> Vec<Case> {
    let with = |lines: &str| format!("3\r\nabc\r\n0\r\n{lines}\r\n");
    let invalid = |name, lines: &str| refused(name, with(lines), "trailer_invalid");
    let dropped = |name, lines: &str| taken(name, with(lines), "3\r\nabc\r\n0\r\n\r\n");
    vec![
        taken("trailers are forwarded", with("X-Sum: 1\r\nx-sum: 2\r\n"), &with("X-Sum: 1\r\nx-sum: 2\r\n")),
        dropped("a Content-Length in the trailers ends here", "Content-Length: 5\r\n"),
        dropped("a Transfer-Encoding in the trailers ends here", "Transfer-Encoding: chunked\r\n"),
        dropped("a Host in the trailers ends here", "Host: b\r\n"),
        dropped("a Connection in the trailers ends here", "Connection: close\r\n"),
        dropped("an Authorization in the trailers ends here", "Authorization: Basic YTpi\r\n"),
        dropped("a Cookie in the trailers ends here", "Cookie: a=b\r\n"),
        dropped("a Content-Type in the trailers ends here", "Content-Type: text/html\r\n"),
        dropped("an X-Forwarded-For in the trailers ends here", "X-Forwarded-For: 127.0.0.1\r\n"),
        dropped("an X_Real_IP in the trailers ends here", "X_Real_IP: 127.0.0.1\r\n"),
        dropped("an underscore in a trailer's name ends here", "X_Sum: 1\r\n"),
        taken("the others stay", with("Host: b\r\nX-Sum: 1\r\nTE: x\r\n"), &with("X-Sum: 1\r\n")),
        invalid("a space before a trailer's colon", "X-Sum : 1\r\n"),
        invalid("a trailer without a colon", "X-Sum\r\n"),
        invalid("a trailer without a name", ": 1\r\n"),
        invalid("a folded trailer", "X-Sum: 1\r\n 2\r\n"),
        invalid("a trailer with NUL", "X-Sum: \0\r\n"),
        refused("a trailer with a bare LF", with("X-Sum: 1\nX-A: 2\r\n"), "chunk_bare_line_feed"),
        refused("a trailer with a bare CR", with("X-Sum: 1\rX-A: 2\r\n"), "chunk_bare_carriage_return"),
        refused("too many trailers", with(&"X-A: 1\r\n".repeat(101)), "too_many_trailers"),
        refused(
            "trailers that are too large",
            with(&format!("X-A: {}\r\n", "v".repeat(9_000))),
            "trailers_too_large",
        ),
        refused("trailers without end", format!("0\r\n{}", "X-A: 1\r\n".repeat(5_000)), "too_many_trailers"),
        body(
            "what follows the trailers is the next request",
            with("X-Sum: 1\r\n") + "GET /2 HTTP/1.1\r\nHost: a\r\n\r\n",
        )
        .sees([OK, OK].concat())
        .logs(&[(200, None), (200, None)]),
    ]
}

fn named_trailers() -> Vec<Case> {
    let with = |lines: &str| format!("3\r\nabc\r\n0\r\n{lines}\r\n");
    vec![
        taken("a trailer that is allowed is forwarded", with("X-SUM: 1\r\n"), &with("X-SUM: 1\r\n")),
        taken(
            "one that is not ends here",
            with("X-Sums: 1\r\nX-Other: 2\r\nX-Sum: 3\r\n"),
            &with("X-Sum: 3\r\n"),
        ),
    ]
}
