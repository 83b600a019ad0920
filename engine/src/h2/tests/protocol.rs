//! RFC 9113 rule by rule: bytes by hand, and what becomes of the stream or the connection.

use super::floods::{GET, Raw, open};
use super::*;
use crate::h2::frames::PREFACE;
use crate::h2::frames::tests::frame;
use crate::io::memory::Seed;

/// What becomes of stream 1, or of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// It is answered with this status, and the connection goes on.
    Answered(u16),
    /// It is reset with this code.
    Reset(u32),
    /// The connection ends with this code.
    Ended(u32),
    /// Nothing was said, and the connection goes on.
    Silence,
}

use Outcome::{Answered, Ended, Reset, Silence};

/// Also where the RFC has a code that says more (FRAME_SIZE_ERROR, COMPRESSION_ERROR, STREAM_CLOSED): `h2` has one for all that it
/// cannot read.
const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const FRAME_SIZE_ERROR: u32 = 6;

const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const PRIORITY: u8 = 0x2;
const RST_STREAM: u8 = 0x3;
const SETTINGS: u8 = 0x4;
const PUSH_PROMISE: u8 = 0x5;
const PING: u8 = 0x6;
const GOAWAY: u8 = 0x7;
const WINDOW_UPDATE: u8 = 0x8;
const CONTINUATION: u8 = 0x9;

const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const WITH_PRIORITY: u8 = 0x20;
const WHOLE: u8 = END_STREAM | END_HEADERS;

/// A field without an index (RFC 7541 §6.2.2).
fn field(name: &str, value: &str) -> Vec<u8> {
    let length = |text: &str| u8::try_from(text.len()).unwrap();
    [&[0x00, length(name)], name.as_bytes(), &[length(value)], value.as_bytes()].concat()
}

/// A request of these fields, which has no body.
fn request(fields: &[(&str, &str)]) -> Vec<u8> {
    let block: Vec<_> = fields.iter().flat_map(|(name, value)| field(name, value)).collect();
    frame(HEADERS, WHOLE, 1, &block)
}

/// `GET http://a/` with further fields.
fn get_with(fields: &[(&str, &str)]) -> Vec<u8> {
    let plain = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a")];
    request(&[&plain[..], fields].concat())
}

/// `POST http://a/` with further fields, and its body's frames.
fn post(fields: &[(&str, &str)], body: &[Vec<u8>]) -> Vec<u8> {
    let plain = [(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "a")];
    let block: Vec<_> =
        [&plain[..], fields].concat().iter().flat_map(|(name, value)| field(name, value)).collect();
    [frame(HEADERS, END_HEADERS, 1, &block), body.concat()].concat()
}

/// Reads a request with its body, and answers it: with 200, or with the status of the rule that its head breaks.
fn judges() -> Box<Serve> {
    Box::new(|core, mut stream| {
        Box::pin(async move {
            let status = match head_of(&core, &mut stream) {
                Ok(_) => 200,
                Err(ReceiveError::Head(error)) => error.status(),
                Err(_) => 500,
            };
            if status == 200 && receive(&core, &mut stream).await.is_none() {
                return;
            }
            let head = format!("HTTP/1.1 {status} Words\r\n\r\n");
            let _ = respond(&core, &mut stream, head.as_bytes(), b"", vec![]).await;
        })
    })
}

/// What comes back for these frames, sent behind the preface and SETTINGS.
fn outcome(bytes: &[u8]) -> Outcome {
    let mut raw = Raw::greeted(judges());
    raw.send(bytes);
    for _ in 0..5 {
        raw.send(&[]);
    }
    match raw.server.end {
        // Behind a GOAWAY of the client's.
        None | Some(End::Clean) => {}
        Some(End::Protocol) => return Ended(raw.goaway().expect("the reason is told")),
        Some(end) => panic!("{end:?}"),
    }
    let (mut found, mut rest) = (Silence, &raw.received[..]);
    while let [a, b, c, kind, _flags, _, _, _, stream, payload @ ..] = rest {
        let length = usize::try_from(u32::from_be_bytes([0, *a, *b, *c])).unwrap();
        match (*kind, *stream, &payload[..length]) {
            (RST_STREAM, 1, code) => found = Reset(u32::from_be_bytes(code.try_into().unwrap())),
            // `:status` stands first, and 200 and 400 in HPACK's static table (RFC 7541 appendix A); a new size of the other
            // table, of which there is nothing, may stand in front.
            (HEADERS, 1, [0x88, ..] | [0x20, 0x88, ..]) => found = Answered(200),
            (HEADERS, 1, [0x8c, ..]) => found = Answered(400),
            (HEADERS, 1, block) => panic!("another status: {block:x?}"),
            _ => {}
        }
        rest = &payload[length..];
    }
    found
}

