//! One connection: its streams as they are opened, what bounds it, and how it ends.
//!
//! ```text
//!  preface, SETTINGS ──▶ open ──▶ draining (GOAWAY, streams finish) ──▶ over
//!                         └─────▶ ending (GOAWAY, streams are reset) ──▶ over
//! ```
//!
//! | memory | at most |
//! | --- | --- |
//! | of h2, for reading and writing | 8 and 16 KiB; a frame that is being received: 16 KiB |
//! | tables of HPACK, both ways | 4 KiB each |
//! | decoded fields of a request, until it is read | [`Limits::head_bytes_max`] and a table of them |
//! | bodies of requests that nobody has taken | twice [`Http2Limits::connection_window`], what was received since they were compacted (`io.rs`), and some 500 bytes for each of [`SMALL_FRAMES_MAX`] frames |
//! | bodies of responses that the client has not taken | for each stream what one step receives |
//! | gathered frames | 64 KiB, only while the client does not take them |

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use h2::{Reason, server};

use super::conduct::Conduct;
use super::io::{Io, Wire};
use super::piece::Piece;
use super::places::InProgress;
use super::since::Since;
use super::stream::H2Downstream;
use super::turns::Turns;
use crate::core::{Core, due};
use crate::io::Dial;
use crate::message::Moved;
use crate::protocol::Http2Limits;
use crate::reason::words;

/// How long a draining connection waits for requests that are on their way.
const DRAIN_GRACE: Duration = Duration::from_secs(1);

/// How long a client has to take the GOAWAY that ends its connection.
pub(super) const END_TIMEOUT: Duration = Duration::from_secs(5);

/// DATA frames of less than [`SMALL_FRAME_BYTES`] that wait to be taken, at most: a window full of messages of 8 bytes, each in a
/// frame of its own, as streaming calls have them.
pub(crate) const SMALL_FRAMES_MAX: usize = 8192;

/// What h2 takes for a small frame, and charges for one.
pub(super) const SMALL_FRAME_BYTES: usize = 256;

/// What a client may do.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    pub(crate) of_http2: Http2Limits,
    /// Bytes of a request's head, as HTTP/1.1 would have it.
    pub(crate) head_bytes_max: u32,
    /// Its fields.
    pub(crate) fields_max: u32,
    /// Streams of a connection before it is drained. 0: no limit.
    pub(crate) requests_max: u64,
    /// For the preface, and for each field block from its first to its last byte.
    pub(crate) head_timeout: Duration,
    /// Without a stream.
    pub(crate) idle_timeout: Duration,
    /// For a client that takes nothing of what is there for it.
    pub(crate) send_timeout: Duration,
}

words! {
    /// How a connection ended: by the peer, or drained; idle for long enough; because the peer did not say what it
    /// began to say, took nothing, or answered no PING; broke a rule; broke none, and cost too much; or because it failed.
    End {
        Clean = "clean",
        Idle = "idle",
        Timeout = "timeout",
        Protocol = "protocol",
        Misconduct = "misconduct",
        Io = "io",
    }
}

/// See the module.
pub(crate) struct Connection<S: Dial> {
    state: State<S>,
    wire: Rc<RefCell<Wire<S>>>,
    limits: Limits,
    in_progress: Rc<InProgress>,
    /// Those that have no place yet, because the exchanges of some that were reset are not over.
    waiting: VecDeque<Box<H2Downstream>>,
    turns: Rc<Turns>,
    requests: u64,
    /// How it is going to end, and when at the latest.
    end: Option<(End, u64)>,
    is_draining: bool,
    times: Times,
}

enum State<S: Dial> {
    Beginning(server::Handshake<Io<S>, Piece>),
    Open(server::Connection<Io<S>, Piece>),
    Over(End),
}

/// Since when something has not changed ([`crate::io::clock::coarse_ms`]).
struct Times {
    /// The client has begun to say something.
    amid: Since,
    /// It does not take what there is for it.
    blocked: Since,
    /// No stream is open.
    idle_ms: u64,
}

impl<S: Dial> Connection<S> {
    /// Begins one that a client has opened.
    /// `early` has been received of it.
    pub(crate) fn new(core: &Rc<Core<S>>, stream: S, early: Vec<u8>, limits: Limits, now_ms: u64) -> Self {
        let conduct = Conduct::of_client(limits.of_http2.misconduct_max, now_ms);
        let wire = Rc::new(RefCell::new(Wire::of_server(core, stream, early, conduct)));
        let handshake = server::Builder::new()
            .max_concurrent_streams(limits.of_http2.streams_max)
            .initial_window_size(limits.of_http2.stream_window)
            .initial_connection_window_size(limits.of_http2.connection_window)
            // So much that what is refused is refused by the exchange, which logs it (RFC 9113 §6.5.2 counts 32 bytes more for
            // each field). h2 answers what is larger with 431, and four times as much with GOAWAY.
            .max_header_list_size(limits.head_bytes_max + 32 * (limits.fields_max + 8))
            .data_frame_budget(SMALL_FRAMES_MAX * SMALL_FRAME_BYTES)
            // RFC 8441 §3.
            .enable_connect_protocol()
            .handshake(Io::new(&wire));
        Self {
            state: State::Beginning(handshake),
            wire,
            limits,
            in_progress: InProgress::new(),
            waiting: VecDeque::new(),
            turns: Rc::default(),
            requests: 0,
            end: None,
            is_draining: false,
            times: Times { amid: Since::NEVER, blocked: Since::NEVER, idle_ms: now_ms },
        }
    }

