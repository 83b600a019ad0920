//! io_uring, and what takes over where it is refused.

use std::sync::Mutex;
use std::sync::mpsc::{Sender, channel};

use crate::support::message::pattern;
use crate::support::process::tables;
use crate::support::{Client, DEADLINE, Launch, Load, Origin, Proxy, Setup, client, eventually, ok};

/// Answers `/slow` when told to, and everything else at once.
fn origin() -> (Origin, Sender<()>) {
    let (go, wait) = channel::<()>();
    let wait = Mutex::new(wait);
    let origin = Origin::http(move |request| {
        if request.head.target() == "/slow" {
            // Or when the test has ended.
            let _ = wait.lock().unwrap().recv_timeout(2 * DEADLINE);
        }
        ok(&request.body)
    });
    (origin, go)
}

/// What must hold with every driver: keep-alive, large bodies, an abort, a reload and a drain under load.
fn exercise(mut proxy: Proxy, (origin, go): &(Origin, Sender<()>)) {
    let mut client = proxy.client();
    for size in [0, 1, 65_536, 3_000_000] {
        let body = pattern(0, size);
        assert!(client.request(client::post("/", &body)).body == body, "other bytes at {size}");
    }
    assert_eq!(origin.connections(), 1);
    let slow_requests = || {
        let requests = origin.requests();
        requests.iter().filter(|request| request.head.target() == "/slow").count()
    };
    let mut leaving = proxy.client();
    leaving.send(client::get("/slow")).unwrap();
    eventually("the request is out", || slow_requests() == 1);
    drop(leaving);
    eventually("the abort is noticed", || proxy.listener("client_aborts_total") == 1);
    go.send(()).unwrap();
    let load = Load::start(&proxy.address("web"), 16, "/");
    eventually("the load runs", || load.answered() > 300);
    proxy.reload();
    let mut slow = proxy.client();
    slow.send(client::get("/slow")).unwrap();
    eventually("the slow one is out", || slow_requests() == 2);
    proxy.signal(libc::SIGTERM);
    eventually("the drain has begun", || Client::try_connect(&proxy.address("web")).is_err());
    go.send(()).unwrap();
    assert_eq!(slow.response().status(), 200);
    assert_eq!(proxy.wait_exit(DEADLINE).code(), Some(0));
    load.finish().assert_no_failures();
}

/// Whether the process holds an io_uring.
fn has_ring(proxy: &Proxy) -> bool {
    let links = tables(proxy.pid()).flat_map(|table| std::fs::read_dir(table).unwrap());
    links
        .filter_map(|link| std::fs::read_link(link.unwrap().path()).ok())
        .any(|target| target.to_string_lossy().contains("io_uring"))
}

#[test]
fn serves_on_io_uring() {
    let origin = origin();
    let proxy = Setup::origin(&origin.0).workers(2).process("driver = \"io_uring\"").start();
    assert!(has_ring(&proxy));
    exercise(proxy, &origin);
}

#[test]
fn serves_on_epoll() {
    let origin = origin();
    let proxy = Setup::origin(&origin.0).process("driver = \"epoll\"").start();
    assert!(!has_ring(&proxy));
    exercise(proxy, &origin);
}

#[test]
fn falls_back_to_epoll_when_io_uring_is_refused() {
    for errno in [libc::EPERM, libc::ENOSYS] {
        let origin = origin();
        let proxy = Setup::origin(&origin.0).workers(2).launch().refuse_io_uring(errno).start();
        assert!(!has_ring(&proxy));
        let log = proxy.log();
        let lines: Vec<&str> = log.lines().filter(|line| line.contains("io_uring")).collect();
        assert_eq!(lines.len(), 1, "one line says so: {log}");
        assert!(lines[0].contains("epoll"), "{lines:?}");
        exercise(proxy, &origin);
    }
}

#[test]
fn io_uring_or_nothing_means_nothing() {
    let origin = origin();
    let text = Setup::origin(&origin.0).process("driver = \"io_uring\"").text();
    let mut proxy = Launch::new(&text).refuse_io_uring(libc::EPERM).spawn();
    assert!(!proxy.wait_exit(DEADLINE).success());
    assert!(proxy.log().contains("io_uring"), "{}", proxy.log());
}
