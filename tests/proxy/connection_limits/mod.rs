//! Limits of connections and of what one connection may ask: exact over all workers, and never at the cost of a request
//! that has begun.

mod clients;
mod ends;
mod reloads;
mod requests;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::message::Response;
use crate::support::process::{self, CLOSE_WAIT};
use crate::support::{Client, DEADLINE, Origin, Proxy, Setup, alone, client, eventually, ok, settles_at};

/// An origin that answers `/held` when told to, and everything else at once.
fn holding_origin() -> (Origin, Sender<()>) {
    let (go, wait) = channel::<()>();
    let wait = Mutex::new(wait);
    let origin = Origin::http(move |request| {
        if request.head.target() == "/held" {
            wait.lock().unwrap().recv_timeout(Duration::from_secs(60)).unwrap();
        }
        ok(request.head.target())
    });
    (origin, go)
}

/// An origin that knows how many requests it had at once.
fn counting_origin(time: Duration) -> (Origin, Arc<AtomicUsize>) {
    let (now, most) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
    let seen = most.clone();
    let origin = Origin::http(move |request| {
        seen.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        thread::sleep(time);
        now.fetch_sub(1, Ordering::SeqCst);
        ok(request.head.target())
    });
    (origin, most)
}

/// A client with keep-alive as browsers have it: a connection that ends without a byte of an answer is replaced, and the
/// request sent again.
struct KeepAlive {
    address: String,
    client: Option<Client>,
    /// Requests on a connection that had stayed open and ended without an answer to them.
    met_closings: usize,
}

impl KeepAlive {
    fn new(address: &str) -> Self {
        Self { address: address.to_owned(), client: None, met_closings: 0 }
    }

    fn get(&mut self, target: &str) -> Response {
        let start = Instant::now();
        loop {
            let kept = self.client.take();
            let was_kept = kept.is_some();
            let mut client = kept.unwrap_or_else(|| Client::connect(&self.address));
            let sent = client.send(client::get(target));
            match sent.and_then(|()| client.try_response(true)) {
                Ok(response) => {
                    if !response.head.connection_has("close") {
                        self.client = Some(client);
                    }
                    return response;
                }
                Err(error) => {
                    assert!(start.elapsed() < DEADLINE, "{error}");
                    self.met_closings += usize::from(was_kept);
                }
            }
        }
    }
}

fn waited(proxy: &Proxy) -> u64 {
    proxy.listener("connections_waited_total")
}

fn yielded(proxy: &Proxy) -> u64 {
    proxy.listener("connections_yielded_total")
}

#[track_caller]
fn assert_open(client: &mut Client) {
    assert!(client.silent_for(Duration::from_millis(20)).unwrap_or(false), "the connection has ended");
}

#[test]
fn serves_keep_alive_clients_in_turn_over_one_connection() {
    for limit in [1, 3] {
        let (origin, most) = counting_origin(Duration::from_millis(1));
        let proxy = Setup::origin(&origin).workers(4).listener(&format!("connections_max = {limit}")).start();
        let address = proxy.address("web");
        let start = Instant::now();
        thread::scope(|scope| {
            for number in 0..8 {
                let mut client = KeepAlive::new(&address);
                scope.spawn(move || {
                    for turn in 0..25 {
                        let target = format!("/{number}/{turn}");
                        assert_eq!(client.get(&target).text(), target);
                    }
                });
            }
        });
        // 200 requests, three at once at most; waiting for a deadline would take a second each time, more than a minute.
        assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
        assert!(most.load(Ordering::SeqCst) <= limit, "{most:?} requests at once");
        settles_at(0, || proxy.listener("connections"));
        assert!(waited(&proxy) > 0);
    }
}

#[test]
fn serves_clients_in_turn_from_the_one_queue_of_a_unix_socket() {
    let (origin, most) = counting_origin(Duration::from_millis(1));
    let text = Setup::origin(&origin).workers(4).listener("connections_max = 1").text();
    let proxy = Proxy::start(&text.replace("127.0.0.1:@web@", "unix:@dir@/web.sock"));
    let address = format!("unix:{}", proxy.dir().join("web.sock").display());
    thread::scope(|scope| {
        for _ in 0..8 {
            let mut client = KeepAlive::new(&address);
            scope.spawn(move || (0..25).for_each(|_| assert_eq!(client.get("/").status(), 200)));
        }
    });
    assert_eq!(most.load(Ordering::SeqCst), 1);
    settles_at(0, || proxy.listener("connections"));
    // With nobody else there, a connection is kept.
    let mut client = kept_client(&address);
    for _ in 0..3 {
        assert!(!client.get("/").head.connection_has("close"));
    }
    // A second one has the first make room, and is not itself taken for one that waits.
    let before = yielded(&proxy);
    let mut second = kept_client(&address);
    client.expect_close();
    assert_open(&mut second);
    assert_eq!(yielded(&proxy), before + 1);
}

