//! Streams: bodies, trailers, windows, resets, and the ends of connections.

use super::*;
use crate::io::memory::Seed;
use crate::message::{ClientSignal, RelayError};
use crate::protocol::Http2Limits;
use h2::Reason;
use http::{HeaderMap, Request};

/// Sends back what it gets, trailers too.
fn echoes() -> Box<Serve> {
    Box::new(|core, mut stream| {
        Box::pin(async move {
            let Some((body, trailers)) = receive(&core, &mut stream).await else { return };
            let _ = respond(&core, &mut stream, b"HTTP/1.1 200 OK\r\n\r\n", &body, trailers).await;
        })
    })
}

/// Sends a body as its window allows, and receives the answer's.
async fn exchange(sender: Sender, body: Bytes, trailers: Option<HeaderMap>) -> (Vec<u8>, Option<HeaderMap>) {
    let request = Request::post("http://a/").body(()).unwrap();
    let (response, mut upload) = sender.ready().await.unwrap().send_request(request, false).unwrap();
    upload.send_data(body, trailers.is_none()).unwrap();
    if let Some(trailers) = trailers {
        upload.send_trailers(trailers).unwrap();
    }
    let mut answer = response.await.unwrap().into_body();
    let mut received = Vec::new();
    while let Some(piece) = answer.data().await {
        let piece = piece.unwrap();
        answer.flow_control().release_capacity(piece.len()).unwrap();
        received.extend_from_slice(&piece);
    }
    (received, answer.trailers().await.unwrap())
}

#[test]
fn every_byte_arrives_on_its_stream_however_the_connection_behaves() {
    for number in 0..60 {
        let mut seed = Seed::new(number);
        let faults = if number % 4 < 3 { Faults::unsteady(number) } else { Faults::edges() };
        let (mut world, sender) = World::over(number % 2 == 1, faults, limits(), echoes());
        let done = Rc::new(Cell::new(0));
        let count = 1 + seed.below(6);
        for _ in 0..count {
            let body: Bytes = (0..seed.below(200_000)).map(|_| seed.next().to_le_bytes()[0]).collect();
            let trailers =
                seed.once_in(2).then(|| HeaderMap::from_iter([(http::header::ETAG, "x".parse().unwrap())]));
            let (sender, done) = (sender.clone(), done.clone());
            world.spawn(async move {
                let (received, trailed) = exchange(sender, body.clone(), trailers.clone()).await;
                assert!(received == body, "seed {number}: {} of {} bytes", received.len(), body.len());
                assert_eq!(trailed, trailers, "seed {number}");
                done.set(done.get() + 1);
            });
        }
        world.run();
        assert_eq!(done.get(), count, "seed {number}");
        assert_eq!((world.server.end, world.server.connection.streams()), (None, 0), "seed {number}");
    }
}

#[test]
fn a_side_that_takes_nothing_gets_no_more_than_its_window() {
    // The server does not receive: the client may send one window.
    let (received, outcome) = shared::<usize>();
    let serve: Box<Serve> = Box::new(move |core, mut stream| {
        let received = received.clone();
        Box::pin(async move {
            // One batch is handed on, and never taken.
            poll_fn(|cx| {
                stream.poll_request_body(cx, core.lent(), &mut |batch| {
                    received.set(received.get() + batch.slices().map(<[u8]>::len).sum::<usize>());
                    Ok(())
                })
            })
            .await
            .unwrap();
            std::future::pending::<()>().await;
        })
    });
    let (mut world, sender) = World::new(limits(), serve);
    world.spawn(async move {
        exchange(sender, Bytes::from(vec![7; 1_000_000]), None).await;
    });
    world.run();
    let first = outcome.get();
    assert!((1..=64 * 1024).contains(&first), "{first}");

    // The client does not receive: the server knows how much has gone.
    let (accepted, outcome) = shared::<(u64, bool)>();
    let serve: Box<Serve> = Box::new(move |core, mut stream| {
        let accepted = accepted.clone();
        Box::pin(async move {
            stream.start_response(BodyFraming::Chunked, false);
            let batch = BodyBatch::of(&[7; 100_000], false, vec![]);
            stream.send_response(&mut b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), &batch, core.lent()).unwrap();
            poll_fn(|cx| {
                accepted.set((stream.accepted(), stream.is_blocked()));
                stream.poll_flush(cx, core.lent())
            })
            .await
            .unwrap();
        })
    });
    let (mut world, sender) = World::new(limits(), serve);
    let (kept, _held) = shared();
    world.spawn(async move { kept.set(Some(sender.get(get("http://a/")).await.unwrap())) });
    world.run();
    world.server.turn();
    // The window that RFC 9113 §6.9.2 gives to who says nothing.
    assert_eq!(outcome.get(), (65_535, true));
}

