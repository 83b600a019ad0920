//! `requests_max` of an endpoint: so many at once over all workers, and every place comes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::held::{comes_back, hold, holding, status};
use crate::support::{Load, Nginx, Origin, Setup, eventually, ok};

/// An endpoint with a limit, as it stands in a file.
fn limited(address: &str, requests_max: u32) -> String {
    format!("{{ address = \"{address}\", requests_max = {requests_max} }}")
}

fn to(endpoints: &[String]) -> Setup {
    let endpoints: Vec<&str> = endpoints.iter().map(String::as_str).collect();
    Setup::to(&endpoints)
}

#[test]
fn no_endpoint_ever_has_more_than_its_limit_over_all_workers() {
    const MAX: usize = 3;
    let counts: Vec<_> = (0..2).map(|_| Arc::new((AtomicUsize::new(0), AtomicUsize::new(0)))).collect();
    let origins: Vec<_> = counts
        .iter()
        .map(|counts| {
            let counts = counts.clone();
            Origin::http(move |_| {
                let (now, most) = &*counts;
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(2));
                now.fetch_sub(1, Ordering::SeqCst);
                ok("served")
            })
        })
        .collect();
    for policy in ["round_robin", "least_connections", "random"] {
        let endpoints: Vec<_> = origins.iter().map(|origin| limited(origin.address(), 3)).collect();
        let proxy = to(&endpoints).workers(4).upstream(&format!("policy = \"{policy}\"")).start();
        let load = Load::start(&proxy.address("web"), 16, "/");
        // Those that are refused come again at once, and there are more of them.
        eventually("the load", || proxy.endpoints("requests_total") > 300);
        let tally = load.finish();
        assert!(tally.failures.is_empty(), "{:?}", tally.failures.first());
        let refused = proxy.metric("corelane_route_failures_total", &[("reason", "endpoints_full")]);
        assert_eq!(refused, tally.statuses[&503], "{policy}");
        comes_back(&proxy);
    }
    for counts in counts {
        assert_eq!(counts.1.load(Ordering::SeqCst), MAX, "never more, and as many as may be");
    }
}

#[test]
fn a_full_endpoint_is_passed_over_until_it_has_room() {
    let (full, other) = (holding(), Nginx::start("location / { return 200 other; }"));
    let backup = format!("{{ address = \"{}\", backup = true }}", other.address());
    let proxy = to(&[limited(full.address(), 1), backup]).workers(4).start();
    let held = hold(&proxy, &full);
    for _ in 0..40 {
        assert_eq!(proxy.get("/").text(), "other");
    }
    drop(held);
    eventually("a request at the endpoint", || proxy.get("/").text() == "served");
}

#[test]
fn the_place_comes_back_however_the_request_ends() {
    let origin = holding();
    let setup = to(&[limited(origin.address(), 1)]).workers(2);
    let proxy = setup.clone().upstream("response_head_timeout = \"300ms\"\nattempts_max = 1").start();
    for (target, status) in [("/cut", 502), ("/held", 504), ("/", 200)] {
        assert_eq!(self::status(&proxy, target), status);
    }
    comes_back(&proxy);
    let proxy = setup.start();
    let held = hold(&proxy, &origin);
    for _ in 0..8 {
        let response = proxy.get("/");
        assert_eq!((response.status(), response.head.all("retry-after")), (503, vec!["1"]));
        assert!(response.text().contains("endpoints_full"), "{}", response.text());
    }
    held.reset();
    comes_back(&proxy);
    let switch = "GET /ws HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let mut tunnel = proxy.client();
    eventually("a tunnel", || {
        tunnel = proxy.client();
        tunnel.send(switch).unwrap();
        tunnel.next_head().status() == 101
    });
    for _ in 0..8 {
        assert_eq!(proxy.get("/").status(), 503, "a tunnel holds it");
    }
    drop(tunnel);
    comes_back(&proxy);
}

#[test]
fn a_reload_keeps_the_places_that_are_taken() {
    let origin = holding();
    let mut proxy = to(&[limited(origin.address(), 1)]).workers(2).start();
    let held = hold(&proxy, &origin);
    proxy.rewrite(&to(&[limited(origin.address(), 2)]).workers(2).text());
    proxy.reload_and_wait();
    let second = hold(&proxy, &origin);
    assert_eq!(proxy.get("/").status(), 503);
    proxy.rewrite(&to(&[limited(origin.address(), 1)]).workers(2).text());
    proxy.reload_and_wait();
    drop(held);
    // One is still more than none.
    assert_eq!(proxy.get("/").status(), 503);
    drop(second);
    comes_back(&proxy);
}
