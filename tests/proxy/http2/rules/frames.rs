//! Frames, their lengths, their order, and what they carry (RFC 9113 §4, §5 and §6, RFC 7541).

use super::*;
use crate::support::http2::*;

/// `GET / http a` in HPACK's static table, and a literal of the authority.
const GET: &[u8] = &[0x82, 0x84, 0x86, 0x41, 0x01, b'a'];

const WHOLE: u8 = END_STREAM | END_HEADERS;

/// The first stream's request, which ends with its head, and then these frames.
fn behind_get(bytes: Vec<u8>) -> Vec<u8> {
    [get_with(&[]), bytes].concat()
}

/// A request whose body has not come, and then these frames.
fn behind_head(bytes: Vec<u8>) -> Vec<u8> {
    post(&[], &[bytes])
}

/// What there may be of that at the origin.
fn part_of_post() -> Received {
    Cut(message("POST /", "host: a\nTransfer-Encoding: chunked", "0\r\n\r\n"))
}

fn get_at_most() -> Received {
    AtMost(message("GET /", "host: a", ""))
}

/// What is wrong with the whole connection before there is a request.
fn ends(rule: &'static str, bytes: Vec<u8>) -> Row {
    row(rule, bytes, Ended(PROTOCOL_ERROR), Nothing)
}

#[test]
fn sizes_and_flags() {
    run(
        "",
        &[
            row(
                "§4.1: unknown types are ignored",
                [frame(0x42, 0xff, 1, "x"), get_with(&[])].concat(),
                Answered,
                plain_get(),
            ),
            row(
                "§4.1: unknown flags are ignored",
                frame(HEADERS, WHOLE | 0xc2, 1, GET),
                Answered,
                plain_get(),
            ),
            row(
                "§4.1: the reserved bit is ignored",
                frame(HEADERS, WHOLE, 0x8000_0001, GET),
                Answered,
                plain_get(),
            ),
            row(
                "§4.2: more than SETTINGS_MAX_FRAME_SIZE",
                frame(DATA, 0, 1, [0; 16_385]),
                Ended(FRAME_SIZE_ERROR),
                Nothing,
            ),
            row(
                "§4.2: a head above it",
                frame(HEADERS, WHOLE, 1, [0; 16_385]),
                Ended(FRAME_SIZE_ERROR),
                Nothing,
            ),
            ends("§6.1: DATA without a stream", frame(DATA, 0, 0, "a")),
            row(
                "§6.1: more padding than frame",
                behind_head(frame(DATA, PADDED, 1, [5, 0, 0])),
                Ended(PROTOCOL_ERROR),
                part_of_post(),
            ),
            row(
                "§6.1: padding is no part of the body",
                post(&[("content-length", "1")], &[frame(DATA, PADDED | END_STREAM, 1, b"\x06aGET / ")]),
                Answered,
                Exactly(message("POST /", "host: a\ncontent-length: 1", "a")),
            ),
            ends("§6.2: HEADERS without a stream", frame(HEADERS, WHOLE, 0, GET)),
            row(
                "§6.2: padding",
                frame(HEADERS, WHOLE | PADDED, 1, [&[3], GET, &[0; 3]].concat()),
                Answered,
                plain_get(),
            ),
            ends("§6.2: more padding than frame", frame(HEADERS, WHOLE | PADDED, 1, [&[200], GET].concat())),
            row(
                "§5.3.2: priority signals are ignored",
                frame(HEADERS, WHOLE | WITH_PRIORITY, 1, [&[0, 0, 0, 3, 15], GET].concat()),
                Answered,
                plain_get(),
            ),
            row(
                "§6.3: PRIORITY of an idle stream",
                [frame(PRIORITY, 0, 9, [0, 0, 0, 3, 1]), get_with(&[])].concat(),
                Answered,
                plain_get(),
            ),
            ends("§6.3: PRIORITY without a stream", frame(PRIORITY, 0, 0, [0, 0, 0, 3, 1])),
            ends("§6.4: RST_STREAM without a stream", frame(RST_STREAM, 0, 0, [0; 4])),
            ends("§6.6: a client does not push", frame(PUSH_PROMISE, END_HEADERS, 1, [0, 0, 0, 2, 0x82])),
            ends("§6.7: PING of a stream", frame(PING, 0, 1, [1; 8])),
            ends("§6.7: PING of another length", frame(PING, 0, 0, [1; 7])),
            ends("§6.8: GOAWAY of a stream", frame(GOAWAY, 0, 1, [0; 8])),
            row(
                "§6.4: RST_STREAM of another length",
                behind_head(frame(RST_STREAM, 0, 1, [0; 3])),
                Ended(PROTOCOL_ERROR),
                part_of_post(),
            ),
        ],
    );
}

