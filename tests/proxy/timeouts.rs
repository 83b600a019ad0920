//! Every wait has an end: 408 for a client that is slow, 504 for an origin that is.

use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crate::support::{Client, DEADLINE, Origin, Setup, client, eventually, ok, settles_at, sys};

/// A listener whose accept queue is full: the kernel drops what connects.
struct Blackhole {
    listener: TcpListener,
    _queue: Vec<TcpStream>,
}

impl Blackhole {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        sys::set_backlog(&listener, 0);
        let address = listener.local_addr().unwrap();
        let mut queue = Vec::new();
        while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
            queue.push(stream);
            assert!(queue.len() < 10, "the accept queue does not fill");
        }
        Self { listener, _queue: queue }
    }

    fn address(&self) -> String {
        self.listener.local_addr().unwrap().to_string()
    }
}

#[test]
fn answers_504_when_the_origin_does_not_accept() {
    let hole = Blackhole::new();
    let proxy = Setup::to(&[&hole.address()]).upstream("connect_timeout = \"500ms\"").start();
    let start = Instant::now();
    let response = proxy.get("/");
    assert_eq!(response.status(), 504);
    assert!(!response.body.is_empty());
    assert!((400..5_000).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
    eventually("it is counted", || proxy.endpoints("connect_timeouts_total") >= 1);
    assert!(proxy.record()["reason"].is_string());
}

#[test]
fn request_timeout_and_a_leaving_client_count_while_connecting() {
    let holes = [Blackhole::new(), Blackhole::new()];
    let addresses = holes.each_ref().map(Blackhole::address);
    let setup = Setup::to(&[&addresses[0], &addresses[1]]).upstream("connect_timeout = \"30s\"");
    let proxy = setup.upstream("request_timeout = \"700ms\"").start();
    let start = Instant::now();
    assert_eq!(proxy.get("/").status(), 504);
    assert!(start.elapsed() >= Duration::from_millis(600), "{:?}", start.elapsed());
    let record = proxy.record();
    assert_eq!((&record["reason"], &record["attempts"]), (&"request_timeout".into(), &1.into()));
    let mut leaving = proxy.client();
    leaving.send(client::get("/")).unwrap();
    drop(leaving);
    eventually("it is noticed", || proxy.listener("client_aborts_total") == 1);
}

#[test]
fn tries_the_next_endpoint_when_one_does_not_accept() {
    let hole = Blackhole::new();
    let origin = Origin::answering(ok("x"));
    let proxy =
        Setup::to(&[&hole.address(), origin.address()]).upstream("connect_timeout = \"300ms\"").start();
    let mut client = proxy.client();
    for _ in 0..4 {
        assert_eq!(client.get("/").status(), 200);
    }
}

#[test]
fn per_try_timeout_counts_while_connecting_whatever_the_method() {
    let (hole, origin) = (Blackhole::new(), Origin::answering(ok("x")));
    let upstream = "connect_timeout = \"30s\"\nretry = { per_try_timeout = \"200ms\" }";
    let proxy = Setup::to(&[&hole.address(), origin.address()]).upstream(upstream).start();
    let mut client = proxy.client();
    for _ in 0..4 {
        assert_eq!(client.request(client::post("/", b"once")).status(), 200);
    }
    let tried = |count: u64| proxy.records(4).iter().filter(|it| it["attempts"] == count).count() as u64;
    let given_up = tried(2);
    assert!(given_up >= 2 && tried(1) + given_up == 4, "{:?}", proxy.records(4));
    assert_eq!(proxy.endpoint("connect_timeouts_total", &hole.address()), given_up);
}

#[test]
fn answers_504_when_the_response_head_does_not_come() {
    let origin = Origin::script(|connection| {
        connection.request().unwrap();
        connection.wait_for_end();
    });
    let proxy = Setup::origin(&origin).upstream("response_head_timeout = \"500ms\"").start();
    let mut client = proxy.client();
    let start = Instant::now();
    let response = client.get("/");
    assert_eq!(response.status(), 504);
    assert!(!response.body.is_empty());
    assert!((400..5_000).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
    eventually("the origin's connection is closed", || origin.open_connections() == 0);
    settles_at(1, || proxy.endpoints("response_timeouts_total"));
    assert!(proxy.record()["reason"].is_string());
    assert_eq!(client.get("/").status(), 504, "the client's connection goes on");
}

#[test]
fn half_a_response_head_does_not_stop_the_timeout() {
    let origin = Origin::script(|connection| {
        connection.request().unwrap();
        for byte in b"HTTP/1.1 200 OK\r\nX-Slow: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" {
            std::thread::sleep(Duration::from_millis(100));
            if connection.send([*byte]).is_err() {
                return;
            }
        }
    });
    let proxy = Setup::origin(&origin).upstream("response_head_timeout = \"700ms\"").start();
    // Started anew by each byte, it would let the origin end the connection: a 502, after 5.6 s.
    assert_eq!(proxy.get("/").status(), 504);
}

#[test]
fn cuts_a_response_whose_body_stands_still() {
    let origin = Origin::script(|connection| {
        connection.request().unwrap();
        connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n").unwrap();
        connection.wait_for_end();
    });
    let proxy = Setup::origin(&origin).upstream("body_idle_timeout = \"500ms\"").start();
    let mut client = proxy.client();
    let start = Instant::now();
    client.send(client::get("/")).unwrap();
    assert_eq!(client.next_head().status(), 200);
    let rest = client.until_end().unwrap();
    assert!(!rest.ends_with(b"0\r\n\r\n"), "a cut body never looks complete");
    assert!((400..5_000).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
    assert_eq!(proxy.record()["reason"], "response_body_timeout");
}

#[test]
fn cuts_an_exchange_at_request_timeout() {
    let origin = Origin::script(|connection| {
        connection.request().unwrap();
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n").unwrap();
        while connection.send("x").is_ok() {
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    let proxy = Setup::origin(&origin).upstream("request_timeout = \"700ms\"").start();
    let mut client = proxy.client();
    let start = Instant::now();
    client.send(client::get("/")).unwrap();
    assert_eq!(client.next_head().status(), 200);
    client.drain().unwrap();
    assert!((600..5_000).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
    eventually("the origin's connection is closed", || origin.open_connections() == 0);
}

#[test]
fn answers_504_at_request_timeout_before_the_head() {
    let origin = Origin::script(|connection| {
        connection.request().unwrap();
        connection.wait_for_end();
    });
    let proxy = Setup::origin(&origin).upstream("request_timeout = \"500ms\"").start();
    assert_eq!(proxy.get("/").status(), 504);
}

#[test]
fn answers_408_to_a_head_that_does_not_end() {
    let origin = Origin::answering(ok("x"));
    let proxy = Setup::origin(&origin).listener("head_timeout = \"500ms\"").start();
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n").unwrap();
    let start = Instant::now();
    let response = client.response();
    assert_eq!(response.status(), 408);
    assert!(!response.body.is_empty());
    client.expect_close();
    assert!((300..5_000).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
    eventually("it is counted", || proxy.listener("head_timeouts_total") == 1);
    assert_eq!(origin.connections(), 0);
}

#[test]
fn a_dripping_head_does_not_stop_the_timeout() {
    let origin = Origin::answering(ok("x"));
    let proxy = Setup::origin(&origin).listener("head_timeout = \"700ms\"").start();
    let mut client = proxy.client();
    let start = Instant::now();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ").unwrap();
    while client.silent_for(Duration::from_millis(50)).unwrap() {
        assert!(start.elapsed() < DEADLINE, "still waiting");
        // The answer may come first.
        let _ = client.send("a");
    }
    assert_eq!(client.next_head().status(), 408);
}

#[test]
fn ends_a_request_whose_body_stalls() {
    let origin = Origin::script(|connection| {
        let request = connection.request();
        assert!(!matches!(request, Ok(Some(_))), "a complete request");
    });
    let proxy = Setup::origin(&origin).listener("body_idle_timeout = \"500ms\"").start();
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc").unwrap();
    assert_eq!(client.response().status(), 408);
    client.expect_end();
    eventually("the origin's connection is closed", || {
        origin.connections() == 1 && origin.open_connections() == 0
    });
}

#[test]
fn a_body_that_makes_progress_does_not_time_out() {
    let origin = Origin::http(|request| ok(&request.body));
    let proxy = Setup::origin(&origin).listener("body_idle_timeout = \"2s\"").start();
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n").unwrap();
    for byte in b"0123456789" {
        std::thread::sleep(Duration::from_millis(300));
        client.send([*byte]).unwrap();
    }
    assert_eq!(client.response().text(), "0123456789");
}

#[test]
fn cuts_a_client_that_does_not_read() {
    let origin = Origin::script(|connection| {
        connection.request().unwrap();
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n").unwrap();
        // Ends with an error when the proxy gives up.
        let _ = connection.send_pattern(0, 1_000_000_000);
    });
    let proxy = Setup::origin(&origin).listener("send_timeout = \"700ms\"").start();
    let client = Client::connect(&proxy.address("web"));
    client.set_receive_buffer(4096);
    let mut client = client;
    client.send(client::get("/")).unwrap();
    eventually("the origin's connection is closed", || {
        origin.connections() == 1 && origin.open_connections() == 0
    });
    eventually("the client's connection is closed", || proxy.listener("connections") == 0);
}

#[test]
fn an_upload_that_moves_is_not_cut_by_an_idle_response() {
    let origin = Origin::script(|connection| {
        connection.head().unwrap().unwrap();
        connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
        connection.exactly(10).unwrap();
        connection.send("4\r\ndone\r\n0\r\n\r\n").unwrap();
        connection.wait_for_end();
    });
    let proxy = Setup::origin(&origin).upstream("body_idle_timeout = \"2s\"").start();
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n").unwrap();
    for _ in 0..10 {
        std::thread::sleep(Duration::from_millis(300));
        client.send("x").unwrap();
    }
    assert_eq!(client.response().text(), "done");
}
