//! Bodies, trailers, windows and resets.

use super::*;
use crate::io::memory::Seed;
use h2::Reason;

#[test]
fn every_byte_arrives_on_its_stream_however_the_connection_behaves() {
    for number in 0..60 {
        let mut seed = Seed::new(number);
        let faults = if number % 4 < 3 { Faults::unsteady(number) } else { Faults::edges() };
        let builder = server::Builder::new();
        let mut wired = Wired::over(number % 2 == 1, faults, client_limits(), builder, sends_back());
        let count = 1 + seed.below(6);
        let asked: Vec<_> = (0..count)
            .map(|_| {
                let body: Vec<u8> = (0..seed.below(200_000)).map(|_| seed.next().to_le_bytes()[0]).collect();
                let trailers = if seed.once_in(2) { b"etag: x\r\n".to_vec() } else { vec![] };
                let head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
                let got = wired.ask(head, &body, trailers.clone());
                (body, trailers, got)
            })
            .collect();
        wired.run();
        for (body, trailers, got) in asked {
            let got = got.take().unwrap_or_default();
            assert!(got.is_whole(), "seed {number}: {:?}", got.error);
            assert!(got.body == body, "seed {number}: {} of {} bytes", got.body.len(), body.len());
            assert_eq!(got.trailers.as_bytes(), trailers, "seed {number}");
            assert!(got.accepted > body.len() as u64, "the head counts, too");
        }
        assert_eq!(
            (wired.near.connection.end(), wired.near.connection.streams()),
            (None, 0),
            "seed {number}"
        );
    }
}

