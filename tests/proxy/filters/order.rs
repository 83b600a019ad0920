//! The order: listener, route, upstream for requests, and the other way round for responses.

use super::filter;
use crate::support::{Origin, Setup, client, with_length};

fn ordered(origin: &Origin) -> Setup {
    let of = |name: &str, kind: &str| {
        let keys = format!("type = \"{kind}_fields\"\nappend = {{ X-Order = \"{name}\" }}");
        filter(&format!("{name}-{kind}"), &keys)
    };
    let mut setup = Setup::origin(origin)
        .listener("filters = [\"listener-request\", \"listener-response\"]")
        .route("filters = [\"route-request\", \"route-response\"]")
        .upstream("filters = [\"upstream-request\", \"upstream-response\"]");
    for name in ["listener", "route", "upstream"] {
        setup = setup.more(&of(name, "request")).more(&of(name, "response"));
    }
    setup
}

#[test]
fn requests_go_in_and_responses_come_out() {
    let origin = Origin::answering("HTTP/1.1 200 OK\r\nX-Order: origin\r\nContent-Length: 0\r\n\r\n");
    let proxy = ordered(&origin).start();
    let head = proxy.get("/").head;
    assert_eq!(origin.request().head.all("x-order"), ["listener, route, upstream"]);
    assert_eq!(head.all("x-order"), ["origin, upstream, route, listener"]);
}

#[test]
fn pipelined_requests_have_their_own_changes() {
    let origin = Origin::http(|request| with_length("200 OK", request.head.field("x-n").unwrap_or_default()));
    let proxy = ordered(&origin)
        .route("path = { regex = \"^/(?<n>[0-9]*)$\" }")
        .upstream("idle_timeout = \"5s\"")
        .start();
    let mut client = proxy.client();
    let requests: String = (0..20).map(|n| client::get(&format!("/{n}"))).collect();
    client.send(requests).unwrap();
    for _ in 0..20 {
        assert_eq!(client.response().head.all("x-order"), ["upstream, route, listener"]);
    }
    assert!(origin.requests().iter().all(|it| it.head.all("x-order") == ["listener, route, upstream"]));
    assert_eq!(origin.requests().len(), 20);
}

#[test]
fn a_filter_that_answers_ends_the_way_in_and_all_see_the_way_out() {
    let origin = super::plain();
    let proxy = ordered(&origin)
        .more("[filters.closed]\ntype = \"maintenance\"")
        .listener("")
        .more(
            "[[routes]]\nname = \"closed\"\npath = { prefix = \"/closed\" }\nupstream = \"origin\"\n\
               filters = [\"route-request\", \"closed\", \"route-response\"]",
        )
        .start();
    let mut client = proxy.client();
    let head = client.get("/closed").head;
    assert_eq!((head.status(), head.all("x-order")), (503, vec!["upstream, route, listener"]));
    assert!(origin.requests().is_empty());
    assert_eq!(client.get("/open").text(), "served");
    assert_eq!(origin.request().head.all("x-order"), ["listener, route, upstream"]);
}
