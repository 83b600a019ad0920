//! What the client gets when the exchange fails: a status, a short body, and a reason in the access log.

use crate::support::message::Response;
use crate::support::proxy::{Proxy, sum_of};
use crate::support::{Origin, Setup, client, eventually, free_port, ok, settles_at};

/// Never an empty answer, and one whose end is clear.
#[track_caller]
fn assert_short_answer(response: &Response, status: u16) {
    assert_eq!(response.status(), status, "{:?}", response.head.raw);
    assert!(!response.body.is_empty() && response.body.len() < 1024, "{:?}", response.text());
    assert_eq!(response.head.field("content-length"), Some(response.body.len().to_string().as_str()));
}

/// The access log says why.
#[track_caller]
fn assert_reason(proxy: &Proxy, status: u16) {
    let record = proxy.record();
    assert_eq!(record["status"], status, "{record}");
    assert!(record["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{record}");
}

#[test]
fn answers_404_when_no_route_fits() {
    let origin = Origin::answering(ok("x"));
    let proxy = Setup::origin(&origin).route("path = { prefix = \"/api\" }").start();
    let mut client = proxy.client();
    assert_short_answer(&client.get("/other"), 404);
    assert_reason(&proxy, 404);
    assert_eq!(client.get("/api").status(), 200, "the connection goes on");
    assert_eq!(origin.requests().len(), 1);
}

#[test]
fn answers_502_when_the_origin_refuses() {
    let proxy = Setup::to(&[&format!("127.0.0.1:{}", free_port())]).start();
    let mut client = proxy.client();
    assert_short_answer(&client.get("/"), 502);
    assert_reason(&proxy, 502);
    assert_short_answer(&client.get("/"), 502);
    eventually("it is counted", || proxy.endpoints("connect_failures_total") >= 2);
    eventually("it is counted", || proxy.metric("corelane_route_failures_total", &[("route", "all")]) == 2);
}

#[test]
fn answers_502_to_a_malformed_response() {
    let responses: &[(&str, &[u8])] = &[
        ("not HTTP", b"SSH-2.0-OpenSSH_9.2\r\n\r\n"),
        ("version 2", b"HTTP/2.0 200 OK\r\nContent-Length: 1\r\n\r\nx"),
        ("status of two digits", b"HTTP/1.1 20 OK\r\nContent-Length: 1\r\n\r\nx"),
        ("status of letters", b"HTTP/1.1 abc OK\r\nContent-Length: 1\r\n\r\nx"),
        (
            "Content-Length with chunked",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        ("two Content-Lengths", b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxy"),
        ("bad Content-Length", b"HTTP/1.1 200 OK\r\nContent-Length: 1x\r\n\r\nx"),
        ("unknown coding", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nx"),
        ("space before the colon", b"HTTP/1.1 200 OK\r\nX-A : 1\r\nContent-Length: 1\r\n\r\nx"),
        ("NUL in a value", b"HTTP/1.1 200 OK\r\nX-A: \x00\r\nContent-Length: 1\r\n\r\nx"),
        ("a folded line", b"HTTP/1.1 200 OK\r\nX-A: 1\r\n 2\r\nContent-Length: 1\r\n\r\nx"),
        ("bare CR", b"HTTP/1.1 200 OK\r\nX-A: 1\r2\r\nContent-Length: 1\r\n\r\nx"),
    ];
    for (why, response) in responses {
        let response = response.to_vec();
        let origin = Origin::script(move |connection| {
            connection.request().unwrap();
            connection.send(&response).unwrap();
            connection.wait_for_end();
        });
        let proxy = Setup::origin(&origin).start();
        let mut client = proxy.client();
        let answer = client.get("/");
        assert_eq!(answer.status(), 502, "{why}: {:?}", answer.head.raw);
        assert_short_answer(&answer, 502);
        assert_reason(&proxy, 502);
        eventually("it is counted", || proxy.endpoints("bad_responses_total") >= 1);
    }
}

#[test]
fn answers_502_to_a_response_head_that_is_too_large() {
    let long = "v".repeat(10_000);
    let origin =
        Origin::answering(format!("HTTP/1.1 200 OK\r\nX-Long: {long}\r\nContent-Length: 1\r\n\r\nx"));
    let proxy = Setup::origin(&origin).upstream("head_bytes_max = 4096").start();
    assert_short_answer(&proxy.get("/"), 502);
}

#[test]
fn answers_502_when_the_body_is_malformed_from_its_start() {
    let origin = Origin::answering("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\n");
    let proxy = Setup::origin(&origin).start();
    let mut client = proxy.client();
    assert_short_answer(&client.get("/"), 502);
    assert_eq!(proxy.record()["reason"], "chunk_size_invalid");
    assert_short_answer(&client.get("/"), 502);
}

#[test]
fn answers_502_when_a_fresh_connection_closes_without_a_byte() {
    let origin = Origin::script(|connection| {
        connection.request().unwrap();
    });
    let proxy = Setup::origin(&origin).start();
    let response = proxy.client().request(client::post("/", b"once"));
    assert_short_answer(&response, 502);
    assert_reason(&proxy, 502);
    assert_eq!(origin.requests().len(), 1, "a POST is not sent twice");
}

#[test]
fn answers_502_when_the_response_head_is_cut() {
    let origin = Origin::script(|connection| {
        connection.request().unwrap();
        connection.send("HTTP/1.1 200 OK\r\nContent-Le").unwrap();
    });
    let proxy = Setup::origin(&origin).start();
    assert_short_answer(&proxy.client().request(client::post("/", b"once")), 502);
}

#[test]
fn answers_502_when_the_origin_resets() {
    let origin = Origin::script(|connection| {
        connection.request().unwrap();
        connection.reset_on_close();
    });
    let proxy = Setup::origin(&origin).start();
    assert_short_answer(&proxy.client().request(client::post("/", b"once")), 502);
    eventually("it is counted", || proxy.endpoints("resets_total") >= 1);
}

#[test]
fn answers_head_requests_that_fail_without_a_body() {
    let proxy = Setup::to(&[&format!("127.0.0.1:{}", free_port())]).start();
    let mut client = proxy.client();
    client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!(client.response_to_head().status(), 502);
    // The next answer begins where the head ended.
    assert_short_answer(&client.get("/"), 502);
}

#[test]
fn answers_503_when_every_endpoint_has_weight_zero() {
    let origin = Origin::answering(ok("x"));
    let endpoint = format!("{{ address = \"{}\", weight = 0 }}", origin.address());
    let proxy = Setup::to(&[&endpoint]).upstream("policy = \"weighted\"").start();
    assert_short_answer(&proxy.get("/"), 503);
    assert_reason(&proxy, 503);
    settles_at(1, || proxy.metric("corelane_upstream_no_endpoint_total", &[("upstream", "origin")]));
}

#[test]
fn refuses_requests_of_http10_with_a_close() {
    let origin = Origin::answering(ok("x"));
    let proxy = Setup::origin(&origin).route("hosts = [\"only.example\"]").start();
    let mut client = proxy.client();
    let response = client.request("GET / HTTP/1.0\r\nHost: other.example\r\n\r\n");
    assert_short_answer(&response, 404);
    client.expect_close();
}

#[test]
fn counts_failures_by_status() {
    let origin = Origin::answering(ok("x"));
    let refused = format!("127.0.0.1:{}", free_port());
    let proxy = Setup::origin(&origin)
        .route("path = { exact = \"/good\" }")
        .more(&format!(
            "[[routes]]\nname = \"bad\"\npath = {{ exact = \"/bad\" }}\nupstream = \"down\"\n\
             [upstreams.down]\nendpoints = [\"{refused}\"]"
        ))
        .start();
    let mut client = proxy.client();
    assert_eq!(client.get("/good").status(), 200);
    assert_eq!(client.get("/bad").status(), 502);
    assert_eq!(client.get("/bad").status(), 502);
    let route =
        |name: &str, route: &str| proxy.metric(&format!("corelane_route_{name}"), &[("route", route)]);
    let responses = |code: &str, route: &str| {
        proxy.metric("corelane_route_responses_total", &[("route", route), ("code", code)])
    };
    eventually("all are counted", || responses("5xx", "bad") == 2);
    assert_eq!((responses("2xx", "all"), responses("5xx", "all")), (1, 0));
    let metrics = proxy.metrics();
    let failures = |route: &str| sum_of(&metrics, "corelane_route_failures_total", &[("route", route)]);
    assert_eq!(
        (failures("bad"), failures("all")),
        (Some(2), None),
        "a reason appears with its first failure"
    );
    assert_eq!(route("requests_total", "bad"), 2);
}
