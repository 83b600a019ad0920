//! What an endpoint may not do: bytes by hand, and what becomes of the stream or the connection.

use std::io::IoSlice;

use super::*;
use crate::h2::frames::tests::frame;
use crate::io::ByteStream;
use crate::io::memory::{MemoryStream, Seed};

const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];

/// What we ask for counts when the endpoint has said yes (RFC 9113 §6.5.3).
const SETTINGS_ACK: &[u8] = &[0, 0, 0, 4, 1, 0, 0, 0, 0];

/// `:status: 200`, in HPACK's static table.
const OK: &[u8] = &[0x88];

/// An endpoint that sends bytes by hand, to a client that has asked so many times.
pub(super) struct Raw {
    pub(super) near: Near,
    stream: MemoryStream,
    tasks: Vec<Task>,
    pub(super) received: Vec<u8>,
}

impl Raw {
    pub(super) fn new(limits: ClientLimits) -> Self {
        let (near, stream) = pair(Faults::none());
        let near = Near::new(Transport::Plain(near), limits);
        Self { near, stream, tasks: Vec::new(), received: Vec::new() }
    }

    pub(super) fn ask(&mut self, head: &'static [u8]) -> Rc<RefCell<Option<Got>>> {
        let (core, up) = (self.near.core.clone(), self.near.open());
        let got = Rc::new(RefCell::new(None));
        let told = got.clone();
        self.tasks.push(Box::pin(async move {
            told.replace(Some(exchange(&core, up, head, b"", vec![]).await));
        }));
        got
    }

    pub(super) fn turn(&mut self) {
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..3 {
            self.tasks.retain_mut(|task| task.as_mut().poll(&mut cx).is_pending());
            self.near.turn();
            let mut buffer = [0; 4096];
            while let Ok(received @ 1..) = self.stream.try_recv(&mut buffer) {
                self.received.extend_from_slice(&buffer[..received]);
            }
        }
    }

    /// Sends bytes and lets the client run.
    pub(super) fn send(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.near.connection.end().is_none() {
            if let Ok(sent) = self.stream.try_send(&[IoSlice::new(bytes)]) {
                bytes = &bytes[sent..];
            }
            self.turn();
        }
        self.turn();
    }

    pub(super) fn close(&mut self) {
        self.stream.shutdown_write();
        self.turn();
    }
}

/// What a request gets whose stream, the first one, is answered by these frames, and how the connection ends.
fn answered(head: &'static [u8], frames: &[Vec<u8>]) -> (Result<String, String>, Option<End>) {
    let mut raw = Raw::new(client_limits());
    let got = raw.ask(head);
    raw.turn();
    raw.send(&[SETTINGS, &frames.concat()].concat());
    let got = got.take();
    let told = got.map_or(Err("nothing".into()), |got| match got.error {
        Some(error) => Err(error),
        None => Ok(String::from_utf8(got.body).unwrap() + &got.trailers),
    });
    (told, raw.near.connection.end())
}

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const HEAD: &[u8] = b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n";

/// A field without an index (RFC 7541 §6.2.2).
fn field(name: &str, value: &str) -> Vec<u8> {
    let length = |text: &str| u8::try_from(text.len()).unwrap();
    [&[0x00, length(name)], name.as_bytes(), &[length(value)], value.as_bytes()].concat()
}

/// A head of these fields behind `:status: 200`.
fn head(flags: u8, fields: &[(&str, &str)]) -> Vec<u8> {
    let block = fields.iter().flat_map(|(name, value)| field(name, value));
    frame(0x1, flags, 1, &OK.iter().copied().chain(block).collect::<Vec<_>>())
}

fn data(flags: u8, bytes: &[u8]) -> Vec<u8> {
    frame(0x0, flags, 1, bytes)
}

