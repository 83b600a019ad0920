//! SIGTERM and SIGINT: everything that was asked is answered, then the process ends.

use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::support::{Client, DEADLINE, Load, Origin, Proxy, Setup, alone, client, eventually, ok};

/// An origin that answers `/slow` when told to, and everything else at once.
fn slow_origin() -> (Origin, Sender<()>) {
    let (go, wait) = channel::<()>();
    let wait = Arc::new(Mutex::new(wait));
    let origin = Origin::http(move |request| {
        if request.head.target().starts_with("/slow") {
            // Or until the test has ended.
            let _ = wait.lock().unwrap().recv_timeout(Duration::from_secs(30));
        }
        ok(format!("answer to {}", request.head.target()))
    });
    (origin, go)
}

fn refuses(proxy: &Proxy) -> bool {
    Client::try_connect(&proxy.address("web")).is_err()
}

#[test]
fn answers_what_is_in_flight_and_exits_0() {
    for signal in [libc::SIGTERM, libc::SIGINT] {
        let (origin, go) = slow_origin();
        let mut proxy = Setup::origin(&origin).process("drain_timeout = \"20s\"").start();
        let mut client = proxy.client();
        client.send(client::get("/slow")).unwrap();
        eventually("the request is in flight", || origin.requests().len() == 1);
        proxy.signal(signal);
        eventually("new connections are refused", || refuses(&proxy));
        assert!(!proxy.has_exited());
        go.send(()).unwrap();
        let response = client.response();
        assert_eq!((response.status(), response.text()), (200, "answer to /slow".to_owned()));
        assert!(response.head.connection_has("close"), "{:?}", response.head.raw);
        client.expect_close();
        assert_eq!(proxy.wait_exit(DEADLINE).code(), Some(0));
    }
}

#[test]
fn finishes_bodies_that_are_under_way() {
    let origin = Origin::script(|connection| {
        let head = connection.head().unwrap().unwrap();
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n").unwrap();
        assert_eq!(head.method(), "POST");
        // The response ends after the request's body, which comes during the drain.
        connection.expect_pattern(0, 1_000_000).unwrap();
        connection.send_pattern(0, 100).unwrap();
    });
    let mut proxy = Setup::origin(&origin).process("drain_timeout = \"20s\"").start();
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n").unwrap();
    client.send_pattern(0, 1_000).unwrap();
    assert_eq!(client.next_head().status(), 200);
    proxy.signal(libc::SIGTERM);
    eventually("new connections are refused", || refuses(&proxy));
    client.send_pattern(1_000, 999_000).unwrap();
    client.expect_pattern(0, 100).unwrap();
    client.expect_close();
    assert_eq!(proxy.wait_exit(DEADLINE).code(), Some(0));
}

#[test]
fn closes_idle_connections() {
    let (origin, _go) = slow_origin();
    let mut proxy = Setup::origin(&origin).process("drain_timeout = \"30s\"").start();
    let mut idle = proxy.client();
    let mut unused = proxy.client();
    assert_eq!(idle.get("/").status(), 200);
    let start = Instant::now();
    proxy.signal(libc::SIGTERM);
    idle.expect_close();
    unused.expect_end();
    assert_eq!(proxy.wait_exit(DEADLINE).code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(20), "they hold up the drain: {:?}", start.elapsed());
}

#[test]
fn closes_idle_connections_that_have_no_deadline() {
    let (origin, _go) = slow_origin();
    let limits = "head_timeout = \"0s\"\nkeepalive_timeout = \"0s\"";
    let mut proxy = Setup::origin(&origin).listener(limits).process("drain_timeout = \"30s\"").start();
    let mut used = proxy.client();
    assert_eq!(used.get("/").status(), 200);
    let mut silent = proxy.client();
    eventually("both are accepted", || proxy.listener("connections") == 2);
    proxy.signal(libc::SIGTERM);
    silent.expect_close();
    used.expect_close();
    assert_eq!(proxy.wait_exit(DEADLINE).code(), Some(0));
}

#[test]
fn answers_pipelined_requests_that_have_arrived() {
    let (origin, go) = slow_origin();
    let mut proxy = Setup::origin(&origin).process("drain_timeout = \"20s\"").start();
    let mut client = proxy.client();
    client.send(client::get("/slow") + &client::get("/next")).unwrap();
    eventually("the first is in flight", || origin.requests().len() == 1);
    proxy.signal(libc::SIGTERM);
    eventually("new connections are refused", || refuses(&proxy));
    go.send(()).unwrap();
    let first = client.response();
    assert_eq!(first.text(), "answer to /slow");
    if !first.head.connection_has("close") {
        assert_eq!(client.response().text(), "answer to /next");
    }
    assert_eq!(proxy.wait_exit(DEADLINE).code(), Some(0));
}

