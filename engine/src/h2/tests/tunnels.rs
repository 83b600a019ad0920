//! Extended CONNECT (RFC 8441): what an exchange is told of it, and what the client sees.

use super::*;
use crate::h2::websocket::accept_of;
use corelane_http1::HeadError;
use h2::Reason;
use h2::ext::Protocol;
use http::Request;

/// Asks for a protocol, when the server has said that it may be asked for.
async fn connect(
    sender: &Sender,
    protocol: &str,
    fields: &[(&'static str, &'static str)],
) -> (h2::client::ResponseFuture, h2::SendStream<Bytes>) {
    let mut send = sender.ready().await.unwrap();
    while !send.is_extended_connect_protocol_enabled() {
        turns(1).await;
    }
    let mut request = Request::connect("https://a/chat?b").body(()).unwrap();
    request.extensions_mut().insert(Protocol::from(protocol));
    for (name, value) in fields {
        request.headers_mut().append(*name, value.parse().unwrap());
    }
    send.send_request(request, false).unwrap()
}

/// The value of a field in a head.
fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

/// Answers a request for a WebSocket as `answer` makes it of its key.
fn answers_key(answer: impl Fn(&str) -> String + 'static) -> Box<Serve> {
    let answer = Rc::new(answer);
    Box::new(move |core, mut stream| {
        let answer = answer.clone();
        Box::pin(async move {
            let head = head_of(&core, &mut stream).unwrap();
            assert!(stream.is_request_complete(), "it has no body");
            let answer = answer(field(&head, "sec-websocket-key").unwrap());
            if stream.send_interim(answer.as_bytes(), core.lent()).is_err() {
                let refused = "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n";
                respond(&core, &mut stream, refused.as_bytes(), b"", vec![]).await.unwrap();
                return;
            }
            stream.start_tunnel();
            let Some((bytes, trailers)) = receive(&core, &mut stream).await else { return };
            if bytes == b"reset" {
                return stream.reset();
            }
            assert_eq!(trailers, b"", "a tunnel has none");
            stream.send_response(&mut vec![], &BodyBatch::of(&bytes, false, vec![]), core.lent()).unwrap();
            poll_fn(|cx| stream.poll_flush(cx, core.lent())).await.unwrap();
            stream.finish();
        })
    })
}

fn switch(accept: &str) -> String {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: chat\r\n\r\n"
    )
}

fn right(key: &str) -> String {
    switch(std::str::from_utf8(&accept_of(key.as_bytes())).unwrap())
}

/// What an exchange is told.
fn told(protocol: &'static str, fields: &'static [(&str, &str)]) -> Result<String, HeadError> {
    let (told, outcome) = shared::<Option<Result<String, ReceiveError>>>();
    let serve: Box<Serve> = Box::new(move |core, mut stream| {
        told.set(Some(head_of(&core, &mut stream)));
        Box::pin(async {})
    });
    let (mut world, sender) = World::new(limits(), serve);
    world.spawn(async move {
        let _ = connect(&sender, protocol, fields).await.0.await;
    });
    world.run();
    match outcome.take().expect("the request arrives") {
        Ok(text) => Ok(text),
        Err(ReceiveError::Head(error)) => Err(error),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_connect_becomes_the_request_to_switch() {
    let head =
        told("websocket", &[("sec-websocket-version", "13"), ("sec-websocket-key", "theirs")]).unwrap();
    let key = field(&head, "sec-websocket-key").unwrap();
    assert_eq!((key.len(), head.matches("sec-websocket-key").count()), (24, 1), "ours alone: {head}");
    let expected = format!(
        "GET /chat?b HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-key: {key}\r\nsec-websocket-version: 13\r\n\r\n"
    );
    assert_eq!(head, expected);
    // RFC 9298 §3.4: others have the same form, and no key.
    let head = told("connect-udp", &[("capsule-protocol", "?1")]).unwrap();
    let expected = "GET /chat?b HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: connect-udp\r\ncapsule-protocol: ?1\r\n\r\n";
    assert_eq!(head, expected);
}

#[test]
fn what_is_no_protocol_is_refused() {
    for protocol in ["", "a b", "websocket, h2c", "websocket\r\nx: y", "websocket\r\n\r\nGET /", "w\0"] {
        assert_eq!(told(protocol, &[]), Err(HeadError::FieldValueInvalid), "{protocol:?}");
    }
}

#[test]
fn a_tunnel_carries_bytes_and_their_end_both_ways() {
    for number in 0..20 {
        let faults = if number % 4 < 3 { Faults::unsteady(number) } else { Faults::edges() };
        let (mut world, sender) = World::over(number % 2 == 1, faults, limits(), answers_key(right));
        let (got, outcome) = shared::<Option<Vec<u8>>>();
        let bytes: Vec<u8> = (0..150_000u32).map(|at| at.to_le_bytes()[0]).collect();
        let sent = Bytes::from(bytes.clone());
        world.spawn(async move {
            let (response, mut up) = connect(&sender, "websocket", &[]).await;
            // RFC 8441 §5: neither these fields nor the 101.
            let response = response.await.unwrap();
            assert_eq!(response.status(), 200);
            let names: Vec<_> = response.headers().keys().map(|name| name.as_str()).collect();
            assert_eq!(names, ["sec-websocket-protocol"]);
            up.send_data(sent, number % 3 > 0).unwrap();
            if number % 3 == 0 {
                up.send_trailers(http::HeaderMap::from_iter([(http::header::ETAG, "x".parse().unwrap())]))
                    .unwrap();
            }
            let (mut body, mut received) = (response.into_body(), Vec::new());
            while let Some(piece) = body.data().await {
                let piece = piece.unwrap();
                body.flow_control().release_capacity(piece.len()).unwrap();
                received.extend_from_slice(&piece);
            }
            got.set(Some(received));
        });
        world.run();
        assert!(outcome.take().is_some_and(|received| received == bytes), "seed {number}");
        assert_eq!(world.server.connection.streams(), 0, "seed {number}");
    }
}

#[test]
fn an_answer_to_another_key_is_none() {
    let wrong = [
        |_: &str| switch("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
        |key: &str| right(key).replace("Sec-WebSocket-Accept", "X-Accept"),
    ];
    for answer in wrong {
        let (mut world, sender) = World::new(limits(), answers_key(answer));
        let (got, status) = shared::<u16>();
        world.spawn(async move {
            let (response, _up) = connect(&sender, "websocket", &[]).await;
            got.set(response.await.unwrap().status().as_u16());
        });
        world.run();
        assert_eq!(status.get(), 502);
    }
}

#[test]
fn a_tunnel_that_fails_is_cancelled() {
    let (mut world, sender) = World::new(limits(), answers_key(right));
    let (got, reason) = shared::<Option<Reason>>();
    world.spawn(async move {
        let (response, mut up) = connect(&sender, "websocket", &[]).await;
        let mut body = response.await.unwrap().into_body();
        up.send_data(Bytes::from_static(b"reset"), true).unwrap();
        got.set(body.data().await.and_then(|piece| piece.unwrap_err().reason()));
    });
    world.run();
    assert_eq!(reason.get(), Some(Reason::CANCEL));
    assert_eq!(world.server.connection.streams(), 0);
}
