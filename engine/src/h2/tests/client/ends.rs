//! Which streams a connection takes, and how it ends.

use super::rules::Raw;
use super::*;
use crate::h2::frames::tests::frame;
use h2::Reason;

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

fn ok() -> http::Response<()> {
    http::Response::new(())
}

#[test]
fn what_was_not_processed_is_known() {
    // The frames that end the first of two streams, and whether that one may be sent again.
    let reset = |code: u8| frame(0x3, 0, 3, &[0, 0, 0, code]);
    let goaway = |last: u8, code: u8| frame(0x7, 0, 0, &[0, 0, 0, last, 0, 0, 0, code]);
    for (name, frames, may_repeat, is_open) in [
        ("REFUSED_STREAM", reset(7), true, true),
        ("CANCEL", reset(8), false, true),
        ("INTERNAL_ERROR", reset(2), false, true),
        ("HTTP_1_1_REQUIRED", reset(13), false, true),
        ("GOAWAY below", goaway(1, 0), true, false),
        ("GOAWAY below, with an error", goaway(1, 11), true, false),
    ] {
        let mut raw = Raw::new(client_limits());
        let (first, second) = (raw.ask(GET), raw.ask(GET));
        raw.turn();
        raw.send(&[frame(0x4, 0, 0, &[]), frames].concat());
        let second = second.take().unwrap();
        assert!(second.error.is_some(), "{name}");
        assert_eq!((second.was_not_processed, second.accepted == 0), (may_repeat, may_repeat), "{name}");
        assert_eq!(raw.near.connection.is_open(), is_open, "{name}");
        assert_eq!(raw.near.connection.is_told_to_end(), !is_open, "{name}");
        // The other one goes on.
        raw.send(&frame(0x1, 0x5, 1, &[0x88]));
        assert!(first.take().unwrap().is_whole(), "{name}");
        assert_eq!(raw.near.connection.end(), (!is_open).then_some(End::Clean), "{name}");
    }
}

#[test]
fn a_goaway_that_names_no_stream_leaves_all_their_time() {
    let mut raw = Raw::new(client_limits());
    let got = raw.ask(GET);
    raw.turn();
    // RFC 9113 §6.8: the first of two, which only says that there will be an end.
    raw.send(&[frame(0x4, 0, 0, &[]), frame(0x7, 0, 0, &[0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0])].concat());
    assert!(got.borrow().is_none() && !raw.near.connection.has_room());
    // What was chosen for it before that comes too late, and goes elsewhere.
    let late = raw.ask(GET);
    raw.turn();
    let late = late.take().unwrap();
    assert!(late.was_not_processed && late.accepted == 0, "{late:?}");
    raw.send(&[frame(0x7, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0]), frame(0x1, 0x5, 1, &[0x88])].concat());
    assert!(got.take().unwrap().is_whole());
    assert_eq!(raw.near.connection.end(), Some(End::Clean));
}

#[test]
fn a_connection_that_breaks_fails_its_streams() {
    let mut raw = Raw::new(client_limits());
    let (first, second) = (raw.ask(GET), raw.ask(GET));
    raw.turn();
    raw.send(&[frame(0x4, 0, 0, &[]), frame(0x1, 0x4, 1, &[0x88]), frame(0, 0, 1, b"half")].concat());
    raw.close();
    let (first, second) = (first.take().unwrap(), second.take().unwrap());
    assert!(first.error.is_some() && first.body == b"half", "{first:?}");
    assert!(second.error.is_some() && !second.was_not_processed, "{second:?}");
    assert!(second.accepted > 0, "it may have been acted on");
    assert!(raw.near.connection.end().is_some() && !raw.near.connection.is_open());
    // What is opened all the same has not left.
    let late = raw.ask(GET);
    raw.turn();
    assert!(late.take().unwrap().was_not_processed);
}

#[test]
fn an_endpoint_that_drains_gets_no_more_and_ends_with_its_last_stream() {
    let release = Rc::new(Cell::new(false));
    let held = release.clone();
    let answer: Box<Answer> = Box::new(move |_request, mut respond| {
        let held = held.clone();
        Box::pin(async move {
            poll_fn(|_| if held.get() { Poll::Ready(()) } else { Poll::Pending }).await;
            respond.send_response(ok(), true).unwrap();
        })
    });
    let mut wired = Wired::new(client_limits(), answer);
    let first = wired.get();
    wired.run();
    wired.drains.set(true);
    wired.run();
    assert!(wired.near.connection.is_told_to_end() && !wired.near.connection.has_room());
    assert_eq!(wired.near.connection.end(), None);
    release.set(true);
    wired.run();
    assert!(first.take().unwrap().is_whole());
    assert_eq!(wired.near.connection.end(), Some(End::Clean));
}

