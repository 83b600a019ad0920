//! Which fields, and which bytes of the request line, reach the other side (RFC 9110 §7.6.1).

use crate::support::message::Head;
use crate::support::{ANY_PATH, Origin, Setup, ok};

/// The head that the origin gets when the client sends `head`.
fn upstream_head(setup: impl Fn(Setup) -> Setup, request: &str) -> Head {
    let origin = Origin::answering(ok("x"));
    let proxy = setup(Setup::origin(&origin)).start();
    assert_eq!(proxy.client().request(request).status(), 200);
    origin.request().head
}

fn plain(setup: Setup) -> Setup {
    setup
}

#[test]
fn removes_hop_by_hop_fields_of_requests() {
    let head = upstream_head(
        plain,
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, X-Private , x-other\r\nConnection: X-Third\r\n\
         Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nTE: gzip\r\nUpgrade: h2c\r\n\
         X-Private: 1\r\nX-OTHER: 2\r\nX-Third: 3\r\nX-Kept: 4\r\n\r\n",
    );
    for name in ["keep-alive", "proxy-connection", "upgrade", "x-private", "x-other", "x-third"] {
        assert!(!head.has(name), "{name} in {:?}", head.raw);
    }
    assert!(!head.connection_has("x-private"), "{:?}", head.raw);
    assert!(head.field("te").is_none_or(|value| value == "trailers"), "{:?}", head.raw);
    assert_eq!(head.field("x-kept"), Some("4"));
}

#[test]
fn removes_hop_by_hop_fields_of_responses() {
    let origin = Origin::answering(
        "HTTP/1.1 200 OK\r\nConnection: X-Private, keep-alive\r\nX-Private: 1\r\nKeep-Alive: timeout=5\r\n\
         Proxy-Connection: keep-alive\r\nUpgrade: h2c\r\nX-Kept: 2\r\nContent-Length: 1\r\n\r\nx",
    );
    let proxy = Setup::origin(&origin).start();
    let response = proxy.get("/");
    for name in ["x-private", "keep-alive", "proxy-connection", "upgrade"] {
        assert!(!response.head.has(name), "{name} in {:?}", response.head.raw);
    }
    assert!(!response.head.connection_has("x-private"));
    assert_eq!(response.head.field("x-kept"), Some("2"));
}

#[test]
fn connection_cannot_take_away_what_the_message_needs() {
    let origin = Origin::answering(ok("x"));
    let proxy = Setup::origin(&origin).start();
    let names =
        ["Host", "Content-Length", "transfer-encoding", "Cookie", "AUTHORIZATION", "X-Forwarded-For", "Via"];
    for name in names {
        let request = format!(
            "POST / HTTP/1.1\r\nHost: a\r\nConnection: close, {name}\r\nContent-Length: 3\r\n\r\nabc"
        );
        assert_eq!(proxy.client().request(&request).status(), 400, "{name}");
    }
    for record in proxy.records(names.len()) {
        assert_eq!(record["reason"], "connection_nominates_protected");
    }
    assert!(origin.requests().is_empty(), "nothing of it goes on");
}

#[test]
fn a_response_cannot_take_away_what_the_message_needs() {
    let origin = Origin::answering(
        "HTTP/1.1 200 OK\r\nConnection: Content-Length, Set-Cookie, X-One\r\nContent-Length: 1\r\n\
         Set-Cookie: a\r\nX-One: 1\r\n\r\nx",
    );
    let proxy = Setup::origin(&origin).start();
    let response = proxy.get("/");
    assert_eq!(response.head.field("Content-Length"), Some("1"));
    assert_eq!(response.head.field("Set-Cookie"), Some("a"));
    assert!(!response.head.has("X-One"));
}

#[test]
fn field_names_with_an_underscore_end_here_unless_told_otherwise() {
    let request = "GET / HTTP/1.1\r\nHost: a\r\nX_User: root\r\nX-User: me\r\nContent_Length: 5\r\n\r\n";
    let head = upstream_head(plain, request);
    assert!(!head.has("X_User") && !head.has("Content_Length"), "{:?}", head.raw);
    assert_eq!(head.field("X-User"), Some("me"));
    let head = upstream_head(|setup| setup.listener("underscore_fields = \"pass\""), request);
    assert_eq!(head.field("X_User"), Some("root"));
    let origin = Origin::answering(ok("x"));
    let proxy = Setup::origin(&origin).listener("underscore_fields = \"reject\"").start();
    assert_eq!(proxy.client().request(request).status(), 400);
    assert_eq!(proxy.records(1)[0]["reason"], "underscore_field");
    assert!(origin.requests().is_empty());
}

#[test]
fn keeps_order_case_and_duplicates_of_request_fields() {
    let sent =
        ["X-b: 1", "x-A: 2", "X-B: 3", "Accept: */*", "x-a: 4", "X-Empty:", "COOKIE: a=b", "cookie: c=d"];
    let request = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n\r\n", sent.join("\r\n"));
    let head = upstream_head(plain, &request);
    let lines: Vec<&str> =
        head.raw.split("\r\n").map(str::trim_end).filter(|line| sent.contains(line)).collect();
    assert_eq!(lines, sent, "{:?}", head.raw);
}