#[test]
fn a_client_that_resets_is_noticed_and_keeps_its_place() {
    let (told, signal) = shared::<Option<ClientSignal>>();
    let serve: Box<Serve> = Box::new(move |core, mut stream| {
        let told = told.clone();
        Box::pin(async move {
            told.set(Some(poll_fn(|cx| stream.poll_client(cx, core.lent())).await));
            // The exchange goes on for a while.
            std::future::pending::<()>().await;
        })
    });
    let (mut world, sender) = World::new(
        Limits { of_http2: Http2Limits { streams_max: 10, ..Http2Limits::default() }, ..limits() },
        serve,
    );
    let opened = Rc::new(Cell::new(0));
    let counted = opened.clone();
    world.spawn(async move {
        for _ in 0..15 {
            let Ok(mut send) = sender.ready().await else { return };
            let (_, mut stream) = send.send_request(get("http://a/"), true).unwrap();
            counted.set(counted.get() + 1);
            // It arrives before it is reset.
            turns(5).await;
            stream.send_reset(Reason::CANCEL);
        }
    });
    world.run();
    assert_eq!(signal.get(), Some(ClientSignal::Gone));
    assert_eq!(opened.get(), 15);
    assert_eq!(
        world.server.connection.streams(),
        10,
        "no more than the limit, although none is open for the client"
    );
    world.server.tasks.clear();
    world.run();
    assert!(world.server.end.is_none());
}

#[test]
fn a_failed_response_does_not_look_complete() {
    let serve: Box<Serve> = Box::new(|core, mut stream| {
        Box::pin(async move {
            stream.start_response(BodyFraming::Length(10), false);
            let batch = BodyBatch::of(b"half", false, vec![]);
            stream
                .send_response(
                    &mut b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n".to_vec(),
                    &batch,
                    core.lent(),
                )
                .unwrap();
            poll_fn(|cx| stream.poll_flush(cx, core.lent())).await.unwrap();
            stream.reset();
            assert!(poll_fn(|cx| stream.poll_flush(cx, core.lent())).await.is_err());
        })
    });
    let (mut world, sender) = World::new(limits(), serve);
    let (reason, outcome) = shared();
    world.spawn(async move {
        let mut body = sender.get(get("http://a/")).await.unwrap().into_body();
        while let Some(piece) = body.data().await {
            if let Err(error) = piece {
                reason.set(error.reason());
                break;
            }
        }
    });
    world.run();
    assert_eq!(outcome.get(), Some(Reason::INTERNAL_ERROR));
}

#[test]
fn a_drained_connection_ends_with_its_last_stream() {
    let release = Rc::new(Cell::new(false));
    let held = release.clone();
    let serve: Box<Serve> = Box::new(move |core, mut stream| {
        let held = held.clone();
        Box::pin(async move {
            poll_fn(|cx| {
                if held.get() {
                    return Poll::Ready(());
                }
                let _ = stream.poll_client(cx, core.lent());
                Poll::Pending
            })
            .await;
            respond(&core, &mut stream, OK.as_bytes(), b"", vec![]).await.unwrap();
        })
    });
    let (mut world, sender) = World::new(limits(), serve);
    let (status, outcome) = shared();
    let first = sender.clone();
    world
        .spawn(async move { status.set(Some(first.get(get("http://a/")).await.unwrap().status().as_u16())) });
    world.run();
    world.server.connection.drain(0);
    world.run();
    assert_eq!(world.server.end, None, "a stream is open");
    let (refused, error) = shared();
    world.spawn(async move {
        refused.set(sender.get(get("http://a/")).await.err().and_then(|error| error.reason()))
    });
    world.run();
    assert_eq!(error.get(), Some(Reason::NO_ERROR), "no new one");
    release.set(true);
    world.run();
    assert_eq!((outcome.get(), world.server.end), (Some(200), Some(End::Clean)));
}

#[test]
fn a_connection_without_requests_ends_after_its_time() {
    let (mut world, sender) = World::new(Limits { requests_max: 3, ..limits() }, answers(OK));
    for _ in 0..2 {
        let sender = sender.clone();
        world.spawn(async move { drop(sender.get(get("http://a/")).await.unwrap()) });
    }
    world.run();
    assert_eq!(world.server.connection.due_ms(), 60_000);
    world.server.now_ms = 59_999;
    world.run();
    assert_eq!(world.server.end, None);
    world.spawn(async move { drop(sender.get(get("http://a/")).await.unwrap()) });
    world.run();
    // That was the last one that it may have.
    assert_eq!(world.server.end, Some(End::Clean));

    let (mut world, _sender) = World::new(limits(), answers(OK));
    world.run();
    world.server.now_ms = 60_000;
    world.run();
    assert_eq!(world.server.end, Some(End::Idle));
}

