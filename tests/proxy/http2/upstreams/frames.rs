//! Origins that say frames word by word.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::{reasons, towards};
use crate::support::origin::Connection;
use crate::support::{DEADLINE, Load, Origin, client, eventually, ok};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
/// With END_HEADERS.
const WHOLE: u8 = 4;
/// `:status: 200` in HPACK's static table (RFC 7541, appendix A).
const OK: &[u8] = &[0x88];

struct Frame {
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Reads the preface, and says SETTINGS.
fn greet(connection: &mut Connection, settings: &[u8]) -> io::Result<()> {
    connection.exactly(24)?;
    connection.send(frame(SETTINGS, 0, 0, settings))
}

/// The next frame of that kind.
fn next(connection: &mut Connection, kind: u8) -> io::Result<Frame> {
    loop {
        let frame = next_of_any(connection)?;
        if frame.0 == kind {
            return Ok(frame.1);
        }
    }
}

fn next_of_any(connection: &mut Connection) -> io::Result<(u8, Frame)> {
    let head = connection.exactly(9)?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let stream = u32::from_be_bytes(head[5..].try_into().unwrap());
    let payload = connection.exactly(length as usize)?;
    Ok((head[3], Frame { flags: head[4], stream, payload }))
}

/// The stream of the next request that is whole.
fn next_request(connection: &mut Connection) -> io::Result<u32> {
    loop {
        let (kind, Frame { flags, stream, .. }) = next_of_any(connection)?;
        if kind <= HEADERS && flags & END_STREAM != 0 {
            return Ok(stream);
        }
    }
}

/// An origin that begins with `settings` and has each whole request answered: with its number on the connection and the
/// stream's.
fn origin(
    settings: &'static [u8],
    answer: impl Fn(&mut Connection, usize, u32) -> Vec<u8> + Send + Sync + 'static,
) -> Origin {
    Origin::script(move |connection| {
        let mut serve = || -> io::Result<()> {
            greet(connection, settings)?;
            let mut requests = 0;
            loop {
                let stream = next_request(connection)?;
                requests += 1;
                let bytes = answer(connection, requests, stream);
                connection.send(bytes)?;
            }
        };
        // Its client has gone.
        let _ = serve();
    })
}

fn whole(stream: u32) -> Vec<u8> {
    frame(HEADERS, WHOLE | END_STREAM, stream, OK)
}

fn reset(stream: u32, code: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &code.to_be_bytes())
}

#[test]
fn of_a_body_is_sent_what_the_endpoint_has_room_for() {
    let origin = Origin::script(|connection| {
        let mut serve = || -> io::Result<()> {
            greet(connection, &[])?;
            next(connection, HEADERS)?;
            // A PING: it is there. But no WINDOW_UPDATE.
            connection.send(frame(6, 0, 0, &[0; 8]))?;
            next(connection, RST_STREAM)?;
            let stream = next(connection, HEADERS)?.stream;
            connection.send(whole(stream))?;
            connection.drain().map(drop)
        };
        let _ = serve();
    });
    let proxy = towards(origin.address()).upstream("response_head_timeout = \"2s\"").start();
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 50000000\r\n\r\n").unwrap();
    assert!(!client.send_within(Duration::from_millis(500), vec![b'x'; 50_000_000]), "it waits");
    // A window of 65 535 bytes (RFC 9113 §6.9.2), and heads of frames.
    let received = || origin.received(0).chars().count();
    eventually("a window full", || received() >= 65_535);
    assert!(received() < 67_000, "{}", received());
    assert_eq!(
        (client.response().status(), reasons(&proxy, "failures_total", "upstream_send_timeout")),
        (504, 1)
    );
    assert_eq!(proxy.get("/").status(), 200);
    assert_eq!(origin.connections(), 1);
}

#[test]
fn a_client_that_leaves_resets_its_stream_alone() {
    let resets = Arc::new(AtomicUsize::new(0));
    let seen = resets.clone();
    let origin = Origin::script(move |connection| {
        let mut serve = || -> io::Result<()> {
            greet(connection, &[])?;
            let _awaited = next(connection, HEADERS)?;
            let reset = next(connection, RST_STREAM)?;
            seen.store(reset.payload[3].into(), Ordering::SeqCst);
            let second = next(connection, HEADERS)?;
            connection.send(whole(second.stream))?;
            connection.drain().map(drop)
        };
        let _ = serve();
    });
    let proxy = towards(origin.address()).start();
    let mut client = proxy.client();
    client.send(client::get("/")).unwrap();
    eventually("it is there", || proxy.endpoints("requests_active") == 1);
    drop(client);
    // CANCEL (RFC 9113 §7).
    eventually("the reset", || resets.load(Ordering::SeqCst) == 8);
    assert_eq!(proxy.get("/").status(), 200);
    assert_eq!(origin.connections(), 1);
}