#[test]
fn keeps_order_case_and_duplicates_of_response_fields() {
    let sent = [
        "Set-Cookie: a=1",
        "X-b: 1",
        "SET-COOKIE: b=2; Path=/",
        "Date: Thu, 01 Jan 1970 00:00:00 GMT",
        "Set-Cookie: a=1",
        "server: Test/1",
    ];
    let answer = format!("HTTP/1.1 200 Very Fine\r\n{}\r\nContent-Length: 1\r\n\r\nx", sent.join("\r\n"));
    let origin = Origin::answering(answer);
    let proxy = Setup::origin(&origin).start();
    let response = proxy.get("/");
    assert_eq!(response.head.first, "HTTP/1.1 200 Very Fine");
    let lines: Vec<&str> = response.head.raw.split("\r\n").filter(|line| sent.contains(line)).collect();
    assert_eq!(lines, sent, "{:?}", response.head.raw);
    assert_eq!(response.head.all("date").len(), 1);
    assert_eq!(response.head.all("server").len(), 1);
}

#[test]
fn forwards_the_bytes_of_the_target_unchanged() {
    let targets = [
        "/a%2Fb/c/../d?x=%20",
        "//double//slash/",
        "/%7Euser/./%00?",
        "/q?a=b&c=d/../e?f",
        "/semi;colon=1,2!$&'()*+:@-._~",
        "/raw|pipe{brace}^\"quote\"",
        "/?",
    ];
    let origin = Origin::answering(ok("x"));
    let proxy = Setup::origin(&origin).listener(ANY_PATH).start();
    let mut client = proxy.client();
    for target in targets {
        assert_eq!(client.get(target).status(), 200, "{target}");
    }
    let requests = origin.requests();
    let seen: Vec<&str> = requests.iter().map(|request| request.head.target()).collect();
    assert_eq!(seen, targets);
}

#[test]
fn passes_values_with_bytes_beyond_ascii() {
    let origin = Origin::answering(b"HTTP/1.1 200 OK\r\nX-Name: r\xe9sum\xe9\r\nContent-Length: 1\r\n\r\nx");
    let proxy = Setup::origin(&origin).start();
    let response = proxy.client().request(b"GET / HTTP/1.1\r\nHost: a\r\nX-Who: \xffJos\xe9\tx\r\n\r\n");
    assert_eq!(response.head.field("x-name"), Some("r\u{e9}sum\u{e9}"));
    assert_eq!(origin.request().head.field("x-who"), Some("\u{ff}Jos\u{e9}\tx"));
}

#[test]
fn passes_methods_that_it_does_not_know() {
    let origin = Origin::http(|request| ok(request.head.method()));
    let proxy = Setup::origin(&origin).start();
    let mut client = proxy.client();
    for method in
        ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND", "get", "M-SEARCH", "X!#$%&'*+-.^_`|~9"]
    {
        let response = client.request(format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!(response.text(), method);
    }
}

#[test]
fn passes_options_asterisk() {
    let head = upstream_head(plain, "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(head.first, "OPTIONS * HTTP/1.1");
}

#[test]
fn takes_the_host_from_an_absolute_target() {
    let head = upstream_head(
        |setup| setup.route("hosts = [\"inner.example\"]"),
        "GET http://inner.example/x?y HTTP/1.0\r\n\r\n",
    );
    assert_eq!(head.all("host"), ["inner.example"]);
    assert!(head.target().ends_with("/x?y"), "{}", head.first);
}

#[test]
fn refuses_an_absolute_target_that_differs_from_host() {
    let origin = Origin::answering(ok("x"));
    let proxy = Setup::origin(&origin).start();
    let mut client = proxy.client();
    let response = client.request("GET http://inner.example/x HTTP/1.1\r\nHost: INNER.example\r\n\r\n");
    assert_eq!(response.status(), 200);
    // Stricter than RFC 9112 §3.2.2, which has the target win: two names for one request are an attack or a mistake.
    let response = client.request("GET http://inner.example/x HTTP/1.1\r\nHost: outer.example\r\n\r\n");
    assert_eq!(response.status(), 400);
    assert_eq!(origin.requests().len(), 1);
}

#[test]
fn refuses_connect() {
    let origin = Origin::answering(ok("x"));
    let proxy = Setup::origin(&origin).start();
    let response = proxy.client().request("CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n");
    assert!((400..=501).contains(&response.status()), "{}", response.status());
    assert!(origin.received(0).is_empty(), "{}", origin.received(0));
}

#[test]
fn passes_ninety_fields() {
    let fields: String = (0..90).map(|index| format!("X-Field-{index}: {index}\r\n")).collect();
    let head = upstream_head(plain, &format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n"));
    for index in 0..90 {
        assert_eq!(head.field(&format!("x-field-{index}")), Some(index.to_string().as_str()));
    }
}

#[test]
fn preserves_the_host() {
    let head = upstream_head(plain, "GET / HTTP/1.1\r\nHost: Shop.Example:8080\r\n\r\n");
    assert_eq!(head.all("host"), ["Shop.Example:8080"]);
}

#[test]
fn sets_the_host_when_the_route_says_so() {
    let head = upstream_head(
        |setup| setup.route("host = \"inner.example\""),
        "GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n",
    );
    assert_eq!(head.all("host"), ["inner.example"]);
    assert_eq!(head.field("x-forwarded-host"), Some("shop.example"));
}

#[test]
fn sends_a_host_for_an_http10_request_without_one() {
    let head = upstream_head(plain, "GET / HTTP/1.0\r\n\r\n");
    assert_eq!(head.first, "GET / HTTP/1.1");
    assert_eq!(head.all("host").len(), 1, "RFC 9112 §3.2: every HTTP/1.1 request has a Host: {:?}", head.raw);
}
