//! Persistent connections on both sides, and pipelining (RFC 9112 §9.3).

use std::time::Duration;

use crate::support::message::Request;
use crate::support::{Origin, Setup, eventually, ok, settles_at};

fn echo_target(request: &Request) -> Vec<u8> {
    ok(request.head.target())
}

#[test]
fn keeps_connections_alive_on_both_sides() {
    let origin = Origin::http(echo_target);
    let proxy = Setup::origin(&origin).start();
    let mut client = proxy.client();
    for index in 0..5 {
        let response = client.get(&format!("/{index}"));
        assert_eq!((response.status(), response.text()), (200, format!("/{index}")));
    }
    assert_eq!(origin.connections(), 1, "connections to the origin");
    settles_at(4, || proxy.endpoints("connection_reuses_total"));
    settles_at(1, || proxy.endpoints("connects_total"));
    settles_at(1, || proxy.listener("connections_total"));
    settles_at(1, || proxy.listener("connections"));
    drop(client);
    eventually("the connection is no longer counted", || proxy.listener("connections") == 0);
}

#[test]
fn another_client_reuses_the_pooled_connection() {
    let origin = Origin::http(echo_target);
    let proxy = Setup::origin(&origin).start();
    for _ in 0..5 {
        assert_eq!(proxy.get("/").status(), 200);
    }
    assert_eq!(origin.connections(), 1);
    settles_at(1, || proxy.endpoints("connections_idle"));
}

#[test]
fn answers_pipelined_requests_in_order() {
    let origin = Origin::http(|request| {
        // The first is the slowest: answers in the order of readiness would come out wrong.
        if request.head.target() == "/0" {
            std::thread::sleep(Duration::from_millis(150));
        }
        echo_target(request)
    });
    let proxy = Setup::origin(&origin).start();
    let mut client = proxy.client();
    let requests: String = (0..20).map(|index| format!("GET /{index} HTTP/1.1\r\nHost: a\r\n\r\n")).collect();
    client.send(&requests).unwrap();
    for index in 0..20 {
        assert_eq!(client.response().text(), format!("/{index}"));
    }
    settles_at(20, || proxy.listener("requests_total"));
}

#[test]
fn answers_pipelined_requests_with_bodies_in_order() {
    let origin = Origin::http(|request| ok([request.head.target().as_bytes(), &request.body].concat()));
    let proxy = Setup::origin(&origin).start();
    let mut client = proxy.client();
    let requests = "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc\
                    GET /b HTTP/1.1\r\nHost: a\r\n\r\n\
                    POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nde\r\n1\r\nf\r\n0\r\n\r\n\
                    GET /d HTTP/1.1\r\nHost: a\r\n\r\n";
    client.send(requests).unwrap();
    let bodies: Vec<String> = (0..4).map(|_| client.response().text()).collect();
    assert_eq!(bodies, ["/aabc", "/b", "/cdef", "/d"]);
}

#[test]
fn understands_requests_that_arrive_byte_by_byte() {
    let origin = Origin::http(|request| ok(&request.body));
    let proxy = Setup::origin(&origin).start();
    let mut client = proxy.client();
    let request = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc\
                   POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nde\r\n0\r\nT: 1\r\n\r\n";
    for byte in request.as_bytes() {
        client.send([*byte]).unwrap();
    }
    assert_eq!(client.response().text(), "abc");
    assert_eq!(client.response().text(), "de");
}

#[test]
fn ignores_empty_lines_before_a_request() {
    let origin = Origin::http(echo_target);
    let proxy = Setup::origin(&origin).start();
    let mut client = proxy.client();
    // RFC 9112 §2.2: at least one empty line before the request line is ignored.
    assert_eq!(client.request("\r\nGET /a HTTP/1.1\r\nHost: a\r\n\r\n").text(), "/a");
    assert_eq!(client.request("\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n").text(), "/b");
}

#[test]
fn closes_when_the_client_asks_for_it() {
    let origin = Origin::http(echo_target);
    let proxy = Setup::origin(&origin).start();
    let mut client = proxy.client();
    let response = client.request("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert_eq!(response.status(), 200);
    assert!(response.head.connection_has("close"), "{:?}", response.head.raw);
    client.expect_close();
    assert_eq!(proxy.get("/").status(), 200);
    assert_eq!(origin.connections(), 1, "the client's close is not the origin's");
}

#[test]
fn keeps_the_client_when_the_origin_closes() {
    let origin = Origin::answering("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx");
    let proxy = Setup::origin(&origin).start();
    let mut client = proxy.client();
    for _ in 0..3 {
        let response = client.get("/");
        assert_eq!(response.text(), "x");
        assert!(!response.head.connection_has("close"), "{:?}", response.head.raw);
    }
    assert_eq!(origin.connections(), 3);
}

#[test]
fn keeps_no_connection_to_an_http10_origin() {
    let origin = Origin::script(|connection| {
        connection.request().unwrap();
        connection.send("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx").unwrap();
        connection.wait_for_end();
    });
    let proxy = Setup::origin(&origin).start();
    let mut client = proxy.client();
    for _ in 0..2 {
        let response = client.get("/");
        assert_eq!(response.text(), "x");
        assert!(response.head.first.starts_with("HTTP/1.1 "), "{}", response.head.first);
    }
    assert_eq!(origin.connections(), 2);
}

#[test]
fn closes_after_an_http10_request() {
    let origin = Origin::http(echo_target);
    let proxy = Setup::origin(&origin).start();
    let mut client = proxy.client();
    let response = client.request("GET /old HTTP/1.0\r\nHost: a\r\n\r\n");
    assert_eq!(response.text(), "/old");
    client.expect_close();
    // RFC 9110 §2.5: the proxy speaks its own version to the origin.
    assert_eq!(origin.request().head.first, "GET /old HTTP/1.1");
}

#[test]
fn keeps_an_http10_client_that_asks_for_it() {
    let origin = Origin::http(echo_target);
    let proxy = Setup::origin(&origin).start();
    let mut client = proxy.client();
    for index in 0..3 {
        let target = format!("/{index}");
        let request = format!("GET {target} HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n");
        let response = client.request(request);
        assert_eq!(response.text(), target);
        assert!(response.head.connection_has("keep-alive"), "{:?}", response.head.raw);
    }
}

#[test]
fn closes_idle_connections_after_keepalive_timeout() {
    let origin = Origin::http(echo_target);
    let proxy = Setup::origin(&origin).listener("keepalive_timeout = \"2s\"").start();
    let mut used = proxy.client();
    let mut unused = proxy.client();
    assert_eq!(used.get("/").status(), 200);
    used.expect_silence(Duration::from_millis(500));
    used.expect_close();
    unused.expect_end();
    eventually("the timeout is counted", || proxy.listener("keepalive_timeouts_total") >= 1);
}
