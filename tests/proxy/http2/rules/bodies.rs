//! Bodies, their lengths and their trailers (RFC 9113 §8.1): what becomes one message, and no more.

use super::*;
use crate::support::http2::{CANCEL, END_HEADERS, END_STREAM, HEADERS, PADDED, PROTOCOL_ERROR, block, frame};

const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";

/// With that length, and so much of the body.
fn length(said: &str, frames: &[Vec<u8>]) -> Vec<u8> {
    post(&[("content-length", said)], frames)
}

fn of_length(said: usize, body: &str) -> String {
    message("POST /", &format!("host: a\ncontent-length: {said}"), body)
}

fn in_chunks(body: &str) -> String {
    message("POST /", "host: a\nTransfer-Encoding: chunked", body)
}

fn trailers(flags: u8, fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | flags, 1, block(fields))
}

fn reset(rule: &'static str, sent: Vec<u8>, received: Received) -> Row {
    row(rule, sent, Reset(PROTOCOL_ERROR), received)
}

#[test]
fn lengths() {
    let said = |said: &str| length(said, &[data(END_STREAM, "a")]);
    run(
        "",
        &[
            row(
                "§8.1.1: met",
                length("3", &[data(0, "ab"), data(END_STREAM, "c")]),
                Answered,
                Exactly(of_length(3, "abc")),
            ),
            row(
                "§8.1.1: met before the end",
                length("2", &[data(0, "ab"), data(END_STREAM, "")]),
                Answered,
                Exactly(of_length(2, "ab")),
            ),
            row(
                "§8.1.1: met before trailers",
                length("2", &[data(0, "ab"), trailers(END_STREAM, &[("x", "y")])]),
                Answered,
                Exactly(of_length(2, "ab")),
            ),
            row(
                "§8.1.1: of nothing",
                length("0", &[data(END_STREAM, "")]),
                Answered,
                Exactly(of_length(0, "")),
            ),
            row(
                "§8.1.1: of nothing, with its head",
                get_with(&[("content-length", "0")]),
                Answered,
                Exactly(message("GET /", "host: a\ncontent-length: 0", "")),
            ),
            reset(
                "§8.1.1: less than there is",
                length("2", &[data(0, "ab"), data(END_STREAM, SMUGGLED)]),
                AtMost(of_length(2, "ab")),
            ),
            reset(
                "§8.1.1: less than there is in one frame",
                length("2", &[data(END_STREAM, format!("ab{SMUGGLED}"))]),
                Cut(of_length(2, "ab")),
            ),
            reset(
                "§8.1.1: 0 with a body",
                length("0", &[data(END_STREAM, SMUGGLED)]),
                AtMost(of_length(0, "")),
            ),
            reset(
                "§8.1.1: more than there is",
                length("4", &[data(0, "ab"), data(END_STREAM, "c")]),
                Cut(of_length(4, "abcd")),
            ),
            reset(
                "§8.1.1: more than there is, by an empty end",
                length("4", &[data(0, "abc"), data(END_STREAM, "")]),
                Cut(of_length(4, "abcd")),
            ),
            reset(
                "§8.1.1: more than there is, by trailers",
                length("4", &[data(0, "abc"), trailers(END_STREAM, &[("x", "y")])]),
                Cut(of_length(4, "abcd")),
            ),
            reset("§8.1.1: without a body", get_with(&[("content-length", "1")]), Nothing),
            reset("no number", said("a"), Nothing),
            reset("a sign", said("+1"), Nothing),
            reset("a list", said("1, 1"), Nothing),
            reset("a space", said("1 "), Nothing),
            reset("none", said(""), Nothing),
            reset("hexadecimal", said("0x1"), Nothing),
            reset("above 64 bits", said("18446744073709551617"), Nothing),
            reset(
                "two that differ",
                post(&[("content-length", "1"), ("content-length", "2")], &[data(END_STREAM, "a")]),
                Nothing,
            ),
            row(
                "two that are the same",
                post(&[("content-length", "1"), ("content-length", "1")], &[data(END_STREAM, "a")]),
                Refused(400, "length_repeated"),
                Nothing,
            ),
        ],
    );
}

