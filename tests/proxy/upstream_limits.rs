//! `requests_max` and `retries_max` of an upstream: so many at once over all workers, and every place comes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::origin::Connection;
use crate::support::{Load, Origin, Proxy, Setup, client, eventually, ok, settles_at};

fn refused(proxy: &Proxy) -> u64 {
    proxy.metric("corelane_upstream_refused_total", &[("reason", "upstream_full")])
}

/// Three origins that take their time, and the most requests that all of them had at once.
fn origins() -> (Vec<Origin>, Arc<(AtomicUsize, AtomicUsize)>) {
    let counts = Arc::new((AtomicUsize::new(0), AtomicUsize::new(0)));
    let origin = |_| {
        let counts = counts.clone();
        Origin::http(move |_| {
            counts.1.fetch_max(counts.0.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(2));
            counts.0.fetch_sub(1, Ordering::SeqCst);
            ok("served")
        })
    };
    ((0..3).map(origin).collect(), counts)
}

fn to(origins: &[Origin]) -> Setup {
    let addresses: Vec<&str> = origins.iter().map(Origin::address).collect();
    Setup::to(&addresses).workers(4)
}

#[test]
fn all_endpoints_together_never_have_more_than_the_limit() {
    let (origins, counts) = origins();
    for policy in ["round_robin", "least_connections"] {
        let limits = format!("requests_max = 4\npolicy = \"{policy}\"");
        let proxy = to(&origins).upstream(&limits).start();
        let load = Load::start(&proxy.address("web"), 16, "/");
        eventually("the load", || proxy.endpoints("requests_total") > 300);
        let tally = load.finish();
        assert!(tally.failures.is_empty(), "{:?}", tally.failures.first());
        assert_eq!(refused(&proxy), tally.statuses[&503], "{policy}");
        let reason = [("reason", "upstream_full")];
        assert_eq!(proxy.metric("corelane_route_failures_total", &reason), tally.statuses[&503]);
        eventually("the places are free", || proxy.get("/").status() == 200);
    }
    assert_eq!(counts.1.load(Ordering::SeqCst), 4, "never more, and as many as may be");
}

#[test]
fn with_a_queue_requests_wait_for_the_upstream() {
    let (origins, counts) = origins();
    let limited = |origin: &Origin| format!("{{ address = \"{}\", requests_max = 2 }}", origin.address());
    let endpoints: Vec<String> = origins.iter().map(limited).collect();
    let endpoints: Vec<&str> = endpoints.iter().map(String::as_str).collect();
    // Either of the limits can be the one that is reached.
    for requests_max in [3, 6, 100] {
        let queue =
            format!("requests_max = {requests_max}\nqueue = {{ requests_max = 100, timeout = \"10s\" }}");
        let proxy = Setup::to(&endpoints).workers(4).upstream(&queue).start();
        let load = Load::start(&proxy.address("web"), 16, "/");
        eventually("the load", || load.answered() > 500);
        let tally = load.finish();
        tally.assert_all_ok();
        // 16 take turns: nobody is left behind.
        let (usual, most) = (tally.quantile(0.5), tally.quantile(1.0));
        assert!(most < usual * 10 + Duration::from_secs(3), "{usual:?} and {most:?}");
        assert_eq!(counts.1.swap(0, Ordering::SeqCst), requests_max.min(6));
        assert_eq!(refused(&proxy), 0);
        let waiting = || proxy.metric("corelane_upstream_requests_waiting", &[("upstream", "origin")]);
        settles_at(0, waiting);
    }
}

/// Closes the connection without an answer after a while, but for `/`.
fn cutting(connection: &mut Connection) {
    while let Ok(Some(request)) = connection.request() {
        if request.head.target() == "/" {
            connection.send(ok("served")).unwrap();
            continue;
        }
        std::thread::sleep(Duration::from_secs(1));
        return;
    }
}

#[test]
fn only_so_many_requests_are_sent_again_at_once() {
    let held = |connection: &mut Connection| {
        while let Ok(Some(request)) = connection.request() {
            if request.head.target() == "/" {
                connection.send(ok("served")).unwrap();
                continue;
            }
            let _ = connection.drain();
            return;
        }
    };
    let (first, second) = (Origin::script(cutting), Origin::script(held));
    let backup = format!("{{ address = \"{}\", backup = true }}", second.address());
    let setup = Setup::to(&[first.address(), &backup]).workers(4);
    let proxy = setup.upstream("retries_max = 2").start();
    let mut clients: Vec<_> = (0..6)
        .map(|_| {
            let mut client = proxy.client();
            client.send(client::get("/cut")).unwrap();
            client
        })
        .collect();
    let of_upstream = |name: &str, label| proxy.metric(&format!("corelane_upstream_{name}"), &[label]);
    settles_at(4, || of_upstream("retries_refused_total", ("reason", "retries_max")));
    eventually("two are sent again", || second.requests().len() == 2);
    assert_eq!(of_upstream("retries_refused_total", ("reason", "budget")), 0);
    // Those that are not get the failure; when the others have left, there is room again.
    clients.truncate(0);
    eventually("the places come back", || {
        let mut client = proxy.client();
        client.send(client::get("/cut")).unwrap();
        let before = second.requests().len();
        std::thread::sleep(Duration::from_millis(1500));
        second.requests().len() > before
    });
}

#[test]
fn the_place_comes_back_however_the_request_ends() {
    let origin = Origin::script(cutting);
    let proxy = Setup::origin(&origin).workers(2).upstream("requests_max = 1\nattempts_max = 1").start();
    assert_eq!(proxy.get("/cut").status(), 502);
    eventually("the place is free", || proxy.get("/").status() == 200);
    let before = origin.requests().len();
    let mut client = proxy.client();
    client.send(client::get("/cut")).unwrap();
    eventually("the request at the origin", || origin.requests().len() > before);
    let response = proxy.get("/");
    assert_eq!((response.status(), response.head.all("retry-after")), (503, vec!["1"]));
    assert!(response.text().contains("upstream_full"), "{}", response.text());
    client.reset();
    eventually("the place is free", || proxy.get("/").status() == 200);
    assert!(refused(&proxy) > 0);
}
