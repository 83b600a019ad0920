//! `timeouts`: times of a route beside its upstream's.

use std::time::{Duration, Instant};

use super::with;
use crate::support::Origin;
use crate::support::origin::Connection;

#[test]
fn a_route_has_times_of_its_own() {
    let silent = Origin::script(|connection: &mut Connection| {
        let request = connection.request().unwrap();
        if request.is_some_and(|it| it.head.target() == "/half") {
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").unwrap();
        }
        connection.wait_for_end();
    });
    for (key, status, reason) in [
        ("response_head_timeout", 504, "response_head_timeout"),
        ("request_timeout", 504, "request_timeout"),
        ("body_idle_timeout", 200, "body_timeout"),
    ] {
        let keys = format!("type = \"timeouts\"\n{key} = \"300ms\"");
        let proxy = with(&silent, &[("it", &keys)])
            .upstream("response_head_timeout = \"60s\"\nbody_idle_timeout = \"60s\"")
            .start();
        let (start, mut client) = (Instant::now(), proxy.client());
        client.send(crate::support::client::get(if status == 200 { "/half" } else { "/" })).unwrap();
        assert_eq!(client.next_head().status(), status, "{key}");
        if status == 200 {
            assert_eq!(client.at_most(100), b"half");
        }
        let record = proxy.record();
        assert!((280..10_000).contains(&start.elapsed().as_millis()), "{key}: {:?}", start.elapsed());
        assert!(record["reason"].as_str().is_some_and(|it| it.contains(&reason[..4])), "{key}: {record}");
    }
}

#[test]
fn a_longer_time_than_the_upstreams_holds_too() {
    let origin = Origin::http(|_| {
        std::thread::sleep(Duration::from_millis(600));
        crate::support::ok("late")
    });
    let proxy = with(&origin, &[("it", "type = \"timeouts\"\nresponse_head_timeout = \"30s\"")])
        .upstream("response_head_timeout = \"100ms\"")
        .start();
    assert_eq!(proxy.get("/").text(), "late");
}