#[test]
fn fields_in_pieces() {
    run(
        "",
        &[
            row(
                "§6.10: pieces make one head",
                [
                    frame(HEADERS, END_STREAM, 1, &GET[..2]),
                    frame(CONTINUATION, 0, 1, &GET[2..4]),
                    frame(CONTINUATION, END_HEADERS, 1, &GET[4..]),
                ]
                .concat(),
                Answered,
                plain_get(),
            ),
            ends(
                "§6.10: another frame between them",
                [frame(HEADERS, END_STREAM, 1, GET), frame(PING, 0, 0, [0; 8])].concat(),
            ),
            ends("§6.10: DATA between them", [frame(HEADERS, 0, 1, GET), data(END_STREAM, "a")].concat()),
            ends(
                "§6.10: another stream's",
                [frame(HEADERS, END_STREAM, 1, GET), frame(CONTINUATION, END_HEADERS, 3, "")].concat(),
            ),
            ends("§6.10: CONTINUATION without a stream", frame(CONTINUATION, END_HEADERS, 0, GET)),
            row(
                "§6.10: behind the end",
                behind_head(frame(CONTINUATION, END_HEADERS, 1, "")),
                Ended(PROTOCOL_ERROR),
                part_of_post(),
            ),
            ends("RFC 7541 §2.3.3: the index 0", frame(HEADERS, WHOLE, 1, [0x80])),
            ends("RFC 7541 §2.3.3: an index that is not there", frame(HEADERS, WHOLE, 1, [0x80 | 100])),
            ends(
                "RFC 7541 §4.2: a table above SETTINGS",
                frame(HEADERS, WHOLE, 1, [&[0x3f, 0xff, 0xff, 0x03], GET].concat()),
            ),
            row(
                "RFC 7541 §4.2: two new sizes of it in front",
                frame(HEADERS, WHOLE, 1, [&[0x20, 0x3f, 0xe1, 0x1f], GET].concat()),
                Answered,
                plain_get(),
            ),
            ends(
                "RFC 7541 §4.2: a new size behind a field",
                frame(HEADERS, WHOLE, 1, [GET, &[0x20]].concat()),
            ),
            ends(
                "RFC 7541 §5.1: a number without end",
                frame(HEADERS, WHOLE, 1, [GET, &[0x7f], &[0xff; 12]].concat()),
            ),
            ends(
                "RFC 7541 §5.2: a string that is cut off",
                frame(HEADERS, WHOLE, 1, [GET, &[0x00, 0x05, b'x']].concat()),
            ),
            ends(
                "RFC 7541 §5.2: the end of the code in a string",
                frame(HEADERS, WHOLE, 1, [GET, &[0x00, 0x01, b'x', 0x84, 0xff, 0xff, 0xff, 0xff]].concat()),
            ),
            ends(
                "RFC 7541 §5.2: padding of a byte",
                frame(HEADERS, WHOLE, 1, [GET, &[0x00, 0x01, b'x', 0x82, 0x07, 0xff]].concat()),
            ),
            row(
                "RFC 7541 §6.2.1: a field of the table again",
                [frame(HEADERS, WHOLE, 1, [GET, &[0x40, 0x01, b'x', 0x01, b'y', 0xbe]].concat())].concat(),
                Answered,
                Exactly(message("GET /", "host: a\nx: y\nx: y", "")),
            ),
        ],
    );
}

