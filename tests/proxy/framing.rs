//! Where bodies end, in both directions (RFC 9112 §6 and §7).

use crate::support::message::{Framing, Request, chunked, pattern};
use crate::support::wire::End;
use crate::support::{Origin, Setup, client, ok, settles_at};

/// Around every power of two that a buffer may be as large as.
const SIZES: [usize; 17] = [
    0, 1, 2, 4095, 4096, 4097, 16_383, 16_384, 16_385, 32_768, 65_535, 65_536, 65_537, 73_728, 131_073,
    262_144, 1_000_003,
];

/// Answers with as many pattern bytes as the target says.
fn sized(request: &Request) -> Vec<u8> {
    let path = request.head.target().trim_start_matches('/');
    let (kind, size) = path.split_once('/').unwrap();
    let body = pattern(0, size.parse().unwrap());
    match kind {
        "length" => ok(body),
        "chunked" => {
            let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
            [head.as_bytes(), &chunked(&body, 7_001)].concat()
        }
        // `Connection: close` has the origin close after it.
        _ => [b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n".as_slice(), &body].concat(),
    }
}

#[test]
fn passes_responses_with_content_length() {
    let origin = Origin::http(sized);
    let proxy = Setup::origin(&origin).start();
    let mut client = proxy.client();
    for size in SIZES {
        let response = client.get(&format!("/length/{size}"));
        assert_eq!(response.head.framing(), Framing::Length(size));
        assert!(response.body == pattern(0, size), "other bytes at {size}");
    }
    assert_eq!(origin.connections(), 1);
}

#[test]
fn passes_chunked_responses() {
    let origin = Origin::http(sized);
    let proxy = Setup::origin(&origin).start();
    let mut client = proxy.client();
    for size in SIZES {
        let response = client.get(&format!("/chunked/{size}"));
        assert_eq!(response.head.framing(), Framing::Chunked);
        assert!(response.body == pattern(0, size), "other bytes at {size}");
    }
    assert_eq!(origin.connections(), 1);
}

#[test]
fn rechunks_responses_that_end_with_the_connection() {
    let origin = Origin::http(sized);
    let proxy = Setup::origin(&origin).start();
    let mut client = proxy.client();
    for size in SIZES {
        let response = client.get(&format!("/close/{size}"));
        assert_eq!(response.head.framing(), Framing::Chunked, "the client's connection goes on");
        assert!(response.body == pattern(0, size), "other bytes at {size}");
    }
}

#[test]
fn ends_responses_to_http10_clients_with_the_connection() {
    let origin = Origin::http(sized);
    let proxy = Setup::origin(&origin).start();
    for kind in ["chunked", "close"] {
        let mut client = proxy.client();
        let response =
            client.request(format!("GET /{kind}/70000 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"));
        assert!(!response.head.has("transfer-encoding"), "{:?}", response.head.raw);
        assert!(!response.head.connection_has("keep-alive"), "{:?}", response.head.raw);
        assert!(response.body == pattern(0, 70_000), "other bytes, {kind}");
    }
}

#[test]
fn passes_request_bodies_with_content_length() {
    let origin = Origin::http(|request| ok(&request.body));
    let proxy = Setup::origin(&origin).start();
    let mut client = proxy.client();
    for size in SIZES {
        let body = pattern(0, size);
        let response = client.request(client::post("/", &body));
        assert!(response.body == body, "other bytes at {size}");
    }
    for (request, size) in origin.requests().iter().zip(SIZES) {
        assert_eq!(request.head.framing(), Framing::Length(size));
    }
}

#[test]
fn reframes_chunked_request_bodies() {
    let origin = Origin::http(|request| ok(&request.body));
    let proxy = Setup::origin(&origin).start();
    let mut client = proxy.client();
    for size in SIZES {
        let body = pattern(0, size);
        client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
        let response = client.request(chunked(&body, 997));
        assert!(response.body == body, "other bytes at {size}");
    }
    assert!(origin.requests().iter().all(|request| request.head.framing() == Framing::Chunked));
}

#[test]
fn drops_chunk_extensions() {
    let origin = Origin::http(|request| ok(&request.body));
    let proxy = Setup::origin(&origin).start();
    let mut client = proxy.client();
    let response = client.request(
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
         0003;secret=1;other=\"q\"\r\nabc\r\n00;last\r\n\r\n",
    );
    assert_eq!(response.text(), "abc");
    assert!(!origin.received(0).contains("secret"), "{}", origin.received(0));
}

#[test]
fn passes_request_trailers() {
    let origin = Origin::answering(ok("x"));
    let proxy = Setup::origin(&origin).start();
    let response = proxy.client().request(
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
         3\r\nabc\r\n0\r\nX-Sum: 900150983cd2\r\nx-sum: 2\r\n\r\n",
    );
    assert_eq!(response.status(), 200);
    let request = origin.request();
    assert_eq!(request.body, b"abc");
    let trailers: Vec<_> = request.trailers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    assert_eq!(trailers, ["X-Sum: 900150983cd2", "x-sum: 2"]);
}

#[test]
fn passes_response_trailers() {
    let origin = Origin::answering(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: Digest\r\n\r\n\
         3\r\nabc\r\n0\r\nDigest: sha-256=1\r\nX-Later: yes\r\n\r\n",
    );
    let proxy = Setup::origin(&origin).start();
    let mut client = proxy.client();
    for _ in 0..2 {
        let response = client.request("GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE\r\n\r\n");
        assert_eq!(response.text(), "abc");
        let trailers: Vec<_> =
            response.trailers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        assert_eq!(trailers, ["Digest: sha-256=1", "X-Later: yes"]);
    }
}

#[test]
fn passes_no_trailers_to_an_http10_client() {
    let origin = Origin::answering(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Later: yes\r\n\r\n",
    );
    let proxy = Setup::origin(&origin).start();
    let response = proxy.client().request("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(response.text(), "abc");
}

#[test]
fn answers_head_without_a_body() {
    let origin = Origin::http(|request| {
        let framing = match request.head.target() {
            "/length" => "Content-Length: 1000000\r\n",
            "/chunked" => "Transfer-Encoding: chunked\r\n",
            _ => "",
        };
        format!("HTTP/1.1 200 OK\r\n{framing}ETag: \"1\"\r\n\r\n").into_bytes()
    });
    let proxy = Setup::origin(&origin).start();
    let mut client = proxy.client();
    for target in ["/length", "/chunked", "/neither", "/length"] {
        client.send(format!("HEAD {target} HTTP/1.1\r\nHost: a\r\n\r\n")).unwrap();
        let response = client.response_to_head();
        assert_eq!(response.head.field("etag"), Some("\"1\""));
        if target == "/length" {
            assert_eq!(response.head.field("content-length"), Some("1000000"));
        }
    }
    assert_eq!(origin.connections(), 1, "a bodiless answer does not cost the connection");
}

#[test]
fn passes_204_and_304_without_a_body() {
    let origin = Origin::http(|request| match request.head.target() {
        "/204" => b"HTTP/1.1 204 No Content\r\nX-A: 1\r\n\r\n".to_vec(),
        "/304" => b"HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\nETag: \"1\"\r\n\r\n".to_vec(),
        _ => ok("after"),
    });
    let proxy = Setup::origin(&origin).start();
    let mut client = proxy.client();
    let response = client.get("/204");
    assert_eq!(response.status(), 204);
    // RFC 9110 §8.6, RFC 9112 §6.1: neither field in a 204.
    assert!(!response.head.has("content-length") && !response.head.has("transfer-encoding"));
    let response = client.get("/304");
    assert_eq!((response.status(), response.head.field("etag")), (304, Some("\"1\"")));
    assert!(!response.head.has("transfer-encoding"));
    assert_eq!(client.get("/next").text(), "after");
    assert_eq!(origin.connections(), 1);
}

#[test]
fn passes_status_lines_without_a_reason() {
    let origin = Origin::http(|request| {
        let line = if request.head.target() == "/space" { "HTTP/1.1 299 " } else { "HTTP/1.1 299" };
        format!("{line}\r\nContent-Length: 1\r\n\r\nx").into_bytes()
    });
    let proxy = Setup::origin(&origin).start();
    assert_eq!(proxy.get("/space").status(), 299);
}

#[test]
fn cuts_the_client_when_a_response_with_content_length_is_cut() {
    let origin = Origin::script(|connection| {
        connection.request().unwrap();
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabcd").unwrap();
    });
    let proxy = Setup::origin(&origin).start();
    let mut client = proxy.client();
    client.send(client::get("/")).unwrap();
    assert_eq!(client.next_head().status(), 200);
    assert_eq!(client.exactly(4).unwrap(), b"abcd");
    client.expect_end();
    settles_at(1, || proxy.endpoints("resets_total"));
}

#[test]
fn never_completes_a_chunked_response_that_was_cut() {
    let origin = Origin::script(|connection| {
        connection.request().unwrap();
        connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n").unwrap();
    });
    let proxy = Setup::origin(&origin).start();
    let mut client = proxy.client();
    client.send(client::get("/")).unwrap();
    let error = client.try_response(true).unwrap_err();
    assert!(!error.to_string().contains("chunk size"), "{error}");
    let record = client.record();
    let received = String::from_utf8_lossy(&record.lock().unwrap()).into_owned();
    assert!(!received.contains("\r\n0\r\n"), "{received}");
}

#[test]
fn resets_an_http10_client_when_the_response_is_cut() {
    let origin = Origin::script(|connection| {
        connection.request().unwrap();
        connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n").unwrap();
    });
    let proxy = Setup::origin(&origin).start();
    let mut client = proxy.client();
    client.send("GET / HTTP/1.0\r\n\r\n").unwrap();
    assert_eq!(client.next_head().status(), 200);
    // A close would say that the body is complete.
    let end = loop {
        match client.end() {
            Ok(end) => break end,
            Err(_) => drop(client.exactly(4).unwrap()),
        }
    };
    assert_eq!(end, End::Reset);
}
