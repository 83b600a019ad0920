//! HTTP/2 endpoints that say what they should not: every byte that an HTTP/1.1 client gets of it. It never sees a response more
//! than it has asked for, and none that is cut looks whole.

use std::sync::{Arc, Mutex};

use super::upstreams::towards;
use crate::support::http2::{
    CONTINUATION, DATA, END_STREAM, HEADERS, PADDED, PING, PREFACE, PUSH_PROMISE, RST_STREAM, SETTINGS,
    WINDOW_UPDATE, block, frame, headers,
};
use crate::support::origin::Connection;
use crate::support::proxy::sum_of;
use crate::support::{Client, Origin, Proxy, client, eventually, process};

/// What the origin says for the next request, on this stream.
type Answer = Box<dyn Fn(u32) -> Vec<u8> + Send>;

/// A response that would be another one's if its bytes were taken for the end of the first.
const SMUGGLED: &str = "HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nsmuggled";

struct Row {
    rule: &'static str,
    request: &'static str,
    answer: Answer,
    seen: Seen,
}

/// What the client sees.
#[derive(Debug)]
enum Seen {
    /// These bytes, and the connection goes on.
    Whole(String),
    /// A beginning of these bytes, and then the end of the connection.
    Cut(String),
    /// An answer of the proxy's own, with this reason.
    Refused(&'static str),
}

use Seen::{Cut, Refused, Whole};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

fn row(rule: &'static str, answer: impl Fn(u32) -> Vec<u8> + Send + 'static, seen: Seen) -> Row {
    Row { rule, request: GET, answer: Box::new(answer), seen }
}

/// A head of these fields, and a date so that the proxy adds none.
fn head(stream: u32, flags: u8, fields: &[(&str, &str)]) -> Vec<u8> {
    headers(stream, flags, &block(&[fields, &[("date", "Thu, 01 Jan 1970 00:00:00 GMT")]].concat()))
}

fn ok(stream: u32, flags: u8, fields: &[(&str, &str)]) -> Vec<u8> {
    head(stream, flags, &[&[(":status", "200")], fields].concat())
}

fn data(stream: u32, flags: u8, bytes: impl AsRef<[u8]>) -> Vec<u8> {
    frame(DATA, flags, stream, bytes)
}

/// `200 OK` with these fields, as the client sees it.
fn response(fields: &str, body: &str) -> String {
    let fields: String = fields.lines().map(|field| format!("{field}\r\n")).collect();
    format!("HTTP/1.1 200 OK\r\n{fields}date: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\n{body}")
}

/// One that ends with its head.
fn empty(fields: &str) -> String {
    response(fields, "").replace("GMT\r\n", "GMT\r\ncontent-length: 0\r\n")
}

fn chunked(fields: &str, body: &str) -> String {
    let fields: String = fields.lines().map(|field| format!("{field}\r\n")).collect();
    format!(
        "HTTP/1.1 200 OK\r\n{fields}date: Thu, 01 Jan 1970 00:00:00 GMT\r\nTransfer-Encoding: chunked\r\n\r\n{body}"
    )
}

/// An origin that answers each request as the cell says.
fn origin(answer: &Arc<Mutex<Answer>>) -> Origin {
    let answer = Arc::clone(answer);
    Origin::script(move |connection| {
        // The proxy may end it at any point: what it must not do shows at the client.
        let _ = serve(connection, &answer);
    })
}

fn serve(connection: &mut Connection, answer: &Mutex<Answer>) -> std::io::Result<()> {
    assert_eq!(connection.exactly(PREFACE.len())?, PREFACE);
    connection.send(frame(SETTINGS, 0, 0, []))?;
    loop {
        let head = connection.exactly(9)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        connection.exactly(usize::try_from(length).unwrap())?;
        let stream = u32::from_be_bytes(head[5..].try_into().unwrap());
        if matches!(head[3], DATA | HEADERS) && head[4] & END_STREAM > 0 {
            let bytes = answer.lock().unwrap()(stream);
            connection.send(bytes)?;
        }
    }
}

#[track_caller]
fn run(rows: Vec<Row>) {
    let answer: Arc<Mutex<Answer>> = Arc::new(Mutex::new(Box::new(|stream| ok(stream, END_STREAM, &[]))));
    let origin = origin(&answer);
    let proxy = towards(origin.address()).upstream("attempts_max = 1").start();
    let mut wrong = Vec::new();
    let count = rows.len();
    for Row { rule, request, answer: says, seen } in rows {
        *answer.lock().unwrap() = says;
        let mut client = proxy.client();
        client.send(request).unwrap();
        let found = observe(&mut client, &seen);
        *answer.lock().unwrap() = Box::new(|stream| {
            [ok(stream, 0, &[("content-length", "4")]), data(stream, END_STREAM, "next")].concat()
        });
        let next =
            if matches!(seen, Whole(_)) { client.request(client::get("/next")) } else { proxy.get("/next") };
        if next.body != b"next" {
            wrong.push(format!("{rule}: the next response is {next:?}"));
        }
        if let Err(found) = found {
            wrong.push(format!("{rule}: {found:?}, not {seen:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
}

/// What has been seen, if it was something else.
fn observe(client: &mut Client, seen: &Seen) -> Result<(), String> {
    let fits = |fits: bool, found: &[u8]| {
        if fits { Ok(()) } else { Err(String::from_utf8_lossy(found).into_owned()) }
    };
    match seen {
        Whole(bytes) => {
            let found = client.at_most(bytes.len());
            fits(found == bytes.as_bytes(), &found)
        }
        Cut(bytes) => {
            let found = client.at_most(usize::MAX);
            fits(bytes.as_bytes().starts_with(&found) && found.len() < bytes.len(), &found)
        }
        Refused(reason) => match client.try_response(true) {
            Ok(response) => {
                fits(response.status() == 502 && response.text().contains(reason), response.text().as_bytes())
            }
            Err(error) => Err(error.to_string()),
        },
    }
}

#[test]
fn heads() {
    let of = |fields: &'static [(&'static str, &'static str)]| {
        move |stream| headers(stream, END_STREAM, &block(fields))
    };
    let with =
        |name: &'static str, value: &'static str| move |stream| ok(stream, END_STREAM, &[(name, value)]);
    run(vec![
        row("fields", with("x", "y"), Whole(empty("x: y"))),
        row(
            "RFC 6265 §3: cookies stay apart",
            |stream| ok(stream, END_STREAM, &[("set-cookie", "a=b"), ("set-cookie", "c=d")]),
            Whole(empty("set-cookie: a=b\nset-cookie: c=d")),
        ),
        row("§8.2.1: CR in a value", with("x", "a\rb"), Refused("upstream_closed")),
        row(
            "§8.2.1: a response in a value",
            with("x", "a\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"),
            Refused("upstream_closed"),
        ),
        row("§8.2.1: NUL in a value", with("x", "a\0b"), Refused("upstream_closed")),
        row("§8.2.1: a space at the end of a value", with("x", "a "), Refused("field_value_invalid")),
        row("§8.2.1: a name with a colon", with("x:", "a"), Refused("upstream_closed")),
        row("§8.2.1: a name with a line end", with("x: y\r\nz", "a"), Refused("upstream_closed")),
        row("§8.2: a name in capitals", with("X", "a"), Refused("upstream_closed")),
        row("§8.2.2: Connection", with("connection", "close"), Refused("not_one_head")),
        row("§8.2.2: Transfer-Encoding", with("transfer-encoding", "chunked"), Refused("not_one_head")),
        row("§8.2.2: Upgrade", with("upgrade", "websocket"), Refused("not_one_head")),
        row("§8.3.2: no status", of(&[("x", "y")]), Refused("not_one_head")),
        row("§8.3.2: two of them", of(&[(":status", "200"), (":status", "204")]), Refused("not_one_head")),
        row("§8.3.2: of letters", of(&[(":status", "2x0")]), Refused("upstream_closed")),
        row("§8.3.2: of four digits", of(&[(":status", "2000")]), Refused("upstream_closed")),
        row("§8.3.2: below 100", of(&[(":status", "099")]), Refused("upstream_closed")),
        row("§8.3: a request's field ends here", with(":path", "/"), Whole(empty(""))),
        row("§8.3: behind a field", of(&[("x", "y"), (":status", "200")]), Refused("not_one_head")),
        row("§8.6: 101", of(&[(":status", "101")]), Refused("status_line_invalid")),
        row("§8.1: an interim response that ends", of(&[(":status", "103")]), Refused("not_one_head")),
        row(
            "§8.1: DATA before the head",
            |stream| data(stream, END_STREAM, SMUGGLED),
            Refused("upstream_closed"),
        ),
        row(
            "§8.4: a push",
            |stream| frame(PUSH_PROMISE, 4, stream, [0, 0, 0, 2, 0x82]),
            Refused("upstream_closed"),
        ),
        row(
            "§5.1: a stream that nobody opened",
            |stream| ok(stream + 2, END_STREAM, &[]),
            Refused("upstream_closed"),
        ),
        row(
            "too many fields",
            |stream| ok(stream, END_STREAM, &[("x", "y"); 200]),
            Refused("too_many_fields"),
        ),
        row(
            "a head that is too large",
            |stream| ok(stream, END_STREAM, &[("x", &*"y".repeat(8000)); 9]),
            Refused(""),
        ),
    ]);
}

#[test]
fn bodies() {
    let length = |said: &'static str, frames: &'static [(u8, &'static str)]| {
        move |stream| {
            let body = frames.iter().flat_map(|(flags, bytes)| data(stream, *flags, bytes));
            [ok(stream, 0, &[("content-length", said)]), body.collect()].concat()
        }
    };
    let of_length = |said: usize, body: &str| response(&format!("content-length: {said}"), body);
    run(vec![
        row("§8.1.1: a length", length("3", &[(0, "ab"), (END_STREAM, "c")]), Whole(of_length(3, "abc"))),
        row(
            "§8.1.1: less than there is",
            length("2", &[(0, "ab"), (END_STREAM, SMUGGLED)]),
            Cut(of_length(2, "ab") + " "),
        ),
        row(
            "§8.1.1: less than there is in one frame",
            length("2", &[(END_STREAM, "abHTTP/1.1 200 OK\r\n\r\n")]),
            Refused("response_truncated"),
        ),
        row(
            "§8.1.1: more than there is",
            length("4", &[(0, "ab"), (END_STREAM, "c")]),
            Cut(of_length(4, "abcd")),
        ),
        row(
            "§8.1.1: more than there is, with the head",
            |stream| ok(stream, END_STREAM, &[("content-length", "4")]),
            Refused("not_one_head"),
        ),
        row(
            "§8.1.1: two that differ",
            |stream| {
                [
                    ok(stream, 0, &[("content-length", "1"), ("content-length", "2")]),
                    data(stream, END_STREAM, "a"),
                ]
                .concat()
            },
            Refused(""),
        ),
        row("§8.1.1: no number", length("+1", &[(END_STREAM, "a")]), Refused("")),
        row(
            "§8.1: no length",
            |stream| [ok(stream, 0, &[]), data(stream, END_STREAM, "abc")].concat(),
            Whole(chunked("", "3\r\nabc\r\n0\r\n\r\n")),
        ),
        row(
            "§8.1: a response within is content",
            |stream| [ok(stream, 0, &[]), data(stream, END_STREAM, format!("0\r\n\r\n{SMUGGLED}"))].concat(),
            Whole(chunked("", &format!("{:x}\r\n0\r\n\r\n{SMUGGLED}\r\n0\r\n\r\n", SMUGGLED.len() + 5))),
        ),
        row(
            "§6.1: padding is no part of it",
            |stream| {
                [ok(stream, 0, &[("content-length", "1")]), data(stream, PADDED | END_STREAM, b"\x04aHTTP")]
                    .concat()
            },
            Whole(of_length(1, "a")),
        ),
        row(
            "a reset in its middle",
            |stream| {
                [
                    ok(stream, 0, &[("content-length", "4")]),
                    data(stream, 0, "ab"),
                    frame(RST_STREAM, 0, stream, [0, 0, 0, 2]),
                ]
                .concat()
            },
            Cut(of_length(4, "abcd")),
        ),
        row(
            "a reset in the middle of chunks",
            |stream| {
                [ok(stream, 0, &[]), data(stream, 0, "ab"), frame(RST_STREAM, 0, stream, [0, 0, 0, 2])]
                    .concat()
            },
            Cut(chunked("", "2\r\nab\r\n0\r\n\r\n")),
        ),
        row(
            "a reset without an error is none behind the end",
            |stream| {
                [
                    ok(stream, 0, &[("content-length", "2")]),
                    data(stream, END_STREAM, "ab"),
                    frame(RST_STREAM, 0, stream, [0; 4]),
                ]
                .concat()
            },
            Whole(of_length(2, "ab")),
        ),
        row(
            "trailers",
            |stream| {
                [ok(stream, 0, &[]), data(stream, 0, "a"), headers(stream, END_STREAM, &block(&[("x", "y")]))]
                    .concat()
            },
            Whole(chunked("", "1\r\na\r\n0\r\nx: y\r\n\r\n")),
        ),
        row(
            "RFC 9110 §6.5.1: those that frame end here",
            |stream| {
                let fields = [("content-length", "9"), ("set-cookie", "a=b"), ("x", "y"), ("location", "/")];
                [ok(stream, 0, &[]), data(stream, 0, "a"), headers(stream, END_STREAM, &block(&fields))]
                    .concat()
            },
            Whole(chunked("", "1\r\na\r\n0\r\nx: y\r\n\r\n")),
        ),
        row(
            "§8.2.1: a line end in them",
            |stream| {
                [
                    ok(stream, 0, &[]),
                    data(stream, 0, "a"),
                    headers(stream, END_STREAM, &block(&[("x", "y\r\n\r\nHTTP/1.1 200 OK")])),
                ]
                .concat()
            },
            Cut(chunked("", "1\r\na\r\n0\r\n\r\n")),
        ),
        row(
            "§8.1: they do not end",
            |stream| {
                [ok(stream, 0, &[]), data(stream, 0, "a"), headers(stream, 0, &block(&[("x", "y")]))].concat()
            },
            Cut(chunked("", "1\r\na\r\n0\r\n\r\n")),
        ),
        row(
            "RFC 9110 §15.3.5: 204 has no body",
            |stream| head(stream, END_STREAM, &[(":status", "204")]),
            Whole("HTTP/1.1 204 No Content\r\ndate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\n".to_owned()),
        ),
    ]);
}

#[test]
fn interim_responses() {
    let early = |stream| headers(stream, 0, &block(&[(":status", "103"), ("link", "</a>")]));
    run(vec![
        row(
            "they pass",
            move |stream| [early(stream), ok(stream, END_STREAM, &[("content-length", "0")])].concat(),
            Whole(
                "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n".to_owned()
                    + &response("content-length: 0", ""),
            ),
        ),
        row(
            "too many",
            move |stream| [early(stream).repeat(100), ok(stream, END_STREAM, &[])].concat(),
            Refused(""),
        ),
    ]);
}

/// What is sent for ever, on the stream of a request.
type Flood = fn(u32, u32) -> Vec<u8>;

#[rustfmt::skip]
const FLOODS: &[(&str, Flood)] = &[
    ("SETTINGS", |_, _| frame(SETTINGS, 0, 0, [])),
    ("PING", |_, _| frame(PING, 0, 0, [0; 8])),
    ("WINDOW_UPDATE", |_, _| frame(WINDOW_UPDATE, 0, 0, [0, 0, 0, 1])),
    ("unknown frames", |_, _| frame(0x42, 0, 0, [0; 9])),
    ("empty DATA", |stream, index| if index == 0 { ok(stream, 0, &[]) } else { data(stream, 0, "") }),
    ("CONTINUATION", |stream, index| if index == 0 { frame(HEADERS, 0, stream, [0x88]) } else { frame(CONTINUATION, 0, stream, block(&[("x", "y")])) }),
    ("empty CONTINUATION", |stream, index| if index == 0 { frame(HEADERS, 0, stream, [0x88]) } else { frame(CONTINUATION, 0, stream, []) }),
    ("interim responses", |stream, _| headers(stream, 0, &block(&[(":status", "103")]))),
];

/// How much the proxy may grow by all of them.
const GROWTH_BYTES_MAX: u64 = 16 * 1024 * 1024;

#[test]
fn floods_end_their_connection() {
    let flood: Arc<Mutex<Option<Flood>>> = Arc::default();
    let answer: Arc<Mutex<Answer>> = Arc::new(Mutex::new(Box::new({
        let flood = Arc::clone(&flood);
        move |stream| match *flood.lock().unwrap() {
            // So much that it does not fit into buffers on its way.
            Some(next) => (0..200_000).flat_map(|index| next(stream, index)).collect(),
            None => ok(stream, END_STREAM, &[]),
        }
    })));
    let origin = origin(&answer);
    let proxy = towards(origin.address()).upstream("attempts_max = 1").start();
    assert_eq!(proxy.get("/").status(), 200);
    let before = process::rss_bytes(proxy.pid());
    for (index, (name, next)) in FLOODS.iter().enumerate() {
        *flood.lock().unwrap() = Some(*next);
        let mut client = proxy.client();
        client.send(GET).unwrap();
        // An answer of the proxy's own, or one that is cut; whatever it is, it comes to an end.
        if let Ok(response) = client.try_response(true) {
            assert_eq!(response.status(), 502, "{name}");
        }
        *flood.lock().unwrap() = None;
        eventually(&format!("{name}: its connection has ended"), || ended(&proxy) > index as u64);
        assert_eq!(proxy.get("/").status(), 200, "{name}");
    }
    let grown = process::rss_peak_bytes(proxy.pid()).saturating_sub(before);
    assert!(grown <= GROWTH_BYTES_MAX, "{grown} bytes more");
}

/// Connections to the endpoint that have ended for misconduct.
fn ended(proxy: &Proxy) -> u64 {
    let name = "corelane_endpoint_http2_connections_ended_total";
    sum_of(&proxy.metrics(), name, &[("reason", "misconduct")]).unwrap_or(0)
}