#[test]
fn no_more_streams_than_both_sides_want() {
    let mut builder = server::Builder::new();
    builder.max_concurrent_streams(3);
    let mut wired = Wired::over(false, Faults::none(), client_limits(), builder, ignores());
    // Before the endpoint has said it.
    let opened: Vec<_> = (0..100).map(|_| wired.near.open()).collect();
    assert!(!wired.near.connection.has_room());
    drop(opened);
    wired.run();
    for _ in 0..3 {
        assert!(wired.near.connection.has_room());
        wired.get();
    }
    assert!(!wired.near.connection.has_room());
    wired.run();

    let limits = ClientLimits { streams_max: 2, ..client_limits() };
    let mut wired = Wired::new(limits, ignores());
    wired.get();
    assert!(wired.near.connection.has_room());
    wired.get();
    assert!(!wired.near.connection.has_room());
    wired.run();
    assert_eq!(wired.near.connection.streams(), 2);
}

#[test]
fn a_stream_that_has_no_place_yet_waits_for_one() {
    let mut builder = server::Builder::new();
    builder.max_concurrent_streams(1);
    let most = Rc::new(Cell::new((0, 0)));
    let counted = most.clone();
    let answer: Box<Answer> = Box::new(move |_request, mut respond| {
        let counted = counted.clone();
        Box::pin(async move {
            let (now, most) = counted.get();
            counted.set((now + 1, most.max(now + 1)));
            turns(5).await;
            respond.send_response(ok(), true).unwrap();
            counted.set((counted.get().0 - 1, counted.get().1));
        })
    });
    let mut wired = Wired::over(false, Faults::none(), client_limits(), builder, answer);
    wired.get();
    wired.run();
    let got: Vec<_> = (0..5).map(|_| wired.get()).collect();
    wired.run();
    assert!(got.iter().all(|got| got.take().unwrap().is_whole()));
    assert_eq!(most.get(), (0, 1));
}

#[test]
fn a_connection_that_has_had_its_requests_ends() {
    let limits = ClientLimits { requests_max: 3, ..client_limits() };
    let mut wired = Wired::new(limits, says(ok));
    let got: Vec<_> = (0..3).map(|_| wired.get()).collect();
    wired.run();
    assert!(got.iter().all(|got| got.take().unwrap().is_whole()));
    assert_eq!((wired.near.connection.end(), wired.near.connection.has_room()), (Some(End::Clean), false));
}

#[test]
fn a_connection_without_streams_ends_after_its_time() {
    let mut wired = Wired::new(client_limits(), says(ok));
    wired.near.now_ms = 1_000;
    wired.get();
    wired.run();
    assert_eq!(wired.near.driver.due_ms(), 61_000);
    wired.near.now_ms = 60_999;
    wired.run();
    assert!(wired.near.connection.has_room());
    wired.near.now_ms = 61_000;
    wired.run();
    assert_eq!(wired.near.connection.end(), Some(End::Idle));
}

#[test]
fn a_drained_connection_ends_with_its_streams() {
    let mut wired = Wired::new(client_limits(), says(ok));
    wired.run();
    let got = wired.get();
    wired.near.connection.drain();
    assert!(!wired.near.connection.has_room());
    wired.run();
    assert!(got.take().unwrap().was_not_processed, "it had not been sent");
    assert_eq!(wired.near.connection.end(), Some(End::Clean));

    let mut wired = Wired::new(client_limits(), sends_back());
    let (core, mut up) = (wired.near.core.clone(), wired.near.open());
    up.send_request(GET, &BodyBatch::of(b"half", false, vec![]), core.lent()).unwrap();
    wired.run();
    wired.near.connection.drain();
    wired.run();
    assert_eq!(wired.near.connection.end(), None, "a stream is open");
    up.send_request(&[], &BodyBatch::end(), core.lent()).unwrap();
    wired.run();
    drop(up);
    wired.run();
    assert_eq!(wired.near.connection.end(), Some(End::Clean));
}

#[test]
fn an_end_that_nobody_takes_is_not_waited_for() {
    let mut raw = Raw::new(client_limits());
    raw.near.connection.drain();
    raw.near.turn();
    // It has been sent; in a socket's buffer it would be, too.
    assert_eq!(raw.near.connection.end(), Some(End::Clean));

    // An endpoint that takes nothing: what is sent blocks.
    let mut raw = Raw::new(ClientLimits { send_timeout: Duration::from_secs(30), ..client_limits() });
    let (core, mut up) = (raw.near.core.clone(), raw.near.open());
    raw.send(&frame(0x4, 0, 0, &[0, 4, 0x7f, 0xff, 0xff, 0xff]));
    raw.send(&frame(0x8, 0, 0, &[0x7f, 0, 0, 0]));
    up.send_request(GET, &BodyBatch::of(&[7; 400_000], false, vec![]), core.lent()).unwrap();
    raw.near.turn();
    assert_eq!(raw.near.driver.due_ms(), 30_000);
    raw.near.now_ms = 29_999;
    raw.near.turn();
    assert_eq!(raw.near.connection.end(), None);
    raw.near.now_ms = 30_000;
    raw.near.turn();
    assert_eq!(raw.near.connection.end(), Some(End::Timeout));
}

