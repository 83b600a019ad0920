//! `rate_limit`: never more than the burst and the rate, over all workers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::{get_with, plain, with};
use crate::support::{Client, client};

#[test]
fn what_is_above_the_rate_is_refused_and_told_when_to_come_back() {
    let origin = plain();
    let keys = "type = \"rate_limit\"\nrequests = 1\nper = \"1m\"\nburst = 3";
    let proxy = with(&origin, &[("calm", keys)]).start();
    let mut client = proxy.client();
    for left in [2, 1, 0] {
        let head = client.get("/").head;
        assert_eq!(head.status(), 200);
        assert!(head.field("ratelimit").unwrap().starts_with(&format!("\"calm\";r={left};t=")), "{head:?}");
        assert_eq!(head.all("ratelimit-policy"), ["\"calm\";q=3;w=180"]);
    }
    let response = client.get("/");
    assert_eq!(response.status(), 429);
    let wait: u64 = response.head.field("retry-after").unwrap().parse().unwrap();
    assert!((50..=60).contains(&wait), "{wait}");
    assert!(response.head.field("ratelimit").unwrap().starts_with("\"calm\";r=0;t="), "{:?}", response.head);
    assert_eq!(response.head.all("ratelimit-policy"), ["\"calm\";q=3;w=180"]);
    assert!(response.text().contains("rate_limited"), "{}", response.text());
    assert_eq!(origin.requests().len(), 3);
    assert_eq!(proxy.records(4)[3]["reason"], "rate_limited");
    // Another client has a burst of its own.
    assert_eq!(Client::connect_from("127.0.0.2", &proxy.address("web")).get("/").status(), 200);
}

#[test]
fn keys_are_what_they_are_told_to_be() {
    for (key, one, other) in [
        ("[\"client\"]", "/", "/"),
        ("[{ header = \"X-Tenant\" }]", "X-Tenant: a\r\n", "X-Tenant: b\r\n"),
        ("[{ cookie = \"s\" }]", "Cookie: s=a\r\n", "Cookie: s=b\r\n"),
        ("[{ query = \"q\" }]", "/?q=a", "/?q=b"),
        ("[\"host\"]", "a", "b"),
    ] {
        let origin = plain();
        let keys =
            format!("type = \"rate_limit\"\nkey = {key}\nrequests = 1\nper = \"1h\"\nfields = \"never\"");
        let proxy = with(&origin, &[("it", &keys)]).start();
        let mut client = proxy.client();
        let request = |of: &str| match of {
            target if target.starts_with('/') => client::get(target),
            lines if lines.contains(':') => get_with("/", lines),
            host => format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        };
        let first = client.request(request(one));
        assert!(first.status() == 200 && !first.head.has("ratelimit"), "{:?}", first.head);
        assert_eq!(client.request(request(one)).status(), 429, "{key}");
        let expected = if one == other { 429 } else { 200 };
        assert_eq!(client.request(request(other)).status(), expected, "{key}");
    }
}

#[test]
fn a_rate_is_exact_over_workers_and_connections() {
    const BURST: u64 = 50;
    const RATE: u64 = 200;
    let origin = plain();
    let keys = format!("type = \"rate_limit\"\nrequests = {RATE}\nburst = {BURST}");
    let proxy = with(&origin, &[("it", &keys)]).workers(4).start();
    let (address, passed) = (proxy.address("web"), AtomicU64::new(0));
    let (start, end) = (Instant::now(), Duration::from_secs(2));
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                let mut client = Client::connect(&address);
                while start.elapsed() < end {
                    match client.get("/").status() {
                        200 => passed.fetch_add(1, Ordering::Relaxed),
                        429 => 0,
                        status => panic!("{status}"),
                    };
                }
            });
        }
    });
    let (passed, spent) = (passed.into_inner(), u64::try_from(start.elapsed().as_millis()).unwrap());
    let most = BURST + RATE * spent / 1_000 + 1;
    assert!(passed <= most, "{passed} of at most {most} in {spent} ms");
    // The clients ask more often than the rate, so that little of it is lost.
    assert!(passed >= BURST + RATE, "{passed} in {spent} ms");
    assert_eq!(origin.requests().len() as u64, passed);
}

#[test]
fn a_reload_forgets_no_count() {
    let origin = plain();
    let keys = "type = \"rate_limit\"\nrequests = 2\nper = \"1h\"";
    let setup = with(&origin, &[("it", keys)]).workers(2);
    let mut proxy = setup.start();
    assert_eq!((proxy.get("/").status(), proxy.get("/").status(), proxy.get("/").status()), (200, 200, 429));
    proxy.rewrite(&setup.route("body_bytes_max = \"1MiB\"").text());
    proxy.reload_and_wait();
    assert_eq!(proxy.get("/").status(), 429);
    assert_eq!(origin.requests().len(), 2);
}

#[test]
fn another_rate_begins_anew() {
    let origin = plain();
    let slow = with(&origin, &[("it", "type = \"rate_limit\"\nrequests = 1\nper = \"24h\"\nburst = 2")]);
    let mut proxy = slow.start();
    assert_eq!((proxy.get("/").status(), proxy.get("/").status(), proxy.get("/").status()), (200, 200, 429));
    // What was two days ahead must not lock the client out of a rate that asks for a second.
    for keys in [
        "type = \"rate_limit\"\nrequests = 100",
        "type = \"concurrency_limit\"\nrequests_max = 1",
        "type = \"rate_limit\"\nrequests = 1\nper = \"24h\"\nburst = 2",
    ] {
        proxy.rewrite(&with(&origin, &[("it", keys)]).text());
        proxy.reload_and_wait();
        assert_eq!((proxy.get("/").status(), proxy.get("/").status()), (200, 200), "{keys}");
    }
}