#[test]
fn contents() {
    run(
        "",
        &[
            row(
                "without a length",
                post(&[], &[data(END_STREAM, "abc")]),
                Answered,
                Exactly(in_chunks("3\r\nabc\r\n0\r\n\r\n")),
            ),
            row(
                "without a length, of nothing",
                post(&[], &[data(END_STREAM, "")]),
                Answered,
                Exactly(in_chunks("0\r\n\r\n")),
            ),
            row(
                "no body at all",
                request(&[(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "a")]),
                Answered,
                Exactly(message("POST /", "host: a", "")),
            ),
            row(
                "an end of chunks and a request within is content",
                post(&[], &[data(END_STREAM, format!("0\r\n\r\n{SMUGGLED}"))]),
                Answered,
                Exactly(in_chunks(&format!("28\r\n0\r\n\r\n{SMUGGLED}\r\n0\r\n\r\n"))),
            ),
            row(
                "a request within is content",
                length("35", &[data(END_STREAM, SMUGGLED)]),
                Answered,
                Exactly(of_length(35, SMUGGLED)),
            ),
            row(
                "of a GET",
                [http2::headers(1, 0, &block(&http2::plain("/"))), data(END_STREAM, SMUGGLED)].concat(),
                Answered,
                Exactly(message(
                    "GET /",
                    "host: a\nTransfer-Encoding: chunked",
                    &format!("23\r\n{SMUGGLED}\r\n0\r\n\r\n"),
                )),
            ),
            row(
                "padding of each frame",
                length("2", &[frame(0, PADDED, 1, b"\x02aGE"), frame(0, PADDED | END_STREAM, 1, b"\x00b")]),
                Answered,
                Exactly(of_length(2, "ab")),
            ),
            row(
                "§8.1: reset in its middle",
                length("4", &[data(0, "ab"), frame(3, 0, 1, CANCEL.to_be_bytes())]),
                Silence,
                Cut(of_length(4, "abcd")),
            ),
            row(
                "reset in the middle of chunks",
                post(&[], &[data(0, "ab"), frame(3, 0, 1, CANCEL.to_be_bytes())]),
                Silence,
                Cut(in_chunks("2\r\nab\r\n0\r\n\r\n")),
            ),
        ],
    );
}

#[test]
fn sections_behind() {
    let behind =
        |fields: &[(&str, &str)]| post(&[("te", "trailers")], &[data(0, "a"), trailers(END_STREAM, fields)]);
    let sent_on = |fields: &str| {
        let head = "host: a\nTransfer-Encoding: chunked\nTE: trailers\nConnection: TE";
        message("POST /", head, &format!("1\r\na\r\n0\r\n{fields}\r\n"))
    };
    let arrived = |fields: &str| Exactly(sent_on(fields));
    let cut = || Cut(sent_on(""));
    run(
        "",
        &[
            row("§8.1: trailers", behind(&[("x", "y")]), Answered, arrived("x: y\r\n")),
            row("§8.1: no trailers after all", behind(&[]), Answered, arrived("")),
            row("RFC 9110 §6.5.1: a length", behind(&[("content-length", "5")]), Answered, arrived("")),
            reset("§8.2.2: Transfer-Encoding", behind(&[("transfer-encoding", "chunked")]), cut()),
            row("RFC 9110 §6.5.1: Host", behind(&[("host", "b")]), Answered, arrived("")),
            row(
                "RFC 9110 §6.5.1: Authorization",
                behind(&[("authorization", "Basic YTpi"), ("x", "y")]),
                Answered,
                arrived("x: y\r\n"),
            ),
            row(
                "of who the client is",
                behind(&[("x-forwarded-for", "1.2.3.4"), ("x_real_ip", "1.2.3.4")]),
                Answered,
                arrived(""),
            ),
            reset("§8.2.2: Connection", behind(&[("connection", "close")]), cut()),
            // h2 drops it; RFC 9113 §8.1 would have the request refused.
            row("§8.1: a pseudo field ends here", behind(&[(":path", "/admin")]), Answered, arrived("")),
            row("too many", behind(&[("x", "y"); 101]), Refused(431, "too_many_trailers"), cut()),
            row("too large", behind(&[("x", &"y".repeat(9000))]), Refused(431, "trailers_too_large"), cut()),
            row("§8.2: capitals", behind(&[("X", "y")]), Ended(PROTOCOL_ERROR), cut()),
            row(
                "§8.2.1: a line end",
                behind(&[("x", "y\r\n\r\nGET /smuggled HTTP/1.1")]),
                Ended(PROTOCOL_ERROR),
                cut(),
            ),
            row(
                "§8.2.1: a space at the end",
                behind(&[("x", "y ")]),
                Refused(400, "field_value_invalid"),
                cut(),
            ),
            row(
                "§8.1: trailers that do not end",
                post(&[], &[data(0, "a"), trailers(0, &[("x", "y")])]),
                Reset(PROTOCOL_ERROR),
                Cut(in_chunks("1\r\na\r\n0\r\n\r\n")),
            ),
            row(
                "§8.1: trailers without a body",
                post(&[], &[trailers(END_STREAM, &[("x", "y")])]),
                Answered,
                Exactly(in_chunks("0\r\nx: y\r\n\r\n")),
            ),
            row(
                "§8.1: DATA behind trailers",
                post(&[], &[trailers(END_STREAM, &[("x", "y")]), data(0, SMUGGLED)]),
                Ended(PROTOCOL_ERROR),
                AtMost(in_chunks("0\r\nx: y\r\n\r\n")),
            ),
        ],
    );
}
