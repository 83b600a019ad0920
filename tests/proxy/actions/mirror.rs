//! Mirrors: what they get, and that no client feels what they do with it.

use std::time::{Duration, Instant};

use super::{config, launch, named};
use crate::support::message::{chunked, pattern};
use crate::support::proxy::sum_of;
use crate::support::{Origin, Proxy, eventually, ok, settles_at};

/// To `main`, and all of it to `shadow` too.
const ALL: &str = "upstream = \"main\"\nmirror = { upstream = \"shadow\" }";

fn mirrors(proxy: &Proxy, name: &str) -> u64 {
    proxy.metric(&format!("corelane_mirror_{name}"), &[("route", "all")])
}

/// A reason that has not occurred has no sample.
fn failures(proxy: &Proxy) -> u64 {
    let labels = [("route", "all")];
    sum_of(&proxy.metrics(), "corelane_mirror_failures_total", &labels).unwrap_or(0)
}

fn skipped(proxy: &Proxy, reason: &str) -> u64 {
    let labels = [("route", "all"), ("reason", reason)];
    sum_of(&proxy.metrics(), "corelane_mirror_skipped_total", &labels).unwrap_or(0)
}

#[test]
fn the_mirror_gets_the_same_request() {
    let (main, shadow) = (named("main"), named("shadow"));
    let route = format!("{ALL}\nhost = \"inner.test\"");
    let proxy = launch(1, &route, &[("main", main.address()), ("shadow", shadow.address())]).start();
    let mut client = proxy.client();
    let response =
        client.request("POST /a?b=c HTTP/1.1\r\nHost: test\r\nX-Own: 1\r\nContent-Length: 5\r\n\r\nhello");
    assert_eq!(response.text(), "main");
    eventually("the mirror has it", || shadow.requests().len() == 1);
    assert_eq!(shadow.received(0), main.received(0));
    assert!(shadow.received(0).contains("\r\nHost: inner.test\r\n"));
    settles_at(0, || mirrors(&proxy, "requests_active"));
    // Its connection is kept.
    assert_eq!(client.get("/").text(), "main");
    eventually("the next one", || shadow.requests().len() == 2);
    assert_eq!(shadow.connections(), 1);
    settles_at(1, || proxy.endpoint("connections_idle", shadow.address()));
    assert_eq!(proxy.endpoint("connection_reuses_total", shadow.address()), 1);
    assert_eq!(proxy.records(2).len(), 2, "mirrored requests have no records");
}

#[test]
fn bodies_are_mirrored_whole_or_not_at_all() {
    let (main, shadow) = (named("main"), named("shadow"));
    let route = ALL.replace("\"shadow\" }", "\"shadow\", body_bytes_max = \"256KiB\" }");
    let proxy = launch(1, &route, &[("main", main.address()), ("shadow", shadow.address())]).start();
    let mut client = proxy.client();
    let sizes = [0, 1, 5_000, 100_000, 262_144];
    let body = |size: usize| pattern(0, size);
    for size in sizes {
        let head = "POST /chunked HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n";
        let wire = [head.as_bytes(), &chunked(&body(size), 3_000)].concat();
        assert_eq!(client.request(wire).text(), "main");
        let head = format!("PUT /length HTTP/1.1\r\nHost: test\r\nContent-Length: {size}\r\n\r\n");
        assert_eq!(client.request([head.as_bytes(), &body(size)].concat()).text(), "main");
    }
    eventually("the mirror has all", || shadow.requests().len() == 2 * sizes.len());
    for request in shadow.requests() {
        let size: usize = request.head.field("content-length").unwrap().parse().unwrap();
        assert!(request.body == body(size) && sizes.contains(&size), "{size}");
        assert!(!request.head.has("transfer-encoding"));
    }
    // One byte more is too much, announced or not.
    let large = body(262_145);
    let head = "POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(client.request([head.as_bytes(), &chunked(&large, 50_000)].concat()).text(), "main");
    let head = "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 262145\r\n\r\n";
    assert_eq!(client.request([head.as_bytes(), &large].concat()).text(), "main");
    settles_at(2, || skipped(&proxy, "body_too_large"));
    assert!(main.requests().iter().rev().take(2).all(|it| it.body == large));
    assert_eq!(shadow.requests().len(), 2 * sizes.len());
}

#[test]
fn the_share_is_exact() {
    let (main, shadow) = (named("main"), named("shadow"));
    let route = ALL.replace("\"shadow\" }", "\"shadow\", share = \"10%\" }");
    let proxy = launch(2, &route, &[("main", main.address()), ("shadow", shadow.address())]).start();
    for _ in 0..20 {
        let mut client = proxy.client();
        for _ in 0..50 {
            assert_eq!(client.get("/").text(), "main");
        }
    }
    // Each worker rounds to the nearest.
    eventually("the mirror has its share", || shadow.requests().len() >= 99);
    settles_at(0, || mirrors(&proxy, "requests_active"));
    assert!(shadow.requests().len().abs_diff(100) <= 1, "{}", shadow.requests().len());
    assert_eq!(mirrors(&proxy, "requests_total"), shadow.requests().len() as u64);
}