#[test]
fn a_body_that_is_there_is_lent_without_waiting() {
    let (told, outcome) = shared::<Vec<String>>();
    let serve: Box<Serve> = Box::new(move |core, mut stream| {
        let told = told.clone();
        Box::pin(async move {
            let mut met = Vec::new();
            for _ in 0..2 {
                // Not accepted: it counts as not handed on.
                let refused = stream.lend_body(core.lent(), &mut |_| Err(std::io::ErrorKind::Other.into()));
                assert!(matches!(refused, Err(RelayError::Send)));
            }
            while met.last().is_none_or(|batch: &String| !batch.ends_with("end")) {
                let mut lent = String::new();
                stream
                    .lend_body(core.lent(), &mut |batch| {
                        batch.slices().for_each(|slice| lent += &String::from_utf8_lossy(slice));
                        lent += &String::from_utf8_lossy(&batch.trailers);
                        lent += if batch.end { "end" } else { "" };
                        Ok(())
                    })
                    .unwrap();
                if !lent.is_empty() {
                    met.push(lent);
                }
                turns(2).await;
            }
            // What is complete stays so.
            let again = stream.lend_body(core.lent(), &mut |batch| {
                assert!(batch.end && batch.bytes == 0);
                Ok(())
            });
            assert!(matches!(again, Ok(BodyStep::End)));
            told.set(met);
            drop(core);
        })
    });
    let (mut world, sender) = World::new(limits(), serve);
    world.spawn(async move {
        let request = Request::post("http://a/").body(()).unwrap();
        let (_response, mut upload) = sender.ready().await.unwrap().send_request(request, false).unwrap();
        upload.send_data(Bytes::from_static(b"some "), false).unwrap();
        upload.send_data(Bytes::from_static(b"bytes "), false).unwrap();
        upload.send_trailers(HeaderMap::from_iter([(http::header::ETAG, "x".parse().unwrap())])).unwrap();
        std::future::pending::<()>().await;
    });
    world.run();
    assert_eq!(outcome.take().concat(), "some bytes etag: x\r\nend");
}

#[test]
fn a_small_body_that_is_whole_is_taken() {
    for (length, bytes_max, is_taken) in
        [(0, 10, true), (10, 10, true), (11, 10, false), (40_000, 50_000, true)]
    {
        let (told, outcome) = shared::<Option<(bool, usize, bool)>>();
        let serve: Box<Serve> = Box::new(move |core, mut stream| {
            let told = told.clone();
            Box::pin(async move {
                // The rest of what was sent with the head.
                turns(5).await;
                let mut body = Vec::new();
                let taken = stream.take_small_body(core.lent(), bytes_max, &mut body);
                told.set(Some((taken, body.len(), stream.is_request_complete())));
                if !taken {
                    assert_eq!(receive(&core, &mut stream).await.unwrap().0.len(), length);
                }
            })
        });
        let (mut world, sender) = World::new(limits(), serve);
        world.spawn(async move {
            let request = Request::put("http://a/").body(()).unwrap();
            let (_response, mut upload) = sender.ready().await.unwrap().send_request(request, false).unwrap();
            upload.send_data(Bytes::from(vec![b'a'; length]), true).unwrap();
            std::future::pending::<()>().await;
        });
        world.run();
        let expected = (is_taken, if is_taken { length } else { 0 }, is_taken);
        assert_eq!(outcome.take(), Some(expected), "{length} of {bytes_max}");
    }
}

#[test]
fn what_nobody_reads_comes_back_to_the_window_of_the_connection() {
    // Answered without a look at the body, or half way through it.
    for reads in [false, true] {
        let serve: Box<Serve> = Box::new(move |core, mut stream| {
            Box::pin(async move {
                if reads {
                    let step = poll_fn(|cx| stream.poll_request_body(cx, core.lent(), &mut |_| Ok(())));
                    step.await.unwrap();
                }
                let _ = respond(&core, &mut stream, OK.as_bytes(), b"", vec![]).await;
            })
        });
        let (mut world, sender) = World::new(limits(), serve);
        let done = Rc::new(Cell::new(0));
        let counted = done.clone();
        world.spawn(async move {
            for _ in 0..50 {
                let request = Request::post("http://a/").body(()).unwrap();
                let (response, mut upload) =
                    sender.ready().await.unwrap().send_request(request, false).unwrap();
                upload.send_data(Bytes::from(vec![7; 60_000]), false).unwrap();
                assert_eq!(response.await.unwrap().status(), 200);
                // All of it goes out, or is thrown away with the reset that says that nobody wants it.
                turns(10).await;
                counted.set(counted.get() + 1);
            }
        });
        world.run();
        assert_eq!((done.get(), world.server.end), (50, None), "reads: {reads}");
    }
}

#[test]
fn small_messages_that_wait_for_a_slow_upstream_are_no_flood() {
    // A window full of messages of 8 bytes, while nobody takes them.
    let serve: Box<Serve> = Box::new(|core, mut stream| {
        Box::pin(async move {
            turns(1000).await;
            let (body, _) = receive(&core, &mut stream).await.unwrap();
            assert_eq!(body.len(), 8000 * 8);
            respond(&core, &mut stream, OK.as_bytes(), b"", vec![]).await.unwrap();
        })
    });
    let (mut world, sender) = World::new(limits(), serve);
    let (status, outcome) = shared::<u16>();
    world.spawn(async move {
        let request = Request::post("http://a/").body(()).unwrap();
        let (response, mut upload) = sender.ready().await.unwrap().send_request(request, false).unwrap();
        for number in 0..8000 {
            upload.send_data(Bytes::from_static(b"message "), number == 7999).unwrap();
        }
        status.set(response.await.unwrap().status().as_u16());
    });
    world.run();
    assert_eq!((outcome.get(), world.server.end), (200, None));
}
