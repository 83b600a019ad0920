//! Runs the rows of a group, one after the other, against one proxy and one origin.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::case::{Case, End, OK, Received, Reply, Seen, Step, Then, When};
use crate::support::message::Framing;
use crate::support::origin::Connection;
use crate::support::proxy::Proxy;
use crate::support::wire::{Neither, Wire};
use crate::support::{Client, Origin, Setup, wire};

/// Rows that share a proxy.
pub(super) struct Group {
    pub(super) name: &'static str,
    /// What its proxy's configuration has beside the base.
    pub(super) setup: fn(Setup) -> Setup,
    pub(super) cases: fn() -> Vec<Case>,
}

impl Group {
    /// Runs every row and fails with all that went wrong.
    pub(super) fn run(&self) {
        self.run_cases((self.cases)());
    }

    /// The same with each byte of the client in a write of its own. Not for groups whose bodies are chunked anew as they
    /// come.
    pub(super) fn run_byte_by_byte(&self) {
        self.run_cases((self.cases)().into_iter().map(Case::byte_by_byte).collect());
    }

    fn run_cases(&self, cases: Vec<Case>) {
        let count = cases.len();
        let wrong = self.wrong(cases, ROW_DEADLINE);
        assert!(wrong.is_empty(), "{}: {} of {count}:\n{}", self.name, wrong.len(), wrong.join("\n"));
    }

    /// Runs these rows, waiting at most so long for a byte; each that fails says its name, what was wrong and its bytes.
    pub(super) fn wrong(&self, cases: Vec<Case>, deadline: Duration) -> Vec<String> {
        let mut run = Run::start(self, deadline);
        let mut verdicts = Vec::new();
        for case in cases {
            let (port, wrong) = run.case(&case);
            verdicts.push((case, port, wrong));
        }
        run.check_records(&mut verdicts);
        run.check_origin(&mut verdicts);
        let failed = verdicts.into_iter().filter(|(_, _, wrong)| !wrong.is_empty());
        failed.map(|(case, _, wrong)| report(&case, &wrong)).collect()
    }
}

/// A row, the client's port, and what went wrong.
type Verdict = (Case, u16, Vec<String>);

struct Run {
    proxy: Proxy,
    origin: Origin,
    /// What the origin does with the row's requests.
    reply: Arc<Mutex<Option<Reply>>>,
    /// How many bytes each upstream connection has brought, and been judged by, so far.
    seen: Vec<usize>,
    deadline: Duration,
}

impl Run {
    fn start(group: &Group, deadline: Duration) -> Self {
        let reply: Arc<Mutex<Option<Reply>>> = Arc::default();
        let origin = Origin::script({
            let reply = Arc::clone(&reply);
            move |connection| {
                // The proxy may cut a connection at any point; what it must not do shows in the bytes.
                while let Some(Then::Serve) = serve(connection, &reply) {}
            }
        });
        let proxy = (group.setup)(Setup::origin(&origin).listener("forwarded_fields = []")).start();
        Self { proxy, origin, reply, seen: Vec::new(), deadline }
    }

    /// Runs a row; returns the client's port and what went wrong.
    fn case(&mut self, case: &Case) -> (u16, Vec<String>) {
        let mut wrong = Vec::new();
        *lock(&self.reply) = Some(case.reply.clone());
        let failures = self.failures();
        let mut client = self.proxy.client();
        client.set_deadline(self.deadline).expect("a deadline");
        let port = client.stream().local_port();
        play(&mut client, &case.client);
        if let Err(what) = observe(&mut client, case) {
            wrong.push(what);
        }
        drop(client);
        *lock(&self.reply) = None;
        if let Err(what) = exchange(&mut self.proxy.client(), &request("/next")) {
            wrong.push(format!("a request on a fresh connection after it: {what}"));
        }
        if let Err(what) = self.settle() {
            wrong.push(what);
        }
        if let Err(what) = self.check_received(case) {
            wrong.push(what);
        }
        if let Err(what) = self.check_failures(case, &failures) {
            wrong.push(what);
        }
        (port, wrong)
    }

