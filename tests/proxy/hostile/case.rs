//! One row of the hostile suite: what is sent, what the client must see and what the origin must have received.

use std::time::Duration;

/// What one side does, step by step.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Send(Vec<u8>),
    /// Each byte in a write of its own.
    SendBytes(Vec<u8>),
    Pause(Duration),
    /// One byte after another with a pause before each, until the peer ends the connection.
    Drip(Vec<u8>, Duration),
    HalfClose,
    Reset,
    /// Nothing is read for so long.
    Sleep(Duration),
    /// Reads nothing until the connection has been reset.
    AwaitReset,
    /// Reads at most so many bytes after each such time, so many times.
    Sip {
        bytes_max: usize,
        every: Duration,
        times: usize,
    },
}

/// A row.
#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) client: Vec<Step>,
    pub(super) reply: Reply,
    pub(super) seen: Seen,
    pub(super) end: End,
    pub(super) received: Received,
    /// Whether the upstream connection takes the next request; `None` where no request is due there.
    pub(super) pooled: Option<bool>,
    /// The access-log records: status and reason.
    pub(super) logged: Vec<(u16, Option<&'static str>)>,
    /// The route that took the request.
    pub(super) route: Option<&'static str>,
}

/// What the origin does with the request.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    pub(super) when: When,
    pub(super) steps: Vec<Step>,
    pub(super) then: Then,
}

/// When the origin speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    /// After the whole request.
    Request,
    /// After its head.
    Head,
}

/// What the origin does after it has spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// It takes the next request.
    Serve,
    Close,
    Reset,
    /// It says no more and waits for the end.
    Hold,
}

/// What the client sees.
#[derive(Clone, Debug)]
pub(super) enum Seen {
    /// An answer of the proxy's own; `body`: whether it has one.
    Own { status: u16, reason: &'static str, body: bool },
    /// Exactly these bytes.
    Bytes(Vec<u8>),
    /// These bytes, and then an answer of the proxy's own.
    BytesThenOwn { bytes: Vec<u8>, status: u16, reason: &'static str },
    /// A beginning of these bytes: how much has gone out before a cut is the kernel's business.
    Prefix(Vec<u8>),
}

/// What becomes of the client's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It takes the next request.
    Open,
    /// It is closed: no reset, no byte more.
    Closed,
    Reset,
    /// The client has ended it itself.
    Ours,
}

/// What the origin has received for this row, without the requests that follow it.
#[derive(Clone, Debug)]
pub(super) enum Received {
    Nothing,
    /// These bytes on one connection, no more and no less.
    Exactly(Vec<u8>),
    /// At most these bytes, which are no complete request, and then the end of the connection.
    Cut(Vec<u8>),
    /// This head, then chunks of at most so much data in all and no last one, and then the end of the connection.
    CutChunks {
        head: Vec<u8>,
        data_max: usize,
    },
    /// These bytes on each of two connections, in this order.
    Twice(Vec<u8>),
}

/// What the origin answers where a row says nothing else; the date makes it exact.
pub(super) const OK: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\nok";

/// The same with `Connection: close`, as the proxy writes it.
pub(super) const OK_CLOSE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\
    Date: Thu, 01 Jan 1970 00:00:00 GMT\r\nConnection: close\r\n\r\nok";

impl Case {
    /// A client sends these bytes in one write. Without more said they reach the origin as they are, and its answer
    /// reaches the client as it is; both connections go on.
    pub(super) fn new(name: &'static str, bytes: impl AsRef<[u8]>) -> Self {
        let bytes = bytes.as_ref().to_vec();
        Self {
            name,
            client: vec![Step::Send(bytes.clone())],
            reply: Reply { when: When::Request, steps: vec![Step::Send(OK.to_vec())], then: Then::Serve },
            seen: Seen::Bytes(OK.to_vec()),
            end: End::Open,
            received: Received::Exactly(bytes),
            pooled: Some(true),
            logged: vec![(200, None)],
            route: None,
        }
    }

    /// An origin answers a plain GET with these bytes and goes on. Without more said they reach the client as they are.
    pub(super) fn response(name: &'static str, bytes: impl AsRef<[u8]>) -> Self {
        let bytes = bytes.as_ref();
        Self::new(name, GET).replies(bytes).sees(bytes)
    }

    // The client's side.

    /// The client waits and then sends more.
    pub(super) fn later(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.client.push(Step::Pause(PAUSE));
        self.client.push(Step::Send(bytes.as_ref().to_vec()));
        self
    }

    pub(super) fn step(mut self, step: Step) -> Self {
        self.client.push(step);
        self
    }

    /// The client sends each byte in a write of its own.
    pub(super) fn byte_by_byte(mut self) -> Self {
        for step in &mut self.client {
            if let Step::Send(bytes) = step {
                *step = Step::SendBytes(std::mem::take(bytes));
            }
        }
        self
    }

    // The proxy's own answers.

    /// The proxy answers itself and closes; the origin hears nothing.
    pub(super) fn refused(self, status: u16, reason: &'static str) -> Self {
        self.received(Received::Nothing).fails(status, reason).end(End::Closed)
    }

