//! What a client can send that is no request: each of it ends its connection, and takes little memory until then.

use std::io;
use std::io::IoSlice;
use std::process::Command;

use super::super::frames::PREFACE;
use super::super::frames::tests::frame;
use super::*;
use crate::io::ByteStream;
use crate::io::memory::MemoryStream;

/// A server, and a client that sends bytes by hand.
pub(super) struct Raw {
    pub(super) server: Server,
    stream: MemoryStream,
    pub(super) received: Vec<u8>,
}

impl Raw {
    pub(super) fn new(limits: Limits, serve: Box<Serve>) -> Self {
        let (near, stream) = pair(Faults::none());
        let server = Server::new(&worker(), Transport::Plain(near), limits, serve);
        Self { server, stream, received: Vec::new() }
    }

    /// One whose client has said what it has to.
    pub(super) fn greeted(serve: Box<Serve>) -> Self {
        let mut raw = Self::new(limits(), serve);
        assert!(raw.send(&[PREFACE, &frame(0x4, 0, 0, &[])].concat()));
        raw
    }

    /// Sends bytes and lets the server run: whether the connection goes on.
    pub(super) fn send(&mut self, mut bytes: &[u8]) -> bool {
        loop {
            match self.stream.try_send(&[IoSlice::new(bytes)]) {
                Ok(sent) => bytes = &bytes[sent..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => {}
            }
            self.server.turn();
            self.receive();
            if self.server.end.is_some() {
                return false;
            }
            if bytes.is_empty() {
                return true;
            }
        }
    }

    fn receive(&mut self) {
        let mut buffer = [0; 4096];
        while let Ok(received @ 1..) = self.stream.try_recv(&mut buffer) {
            self.received.extend_from_slice(&buffer[..received]);
            // What matters is said last.
            let old = self.received.len().saturating_sub(64 * 1024);
            self.received.drain(..old);
        }
    }

    /// The code of the GOAWAY at the end of what was received.
    pub(super) fn goaway(&self) -> Option<u32> {
        let found = (0..self.received.len())
            .rev()
            .find(|&at| self.received[at..].starts_with(&[0x7, 0, 0, 0, 0, 0]))?;
        let code = self.received.get(found + 10..found + 14)?;
        Some(u32::from_be_bytes(code.try_into().unwrap()))
    }
}

const ENHANCE_YOUR_CALM: u32 = 11;

/// `GET / http a` in HPACK's static table, and a literal of the authority.
pub(super) const GET: &[u8] = &[0x82, 0x84, 0x86, 0x41, 0x01, b'a'];

/// A stream that is opened, and the same with a body to come.
pub(super) fn open(stream: u32, flags: u8) -> Vec<u8> {
    frame(0x1, flags, stream, GET)
}

/// A request of the number, and its reset.
fn rapid_reset(number: u32) -> Vec<u8> {
    [open(2 * number + 1, 0x5), frame(0x3, 0, 2 * number + 1, &[0, 0, 0, 8])].concat()
}

/// A request that the server has to reset: an update makes its window too large (RFC 9113 §6.9.1).
fn made_you_reset(number: u32) -> Vec<u8> {
    [open(2 * number + 1, 0x5), frame(0x8, 0, 2 * number + 1, &[0x7f, 0xff, 0xff, 0xff])].concat()
}

/// A request with a field in the dynamic table, and as many references to it as its size allows.
fn header_bomb(number: u32) -> Vec<u8> {
    let mut block = GET.to_vec();
    if number == 0 {
        // `cookie: ` with 3900 bytes.
        block.extend_from_slice(&[0x40 | 0x20, 0x7f, 0xbd, 0x1d]);
        block.extend_from_slice(&[b'x'; 3900]);
    }
    block.extend_from_slice(&[0x80 | 62; 12_000]);
    frame(0x1, 0x5, 2 * number + 1, &block)
}

/// An oversized request that is refused each time: 40 KiB of fields from some bytes.
fn large_heads(number: u32) -> Vec<u8> {
    let mut block = GET.to_vec();
    if number == 0 {
        block.extend_from_slice(&[0x40 | 0x20, 0x7f, 0xbd, 0x1d]);
        block.extend_from_slice(&[b'x'; 3900]);
    }
    block.extend_from_slice(&[0x80 | 62; 9]);
    frame(0x1, 0x5, 2 * number + 1, &block)
}

/// What is sent for ever, in the order of its numbers.
type Flood = fn(u32) -> Vec<u8>;

const FLOODS: &[(&str, Flood, u32)] = &[
    ("rapid reset", rapid_reset, ENHANCE_YOUR_CALM),
    ("resets that the server makes", made_you_reset, ENHANCE_YOUR_CALM),
    ("SETTINGS", |_| frame(0x4, 0, 0, &[]), ENHANCE_YOUR_CALM),
    ("PING", |_| frame(0x6, 0, 0, &[0; 8]), ENHANCE_YOUR_CALM),
    ("PRIORITY", |number| frame(0x2, 0, 2 * number + 1, &[0, 0, 0, 0, 16]), ENHANCE_YOUR_CALM),
    ("PRIORITY_UPDATE", |_| frame(0x10, 0, 0, &[0, 0, 0, 1, b'u']), ENHANCE_YOUR_CALM),
    ("WINDOW_UPDATE", |_| frame(0x8, 0, 0, &[0, 0, 0, 1]), ENHANCE_YOUR_CALM),
    ("unknown frames", |_| frame(0x42, 0, 0, &[0; 100]), ENHANCE_YOUR_CALM),
    (
        "empty DATA",
        |number| if number == 0 { open(1, 0x4) } else { frame(0x0, 0, 1, &[]) },
        ENHANCE_YOUR_CALM,
    ),
    (
        "DATA of one byte",
        |number| if number == 0 { open(1, 0x4) } else { frame(0x0, 0, 1, &[1]) },
        ENHANCE_YOUR_CALM,
    ),
    (
        "CONTINUATION",
        |number| if number == 0 { open(1, 0x1) } else { frame(0x9, 0, 1, &[0x00, 1, b'x', 1, b'y']) },
        ENHANCE_YOUR_CALM,
    ),
    (
        "empty CONTINUATION",
        |number| if number == 0 { open(1, 0x1) } else { frame(0x9, 0, 1, &[]) },
        ENHANCE_YOUR_CALM,
    ),
    ("header bomb", header_bomb, ENHANCE_YOUR_CALM),
    ("large heads", large_heads, ENHANCE_YOUR_CALM),
    ("streams that wait", |number| open(2 * number + 1, 0x4), ENHANCE_YOUR_CALM),
];

/// How much the process may grow by all of that: a connection has its windows, and no more.
const GROWTH_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// Bytes of a flood at most before the connection has ended: 10 000 updates of windows are 130 KB, a hundred streams that wait
/// and a thousand that are refused less.
const FLOOD_BYTES_MAX: usize = 4 * 1024 * 1024;

#[test]
fn floods_end_their_connection_and_take_little_memory() {
    const ALONE: &str = "H2_FLOODS_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return flood_all();
    }
    alone(ALONE, "floods_end_their_connection_and_take_little_memory");
}

