//! What `benches/instructions` counts under callgrind: heads, a chunked body, and whole exchanges over streams in memory
//! without faults. What these tests assert is only that the measured thing happened; no figure is judged here.
//!
//! Callgrind counts while [`measured`] runs, except in the streams' own copying and waiting: nothing here may call those
//! outside of it, because each entry of one of these functions switches the counting over.

mod http2;

use std::hint::black_box;
use std::io::{Read as _, Write as _};

use corelane_http1::{
    CHUNK_END, CHUNK_HEADER_BYTES_MAX, ChunkEvent, ChunkedDecoder, HeadLimits, HeadScanner, LAST_CHUNK,
    chunk_header, read_request, read_response,
};
use corelane_semantics::{RequestHead, ResponseHead};
use rustls::ClientConnection;

use super::*;
use crate::access_log::log_channel;
use crate::record::{AccessLog, COMBINED, LogFormat, Redaction, Surroundings};
use crate::tracing::{Parents, Tracing, span_channel};

/// How often each test does what it measures. The script takes the difference of two runs, so that neither the set-up
/// nor the first round is in its figure.
const ROUNDS_VARIABLE: &str = "INSTRUCTIONS_ROUNDS";

/// Ten fields as a browser sends them: the request of `benches/http1.rs`.
const REQUEST: &str = "GET /assets/app/main.js?v=20240611&lang=en HTTP/1.1\r\n\
Host: www.example.org\r\n\
Connection: keep-alive\r\n\
User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/125.0.0.0 Safari/537.36\r\n\
Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n\
Accept-Encoding: gzip, deflate, br, zstd\r\n\
Accept-Language: en-US,en;q=0.9,de;q=0.8\r\n\
Referer: https://www.example.org/app/index.html\r\n\
Cookie: session=3c8a1f0e9b7d4e5fa6b2c1d0e9f8a7b6; theme=dark\r\n\
X-Forwarded-For: 203.0.113.7\r\n\
If-None-Match: \"5f3c-61a2b3c4d5e6f\"\r\n\
\r\n";

/// One field, as wrk sends it.
const REQUEST_SMALL: &str = "GET /1k HTTP/1.1\r\nHost: 127.0.0.1:18080\r\n\r\n";

/// What nginx answers it with.
const RESPONSE_NGINX: &str = "HTTP/1.1 200 OK\r\n\
Server: nginx/1.22.1\r\n\
Date: Tue, 11 Jun 2024 10:20:30 GMT\r\n\
Content-Type: application/octet-stream\r\n\
Content-Length: 1024\r\n\
Last-Modified: Mon, 10 Jun 2024 08:00:00 GMT\r\n\
Connection: keep-alive\r\n\
ETag: \"6666b1c0-400\"\r\n\
Accept-Ranges: bytes\r\n\
\r\n";

/// The head of a response of 1 KiB.
const RESPONSE: &str = "HTTP/1.1 200 OK\r\n\
Date: Tue, 11 Jun 2024 10:20:30 GMT\r\n\
Server: nginx\r\n\
Content-Type: text/javascript; charset=utf-8\r\n\
Content-Length: 1024\r\n\
Connection: keep-alive\r\n\
Last-Modified: Mon, 10 Jun 2024 08:00:00 GMT\r\n\
ETag: \"5f3c-61a2b3c4d5e6f\"\r\n\
Cache-Control: public, max-age=31536000, immutable\r\n\
\r\n";

/// More than either side of an exchange here sends at once.
const RECEIVED_BYTES_MAX: usize = 32 * 1024;

/// Where callgrind counts: it finds this function by its name.
#[inline(never)]
fn measured(step: &mut dyn FnMut()) {
    step();
    // Not a tail call: the function is left when the step is over.
    black_box(());
}

fn rounds() -> u32 {
    std::env::var(ROUNDS_VARIABLE).map_or(1, |rounds| rounds.parse().unwrap())
}

fn in_chunks(data: &[u8]) -> Vec<u8> {
    let (mut body, mut header) = (Vec::new(), [0; CHUNK_HEADER_BYTES_MAX]);
    for chunk in data.chunks(4096) {
        body.extend_from_slice(chunk_header(&mut header, chunk.len() as u64));
        body.extend_from_slice(chunk);
        body.extend_from_slice(CHUNK_END);
    }
    body.extend_from_slice(LAST_CHUNK);
    body.extend_from_slice(CHUNK_END);
    body
}

#[test]
#[ignore = "a measurement: benches/instructions runs it under callgrind"]
fn request_head() {
    read_requests(REQUEST);
}