#[test]
fn a_response_that_breaks_a_rule_fails_its_stream_or_the_connection() {
    const CUT: &str = "the peer closed the connection early";
    const MALFORMED: &str = "not exactly one head";
    let status = |code: &str| frame(0x1, 0x5, 1, &field(":status", code));
    let length = |length: &str, body: &[u8]| vec![head(0x4, &[("content-length", length)]), data(0x1, body)];
    let with = |fields: &[(&str, &str)]| vec![head(0x5, fields)];
    let trailers = |block: &[u8]| vec![head(0x4, &[]), data(0, b"body"), frame(0x1, 0x5, 1, block)];
    let protocol = Some(End::Protocol);
    type Case = (&'static str, Vec<Vec<u8>>, Result<&'static str, &'static str>, Option<End>);
    let table: Vec<Case> = vec![
        ("§8.1 a body and trailers", trailers(&field("a", "b")), Ok("bodya: b\r\n"), None),
        ("§8.1.1 as long as it says", length("4", b"body"), Ok("body"), None),
        ("§8.1.1 shorter than it says", length("5", b"body"), Err(CUT), None),
        ("§8.1.1 longer than it says", length("3", b"body"), Err(CUT), None),
        ("§8.1.1 no body where one is said", with(&[("content-length", "4")]), Err(MALFORMED), None),
        ("RFC 9110 §8.6 no number", with(&[("content-length", "+0")]), Err(MALFORMED), None),
        (
            "RFC 9110 §8.6 two",
            with(&[("content-length", "0"), ("content-length", "1")]),
            Err(MALFORMED),
            None,
        ),
        (
            "RFC 9110 §8.6 twice the same",
            with(&[("content-length", "0"); 2]),
            Err("more than one Content-Length"),
            None,
        ),
        ("§8.3.2 no status", vec![frame(0x1, 0x5, 1, &field("a", "b"))], Err(MALFORMED), None),
        ("§8.3.2 no status that is one", vec![status("20")], Err(CUT), protocol),
        ("§8.3.2 two", vec![frame(0x1, 0x5, 1, &[0x88, 0x88])], Err(MALFORMED), None),
        // The `h2` crate overlooks it, and it goes no further.
        ("§8.3 a pseudo field of requests", with(&[(":path", "/")]), Ok(""), None),
        ("§8.6 a switch", vec![status("101")], Err("invalid status line"), None),
        ("§8.2.1 a capital", with(&[("A", "b")]), Err(CUT), protocol),
        ("§8.2.1 CR LF", with(&[("a", "b\r\nc: d")]), Err(CUT), protocol),
        ("§8.2.1 NUL", with(&[("a", "b\0")]), Err(CUT), protocol),
        ("§8.2.1 a space in front", with(&[("a", " b")]), Err("invalid field value"), None),
        ("§8.2.2 Transfer-Encoding", with(&[("transfer-encoding", "chunked")]), Err(MALFORMED), None),
        ("§8.2.2 Connection", with(&[("connection", "close")]), Err(MALFORMED), None),
        ("§8.4 a push", vec![frame(0x5, 0x4, 1, &[0, 0, 0, 2, 0x82])], Err(CUT), protocol),
        ("§6.1 DATA before the head", vec![data(0x1, b"x")], Err(CUT), protocol),
        ("§5.1 a stream that nobody has opened", vec![frame(0x1, 0x5, 3, OK)], Err(CUT), protocol),
        ("§5.1.1 a stream of its own", vec![frame(0x1, 0x5, 2, OK)], Err(CUT), protocol),
        ("§4.2 a frame that is too large", vec![data(0, &[7; 65_537])], Err(CUT), protocol),
        (
            "§6.9.1 a window that is too large",
            vec![frame(0x8, 0, 0, &[0x7f, 0xff, 0xff, 0xff])],
            Err(CUT),
            protocol,
        ),
        (
            "§8.1 trailers that end nothing",
            vec![head(0x4, &[]), frame(0x1, 0x4, 1, &field("a", "b"))],
            Err(CUT),
            None,
        ),
        ("§3.4 another protocol", vec![b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()], Err(CUT), protocol),
    ];
    for (name, frames, expected, end) in table {
        let (told, ended) = answered(GET, &frames);
        assert_eq!((told.as_deref().map_err(|error| &error[..]), ended), (expected, end), "{name}");
    }
}

#[test]
fn a_head_alone_has_no_body_whatever_it_says() {
    for frames in [
        vec![head(0x5, &[("content-length", "4")])],
        vec![head(0x4, &[("content-length", "4")]), data(0x1, b"")],
        // RFC 9110 §9.3.2: it is not sent to the client, who would take it for the next response.
        vec![head(0x4, &[]), data(0x1, b"HTTP/1.1 200 OK\r\n\r\n")],
    ] {
        assert_eq!(answered(HEAD, &frames), (Ok(String::new()), None));
    }
}

#[test]
fn data_above_a_window_ends_the_stream_or_the_connection() {
    let piece = data(0, &[7; 16_384]);
    let ended = |limits: ClientLimits, pieces: usize| {
        let mut raw = Raw::new(limits);
        let (core, mut up) = (raw.near.core.clone(), raw.near.open());
        up.send_request(GET, &BodyBatch::end(), core.lent()).unwrap();
        raw.turn();
        raw.send(&[SETTINGS, SETTINGS_ACK, &head(0x4, &[]), &piece.repeat(pieces)].concat());
        let is_reset = up.poll_response_head(
            &mut Context::from_waker(Waker::noop()),
            core.lent(),
            &mut ResponseHead::default(),
            &mut |_, _| {},
        );
        assert!(is_reset.is_ready());
        (raw.near.connection.end(), raw.received.windows(5).any(|bytes| bytes == [4, 3, 0, 0, 0]))
    };
    assert_eq!(ended(client_limits(), 4), (None, false));
    // RFC 9113 §6.9.1: RST_STREAM or GOAWAY with FLOW_CONTROL_ERROR.
    assert_eq!(ended(client_limits(), 5), (None, true));
    let small = ClientLimits { connection_window: 65_535, stream_window: 1 << 20, ..client_limits() };
    assert_eq!(ended(small, 5), (Some(End::Protocol), false));
}

/// What an endpoint sends for ever, in the order of its numbers.
type Flood = fn(u32) -> Vec<u8>;

const FLOODS: &[(&str, Flood, End)] = &[
    ("SETTINGS", |_| frame(0x4, 0, 0, &[]), End::Misconduct),
    ("PING", |_| frame(0x6, 0, 0, &[0; 8]), End::Misconduct),
    ("PRIORITY", |_| frame(0x2, 0, 1, &[0, 0, 0, 0, 16]), End::Misconduct),
    ("WINDOW_UPDATE", |_| frame(0x8, 0, 0, &[0, 0, 0, 1]), End::Misconduct),
    ("unknown frames", |_| frame(0x42, 0, 0, &[0; 100]), End::Misconduct),
    ("GOAWAY", |_| frame(0x7, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0]), End::Misconduct),
    ("interim heads", |_| frame(0x1, 0x4, 1, &field(":status", "103")), End::Misconduct),
    (
        "interim heads of one reference each",
        |number| {
            let mut block = field(":status", "103");
            if number == 0 {
                block.extend_from_slice(&[0x40, 0x01, b'a', 0x7f, 0xbd, 0x1d]);
                block.extend_from_slice(&[b'x'; 3900]);
            } else {
                block.extend_from_slice(&[0x80 | 62; 4]);
            }
            frame(0x1, 0x4, 1, &block)
        },
        End::Misconduct,
    ),
    ("empty DATA", |number| if number == 0 { head(0x4, &[]) } else { data(0, &[]) }, End::Misconduct),
    ("DATA of one byte", |number| if number == 0 { head(0x4, &[]) } else { data(0, &[1]) }, End::Misconduct),
    (
        "CONTINUATION",
        |number| if number == 0 { frame(0x1, 0, 1, OK) } else { frame(0x9, 0, 1, &field("x", "y")) },
        End::Misconduct,
    ),
    (
        "CONTINUATION without fields",
        |number| if number == 0 { frame(0x1, 0, 1, OK) } else { frame(0x9, 0, 1, &[]) },
        End::Misconduct,
    ),
];

