//! What a strict reader refuses although many pass it, and what is the client's fault and not the endpoint's.

use crate::support::{Origin, Setup, client, ok, settles_at};

fn refused(request: &str, status: u16, reason: &str) {
    let origin = Origin::answering(ok("x"));
    let proxy = Setup::origin(&origin).start();
    assert_eq!(proxy.client().request(request).status(), status, "{request:?}");
    assert_eq!(proxy.records(1)[0]["reason"], reason, "{request:?}");
    assert!(origin.requests().is_empty(), "nothing of it goes on: {request:?}");
    assert_eq!(proxy.get("/").status(), 200);
}

#[test]
fn refuses_expectations_other_than_100_continue() {
    let with = |expect: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{expect}Content-Length: 0\r\n\r\n");
    for expect in
        ["Expect: miracles\r\n", "Expect:\r\n", "Expect: 100-continue, x\r\n", "Expect: y 100-continue\r\n"]
    {
        refused(&with(expect), 417, "expectation_unsupported");
    }
    refused(&with("Expect: 100-continue\r\nExpect: 100-continue\r\n"), 417, "expectation_unsupported");
}

#[test]
fn refuses_https_targets_in_clear_text_but_from_a_trusted_proxy() {
    refused("GET HTTPS://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 421, "scheme_mismatch");
    let origin = Origin::answering(ok("x"));
    let proxy = Setup::origin(&origin).listener("trusted_proxies = [\"127.0.0.1\"]").start();
    assert_eq!(proxy.client().request("GET https://a/ HTTP/1.1\r\nHost: a\r\n\r\n").status(), 200);
}

#[test]
fn refuses_hosts_with_escapes_and_lengths_beyond_63_bits() {
    refused("GET / HTTP/1.1\r\nHost: admin%2eexample.com\r\n\r\n", 400, "host_invalid");
    let length = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9223372036854775808\r\n\r\n";
    refused(length, 400, "length_invalid");
}

#[test]
fn counts_max_forwards_down_and_answers_at_its_end() {
    let origin = Origin::answering(ok("x"));
    let proxy = Setup::origin(&origin).start();
    let options = |hops: &str| format!("OPTIONS / HTTP/1.1\r\nHost: a\r\nMax-Forwards: {hops}\r\n\r\n");
    let answer = proxy.client().request(options("0"));
    assert_eq!(answer.status(), 200);
    assert!(answer.head.field("Allow").is_some_and(|allow| allow.contains("GET")));
    assert!(origin.requests().is_empty());
    proxy.client().request(options("5"));
    assert_eq!(origin.request().head.field("Max-Forwards"), Some("4"));
    proxy.client().request("GET / HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n");
    assert_eq!(origin.requests()[1].head.field("Max-Forwards"), Some("0"), "of GET it says nothing");
}

#[test]
fn never_shares_a_connection_that_is_authenticated() {
    for (request, response) in [
        ("", "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: NTLM TlRM\r\nContent-Length: 0\r\n\r\n"),
        (
            "",
            "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=a, Negotiate\r\nContent-Length: 0\r\n\r\n",
        ),
        ("Authorization: Negotiate YII=\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ] {
        let origin = Origin::answering(response);
        let proxy = Setup::origin(&origin).start();
        let request = format!("GET / HTTP/1.1\r\nHost: a\r\n{request}\r\n");
        let mut one = proxy.client();
        one.request(&request);
        one.request(&request);
        assert_eq!(proxy.endpoints("connection_reuses_total"), 0, "{request} {response}");
        assert_eq!(proxy.endpoints("connects_total"), 2);
    }
}

#[test]
fn a_client_that_withholds_its_body_does_not_blame_the_endpoint() {
    // It answers when it has the whole request.
    let origin = Origin::answering(ok("x"));
    for (keys, request) in [
        (
            "response_head_timeout = \"500ms\"",
            "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
        ),
        ("request_timeout = \"700ms\"", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 50\r\n\r\nabc"),
    ] {
        let proxy = Setup::origin(&origin).listener("body_idle_timeout = \"1s\"").upstream(keys).start();
        let mut waiting = proxy.client();
        waiting.send(request).unwrap();
        assert_eq!(waiting.response().status(), 408, "{request}");
        assert_eq!(proxy.records(1)[0]["reason"], "request_body_timeout");
        settles_at(1, || proxy.listener("bad_requests_total"));
        assert_eq!(proxy.endpoints("bad_responses_total") + proxy.endpoints("response_timeouts_total"), 0);
    }
}

#[test]
fn an_http10_request_without_a_host_claims_none() {
    let origin = Origin::answering(ok("x"));
    let proxy = Setup::origin(&origin).start();
    assert_eq!(proxy.client().request("GET / HTTP/1.0\r\n\r\n").status(), 200);
    assert!(!origin.request().head.has("X-Forwarded-Host"));
}

#[test]
fn an_open_quote_does_not_swallow_what_is_said_of_the_client() {
    let origin = Origin::answering(ok("x"));
    let proxy = Setup::origin(&origin).listener("trusted_proxies = [\"127.0.0.1\"]").start();
    let mut client = proxy.client();
    client.request("GET / HTTP/1.1\r\nHost: a\r\nForwarded: for=\"1.2.3.4\r\n\r\n");
    let forwarded = origin.request().head.field("Forwarded").map(str::to_owned);
    assert!(forwarded.is_some_and(|value| value.starts_with("for=127.0.0.1;")));
    client.request(client::get("/"));
}
