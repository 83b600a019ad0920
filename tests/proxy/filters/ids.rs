//! `request_id`: one name for a request in the log, on error pages, for the upstream and for the client.

use super::{filter, get_with, plain, with};
use crate::support::{Client, Setup};

#[test]
fn an_id_is_made_and_is_the_same_everywhere() {
    let origin = plain();
    let proxy = with(&origin, &[("it", "type = \"request_id\"")]).start();
    let head = proxy.client().request(get_with("/", "X-Request-Id: mine\r\n")).head;
    let id = proxy.record()["request_id"].as_str().unwrap().to_owned();
    assert!(id.len() >= 32 && id != "mine", "{id}");
    assert_eq!(head.all("x-request-id"), [&*id]);
    assert_eq!(origin.request().head.all("x-request-id"), [&*id]);
}

#[test]
fn a_trusted_proxys_id_is_kept() {
    let origin = plain();
    let proxy = with(&origin, &[("it", "type = \"request_id\"\nheader = \"X-Correlation-Id\"")])
        .listener("trusted_proxies = [\"127.0.0.1\"]")
        .start();
    let mut client = proxy.client();
    let head = client.request(get_with("/", "x-correlation-id: edge-17/a\r\n")).head;
    assert_eq!(head.all("x-correlation-id"), ["edge-17/a"]);
    assert_eq!(origin.request().head.all("x-correlation-id"), ["edge-17/a"]);
    assert_eq!(proxy.record()["request_id"], "edge-17/a");
    // What could break a log, what is too long, and two of them are nobody's.
    let long = format!("X-Correlation-Id: {}\r\n", "a".repeat(129));
    for lines in ["X-Correlation-Id: a\"b\r\n", &long, "X-Correlation-Id: a\r\nX-Correlation-Id: b\r\n"] {
        let head = client.request(get_with("/", lines)).head;
        assert_eq!(head.field("x-correlation-id").unwrap().len(), 32, "{head:?}");
    }
    let mut stranger = Client::connect_from("127.0.0.2", &proxy.address("web"));
    let head = stranger.request(get_with("/", "X-Correlation-Id: edge-18\r\n")).head;
    assert_ne!(head.field("x-correlation-id"), Some("edge-18"));
    assert!(origin.requests().iter().all(|it| it.head.all("x-correlation-id").len() == 1));
}

#[test]
fn an_error_page_tells_the_id_that_was_kept() {
    let proxy = Setup::to(&["127.0.0.1:1"])
        .route("filters = [\"id\", \"deny\"]")
        .more(&filter("id", "type = \"request_id\"\nkeep = \"always\""))
        .more(&filter("deny", "type = \"user_agent\"\ndeny = [\"bad\"]"))
        .start();
    for (lines, status) in [("", 502), ("User-Agent: bad\r\n", 403)] {
        let lines = format!("X-Request-Id: kept-{status}\r\n{lines}");
        let response = proxy.client().request(get_with("/", &lines));
        let id = format!("kept-{status}");
        assert_eq!((response.status(), response.head.all("x-request-id")), (status, vec![&*id]));
        assert!(response.text().contains(&id), "{}", response.text());
    }
    let ids: Vec<_> = proxy.records(2).iter().map(|it| it["request_id"].clone()).collect();
    assert_eq!(ids, ["kept-502", "kept-403"]);
}

#[test]
fn an_id_for_the_upstream_alone() {
    let origin = plain();
    let proxy = with(&origin, &[("it", "type = \"request_id\"\nkeep = \"never\"\nrespond = false")])
        .listener("trusted_proxies = [\"127.0.0.1\"]")
        .start();
    let head = proxy.client().request(get_with("/", "X-Request-Id: edge\r\n")).head;
    assert!(!head.has("x-request-id"), "{head:?}");
    let sent = origin.request().head;
    assert_eq!(sent.all("x-request-id"), [proxy.record()["request_id"].as_str().unwrap()]);
}
