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