#[track_caller]
fn check(cases: &[(&str, Vec<u8>, Outcome)]) {
    let wrong: Vec<_> = cases
        .iter()
        .map(|(rule, bytes, expected)| (rule, outcome(bytes), expected))
        .filter(|(_, found, expected)| found != *expected)
        .map(|(rule, found, expected)| format!("{rule}: {found:?}, not {expected:?}"))
        .collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn frames() {
    check(&[
        ("a request", open(1, WHOLE), Answered(200)),
        (
            "§4.1: unknown types are ignored",
            [frame(0x42, 0xff, 1, b"x"), open(1, WHOLE)].concat(),
            Answered(200),
        ),
        ("§4.1: unknown flags are ignored", open(1, WHOLE | 0x82), Answered(200)),
        ("§4.2: more than SETTINGS_MAX_FRAME_SIZE", frame(DATA, 0, 1, &[0; 16_385]), Ended(FRAME_SIZE_ERROR)),
        ("§4.3: no HPACK", frame(HEADERS, WHOLE, 1, &[0xff; 20]), Ended(PROTOCOL_ERROR)),
        ("§4.3: an index that is not there", frame(HEADERS, WHOLE, 1, &[0x80 | 100]), Ended(PROTOCOL_ERROR)),
        ("§5.1: DATA on an idle stream", frame(DATA, 0, 1, b"a"), Ended(PROTOCOL_ERROR)),
        ("§5.1: RST_STREAM on an idle stream", frame(RST_STREAM, 0, 1, &[0; 4]), Ended(PROTOCOL_ERROR)),
        (
            "§5.1: WINDOW_UPDATE on an idle stream",
            frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]),
            Ended(PROTOCOL_ERROR),
        ),
        ("§5.1: CONTINUATION on an idle stream", frame(CONTINUATION, 4, 1, b""), Ended(PROTOCOL_ERROR)),
        ("§5.1.1: a number of the server's", open(2, WHOLE), Ended(PROTOCOL_ERROR)),
        ("§5.1.1: numbers go up", [open(3, WHOLE), open(1, WHOLE)].concat(), Ended(PROTOCOL_ERROR)),
        ("§6.1: DATA without a stream", frame(DATA, 0, 0, b"a"), Ended(PROTOCOL_ERROR)),
        (
            "§6.1: more padding than frame",
            [open(1, END_HEADERS), frame(DATA, PADDED, 1, &[5, 0, 0])].concat(),
            Ended(PROTOCOL_ERROR),
        ),
        (
            "§6.1: padding",
            [open(1, END_HEADERS), frame(DATA, PADDED | END_STREAM, 1, &[2, b'a', 0, 0])].concat(),
            Answered(200),
        ),
        ("§6.2: HEADERS without a stream", open(0, WHOLE), Ended(PROTOCOL_ERROR)),
        (
            "§6.2: padding",
            frame(HEADERS, WHOLE | PADDED, 1, &[&[3][..], GET, &[0; 3]].concat()),
            Answered(200),
        ),
        (
            "§6.2: more padding than frame",
            frame(HEADERS, WHOLE | PADDED, 1, &[&[200][..], GET].concat()),
            Ended(PROTOCOL_ERROR),
        ),
        (
            "§5.3.2: priority signals are ignored",
            frame(HEADERS, WHOLE | WITH_PRIORITY, 1, &[&[0, 0, 0, 3, 15][..], GET].concat()),
            Answered(200),
        ),
        ("§6.3: PRIORITY without a stream", frame(PRIORITY, 0, 0, &[0, 0, 0, 3, 1]), Ended(PROTOCOL_ERROR)),
        ("§6.4: RST_STREAM without a stream", frame(RST_STREAM, 0, 0, &[0; 4]), Ended(PROTOCOL_ERROR)),
        (
            "§6.4: RST_STREAM of another length",
            [open(1, END_HEADERS), frame(RST_STREAM, 0, 1, &[0; 3])].concat(),
            Ended(PROTOCOL_ERROR),
        ),
        (
            "§6.4: RST_STREAM",
            [open(1, END_HEADERS), frame(RST_STREAM, 0, 1, &[0, 0, 0, 8])].concat(),
            Silence,
        ),
        (
            "§6.6: a client does not push",
            frame(PUSH_PROMISE, 4, 1, &[0, 0, 0, 2, 0x82]),
            Ended(PROTOCOL_ERROR),
        ),
        ("§6.7: PING", frame(PING, 0, 0, &[1; 8]), Silence),
        ("§6.7: PING of a stream", frame(PING, 0, 1, &[1; 8]), Ended(PROTOCOL_ERROR)),
        ("§6.7: PING of another length", frame(PING, 0, 0, &[1; 7]), Ended(PROTOCOL_ERROR)),
        ("§6.8: GOAWAY of a stream", frame(GOAWAY, 0, 1, &[0; 8]), Ended(PROTOCOL_ERROR)),
        (
            "§6.8: streams go on behind a GOAWAY",
            [open(1, END_HEADERS), frame(GOAWAY, 0, 0, &[0; 8]), frame(DATA, END_STREAM, 1, b"")].concat(),
            Answered(200),
        ),
        (
            "§6.10: fields are interrupted",
            [open(1, END_STREAM), frame(PING, 0, 0, &[0; 8])].concat(),
            Ended(PROTOCOL_ERROR),
        ),
        (
            "§6.10: by another stream's",
            [open(1, END_STREAM), frame(CONTINUATION, 4, 3, b"")].concat(),
            Ended(PROTOCOL_ERROR),
        ),
        (
            "§6.10: fields in pieces",
            [
                frame(HEADERS, END_STREAM, 1, &GET[..2]),
                frame(CONTINUATION, 0, 1, &GET[2..4]),
                frame(CONTINUATION, END_HEADERS, 1, &GET[4..]),
            ]
            .concat(),
            Answered(200),
        ),
        (
            "§6.10: CONTINUATION behind the end",
            [open(1, END_HEADERS), frame(CONTINUATION, 4, 1, b"")].concat(),
            Ended(PROTOCOL_ERROR),
        ),
    ]);
}

