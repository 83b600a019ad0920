//! What becomes of an HTTP/2 connection as a whole: how it begins, who has to make room, what a reload and its limits do to it,
//! and when its client has cost too much.

use std::sync::mpsc;
use std::time::Duration;

use super::ended;
use crate::support::http2::{
    DATA, END_STREAM, Http2, Outcome, PING, PREFACE, RST_STREAM, SETTINGS, WINDOW_UPDATE, frame, get, setting,
};
use crate::support::{Client, Origin, Proxy, Setup, client, eventually, ok};

const NO_ERROR: u32 = 0;
const ENHANCE_YOUR_CALM: u32 = 11;

/// An origin that answers `/held` when it is told to, and everything else at once; what tells it.
fn holding() -> (Origin, mpsc::Sender<()>) {
    let (go, wait) = mpsc::channel();
    let wait = std::sync::Mutex::new(wait);
    let origin = Origin::http(move |request| {
        if request.head.target() == "/held" {
            // An error: the test is over, or will fail.
            let _ = wait.lock().unwrap().recv_timeout(Duration::from_secs(20));
        }
        ok("hello")
    });
    (origin, go)
}

pub(super) fn setup(origin: &Origin) -> Setup {
    Setup::origin(origin).listener("http2 = true")
}

fn greet(proxy: &Proxy) -> Http2 {
    Http2::greet(proxy.client())
}

/// Sends `GET path` as a stream, and what becomes of it.
fn ask(client: &mut Http2, stream: u32, path: &str) -> Outcome {
    client.send(get(stream, path)).expect("a request");
    client.answer(stream).0
}

/// Has a request at the origin.
fn hold(client: &mut Http2, stream: u32, origin: &Origin) {
    let before = origin.requests().len();
    client.send(get(stream, "/held")).unwrap();
    eventually("the request is at the origin", || origin.requests().len() > before);
}

#[test]
fn a_preface_may_come_in_pieces() {
    let origin = Origin::answering(ok("hello"));
    let proxy = setup(&origin).start();
    for cuts in [&[1][..], &[1, 2, 3], &[3, 4], &[2, 23]] {
        let mut client = proxy.client();
        let mut sent = 0;
        for &cut in cuts {
            client.send(&PREFACE[sent..cut]).unwrap();
            sent = cut;
            if cut < 4 {
                client.expect_silence(Duration::from_millis(50));
            }
        }
        client.send([&PREFACE[sent..], &frame(SETTINGS, 0, 0, []), &get(1, "/")].concat()).unwrap();
        let mut client = Http2::over(client);
        assert_eq!(client.answer(1).0, Outcome::Answered(200), "{cuts:?}");
    }
    // Not what it looked like.
    for pieces in [
        ["P", "OST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"],
        ["PR", "OPFIND / HTTP/1.1\r\nHost: a\r\n\r\n"],
    ] {
        let mut client = proxy.client();
        client.send(pieces[0]).unwrap();
        client.expect_silence(Duration::from_millis(50));
        client.send(pieces[1]).unwrap();
        assert_eq!(client.response().status(), 200, "{pieces:?}");
    }
    let mut client = proxy.client();
    client.send("PR").unwrap();
    client.half_close().unwrap();
    client.until_end().unwrap();
    assert_eq!(proxy.listener("http2_connections_total"), 4);
}

