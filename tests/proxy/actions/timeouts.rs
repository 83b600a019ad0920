//! Timeouts that a route sets go before its upstream's.

use std::time::{Duration, Instant};

use super::launch;
use crate::support::Origin;

/// Answers `/begin` with half a body and everything else not at all.
fn slow() -> Origin {
    Origin::script(|connection| {
        let Ok(Some(request)) = connection.request() else { return };
        if request.head.target() == "/begin" {
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345").unwrap();
        }
        connection.wait_for_end();
    })
}

fn reason(route: &str, target: &str) -> (String, Duration) {
    let origin = slow();
    let route = format!("upstream = \"slow\"\n{route}");
    // The upstream's own: 5 s for the head, 60 s for the body, none for the whole.
    let proxy = launch(1, &route, &[("slow", origin.address())]).start();
    let start = Instant::now();
    let mut client = proxy.client();
    client.send(crate::support::client::get(target)).unwrap();
    let record = proxy.record();
    (record["reason"].as_str().unwrap().to_owned(), start.elapsed())
}

#[test]
fn a_route_has_timeouts_of_its_own() {
    for (key, target, expected) in [
        ("response_head_timeout", "/", "response_head_timeout"),
        ("request_timeout", "/", "request_timeout"),
        ("body_idle_timeout", "/begin", "response_body_timeout"),
    ] {
        let (reason, elapsed) = reason(&format!("{key} = \"400ms\""), target);
        assert_eq!(reason, expected);
        assert!((300..4_000).contains(&elapsed.as_millis()), "{key}: {elapsed:?}");
    }
}

#[test]
fn no_timeout_goes_before_the_upstreams_too() {
    let (reason, elapsed) = reason("response_head_timeout = \"0s\"\nrequest_timeout = \"6s\"", "/");
    assert_eq!(reason, "request_timeout");
    assert!(elapsed > Duration::from_millis(5_500), "{elapsed:?}");
}