#[test]
#[ignore = "a measurement: benches/instructions runs it under callgrind"]
fn request_head_small() {
    read_requests(REQUEST_SMALL);
}

fn read_requests(request: &str) {
    let (limits, mut head) = (HeadLimits::default(), RequestHead::default());
    for _ in 0..rounds() {
        measured(&mut || {
            let bytes = black_box(request.as_bytes());
            let mut scanner = HeadScanner::new();
            read_request(&mut scanner, bytes, &limits, &mut head).unwrap().unwrap();
            black_box(&head);
        });
    }
}

#[test]
#[ignore = "a measurement: benches/instructions runs it under callgrind"]
fn response_head() {
    let (limits, mut head) = (HeadLimits::default(), ResponseHead::default());
    for _ in 0..rounds() {
        measured(&mut || {
            let bytes = black_box(RESPONSE.as_bytes());
            let mut scanner = HeadScanner::for_response();
            read_response(&mut scanner, bytes, &limits, &mut head).unwrap().unwrap();
            black_box(&head);
        });
        assert_eq!(head.status, 200);
    }
}

#[test]
#[ignore = "a measurement: benches/instructions runs it under callgrind"]
fn chunked_body() {
    let body = in_chunks(&[b'x'; 65_536]);
    for _ in 0..rounds() {
        let mut bytes = 0;
        measured(&mut || {
            let mut decoder = ChunkedDecoder::new();
            let mut input = black_box(&body[..]);
            loop {
                match decoder.decode(&mut input).unwrap() {
                    ChunkEvent::Data(data) => bytes += black_box(data).len(),
                    ChunkEvent::End => break,
                    ChunkEvent::NeedMore => unreachable!("the body is whole"),
                }
            }
        });
        assert_eq!(bytes, 65_536);
    }
}

/// Two peers without a proxy between them: what an exchange's figure has of the harness. It is small only while the
/// streams' own work is not counted, which the script checks.
#[test]
#[ignore = "a measurement: benches/instructions runs it under callgrind"]
fn streams() {
    let (mut client, mut origin) = pair(Faults::none());
    let (message, mut buffer) = ([b'x'; 16 * 1024], vec![0; RECEIVED_BYTES_MAX]);
    for _ in 0..rounds() {
        let mut received = [0; 2];
        measured(&mut || {
            client.try_send(&[IoSlice::new(&message)]).unwrap();
            received[0] = origin.try_recv(&mut buffer).unwrap();
            origin.try_send(&[IoSlice::new(&message)]).unwrap();
            received[1] = client.try_recv(&mut buffer).unwrap();
        });
        assert_eq!(received, [message.len(); 2]);
    }
}

#[test]
#[ignore = "a measurement: benches/instructions runs it under callgrind"]
fn exchange_get() {
    let request = Message { head: REQUEST.into(), body: vec![], chunked: false };
    let response = Message { head: RESPONSE.into(), body: vec![b'x'; 1024], chunked: false };
    exchanges(&request, &response);
}

#[test]
#[ignore = "a measurement: benches/instructions runs it under callgrind"]
fn exchange_small() {
    let request = Message { head: REQUEST_SMALL.into(), body: vec![], chunked: false };
    let response = Message { head: RESPONSE_NGINX.into(), body: vec![b'x'; 1024], chunked: false };
    exchanges(&request, &response);
}

#[test]
#[ignore = "a measurement: benches/instructions runs it under callgrind"]
fn exchange_logged() {
    let request = Message { head: REQUEST_SMALL.into(), body: vec![], chunked: false };
    let response = Message { head: RESPONSE_NGINX.into(), body: vec![b'x'; 1024], chunked: false };
    let (sink, source) = log_channel(8);
    let writer = std::thread::spawn(move || {
        while let Some(batch) = source.recv() {
            source.recycle(batch);
        }
    });
    exchanges_on(&worker_with(Some(sink)), &request, &response);
    writer.join().unwrap();
}

#[test]
#[ignore = "a measurement: benches/instructions runs it under callgrind"]
fn exchange_combined() {
    let request = Message { head: REQUEST_SMALL.into(), body: vec![], chunked: false };
    let response = Message { head: RESPONSE_NGINX.into(), body: vec![b'x'; 1024], chunked: false };
    let around = Surroundings { environment: &|_| None, hostname: "", pid: 0, key_fields: &[] };
    let format = LogFormat::text(COMBINED, &around).unwrap();
    let access_log = Some(Arc::new(AccessLog { format, ..AccessLog::default() }));
    let (sink, source) = log_channel(8);
    let writer = std::thread::spawn(move || {
        let mut lines = 0;
        while let Some(batch) = source.recv() {
            lines += batch.records();
            source.recycle(batch);
        }
        lines
    });
    let core = worker_for(Snapshot { access_log, ..snapshot() }, Some(sink));
    exchanges_on(&core, &request, &response);
    core.flush_log();
    drop(core);
    assert_eq!(writer.join().unwrap(), u64::from(rounds()));
}