#[test]
fn settings_and_windows() {
    run(
        "",
        &[
            ends("§6.5: SETTINGS of a stream", frame(SETTINGS, 0, 1, [])),
            ends("§6.5: not a multiple of 6 bytes", frame(SETTINGS, 0, 0, [0; 5])),
            ends("§6.5: an acknowledgement with content", frame(SETTINGS, ACK, 0, [0; 6])),
            ends("§6.5.2: ENABLE_PUSH is 0 or 1", setting(2, 2)),
            ends("§6.5.2: a window of 2^31", setting(4, 1 << 31)),
            ends("§6.5.2: frames of less than 2^14", setting(5, 16_383)),
            ends("§6.5.2: frames of 2^24", setting(5, 1 << 24)),
            row(
                "§6.5.2: unknown ones are ignored",
                [setting(0x99, 7), get_with(&[])].concat(),
                Answered,
                plain_get(),
            ),
            row(
                "§6.5.3: several of them",
                [setting(1, 0), setting(1, 4096), get_with(&[])].concat(),
                Answered,
                plain_get(),
            ),
            ends("§6.9: an update by nothing, of the connection", frame(WINDOW_UPDATE, 0, 0, [0; 4])),
            ends("§6.9: of another length", frame(WINDOW_UPDATE, 0, 0, [0; 3])),
            row(
                "§6.9.1: a window of the connection above 2^31-1",
                frame(WINDOW_UPDATE, 0, 0, [0x7f, 0xff, 0xff, 0xff]),
                Ended(FLOW_CONTROL_ERROR),
                Nothing,
            ),
            row(
                "§6.9.1: a window of a stream above 2^31-1",
                behind_head(frame(WINDOW_UPDATE, 0, 1, [0x7f, 0xff, 0xff, 0xff])),
                Reset(FLOW_CONTROL_ERROR),
                part_of_post(),
            ),
            row(
                "§6.9.2: windows of streams above 2^31-1",
                behind_head(
                    [frame(WINDOW_UPDATE, 0, 1, [0x3f, 0xff, 0xff, 0xff]), setting(4, (1 << 31) - 1)]
                        .concat(),
                ),
                Ended(FLOW_CONTROL_ERROR),
                part_of_post(),
            ),
        ],
    );
}

#[test]
fn states_of_streams() {
    run(
        "",
        &[
            ends("§5.1: DATA on an idle stream", data(0, "a")),
            ends("§5.1: RST_STREAM on an idle stream", frame(RST_STREAM, 0, 1, [0; 4])),
            ends("§5.1: WINDOW_UPDATE on an idle stream", frame(WINDOW_UPDATE, 0, 1, [0, 0, 0, 1])),
            ends("§5.1: CONTINUATION on an idle stream", frame(CONTINUATION, END_HEADERS, 1, "")),
            ends("§5.1.1: a number of the server's", get(2, "/")),
            row(
                "§5.1.1: numbers go up",
                [get(3, "/"), get(1, "/")].concat(),
                Ended(PROTOCOL_ERROR),
                get_at_most(),
            ),
            row(
                "§5.1: DATA behind the end",
                behind_get(data(0, "GET /smuggled HTTP/1.1\r\n\r\n")),
                Ended(PROTOCOL_ERROR),
                get_at_most(),
            ),
            row(
                "§5.1: HEADERS behind the end",
                behind_get(get(1, "/again")),
                Ended(PROTOCOL_ERROR),
                get_at_most(),
            ),
            row(
                "§5.1: PRIORITY behind the end",
                behind_get(frame(PRIORITY, 0, 1, [0, 0, 0, 0, 1])),
                Answered,
                plain_get(),
            ),
            row(
                "§5.1: WINDOW_UPDATE behind the end",
                behind_get(frame(WINDOW_UPDATE, 0, 1, [0, 0, 0, 1])),
                Answered,
                plain_get(),
            ),
            row(
                "§5.4.2: a reset ends the request",
                behind_head(frame(RST_STREAM, 0, 1, [0, 0, 0, 8])),
                Silence,
                part_of_post(),
            ),
            row(
                "§5.1: DATA behind a reset of the client's",
                behind_head([frame(RST_STREAM, 0, 1, [0, 0, 0, 8]), data(END_STREAM, "a")].concat()),
                Silence,
                part_of_post(),
            ),
        ],
    );
}

#[test]
fn a_client_that_says_goodbye_gets_its_answer() {
    let origin = Origin::answering(ok("ok"));
    let proxy = Setup::origin(&origin).listener("http2 = true").start();
    let mut client = Http2::greet(proxy.client());
    // RFC 9113 §6.8: streams that are open go on.
    client.send(behind_head([frame(GOAWAY, 0, 0, [0; 8]), data(END_STREAM, "a")].concat())).unwrap();
    let (outcome, answer) = client.answer(1);
    assert_eq!((outcome, &*answer.body), (Outcome::Answered(200), &b"ok"[..]));
    assert_eq!(origin.request().body, b"a");
    client.end();
}