#[test]
fn cuts_what_is_left_after_drain_timeout() {
    let (origin, _go) = slow_origin();
    let mut proxy = Setup::origin(&origin).process("drain_timeout = \"1s\"").start();
    let mut client = proxy.client();
    client.send(client::get("/slow")).unwrap();
    eventually("the request is in flight", || origin.requests().len() == 1);
    let start = Instant::now();
    proxy.signal(libc::SIGTERM);
    assert_eq!(proxy.wait_exit(DEADLINE).code(), Some(0));
    // Not with the origin, which answers after 30 s.
    assert!(start.elapsed() >= Duration::from_millis(900), "{:?}", start.elapsed());
    let answer = client.response();
    assert_eq!(answer.status(), 503, "a client that has no answer yet is told");
    assert_eq!(answer.head.field("Connection"), Some("close"));
    client.drain().unwrap();
    let record = &proxy.records(1)[0];
    assert_eq!((&record["reason"], &record["status"]), (&"drain_timeout".into(), &503.into()), "{record}");
    assert!(proxy.log().contains("connections_cut=1"), "the log counts what was cut: {}", proxy.log());
}

#[test]
fn a_second_signal_ends_at_once() {
    let (origin, _go) = slow_origin();
    let mut proxy = Setup::origin(&origin).process("drain_timeout = \"60s\"").start();
    let mut client = proxy.client();
    client.send(client::get("/slow")).unwrap();
    eventually("the request is in flight", || origin.requests().len() == 1);
    proxy.signal(libc::SIGTERM);
    eventually("the drain began", || refuses(&proxy));
    assert!(!proxy.has_exited());
    // Far from the end of `drain_timeout`, and of the origin's 30 s.
    proxy.signal(libc::SIGTERM);
    assert_eq!(proxy.wait_exit(DEADLINE).code(), Some(128 + libc::SIGTERM));
    assert_eq!(proxy.records(1)[0]["reason"], "drain_timeout", "what is cut has its record too");
}

#[test]
fn accepts_during_shutdown_delay_while_not_ready() {
    let (origin, _go) = slow_origin();
    let mut proxy =
        Setup::origin(&origin).process("shutdown_delay = \"3s\"\ndrain_timeout = \"10s\"").start();
    let start = Instant::now();
    proxy.signal(libc::SIGTERM);
    eventually("/readyz is 503", || {
        proxy.admin_get("/readyz").is_ok_and(|response| response.status() == 503)
    });
    assert_eq!(proxy.admin_get("/healthz").unwrap().status(), 200, "it lives, it is only not ready");
    let mut served = 0;
    while Client::serves(&proxy.address("web")) {
        served += 1;
    }
    assert!(served > 0 && start.elapsed() >= Duration::from_millis(2_900), "until {:?}", start.elapsed());
    eventually("new connections are refused", || refuses(&proxy));
    assert_eq!(proxy.wait_exit(DEADLINE).code(), Some(0));
}

#[test]
fn fails_no_request_when_it_drains_under_load() {
    let _alone = alone();
    for round in 0..5 {
        let origin = Origin::http(|_| {
            std::thread::sleep(Duration::from_millis(2));
            ok("x".repeat(1_000))
        });
        let mut proxy = Setup::origin(&origin).workers(2).process("drain_timeout = \"20s\"").start();
        let load = Load::start(&proxy.address("web"), 64, "/");
        eventually("the load runs", || load.answered() > 500);
        proxy.signal(libc::SIGTERM);
        let status = proxy.wait_exit(DEADLINE);
        let tally = load.finish();
        assert_eq!(status.code(), Some(0), "round {round}");
        tally.assert_no_failures();
    }
}

#[test]
fn fails_no_request_when_it_drains_under_load_of_short_connections() {
    let _alone = alone();
    let origin = Origin::answering(ok("x"));
    let mut proxy = Setup::origin(&origin).workers(2).process("drain_timeout = \"20s\"").start();
    let address = proxy.address("web");
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let (address, stop) = (address.clone(), Arc::clone(&stop));
            std::thread::spawn(move || {
                let (mut answered, mut failures) = (0, Vec::new());
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    // A refused new connection is not a failed request.
                    let Ok(mut client) = Client::try_connect(&address) else { break };
                    let request = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
                    match client.send(request).and_then(|()| client.try_response(true)) {
                        Ok(response) if response.status() == 200 => answered += 1,
                        // Reset in the accept queue as the listener closed: refused, a moment late.
                        Err(_) if client.has_received_nothing() => break,
                        other => failures.push(format!("{other:?}")),
                    }
                }
                (answered, failures)
            })
        })
        .collect();
    eventually("the load runs", || proxy.listener("requests_total") > 500);
    proxy.signal(libc::SIGTERM);
    assert_eq!(proxy.wait_exit(DEADLINE).code(), Some(0));
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    for thread in threads {
        let (answered, failures) = thread.join().unwrap();
        assert!(answered > 0);
        assert!(failures.is_empty(), "{failures:?}");
    }
}

#[test]
fn drains_after_a_reload_too() {
    let (origin, go) = slow_origin();
    let setup = Setup::origin(&origin).process("drain_timeout = \"20s\"");
    let mut proxy = setup.start();
    let mut client = proxy.client();
    client.send(client::get("/slow")).unwrap();
    eventually("the request is in flight", || origin.requests().len() == 1);
    proxy.rewrite(&setup.route("path = { prefix = \"/new\" }").text());
    proxy.reload_and_wait();
    proxy.signal(libc::SIGTERM);
    eventually("new connections are refused", || refuses(&proxy));
    go.send(()).unwrap();
    assert_eq!(client.response().text(), "answer to /slow");
    assert_eq!(proxy.wait_exit(DEADLINE).code(), Some(0));
}