#[test]
fn settings_and_windows() {
    let setting = |id: u8, value: u32| frame(SETTINGS, 0, 0, &[&[0, id], &value.to_be_bytes()[..]].concat());
    let whole = |first: Vec<u8>| [first, open(1, WHOLE)].concat();
    let upload = |second: Vec<u8>| [open(1, END_HEADERS), second].concat();
    check(&[
        ("§6.5: SETTINGS of a stream", frame(SETTINGS, 0, 1, &[]), Ended(PROTOCOL_ERROR)),
        ("§6.5: not a multiple of 6 bytes", frame(SETTINGS, 0, 0, &[0; 5]), Ended(PROTOCOL_ERROR)),
        ("§6.5: an acknowledgement with content", frame(SETTINGS, 1, 0, &[0; 6]), Ended(PROTOCOL_ERROR)),
        ("§6.5.2: ENABLE_PUSH is 0 or 1", setting(2, 2), Ended(PROTOCOL_ERROR)),
        ("§6.5.2: a window of 2^31", setting(4, 1 << 31), Ended(PROTOCOL_ERROR)),
        ("§6.5.2: frames of less than 2^14", setting(5, 16_383), Ended(PROTOCOL_ERROR)),
        ("§6.5.2: frames of 2^24", setting(5, 1 << 24), Ended(PROTOCOL_ERROR)),
        ("§6.5.2: unknown ones are ignored", whole(setting(0x99, 7)), Answered(200)),
        ("RFC 7541 §4.2: a table of nothing", whole(setting(1, 0)), Answered(200)),
        (
            "§6.9: an update by nothing, of the connection",
            frame(WINDOW_UPDATE, 0, 0, &[0; 4]),
            Ended(PROTOCOL_ERROR),
        ),
        ("§6.9: of another length", frame(WINDOW_UPDATE, 0, 0, &[0; 3]), Ended(PROTOCOL_ERROR)),
        (
            "§6.9.1: a window of the connection above 2^31-1",
            frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]),
            Ended(FLOW_CONTROL_ERROR),
        ),
        (
            "§6.9.1: a window of a stream above 2^31-1",
            upload(frame(WINDOW_UPDATE, 0, 1, &[0x7f, 0xff, 0xff, 0xff])),
            Reset(FLOW_CONTROL_ERROR),
        ),
        (
            "§6.9.2: windows of streams above 2^31-1",
            [open(1, END_HEADERS), frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]), setting(4, (1 << 31) - 1)]
                .concat(),
            Ended(FLOW_CONTROL_ERROR),
        ),
    ]);
}

