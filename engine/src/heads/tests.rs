//! What goes on, what ends here and what is added (RFC 9110 §7.6).

use corelane_http1::{HeadLimits, parse_request, parse_response};
use corelane_semantics::request_framing;

use super::options::CONNECTION_OPTIONS_MAX;
use super::*;
use crate::snapshot::HostPolicy;

const ALL: ForwardedFields = ForwardedFields { x_forwarded: true, forwarded: true, via: true };
const NONE: ForwardedFields = ForwardedFields { x_forwarded: false, forwarded: false, via: false };

struct Sent {
    text: String,
    method: String,
    target: String,
    host: String,
}

fn send(received: &str, forwarded: ForwardedFields, trusted: bool, host_policy: &HostPolicy) -> Sent {
    let bytes = received.as_bytes();
    let mut head = RequestHead::default();
    parse_request(bytes, &HeadLimits::default(), &mut head).unwrap();
    let client = ClientAddress::new(Some("192.0.2.1:4711".parse().unwrap()));
    let mut out = Vec::new();
    let words = UpstreamHead {
        head: &head,
        bytes,
        host: head.host(bytes).unwrap(),
        framing: request_framing(&head, bytes).unwrap(),
        options: &connection_options(&head.fields, bytes),
        client: &client,
        trusted,
        forwarded,
        set_host: host_policy.set(),
        path: head.path.bytes(bytes),
        edits: None,
        max_forwards: None,
        upgrades: &["websocket".into()],
        drops_underscores: true,
        dropped_underscore: Cell::default(),
        tells_attempt: false,
        trace: None,
    }
    .write(&mut out);
    let word = |span: Span| String::from_utf8(span.bytes(&out).to_vec()).unwrap();
    let (method, target, host) = (word(words.method), word(words.target), word(words.host));
    Sent { text: String::from_utf8(out).unwrap(), method, target, host }
}

fn plain(received: &str) -> Sent {
    send(received, NONE, false, &HostPolicy::Preserve)
}

#[test]
fn keeps_order_case_duplicates_and_the_target() {
    let received =
        "GET /a%2Fb/../c?x=%20 HTTP/1.1\r\nX-B:  1\r\nhOsT: example.org:80\r\nx-a: 2\r\nX-B: 3 \r\n\r\n";
    let sent = plain(received);
    assert_eq!(sent.text, received);
    assert_eq!((&*sent.method, &*sent.target, &*sent.host), ("GET", "/a%2Fb/../c?x=%20", "example.org:80"));
}

#[test]
fn hop_by_hop_and_nominated_fields_end_here() {
    let sent = plain(
        "POST / HTTP/1.1\r\nConnection: X-One, close, content-length, host, cookie\r\nKeep-Alive: 5\r\nX-One: 1\r\n\
         Host: h\r\nTE: gzip\r\nUpgrade: h2c\r\nProxy-Connection: x\r\nCookie: c\r\nContent-Length: 3\r\nX-Two: 2\r\n\r\n",
    );
    assert_eq!(sent.text, "POST / HTTP/1.1\r\nHost: h\r\nCookie: c\r\nContent-Length: 3\r\nX-Two: 2\r\n\r\n");
    assert_eq!(sent.host, "h");
}

#[test]
fn framing_is_our_own_and_trailers_are_accepted_anew() {
    let sent =
        plain("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: CHUNKED\r\nTE: gzip, trailers\r\n\r\n");
    assert_eq!(
        sent.text,
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\nConnection: TE\r\n\r\n"
    );
}

