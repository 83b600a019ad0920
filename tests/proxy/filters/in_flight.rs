//! `concurrency_limit`: so many at once, and every place comes back, however its exchange ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::{filter, with};
use crate::support::held::{comes_back, hold, holding};
use crate::support::{Client, Origin, Setup, client, eventually, ok};

const ONE: &str = "type = \"concurrency_limit\"\nrequests_max = 1";

#[test]
fn one_more_is_refused_until_the_first_has_ended() {
    let origin = holding();
    let proxy = with(&origin, &[("it", ONE)]).workers(4).start();
    let held = hold(&proxy, &origin);
    for _ in 0..8 {
        let response = proxy.get("/");
        assert_eq!((response.status(), response.head.all("retry-after")), (503, vec!["1"]));
        assert!(response.text().contains("concurrency_limited"), "{}", response.text());
    }
    assert_eq!(origin.requests().len(), 1);
    drop(held);
    comes_back(&proxy);
    // An answer gives it back before the connection's next request; another worker may see it a moment later.
    let mut client = proxy.client();
    eventually("the place is free for this one", || client.get("/").status() == 200);
    for _ in 0..50 {
        assert_eq!(client.get("/").status(), 200);
    }
}

#[test]
fn a_client_that_aborts_gives_its_place_back() {
    let origin = holding();
    let proxy = with(&origin, &[("it", ONE)]).start();
    hold(&proxy, &origin).reset();
    comes_back(&proxy);
    // Within its own body, too.
    let mut client = proxy.client();
    client.send("POST /held HTTP/1.1\r\nHost: test\r\nContent-Length: 100\r\n\r\nhalf").unwrap();
    eventually("the place is taken", || proxy.get("/").status() == 503);
    client.reset();
    comes_back(&proxy);
}

#[test]
fn an_upstream_that_fails_gives_the_place_back() {
    let origin = holding();
    let proxy = with(&origin, &[("it", ONE)]).upstream("response_head_timeout = \"300ms\"").start();
    for (target, status) in [("/cut", 502), ("/held", 504)] {
        assert_eq!(proxy.get(target).status(), status);
        comes_back(&proxy);
    }
    let mut client = proxy.client();
    client.send(client::get("/half")).unwrap();
    assert_eq!(client.next_head().status(), 200);
    assert_eq!(client.at_most(100), b"half");
    comes_back(&proxy);
    let down = Setup::to(&["127.0.0.1:1"]).route("filters = [\"it\"]").more(&filter("it", ONE)).start();
    for _ in 0..3 {
        assert_eq!(down.get("/").status(), 502);
    }
}

#[test]
fn a_refusal_behind_it_gives_the_place_back() {
    let origin = holding();
    let proxy = with(&origin, &[("it", ONE), ("closed", "type = \"maintenance\"")]).start();
    for _ in 0..3 {
        assert!(proxy.get("/").text().contains("maintenance"));
    }
    assert!(origin.requests().is_empty());
}

#[test]
fn a_reload_keeps_the_places_that_are_taken() {
    let origin = holding();
    let setup = with(&origin, &[("it", ONE)]).workers(2);
    let mut proxy = setup.start();
    let held = hold(&proxy, &origin);
    proxy.rewrite(&setup.route("body_bytes_max = \"1MiB\"").text());
    proxy.reload_and_wait();
    assert_eq!(proxy.get("/").status(), 503);
    drop(held);
    comes_back(&proxy);
    let _again = hold(&proxy, &origin);
    assert_eq!(proxy.get("/").status(), 503);
}

#[test]
fn a_tunnel_holds_its_place_until_it_ends() {
    let origin = holding();
    // Two listeners and two upstreams with filters of their own: the tunnel keeps the chain that it ran.
    let setup = with(&origin, &[("it", ONE)])
        .listener("filters = [\"mark\"]")
        .more("[[listeners]]\nname = \"second\"\naddress = \"127.0.0.1:@second@\"\nfilters = [\"mark\", \"mark2\"]")
        .more(&filter("mark", "type = \"request_fields\"\nset = { X-Mark = \"{listener}\" }"))
        .more(&filter("mark2", "type = \"response_fields\"\nset = { X-Mark = \"{listener}\" }"));
    let mut proxy = setup.start();
    let second = proxy.address("second");
    for reloads in [false, true] {
        for address in [proxy.address("web"), second.clone()] {
            let mut client = Client::connect(&address);
            client
                .send("GET /ws HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
                .unwrap();
            assert_eq!(client.next_head().status(), 101);
            if reloads {
                proxy.rewrite(&setup.text());
                proxy.signal(libc::SIGHUP);
                std::thread::sleep(Duration::from_millis(300));
            }
            assert_eq!(proxy.get("/").status(), 503);
            drop(client);
            comes_back(&proxy);
        }
    }
}

#[test]
fn never_more_than_the_limit_are_at_the_origin() {
    const MAX: usize = 3;
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (at_origin, seen) = (now.clone(), most.clone());
    let origin = Origin::http(move |_| {
        seen.fetch_max(at_origin.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(2));
        at_origin.fetch_sub(1, Ordering::SeqCst);
        ok("served")
    });
    let keys = format!("type = \"concurrency_limit\"\nrequests_max = {MAX}");
    let proxy = with(&origin, &[("it", &keys)]).workers(4).start();
    let (address, passed) = (proxy.address("web"), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                let mut client = Client::connect(&address);
                for _ in 0..100 {
                    match client.get("/").status() {
                        200 => passed.fetch_add(1, Ordering::Relaxed),
                        503 => 0,
                        status => panic!("{status}"),
                    };
                }
            });
        }
    });
    let passed = passed.into_inner();
    assert_eq!((origin.requests().len(), most.load(Ordering::SeqCst)), (passed, MAX));
    assert!(now.load(Ordering::SeqCst) == 0 && passed < 1_600, "{passed}");
    comes_back(&proxy);
}