#[test]
fn floods_end_the_connection() {
    for (name, flood, expected) in FLOODS {
        let mut raw = Raw::new(client_limits());
        // It waits for its client, and so takes nothing.
        let (core, mut up) = (raw.near.core.clone(), raw.near.open());
        up.send_request(GET, &BodyBatch::end(), core.lent()).unwrap();
        raw.turn();
        raw.send(SETTINGS);
        let mut number = 0;
        while raw.near.connection.end().is_none() && number < 100_000 {
            let frames: Vec<u8> = (number..number + 100).flat_map(flood).collect();
            raw.send(&frames);
            number += 100;
        }
        assert_eq!(raw.near.connection.end(), Some(*expected), "{name}");
        assert!(!raw.near.connection.is_open() && number <= 20_000, "{name}: {number}");
    }
}

#[test]
fn an_endpoint_that_answers_may_say_what_others_may_not() {
    let mut raw = Raw::new(client_limits());
    raw.send(SETTINGS);
    // Four interim heads, a head and trailers, and a PING for each: for ever.
    for number in 0..2000u32 {
        let got = raw.ask(GET);
        raw.turn();
        let stream = 2 * number + 1;
        let interim = frame(0x1, 0x4, stream, &field(":status", "103")).repeat(4);
        let rest = [
            frame(0x6, 0, 0, &[0; 8]),
            frame(0x1, 0x4, stream, OK),
            frame(0x1, 0x5, stream, &field("a", "b")),
        ];
        raw.send(&[interim, rest.concat()].concat());
        assert!(got.take().unwrap().is_whole(), "{number}");
        raw.received.clear();
    }
    assert_eq!(raw.near.connection.end(), None);
}

