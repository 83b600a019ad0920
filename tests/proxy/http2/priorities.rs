//! Priorities (RFC 9218): which of several large responses a slow client gets first.

use crate::support::http2::{DATA, END_STREAM, Http2, block, frame, headers, plain};
use crate::support::{Origin, Proxy, Setup, ok};

/// More than the kernel keeps for a connection whose client does not read.
const BODY_BYTES: usize = 24 << 20;

const PRIORITY_UPDATE: u8 = 0x10;

fn launch() -> (Origin, Proxy) {
    let body = vec![b'x'; BODY_BYTES];
    let origin = Origin::http(move |_| ok(&body));
    let proxy = Setup::origin(&origin).listener("http2 = true").start();
    (origin, proxy)
}

/// A request with a `Priority` field.
fn ask(stream: u32, priority: &str) -> Vec<u8> {
    let fields = [&plain("/large")[..], &[("priority", priority)]].concat();
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

/// Waits until the connection has taken all that it takes unread: nothing more comes from the origin.
fn until_it_is_stuck(proxy: &Proxy) {
    let mut before = u64::MAX;
    loop {
        std::thread::sleep(std::time::Duration::from_millis(200));
        let now = proxy.endpoints("received_bytes_total");
        if now == before && now > 0 {
            return;
        }
        before = now;
    }
}

#[test]
fn the_field_decides_who_is_first() {
    let (_origin, proxy) = launch();
    let mut client = Http2::greet(proxy.client());
    client.send([ask(1, "u=5"), ask(3, "u=6")].concat()).unwrap();
    until_it_is_stuck(&proxy);
    client.send(ask(5, "u=0")).unwrap();
    until_it_is_stuck(&proxy);
    assert_eq!(order(&mut client, 3), [5, 1, 3]);
}

#[test]
fn a_frame_changes_it() {
    let (_origin, proxy) = launch();
    let mut client = Http2::greet(proxy.client());
    // One of them before its stream begins, one afterwards.
    client.send([update(3, "u=6"), ask(1, "u=5"), ask(3, "u=0"), ask(5, "u=4")].concat()).unwrap();
    until_it_is_stuck(&proxy);
    client.send(update(1, "u=7")).unwrap();
    until_it_is_stuck(&proxy);
    assert_eq!(order(&mut client, 3), [5, 3, 1]);
}
