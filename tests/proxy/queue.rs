//! `queue` of an upstream: requests wait for a place, in order over all workers, for so long and no more of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::held::hold;
use crate::support::origin::Connection;
use crate::support::process::assert_quiet;
use crate::support::{Client, Load, Origin, Proxy, Setup, client, eventually, ok, settles_at};

fn queueing(origin: &Origin, requests_max: u32, queue: &str) -> Setup {
    let endpoint = format!("{{ address = \"{}\", requests_max = {requests_max} }}", origin.address());
    Setup::to(&[&endpoint]).workers(4).upstream(&format!("queue = {{ {queue} }}"))
}

/// Answers at once, but for `/held`, which it holds until the client has gone.
fn holding() -> Origin {
    Origin::script(|connection: &mut Connection| {
        while let Ok(Some(request)) = connection.request() {
            if request.head.target() == "/held" {
                let _ = connection.drain();
                return;
            }
            connection.send(ok("served")).unwrap();
        }
    })
}

fn sent(proxy: &Proxy, target: &str) -> Client {
    let mut client = proxy.client();
    client.send(client::get(target)).unwrap();
    client
}

fn waiting(proxy: &Proxy) -> u64 {
    proxy.metric("corelane_upstream_requests_waiting", &[("upstream", "origin")])
}

#[test]
fn under_load_requests_wait_and_none_is_refused() {
    let counts = Arc::new((AtomicUsize::new(0), AtomicUsize::new(0)));
    let seen = counts.clone();
    let origin = Origin::http(move |_| {
        seen.1.fetch_max(seen.0.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(1));
        seen.0.fetch_sub(1, Ordering::SeqCst);
        ok("served")
    });
    let proxy = queueing(&origin, 2, "requests_max = 100, timeout = \"10s\"").start();
    let load = Load::start(&proxy.address("web"), 16, "/");
    eventually("the load", || load.answered() > 1_000);
    load.finish().assert_all_ok();
    assert_eq!(counts.1.load(Ordering::SeqCst), 2);
    assert!(proxy.metric("corelane_upstream_requests_waited_total", &[]) > 500);
    settles_at(0, || waiting(&proxy));
}

#[test]
fn a_free_place_goes_to_who_waits_longest_whatever_its_worker() {
    let origin = holding();
    let proxy = queueing(&origin, 1, "requests_max = 100, timeout = \"60s\"").start();
    let held = hold(&proxy, &origin);
    let targets: Vec<String> = (1..=12).map(|number| format!("/{number}")).collect();
    let mut clients: Vec<Client> = Vec::new();
    for (target, before) in targets.iter().zip(0..) {
        clients.push(sent(&proxy, target));
        eventually("one more waits", || waiting(&proxy) == before + 1);
    }
    assert_quiet(proxy.pid(), 0.05, "while requests wait");
    assert_eq!(origin.requests().len(), 1);
    drop(held);
    // Long before the timeout.
    for client in &mut clients {
        assert_eq!(client.response().text(), "served");
    }
    let order: Vec<_> = origin.requests()[1..].iter().map(|it| it.head.target().to_owned()).collect();
    assert_eq!(order, targets);
    settles_at(0, || waiting(&proxy));
}

#[test]
fn who_waits_for_one_endpoint_keeps_nobody_from_the_others() {
    let (held, cuts) = (
        holding(),
        Origin::script(|connection: &mut Connection| {
            while let Ok(Some(request)) = connection.request() {
                if request.head.target() == "/cut" {
                    return;
                }
                connection.send(ok("other")).unwrap();
            }
        }),
    );
    let limited =
        |origin: &Origin, more| format!("{{ address = \"{}\", requests_max = 1{more} }}", origin.address());
    // The other one is asked where the first is full.
    let endpoints = [limited(&held, ""), limited(&cuts, ", backup = true")];
    let queue = "queue = { requests_max = 100, timeout = \"10s\" }";
    let proxy = Setup::to(&[&endpoints[0], &endpoints[1]]).workers(4).upstream(queue).start();
    let holds = hold(&proxy, &held);
    let mut retried = sent(&proxy, "/cut");
    eventually("it failed at the other and waits for the first", || waiting(&proxy) == 1);
    for _ in 0..20 {
        assert_eq!(proxy.get("/").text(), "other");
    }
    assert_eq!(waiting(&proxy), 1);
    drop(holds);
    assert_eq!(retried.response().text(), "served");
}

