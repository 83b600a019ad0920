//! Priorities (RFC 9218): which of several large responses a slow client gets first.

use std::time::{Duration, Instant};

use crate::support::http2::{DATA, END_STREAM, Http2, block, frame, headers, plain};
use crate::support::{Origin, Proxy, Setup, eventually, ok};

/// More than the kernel keeps for a connection whose client does not read.
const LARGE_BYTES: usize = 24 << 20;

/// What is received at once.
const SMALL_BYTES: usize = 20_000;

const PRIORITY_UPDATE: u8 = 0x10;

fn launch() -> (Origin, Proxy) {
    let large = vec![b'x'; LARGE_BYTES];
    let origin = Origin::http(move |request| {
        let length = if request.head.target() == "/large" { LARGE_BYTES } else { SMALL_BYTES };
        ok(&large[..length])
    });
    let proxy = Setup::origin(&origin).listener("http2 = true").start();
    (origin, proxy)
}

/// A request with a `Priority` field.
fn ask(stream: u32, path: &str, priority: &str) -> Vec<u8> {
    let fields = [&plain(path)[..], &[("priority", priority)]].concat();
    headers(stream, END_STREAM, &block(&fields))
}

fn update(stream: u32, priority: &str) -> Vec<u8> {
    frame(PRIORITY_UPDATE, 0, 0, [&stream.to_be_bytes(), priority.as_bytes()].concat())
}

/// The streams in the order in which they end.
#[track_caller]
fn order(client: &mut Http2, count: usize) -> Vec<u32> {
    let mut ended = Vec::new();
    while ended.len() < count {
        let frame = client.next_frame().unwrap().expect("the responses end");
        if frame.kind == DATA && frame.has(END_STREAM) {
            ended.push(frame.stream);
        }
    }
    ended
}

/// Waits until the connection has taken all that it takes unread: for a second nothing more comes from the origin.
fn until_it_is_stuck(proxy: &Proxy) {
    let received = || proxy.endpoints("received_bytes_total");
    let (mut before, mut since) = (0, Instant::now());
    while before == 0 || since.elapsed() < Duration::from_secs(1) {
        std::thread::sleep(Duration::from_millis(50));
        if before != received() {
            (before, since) = (received(), Instant::now());
        }
    }
}

#[test]
fn the_more_urgent_overtake() {
    let (origin, proxy) = launch();
    let mut client = Http2::greet(proxy.client());
    client.send(ask(1, "/large", "u=2")).unwrap();
    until_it_is_stuck(&proxy);
    // RFC 9218 §7.1: a frame may come before its stream, and counts for more than the field.
    client.send(update(5, "u=1")).unwrap();
    client
        .send([ask(3, "/", "u=6"), ask(5, "/", "u=7"), ask(7, "/", "u=7"), ask(9, "/", "u=5")].concat())
        .unwrap();
    eventually("all are asked for", || origin.requests().len() == 5);
    until_it_is_stuck(&proxy);
    client.send(update(7, "u=0")).unwrap();
    until_it_is_stuck(&proxy);
    let ended = order(&mut client, 5);
    assert_eq!(ended[..2], [7, 5], "{ended:?}");
    let place = |stream: u32| ended.iter().position(|&ended| ended == stream);
    assert!(place(9) < place(3), "{ended:?}");
}