/// A client whose connection stays open after its first response. Until each worker has run and found the one queue empty,
/// connections may still be closed for somebody who waited.
fn kept_client(address: &str) -> Client {
    let mut kept = None;
    eventually("a connection is kept", || {
        let mut client = Client::connect(address);
        if !client.get("/").head.connection_has("close") {
            kept = Some(client);
        }
        kept.is_some()
    });
    kept.unwrap()
}

#[test]
fn a_client_alone_at_the_limit_keeps_its_connection() {
    let origin = Origin::answering(ok("x"));
    let proxy = Setup::origin(&origin).workers(4).listener("connections_max = 1").start();
    let mut client = proxy.client();
    for _ in 0..20 {
        assert!(!client.get("/").head.connection_has("close"));
    }
    assert_eq!((waited(&proxy), yielded(&proxy)), (0, 0));
}

#[test]
fn a_waiting_client_is_served_when_the_first_is_done() {
    let (origin, go) = holding_origin();
    let proxy = Setup::origin(&origin).workers(4).listener("connections_max = 1").start();
    let mut first = proxy.client();
    first.send(client::get("/held")).unwrap();
    eventually("the first is in flight", || origin.requests().len() == 1);
    let mut second = proxy.client();
    second.send(client::get("/second")).unwrap();
    eventually("the second waits", || waited(&proxy) == 1);
    second.expect_silence(Duration::from_millis(300));
    assert_eq!((origin.requests().len(), waited(&proxy)), (1, 1));
    go.send(()).unwrap();
    let response = first.response();
    assert!(response.head.connection_has("close"), "somebody waits: {}", response.head.first);
    first.expect_close();
    assert_eq!(second.response().text(), "/second");
    assert_eq!(yielded(&proxy), 0);
}

#[test]
fn a_waiting_client_is_served_when_the_first_leaves() {
    let (origin, _go) = holding_origin();
    let proxy = Setup::origin(&origin).workers(4).listener("connections_max = 1").start();
    let mut first = proxy.client();
    first.send(client::get("/held")).unwrap();
    eventually("the first is in flight", || origin.requests().len() == 1);
    let mut second = proxy.client();
    second.send(client::get("/second")).unwrap();
    eventually("the second waits", || waited(&proxy) == 1);
    first.reset();
    assert_eq!(second.response().text(), "/second");
}

#[test]
fn an_idle_connection_makes_room_at_once() {
    let origin = Origin::answering(ok("x"));
    let proxy = Setup::origin(&origin).workers(4).listener("connections_max = 1").start();
    // So often that it is on another worker now and then.
    let mut first = proxy.client();
    first.get("/");
    let start = Instant::now();
    for _ in 0..20 {
        let mut second = proxy.client();
        // Nobody waits any more: this one may stay.
        assert!(!second.get("/").head.connection_has("close"));
        first.expect_close();
        first = second;
    }
    // A second of grace in each turn would make 20.
    assert!(start.elapsed() < DEADLINE, "{:?}", start.elapsed());
    assert_eq!((waited(&proxy), yielded(&proxy)), (20, 20));
}

#[test]
fn the_longest_idle_connection_makes_room_first() {
    let origin = Origin::answering(ok("x"));
    let proxy = Setup::origin(&origin).listener("connections_max = 4").start();
    let mut clients: Vec<Client> = (0..4).map(|_| proxy.client()).collect();
    // From the longest idle on: 2, 0, 3, 1.
    for index in [0, 1, 2, 0, 3, 1] {
        assert_eq!(clients[index].get("/").status(), 200);
    }
    let mut newcomers = Vec::new();
    for index in [2, 0, 3, 1] {
        let mut newcomer = proxy.client();
        assert_eq!(newcomer.get("/").status(), 200);
        clients[index].expect_close();
        settles_at(4, || proxy.listener("connections"));
        newcomers.push(newcomer);
    }
    assert_eq!(yielded(&proxy), 4);
}

#[test]
fn as_many_idle_connections_close_as_clients_wait() {
    let origin = Origin::answering(ok("x"));
    let proxy = Setup::origin(&origin).workers(4).listener("connections_max = 40").start();
    let mut idle: Vec<Client> = (0..40).map(|_| proxy.client()).collect();
    idle.iter_mut().for_each(|client| assert_eq!(client.get("/").status(), 200));
    let mut newcomers: Vec<Client> = (0..10).map(|_| proxy.client()).collect();
    settles_at(50, || proxy.listener("connections_total"));
    let closes: Vec<bool> =
        newcomers.iter_mut().map(|newcomer| newcomer.get("/").head.connection_has("close")).collect();
    // Nobody waits any more, once the worker that accepted the last one has seen that it was the last.
    assert!(closes.iter().skip_while(|closes| **closes).all(|closes| !closes), "{closes:?}");
    assert!(closes.contains(&false), "{closes:?}");
    assert_eq!(yielded(&proxy), 10);
    let open = idle.iter_mut().filter_map(|client| client.silent_for(Duration::from_millis(1)).ok());
    assert_eq!(open.filter(|open| *open).count(), 30);
}