#[test]
fn a_queue_has_an_end_in_time_and_length() {
    let origin = holding();
    let proxy = queueing(&origin, 1, "requests_max = 1, timeout = \"500ms\"").start();
    let held = hold(&proxy, &origin);
    let start = Instant::now();
    let mut waits = sent(&proxy, "/");
    eventually("it waits", || waiting(&proxy) == 1);
    let refused = proxy.get("/");
    assert!(refused.status() == 503 && refused.text().contains("queue_full"), "{}", refused.text());
    let late = waits.response();
    assert!(late.status() == 503 && late.text().contains("queue_timeout"), "{}", late.text());
    assert_eq!(late.head.all("retry-after"), ["1"]);
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(500) && took < Duration::from_secs(12), "{took:?}");
    drop(held);
    // The connection of the one that was refused serves on.
    eventually("there is a place", || waits.get("/").status() == 200);
    assert_eq!(origin.requests().iter().filter(|it| it.head.target() == "/held").count(), 1);
}

#[test]
fn a_refusal_is_counted_once_for_who_was_full() {
    let queue = "requests_max = 1, timeout = \"500ms\"";
    for (is_upstream, counts) in [(false, [2, 0]), (true, [0, 2])] {
        let origin = holding();
        let setup = match is_upstream {
            true => Setup::origin(&origin)
                .workers(4)
                .upstream(&format!("requests_max = 1\nqueue = {{ {queue} }}")),
            false => queueing(&origin, 1, queue),
        };
        let proxy = setup.start();
        let _held = hold(&proxy, &origin);
        let mut waits = sent(&proxy, "/");
        eventually("it waits", || waiting(&proxy) == 1);
        assert_eq!((proxy.get("/").status(), waits.response().status()), (503, 503));
        let counted = || {
            let full = [("reason", "upstream_full")];
            let no_endpoint = proxy.metric("corelane_upstream_no_endpoint_total", &[]);
            [no_endpoint, proxy.metric("corelane_upstream_refused_total", &full)]
        };
        eventually("both are counted", || counted().iter().sum::<u64>() >= 2);
        assert_eq!(counted(), counts);
    }
}

#[test]
fn a_client_that_leaves_leaves_the_queue() {
    let origin = holding();
    let proxy = queueing(&origin, 1, "requests_max = 2, timeout = \"10s\"").start();
    let held = hold(&proxy, &origin);
    let leaves = sent(&proxy, "/left");
    let mut stays = sent(&proxy, "/stays");
    eventually("both wait", || waiting(&proxy) == 2);
    drop(leaves);
    eventually("one has left", || waiting(&proxy) == 1);
    drop(held);
    assert_eq!(stays.response().text(), "served");
    assert!(origin.requests().iter().all(|it| it.head.target() != "/left"));
}

#[test]
fn a_reload_keeps_those_that_wait() {
    let origin = holding();
    let setup = queueing(&origin, 1, "requests_max = 10, timeout = \"10s\"");
    let mut proxy = setup.start();
    let held = hold(&proxy, &origin);
    let mut before = sent(&proxy, "/before");
    eventually("it waits", || waiting(&proxy) == 1);
    proxy.rewrite(&setup.route("body_bytes_max = \"1MiB\"").text());
    proxy.reload_and_wait();
    let mut after = sent(&proxy, "/after");
    eventually("both wait", || waiting(&proxy) == 2);
    drop(held);
    assert_eq!((before.response().text(), after.response().text()), ("served".into(), "served".into()));
    let order: Vec<_> = origin.requests()[1..].iter().map(|it| it.head.target().to_owned()).collect();
    assert_eq!(order, ["/before", "/after"]);
}