#[test]
fn states_of_streams() {
    let again = |second: Vec<u8>| [open(1, END_HEADERS), second].concat();
    let ended = |second: Vec<u8>| [post(&[], &[frame(DATA, END_STREAM, 1, b"a")]), second].concat();
    check(&[
        ("§8.1: a body", again(frame(DATA, END_STREAM, 1, b"a")), Answered(200)),
        ("§8.1: one without bytes", again(frame(DATA, END_STREAM, 1, b"")), Answered(200)),
        ("§8.1: trailers", again(frame(HEADERS, WHOLE, 1, &field("x", "y"))), Answered(200)),
        (
            "§8.1: trailers that do not end",
            again(frame(HEADERS, END_HEADERS, 1, &field("x", "y"))),
            Reset(PROTOCOL_ERROR),
        ),
        (
            "§8.1: pseudo fields in trailers end here",
            again(frame(HEADERS, WHOLE, 1, &field(":path", "/"))),
            Answered(200),
        ),
        ("§5.1: DATA behind the end", ended(frame(DATA, 0, 1, b"a")), Ended(PROTOCOL_ERROR)),
        ("§5.1: HEADERS behind the end", ended(open(1, WHOLE)), Ended(PROTOCOL_ERROR)),
        ("§5.1: PRIORITY behind the end", ended(frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 1])), Answered(200)),
        (
            "§5.1: WINDOW_UPDATE behind the end",
            ended(frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1])),
            Answered(200),
        ),
    ]);
}

