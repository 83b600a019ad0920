//! Requests that break a rule are refused before the origin hears of them (RFC 9112 §2.2, §3, §5, §6.3, §11.2).

use crate::support::{Origin, Setup, client, eventually, ok};

/// Each with why, and the statuses that fit.
const REFUSED: &[(&str, &[u16], &[u8])] = &[
    ("Content-Length with chunked", &[400],
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("chunked with Content-Length", &[400],
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n"),
    ("two different Content-Lengths", &[400],
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"),
    ("the same Content-Length twice", &[400],
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc"),
    ("a list of Content-Lengths", &[400], b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 3\r\n\r\nabc"),
    ("Content-Length with a sign", &[400], b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc"),
    ("negative Content-Length", &[400], b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -3\r\n\r\nabc"),
    ("hexadecimal Content-Length", &[400], b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x3\r\n\r\nabc"),
    ("empty Content-Length", &[400], b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\nabc"),
    ("Content-Length past 64 bits", &[400, 413],
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551617\r\n\r\nabc"),
    ("chunked twice", &[400, 501],
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
    ("chunked on two lines", &[400, 501],
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("a coding after chunked", &[400, 501],
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n"),
    ("a coding nobody knows", &[400, 501],
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    ("chunked with a vertical tab", &[400, 501],
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n"),
    ("chunked in HTTP/1.0", &[400, 501],
        b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("bare LF after the request line", &[400], b"GET / HTTP/1.1\nHost: a\r\n\r\n"),
    ("bare LF after a field", &[400], b"GET / HTTP/1.1\r\nHost: a\nX-A: 1\r\n\r\n"),
    ("bare LF everywhere", &[400], b"GET / HTTP/1.1\nHost: a\n\n"),
    ("bare CR in a value", &[400], b"GET / HTTP/1.1\r\nHost: a\r\nX-A: 1\r2\r\n\r\n"),
    ("space before the colon", &[400], b"GET / HTTP/1.1\r\nHost: a\r\nX-A : 1\r\n\r\n"),
    ("space in a name", &[400], b"GET / HTTP/1.1\r\nHost: a\r\nX A: 1\r\n\r\n"),
    ("a line without a colon", &[400], b"GET / HTTP/1.1\r\nHost: a\r\nX-A\r\n\r\n"),
    ("an empty name", &[400], b"GET / HTTP/1.1\r\nHost: a\r\n: 1\r\n\r\n"),
    ("a folded line", &[400], b"GET / HTTP/1.1\r\nHost: a\r\nX-A: 1\r\n 2\r\n\r\n"),
    ("space before the first field", &[400], b"GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
    ("NUL in a value", &[400], b"GET / HTTP/1.1\r\nHost: a\r\nX-A: 1\x002\r\n\r\n"),
    ("NUL in a name", &[400], b"GET / HTTP/1.1\r\nHost: a\r\nX\x00A: 1\r\n\r\n"),
    ("a control character in a value", &[400], b"GET / HTTP/1.1\r\nHost: a\r\nX-A: \x01\r\n\r\n"),
    ("NUL in the target", &[400], b"GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("a tab in the target", &[400], b"GET /\t HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("a space in the target", &[400], b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("two spaces after the method", &[400], b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("a target without a slash", &[400], b"GET a HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("a method with a parenthesis", &[400], b"G(T / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("no version", &[400, 505], b"GET /\r\nHost: a\r\n\r\n"),
    ("a version in lower case", &[400, 505], b"GET / http/1.1\r\nHost: a\r\n\r\n"),
    ("version 2.0", &[400, 505], b"GET / HTTP/2.0\r\nHost: a\r\n\r\n"),
    ("version 1.10", &[400, 505], b"GET / HTTP/1.10\r\nHost: a\r\n\r\n"),
    ("no Host", &[400], b"GET / HTTP/1.1\r\nX-A: 1\r\n\r\n"),
    ("two Hosts", &[400], b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
    ("the same Host twice", &[400], b"GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n"),
    ("a space in Host", &[400], b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n"),
    ("a slash in Host", &[400], b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"),
    ("a user in Host", &[400], b"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n"),
    ("a TLS client hello", &[400], b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"),
    ("binary rubbish", &[400], b"\x00\x01\x02\x03\xff\xfe\r\n\r\n"),
];

#[test]
fn refuses_malformed_heads() {
    let origin = Origin::answering(ok("x"));
    let proxy = Setup::origin(&origin).start();
    let mut wrong = Vec::new();
    for (why, statuses, request) in REFUSED {
        let mut client = proxy.client();
        client.send(request).unwrap();
        match client.try_response(true) {
            Ok(response) if !statuses.contains(&response.status()) => {
                wrong.push(format!("{why}: {}", response.status()));
            }
            Ok(response) if response.body.is_empty() => wrong.push(format!("{why}: an empty answer")),
            // Where the next request begins is unknown.
            Ok(_) => match client.end() {
                Ok(_) => {}
                Err(error) => wrong.push(format!("{why}: {error}")),
            },
            Err(error) => wrong.push(format!("{why}: {error}")),
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), REFUSED.len(), wrong.join("\n"));
    assert_eq!(origin.requests().len(), 0, "the origin heard of {:?}", origin.requests());
    eventually("each is counted", || proxy.listener("bad_requests_total") >= REFUSED.len() as u64);
}

#[test]
fn refuses_malformed_heads_after_a_good_request() {
    let origin = Origin::answering(ok("x"));
    let proxy = Setup::origin(&origin).start();
    for (why, statuses, request) in REFUSED {
        let mut client = proxy.client();
        assert_eq!(client.get("/").status(), 200);
        let response = client.request(request);
        assert!(statuses.contains(&response.status()), "{why}: {}", response.status());
        client.expect_end();
    }
    assert!(origin.requests().iter().all(|request| request.head.target() == "/"));
}

#[test]
fn refuses_malformed_chunks() {
    let bodies: &[(&str, &[u8])] = &[
        ("no size", b"\r\nabc\r\n0\r\n\r\n"),
        ("not a number", b"xyz\r\nabc\r\n0\r\n\r\n"),
        ("a sign", b"+3\r\nabc\r\n0\r\n\r\n"),
        ("0x", b"0x3\r\nabc\r\n0\r\n\r\n"),
        ("space before the size", b" 3\r\nabc\r\n0\r\n\r\n"),
        ("past 64 bits", b"10000000000000003\r\nabc\r\n0\r\n\r\n"),
        ("no CRLF after the data", b"3\r\nabcX\r\n0\r\n\r\n"),
        ("bare LF after the size", b"3\nabc\r\n0\r\n\r\n"),
        ("bare LF after the data", b"3\r\nabc\n0\r\n\r\n"),
        ("bare CR in an extension", b"3;a\rb\r\nabc\r\n0\r\n\r\n"),
        ("space before a trailer's colon", b"3\r\nabc\r\n0\r\nX : 1\r\n\r\n"),
        ("a size without end", &[b'0'; 20_000]),
    ];
    let origin = Origin::script(|connection| {
        // What arrives must not look complete.
        let request = connection.request();
        assert!(!matches!(request, Ok(Some(_))), "a complete request: {request:?}");
    });
    let proxy = Setup::origin(&origin).start();
    for (why, body) in bodies {
        let mut client = proxy.client();
        client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
        client.send(body).unwrap();
        let response = client.response();
        assert_eq!(response.status(), 400, "{why}");
        client.drain().unwrap();
    }
}

#[test]
fn answers_431_to_a_head_that_is_too_large() {
    let origin = Origin::answering(ok("x"));
    let proxy = Setup::origin(&origin).listener("head_bytes_max = 4096").start();
    let long = "v".repeat(5_000);
    let response = proxy.client().request(format!("GET / HTTP/1.1\r\nHost: a\r\nX-Long: {long}\r\n\r\n"));
    assert_eq!(response.status(), 431);
    assert!(!response.body.is_empty());
    let many = "X-A: 1\r\n".repeat(500);
    let response = proxy.client().request(format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n"));
    assert_eq!(response.status(), 431);
    assert_eq!(proxy.get(&format!("/{}", "p".repeat(3_000))).status(), 200, "within the limit");
    assert_eq!(origin.requests().len(), 1);
}

#[test]
fn answers_431_to_more_fields_than_allowed() {
    let origin = Origin::answering(ok("x"));
    let proxy = Setup::origin(&origin).listener("fields_max = 20").start();
    let fields = |count: usize| "X-A: 1\r\n".repeat(count);
    let request = |count| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", fields(count));
    assert_eq!(proxy.client().request(request(19)).status(), 200);
    assert_eq!(proxy.client().request(request(20)).status(), 431);
}

#[test]
fn answers_414_to_a_target_that_is_too_long() {
    let origin = Origin::answering(ok("x"));
    let proxy = Setup::origin(&origin).listener("head_bytes_max = 4096").start();
    let response = proxy.get(&format!("/{}", "p".repeat(5_000)));
    assert_eq!(response.status(), 414);
    assert!(!response.body.is_empty());
    assert_eq!(origin.connections(), 0);
}

#[test]
fn a_refused_request_leaves_the_others_alone() {
    let origin = Origin::answering(ok("x"));
    let proxy = Setup::origin(&origin).start();
    let mut good = proxy.client();
    for (_, _, request) in REFUSED {
        let mut bad = proxy.client();
        bad.send(request).unwrap();
        assert_eq!(good.get("/").status(), 200);
    }
    assert_eq!(good.request(client::post("/", b"abc")).status(), 200);
}