#[test]
fn random_frames_do_no_harm() {
    let mut whole = 0;
    for number in 0..600 {
        let mut seed = Seed::new(number);
        let mut raw = Raw::new(client_limits());
        let got: Vec<_> = (0..3).map(|_| raw.ask(if seed.once_in(4) { HEAD } else { GET })).collect();
        raw.turn();
        let mut bytes = [SETTINGS, SETTINGS_ACK].concat();
        for _ in 0..40 {
            let stream = [0, 1, 3, 5, 1, 3, 5, 2, 7][seed.below(9)];
            if stream % 2 == 1 && seed.once_in(4) {
                bytes.extend(frame(0x1, 0x5, stream, OK));
                continue;
            }
            let kind = [0, 0, 1, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10][seed.below(14)];
            let flags = [0, 0x1, 0x4, 0x5, 0x4, 0x5, 0x8, 0xff][seed.below(8)];
            let payload: Vec<u8> = match (kind, seed.below(4)) {
                (0x1 | 0x9, 0) => field(":status", "103"),
                (0x1 | 0x9, 1) => [OK, &field("content-length", "10")].concat(),
                (0x1 | 0x9, 2) => OK.to_vec(),
                (0x6 | 0x7, 1..) => vec![0; 8],
                (0x8 | 0x3, 1..) => vec![0, 0, 0, 8],
                (0x4, 1..) => vec![],
                (0x2, 1..) => vec![0, 0, 0, 0, 1],
                _ => (0..seed.below(300)).map(|_| seed.next().to_le_bytes()[0]).collect(),
            };
            // A connection that has ended learns no more.
            if !matches!(kind, 0x2 | 0x5 | 0x7) || seed.once_in(8) {
                bytes.extend(frame(kind, flags, stream, &payload));
            }
        }
        for piece in bytes.chunks(1 + seed.below(500)) {
            raw.send(piece);
        }
        raw.close();
        let got: Vec<_> = got.into_iter().map(|got| got.take()).collect();
        assert!(got.iter().all(Option::is_some), "seed {number}: all streams end with the connection");
        whole += got.iter().flatten().filter(|got| got.is_whole()).count();
        assert!(raw.near.connection.end().is_some() && raw.near.connection.streams() == 0, "seed {number}");
    }
    assert!(whole > 100, "{whole}: some of it has been responses");
}