// RFC 9113 §5.4: what is an error of a stream may be taken for one of the connection, as `h2` does with a field that it cannot
// represent.
#[test]
fn messages() {
    let length = |said: &str, body: &[Vec<u8>]| post(&[("content-length", said)], body);
    let data = |flags, bytes: &[u8]| frame(DATA, flags, 1, bytes);
    let without = |left_out: &str| {
        let all = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a")];
        request(&all.iter().copied().filter(|(name, _)| *name != left_out).collect::<Vec<_>>())
    };
    check(&[
        (
            "§8.1.1: a length that is met",
            length("3", &[data(0, b"ab"), data(END_STREAM, b"c")]),
            Answered(200),
        ),
        (
            "§8.1.1: more than the length",
            length("2", &[data(0, b"ab"), data(END_STREAM, b"c")]),
            Reset(PROTOCOL_ERROR),
        ),
        (
            "§8.1.1: less than the length",
            length("4", &[data(0, b"ab"), data(END_STREAM, b"c")]),
            Reset(PROTOCOL_ERROR),
        ),
        (
            "§8.1.1: less, behind trailers",
            length("4", &[data(0, b"ab"), frame(HEADERS, WHOLE, 1, &field("x", "y"))]),
            Reset(PROTOCOL_ERROR),
        ),
        ("§8.1.1: a length without a body", get_with(&[("content-length", "1")]), Reset(PROTOCOL_ERROR)),
        ("§8.1.1: no number", length("1a", &[data(END_STREAM, b"a")]), Reset(PROTOCOL_ERROR)),
        ("§8.1.1: a sign", length("+1", &[data(END_STREAM, b"a")]), Reset(PROTOCOL_ERROR)),
        (
            "§8.1.1: two that differ",
            post(&[("content-length", "1"), ("content-length", "2")], &[data(END_STREAM, b"a")]),
            Reset(PROTOCOL_ERROR),
        ),
        ("§8.2: a name in capitals", get_with(&[("X", "y")]), Ended(PROTOCOL_ERROR)),
        ("§8.2.1: a space in a name", get_with(&[("x y", "z")]), Ended(PROTOCOL_ERROR)),
        ("§8.2.1: a colon in a name", get_with(&[("x:", "z")]), Ended(PROTOCOL_ERROR)),
        ("§8.2.1: no name", get_with(&[("", "z")]), Ended(PROTOCOL_ERROR)),
        ("§8.2.1: CR in a value", get_with(&[("x", "a\rb")]), Ended(PROTOCOL_ERROR)),
        ("§8.2.1: LF in a value", get_with(&[("x", "a\nHost: b")]), Ended(PROTOCOL_ERROR)),
        ("§8.2.1: NUL in a value", get_with(&[("x", "a\0b")]), Ended(PROTOCOL_ERROR)),
        ("§8.2.1: a space before a value", get_with(&[("x", " a")]), Answered(400)),
        ("§8.2.1: a space behind a value", get_with(&[("x", "a ")]), Answered(400)),
        ("§8.2.1: a tab within", get_with(&[("x", "a\tb")]), Answered(200)),
        ("§8.2.2: Connection", get_with(&[("connection", "close")]), Reset(PROTOCOL_ERROR)),
        ("§8.2.2: Keep-Alive", get_with(&[("keep-alive", "1")]), Reset(PROTOCOL_ERROR)),
        ("§8.2.2: Proxy-Connection", get_with(&[("proxy-connection", "a")]), Reset(PROTOCOL_ERROR)),
        ("§8.2.2: Transfer-Encoding", get_with(&[("transfer-encoding", "chunked")]), Reset(PROTOCOL_ERROR)),
        ("§8.2.2: Upgrade", get_with(&[("upgrade", "h2c")]), Reset(PROTOCOL_ERROR)),
        ("§8.2.2: TE", get_with(&[("te", "gzip")]), Reset(PROTOCOL_ERROR)),
        ("§8.2.2: TE for trailers", get_with(&[("te", "trailers")]), Answered(200)),
        ("§8.3: no method", without(":method"), Reset(PROTOCOL_ERROR)),
        ("§8.3: no scheme", without(":scheme"), Reset(PROTOCOL_ERROR)),
        ("§8.3: no path", without(":path"), Reset(PROTOCOL_ERROR)),
        ("§8.3: an unknown pseudo field", get_with(&[(":x", "y")]), Ended(PROTOCOL_ERROR)),
        ("§8.3: a response's", get_with(&[(":status", "200")]), Reset(PROTOCOL_ERROR)),
        (
            "§8.3: one twice",
            request(&[(":method", "GET"), (":method", "GET"), (":scheme", "http"), (":path", "/")]),
            Reset(PROTOCOL_ERROR),
        ),
        (
            "§8.3: one behind a field",
            request(&[(":method", "GET"), ("x", "y"), (":scheme", "http"), (":path", "/")]),
            Reset(PROTOCOL_ERROR),
        ),
        (
            "§8.3.1: an empty path",
            request(&[(":method", "GET"), (":scheme", "http"), (":path", ""), (":authority", "a")]),
            Reset(PROTOCOL_ERROR),
        ),
        (
            "§8.3.1: a path without a slash",
            request(&[(":method", "GET"), (":scheme", "http"), (":path", "a"), (":authority", "a")]),
            Reset(PROTOCOL_ERROR),
        ),
        (
            "§8.3.1: an absolute path",
            request(&[(":method", "GET"), (":scheme", "http"), (":path", "http://b/"), (":authority", "a")]),
            Reset(PROTOCOL_ERROR),
        ),
        (
            "§8.3.1: a space in a path",
            request(&[
                (":method", "GET"),
                (":scheme", "http"),
                (":path", "/a HTTP/1.1"),
                (":authority", "a"),
            ]),
            Reset(PROTOCOL_ERROR),
        ),
        (
            "§8.3.1: `*` for OPTIONS",
            request(&[(":method", "OPTIONS"), (":scheme", "http"), (":path", "*"), (":authority", "a")]),
            Answered(200),
        ),
        (
            "§8.3.1: `*` for others",
            request(&[(":method", "GET"), (":scheme", "http"), (":path", "*"), (":authority", "a")]),
            Answered(400),
        ),
        (
            "RFC 9110 §9.1: no method's name",
            request(&[(":method", "G T"), (":scheme", "http"), (":path", "/"), (":authority", "a")]),
            Ended(PROTOCOL_ERROR),
        ),
        ("§8.5: CONNECT", request(&[(":method", "CONNECT"), (":authority", "a:1")]), Answered(200)),
        (
            "§8.5: CONNECT without a port",
            request(&[(":method", "CONNECT"), (":authority", "a")]),
            Answered(400),
        ),
        (
            "§8.5: CONNECT with a path",
            request(&[(":method", "CONNECT"), (":path", "/"), (":authority", "a:1")]),
            Reset(PROTOCOL_ERROR),
        ),
        (
            "RFC 8441 §4: an extended CONNECT",
            request(&[
                (":method", "CONNECT"),
                (":protocol", "websocket"),
                (":scheme", "http"),
                (":path", "/"),
                (":authority", "a"),
            ]),
            Answered(200),
        ),
        (
            "RFC 8441 §4: without a path",
            request(&[
                (":method", "CONNECT"),
                (":protocol", "websocket"),
                (":scheme", "http"),
                (":authority", "a"),
            ]),
            Reset(PROTOCOL_ERROR),
        ),
        (
            "RFC 8441 §4: :protocol without CONNECT",
            request(&[
                (":method", "GET"),
                (":protocol", "websocket"),
                (":scheme", "http"),
                (":path", "/"),
                (":authority", "a"),
            ]),
            Reset(PROTOCOL_ERROR),
        ),
    ]);
}

