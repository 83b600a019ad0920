//! RFC 9113 rule by rule through the whole proxy: the frames of a client, how its stream ends, and each byte that an HTTP/1.1
//! origin has received for it. Whatever is sent, the origin never sees a message more than there were requests.
//!
//! After each row a stream on a fresh connection is served, and where a row does not end its connection a stream on that, too.

mod bodies;
mod fields;
mod frames;
mod heads;

use crate::support::http2::{self, Answer, Http2, Outcome, get};
use crate::support::{Origin, Proxy, Setup, eventually, ok};

/// A row.
struct Row {
    /// Which rule, and what is done about it.
    rule: &'static str,
    /// Behind the preface and SETTINGS. The stream is 1.
    sent: Vec<u8>,
    end: End,
    received: Received,
}

/// How stream 1 ends, and whether the connection goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// With the origin's answer.
    Answered,
    /// With an answer of the proxy's own, which gives this reason.
    Refused(u16, &'static str),
    Reset(u32),
    /// With the connection.
    Ended(u32),
    /// The client has ended it, or was told nothing.
    Silence,
}

/// What the origin has received for the row.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Received {
    Nothing,
    /// A request of this line, these fields and this body.
    Exactly(String),
    /// The beginning of that: the rest of it never comes.
    Cut(String),
    /// The same, or all of it.
    AtMost(String),
}

use End::{Answered, Ended, Refused, Reset, Silence};
use Received::{AtMost, Cut, Exactly, Nothing};

/// A request as the proxy writes it.
fn message(line: &str, fields: &str, body: &str) -> String {
    let fields: String = fields.lines().map(|field| format!("{field}\r\n")).collect();
    format!("{line} HTTP/1.1\r\n{fields}\r\n{body}")
}

/// `GET http://a/`, as it arrives.
fn plain_get() -> Received {
    Exactly(message("GET /", "host: a", ""))
}

fn row(rule: &'static str, sent: Vec<u8>, end: End, received: Received) -> Row {
    Row { rule, sent, end, received }
}

/// A request of these fields that ends with them.
fn request(fields: &[(&str, &str)]) -> Vec<u8> {
    http2::headers(1, http2::END_STREAM, &http2::block(fields))
}

/// `GET http://a/` with further fields.
fn get_with(fields: &[(&str, &str)]) -> Vec<u8> {
    request(&[&http2::plain("/"), fields].concat())
}

/// `GET http://a/` with one of its fields changed, or left out.
fn get_but(name: &str, value: Option<&str>) -> Vec<u8> {
    let fields = http2::plain("/").into_iter().filter_map(|field| match value {
        Some(value) if field.0 == name => Some((field.0, value)),
        None if field.0 == name => None,
        _ => Some(field),
    });
    request(&fields.collect::<Vec<_>>())
}

/// `POST http://a/` with further fields, and what follows its head.
fn post(fields: &[(&str, &str)], rest: &[Vec<u8>]) -> Vec<u8> {
    let plain = [(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "a")];
    let block = http2::block(&[&plain[..], fields].concat());
    [http2::headers(1, 0, &block), rest.concat()].concat()
}

/// DATA of stream 1.
fn data(flags: u8, bytes: impl AsRef<[u8]>) -> Vec<u8> {
    http2::frame(http2::DATA, flags, 1, bytes)
}

/// One proxy, one origin, and rows one after the other.
struct Run {
    proxy: Proxy,
    origin: Origin,
    /// How many bytes each connection of the origin has brought so far.
    seen: Vec<usize>,
}

/// Runs the rows and fails with all that went wrong.
#[track_caller]
fn run(listener: &str, rows: &[Row]) {
    let origin = Origin::answering(ok("ok"));
    let setup = Setup::origin(&origin).listener("http2 = true\nforwarded_fields = []");
    let mut run = Run { proxy: setup.listener(listener).start(), origin, seen: Vec::new() };
    let wrong: Vec<_> = rows
        .iter()
        .filter_map(|row| run.row(row).err().map(|what| format!("{}: {what}", row.rule)))
        .collect();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
    assert_eq!(run.proxy.metric("corelane_worker_task_panics_total", &[]), 0);
}