    /// The proxy answers itself, and the connection goes on; the origin hears nothing.
    pub(super) fn answered(self, status: u16, reason: &'static str) -> Self {
        self.received(Received::Nothing).fails(status, reason).end(End::Open)
    }

    /// The origin is at fault: the proxy answers 502 in its place, and its connection is not used again.
    pub(super) fn bad_gateway(self, reason: &'static str) -> Self {
        self.fails(502, reason).pooled(false)
    }

    /// The proxy answers itself.
    pub(super) fn fails(mut self, status: u16, reason: &'static str) -> Self {
        self.seen = Seen::Own { status, reason, body: true };
        self.logged = vec![(status, Some(reason))];
        self.pooled = None;
        self
    }

    /// Before the answer of the proxy's own the client sees so many of these.
    pub(super) fn sees_interims(mut self, interim: &str, count: usize) -> Self {
        if let Seen::Own { status, reason, .. } = self.seen {
            self.seen = Seen::BytesThenOwn { bytes: interim.repeat(count).into_bytes(), status, reason };
        }
        self
    }

    /// The answer of the proxy's own has no body.
    pub(super) fn without_body(mut self) -> Self {
        if let Seen::Own { body, .. } = &mut self.seen {
            *body = false;
        }
        self
    }

    // What comes of it.

    /// The client sees exactly these bytes; the status of the last head in them is what is logged.
    pub(super) fn sees(mut self, bytes: impl AsRef<[u8]>) -> Self {
        let bytes = bytes.as_ref().to_vec();
        if let [(status, None)] = self.logged.as_mut_slice()
            && let Some(last) = last_status(&bytes)
        {
            *status = last;
        }
        self.seen = Seen::Bytes(bytes);
        self
    }

    /// The client sees these bytes, then an answer of the proxy's own, and the connection closes.
    pub(super) fn sees_then_refused(mut self, bytes: &[u8], status: u16, reason: &'static str) -> Self {
        self.seen = Seen::BytesThenOwn { bytes: bytes.to_vec(), status, reason };
        self.end = End::Closed;
        self.logged = vec![(200, None), (status, Some(reason))];
        self
    }

    /// The response breaks off within these bytes, for this reason; neither connection is used again.
    pub(super) fn cut(mut self, bytes: impl AsRef<[u8]>, reason: &'static str) -> Self {
        self = self.sees(bytes.as_ref());
        let status = self.logged[0].0;
        self.end(End::Closed).pooled(false).logs(&[(status, Some(reason))])
    }

    pub(super) fn end(mut self, end: End) -> Self {
        self.end = end;
        self
    }

    /// The origin receives exactly these bytes.
    pub(super) fn arrives(self, bytes: impl AsRef<[u8]>) -> Self {
        self.received(Received::Exactly(bytes.as_ref().to_vec()))
    }

    /// The origin receives at most these bytes and no complete request.
    pub(super) fn arrives_cut(self, bytes: impl AsRef<[u8]>) -> Self {
        self.received(Received::Cut(bytes.as_ref().to_vec()))
    }

    pub(super) fn received(mut self, received: Received) -> Self {
        if !matches!(received, Received::Exactly(_)) {
            self.pooled = None;
        }
        self.received = received;
        self
    }

    pub(super) fn pooled(mut self, pooled: bool) -> Self {
        self.pooled = Some(pooled);
        self
    }

    pub(super) fn logs(mut self, logged: &[(u16, Option<&'static str>)]) -> Self {
        self.logged = logged.to_vec();
        self
    }

    pub(super) fn by(mut self, route: &'static str) -> Self {
        self.route = Some(route);
        self
    }

    // The origin's side.

    /// The origin answers with these bytes.
    pub(super) fn replies(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.reply.steps = vec![Step::Send(bytes.as_ref().to_vec())];
        self
    }

    /// The origin waits and then says more.
    pub(super) fn replies_later(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.reply.steps.push(Step::Pause(PAUSE));
        self.reply.steps.push(Step::Send(bytes.as_ref().to_vec()));
        self
    }

    /// And says more at once.
    pub(super) fn replies_more(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.reply.steps.push(Step::Send(bytes.as_ref().to_vec()));
        self
    }

    pub(super) fn reply_step(mut self, step: Step) -> Self {
        self.reply.steps.push(step);
        self
    }

    pub(super) fn when(mut self, when: When) -> Self {
        self.reply.when = when;
        self
    }

    pub(super) fn then(mut self, then: Then) -> Self {
        self.reply.then = then;
        self
    }
}

/// The status of the last head that starts in these bytes.
fn last_status(bytes: &[u8]) -> Option<u16> {
    let text = String::from_utf8_lossy(bytes);
    let (_, last) = text.rsplit_once("HTTP/1.1 ")?;
    last.get(..3)?.parse().ok()
}

/// What [`Case::response`] asks with.
pub(super) const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// Long enough for the proxy to have read what came before.
const PAUSE: Duration = Duration::from_millis(40);