/// A hundred requests with and without bodies on some connections; each is answered well and soon.
fn unfelt(proxy: &Proxy) {
    for _ in 0..10 {
        let mut client = proxy.client();
        for index in 0..10 {
            let begun = Instant::now();
            let response = match index % 2 {
                0 => client.get("/"),
                _ => client.request("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nhello"),
            };
            assert_eq!(response.text(), "main");
            // Whoever waited for a mirror that does not answer would wait for 5 s.
            assert!(begun.elapsed() < Duration::from_secs(4), "{:?}: the mirror is felt", begun.elapsed());
        }
    }
}

#[test]
fn a_mirror_that_never_answers_is_not_felt() {
    let main = named("main");
    let shadow = Origin::script(|connection| connection.wait_for_end());
    let proxy = launch(1, ALL, &[("main", main.address()), ("shadow", shadow.address())]).start();
    unfelt(&proxy);
    // All the places are taken until response_head_timeout; the rest is not mirrored.
    assert_eq!(mirrors(&proxy, "requests_active"), 64);
    assert_eq!(skipped(&proxy, "busy"), 36);
    settles_at(64, || failures(&proxy));
    settles_at(0, || mirrors(&proxy, "requests_active"));
    eventually("its connections are closed", || shadow.open_connections() == 0);
    assert!(!proxy.metrics().contains("corelane_route_failures_total{"), "no failure of a client's request");
}

#[test]
fn a_mirror_that_is_down_is_not_felt() {
    let main = named("main");
    let proxy = launch(1, ALL, &[("main", main.address()), ("shadow", "127.0.0.1:1")]).start();
    unfelt(&proxy);
    settles_at(100, || failures(&proxy) + skipped(&proxy, "busy"));
    settles_at(0, || mirrors(&proxy, "requests_active"));
    assert_eq!(proxy.endpoint("connect_failures_total", "127.0.0.1:1"), mirrors(&proxy, "requests_total"));
}

#[test]
fn a_mirror_that_talks_nonsense_is_not_felt() {
    let main = named("main");
    let shadow = Origin::script(|connection| {
        let nonsense: [&[u8]; 5] = [
            b"SSH-2.0-x\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n123",
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\n",
        ];
        if let Ok(Some(_)) = connection.request() {
            let kind = connection.index % nonsense.len();
            let _ = connection.send(nonsense[kind]);
        }
    });
    let proxy = launch(1, ALL, &[("main", main.address()), ("shadow", shadow.address())]).start();
    unfelt(&proxy);
    settles_at(0, || mirrors(&proxy, "requests_active"));
    assert!(failures(&proxy) > 0);
}

#[test]
fn a_request_is_mirrored_although_its_own_upstream_is_down() {
    let shadow = named("shadow");
    let proxy = launch(1, ALL, &[("main", "127.0.0.1:1"), ("shadow", shadow.address())]).start();
    let mut client = proxy.client();
    assert_eq!(client.get("/").status(), 502);
    eventually("the mirror has it", || shadow.requests().len() == 1);
    // Nobody has taken this body, so that it was not received.
    let post = "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nhello";
    assert_eq!(client.request(post).status(), 502);
    settles_at(1, || skipped(&proxy, "incomplete"));
    assert_eq!(shadow.requests().len(), 1);
}

#[test]
fn a_burst_leaves_nothing_behind() {
    let main = named("main");
    let shadow = Origin::http(|_| {
        std::thread::sleep(Duration::from_millis(2));
        ok(vec![b'x'; 10_000])
    });
    let text = config(2, ALL, &[("main", main.address()), ("shadow", shadow.address())]);
    let mut proxy = Proxy::start(&text);
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let mut client = proxy.client();
            std::thread::spawn(move || (0..50).for_each(|_| assert_eq!(client.get("/").text(), "main")))
        })
        .collect();
    // In the middle of it.
    proxy.rewrite(&text.replace("mirror = {", "request_timeout = \"20s\"\nmirror = {"));
    proxy.reload_and_wait();
    clients.into_iter().for_each(|client| client.join().unwrap());
    settles_at(0, || mirrors(&proxy, "requests_active"));
    assert_eq!(mirrors(&proxy, "requests_total") + skipped(&proxy, "busy"), 400);
    assert_eq!(proxy.endpoint("requests_active", shadow.address()), 0);
    settles_at(1, || proxy.metric("corelane_snapshots_alive", &[]));
}

#[test]
fn mirrors_do_not_hold_up_the_end() {
    let main = named("main");
    let shadow = Origin::script(|connection| connection.wait_for_end());
    let mut proxy = launch(1, ALL, &[("main", main.address()), ("shadow", shadow.address())]).start();
    assert_eq!(proxy.get("/").text(), "main");
    eventually("the mirror has it", || shadow.received(0).ends_with("\r\n\r\n"));
    let start = Instant::now();
    proxy.signal(libc::SIGTERM);
    assert!(proxy.wait_exit(Duration::from_secs(10)).success());
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
}