    /// The next request, or how the connection has ended. Everything that the connection does is done by these calls: they are to
    /// be repeated, also when [`Self::due_ms`] has passed.
    pub(crate) fn poll_request(
        &mut self,
        cx: &mut Context<'_>,
        now_ms: u64,
    ) -> Poll<Result<Box<H2Downstream>, End>> {
        loop {
            if self.wire.borrow_mut().must_compact() {
                self.in_progress.compact();
            }
            let polled = self.poll_frames(cx);
            let (sent, was_full) = {
                let mut wire = self.wire.borrow_mut();
                (wire.poll_send(cx), wire.take_was_full())
            };
            self.note_times(now_ms);
            match (polled, sent) {
                (Poll::Ready(Ok(request)), _) => {
                    self.note_request(now_ms);
                    return Poll::Ready(Ok(request));
                }
                (Poll::Ready(Err(end)), _) => return Poll::Ready(Err(self.end_with(end))),
                (Poll::Pending, Poll::Ready(Err(_))) => return Poll::Ready(Err(self.end_with(End::Io))),
                // h2 waited for the room that there is now.
                (Poll::Pending, Poll::Ready(Ok(()))) if was_full => {}
                (Poll::Pending, _) if self.judge(now_ms) => {}
                (Poll::Pending, sent) => {
                    self.take_updates();
                    let is_free = sent.is_ready() && self.wire.borrow().has_window();
                    self.turns.pass(cx, now_ms, is_free);
                    return Poll::Pending;
                }
            }
        }
    }

    /// When the next call is due if nothing else happens.
    pub(crate) fn due_ms(&self) -> u64 {
        match self.end {
            Some((_, due_ms)) => due_ms,
            None => self.amid_due_ms().min(self.blocked_due_ms()).min(self.idle_due_ms()),
        }
    }

    fn amid_due_ms(&self) -> u64 {
        due(self.times.amid.at_ms, self.limits.head_timeout)
    }

    fn blocked_due_ms(&self) -> u64 {
        due(self.times.blocked.at_ms, self.limits.send_timeout)
    }

    fn idle_due_ms(&self) -> u64 {
        due(self.times.idle_ms, if self.is_draining { DRAIN_GRACE } else { self.limits.idle_timeout })
    }

    /// Takes no more streams, and ends when those that are open have ended.
    pub(crate) fn drain(&mut self, now_ms: u64) {
        if std::mem::replace(&mut self.is_draining, true) {
            return;
        }
        if self.times.idle_ms != u64::MAX {
            // A request may be on its way.
            self.times.idle_ms = now_ms;
        }
        if let State::Open(connection) = &mut self.state {
            connection.graceful_shutdown();
        }
    }

    /// Ends at once, because its place is wanted: no stream is open.
    pub(crate) fn close(&mut self, now_ms: u64) {
        self.end_by(End::Clean, Reason::NO_ERROR, now_ms);
    }

    /// Ends because of what its client costs, here and elsewhere.
    pub(crate) fn refuse(&mut self, now_ms: u64) {
        if self.end.is_none() {
            self.end_by(End::Misconduct, Reason::ENHANCE_YOUR_CALM, now_ms);
        }
    }

    /// What its client has cost since the last call, beyond what is tolerated for long.
    pub(crate) fn take_excess(&mut self) -> u32 {
        self.wire.borrow_mut().take_excess()
    }

    /// Streams that are open.
    pub(crate) fn streams(&self) -> usize {
        self.in_progress.count()
    }

    /// The same, beyond its end.
    pub(crate) fn in_progress(&self) -> Rc<InProgress> {
        self.in_progress.clone()
    }

    /// What was moved since the last call.
    pub(crate) fn take_moved(&mut self) -> Moved {
        self.wire.borrow_mut().take_moved()
    }

    /// Gives up the stream. What is open sees the end of the connection.
    pub(crate) fn into_stream(self) -> S {
        drop(self.state);
        self.wire.borrow_mut().take_stream()
    }

