//! A client that says frames by a script, and a server that answers them: for the tests, and for the fuzz target `h2`.
//!
//! Whatever is said: what comes back are whole frames in an order that RFC 9113 allows, each request that is handed on is one
//! HTTP/1.1 head to its last byte, there are never more streams than may be, and a connection that has ended stays so.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test, which is what it is for")]

use std::io::IoSlice;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use corelane_http1::{HeadLimits, HeadScanner, read_request};
use corelane_semantics::{BodyFraming, RequestHead};

use super::{Connection, H2Downstream, Limits, PREFACE};
use crate::core::{Core, CoreParts};
use crate::counters::PerWorker;
use crate::event::event_channel;
use crate::io::ByteStream as _;
use crate::io::memory::{Faults, MemoryStream, pair};
use crate::message::{BodyBatch, Downstream};
use crate::protocol::Http2Limits;
use crate::tls::Transport;

const HEADERS: u8 = 0x1;
const RST_STREAM: u8 = 0x3;
const CONTINUATION: u8 = 0x9;

const END_HEADERS: u8 = 0x4;

/// Streams that may be open at once: few, so that scripts reach the limit.
const STREAMS_MAX: u32 = 5;

/// `GET http://a/`, by HPACK's static table and a literal.
const GET: &[u8] = &[0x82, 0x84, 0x86, 0x41, 0x01, b'a'];

thread_local! {
    static CORE: Rc<Core<Transport<MemoryStream>>> = Rc::new(Core::new(CoreParts {
        index: 0,
        counters: PerWorker::new(1),
        events: event_channel().unwrap().0,
        log: None,
        spans: None,
        ticker: -1,
        alarm: -1,
        table_workers: 1,
        trim: || {},
        spawn: |_| {},
    }));
}

fn limits() -> Limits {
    Limits {
        of_http2: Http2Limits { streams_max: STREAMS_MAX, ..Http2Limits::default() },
        head_bytes_max: 16 * 1024,
        fields_max: 100,
        requests_max: 0,
        head_timeout: Duration::from_secs(10),
        idle_timeout: Duration::from_secs(60),
        send_timeout: Duration::from_secs(30),
    }
}

/// What decides, byte by byte; zeros behind its end.
struct Script<'s>(&'s [u8]);

impl<'s> Script<'s> {
    fn next(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    fn byte(&mut self) -> u8 {
        self.next().unwrap_or(0)
    }

    fn take(&mut self) -> &'s [u8] {
        let count = usize::from(self.byte()).min(self.0.len());
        let (taken, rest) = self.0.split_at(count);
        self.0 = rest;
        taken
    }
}

/// Both ends of a connection.
struct Talk {
    core: Rc<Core<Transport<MemoryStream>>>,
    connection: Connection<Transport<MemoryStream>>,
    client: MemoryStream,
    streams: Vec<H2Downstream>,
    is_over: bool,
    now_ms: u64,
    received: Vec<u8>,
    /// The first number that no request has had.
    next_stream: u32,
}