#[test]
fn trailers_and_interim_responses_pass() {
    // `:status: 103`, `x: y`; then trailers `x: y`: literal fields without indexing.
    let origin = Origin::script(|connection| {
        let mut serve = || -> io::Result<()> {
            greet(connection, &[])?;
            let stream = next(connection, HEADERS)?.stream;
            let interim = [&[0x08, 3][..], b"103", &[0, 1], b"x", &[1], b"y"].concat();
            connection.send(frame(HEADERS, WHOLE, stream, &interim))?;
            connection.send(frame(HEADERS, WHOLE, stream, OK))?;
            connection.send(frame(DATA, 0, stream, b"hello"))?;
            let trailers = [&[0, 1][..], b"x", &[1], b"y"].concat();
            connection.send(frame(HEADERS, WHOLE | END_STREAM, stream, &trailers))?;
            connection.drain().map(drop)
        };
        let _ = serve();
    });
    let proxy = towards(origin.address()).start();
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\r\n").unwrap();
    let interim = client.next_head();
    assert_eq!((interim.status(), interim.field("x")), (103, Some("y")));
    let response = client.response();
    assert_eq!((response.status(), response.text()), (200, "hello".to_owned()));
    assert_eq!(response.trailers, [("x".to_owned(), "y".to_owned())]);
}

#[test]
fn a_drain_lets_requests_finish() {
    let origin = origin(&[], |_, _, stream| {
        std::thread::sleep(Duration::from_millis(1500));
        whole(stream)
    });
    let mut proxy = towards(origin.address()).start();
    let mut client = proxy.client();
    client.send(client::get("/")).unwrap();
    eventually("it is there", || proxy.endpoints("requests_active") == 1);
    proxy.signal(libc::SIGTERM);
    assert_eq!(client.response().status(), 200);
    assert_eq!(proxy.wait_exit(DEADLINE).code(), Some(0));
}

#[test]
fn a_refused_stream_is_repeated_whatever_it_is() {
    let seen = AtomicUsize::new(0);
    let origin = origin(&[], move |_, _, stream| match seen.fetch_add(1, Ordering::SeqCst) {
        0 => reset(stream, 7),
        _ => whole(stream),
    });
    let proxy = towards(origin.address()).start();
    assert_eq!(proxy.client().request(client::post("/", b"once")).status(), 200);
    assert_eq!(origin.connections(), 1);
    assert_eq!(proxy.endpoints("http2_unprocessed_total"), 1);
    assert_eq!(reasons(&proxy, "http2_resets_total", "refused_stream"), 1);
    assert_eq!(proxy.metric("corelane_upstream_retries_total", &[]), 1);
}

#[test]
fn what_goaway_leaves_out_is_repeated_on_a_new_connection() {
    let origin = origin(&[], |connection, _, stream| match connection.index {
        // None was begun with.
        0 => frame(GOAWAY, 0, 0, &[0; 8]),
        _ => whole(stream),
    });
    let proxy = towards(origin.address()).start();
    assert_eq!(proxy.client().request(client::post("/", b"once")).status(), 200);
    assert_eq!(origin.connections(), 2);
    assert_eq!((proxy.endpoints("http2_unprocessed_total"), proxy.endpoints("resets_total")), (1, 0));
    eventually("it is over", || proxy.endpoints("http2_goaways_total") == 1);
}

#[test]
fn what_goaway_has_begun_with_ends_well() {
    let origin = origin(&[], |_, _, stream| {
        let goaway = frame(GOAWAY, 0, 0, &[stream.to_be_bytes(), [0; 4]].concat());
        [goaway, frame(HEADERS, WHOLE | END_STREAM, stream, OK)].concat()
    });
    let proxy = towards(origin.address()).start();
    for _ in 0..3 {
        assert_eq!(proxy.client().request(client::post("/", b"once")).status(), 200);
    }
    assert_eq!((origin.connections(), proxy.endpoints("http2_unprocessed_total")), (3, 0));
    eventually("all are closed", || proxy.endpoints("http2_connections") == 0);
}