    fn poll_frames(&mut self, cx: &mut Context<'_>) -> Poll<Result<Box<H2Downstream>, End>> {
        loop {
            match &mut self.state {
                State::Beginning(handshake) => match ready!(Pin::new(handshake).poll(cx)) {
                    Ok(connection) => {
                        self.state = State::Open(connection);
                        if let (true, State::Open(connection)) = (self.is_draining, &mut self.state) {
                            connection.graceful_shutdown();
                        }
                    }
                    Err(error) => return Poll::Ready(Err(end_of(&error))),
                },
                State::Open(connection) => {
                    self.in_progress.watch(cx);
                    let streams_max = self.limits.of_http2.streams_max as usize;
                    while self.in_progress.count() < streams_max
                        && let Some(mut stream) = self.waiting.pop_front()
                    {
                        if !stream.is_reset() {
                            stream.enter(&self.in_progress);
                            return Poll::Ready(Ok(stream));
                        }
                    }
                    if self.waiting.len() >= streams_max {
                        self.waiting.retain_mut(|stream| !stream.is_reset());
                    }
                    let polled = if self.waiting.len() < streams_max {
                        ready!(connection.poll_accept(cx))
                    } else {
                        ready!(connection.poll_closed(cx)).err().map(Err)
                    };
                    let (request, respond) = match polled {
                        Some(Ok(begun)) => begun,
                        Some(Err(error)) => return Poll::Ready(Err(end_of(&error))),
                        None => return Poll::Ready(Err(End::Clean)),
                    };
                    self.take_updates();
                    let blocks = self.wire.borrow().blocks().clone();
                    let (places, turns) = (&self.in_progress, &self.turns);
                    // Boxed, because it passes through several hands.
                    let mut stream = Box::new(H2Downstream::new(request, respond, blocks, places, turns));
                    if self.in_progress.count() < streams_max {
                        stream.enter(&self.in_progress);
                        return Poll::Ready(Ok(stream));
                    }
                    // Not in h2, which would leave what it brings in the pieces that come.
                    self.waiting.push_back(stream);
                }
                State::Over(end) => return Poll::Ready(Err(*end)),
            }
        }
    }

    /// Hands on the priorities that the client has changed.
    fn take_updates(&mut self) {
        let turns = &self.turns;
        self.wire.borrow_mut().take_updates(|stream, priority| turns.update(stream, priority));
    }

    fn note_request(&mut self, now_ms: u64) {
        self.requests += 1;
        if self.limits.requests_max > 0 && self.requests >= self.limits.requests_max {
            self.drain(now_ms);
        }
    }

    fn note_times(&mut self, now_ms: u64) {
        let wire = self.wire.borrow();
        self.times.amid.note(now_ms, wire.incoming().is_amid(), wire.incoming().frames());
        self.times.blocked.note(now_ms, wire.is_blocked(), wire.sent_bytes());
        if self.in_progress.count() > 0 {
            self.times.idle_ms = u64::MAX;
        } else if self.times.idle_ms == u64::MAX {
            self.times.idle_ms = now_ms;
        }
    }

    /// Ends a connection that has to; whether it did.
    fn judge(&mut self, now_ms: u64) -> bool {
        if let Some((end, due_ms)) = self.end {
            // It does not even take that it has ended.
            let is_over = now_ms >= due_ms;
            if is_over {
                self.cut(end);
            }
            return is_over;
        }
        let (end, reason) = if now_ms >= self.blocked_due_ms() {
            self.cut(End::Timeout);
            return true;
        } else if self.wire.borrow_mut().is_misused(now_ms) {
            (End::Misconduct, Reason::ENHANCE_YOUR_CALM)
        } else if now_ms >= self.amid_due_ms() {
            (End::Timeout, Reason::PROTOCOL_ERROR)
        } else if now_ms >= self.idle_due_ms() {
            (if self.is_draining { End::Clean } else { End::Idle }, Reason::NO_ERROR)
        } else {
            return false;
        };
        self.end_by(end, reason, now_ms);
        true
    }

    /// Says GOAWAY, and resets what is open.
    fn end_by(&mut self, end: End, reason: Reason, now_ms: u64) {
        match &mut self.state {
            State::Open(connection) => connection.abrupt_shutdown(reason),
            _ => self.state = State::Over(end),
        }
        self.end = Some((end, due(now_ms, END_TIMEOUT)));
    }

    /// Ends at once, with a reset.
    pub(crate) fn cut(&mut self, end: End) {
        self.wire.borrow_mut().abort();
        self.state = State::Over(end);
    }

    /// Notes the end, for which there may have been a reason before.
    fn end_with(&mut self, end: End) -> End {
        let end = self.end.map_or(end, |(end, _)| end);
        self.state = State::Over(end);
        end
    }
}

/// How an error of h2's ends a connection.
pub(super) fn end_of(error: &h2::Error) -> End {
    match error.reason() {
        // What h2 itself counts: resets of streams that wait, parts of field blocks, small DATA frames.
        Some(Reason::ENHANCE_YOUR_CALM) if error.is_library() => End::Misconduct,
        Some(_) if error.is_library() => End::Protocol,
        // The peer has given up with a GOAWAY.
        Some(_) => End::Clean,
        None => End::Io,
    }
}