#[test]
#[ignore = "a measurement: benches/instructions runs it under callgrind"]
fn exchange_observed() {
    let request = Message { head: REQUEST_SMALL.into(), body: vec![], chunked: false };
    let response = Message { head: RESPONSE_NGINX.into(), body: vec![b'x'; 1024], chunked: false };
    let core = worker_for(Snapshot { histograms: true, ..snapshot() }, None);
    exchanges_on(&core, &request, &response);
    let kept = core.local.borrow().snapshot().routes[0].counters.distribution(0).unwrap();
    assert_eq!(kept.count(), u64::from(rounds()));
}

#[test]
#[ignore = "a measurement: benches/instructions runs it under callgrind"]
fn exchange_traced() {
    traced(0);
}

#[test]
#[ignore = "a measurement: benches/instructions runs it under callgrind"]
fn exchange_recorded() {
    traced(1_000_000);
}

/// With a `traceparent` for each request, and spans of this share of a million.
fn traced(share: u32) {
    let request = Message { head: REQUEST_SMALL.into(), body: vec![], chunked: false };
    let response = Message { head: RESPONSE_NGINX.into(), body: vec![b'x'; 1024], chunked: false };
    let (sink, source) = span_channel(8);
    let exporter = std::thread::spawn(move || {
        let mut spans = 0;
        while let Some(batch) = source.recv() {
            spans += batch.records();
            source.recycle(batch);
        }
        spans
    });
    let tracing = Some(Tracing::new(share, Parents::Trusted, Redaction::default()));
    let core = worker_on(Snapshot { tracing, ..snapshot() }, None, Some(sink));
    exchanges_on(&core, &request, &response);
    core.flush();
    drop(core);
    let expected = if share == 0 { 0 } else { 2 * u64::from(rounds()) };
    assert_eq!(exporter.join().unwrap(), expected);
}

#[test]
#[ignore = "a measurement: benches/instructions runs it under callgrind"]
fn exchange_post() {
    let body = vec![b'x'; 16 * 1024];
    let head = REQUEST.replace("GET ", "POST ").replace("\r\n\r\n", "\r\nContent-Length: 16384\r\n\r\n");
    let request = Message { head, body: body.clone(), chunked: false };
    let head = RESPONSE.replace("Content-Length: 1024", "Transfer-Encoding: chunked");
    exchanges(&request, &Message { head, body, chunked: true });
}

/// The client speaks TLS, and the upstream does not. What the client does for that is not counted.
#[test]
#[ignore = "a measurement: benches/instructions runs it under callgrind"]
fn exchange_tls() {
    let mut snapshot = snapshot();
    let (server, client) = tls::tests::both();
    snapshot.listeners[0].tls = Some(server);
    let mut world = World::beneath(&worker_for(snapshot, None), Faults::none());
    let client = ClientConnection::new(client.config.clone(), client.server_name.clone()).unwrap();
    let mut client = Client::Tls(Box::new(client));
    let (mut hello, mut buffer) = (client.seal(b""), vec![0; RECEIVED_BYTES_MAX]);
    // The hello, then the end of the handshake; each is answered within a turn.
    for _ in 0..2 {
        send(world.client.stream.as_mut(), &hello);
        turn(&mut world);
        let received = receive(world.client.stream.as_mut(), &mut buffer);
        client.open(&buffer[..received]);
        hello = client.seal(b"");
    }
    // The name that the handshake has asked for.
    let head = REQUEST_SMALL.replace("127.0.0.1:18080", "localhost");
    let request = Message { head, body: vec![], chunked: false };
    let response = Message { head: RESPONSE_NGINX.into(), body: vec![b'x'; 1024], chunked: false };
    exchanges_in(&mut world, &mut client, &request, &response);
}

#[test]
#[ignore = "a measurement: benches/instructions runs it under callgrind"]
fn exchange_http2() {
    http2::exchanges(&Message { head: RESPONSE_NGINX.into(), body: vec![b'x'; 1024], chunked: false });
}