#[test]
fn a_side_that_takes_nothing_gets_no_more_than_its_window() {
    // The endpoint does not receive.
    let mut wired = Wired::new(client_limits(), ignores());
    let (core, mut up) = (wired.near.core.clone(), wired.near.open());
    let (told, accepted) = shared::<(u64, bool)>();
    wired.spawn(async move {
        let batch = BodyBatch::of(&[7; 100_000], false, vec![]);
        up.send_request(b"POST / HTTP/1.1\r\nHost: a\r\n\r\n", &batch, core.lent()).unwrap();
        let before = up.accepted();
        poll_fn(|cx| {
            told.set((up.accepted() - before, up.is_blocked()));
            up.poll_flush(cx, core.lent())
        })
        .await
        .unwrap();
    });
    wired.run();
    // Nobody wakes the stream before all of the piece has gone.
    wired.run();
    // The window that RFC 9113 §6.9.2 gives to who says nothing.
    assert_eq!(accepted.get(), (65_535, true));

    // We do not receive: one batch is handed on, and never taken.
    let (told, sent) = shared::<usize>();
    let answer: Box<Answer> = Box::new(move |_request, mut respond| {
        let told = told.clone();
        Box::pin(async move {
            let mut response = respond.send_response(http::Response::new(()), false).unwrap();
            loop {
                response.reserve_capacity(10_000);
                let Some(Ok(room)) = poll_fn(|cx| response.poll_capacity(cx)).await else { return };
                response.send_data(Bytes::from(vec![7; room]), false).unwrap();
                told.set(told.get() + room);
            }
        })
    });
    let mut wired = Wired::new(client_limits(), answer);
    let (core, mut up) = (wired.near.core.clone(), wired.near.open());
    wired.spawn(async move {
        up.send_request(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", &BodyBatch::end(), core.lent()).unwrap();
        let mut head = ResponseHead::default();
        poll_fn(|cx| up.poll_response_head(cx, core.lent(), &mut head, &mut |_, _| {})).await.unwrap();
        up.start_body(BodyFraming::Chunked);
        poll_fn(|cx| up.poll_response_body(cx, core.lent(), &mut |_| Ok(()))).await.unwrap();
        std::future::pending::<()>().await;
    });
    wired.run();
    assert_eq!(sent.get(), 64 * 1024);
}

#[test]
fn clients_that_do_not_read_hold_nobody_up() {
    // As the configuration has it: a window for each stream that there can be.
    let limits = ClientLimits { streams_max: 20, connection_window: 20 * 64 * 1024, ..client_limits() };
    let answer: Box<Answer> = Box::new(|_request, mut respond| {
        Box::pin(async move {
            let mut response = respond.send_response(http::Response::new(()), false).unwrap();
            response.send_data(Bytes::from(vec![7; 1_000_000]), true).unwrap();
            std::future::pending::<()>().await;
        })
    });
    let mut wired = Wired::new(limits, answer);
    let mut stalled: Vec<_> = (0..19).map(|_| wired.near.open()).collect();
    let core = wired.near.core.clone();
    for up in &mut stalled {
        up.send_request(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", &BodyBatch::end(), core.lent()).unwrap();
    }
    wired.run();
    let got = wired.get();
    wired.run();
    assert_eq!(got.take().unwrap().body.len(), 1_000_000);
}

#[test]
fn a_request_that_nobody_wants_any_more_is_reset() {
    for is_reset in [false, true] {
        let (told, reason) = shared::<Option<Reason>>();
        let answer: Box<Answer> = Box::new(move |_request, mut respond| {
            let told = told.clone();
            Box::pin(async move { told.set(poll_fn(|cx| respond.poll_reset(cx)).await.ok()) })
        });
        let mut wired = Wired::new(client_limits(), answer);
        let (core, mut up) = (wired.near.core.clone(), wired.near.open());
        wired.spawn(async move {
            let batch = BodyBatch::of(b"half", false, vec![]);
            up.send_request(b"POST / HTTP/1.1\r\nHost: a\r\n\r\n", &batch, core.lent()).unwrap();
            turns(10).await;
            if is_reset {
                up.reset();
            }
        });
        wired.run();
        assert_eq!(reason.get(), Some(Reason::CANCEL));
        assert_eq!((wired.near.connection.streams(), wired.near.connection.end()), (0, None));
    }
}

#[test]
fn an_answer_in_the_middle_of_the_upload_is_taken() {
    // RFC 9113 §8.1: a whole response, and NO_ERROR for what is left of the request.
    let answer: Box<Answer> = Box::new(|request, mut respond| {
        Box::pin(async move {
            let mut response = respond.send_response(http::Response::new(()), false).unwrap();
            response.send_data(Bytes::from_static(b"enough"), true).unwrap();
            turns(3).await;
            drop(request);
        })
    });
    let mut wired = Wired::new(client_limits(), answer);
    let got = wired.ask(b"POST / HTTP/1.1\r\nHost: a\r\n\r\n", &[7; 1_000_000], vec![]);
    wired.run();
    let got = got.take().unwrap();
    assert!(got.is_whole(), "{got:?}");
    assert_eq!(got.body, b"enough");
    assert_eq!((wired.near.connection.streams(), wired.near.connection.end()), (0, None));
}

#[test]
fn a_tunnel_lasts_until_both_have_ended_it() {
    let mut wired = Wired::new(client_limits(), sends_back());
    let (core, mut up) = (wired.near.core.clone(), wired.near.open());
    let (told, outcome) = shared::<Vec<u8>>();
    wired.spawn(async move {
        up.send_request(b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", &BodyBatch::end(), core.lent())
            .unwrap();
        let (mut head, mut status) = (ResponseHead::default(), 0);
        poll_fn(|cx| up.poll_response_head(cx, core.lent(), &mut head, &mut |head, _| status = head.status))
            .await
            .unwrap();
        assert_eq!(status, 200);
        up.start_tunnel();
        let mut received = Vec::new();
        for _ in 0..3 {
            up.send_request(&[], &BodyBatch::of(b"there", false, vec![]), core.lent()).unwrap();
            let before = received.len();
            while received.len() < before + 5 {
                let step = poll_fn(|cx| {
                    up.poll_response_body(cx, core.lent(), &mut |batch| {
                        batch.slices().for_each(|slice| received.extend_from_slice(slice));
                        Ok(())
                    })
                });
                assert_eq!(step.await.unwrap(), BodyStep::More);
            }
            poll_fn(|cx| up.poll_flush(cx, core.lent())).await.unwrap();
        }
        up.finish();
        let step = poll_fn(|cx| up.poll_response_body(cx, core.lent(), &mut |_| Ok(()))).await;
        assert_eq!(step.unwrap(), BodyStep::End);
        told.set(received);
    });
    wired.run();
    assert_eq!(outcome.take(), b"theretherethere");
}

/// An endpoint that does anything.
fn whatever(seed: u64) -> Box<Answer> {
    let seed = Cell::new(Seed::new(seed));
    Box::new(move |request, mut respond| {
        let mut mine = seed.get();
        let (what, length, delay) = (mine.below(8), mine.below(100_000), mine.below(20));
        seed.set(mine);
        if what < 3 {
            return sends_back()(request, respond);
        }
        Box::pin(async move {
            turns(u32::try_from(delay).unwrap()).await;
            match what {
                3 => respond.send_reset(Reason::REFUSED_STREAM),
                4 => {}
                5 => std::future::pending().await,
                _ => {
                    let Ok(mut response) = respond.send_response(http::Response::new(()), false) else {
                        return;
                    };
                    if response.send_data(Bytes::from(vec![7; length]), what == 6).is_ok() {
                        turns(u32::try_from(delay).unwrap()).await;
                    }
                    response.send_reset(if what == 6 { Reason::NO_ERROR } else { Reason::CANCEL });
                }
            }
        })
    })
}

#[test]
fn streams_that_end_anyhow_leave_nothing_behind() {
    for number in 0..16 {
        let mut seed = Seed::new(1000 + number);
        let faults = if number % 3 > 0 { Faults::unsteady(number) } else { Faults::none() };
        let builder = server::Builder::new();
        let mut wired = Wired::over(number % 4 == 0, faults, client_limits(), builder, whatever(number));
        let finished = Rc::new(Cell::new(0));
        for _ in 0..40 {
            let (core, up, done) = (wired.near.core.clone(), wired.near.open(), finished.clone());
            let body = vec![7; if seed.once_in(2) { 0 } else { seed.below(100_000) }];
            let (start, left) = (seed.below(50), seed.below(400));
            wired.spawn(async move {
                turns(u32::try_from(start).unwrap()).await;
                let head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
                let mut exchange = Box::pin(exchange(&core, up, head, &body, vec![]));
                let mut left = left;
                // Some are given up, wherever they are.
                poll_fn(|cx| {
                    left = left.saturating_sub(1);
                    cx.waker().wake_by_ref();
                    let is_over = exchange.as_mut().poll(cx).is_ready() || left == 0;
                    if is_over { Poll::Ready(()) } else { Poll::Pending }
                })
                .await;
                done.set(done.get() + 1);
            });
        }
        wired.run();
        assert_eq!((finished.get(), wired.near.connection.streams()), (40, 0), "seed {number}");
        assert_eq!(wired.near.connection.end(), None, "seed {number}");
        // The windows are whole again.
        let sent: Vec<_> =
            (0..24).map(|_| wired.ask(b"POST / HTTP/1.1\r\nHost: a\r\n\r\n", &[7; 80_000], vec![])).collect();
        wired.run();
        let whole = sent.iter().filter_map(|got| got.take()).filter(|got| got.body.len() == 80_000).count();
        assert!(whole > 2, "seed {number}: {whole} of some 9 that are sent back");
    }
}
