//! Responses that come before the request is complete, and answers to clients that still send (RFC 9112 §9.5, §9.6).

use std::io;
use std::time::Duration;

use crate::support::message::Response;
use crate::support::{Client, Origin, Setup, client, ok, settles_at, with_length};

/// Sends until the proxy takes no more; the answer must be readable all the same.
fn upload_and_read(mut client: Client, head: &str, bytes: u64) -> io::Result<Response> {
    client.send(head)?;
    let _ = client.send_pattern(0, bytes);
    client.try_response(true)
}

const UPLOAD: &str = "POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 20000000\r\n\r\n";

#[test]
fn delivers_a_response_that_comes_during_the_upload() {
    let origin = Origin::script(|connection| {
        connection.head().unwrap().unwrap();
        connection.send(with_length("413 Content Too Large", "too large")).unwrap();
        // Goes on reading, as a polite origin does.
        connection.wait_for_end();
    });
    let proxy = Setup::origin(&origin).start();
    let response = upload_and_read(proxy.client(), UPLOAD, 20_000_000).unwrap();
    assert_eq!((response.status(), response.text()), (413, "too large".to_owned()));
}

#[test]
fn delivers_the_response_of_an_origin_that_stops_reading() {
    let origin = Origin::script(|connection| {
        connection.head().unwrap().unwrap();
        connection
            .send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
            .unwrap();
        connection.half_close().unwrap();
        // Neither reads nor closes.
        std::thread::sleep(Duration::from_secs(2));
    });
    let proxy = Setup::origin(&origin).start();
    let response = upload_and_read(proxy.client(), UPLOAD, 20_000_000).unwrap();
    assert_eq!((response.status(), response.text()), (403, "no".to_owned()));
}

#[test]
fn delivers_the_response_of_an_origin_that_resets_the_upload() {
    for round in 0..20 {
        let origin = Origin::script(move |connection| {
            connection.head().unwrap().unwrap();
            // Some of the body, so that sending is under way.
            connection.exactly(100_000 * (round % 3)).unwrap();
            connection
                .send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig")
                .unwrap();
            // Unread bytes make the close a reset, behind the answer.
        });
        let proxy = Setup::origin(&origin).start();
        let response = upload_and_read(proxy.client(), UPLOAD, 20_000_000).unwrap();
        assert_eq!((response.status(), response.text()), (413, "big".to_owned()), "round {round}");
    }
}

#[test]
fn delivers_an_early_response_whole_before_the_request_ends() {
    let origin = Origin::script(|connection| {
        connection.head().unwrap().unwrap();
        connection.send(ok("x".repeat(300_000))).unwrap();
        connection.wait_for_end();
    });
    let proxy = Setup::origin(&origin).start();
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc").unwrap();
    // The body never comes.
    assert_eq!(client.response().body.len(), 300_000);
}

#[test]
fn a_client_can_read_the_refusal_while_it_sends() {
    // No route: the proxy's own answer, with megabytes of body on the way or unread.
    let origin = Origin::answering(ok("x"));
    let proxy = Setup::origin(&origin).route("hosts = [\"only.example\"]").start();
    for _ in 0..20 {
        let response = upload_and_read(proxy.client(), UPLOAD, 3_000_000).unwrap();
        assert_eq!(response.status(), 404);
        assert!(!response.body.is_empty());
    }
    assert_eq!(origin.connections(), 0);
}

#[test]
fn a_client_can_read_the_400_while_it_sends() {
    let origin = Origin::answering(ok("x"));
    let proxy = Setup::origin(&origin).start();
    for _ in 0..20 {
        let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n";
        let response = upload_and_read(proxy.client(), head, 3_000_000).unwrap();
        assert_eq!(response.status(), 400);
    }
}

#[test]
fn a_client_that_ignores_the_refusal_is_cut_in_the_end() {
    let origin = Origin::answering(ok("x"));
    let proxy = Setup::origin(&origin).route("hosts = [\"only.example\"]").start();
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
    let start = std::time::Instant::now();
    while client.send("1\r\nx\r\n").is_ok() {
        assert!(start.elapsed() < Duration::from_secs(60), "lingering has no end");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn an_unfinished_upload_is_not_the_next_request() {
    let origin = Origin::script(|connection| {
        connection.head().unwrap().unwrap();
        connection.send(with_length("401 Unauthorized", "who")).unwrap();
        connection.wait_for_end();
    });
    let proxy = Setup::origin(&origin).start();
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n").unwrap();
    assert_eq!(client.response().status(), 401);
    // What comes now is still the body, whatever it looks like; the proxy takes it as that or closes.
    let _ = client.send("GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n");
    let _ = client.silent_for(Duration::from_millis(300));
    assert!(origin.requests().is_empty());
    let received: String = (0..origin.connections()).map(|index| origin.received(index)).collect();
    assert!(!received.contains("GET /smuggled HTTP/1.1\r\nHost: a\r\nVia"), "{received}");
    assert_eq!(received.matches("POST / HTTP/1.1").count(), 1);
    settles_at(1, || proxy.listener("requests_total"));
}

#[test]
fn a_pooled_connection_with_an_unfinished_upload_is_not_reused() {
    let origin = Origin::script(|connection| {
        while let Ok(Some(head)) = connection.head() {
            connection.send(ok(head.target())).unwrap();
        }
    });
    let proxy = Setup::origin(&origin).start();
    let mut first = proxy.client();
    first.send("POST /first HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n").unwrap();
    assert_eq!(first.response().text(), "/first");
    assert_eq!(proxy.client().request(client::get("/second")).text(), "/second");
    assert_eq!(origin.connections(), 2);
}

#[test]
fn an_answer_before_the_body_says_that_the_connection_closes() {
    let origin = Origin::script(|connection| {
        connection.head().unwrap().unwrap();
        connection.send(with_length("401 Unauthorized", "who")).unwrap();
        connection.wait_for_end();
    });
    let proxy = Setup::origin(&origin).start();
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n").unwrap();
    let head = client.next_head();
    assert_eq!(head.status(), 401);
    assert!(head.connection_has("close"), "else the next request would be lost: {:?}", head.raw);
}

#[test]
fn a_refusal_is_delivered_whole_to_a_client_that_has_stopped_sending() {
    // RFC 9112 §9.5: who reads a refusal while it sends should stop sending.
    let origin = Origin::script(|connection| {
        connection.head().unwrap().unwrap();
        connection.send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 70\r\n\r\n").unwrap();
        // Takes longer than any limit on how fast a body must come, and nobody reads the body.
        for _ in 0..7 {
            std::thread::sleep(Duration::from_secs(1));
            connection.send("too large ").unwrap();
        }
    });
    let proxy = Setup::origin(&origin)
        .listener("body_idle_timeout = \"1s\"")
        .upstream("response_head_timeout = \"1s\"")
        .start();
    // One that no longer sends, and one whose body is stuck on its way.
    let mut silent = proxy.client();
    silent.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc").unwrap();
    let stuck = proxy.client();
    let stuck = std::thread::spawn(move || upload_and_read(stuck, UPLOAD, 100_000_000).unwrap());
    for response in [silent.response(), stuck.join().unwrap()] {
        assert_eq!((response.status(), response.text()), (413, "too large ".repeat(7)));
    }
}