#[test]
fn busy_connections_are_never_cut() {
    let (origin, go) = holding_origin();
    let proxy = Setup::origin(&origin).workers(4).listener("connections_max = 3").start();
    let mut in_flight = proxy.client();
    in_flight.send(client::get("/held")).unwrap();
    // The first byte of its first request, and of its second, is here.
    let mut begun = proxy.client();
    begun.send("G").unwrap();
    let mut second = proxy.client();
    second.get("/");
    second.send("G").unwrap();
    eventually("all are busy", || proxy.listener("connections_active") == 3);
    let mut newcomer = proxy.client();
    newcomer.send(client::get("/newcomer")).unwrap();
    // Longer than any grace.
    newcomer.expect_silence(Duration::from_millis(2_500));
    for client in [&mut in_flight, &mut begun, &mut second] {
        assert_open(client);
    }
    for client in [&mut begun, &mut second] {
        assert_eq!(client.request("ET /rest HTTP/1.1\r\nHost: a\r\n\r\n").text(), "/rest");
    }
    assert_eq!(newcomer.response().text(), "/newcomer");
    go.send(()).unwrap();
    assert_eq!(in_flight.response().text(), "/held");
}

#[test]
fn a_silent_connection_makes_room_after_a_second_only() {
    let origin = Origin::answering(ok("x"));
    let setup = Setup::origin(&origin).workers(4).listener("connections_max = 1");
    let proxy = setup.listener("head_timeout = \"1m\"").start();
    let start = Instant::now();
    let mut silent = proxy.client();
    settles_at(1, || proxy.listener("connections"));
    let mut second = proxy.client();
    // Without the grace it would wait until `head_timeout`.
    assert_eq!(second.get("/").status(), 200);
    // The grace begins with the accept, by a clock that is up to 4 ms behind.
    assert!(start.elapsed() >= Duration::from_millis(990), "{:?}", start.elapsed());
    silent.expect_end();
    drop(second);
    settles_at(0, || proxy.listener("connections"));

    // One that sends within its second is served first.
    eventually("it sends within its second", || {
        let before = waited(&proxy);
        let start = Instant::now();
        let mut late = proxy.client();
        settles_at(1, || proxy.listener("connections"));
        let mut waiting = proxy.client();
        waiting.send(client::get("/")).unwrap();
        eventually("it waits", || waited(&proxy) == before + 1);
        let served = late.send(client::get("/")).and_then(|()| late.try_response(true));
        let took = start.elapsed();
        assert_eq!(waiting.response().status(), 200);
        drop((late, waiting));
        settles_at(0, || proxy.listener("connections"));
        // On a machine that is busy with other things its second may be over before it sends.
        assert!(served.is_ok() || took >= Duration::from_millis(990), "{served:?} after {took:?}");
        served.is_ok_and(|response| response.status() == 200)
    });

    // One that has been silent for longer makes room at once: without a second of grace at least.
    eventually("room is made at once", || {
        let mut silent = proxy.client();
        silent.expect_silence(Duration::from_millis(1_300));
        let start = Instant::now();
        assert_eq!(proxy.get("/").status(), 200);
        let took = start.elapsed();
        silent.expect_end();
        settles_at(0, || proxy.listener("connections"));
        took < Duration::from_millis(700)
    });
}

#[test]
fn waiting_takes_no_time_of_a_core() {
    let _alone = alone();
    let (origin, go) = holding_origin();
    let proxy = Setup::origin(&origin).workers(4).listener("connections_max = 2").start();
    let mut busy: Vec<Client> = (0..2).map(|_| proxy.client()).collect();
    busy.iter_mut().for_each(|client| client.send(client::get("/held")).unwrap());
    eventually("both are in flight", || proxy.listener("connections_active") == 2);
    let mut crowd: Vec<Client> = (0..100).map(|_| proxy.client()).collect();
    crowd.iter_mut().for_each(|client| client.send(client::get("/")).unwrap());
    // One that looked again has waited twice.
    eventually("every worker waits", || waited(&proxy) >= 4);
    process::assert_quiet(proxy.pid(), 0.03, "everybody waits");
    go.send(()).unwrap();
    crowd.iter_mut().for_each(|client| assert_eq!(client.response().status(), 200));
    go.send(()).unwrap();
    busy.iter_mut().for_each(|client| assert_eq!(client.response().status(), 200));
    drop((busy, crowd));
    settles_at(0, || proxy.listener("connections"));
}