/// Lets a client say what the script says: how many heads and trailers it has got.
///
/// # Panics
///
/// When one of the module's assertions does not hold.
pub fn converse(script: &[u8]) -> usize {
    let mut script = Script(script);
    let faults = match script.byte() {
        0 => Faults::none(),
        seed => Faults::unsteady(seed.into()),
    };
    let mut talk = Talk::new(faults);
    talk.say(&[PREFACE, &frame(0x4, 0, 0, &[])].concat());
    while let Some(step) = script.next() {
        match step % 16 {
            0 => talk.say(script.take()),
            1 => talk.answer(&mut script),
            2 => talk.now_ms += u64::from(script.byte()) * 100,
            3 => talk.connection.drain(talk.now_ms),
            4..8 => talk.ask(&mut script),
            kind => talk.say(&any_frame(kind - 8, &mut script)),
        }
        talk.turn();
    }
    talk.finish();
    judge(&talk.received)
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// One of the ten kinds of frames, or of one more.
fn any_frame(kind: u8, script: &mut Script<'_>) -> Vec<u8> {
    let kind = if kind == 7 { script.byte() % 11 } else { kind };
    let (stream, flags) = (script.byte(), script.byte());
    frame(kind, flags, stream.into(), script.take())
}

impl Talk {
    fn new(faults: Faults) -> Self {
        let (near, client) = pair(faults);
        let core = CORE.with(Rc::clone);
        let connection = Connection::new(&core, Transport::Plain(near), Vec::new(), limits(), 0);
        Self {
            core,
            connection,
            client,
            streams: vec![],
            is_over: false,
            now_ms: 0,
            received: vec![],
            next_stream: 1,
        }
    }

    /// HEADERS of [`GET`] with further bytes of a block, mostly none, and mostly on a new stream.
    fn ask(&mut self, script: &mut Script<'_>) {
        let (kind, flags) = (script.byte(), script.byte());
        let stream = if kind < 0xf0 { self.next_stream } else { u32::from(script.byte()) };
        self.next_stream = self.next_stream.max(stream + 2);
        let more = if kind % 4 == 0 { script.take() } else { &[] };
        self.say(&frame(HEADERS, flags & 0x1 | END_HEADERS, stream, &[GET, more].concat()));
    }

    /// Sends as much as goes.
    fn say(&mut self, mut bytes: &[u8]) {
        for _ in 0..100 {
            match self.client.try_send(&[IoSlice::new(bytes)]) {
                Ok(sent) => bytes = &bytes[sent..],
                // Room comes with the server's turn.
                Err(_) => self.turn(),
            }
            if bytes.is_empty() || self.is_over {
                return;
            }
        }
    }

    fn turn(&mut self) {
        let mut cx = Context::from_waker(Waker::noop());
        while !self.is_over {
            match self.connection.poll_request(&mut cx, self.now_ms) {
                Poll::Ready(Ok(mut stream)) => {
                    self.read_head(&mut stream);
                    self.streams.push(*stream);
                }
                Poll::Ready(Err(_)) => self.is_over = true,
                Poll::Pending => break,
            }
            assert!(self.connection.streams() <= STREAMS_MAX as usize, "too many streams");
        }
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = self.client.try_recv(&mut buffer) {
            self.received.extend_from_slice(&buffer[..count]);
        }
    }

    fn read_head(&self, stream: &mut H2Downstream) {
        let (limits, mut head) = (HeadLimits::default(), RequestHead::default());
        let mut cx = Context::from_waker(Waker::noop());
        let _ = stream.poll_request_head(&mut cx, self.core.lent(), &limits, &mut head, &mut |_, bytes| {
            let place = read_request(&mut HeadScanner::new(), bytes, &limits, &mut RequestHead::default());
            assert_eq!(place, Ok(Some(0..bytes.len())), "one head: {}", bytes.escape_ascii());
        });
    }

    /// Takes what there is of a stream's body, or answers it, or gives it up.
    fn answer(&mut self, script: &mut Script<'_>) {
        let which = usize::from(script.byte());
        if self.streams.is_empty() {
            return;
        }
        let which = which % self.streams.len();
        let mut cx = Context::from_waker(Waker::noop());
        let lent = self.core.lent();
        match script.byte() % 4 {
            0 => drop(self.streams.swap_remove(which)),
            1 => self.streams.swap_remove(which).reset(),
            2 => {
                let _ = self.streams[which].poll_request_body(&mut cx, lent, &mut |_| Ok(()));
            }
            _ => {
                let mut stream = self.streams.swap_remove(which);
                let body = script.take();
                let value = String::from_utf8_lossy(script.take())
                    .replace(|char: char| !char.is_ascii_graphic(), "-");
                let mut head =
                    format!("HTTP/1.1 200 OK\r\nX-A: {value}\r\nConnection: close\r\n\r\n").into_bytes();
                stream.start_response(BodyFraming::Chunked, false);
                let trailers = if body.len() % 2 == 0 { Vec::new() } else { b"x-b: c\r\n".to_vec() };
                // An error is a reset by the client, or the end of all.
                let _ =
                    stream.send_response(&mut head, &BodyBatch::of(body, true, trailers), self.core.lent());
                let _ = stream.poll_flush(&mut cx, self.core.lent());
            }
        }
    }

    /// Drops what is open and waits until the connection comes to its end by itself.
    fn finish(&mut self) {
        self.streams.clear();
        for _ in 0..1000 {
            self.turn();
            self.streams.clear();
            if self.is_over {
                return;
            }
            self.now_ms += 1000;
        }
        panic!("the connection never ends");
    }
}

/// Whether these are frames in an order that RFC 9113 allows a server, the last of which may be cut off with the connection: how
/// many HEADERS.
fn judge(mut bytes: &[u8]) -> usize {
    let mut heads = 0;
    // The stream whose fields are not complete (§6.10).
    let mut open = None;
    while let [a, b, c, kind, flags, stream @ ..] = bytes {
        let length = usize::try_from(u32::from_be_bytes([0, *a, *b, *c])).unwrap();
        assert!(length <= 16_384, "a frame of {length} bytes");
        let Some((stream, rest)) = stream.split_first_chunk() else { break };
        let stream = u32::from_be_bytes(*stream);
        match *kind {
            CONTINUATION => assert_eq!(open, Some(stream), "CONTINUATION"),
            _ => assert_eq!(open, None, "a frame of type {kind} between fields"),
        }
        match *kind {
            // DATA and fields: of a stream of the client's.
            0x0 | HEADERS | CONTINUATION => {
                assert_eq!(stream % 2, 1, "a frame of type {kind} of stream {stream}")
            }
            0x4 | 0x6 | 0x7 => assert_eq!(stream, 0),
            // h2 also resets what a client speaks of that is not its own.
            RST_STREAM | 0x8 => {}
            kind => panic!("a frame of type {kind}"),
        }
        heads += usize::from(*kind == HEADERS);
        if matches!(*kind, HEADERS | CONTINUATION) {
            open = (flags & END_HEADERS == 0).then_some(stream);
        }
        bytes = rest.get(length..).unwrap_or_default();
    }
    heads
}

#[cfg(test)]
mod tests {
    use crate::io::memory::Seed;

    #[test]
    fn whatever_is_said_what_comes_back_is_in_order() {
        let mut heads = 0;
        for number in 0..1000 {
            let mut seed = Seed::new(number);
            let mut byte = || {
                if seed.once_in(24) {
                    seed.next().to_le_bytes()[0]
                } else {
                    [1, 1, 2, 5, 6, 7][seed.below(6)]
                }
            };
            let script: Vec<u8> = (0..400).map(|_| byte()).collect();
            heads += super::converse(&script);
        }
        assert!(heads > 1000, "{heads} responses show little");
    }
}