#[test]
fn an_endpoint_that_is_silent_is_asked_whether_it_is_there() {
    let limits = ClientLimits { ping_interval: Duration::from_secs(10), ..client_limits() };
    let mut raw = Raw::new(limits.clone());
    raw.send(&frame(0x4, 0, 0, &[]));
    assert_eq!(raw.near.driver.due_ms(), 60_000, "not without a stream");
    let got = raw.ask(GET);
    raw.turn();
    assert_eq!(raw.near.driver.due_ms(), 10_000);
    raw.near.now_ms = 10_000;
    raw.received.clear();
    raw.turn();
    assert_eq!((raw.near.connection.pings(), &raw.received[3..5]), (1, &[6, 0][..]));
    assert_eq!(raw.near.driver.due_ms(), 15_000);
    // It is; what it says counts as an answer to the next one's time, too.
    let pong = frame(0x6, 1, 0, &raw.received[9..17]);
    raw.near.now_ms = 14_000;
    raw.send(&pong);
    assert_eq!(raw.near.driver.due_ms(), 24_000);
    raw.near.now_ms = 24_000;
    raw.turn();
    assert_eq!((raw.near.connection.pings(), raw.near.driver.due_ms()), (2, 29_000));
    raw.near.now_ms = 29_000;
    raw.turn();
    assert_eq!(raw.near.connection.end(), Some(End::Timeout));
    assert!(got.take().unwrap().error.is_some());

    // Nor does an endpoint of the `h2` crate's fail it.
    let mut wired = Wired::new(limits, ignores());
    wired.get();
    wired.run();
    for second in [10, 20, 30, 40] {
        wired.near.now_ms = second * 1000;
        wired.run();
    }
    assert_eq!((wired.near.connection.end(), wired.near.connection.pings()), (None, 4));
}

#[test]
fn a_connection_that_brings_nothing_gets_no_more_requests() {
    for brings in [false, true] {
        let mut raw = Raw::new(client_limits());
        raw.send(&frame(0x4, 0, 0, &[]));
        let (core, mut up) = (raw.near.core.clone(), raw.near.open());
        up.suspect();
        assert!(raw.near.connection.has_room(), "nothing was asked");
        up.send_request(GET, &BodyBatch::end(), core.lent()).unwrap();
        raw.turn();
        if brings {
            raw.send(&frame(0x6, 0, 0, &[0; 8]));
        }
        up.suspect();
        assert_eq!(raw.near.connection.has_room(), brings);
        drop(up);
        raw.turn();
        assert_eq!(raw.near.connection.end(), (!brings).then_some(End::Clean));
    }
    // One that is given up at once says nothing of its endpoint.
    let mut raw = Raw::new(client_limits());
    let (core, mut up) = (raw.near.core.clone(), raw.near.open());
    up.send_request(GET, &BodyBatch::end(), core.lent()).unwrap();
    raw.turn();
    drop(up);
    assert!(raw.near.connection.has_room());
}

#[test]
fn a_driver_that_is_gone_leaves_no_hope() {
    let mut raw = Raw::new(client_limits());
    let got = raw.ask(GET);
    raw.turn();
    let Raw { near: Near { driver, connection, .. }, .. } = &mut raw;
    let held = connection.clone();
    let (other, _) = pair(Faults::none());
    drop(std::mem::replace(driver, Driver::new(&worker(), Transport::Plain(other), client_limits(), 0)));
    raw.turn();
    assert_eq!((held.end(), held.has_room()), (Some(End::Io), false));
    assert!(got.take().unwrap().error.is_some());
}

#[test]
fn the_reason_of_a_reset_is_told() {
    let mut raw = Raw::new(client_limits());
    let (core, mut up) = (raw.near.core.clone(), raw.near.open());
    up.send_request(GET, &BodyBatch::end(), core.lent()).unwrap();
    raw.turn();
    raw.send(&[frame(0x4, 0, 0, &[]), frame(0x3, 0, 1, &[0, 0, 0, 11])].concat());
    let mut cx = Context::from_waker(Waker::noop());
    let read = up.poll_response_head(&mut cx, core.lent(), &mut ResponseHead::default(), &mut |_, _| {});
    assert!(matches!(read, Poll::Ready(Err(ReceiveError::Closed))));
    assert_eq!(up.reset_by(), Some(Reason::ENHANCE_YOUR_CALM.into()));

    // In the middle of a body, too.
    let mut up = raw.near.open();
    up.send_request(GET, &BodyBatch::end(), core.lent()).unwrap();
    raw.turn();
    raw.send(&[frame(0x1, 0x4, 3, &[0x88]), frame(0x0, 0, 3, b"half")].concat());
    let read = up.poll_response_head(&mut cx, core.lent(), &mut ResponseHead::default(), &mut |_, _| {});
    assert!(matches!(read, Poll::Ready(Ok(()))));
    up.start_body(BodyFraming::Chunked);
    assert!(matches!(up.lend_response_body(core.lent(), &mut |_| Ok(())), Ok(BodyStep::More)));
    assert_eq!(up.reset_by(), None);
    raw.send(&frame(0x3, 0, 3, &[0, 0, 0, 2]));
    assert!(matches!(up.lend_response_body(core.lent(), &mut |_| Ok(())), Err(RelayError::Receive(_))));
    assert_eq!(up.reset_by(), Some(Reason::INTERNAL_ERROR.into()));
}