impl Run {
    fn row(&mut self, row: &Row) -> Result<(), String> {
        let mut client = Http2::greet(self.proxy.client());
        // The other side may have had enough before all of it is sent.
        let _ = client.send(&row.sent);
        let (found, goes_on) = observe(&mut client, row.end);
        drop(client);
        // In any case: what is left would be taken for the next row's.
        let received = self.check_received(row, goes_on);
        if found != row.end {
            return Err(format!("{found:?}, not {:?}", row.end));
        }
        if goes_on == matches!(row.end, Ended(_)) {
            return Err(format!("the connection goes on: {goes_on}"));
        }
        received
    }

    /// What has arrived since the last row is what this one says, and the requests behind it.
    fn check_received(&mut self, row: &Row, goes_on: bool) -> Result<(), String> {
        let (outcome, answer) = ask(&mut Http2::greet(self.proxy.client()), 1, "/next");
        if (outcome, &*answer.body) != (Outcome::Answered(200), b"ok") {
            return Err(format!("a stream on a fresh connection: {outcome:?}"));
        }
        eventually("each upstream connection is known here, and is in the pool or closed", || {
            self.origin.connections() as u64 >= self.proxy.endpoints("connects_total")
                && self.origin.open_connections() as u64 <= self.proxy.endpoints("connections_idle")
        });
        let next = message("GET /next", "host: a", "");
        let again = message("GET /again", "host: a", "");
        let mut arrived = self.arrived();
        for expected in [Some(&next), goes_on.then_some(&again)].into_iter().flatten() {
            let taken = arrived.iter_mut().find_map(|bytes| {
                let start = bytes.strip_suffix(expected.as_str())?.len();
                bytes.truncate(start);
                Some(())
            });
            if taken.is_none() {
                return Err(format!("the origin did not see {expected:?} last, but {arrived:?}"));
            }
        }
        arrived.retain(|bytes| !bytes.is_empty());
        let fits = match &row.received {
            Nothing => arrived.is_empty(),
            Exactly(message) => arrived == [message.as_str()],
            Cut(message) => {
                arrived.len() <= 1
                    && arrived.iter().all(|bytes| message.starts_with(bytes) && message.len() > bytes.len())
            }
            AtMost(message) => arrived.len() <= 1 && arrived.iter().all(|bytes| message.starts_with(bytes)),
        };
        if fits { Ok(()) } else { Err(format!("the origin received {arrived:?}, not {:?}", row.received)) }
    }

    /// The bytes that have arrived since the last call, of each connection.
    fn arrived(&mut self) -> Vec<String> {
        self.seen.resize(self.origin.connections(), 0);
        let new = self.seen.iter_mut().enumerate().map(|(connection, seen)| {
            let received = self.origin.received(connection);
            let new = received.chars().skip(*seen).collect();
            *seen = received.chars().count();
            new
        });
        new.collect()
    }
}

/// What becomes of stream 1, as far as that is `expected`, and whether a further stream is answered.
fn observe(client: &mut Http2, expected: End) -> (End, bool) {
    let found = match expected {
        Silence => Silence,
        _ => {
            let (outcome, answer) = client.answer(1);
            told(outcome, &answer)
        }
    };
    if matches!(found, Ended(_)) {
        return (found, client.end().is_none());
    }
    let goes_on = client.goes_on() && ask(client, 101, "/again").0 == Outcome::Answered(200);
    (found, goes_on)
}

/// The reason stands in the body of what the proxy answers.
fn told(outcome: Outcome, answer: &Answer) -> End {
    match outcome {
        Outcome::Answered(200) if answer.body == b"ok" => Answered,
        Outcome::Answered(status) => {
            let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
            Refused(status, body["reason"].as_str().unwrap_or_default().to_owned().leak())
        }
        Outcome::Reset(code) => Reset(code),
        Outcome::Ended(code) => Ended(code),
        Outcome::Cut => panic!("no GOAWAY"),
    }
}

fn ask(client: &mut Http2, stream: u32, path: &str) -> (Outcome, Answer) {
    let _ = client.send(get(stream, path));
    client.answer(stream)
}