/// Frames that are nearly right, cut anywhere: nothing of it makes the server panic, or run for ever.
#[test]
fn random_frames_do_no_harm() {
    for number in 0..400 {
        let mut seed = Seed::new(number);
        let mut raw = Raw::new(limits(), judges());
        let mut bytes = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
        for stream in 0..60_u32 {
            let stream = if seed.once_in(3) { 0 } else { 1 + 2 * (stream / 4) };
            let kind = u8::try_from(seed.below(11)).unwrap();
            let flags = [0, 0x1, 0x4, 0x5, 0x8, 0x25, 0xff][seed.below(7)];
            let payload: Vec<u8> = match (kind, seed.below(4)) {
                (HEADERS | CONTINUATION, 1..) => GET.to_vec(),
                (PING | GOAWAY, 1..) => vec![0; 8],
                (WINDOW_UPDATE | RST_STREAM, 1..) => vec![0, 0, 0, 8],
                (SETTINGS, 1..) => vec![],
                (PRIORITY, 1..) => vec![0, 0, 0, 0, 1],
                _ => (0..seed.below(300)).map(|_| seed.next().to_le_bytes()[0]).collect(),
            };
            bytes.extend(frame(kind, flags, stream, &payload));
        }
        if seed.once_in(4) {
            bytes.truncate(seed.below(bytes.len()));
        }
        for piece in bytes.chunks(1 + seed.below(500)) {
            if !raw.send(piece) {
                break;
            }
        }
        assert!(raw.server.connection.streams() <= 100, "seed {number}");
    }
}
