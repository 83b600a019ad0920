//! Requests sent again: only where nothing of them can have been acted on (RFC 9110 §9.2.2, RFC 9112 §9.3.1).

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::{Origin, Proxy, Setup, client, eventually, free_port, ok, settles_at};

/// An origin that answers the first request of its first connection, then closes on the second without a byte; other
/// connections are served.
fn forgetful_origin() -> Origin {
    Origin::script(|connection| {
        let mut served = 0;
        while let Ok(Some(request)) = connection.request() {
            served += 1;
            if connection.index == 0 && served == 2 {
                return;
            }
            connection.send(ok(request.head.method())).unwrap();
        }
    })
}

fn warmed_up(origin: &Origin) -> Proxy {
    let proxy = Setup::origin(origin).start();
    assert_eq!(proxy.get("/").status(), 200);
    proxy
}

#[test]
fn sends_idempotent_requests_again_when_a_pooled_connection_closes() {
    for method in ["GET", "PUT", "DELETE", "OPTIONS"] {
        let origin = forgetful_origin();
        let proxy = warmed_up(&origin);
        let response = proxy.client().request(format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!((response.status(), response.text()), (200, method.to_owned()));
        assert_eq!(origin.requests().len(), 3, "{method}: the first, the lost and the repeated");
        settles_at(1, || proxy.metric("corelane_upstream_retries_total", &[("upstream", "origin")]));
        assert_eq!(proxy.records(2).len(), 2, "one record for one request");
    }
}

#[test]
fn does_not_send_a_post_twice() {
    let origin = forgetful_origin();
    let proxy = warmed_up(&origin);
    let response = proxy.client().request(client::post("/", b"pay"));
    assert_eq!(response.status(), 502);
    assert!(!response.body.is_empty());
    let posts = origin.requests().iter().filter(|request| request.head.method() == "POST").count();
    assert_eq!(posts, 1);
}

#[test]
fn does_not_repeat_a_request_whose_response_began() {
    let seen = std::sync::Arc::new(AtomicUsize::new(0));
    let count = std::sync::Arc::clone(&seen);
    let origin = Origin::script(move |connection| {
        connection.request().unwrap();
        if count.fetch_add(1, Ordering::SeqCst) == 0 {
            connection.send(ok("x")).unwrap();
            connection.request().unwrap();
            connection.send("HTTP/1.1 200 OK\r\nConte").unwrap();
        }
    });
    let proxy = warmed_up(&origin);
    assert_eq!(proxy.get("/").status(), 502);
    assert_eq!(origin.connections(), 1);
}

#[test]
fn gives_up_when_fresh_connections_fail_too() {
    let origin = Origin::script(|connection| {
        let served = connection.request().unwrap().is_some();
        if served && connection.index == 0 {
            connection.send(ok("x")).unwrap();
            connection.request().unwrap();
        }
    });
    let proxy = warmed_up(&origin);
    assert_eq!(proxy.get("/").status(), 502);
    assert!(origin.connections() <= 4, "{} connections for one request", origin.connections());
}

#[test]
fn tries_the_next_endpoint_when_one_refuses() {
    let origin = Origin::answering(ok("x"));
    let down = format!("127.0.0.1:{}", free_port());
    let proxy = Setup::to(&[&down, origin.address()]).start();
    let mut client = proxy.client();
    for index in 0..200 {
        let request = if index % 2 == 0 { client::get("/").into_bytes() } else { client::post("/", b"abc") };
        assert_eq!(client.request(request).status(), 200, "request {index}");
    }
    assert_eq!(origin.requests().len(), 200);
    assert!(origin.requests().iter().all(|request| request.body.is_empty() || request.body == b"abc"));
    eventually("it is counted", || proxy.endpoint("connect_failures_total", &down) >= 1);
}

#[test]
fn tries_at_most_attempts_max_endpoints() {
    let origin = Origin::answering(ok("x"));
    let down = [free_port(), free_port()].map(|port| format!("127.0.0.1:{port}"));
    let proxy = Setup::to(&[&down[0], &down[1], origin.address()]).upstream("attempts_max = 1").start();
    let mut client = proxy.client();
    let statuses: Vec<u16> = (0..6).map(|_| client.get("/").status()).collect();
    assert!(statuses.contains(&502), "{statuses:?}");
    assert!(statuses.contains(&200), "{statuses:?}");
}
