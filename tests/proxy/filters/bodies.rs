//! `body_limit`: not a byte above it reaches the origin.

use super::{plain, with};
use crate::support::origin::Connection;
use crate::support::{Origin, client, eventually};

const LIMIT: &str = "type = \"body_limit\"\nbytes_max = 1000";

#[test]
fn a_length_above_the_limit_is_refused_at_once() {
    let origin = plain();
    let proxy = with(&origin, &[("it", LIMIT)]).start();
    let mut client = proxy.client();
    assert_eq!(client.request(client::post("/", &[b'x'; 1_000])).status(), 200);
    client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 1001\r\n\r\n").unwrap();
    assert_eq!(client.response().status(), 413);
    assert_eq!(origin.requests().len(), 1);
    let record = &proxy.records(2)[1];
    assert_eq!((&record["status"], &record["reason"]), (&413.into(), &"body_too_large".into()));
    assert_eq!(proxy.client().get("/").text(), "served");
}

#[test]
fn a_stream_is_cut_at_the_limit() {
    let origin = Origin::script(|connection: &mut Connection| {
        let _ = connection.drain();
    });
    let proxy = with(&origin, &[("it", LIMIT)]).start();
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
    let piece =
        |byte: u8| [format!("{:x}\r\n", 300).into_bytes(), vec![byte; 300], b"\r\n".to_vec()].concat();
    for sent in 1..=3 {
        client.send(piece(b'x')).unwrap();
        eventually("the piece", || origin.received(0).matches('x').count() == sent * 300);
    }
    client.send(piece(b'y')).unwrap();
    assert_eq!(client.response().status(), 413);
    eventually("the end at the origin", || origin.open_connections() == 0);
    let received = origin.received(0);
    assert!(received.matches('x').count() == 900 && received.matches('y').count() <= 100, "{received}");
    assert!(!received.ends_with("0\r\n\r\n"), "it must not look complete");
}

#[test]
fn the_smallest_limit_holds() {
    let origin = plain();
    let larger = ("larger", "type = \"body_limit\"\nbytes_max = \"1MiB\"");
    let proxy = with(&origin, &[larger, ("it", LIMIT), ("wide", larger.1)])
        .route("body_bytes_max = \"2KiB\"")
        .start();
    let post = |bytes: usize| proxy.client().request(client::post("/", &vec![b'x'; bytes])).status();
    assert_eq!((post(1_000), post(1_001), post(3_000)), (200, 413, 413));
    let proxy = with(&origin, &[larger]).route("body_bytes_max = \"2KiB\"").start();
    let post = |bytes: usize| proxy.client().request(client::post("/", &vec![b'x'; bytes])).status();
    assert_eq!((post(2_048), post(2_049)), (200, 413));
}