#[test]
fn who_has_cost_too_much_is_refused_for_a_while() {
    let origin = Origin::answering(ok("hello"));
    let limits = "http2_misconduct_max = 3000\nhttp2_client_misconduct_max = 40000";
    let proxy = setup(&origin).listener(limits).start();
    // 3000 PINGs are 30 000, and a connection ends above 3000: what is above 300 counts for the client.
    let flood = |client: &mut Http2| {
        // The connection may end before all is sent.
        let _ = client.send(frame(PING, 0, 0, [0; 8]).repeat(3000));
        assert_eq!(client.end(), Some(ENHANCE_YOUR_CALM));
    };
    let mut before = greet(&proxy);
    let mut others: Vec<Http2> = (0..8).map(|_| greet(&proxy)).collect();
    assert!(others.iter_mut().all(Http2::goes_on));
    flood(&mut greet(&proxy));
    assert_eq!(ask(&mut greet(&proxy), 1, "/"), Outcome::Answered(200), "once is not enough");
    eventually("it is enough", || {
        flood(&mut greet(&proxy));
        proxy.listener("http2_connections_refused_total") > 0
    });
    // So much that it takes seconds to be forgiven.
    others.iter_mut().for_each(flood);
    let mut refused = greet(&proxy);
    let _ = refused.send(get(1, "/"));
    assert_eq!(refused.answer(1).0, Outcome::Ended(ENHANCE_YOUR_CALM));
    // What was there goes on as long as it does nothing bad, and HTTP/1.1 has nothing to do with it.
    assert_eq!(ask(&mut before, 1, "/"), Outcome::Answered(200));
    assert_eq!(proxy.get("/").status(), 200);
    let _ = before.send(frame(PING, 0, 0, [0; 8]).repeat(100));
    assert_eq!(
        before.end(),
        Some(ENHANCE_YOUR_CALM),
        "a client with nothing else may do three times as much"
    );
    // Another address is another client.
    let other = Client::connect_from("127.0.0.2", &proxy.address("web"));
    assert_eq!(ask(&mut Http2::greet(other), 1, "/"), Outcome::Answered(200));
    assert!(ended(&proxy, "misconduct") >= 11);
}

#[test]
fn proxies_that_are_trusted_are_not_held_responsible() {
    let origin = Origin::answering(ok("hello"));
    let limits =
        "trusted_proxies = [\"127.0.0.1\"]\nhttp2_misconduct_max = 1000\nhttp2_client_misconduct_max = 1";
    let proxy = setup(&origin).listener(limits).start();
    for _ in 0..3 {
        let mut client = greet(&proxy);
        client.send(frame(PING, 0, 0, [0; 8]).repeat(200)).unwrap();
        assert_eq!(client.end(), Some(ENHANCE_YOUR_CALM));
    }
    assert_eq!(ask(&mut greet(&proxy), 1, "/"), Outcome::Answered(200));
    assert_eq!(proxy.listener("http2_connections_refused_total"), 0);
}

#[test]
fn an_idle_connection_makes_room() {
    let origin = Origin::answering(ok("hello"));
    let proxy = setup(&origin).listener("connections_max = 1").start();
    let mut idle = greet(&proxy);
    assert_eq!(ask(&mut idle, 1, "/"), Outcome::Answered(200));
    let mut next = greet(&proxy);
    assert_eq!(ask(&mut next, 1, "/"), Outcome::Answered(200));
    assert_eq!(idle.end(), Some(NO_ERROR));
    assert_eq!(proxy.listener("connections_yielded_total"), 1);
    // One that is HTTP/1.1 wants the place, too.
    assert_eq!(proxy.get("/").status(), 200);
    assert_eq!(next.end(), Some(NO_ERROR));
}

#[test]
fn a_busy_connection_makes_room_when_its_streams_have_ended() {
    let (origin, go) = holding();
    let proxy = setup(&origin).listener("connections_max = 1").start();
    let mut busy = greet(&proxy);
    hold(&mut busy, 1, &origin);
    let mut waiting = proxy.client();
    waiting.send(client::get("/")).unwrap();
    eventually("it waits", || proxy.listener("connections_waited_total") > 0);
    go.send(()).unwrap();
    assert_eq!(busy.answer(1).0, Outcome::Answered(200));
    assert_eq!(waiting.response().status(), 200);
    assert_eq!(busy.end(), Some(NO_ERROR));
}

#[test]
fn a_reload_keeps_streams_and_switches_http2_for_new_connections() {
    let (origin, go) = holding();
    let mut proxy = setup(&origin).start();
    let mut client = greet(&proxy);
    hold(&mut client, 1, &origin);
    proxy.rewrite(&Setup::origin(&origin).text());
    proxy.reload_and_wait();
    let mut new = proxy.client();
    new.send(PREFACE).unwrap();
    assert_eq!(new.response().status(), 505);
    // The old one goes on, also with new streams.
    assert_eq!(ask(&mut client, 3, "/"), Outcome::Answered(200));
    proxy.rewrite(&setup(&origin).text());
    proxy.reload_and_wait();
    assert_eq!(ask(&mut greet(&proxy), 1, "/"), Outcome::Answered(200));
    go.send(()).unwrap();
    assert_eq!(client.answer(1).0, Outcome::Answered(200));
    assert!(client.goes_on());
}

