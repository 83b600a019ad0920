//! Limits of connections and of what one connection may ask: exact over all workers, and never at the cost of a request
//! that has begun.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::message::Response;
use crate::support::process::{self, CLOSE_WAIT};
use crate::support::{Client, DEADLINE, Origin, Proxy, Setup, alone, client, eventually, ok, settles_at};

/// An origin that answers `/held` when told to, and everything else at once.
pub(super) fn holding_origin() -> (Origin, Sender<()>) {
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
pub(super) fn counting_origin(time: Duration) -> (Origin, Arc<AtomicUsize>) {
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
}

impl KeepAlive {
    fn new(address: &str) -> Self {
        Self { address: address.to_owned(), client: None }
    }

    fn get(&mut self, target: &str) -> Response {
        let start = Instant::now();
        loop {
            let mut client = self.client.take().unwrap_or_else(|| Client::connect(&self.address));
            let sent = client.send(client::get(target));
            match sent.and_then(|()| client.try_response(true)) {
                Ok(response) => {
                    if !response.head.connection_has("close") {
                        self.client = Some(client);
                    }
                    return response;
                }
                Err(error) => assert!(start.elapsed() < DEADLINE, "{error}"),
            }
        }
    }
}

pub(super) fn waited(proxy: &Proxy) -> u64 {
    proxy.listener("connections_waited_total")
}

pub(super) fn yielded(proxy: &Proxy) -> u64 {
    proxy.listener("connections_yielded_total")
}

#[track_caller]
pub(super) fn assert_open(client: &mut Client) {
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
        // 200 requests one after the other; waiting for a deadline anywhere would take a second each time.
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
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
    let mut client = Client::connect(&address);
    for _ in 0..3 {
        assert!(!client.get("/").head.connection_has("close"));
    }
    // A second one has the first make room, and is not itself taken for one that waits.
    let before = yielded(&proxy);
    let mut second = Client::connect(&address);
    assert!(!second.get("/").head.connection_has("close"));
    client.expect_close();
    assert_open(&mut second);
    assert_eq!(yielded(&proxy), before + 1);
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
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
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
    for newcomer in &mut newcomers {
        assert!(!newcomer.get("/").head.connection_has("close"));
    }
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
    let proxy = Setup::origin(&origin).workers(4).listener("connections_max = 1").start();
    let start = Instant::now();
    let mut silent = proxy.client();
    settles_at(1, || proxy.listener("connections"));
    let mut second = proxy.client();
    assert_eq!(second.get("/").status(), 200);
    let took = start.elapsed();
    // The grace begins with the accept, by a clock that is up to 4 ms behind.
    assert!((990..4_000).contains(&took.as_millis()), "{took:?}");
    silent.expect_end();
    drop(second);
    settles_at(0, || proxy.listener("connections"));

    // One that sends within its second is served first.
    let mut late = proxy.client();
    settles_at(1, || proxy.listener("connections"));
    let mut waiting = proxy.client();
    waiting.send(client::get("/")).unwrap();
    eventually("it waits", || waited(&proxy) == 2);
    assert_eq!(late.get("/").status(), 200);
    assert_eq!(waiting.response().status(), 200);

    // One that has been silent for longer makes room at once.
    settles_at(1, || proxy.listener("connections"));
    drop(waiting);
    settles_at(0, || proxy.listener("connections"));
    let mut silent = proxy.client();
    silent.expect_silence(Duration::from_millis(1_300));
    let start = Instant::now();
    assert_eq!(proxy.get("/").status(), 200);
    assert!(start.elapsed() < Duration::from_millis(700), "{:?}", start.elapsed());
    silent.expect_end();
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
    eventually("every worker waits", || waited(&proxy) == 4);
    let share = process::cpu_share(proxy.pid(), Duration::from_secs(1));
    assert!(share < 0.03, "{share:.3} of a core while everybody waits");
    go.send(()).unwrap();
    crowd.iter_mut().for_each(|client| assert_eq!(client.response().status(), 200));
    go.send(()).unwrap();
    busy.iter_mut().for_each(|client| assert_eq!(client.response().status(), 200));
    drop((busy, crowd));
    settles_at(0, || proxy.listener("connections"));
}

/// Nothing of the limit is lost, however connections end.
#[test]
fn every_end_of_a_connection_gives_its_place_back() {
    let origin = Origin::script(|connection| {
        while let Ok(Some(request)) = connection.request() {
            if request.head.target() == "/cut" {
                let _ = connection.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx");
                return;
            }
            if connection.send(ok("x".repeat(100_000))).is_err() {
                return;
            }
        }
    });
    let limits = "connections_max = 4\nclient_connections_max = 1000\nrequests_max = 3";
    let proxy = Setup::origin(&origin).workers(4).listener(limits).start();
    for round in 0..60 {
        let mut clients: Vec<_> = (0..8).map(|_| proxy.client()).collect();
        let requests = [
            "GET / HT",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc",
            "GET /cut HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "BAD\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "",
            "GET / HTTP/1.0\r\n\r\n",
        ];
        for (client, request) in clients.iter_mut().zip(requests) {
            client.send(request).unwrap();
        }
        for client in clients {
            match round % 3 {
                0 => client.reset(),
                1 => drop(client),
                // Closes its side and waits for the proxy's.
                _ => {
                    client.half_close().unwrap();
                    let mut client = client;
                    client.drain().unwrap();
                }
            }
        }
    }
    settles_at(0, || proxy.listener("connections"));
    settles_at(0, || proxy.listener("connections_active"));
    settles_at(0, || proxy.endpoints("requests_active"));
    eventually("no socket waits to be closed", || process::sockets(proxy.port("web"), CLOSE_WAIT) == 0);
    // There is room for exactly as many as ever.
    let before = waited(&proxy);
    let mut clients: Vec<Client> = (0..4).map(|_| proxy.client()).collect();
    clients.iter_mut().for_each(|client| assert_eq!(client.get("/").status(), 200));
    clients.iter_mut().for_each(assert_open);
    assert_eq!(waited(&proxy), before);
    assert_eq!(proxy.get("/").status(), 200);
    assert_eq!(waited(&proxy), before + 1);
}

#[test]
fn running_out_of_descriptors_loses_no_place() {
    let _alone = alone();
    let origin = Origin::answering(ok("x"));
    // More than there are descriptors for: both limits are met.
    let setup = Setup::origin(&origin).workers(2).listener("connections_max = 80");
    let proxy = setup.upstream("idle_connections_max = 2").launch().files(100).start();
    for _ in 0..3 {
        let mut crowd: Vec<Client> = (0..200).map(|_| proxy.client()).collect();
        crowd.iter_mut().for_each(|client| client.send(client::get("/")).unwrap());
        let start = Instant::now();
        while !crowd.is_empty() {
            // Whoever was answered leaves, so that the others get their turn.
            crowd.retain_mut(|client| {
                if client.silent_for(Duration::from_millis(5)).unwrap_or(false) {
                    return true;
                }
                let status = client.response().status();
                assert!(matches!(status, 200 | 502 | 503), "{status}");
                false
            });
            assert!(start.elapsed() < DEADLINE, "{} are left", crowd.len());
        }
        eventually("all have left", || proxy.admin_get("/metrics").is_ok());
        settles_at(0, || proxy.listener("connections"));
    }
    // As many as there are descriptors for, and not one waits.
    let before = waited(&proxy);
    let mut clients: Vec<Client> = (0..40).map(|_| proxy.client()).collect();
    clients.iter_mut().for_each(|client| assert_eq!(client.get("/").status(), 200));
    assert_eq!(waited(&proxy), before);
}

#[test]
fn gauges_are_exact_after_a_storm_at_the_limit() {
    let _alone = alone();
    let (origin, most) = counting_origin(Duration::from_micros(200));
    let limits = "connections_max = 6\nclient_connections_max = 30";
    let proxy = Setup::origin(&origin).workers(4).listener(limits).start();
    let address = proxy.address("web");
    let until = Instant::now() + Duration::from_secs(5);
    let answered = AtomicUsize::new(0);
    thread::scope(|scope| {
        for number in 0..24u32 {
            let (address, answered) = (&address, &answered);
            scope.spawn(move || {
                let mut keep_alive = KeepAlive::new(address);
                let mut round = number;
                while Instant::now() < until {
                    round += 1;
                    match round % 5 {
                        0 => drop(Client::try_connect(address)),
                        1 => {
                            if let Ok(mut client) = Client::try_connect(address) {
                                let _ = client.send(&client::get("/")[..(round % 17) as usize]);
                                client.reset();
                            }
                        }
                        _ => {
                            assert_eq!(keep_alive.get("/").status(), 200);
                            answered.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                }
            });
        }
    });
    assert!(most.load(Ordering::SeqCst) <= 6, "{most:?} requests at once");
    assert!(answered.load(Ordering::Relaxed) > 500, "{answered:?} answers");
    settles_at(0, || proxy.listener("connections"));
    settles_at(0, || proxy.listener("connections_active"));
    // Six at once, as ever.
    let mut clients: Vec<Client> = (0..6).map(|_| proxy.client()).collect();
    let before = waited(&proxy);
    clients.iter_mut().for_each(|client| assert_eq!(client.get("/").status(), 200));
    clients.iter_mut().for_each(assert_open);
    assert_eq!(waited(&proxy), before);
}