/// What a client sends for its messages, and what it reads from what it receives.
enum Client {
    Plain,
    Tls(Box<ClientConnection>),
}

impl Client {
    fn seal(&mut self, message: &[u8]) -> Vec<u8> {
        let Self::Tls(tls) = self else { return message.to_vec() };
        tls.writer().write_all(message).unwrap();
        let mut sealed = Vec::new();
        while tls.wants_write() {
            tls.write_tls(&mut sealed).unwrap();
        }
        sealed
    }

    fn open(&mut self, mut received: &[u8]) -> Vec<u8> {
        let Self::Tls(tls) = self else { return received.to_vec() };
        while !received.is_empty() {
            tls.read_tls(&mut received).unwrap();
            tls.process_new_packets().unwrap();
        }
        let mut opened = Vec::new();
        // The error says that nothing more has come.
        let _ = tls.reader().read_to_end(&mut opened);
        opened
    }
}

fn wire(message: &Message) -> Vec<u8> {
    let body = if message.chunked { in_chunks(&message.body) } else { message.body.clone() };
    [message.head.as_bytes(), &body].concat()
}

fn exchanges(request: &Message, response: &Message) {
    exchanges_on(&worker(), request, response);
}

/// Exchanges on one connection each side: the first one opens the upstream's, all others find it in the pool. The proxy
/// gets one turn when the request is there and one when the response is there.
fn exchanges_on(core: &Rc<Core<TestStream>>, request: &Message, response: &Message) {
    exchanges_in(&mut World::on(core, Faults::none()), &mut Client::Plain, request, response);
}

fn exchanges_in(world: &mut World, client: &mut Client, request: &Message, response: &Message) {
    set_dial_faults(Faults::none());
    let (request_wire, response_wire) = (wire(request), wire(response));
    let mut origin = None;
    let (mut at_origin, mut at_client) = (vec![0; RECEIVED_BYTES_MAX], vec![0; RECEIVED_BYTES_MAX]);
    for _ in 0..rounds() {
        let mut received = [0; 2];
        let request_wire = client.seal(&request_wire);
        measured(&mut || {
            send(world.client.stream.as_mut(), &request_wire);
            turn(world);
            origin = origin.take().or_else(take_dialled);
            received[0] = receive(origin.as_mut(), &mut at_origin);
            send(origin.as_mut(), &response_wire);
            turn(world);
            received[1] = receive(world.client.stream.as_mut(), &mut at_client);
        });
        assert!(has_arrived(request, &at_origin[..received[0]]), "the request");
        assert!(has_arrived(response, &client.open(&at_client[..received[1]])), "the response");
        assert!(world.session.is_some() && take_dialled().is_none(), "both connections are kept");
    }
}

/// Whether these bytes begin as the message does and have its whole body, of which every byte is an x, however framed.
fn has_arrived(message: &Message, received: &[u8]) -> bool {
    let end = received.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    let body_bytes = received[end..].iter().filter(|byte| **byte == b'x').count();
    received[..12] == message.head.as_bytes()[..12]
        && body_bytes == message.body.len()
        && (!message.chunked || received.ends_with(b"\r\n0\r\n\r\n"))
}

/// Every refusal that is the client's fault ends its connection: each round has a new one, on the same worker.
#[test]
#[ignore = "a measurement: benches/instructions runs it under callgrind"]
fn refused_request() {
    let request = REQUEST.replace("Cookie: ", "Cookie : ").into_bytes();
    let (core, mut buffer) = (worker(), vec![0; RECEIVED_BYTES_MAX]);
    for _ in 0..rounds() {
        let mut world = World::on(&core, Faults::none());
        let mut received = 0;
        measured(&mut || {
            send(world.client.stream.as_mut(), &request);
            turn(&mut world);
            received = receive(world.client.stream.as_mut(), &mut buffer);
        });
        assert!(buffer[..received].starts_with(b"HTTP/1.1 400 "));
    }
}

/// One event: the session runs until it waits.
fn turn(world: &mut World) {
    let waker = Waker::from(world.flag.clone());
    let session = world.session.as_mut().unwrap();
    assert!(session.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
}

fn send(stream: Option<&mut impl ByteStream>, wire: &[u8]) {
    let sent = stream.unwrap().try_send(&[IoSlice::new(wire)]).unwrap();
    assert_eq!(sent, wire.len());
}

fn receive(stream: Option<&mut impl ByteStream>, buffer: &mut [u8]) -> usize {
    stream.unwrap().try_recv(buffer).unwrap()
}