/// Runs a test in a process of its own, because memory can be measured only there.
fn alone(variable: &str, test: &str) {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("h2::tests::floods::{test}"), "--nocapture"])
        .env(variable, "1")
        .output()
        .unwrap();
    let said = [child.stdout, child.stderr].concat();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&said));
}

fn flood_all() {
    // What the first connection allocates, and the worker.
    flood(FLOODS[0].1);
    let before = resident_bytes();
    for (name, next, code) in FLOODS {
        let (sent, raw) = flood(*next);
        assert!(raw.server.end.is_some(), "{name}: the connection goes on after {sent} bytes");
        assert_eq!(raw.goaway(), Some(*code), "{name}: {:?} after {sent} bytes", raw.server.end);
        assert_eq!(raw.server.end, Some(End::Misconduct), "{name}");
        let grown = resident_bytes().saturating_sub(before);
        assert!(grown <= GROWTH_BYTES_MAX, "{name}: {grown} bytes more");
    }
}

/// Floods a connection whose requests are never answered, until it ends.
fn flood(next: Flood) -> (usize, Raw) {
    let serve: Box<Serve> = Box::new(|core, mut stream| {
        Box::pin(async move {
            let _ = head_of(&core, &mut stream);
            poll_fn(|cx| stream.poll_client(cx, core.lent())).await;
        })
    });
    let mut raw = Raw::greeted(serve);
    let mut sent = 0;
    for number in 0.. {
        let bytes = next(number);
        sent += bytes.len();
        if !raw.send(&bytes) || sent > FLOOD_BYTES_MAX {
            break;
        }
        assert!(raw.server.connection.streams() <= 100);
    }
    (sent, raw)
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// Bytes of one stream that is read, in pieces as large as may be, and behind each a byte for one of 98 others that nobody reads;
/// or for one that waits, because all of those were reset.
fn keep_pieces(is_waiting: bool) {
    let serve: Box<Serve> = Box::new(|core, mut stream| {
        Box::pin(async move {
            if head_of(&core, &mut stream).unwrap().contains("x-read") {
                while !stream.is_request_complete() {
                    let step = poll_fn(|cx| stream.poll_request_body(cx, core.lent(), &mut |_| Ok(())));
                    step.await.unwrap();
                }
            }
            std::future::pending::<()>().await;
        })
    });
    let mut raw = Raw::greeted(serve);
    let read = [GET, &[0x00, 6], b"x-read", &[1, b'y']].concat();
    assert!(raw.send(&frame(0x1, 0x4, 1, &read)));
    for stream in 1..100 {
        assert!(raw.send(&open(2 * stream + 1, 0x4)));
        if is_waiting {
            assert!(raw.send(&frame(0x3, 0, 2 * stream + 1, &[0, 0, 0, 8])));
        }
    }
    let kept = if is_waiting { 201 } else { 3 };
    if is_waiting {
        assert!(raw.send(&[open(201, 0x4), open(203, 0x4)].concat()));
    }
    for number in 0..KEPT_PIECES {
        let stream = kept + 2 * (number % if is_waiting { 2 } else { 98 });
        assert!(
            raw.send(&[frame(0x0, 0, 1, &[7; 16_300]), frame(0x0, 0, stream, &[7])].concat()),
            "{number}"
        );
    }
    assert_eq!(raw.server.connection.streams(), 100);
}

/// More than 64 MiB would be kept by as many bytes.
const KEPT_PIECES: u32 = 4000;

#[test]
fn bytes_that_nobody_reads_do_not_keep_what_came_with_them() {
    const ALONE: &str = "H2_PIECES_ALONE";
    if std::env::var_os(ALONE).is_some() {
        flood(FLOODS[0].1);
        let before = resident_bytes();
        keep_pieces(false);
        keep_pieces(true);
        let grown = resident_bytes().saturating_sub(before);
        assert!(grown <= GROWTH_BYTES_MAX, "{grown} bytes more");
        return;
    }
    alone(ALONE, "bytes_that_nobody_reads_do_not_keep_what_came_with_them");
}

#[test]
fn what_has_begun_must_end_in_time() {
    let begun: &[(&str, Vec<u8>)] = &[
        ("nothing", vec![]),
        ("a part of the preface", PREFACE[..10].to_vec()),
        ("a part of a header", [PREFACE, &[0, 0]].concat()),
        ("a part of SETTINGS", [PREFACE, &frame(0x4, 0, 0, &[0; 6])[..12]].concat()),
        ("a field block", [PREFACE, &frame(0x4, 0, 0, &[]), &open(1, 0x1)].concat()),
        ("a part of HEADERS", [PREFACE, &frame(0x4, 0, 0, &[]), &open(1, 0x5)[..12]].concat()),
    ];
    for (name, bytes) in begun {
        let mut raw = Raw::new(limits(), answers(OK));
        assert!(raw.send(bytes), "{name}");
        assert_eq!(raw.server.connection.due_ms(), 10_000, "{name}");
        raw.server.now_ms = 9_999;
        assert!(raw.send(&[]), "{name}");
        raw.server.now_ms = 10_000;
        assert!(!raw.send(&[]), "{name}");
        assert_eq!(raw.server.end, Some(End::Timeout), "{name}");
    }
}

#[test]
fn a_client_that_speaks_something_else_is_sent_away() {
    let mut raw = Raw::new(limits(), answers(OK));
    raw.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(raw.server.end, Some(End::Protocol));
}

#[test]
fn a_client_that_takes_nothing_is_cut_off() {
    let mut raw = Raw::new(Limits { idle_timeout: Duration::from_secs(3600), ..limits() }, answers(OK));
    raw.send(&[PREFACE, &frame(0x4, 0, 0, &[])].concat());
    // PING is answered, and nobody reads the answers: what the stream and the connection hold is full before it is too much.
    let mut room = 0;
    while raw.server.end.is_none() && room < 200_000 {
        let bytes = frame(0x6, 0, 0, &[0; 8]);
        let _ = raw.stream.try_send(&[IoSlice::new(&bytes)]);
        raw.server.turn();
        room += bytes.len();
        // Slowly enough to be no flood.
        raw.server.now_ms += 40;
    }
    assert_eq!(raw.server.end, Some(End::Timeout));
}