#[test]
fn streams_of_a_removed_listener_finish() {
    let (origin, go) = holding();
    let more = "[[listeners]]\nname = \"more\"\naddress = \"127.0.0.1:@more@\"\nhttp2 = true";
    let setup = setup(&origin);
    let mut proxy = Proxy::start(&setup.clone().more(more).text());
    let connect = || Http2::greet(Client::connect(&proxy.address("more")));
    let (mut busy, mut idle) = (connect(), connect());
    assert!(idle.goes_on());
    hold(&mut busy, 1, &origin);
    proxy.rewrite(&setup.text());
    proxy.reload_and_wait();
    assert_eq!(idle.end(), Some(NO_ERROR));
    assert_eq!(busy.goaway(), Some(NO_ERROR));
    go.send(()).unwrap();
    assert_eq!(busy.answer(1).0, Outcome::Answered(200));
    assert_eq!(busy.end(), Some(NO_ERROR));
}

#[test]
fn a_drain_ends_connections_when_their_streams_have_ended() {
    let (origin, go) = holding();
    let mut proxy = setup(&origin).start();
    let (mut busy, mut idle) = (greet(&proxy), greet(&proxy));
    assert!(idle.goes_on());
    hold(&mut busy, 1, &origin);
    proxy.signal(libc::SIGTERM);
    assert_eq!(idle.end(), Some(NO_ERROR));
    assert_eq!(busy.goaway(), Some(NO_ERROR));
    go.send(()).unwrap();
    assert_eq!(busy.answer(1).0, Outcome::Answered(200));
    assert_eq!(busy.end(), Some(NO_ERROR));
    assert!(proxy.wait_exit(Duration::from_secs(20)).success());
}

#[test]
fn streams_without_a_response_are_answered_when_a_drain_has_lasted_too_long() {
    let (origin, _go) = holding();
    let mut proxy = setup(&origin).process("drain_timeout = \"1s\"").start();
    let mut busy = greet(&proxy);
    hold(&mut busy, 1, &origin);
    proxy.signal(libc::SIGTERM);
    assert_eq!(busy.answer(1).0, Outcome::Answered(503));
    busy.end();
    assert!(proxy.wait_exit(Duration::from_secs(20)).code().is_some());
}

#[test]
fn requests_max_ends_a_connection_behind_its_last_stream() {
    let (origin, go) = holding();
    let proxy = setup(&origin).listener("requests_max = 3").start();
    let mut client = greet(&proxy);
    hold(&mut client, 1, &origin);
    assert_eq!(ask(&mut client, 3, "/"), Outcome::Answered(200));
    assert_eq!(ask(&mut client, 5, "/"), Outcome::Answered(200), "the last one");
    assert_eq!(client.goaway(), Some(NO_ERROR));
    go.send(()).unwrap();
    assert_eq!(client.answer(1).0, Outcome::Answered(200));
    assert_eq!(client.end(), Some(NO_ERROR));
    assert_eq!(proxy.listener("requests_total"), 3);
    assert_eq!(proxy.listener("requests_max_reached_total"), 1);
}

#[test]
fn a_stream_whose_response_stalls_is_reset_and_others_go_on() {
    let large = "x".repeat(100_000);
    let origin = Origin::answering(ok(&large));
    let proxy = setup(&origin).listener("send_timeout = \"1s\"").start();
    let mut client = Http2::greet_with(proxy.client(), &setting(4, 0));
    client.send(get(1, "/")).unwrap();
    let (mut stream, mut is_stalled) = (3, true);
    // Streams with a window go on beside it until it is reset.
    while is_stalled {
        // A fast proxy sends more meanwhile than the connection's first window has room for.
        let windows = [0, stream].map(|of| frame(WINDOW_UPDATE, 0, of, 100_000_u32.to_be_bytes())).concat();
        client.send([get(stream, "/"), windows].concat()).unwrap();
        let mut received = 0;
        loop {
            let frame = client.next_frame().unwrap().expect("the connection goes on");
            match (frame.kind, frame.stream) {
                (RST_STREAM, 1) => is_stalled = false,
                (DATA, 1) => assert!(frame.payload.is_empty(), "it has no window"),
                (DATA, _) => {
                    received += frame.payload.len();
                    if frame.flags & END_STREAM != 0 {
                        break;
                    }
                }
                _ => {}
            }
        }
        assert_eq!(received, large.len());
        stream += 2;
    }
    assert!(stream > 5, "others were served before it was over");
    assert!(client.goes_on());
}