#[test]
fn an_absolute_target_becomes_a_path() {
    for (target, path) in [("http://h/x?y", "/x?y"), ("http://h", "/"), ("http://h?y", "/?y")] {
        let sent = plain(&format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n"));
        assert_eq!(sent.text, format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n"));
        assert_eq!(sent.target, path);
    }
    let sent = plain("OPTIONS http://h HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(sent.text.starts_with("OPTIONS * HTTP/1.1\r\n"));
}

#[test]
fn host_is_set_or_made_where_there_is_none() {
    let set = HostPolicy::Set("inner".into());
    let sent = send("GET / HTTP/1.1\r\nA: b\r\nHost: h\r\n\r\n", NONE, false, &set);
    assert_eq!(sent.text, "GET / HTTP/1.1\r\nHost: inner\r\nA: b\r\n\r\n");
    assert_eq!(sent.host, "inner");
    let sent = plain("GET / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(sent.text, "GET / HTTP/1.1\r\nHost: \r\n\r\n");
}

#[test]
fn forwarding_fields_of_strangers_are_replaced() {
    let received = "GET / HTTP/1.1\r\nHost: h:1\r\nX-Forwarded-For: 10.0.0.1\r\nX-Forwarded-Proto: https\r\n\
                    x-real_ip: 10.0.0.2\r\nX_Forwarded_For: 10.0.0.3\r\nX-FORWARDED-Port: 1\r\n\
                    X-Forwarded-Host: evil\r\nForwarded: for=evil\r\nVia: 1.0 a\r\n\r\n";
    let sent = send(received, ALL, false, &HostPolicy::Preserve);
    assert_eq!(
        sent.text,
        "GET / HTTP/1.1\r\nHost: h:1\r\nVia: 1.0 a\r\nX-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: http\r\n\
         X-Forwarded-Host: h:1\r\nForwarded: for=192.0.2.1;host=\"h:1\";proto=http\r\nVia: 1.1 corelane\r\n\r\n"
    );
    // Not forged even where nothing is added.
    assert_eq!(plain(received).text, "GET / HTTP/1.1\r\nHost: h:1\r\nVia: 1.0 a\r\n\r\n");
}

#[test]
fn forwarding_fields_of_trusted_proxies_are_added_to() {
    let received = "GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 10.0.0.1\r\nX-Forwarded-Proto: https\r\n\
                    X-Forwarded-Host: outer\r\nForwarded: for=10.0.0.1\r\n\r\n";
    let sent = send(received, ALL, true, &HostPolicy::Preserve);
    assert_eq!(
        sent.text,
        "GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: outer\r\n\
         X-Forwarded-For: 10.0.0.1, 192.0.2.1\r\n\
         Forwarded: for=10.0.0.1, for=192.0.2.1;host=\"h\";proto=http\r\nVia: 1.1 corelane\r\n\r\n"
    );
    assert_eq!(send(received, NONE, true, &HostPolicy::Preserve).text, received);
}

#[test]
fn client_addresses_as_text() {
    for (address, text) in [
        (Some("192.0.2.1:1"), "192.0.2.1"),
        (Some("[2001:db8::1]:1"), "2001:db8::1"),
        (Some("[::ffff:192.0.2.1]:1"), "192.0.2.1"),
        (Some("[2001:1db8:ffff:ffff:ffff:ffff:ffff:ffff]:1"), "2001:1db8:ffff:ffff:ffff:ffff:ffff:ffff"),
        (None, "unix:"),
    ] {
        let client = ClientAddress::new(address.map(|address| address.parse().unwrap()));
        assert_eq!(client.text(), text.as_bytes());
    }
}

#[test]
fn connection_options_are_bounded() {
    // Empty members cost as much as others.
    for member in ["x,", ","] {
        let members = member.repeat(CONNECTION_OPTIONS_MAX);
        let received = format!("GET / HTTP/1.1\r\nHost: h\r\nConnection: {members}\r\n\r\n");
        let mut head = RequestHead::default();
        parse_request(received.as_bytes(), &HeadLimits::default(), &mut head).unwrap();
        let options = connection_options(&head.fields, received.as_bytes());
        assert!(options.excess && options.nominated(b"").next().is_none(), "{member}");
    }
}

fn answer(received: &str, framing: BodyFraming, persistence: Persistence) -> String {
    let bytes = received.as_bytes();
    let mut head = ResponseHead::default();
    parse_response(bytes, &HeadLimits::default(), &mut head).unwrap();
    let options = &connection_options(&head.fields, bytes);
    let mut out = Vec::new();
    DownstreamHead { head: &head, bytes, options, framing, persistence, edits: None, set_cookies: [None; 2] }
        .write(b"today", &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn response_heads() {
    let received = "HTTP/1.0 200 Fine\r\nServer: s\r\nConnection: close, x-gone\r\nX-Gone: 1\r\nDate: d\r\n\
                    Content-Length: 3\r\nset-cookie: a\r\nSet-Cookie: b\r\n\r\n";
    let kept = "HTTP/1.1 200 Fine\r\nServer: s\r\nDate: d\r\nContent-Length: 3\r\nset-cookie: a\r\nSet-Cookie: b\r\n";
    assert_eq!(answer(received, BodyFraming::Length(3), Persistence::Keep), format!("{kept}\r\n"));
    assert_eq!(
        answer(received, BodyFraming::Length(3), Persistence::Close),
        format!("{kept}Connection: close\r\n\r\n")
    );
    let chunked = answer("HTTP/1.1 200 OK\r\n\r\n", BodyFraming::Chunked, Persistence::KeepSaid);
    assert_eq!(
        chunked,
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nDate: today\r\nConnection: keep-alive\r\n\r\n"
    );
    // RFC 9110 §8.6: a 304 keeps the length of what it stands for, a 204 has none.
    let length = |status| format!("HTTP/1.1 {status} X\r\nDate: d\r\nContent-Length: 3\r\n\r\n");
    assert!(answer(&length(304), BodyFraming::None, Persistence::Keep).contains("Content-Length"));
    assert!(!answer(&length(204), BodyFraming::None, Persistence::Keep).contains("Content-Length"));
}