    /// Waits until the origin has read to their ends the connections that the proxy has closed: bytes of a request that was
    /// cut would otherwise be taken for the next row's.
    fn settle(&self) -> Result<(), String> {
        let start = Instant::now();
        while (self.origin.connections() as u64) < self.proxy.endpoints("connects_total")
            || self.origin.open_connections() as u64 > self.proxy.endpoints("connections_idle")
        {
            if start.elapsed() > self.deadline {
                return Err("an upstream connection stays open, and not in the pool".to_owned());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// What the origin has received since the row began: the row's own bytes, and the requests after it.
    fn check_received(&mut self, case: &Case) -> Result<(), String> {
        let mut new = self.arrived();
        // The request on a fresh connection came last.
        let next = strip(&mut new, &request("/next")).ok_or("the origin did not see the request after it")?;
        let mut follower = next;
        if case.end == End::Open {
            follower = strip(&mut new, &request("/again"))
                .ok_or("the origin did not see the second request of the connection")?;
        }
        new.retain(|(_, bytes)| !bytes.is_empty());
        let lines: Vec<&str> = new.iter().map(|(_, bytes)| bytes.as_str()).collect();
        let fits = match &case.received {
            Received::Nothing => lines.is_empty(),
            Received::Exactly(bytes) => lines == [latin1(bytes)],
            Received::Twice(bytes) => lines == [latin1(bytes), latin1(bytes)],
            Received::CutChunks { head, data_max } => {
                lines.len() <= 1 && lines.iter().all(|line| is_cut_within(line, &latin1(head), *data_max))
            }
            Received::Cut(bytes) => {
                lines.len() <= 1 && lines.iter().all(|line| latin1(bytes).starts_with(line))
            }
        };
        if !fits {
            return Err(format!("the origin received {lines:?}\n      instead of {}", case.received.text()));
        }
        let pooled = new.last().is_some_and(|(connection, _)| *connection == follower);
        match case.pooled {
            Some(true) if !pooled => Err("its upstream connection was not used again".to_owned()),
            Some(false) if pooled => Err("its upstream connection was used again".to_owned()),
            _ => Ok(()),
        }
    }

    /// The bytes that arrived since the last call, by connection.
    fn arrived(&mut self) -> Vec<(usize, String)> {
        let mut new = Vec::new();
        for connection in 0..self.origin.connections() {
            let bytes = self.origin.received(connection);
            if self.seen.len() <= connection {
                self.seen.push(0);
            }
            new.push((connection, bytes.chars().skip(self.seen[connection]).collect()));
            self.seen[connection] = bytes.chars().count();
        }
        new
    }

    /// The counters of refusals and failures, by reason.
    fn failures(&self) -> BTreeMap<String, u64> {
        let metrics = self.proxy.metrics();
        let samples = metrics.lines().filter_map(|line| {
            let (labels, value) = line.strip_prefix("corelane_listener_failures_total{")?.split_once("} ")?;
            let (_, reason) = labels.split_once("reason=\"")?;
            let reason = reason.split('"').next().unwrap_or_default();
            Some((reason.to_owned(), value.parse().expect("a whole number")))
        });
        samples.filter(|(_, count)| *count > 0).collect()
    }

    /// Each reason in the log is counted once more than before, and nothing else is.
    fn check_failures(&self, case: &Case, before: &BTreeMap<String, u64>) -> Result<(), String> {
        let mut expected = before.clone();
        for reason in case.logged.iter().filter_map(|(_, reason)| *reason) {
            *expected.entry(reason.to_owned()).or_default() += 1;
        }
        let start = Instant::now();
        loop {
            // A counter may move a moment after the answer that it counts.
            let now = self.failures();
            if now == expected {
                return Ok(());
            }
            if start.elapsed() > self.deadline {
                return Err(format!(
                    "corelane_listener_failures_total: {now:?}\n      instead of {expected:?}"
                ));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The access log has the records that each row is due, found by the client's port.
    fn check_records(&self, verdicts: &mut [Verdict]) {
        let due = |case: &Case| case.logged.len() + usize::from(case.end == End::Open) + 1;
        let total: usize = verdicts.iter().map(|(case, ..)| due(case)).sum();
        let records = self.records(total);
        for (case, port, wrong) in verdicts {
            let ends = format!(":{port}");
            let of_row =
                |record: &&Value| record["client"].as_str().is_some_and(|client| client.ends_with(&ends));
            let own: Vec<&Value> = records.iter().filter(of_row).take(case.logged.len()).collect();
            let told: Vec<_> = own.iter().map(|record| (&record["status"], &record["reason"])).collect();
            let expected: Vec<(Value, Value)> =
                case.logged.iter().map(|&(status, reason)| (status.into(), reason.into())).collect();
            if !told.iter().copied().eq(expected.iter().map(|(status, reason)| (status, reason))) {
                wrong.push(format!("the log says {told:?}\n      instead of {:?}", case.logged));
            }
            if let Some(route) = case.route
                && own.iter().any(|record| record["route"] != route)
            {
                wrong.push(format!("route {:?} instead of {route:?}", own.first().map(|own| &own["route"])));
            }
        }
    }

    /// The access log, when it has `total` records or nothing more comes.
    fn records(&self, total: usize) -> Vec<Value> {
        let path = self.proxy.dir().join("access.log");
        let start = Instant::now();
        loop {
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            if text.matches('\n').count() >= total || start.elapsed() > self.deadline {
                let lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
                return lines.map(|line| serde_json::from_str(line).expect("a record")).collect();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Nothing came late.
    fn check_origin(&mut self, verdicts: &mut [Verdict]) {
        let late: Vec<_> = self.arrived().into_iter().filter(|(_, bytes)| !bytes.is_empty()).collect();
        if let Some((_, _, wrong)) = verdicts.last_mut()
            && !late.is_empty()
        {
            wrong.push(format!("after all, the origin received {late:?}"));
        }
    }
}

impl Received {
    fn text(&self) -> String {
        match self {
            Self::Nothing => "nothing".to_owned(),
            Self::Exactly(bytes) => format!("{:?}", latin1(bytes)),
            Self::Twice(bytes) => format!("twice {:?}", latin1(bytes)),
            Self::CutChunks { head, data_max } => {
                format!("{:?} and {data_max} bytes in chunks at most", latin1(head))
            }
            Self::Cut(bytes) => format!("at most {:?}", latin1(bytes)),
        }
    }
}

/// Answers one request as the row says; `None` when the connection is over.
fn serve(connection: &mut Connection, reply: &Mutex<Option<Reply>>) -> Option<Then> {
    let head = connection.head().ok()??;
    if let Some(path @ ("/again" | "/next")) =
        Some(head.target()).filter(|_| head.field("host") == Some("next"))
    {
        connection.send(answer(path)).ok()?;
        return Some(Then::Serve);
    }
    let reply = lock(reply).clone()?;
    let framing = head.framing();
    if reply.when == When::Request {
        connection.body(framing, Neither::NoBody).ok()?;
    }
    play(connection, &reply.steps);
    match reply.then {
        Then::Reset => connection.reset_on_close(),
        Then::Hold => connection.wait_for_end(),
        Then::Serve if reply.when == When::Head && framing != Framing::Neither => {
            connection.body(framing, Neither::NoBody).ok()?;
        }
        Then::Serve | Then::Close => {}
    }
    Some(reply.then)
}

/// Takes the steps. The other side may have had enough before they are over.
fn play(wire: &mut Wire, steps: &[Step]) {
    for step in steps {
        let done = match step {
            Step::Send(bytes) => wire.send(bytes),
            Step::SendBytes(bytes) => bytes.iter().try_for_each(|byte| wire.send([*byte])),
            Step::HalfClose => wire.half_close(),
            Step::Pause(time) => match wire.silent_for(*time) {
                Ok(true) => Ok(()),
                // What came is looked at after the steps.
                Ok(false) | Err(_) => {
                    std::thread::sleep(*time);
                    Ok(())
                }
            },
            Step::Sleep(time) => {
                std::thread::sleep(*time);
                Ok(())
            }
            Step::AwaitReset => wire.await_reset(),
            Step::Sip { bytes_max, every, times } => (0..*times).try_for_each(|_| {
                std::thread::sleep(*every);
                wire.sip(*bytes_max)
            }),
            Step::Drip(bytes, pause) => bytes.iter().try_for_each(|byte| {
                if wire.silent_for(*pause)? {
                    wire.send([*byte])
                } else {
                    Err(std::io::ErrorKind::BrokenPipe.into())
                }
            }),
            Step::Reset => {
                wire.reset_on_close();
                Ok(())
            }
        };
        if done.is_err() {
            return;
        }
    }
}

/// Whether the client sees what it must, and its connection ends as it must.
fn observe(client: &mut Client, case: &Case) -> Result<(), String> {
    match &case.seen {
        Seen::Own { status, reason, body } => own_answer(client, *status, reason, *body, case.end)?,
        Seen::Bytes(bytes) => exactly(client, bytes)?,
        Seen::BytesThenOwn { bytes, status, reason } => {
            exactly(client, bytes)?;
            own_answer(client, *status, reason, true, case.end)?;
        }
        Seen::Prefix(bytes) => {
            let got = client.at_most(usize::MAX);
            if !bytes.starts_with(&got) {
                return Err(format!(
                    "the client saw {:?}\n      instead of the beginning of {:?}",
                    shortened(&got),
                    latin1(bytes)
                ));
            }
            return Ok(());
        }
    }
    match case.end {
        End::Open => {
            exchange(client, &request("/again")).map_err(|what| format!("the next request on it: {what}"))
        }
        End::Closed | End::Reset => {
            let end = client.end().map_err(|error| format!("the connection does not end: {error}"))?;
            let due = if case.end == End::Closed { wire::End::Closed } else { wire::End::Reset };
            if end == due {
                Ok(())
            } else {
                Err(format!("the connection's end is {end:?} instead of {due:?}"))
            }
        }
        End::Ours => Ok(()),
    }
}

/// An answer of the proxy's own: its status, a length that is true, `Connection: close` where it closes, and the reason.
fn own_answer(client: &mut Client, status: u16, reason: &str, body: bool, end: End) -> Result<(), String> {
    let response = client.try_response(body).map_err(|error| format!("no {status}: {error}"))?;
    let head = &response.head;
    let told = || format!("{:?} {:?}", head.raw, response.text());
    if !head.first.starts_with(&format!("HTTP/1.1 {status} ")) {
        return Err(format!("not {status} {reason}: {}", told()));
    }
    let length = head.field("content-length").and_then(|length| length.parse().ok());
    let framed = head.all("content-length").len() == 1 && !head.has("transfer-encoding");
    if !framed || (body && length != Some(response.body.len())) || length == Some(0) {
        return Err(format!("its length is not right: {}", told()));
    }
    if body && !response.text().contains(reason) {
        return Err(format!("it does not say {reason}: {}", told()));
    }
    if head.connection_has("close") != (end == End::Closed) {
        return Err(format!("what it says of the connection is not right: {}", told()));
    }
    let due = match status {
        405 => ["date", "content-type", "allow"].as_slice(),
        503 => ["date", "content-type", "retry-after"].as_slice(),
        _ => ["date", "content-type"].as_slice(),
    };
    match due.iter().find(|name| !head.has(name)) {
        Some(name) => Err(format!("no {name} in it: {}", told())),
        None => Ok(()),
    }
}

/// The client sees these bytes next.
fn exactly(client: &mut Client, bytes: &[u8]) -> Result<(), String> {
    let got = client.at_most(bytes.len());
    if got == bytes {
        return Ok(());
    }
    Err(format!("the client saw {:?}\n      instead of {:?}", shortened(&got), shortened(bytes)))
}

/// A plain request after a row; both sides are exact.
fn exchange(client: &mut Client, request: &str) -> Result<(), String> {
    client.send(request).map_err(|error| error.to_string())?;
    let path = request.split(' ').nth(1).unwrap_or_default();
    exactly(client, &answer(path))
}

fn request(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: next\r\n\r\n")
}

/// [`OK`] with the path as its body.
fn answer(path: &str) -> Vec<u8> {
    let ok = latin1(OK).replace("Content-Length: 2", &format!("Content-Length: {}", path.len()));
    (ok.trim_end_matches("ok").to_owned() + path).into_bytes()
}

/// Whether these are a beginning of `head`, or all of it with whole chunks of at most so much data and no last one.
fn is_cut_within(line: &str, head: &str, data_max: usize) -> bool {
    let Some(mut rest) = line.strip_prefix(head) else { return head.starts_with(line) };
    let mut data = 0;
    while let Some((size, after)) = rest.split_once("\r\n") {
        let Ok(size @ 1..) = usize::from_str_radix(size, 16) else { return false };
        data += size;
        rest = after.get(size..).and_then(|after| after.strip_prefix("\r\n")).unwrap_or_default();
    }
    data <= data_max && rest.is_empty()
}

/// Takes `end` off the connection whose bytes end with it; says which one that is.
fn strip(new: &mut [(usize, String)], end: &str) -> Option<usize> {
    let (connection, bytes) = new.iter_mut().find(|(_, bytes)| bytes.ends_with(end))?;
    bytes.truncate(bytes.len() - end.len());
    Some(*connection)
}

fn report(case: &Case, wrong: &[String]) -> String {
    let mut text = format!("  {}", case.name);
    for step in &case.client {
        if let Step::Send(bytes) | Step::SendBytes(bytes) | Step::Drip(bytes, _) = step {
            let _ = write!(text, "\n    sent {:?}", shortened(bytes));
        }
    }
    for step in &case.reply.steps {
        if let Step::Send(bytes) = step
            && bytes != OK
        {
            let _ = write!(text, "\n    the origin sent {:?}", shortened(bytes));
        }
    }
    for what in wrong {
        let _ = write!(text, "\n    {what}");
    }
    text
}

fn shortened(bytes: &[u8]) -> String {
    let text = latin1(bytes);
    match text.char_indices().nth(600) {
        Some((end, _)) => format!("{}[{} bytes more]", &text[..end], bytes.len() - 600),
        None => text,
    }
}

/// One `char` for each byte.
fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| char::from(byte)).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How long a row waits for a byte, and how long a counter or a log may be behind.
const ROW_DEADLINE: Duration = Duration::from_secs(8);
