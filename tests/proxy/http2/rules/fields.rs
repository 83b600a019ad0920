//! Names and values of fields, and those that say something of a connection (RFC 9113 §8.2).

use super::*;
use crate::support::http2::{PROTOCOL_ERROR, block, headers, plain};

fn refused(rule: &'static str, sent: Vec<u8>, status: u16, reason: &'static str) -> Row {
    row(rule, sent, Refused(status, reason), Nothing)
}

fn reset(rule: &'static str, sent: Vec<u8>) -> Row {
    row(rule, sent, Reset(PROTOCOL_ERROR), Nothing)
}

fn ended(rule: &'static str, sent: Vec<u8>) -> Row {
    row(rule, sent, Ended(PROTOCOL_ERROR), Nothing)
}

/// A request with these fields arrives with those.
fn arrives(rule: &'static str, sent: &[(&str, &str)], received: &str) -> Row {
    row(rule, get_with(sent), Answered, Exactly(message("GET /", &format!("host: a\n{received}"), "")))
}

#[test]
fn names() {
    let named = |name| get_with(&[(name, "z")]);
    run(
        "",
        &[
            ended("§8.2: capitals", named("X-Y")),
            ended("§8.2.1: none", named("")),
            ended("§8.2.1: a space", named("x y")),
            ended("§8.2.1: a space at the end", named("transfer-encoding ")),
            ended("§8.2.1: a tab", named("x\ty")),
            ended("§8.2.1: a colon within", named("x:y")),
            ended("§8.2.1: a colon at the end", named("content-length:")),
            ended("§8.2.1: CR", named("x\ry")),
            ended("§8.2.1: LF", named("x\ny")),
            ended("§8.2.1: a whole field", named("x: y\r\ntransfer-encoding")),
            ended("§8.2.1: NUL", named("x\0y")),
            ended("§8.2.1: DEL", named("x\u{7f}y")),
            ended("§8.2.1: not ASCII", named("\u{e4}")),
            ended("RFC 9110 §5.1: a slash", named("x/y")),
            arrives("RFC 9110 §5.1: a token's signs", &[("x!#$%&'*+-.^`|~", "z")], "x!#$%&'*+-.^`|~: z"),
            arrives("an underscore, which others take for a dash", &[("content_length", "5")], ""),
        ],
    );
}

#[test]
fn values() {
    let valued = |value| get_with(&[("x", value)]);
    run(
        "",
        &[
            ended("§8.2.1: CR", valued("a\rb")),
            ended("§8.2.1: LF", valued("a\nb")),
            ended("§8.2.1: a whole field", valued("a\r\ncontent-length: 5")),
            ended("§8.2.1: a whole request", valued("a\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a")),
            ended("§8.2.1: NUL", valued("a\0b")),
            ended("RFC 9110 §5.5: another control character", valued("a\u{1}b")),
            ended("RFC 9110 §5.5: DEL", valued("a\u{7f}b")),
            refused("§8.2.1: a space in front", valued(" a"), 400, "field_value_invalid"),
            refused("§8.2.1: a space at the end", valued("a "), 400, "field_value_invalid"),
            refused("§8.2.1: a tab at the end", valued("a\t"), 400, "field_value_invalid"),
            refused("§8.2.1: nothing but a space", valued(" "), 400, "field_value_invalid"),
            refused(
                "§8.2.1: of a crumb",
                get_with(&[("cookie", "a=b"), ("cookie", " c=d")]),
                400,
                "field_value_invalid",
            ),
            arrives("none", &[("x", "")], "x: "),
            arrives("a tab within", &[("x", "a\tb")], "x: a\tb"),
            arrives("RFC 9110 §5.5: not ASCII", &[("x", "\u{e4}\u{ff}")], "x: \u{e4}\u{ff}"),
        ],
    );
}

#[test]
fn of_connections() {
    run(
        "",
        &[
            reset("§8.2.2: Connection", get_with(&[("connection", "close")])),
            reset("§8.2.2: Connection, of a field", get_with(&[("connection", "x"), ("x", "y")])),
            reset("§8.2.2: Keep-Alive", get_with(&[("keep-alive", "1")])),
            reset("§8.2.2: Proxy-Connection", get_with(&[("proxy-connection", "keep-alive")])),
            reset("§8.2.2: Transfer-Encoding", get_with(&[("transfer-encoding", "chunked")])),
            reset(
                "§8.2.2: Transfer-Encoding of a body",
                post(
                    &[("transfer-encoding", "chunked")],
                    &[data(http2::END_STREAM, "0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n")],
                ),
            ),
            reset("§8.2.2: Upgrade", get_with(&[("upgrade", "websocket")])),
            reset("§8.2.2: TE", get_with(&[("te", "gzip")])),
            reset("§8.2.2: TE for more than trailers", get_with(&[("te", "trailers, gzip")])),
            arrives("§8.2.2: TE for trailers", &[("te", "trailers")], "TE: trailers\nConnection: TE"),
            arrives(
                "HTTP2-Settings, of an upgrade to h2c, ends here",
                &[("http2-settings", "AAMAAABkAAQAoAAAAAIAAAAA")],
                "",
            ),
            arrives("RFC 9110 §11.7.1: Proxy-Authorization", &[("proxy-authorization", "Basic YTpi")], ""),
        ],
    );
}

#[test]
fn special_ones() {
    run(
        "",
        &[
            arrives(
                "§8.2.3: the crumbs of a cookie are one field",
                &[("cookie", "a=b"), ("x", "y"), ("cookie", "c=d; e=f"), ("cookie", "g")],
                "cookie: a=b; c=d; e=f; g\nx: y",
            ),
            arrives(
                "RFC 9110 §5.3: the order of values is kept",
                &[("x", "1"), ("y", "2"), ("x", "3")],
                "x: 1\nx: 3\ny: 2",
            ),
            refused(
                "RFC 9110 §10.1.1: another expectation",
                get_with(&[("expect", "miracles")]),
                417,
                "expectation_unsupported",
            ),
            row(
                "RFC 9110 §7.6.2: Max-Forwards",
                request(&[
                    (":method", "OPTIONS"),
                    (":scheme", "http"),
                    (":path", "/"),
                    (":authority", "a"),
                    ("max-forwards", "5"),
                ]),
                Answered,
                Exactly(message("OPTIONS /", "host: a\nMax-Forwards: 4", "")),
            ),
            row(
                "a head that needs CONTINUATION",
                headers(
                    1,
                    http2::END_STREAM,
                    &block(
                        &[&plain("/")[..], &[("x", &"y".repeat(8000)), ("z", &"y".repeat(8000)), ("w", "y")]]
                            .concat(),
                    ),
                ),
                Answered,
                Exactly(message("GET /", &format!("host: a\nx: {0}\nz: {0}\nw: y", "y".repeat(8000)), "")),
            ),
        ],
    );
}
