//! Clients that go away: noticed while the upstream works, and the request abandoned.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::support::process::{self, CLOSE_WAIT};
use crate::support::{DEADLINE, Origin, Setup, client, eventually, ok, settles_at};

/// An origin that reads a request and then waits for the proxy to give up; tells that it did. By itself the proxy would
/// after `response_head_timeout`, 30 s, which is twice the [`DEADLINE`].
fn waiting_origin() -> (Origin, Receiver<()>) {
    let (gone, told): (Sender<()>, _) = channel();
    let gone = Mutex::new(gone);
    let origin = Origin::script(move |connection| {
        connection.request().unwrap();
        connection.wait_for_end();
        let _ = gone.lock().unwrap_or_else(PoisonError::into_inner).send(());
    });
    (origin, told)
}

#[test]
fn abandons_the_request_of_a_client_that_closes() {
    let (origin, gone) = waiting_origin();
    let proxy = Setup::origin(&origin).start();
    let mut client = proxy.client();
    client.send(client::get("/")).unwrap();
    eventually("the origin works", || origin.requests().len() == 1);
    drop(client);
    gone.recv_timeout(DEADLINE).expect("the origin's connection ends");
    eventually("it is counted", || proxy.listener("client_aborts_total") == 1);
    eventually("nothing is left", || proxy.listener("connections") == 0);
    settles_at(0, || proxy.endpoints("requests_active"));
    assert!(proxy.record()["reason"].is_string());
}

#[test]
fn abandons_the_request_of_a_client_that_resets() {
    let (origin, gone) = waiting_origin();
    let proxy = Setup::origin(&origin).start();
    let mut client = proxy.client();
    client.send(client::post("/", b"abc")).unwrap();
    eventually("the origin works", || origin.requests().len() == 1);
    client.reset();
    gone.recv_timeout(DEADLINE).expect("the origin's connection ends");
    eventually("it is counted", || proxy.listener("client_aborts_total") == 1);
}

#[test]
fn abandons_the_request_of_a_client_that_half_closes() {
    let (origin, gone) = waiting_origin();
    let proxy = Setup::origin(&origin).start();
    let mut client = proxy.client();
    client.send(client::get("/")).unwrap();
    client.half_close().unwrap();
    gone.recv_timeout(DEADLINE).expect("the origin's connection ends");
    client.expect_end();
}

#[test]
fn finishes_for_a_half_closed_client_when_told_to() {
    let origin = Origin::http(|_| {
        // Long enough that the FIN is there first.
        std::thread::sleep(Duration::from_millis(300));
        ok("still here")
    });
    let proxy = Setup::origin(&origin).listener("client_half_close = \"finish\"").start();
    let mut client = proxy.client();
    client.send(client::get("/")).unwrap();
    client.half_close().unwrap();
    assert_eq!(client.response().text(), "still here");
    client.expect_close();
    assert_eq!(proxy.listener("client_aborts_total"), 0);
}

#[test]
fn notices_a_reset_of_a_half_closed_client() {
    let (origin, gone) = waiting_origin();
    let proxy = Setup::origin(&origin).listener("client_half_close = \"finish\"").start();
    let mut client = proxy.client();
    client.send(client::get("/")).unwrap();
    client.half_close().unwrap();
    eventually("the origin works", || origin.requests().len() == 1);
    client.reset();
    gone.recv_timeout(DEADLINE).expect("the origin's connection ends");
}

#[test]
fn a_fin_inside_a_body_always_aborts() {
    for mode in ["abort", "finish"] {
        let origin = Origin::script(|connection| {
            let request = connection.request();
            assert!(!matches!(request, Ok(Some(_))), "a complete request");
        });
        let proxy = Setup::origin(&origin).listener(&format!("client_half_close = \"{mode}\"")).start();
        for head in ["Content-Length: 10\r\n\r\nabc", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"] {
            let before = origin.connections();
            let mut client = proxy.client();
            client.send(format!("POST / HTTP/1.1\r\nHost: a\r\n{head}")).unwrap();
            eventually("the head reaches the origin", || origin.connections() > before);
            client.half_close().unwrap();
            client.drain().unwrap();
            eventually("the origin's connection ends", || origin.open_connections() == 0);
        }
        eventually("both are counted", || proxy.listener("client_aborts_total") == 2);
    }
}

#[test]
fn stops_the_origin_when_the_client_leaves_during_the_response() {
    let origin = Origin::script(|connection| {
        connection.request().unwrap();
        connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
        while connection.send("4\r\nabcd\r\n").is_ok() {
            std::thread::sleep(Duration::from_millis(10));
        }
    });
    let proxy = Setup::origin(&origin).start();
    let mut client = proxy.client();
    client.send(client::get("/")).unwrap();
    client.next_head();
    drop(client);
    eventually("the origin's connection ends", || {
        origin.connections() == 1 && origin.open_connections() == 0
    });
    eventually("it is counted", || proxy.listener("client_aborts_total") == 1);
}

#[test]
fn notices_that_the_client_left_while_pipelined_requests_wait() {
    let (origin, gone) = waiting_origin();
    let proxy = Setup::origin(&origin).start();
    let mut client = proxy.client();
    client.send(client::get("/1") + &client::get("/2") + &client::get("/3")).unwrap();
    eventually("the origin works", || origin.requests().len() == 1);
    client.reset();
    gone.recv_timeout(DEADLINE).expect("the origin's connection ends");
}

#[test]
fn leaves_nothing_behind_after_a_burst_of_aborts() {
    let origin = Origin::script(|connection| {
        // Some wait for a body, some for the origin, some are in the middle of a response.
        while let Ok(Some(request)) = connection.request() {
            if request.head.target() == "/slow"
                && !connection.silent_for(Duration::from_secs(5)).unwrap_or(false)
            {
                return;
            }
            if connection.send(ok("x".repeat(100_000))).is_err() {
                return;
            }
        }
    });
    let origin = Arc::new(origin);
    // However many connections the bursts left idle in the pool, none is kept for long.
    let proxy = Setup::origin(&origin).upstream("idle_timeout = \"1s\"").start();
    assert_eq!(proxy.get("/").status(), 200);
    let descriptors = process::descriptors(proxy.pid());
    for round in 0..40 {
        let mut clients: Vec<_> = (0..5).map(|_| proxy.client()).collect();
        clients[0].send("GET / HT").unwrap();
        clients[1].send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc").unwrap();
        clients[2].send(client::get("/slow")).unwrap();
        clients[3].send(client::get("/")).unwrap();
        clients[4].send("BAD\r\n\r\n").unwrap();
        for client in clients {
            if round % 2 == 0 {
                client.reset();
            }
        }
    }
    eventually("no connection is left", || proxy.listener("connections") == 0);
    eventually("no request is in progress", || proxy.endpoints("requests_active") == 0);
    eventually("no socket waits to be closed", || process::sockets(proxy.port("web"), CLOSE_WAIT) == 0);
    let port = origin.address().rsplit(':').next().unwrap().parse().unwrap();
    eventually("descriptors are given back", || process::descriptors(proxy.pid()) <= descriptors);
    eventually("no socket to the origin is left", || process::sockets(port, CLOSE_WAIT) == 0);
    assert_eq!(proxy.get("/").status(), 200);
}