#[test]
fn a_reset_is_an_answer_of_502_and_ends_no_other_request() {
    let origin = origin(&[], |_, requests, stream| match requests {
        2 => reset(stream, 2),
        _ => whole(stream),
    });
    let proxy = towards(origin.address()).start();
    let mut client = proxy.client();
    assert_eq!(client.get("/").status(), 200);
    let answer = client.request(client::post("/", b"once"));
    assert_eq!((answer.status(), answer.text().contains("upstream_closed")), (502, true));
    assert_eq!(client.get("/").status(), 200);
    assert_eq!((origin.connections(), reasons(&proxy, "http2_resets_total", "internal_error")), (1, 1));
}

#[test]
fn responses_that_are_cut_say_nothing_of_the_connection() {
    let origin = origin(&[], |_, requests, stream| match requests {
        1..=5 => {
            [frame(HEADERS, WHOLE, stream, OK), frame(DATA, 0, stream, b"a part"), reset(stream, 2)].concat()
        }
        _ => whole(stream),
    });
    let proxy = towards(origin.address()).start();
    for _ in 0..5 {
        let mut client = proxy.client();
        client.send(client::get("/")).unwrap();
        assert!(client.try_response(true).is_err(), "it is cut");
    }
    assert_eq!(proxy.get("/").status(), 200);
    assert_eq!((origin.connections(), proxy.endpoints("reuse_suspensions_total")), (1, 0));
    assert_eq!(reasons(&proxy, "http2_resets_total", "internal_error"), 5);
    assert_eq!(reasons(&proxy, "suspicious_total", "short_body"), 0);
}

#[test]
fn a_limit_of_streams_that_the_endpoint_wants_is_obeyed() {
    // SETTINGS_MAX_CONCURRENT_STREAMS: 1.
    let origin = origin(&[0, 3, 0, 0, 0, 1], |_, _, stream| {
        std::thread::sleep(Duration::from_millis(5));
        whole(stream)
    });
    let proxy = towards(origin.address()).start();
    assert_eq!(proxy.get("/").status(), 200);
    let load = Load::start(&proxy.address("web"), 4, "/");
    eventually("the load", || load.answered() > 100);
    load.finish().assert_all_ok();
    assert_eq!(proxy.endpoints("http2_unprocessed_total"), 0);
    assert!((2..=8).contains(&origin.connections()), "{}", origin.connections());
}

#[test]
fn what_a_burst_has_opened_is_not_kept_when_it_is_over() {
    let origin = origin(&[0, 3, 0, 0, 0, 1], |_, _, stream| {
        std::thread::sleep(Duration::from_millis(5));
        whole(stream)
    });
    let proxy = towards(origin.address()).upstream("idle_connections_max = 2").start();
    let load = Load::start(&proxy.address("web"), 12, "/");
    eventually("the load", || load.answered() > 300);
    load.finish().assert_all_ok();
    assert!(origin.connections() > 2);
    eventually("two are left", || proxy.endpoints("http2_connections") == 2);
    assert_eq!(proxy.get("/").status(), 200);
}

#[test]
fn a_connection_that_has_fallen_silent_gets_no_more_requests() {
    let origin = origin(&[], |connection, requests, stream| match (connection.index, requests) {
        (0, 2) => Vec::new(),
        _ => whole(stream),
    });
    let proxy = towards(origin.address()).upstream("response_head_timeout = \"1500ms\"").start();
    assert_eq!(proxy.get("/").status(), 200);
    let answer = proxy.get("/");
    assert_eq!((answer.status(), answer.text().contains("response_head_timeout")), (504, true));
    assert_eq!(proxy.get("/").status(), 200);
    assert_eq!(origin.connections(), 2);
}

#[test]
fn pings_find_out_who_is_gone() {
    let origin = origin(&[], |_, requests, stream| if requests == 1 { whole(stream) } else { Vec::new() });
    let keys = "http2_ping_interval = \"200ms\"\nhttp2_ping_timeout = \"200ms\"\nattempts_max = 1";
    let proxy = towards(origin.address()).upstream(keys).start();
    let mut client = proxy.client();
    assert_eq!(client.get("/").status(), 200);
    let answer = client.request(client::post("/", b"once"));
    assert_eq!((answer.status(), answer.text().contains("upstream_closed")), (502, true));
    assert_eq!(reasons(&proxy, "http2_connections_ended_total", "timeout"), 1);
    assert_eq!(proxy.endpoints("http2_pings_total"), 1);
}

#[test]
fn an_endpoint_that_speaks_http1_is_told_apart() {
    let origin = Origin::answering(ok("hello"));
    let proxy = towards(origin.address()).upstream("attempts_max = 1").start();
    let answer = proxy.get("/");
    assert_eq!((answer.status(), answer.text().contains("upstream_closed")), (502, true));
    assert_eq!(reasons(&proxy, "http2_connections_ended_total", "protocol"), 1);
}
