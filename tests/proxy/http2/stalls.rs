//! Clients that begin and do not go on: what they hold has a bound and an end, and no more of it is in progress than streams may be
//! open.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::neighbours::Neighbours;
use crate::support::http2::{DATA, Http2, Outcome, RST_STREAM, block, frame, get, headers, plain, setting};
use crate::support::message::pattern;
use crate::support::{Origin, Proxy, Setup, eventually, ok, process};

/// What is sent to a client that takes nothing is, for each stream, what one step receives, and a part of its connection's.
const STALLED_BYTES_MAX: u64 = 48 * 1024 * 1024;

/// The numbers of a hundred streams, from the one with this index on.
fn hundred(from: u32) -> impl Iterator<Item = u32> {
    (from..from + 100).map(|index| 2 * index + 1)
}

/// An origin whose answers are large, but for `/`.
fn large() -> Origin {
    let body = pattern(0, 4 << 20);
    Origin::http(move |request| if request.head.target() == "/" { ok("ok") } else { ok(&body) })
}

fn launch(origin: &Origin, listener: &str) -> Proxy {
    Setup::origin(origin).listener("http2 = true").listener(listener).start()
}

#[test]
fn responses_that_nobody_takes_are_given_up() {
    let origin = large();
    let proxy = launch(&origin, "send_timeout = \"1s\"");
    let neighbours = Neighbours::beside(&proxy);
    let before = process::rss_bytes(proxy.pid());
    // RFC 9113 §6.9.2: windows of streams of nothing.
    let mut clients: Vec<_> = (0..4).map(|_| Http2::greet_with(proxy.client(), &setting(4, 0))).collect();
    for client in &mut clients {
        let requests: Vec<u8> = hundred(0).flat_map(|stream| get(stream, "/large")).collect();
        client.send(requests).unwrap();
    }
    eventually("all of them are in progress", || proxy.endpoints("requests_active") >= 400);
    for client in &mut clients {
        for stream in hundred(0) {
            let (outcome, answer) = client.answer(stream);
            assert!(matches!(outcome, Outcome::Reset(_) | Outcome::Ended(_)), "{outcome:?}");
            assert_eq!(answer.body, b"");
        }
    }
    eventually("nothing is left of them", || proxy.endpoints("requests_active") <= neighbours.count());
    let grown = process::rss_peak_bytes(proxy.pid()).saturating_sub(before);
    assert!(grown <= STALLED_BYTES_MAX, "{grown} bytes more");
    neighbours.finish();
}

#[test]
fn one_that_nobody_takes_is_given_up_beside_others_that_go_on() {
    let origin = large();
    let proxy = launch(&origin, "send_timeout = \"1s\"");
    let mut client = Http2::greet_with(proxy.client(), &setting(4, 100));
    client.send(get(1, "/large")).unwrap();
    let mut stream = 1;
    while !client.keeps(RST_STREAM, 1) {
        stream += 2;
        // Its body has room in its window.
        client.send(get(stream, "/")).unwrap();
        assert_eq!(client.answer(stream).0, Outcome::Answered(200));
        assert!(stream < 2000, "it is not given up");
        std::thread::sleep(Duration::from_millis(20));
    }
    let (outcome, answer) = client.answer(1);
    assert!(matches!(outcome, Outcome::Reset(_)), "{outcome:?}");
    assert_eq!((answer.status, answer.body.len()), (200, 100));
    assert!(client.goes_on());
}

#[test]
fn uploads_that_do_not_go_on_are_answered() {
    let origin = Origin::answering(ok("ok"));
    let proxy = launch(&origin, "body_idle_timeout = \"1s\"");
    let mut client = Http2::greet(proxy.client());
    let head = block(&[&plain("/")[..], &[("content-length", "10")]].concat());
    let uploads: Vec<u8> = hundred(0).flat_map(|stream| headers(stream, 0, &head)).collect();
    client.send(uploads).unwrap();
    client.send(frame(DATA, 0, 1, "abc")).unwrap();
    for stream in hundred(0) {
        assert_eq!(client.answer(stream).0, Outcome::Answered(408), "stream {stream}");
    }
    // The connection goes on, as soon as one of them is over on this side, too.
    let mut stream = 199;
    eventually("a further stream has a place", || {
        stream += 2;
        client.send(get(stream, "/")).unwrap();
        client.answer(stream).0 == Outcome::Answered(200)
    });
}

#[test]
fn what_was_reset_is_in_progress_until_it_is_over() {
    let most = Arc::new(AtomicUsize::new(0));
    let origin = Origin::script({
        let most = Arc::clone(&most);
        move |connection| {
            if let Ok(Some(_)) = connection.head() {
                most.fetch_max(connection.established(), Ordering::Relaxed);
                connection.wait_for_end();
            }
        }
    });
    let proxy = launch(&origin, "");
    let mut client = Http2::greet(proxy.client());
    for round in 0..4 {
        let requests: Vec<u8> = hundred(100 * round).flat_map(|stream| get(stream, "/")).collect();
        client.send(requests).unwrap();
        let expected = 100 * (round as usize + 1);
        eventually("all are at the origin", || origin.connections() >= expected);
        let resets = hundred(100 * round).map(|stream| frame(RST_STREAM, 0, stream, 8_u32.to_be_bytes()));
        client.send(resets.flatten().collect::<Vec<u8>>()).unwrap();
    }
    assert!(client.goes_on());
    eventually("nothing is left of them", || proxy.endpoints("requests_active") == 0);
    let most = most.load(Ordering::Relaxed);
    assert!((1..=100).contains(&most), "{most} at once");
}
