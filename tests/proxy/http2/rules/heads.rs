//! What a request says in pseudo fields: method, scheme, authority, path (RFC 9113 §8.3).

use super::*;
use crate::support::http2::PROTOCOL_ERROR;

fn refused(rule: &'static str, sent: Vec<u8>, status: u16, reason: &'static str) -> Row {
    row(rule, sent, Refused(status, reason), Nothing)
}

fn reset(rule: &'static str, sent: Vec<u8>) -> Row {
    row(rule, sent, Reset(PROTOCOL_ERROR), Nothing)
}

fn ended(rule: &'static str, sent: Vec<u8>) -> Row {
    row(rule, sent, Ended(PROTOCOL_ERROR), Nothing)
}

#[test]
fn pseudo_fields() {
    run(
        "",
        &[
            reset("§8.3.1: no method", get_but(":method", None)),
            reset("§8.3.1: no scheme", get_but(":scheme", None)),
            reset("§8.3.1: no path", get_but(":path", None)),
            refused("§8.3.1: neither authority nor Host", get_but(":authority", None), 400, "host_missing"),
            ended("§8.3: an unknown one", get_with(&[(":x", "y")])),
            reset("§8.3: a response's", get_with(&[(":status", "200")])),
            reset(
                "§8.3: the method twice",
                request(&[&[(":method", "GET")][..], &http2::plain("/")].concat()),
            ),
            reset(
                "§8.3: the path twice",
                request(&[&[(":path", "/admin")][..], &http2::plain("/")].concat()),
            ),
            reset(
                "§8.3: the authority twice",
                request(&[&[(":authority", "b")][..], &http2::plain("/")].concat()),
            ),
            reset("§8.3: behind a field", request(&[&[("x", "y")][..], &http2::plain("/")].concat())),
            ended(
                "§8.3: in capitals",
                request(&[(":METHOD", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a")]),
            ),
            reset("RFC 8441 §4: :protocol without CONNECT", get_with(&[(":protocol", "websocket")])),
        ],
    );
}

#[test]
fn methods() {
    let method = |method| get_but(":method", Some(method));
    run(
        "",
        &[
            row("another one", method("PURGE"), Answered, Exactly(message("PURGE /", "host: a", ""))),
            ended("a request line in it", method("GET / HTTP/1.1\r\nx: y\r\n\r\nGET")),
            ended("a space", method("GET /x")),
            ended("none", method("")),
            row(
                "small letters are another method",
                method("get"),
                Answered,
                Exactly(message("get /", "host: a", "")),
            ),
            refused("TRACE", method("TRACE"), 405, "method_refused"),
            row(
                "PRI, which begins connections",
                method("PRI"),
                Answered,
                Exactly(message("PRI /", "host: a", "")),
            ),
            refused(
                "§8.5: CONNECT",
                request(&[(":method", "CONNECT"), (":authority", "a:1")]),
                405,
                "method_refused",
            ),
            refused(
                "§8.5: CONNECT without a port",
                request(&[(":method", "CONNECT"), (":authority", "a")]),
                400,
                "target_invalid",
            ),
            reset("§8.5: CONNECT with a path", method("CONNECT")),
            reset(
                "§8.5: CONNECT with a scheme",
                request(&[(":method", "CONNECT"), (":scheme", "http"), (":authority", "a:1")]),
            ),
            refused("§8.5: CONNECT to nowhere", request(&[(":method", "CONNECT")]), 400, "target_invalid"),
        ],
    );
}

#[test]
fn schemes() {
    let scheme = |scheme| get_but(":scheme", Some(scheme));
    run(
        "",
        &[
            row("https in clear text: somebody else ends TLS", scheme("https"), Answered, plain_get()),
            refused("another one", scheme("ftp"), 400, "target_invalid"),
            reset("a path in it", scheme("http://b/?")),
            reset("CR and LF in it", scheme("http\r\nx: y")),
            refused("none", scheme(""), 400, "target_invalid"),
            row("capitals are the same", scheme("HTTP"), Answered, plain_get()),
        ],
    );
}

#[test]
fn authorities() {
    let authority = |authority| get_but(":authority", Some(authority));
    let host = |authority: &'static str, host: &'static str| {
        request(&[
            (":method", "GET"),
            (":scheme", "http"),
            (":path", "/"),
            (":authority", authority),
            ("host", host),
        ])
    };
    run(
        "",
        &[
            row("with a port", authority("a:8080"), Answered, Exactly(message("GET /", "host: a:8080", ""))),
            row(
                "an address",
                authority("[::1]:80"),
                Answered,
                Exactly(message("GET /", "host: [::1]:80", "")),
            ),
            row(
                "in capitals",
                authority("A.EXAMPLE"),
                Answered,
                Exactly(message("GET /", "host: A.EXAMPLE", "")),
            ),
            row(
                "§8.3.1: Host alone",
                request(&[(":method", "GET"), (":scheme", "http"), (":path", "/"), ("host", "a")]),
                Answered,
                plain_get(),
            ),
            row("§8.3.1: Host says the same", host("a", "a"), Answered, plain_get()),
            row("§8.3.1: Host says the same in capitals", host("a", "A"), Answered, plain_get()),
            refused("§8.3.1: Host says something else", host("a", "b"), 400, "host_repeated"),
            refused("§8.3.1: Host says nothing", host("a", ""), 400, "host_repeated"),
            refused("§8.3.1: Host has another port", host("a:1", "a:2"), 400, "host_repeated"),
            refused("two Hosts", get_with(&[("host", "a"), ("host", "a")]), 400, "host_repeated"),
            refused("§8.3.1: user information", authority("user@a"), 400, "host_invalid"),
            reset("a path", authority("a/b")),
            reset("a query", authority("a?b")),
            reset("a fragment", authority("a#b")),
            reset("a space", authority("a b")),
            refused("a list", authority("a,b"), 400, "host_invalid"),
            reset("a line end", authority("a\r\nx: y")),
            reset("NUL", authority("a\0b")),
            reset("not ASCII", authority("\u{c3}\u{a4}")),
            reset("none", authority("")),
            reset("two ports", authority("a:1:2")),
            refused("a port above 65535", authority("a:65536"), 400, "host_invalid"),
            reset("an escape", authority("a%2eb")),
            reset("an open bracket", authority("[::1")),
        ],
    );
}

#[test]
fn paths() {
    let path = |path| get_but(":path", Some(path));
    run(
        "",
        &[
            row("a query", path("/a?b=c&d"), Answered, Exactly(message("GET /a?b=c&d", "host: a", ""))),
            reset("§8.3.1: empty", path("")),
            reset("§8.3.1: without a slash", path("a")),
            reset("§8.3.1: absolute", path("http://b/")),
            refused("§8.3.1: `*` for others than OPTIONS", path("*"), 400, "target_invalid"),
            row(
                "§8.3.1: `*` for OPTIONS",
                request(&[(":method", "OPTIONS"), (":scheme", "http"), (":path", "*"), (":authority", "a")]),
                Answered,
                Exactly(message("OPTIONS *", "host: a", "")),
            ),
            reset("a request line in it", path("/ HTTP/1.1\r\nhost: b\r\n\r\nGET /smuggled")),
            reset("a space", path("/a b")),
            reset("a tab", path("/a\tb")),
            reset("CR", path("/a\rb")),
            reset("LF", path("/a\nb")),
            reset("NUL", path("/a\0b")),
            reset("DEL", path("/a\u{7f}b")),
            refused("not ASCII", path("/\u{c3}\u{a4}"), 400, "target_invalid"),
            row(
                "a fragment ends here",
                path("/a#b/../../c"),
                Answered,
                Exactly(message("GET /a", "host: a", "")),
            ),
            refused("a backslash", path("/a\\b"), 400, "path_backslash"),
            refused("an encoded line end", path("/a%0d%0ab"), 400, "path_encoded_control"),
            refused("an encoded NUL", path("/a%00b"), 400, "path_encoded_control"),
            refused("an encoded slash", path("/a%2fb"), 400, "path_encoded_slash"),
            row(
                "a second slash is no authority",
                path("//b/c"),
                Answered,
                Exactly(message("GET //b/c", "host: a", "")),
            ),
            row("dots", path("/a/../b"), Answered, Exactly(message("GET /b", "host: a", ""))),
        ],
    );
}

#[test]
fn sizes() {
    let long = |bytes: usize| "x".repeat(bytes);
    let path = |path: &str| {
        request(&[(":method", "GET"), (":scheme", "http"), (":path", path), (":authority", "a")])
    };
    let many = |count: usize| request(&[&http2::plain("/")[..], &vec![("x", "y"); count]].concat());
    let crumbs = |count: usize| request(&[&http2::plain("/")[..], &vec![("cookie", "a"); count]].concat());
    run(
        "head_bytes_max = \"8KiB\"\nfield_bytes_max = \"4KiB\"\nrequest_line_bytes_max = \"2KiB\"\nfields_max = 50",
        &[
            refused(
                "request_line_bytes_max",
                path(&format!("/{}", long(2048))),
                414,
                "request_line_too_long",
            ),
            refused("field_bytes_max", get_with(&[("x", &long(4096))]), 431, "field_too_large"),
            refused(
                "head_bytes_max",
                get_with(&[("x", &long(4000)), ("y", &long(4000)), ("z", &long(400))]),
                431,
                "head_too_large",
            ),
            refused("fields_max", many(50), 431, "too_many_fields"),
            refused("fields_max, of a cookie's crumbs", crumbs(51), 431, "too_many_fields"),
            row(
                "as many as there may be",
                crumbs(50),
                Answered,
                Exactly(message("GET /", &format!("host: a\ncookie: {}", ["a"; 50].join("; ")), "")),
            ),
        ],
    );
}
