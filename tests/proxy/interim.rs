//! 1xx responses and `Expect: 100-continue` (RFC 9110 §10.1.1, §15.2).

use std::time::Duration;

use crate::support::{Origin, Setup, client, eventually, ok};

#[test]
fn passes_103_early_hints() {
    let origin = Origin::answering(
        "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n\
         HTTP/1.1 103 Early Hints\r\nLink: </b.css>; rel=preload\r\n\r\n\
         HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody",
    );
    let proxy = Setup::origin(&origin).start();
    let mut client = proxy.client();
    for _ in 0..2 {
        let response = client.get("/");
        assert_eq!((response.status(), response.text()), (200, "body".to_owned()));
        let links: Vec<_> = response.interim.iter().filter_map(|head| head.field("link")).collect();
        assert_eq!(links, ["</a.css>; rel=preload", "</b.css>; rel=preload"]);
        assert!(response.interim.iter().all(|head| head.status() == 103));
    }
    assert_eq!(origin.connections(), 1);
    eventually("interim responses are counted", || {
        proxy.metric("corelane_route_responses_total", &[("route", "all"), ("code", "1xx")]) == 4
    });
}

#[test]
fn passes_an_interim_response_before_the_final_one_exists() {
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let origin = Origin::script(move |connection| {
        connection.request().unwrap();
        connection.send("HTTP/1.1 102 Processing\r\n\r\n").unwrap();
        wait.lock().unwrap().recv_timeout(Duration::from_secs(10)).unwrap();
        connection.send(ok("late")).unwrap();
    });
    let proxy = Setup::origin(&origin).start();
    let mut client = proxy.client();
    client.send(client::get("/")).unwrap();
    assert_eq!(client.next_head().status(), 102);
    go.send(()).unwrap();
    assert_eq!(client.response().text(), "late");
}

#[test]
fn sends_no_interim_response_to_an_http10_client() {
    let origin = Origin::answering(
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
    );
    let proxy = Setup::origin(&origin).start();
    // RFC 9110 §15.2: a server must not send 1xx to an HTTP/1.0 client.
    let response = proxy.client().request("GET / HTTP/1.0\r\nHost: a\r\n\r\n");
    assert_eq!((response.status(), response.interim.len()), (200, 0));
}

#[test]
fn forwards_expect_and_relays_the_origins_100() {
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let origin = Origin::script(move |connection| {
        let head = connection.head().unwrap().unwrap();
        assert_eq!(head.field("expect"), Some("100-continue"));
        wait.lock().unwrap().recv_timeout(Duration::from_secs(10)).unwrap();
        connection.send("HTTP/1.1 100 Continue\r\n\r\n").unwrap();
        assert_eq!(connection.exactly(5).unwrap(), b"hello");
        connection.send(ok("done")).unwrap();
    });
    let proxy = Setup::origin(&origin).start();
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n").unwrap();
    eventually("the head reaches the origin", || origin.received(0).ends_with("\r\n\r\n"));
    client.expect_silence(Duration::from_millis(300));
    go.send(()).unwrap();
    assert_eq!(client.next_head().status(), 100);
    client.send("hello").unwrap();
    assert_eq!(client.response().text(), "done");
}

#[test]
fn never_invents_a_100() {
    let origin = Origin::script(|connection| {
        connection.head().unwrap().unwrap();
        connection.send("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 2\r\n\r\nno").unwrap();
        connection.wait_for_end();
    });
    let proxy = Setup::origin(&origin).start();
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n").unwrap();
    let response = client.response();
    assert_eq!((response.status(), response.text()), (417, "no".to_owned()));
    assert!(response.interim.is_empty());
}

#[test]
fn sends_the_body_that_does_not_wait_for_a_100() {
    let origin = Origin::http(|request| ok(&request.body));
    let proxy = Setup::origin(&origin).start();
    let mut client = proxy.client();
    let request = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello";
    for _ in 0..2 {
        let response = client.request(request);
        assert_eq!((response.text(), response.interim.len()), ("hello".to_owned(), 0));
    }
}

#[test]
fn relays_100_without_expect_only_as_an_interim_response() {
    let origin =
        Origin::answering("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx");
    let proxy = Setup::origin(&origin).start();
    let mut client = proxy.client();
    for _ in 0..2 {
        assert_eq!(client.get("/").text(), "x");
    }
}

#[test]
fn refuses_a_101_that_nobody_asked_for() {
    let origin = Origin::script(|connection| {
        connection.request().unwrap();
        connection
            .send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n")
            .unwrap();
        connection.wait_for_end();
    });
    let proxy = Setup::origin(&origin).start();
    let response =
        proxy.client().request("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n");
    assert_eq!(response.status(), 502);
    // RFC 9110 §7.8: Upgrade is not forwarded by one who cannot do it.
    assert!(!origin.request().head.has("upgrade"));
}

#[test]
fn a_client_waits_for_the_100_whatever_comes_before_it() {
    let origin = Origin::script(|connection| {
        connection.head().unwrap().unwrap();
        connection.send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n").unwrap();
        // Longer than a body may take to begin.
        std::thread::sleep(Duration::from_millis(5_500));
        connection.send("HTTP/1.1 100 Continue\r\n\r\n").unwrap();
        assert_eq!(connection.exactly(5).unwrap(), b"hello");
        connection.send(ok("done")).unwrap();
    });
    let proxy = Setup::origin(&origin).listener("body_idle_timeout = \"8s\"").start();
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n").unwrap();
    assert_eq!([(); 2].map(|()| client.next_head().status()), [103, 100]);
    // From now on it is the client that may take its time.
    std::thread::sleep(Duration::from_millis(3_500));
    client.send("hello").unwrap();
    assert_eq!(client.response().text(), "done");
}
