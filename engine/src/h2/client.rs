//! One connection to an endpoint, shared by its streams: what bounds it, and how it ends.
//!
//! ```text
//!  preface, SETTINGS ──▶ open ──▶ draining (no more streams, those there are finish) ──▶ over
//!                         └─────▶ cut (streams are reset) ──▶ over
//! ```
//!
//! A task of its own drives it; streams wake that. It drains when the endpoint says GOAWAY, when it has had its requests, when it
//! was idle for long enough, when it is told to, and when a request was given up for which nothing has come at all: what has
//! become silent gets no more of them.
//!
//! | memory | at most |
//! | --- | --- |
//! | of h2, for reading and writing | 8 and 16 KiB; a frame that is being received: [`FRAME_BYTES_MAX`] |
//! | tables of HPACK, both ways | 4 KiB each |
//! | decoded fields of responses, until they are read | for each stream [`ClientLimits::head_bytes_max`] and a table of them |
//! | bodies of responses that nobody has taken | twice [`ClientLimits::connection_window`], and what was received since they were compacted (`io.rs`) |
//! | bodies of requests that the endpoint has not taken | for each stream what one step receives |
//! | gathered frames | 64 KiB, only while the endpoint does not take them |

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use corelane_http1::HeadLimits;
use h2::client::{self, ResponseFuture, SendRequest};
use h2::{Ping, PingPong, SendStream};
use http::Request;

use super::connection::{END_TIMEOUT, End, SMALL_FRAME_BYTES, SMALL_FRAMES_MAX, end_of};
use super::io::{Io, Wire};
use super::piece::Piece;
use super::places::InProgress;
use super::since::Since;
use super::upstream::H2Upstream;
use crate::core::{Core, Timer, due};
use crate::io::{Dial, clock};
use crate::message::Moved;
use crate::task;
use crate::tls::{Alert, TlsFailure};

/// What an endpoint may put into a frame: one receive brings it, where 16 KiB would take four.
pub(crate) const FRAME_BYTES_MAX: u32 = 64 * 1024;

/// Streams that are opened before the endpoint has said how many it takes (RFC 9113 §6.5.2 recommends to take 100).
const STREAMS_AT_FIRST: usize = 100;

/// What a connection to an endpoint may have.
#[derive(Clone, Debug)]
pub(crate) struct ClientLimits {
    /// Streams open at once, if the endpoint allows as many.
    pub(crate) streams_max: u32,
    /// Streams of a connection before it is drained. 0: no limit.
    pub(crate) requests_max: u64,
    /// Bytes of a response's body before the first are taken.
    pub(crate) stream_window: u32,
    /// The same for all streams together.
    pub(crate) connection_window: u32,
    /// Bytes of a response's head, as HTTP/1.1 would have it.
    pub(crate) head_bytes_max: u32,
    /// Its fields.
    pub(crate) fields_max: u32,
    /// With streams, and nothing received for so long, the endpoint is asked whether it is there. 0: never.
    pub(crate) ping_interval: Duration,
    /// For the answer. 0: as long as it likes.
    pub(crate) ping_timeout: Duration,
    /// Without a stream.
    pub(crate) idle_timeout: Duration,
    /// For an endpoint that takes nothing of what there is for it.
    pub(crate) send_timeout: Duration,
}

/// See the module. It belongs to a worker's thread, and knows nothing of what its stream is made of.
pub(crate) struct ClientConnection {
    limits: ClientLimits,
    /// Opens streams; gone when no more are to be opened.
    sender: RefCell<Option<SendRequest<Piece>>>,
    streams: Rc<InProgress>,
    requests: Cell<u64>,
    /// How many streams the endpoint takes at once.
    peer_streams_max: Cell<usize>,
    received_bytes: Cell<u64>,
    /// The endpoint's settings are there.
    has_settings: Cell<bool>,
    /// Who waits for them.
    waiting: RefCell<Vec<Waker>>,
    /// What nobody has counted yet.
    moved: Cell<Moved>,
    is_told_to_end: Cell<bool>,
    pings: Cell<u64>,
    end: Cell<Option<End>>,
    tls_failure: Cell<Option<(TlsFailure, Option<Alert>)>>,
}

impl ClientConnection {
    /// Begins HTTP/2 over a stream that stands, and drives it in a task. Requests may follow at once, right behind the preface.
    /// `on_end` is called when the socket is closed; it is dropped without if the task fails.
    pub(crate) fn start<S: Dial>(
        core: &Rc<Core<S>>,
        stream: S,
        limits: ClientLimits,
        on_end: impl FnOnce(&Self) + 'static,
    ) -> Rc<Self> {
        let mut driver = Driver::new(core, stream, limits, clock::coarse_ms());
        let shared = driver.connection();
        let (connection, core_held) = (shared.clone(), core.clone());
        task::spawn_aside(core, async move {
            let mut timer = Timer::new(&core_held);
            poll_fn(|cx| {
                loop {
                    if core_held.cutting.get() {
                        driver.cut(End::Io);
                    }
                    if driver.poll(cx, clock::coarse_ms()).is_ready() {
                        return Poll::Ready(());
                    }
                    ready!(timer.poll_until(cx, driver.due_ms()));
                }
            })
            .await;
            drop(driver);
            on_end(&connection);
        });
        shared
    }

    /// Whether it takes one more stream.
    pub(crate) fn has_room(&self) -> bool {
        self.is_open() && self.streams() < self.streams_max()
    }

    /// How many it takes at once.
    pub(crate) fn streams_max(&self) -> usize {
        self.peer_streams_max.get().min(self.limits.streams_max as usize)
    }

    /// Whether it takes streams, now or when others have ended.
    pub(crate) fn is_open(&self) -> bool {
        !self.is_draining() && !self.has_had_all()
    }

    fn is_draining(&self) -> bool {
        self.sender.borrow().is_none()
    }

    /// Whether the last stream that it may have has been opened.
    fn has_had_all(&self) -> bool {
        self.limits.requests_max > 0 && self.requests.get() >= self.limits.requests_max
    }

    /// Streams that are open, those included that were reset and whose exchange is not over.
    pub(crate) fn streams(&self) -> usize {
        self.streams.count()
    }

    /// Begins a stream, for a request that is going to be sent. `is_https`: the scheme that the endpoint is told.
    pub(crate) fn open(self: &Rc<Self>, is_https: bool, limits: HeadLimits) -> H2Upstream {
        self.requests.set(self.requests.get() + 1);
        H2Upstream::new(self.clone(), self.streams.enter(), is_https, limits)
    }

    /// Takes no more streams, and ends when those that are open have ended.
    pub(crate) fn drain(&self) {
        drop(self.sender.take());
        self.streams.wake();
    }

    /// How it has ended, if it has.
    pub(crate) fn end(&self) -> Option<End> {
        self.end.get()
    }

    /// Whether the endpoint has said GOAWAY.
    pub(crate) fn is_told_to_end(&self) -> bool {
        self.is_told_to_end.get()
    }

    /// PINGs that were sent.
    pub(crate) fn pings(&self) -> u64 {
        self.pings.get()
    }

    /// Why TLS has failed, if that has ended it.
    pub(crate) fn tls_failure(&self) -> Option<(TlsFailure, Option<Alert>)> {
        self.tls_failure.get()
    }

    /// What was moved since the last call, for whichever stream.
    pub(crate) fn take_moved(&self) -> Moved {
        self.moved.take()
    }

    /// Whether the endpoint takes requests for tunnels (RFC 8441 §3), when it has said so; `true` where nobody can be asked any more.
    pub(super) fn poll_takes_tunnels(&self, cx: &Context<'_>) -> Poll<bool> {
        match &*self.sender.borrow() {
            Some(sender) if sender.is_extended_connect_protocol_enabled() => Poll::Ready(true),
            Some(_) if self.has_settings.get() => Poll::Ready(false),
            Some(_) => {
                self.waiting.borrow_mut().push(cx.waker().clone());
                Poll::Pending
            }
            None => Poll::Ready(true),
        }
    }

    pub(super) fn in_progress(&self) -> &InProgress {
        &self.streams
    }

    fn wake_waiting(&self) {
        self.waiting.take().into_iter().for_each(Waker::wake);
    }

    /// Bytes that have come.
    pub(super) fn received_bytes(&self) -> u64 {
        self.received_bytes.get()
    }

    /// Sends a request's head. `None`: no more are sent.
    pub(super) fn send(
        &self,
        request: Request<()>,
        is_end: bool,
    ) -> Option<Result<(ResponseFuture, SendStream<Piece>), h2::Error>> {
        // One of its own, because each remembers a stream that waits for a place.
        let mut sender = self.sender.borrow().clone()?;
        let sent = sender.send_request(request, is_end);
        if sent.is_err() {
            self.drain();
        }
        Some(sent)
    }
}

/// What drives a connection.
pub(super) struct Driver<S: Dial> {
    shared: Rc<ClientConnection>,
    /// Gone when the connection is over.
    h2: Option<client::Connection<Io<S>, Piece>>,
    wire: Rc<RefCell<Wire<S>>>,
    ping_pong: Option<PingPong>,
    /// Why it is going to end, if it is our wish.
    wish: Option<End>,
    times: Times,
}

/// When what has happened ([`crate::io::clock::coarse_ms`]).
struct Times {
    /// The endpoint does not take what there is for it.
    blocked: Since,
    /// Something was received.
    received_ms: u64,
    /// A PING was sent that has no answer yet.
    pinged_ms: u64,
    /// There is no stream; `u64::MAX`: there is one.
    idle_ms: u64,
}

impl<S: Dial> Driver<S> {
    pub(super) fn new(core: &Rc<Core<S>>, stream: S, limits: ClientLimits, now_ms: u64) -> Self {
        let wire = Rc::new(RefCell::new(Wire::of_client(core, stream)));
        let handshake = client::Builder::new()
            .enable_push(false)
            .initial_max_send_streams(STREAMS_AT_FIRST)
            .initial_window_size(limits.stream_window)
            .initial_connection_window_size(limits.connection_window)
            .max_frame_size(FRAME_BYTES_MAX)
            // As of requests: what is refused is refused by the parser, which says why.
            .max_header_list_size(limits.head_bytes_max + 32 * (limits.fields_max + 8))
            .data_frame_budget(SMALL_FRAMES_MAX * SMALL_FRAME_BYTES)
            .handshake(Io::new(&wire));
        let begun = pin!(handshake).poll(&mut Context::from_waker(Waker::noop()));
        let Poll::Ready(Ok((sender, mut h2))) = begun else {
            panic!("there is room for the preface, and nothing else to wait for");
        };
        let has_pings = !limits.ping_interval.is_zero();
        let shared = Rc::new(ClientConnection {
            limits,
            sender: RefCell::new(Some(sender)),
            streams: InProgress::new(),
            requests: Cell::new(0),
            peer_streams_max: Cell::new(STREAMS_AT_FIRST),
            received_bytes: Cell::new(0),
            has_settings: Cell::new(false),
            waiting: RefCell::default(),
            moved: Cell::default(),
            is_told_to_end: Cell::new(false),
            pings: Cell::new(0),
            end: Cell::new(None),
            tls_failure: Cell::new(None),
        });
        let ping_pong = if has_pings { h2.ping_pong() } else { None };
        let times =
            Times { blocked: Since::NEVER, received_ms: now_ms, pinged_ms: u64::MAX, idle_ms: now_ms };
        Self { shared, h2: Some(h2), wire, ping_pong, wish: None, times }
    }

    pub(super) fn connection(&self) -> Rc<ClientConnection> {
        self.shared.clone()
    }

    /// Does everything that the connection does; ready when it is over. To be repeated, also when [`Self::due_ms`] has passed.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, now_ms: u64) -> Poll<()> {
        loop {
            self.shared.streams.watch(cx);
            let Some(h2) = &mut self.h2 else { return Poll::Ready(()) };
            if self.wire.borrow_mut().must_compact() {
                self.shared.streams.compact();
            }
            let polled = Pin::new(&mut *h2).poll(cx);
            self.shared.peer_streams_max.set(h2.max_concurrent_send_streams());
            let (sent, was_full) = {
                let mut wire = self.wire.borrow_mut();
                (wire.poll_send(cx), wire.take_was_full())
            };
            self.note(cx, now_ms);
            match (polled, sent) {
                (Poll::Ready(Ok(())), _) => self.end_with(End::Clean),
                (Poll::Ready(Err(error)), _) => self.end_with(end_of(&error)),
                (Poll::Pending, Poll::Ready(Err(_))) => self.end_with(End::Io),
                // h2 waited for the room that there is now.
                (Poll::Pending, Poll::Ready(Ok(()))) if was_full => {}
                (Poll::Pending, _) if self.judge(now_ms) => {}
                (Poll::Pending, _) => return Poll::Pending,
            }
        }
    }

    /// When the next call is due if nothing else happens.
    pub(super) fn due_ms(&self) -> u64 {
        let ends_ms = if self.shared.is_draining() { self.end_due_ms() } else { self.idle_due_ms() };
        ends_ms.min(self.blocked_due_ms()).min(self.ping_due_ms()).min(self.pong_due_ms())
    }

    fn blocked_due_ms(&self) -> u64 {
        due(self.times.blocked.at_ms, self.shared.limits.send_timeout)
    }

    fn idle_due_ms(&self) -> u64 {
        due(self.times.idle_ms, self.shared.limits.idle_timeout)
    }

    /// It has nothing more to do, and has said so.
    fn end_due_ms(&self) -> u64 {
        due(self.times.idle_ms, END_TIMEOUT)
    }

    fn ping_due_ms(&self) -> u64 {
        let may_ping = self.ping_pong.is_some() && self.times.pinged_ms == u64::MAX;
        if may_ping && self.times.idle_ms == u64::MAX {
            due(self.times.received_ms, self.shared.limits.ping_interval)
        } else {
            u64::MAX
        }
    }

    fn pong_due_ms(&self) -> u64 {
        match self.times.pinged_ms {
            u64::MAX => u64::MAX,
            // Behind a body the answer may take its time.
            pinged_ms => due(pinged_ms.max(self.times.received_ms), self.shared.limits.ping_timeout),
        }
    }

    /// Notes what has changed.
    fn note(&mut self, cx: &mut Context<'_>, now_ms: u64) {
        let (shared, times) = (&self.shared, &mut self.times);
        let mut wire = self.wire.borrow_mut();
        times.blocked.note(now_ms, wire.is_blocked(), wire.sent_bytes());
        if shared.received_bytes.replace(wire.received_bytes()) != wire.received_bytes() {
            times.received_ms = now_ms;
        }
        let (before, moved) = (shared.moved.get(), wire.take_moved());
        shared
            .moved
            .set(Moved { received: before.received + moved.received, sent: before.sent + moved.sent });
        // RFC 9113 §3.4: they come first. h2 has looked at what has come.
        if !shared.has_settings.get() && wire.incoming().frames() > 0 && !wire.incoming().is_amid() {
            shared.has_settings.set(true);
            shared.wake_waiting();
        }
        if wire.is_told_to_end() && !shared.is_told_to_end.replace(true) {
            drop(shared.sender.take());
        }
        if shared.streams() > 0 {
            times.idle_ms = u64::MAX;
        } else if times.idle_ms == u64::MAX {
            times.idle_ms = now_ms;
        }
        let is_answered = |pings: &mut PingPong| pings.poll_pong(cx).is_ready();
        if times.pinged_ms != u64::MAX && self.ping_pong.as_mut().is_some_and(is_answered) {
            times.pinged_ms = u64::MAX;
        }
    }

    /// Does what it is time for; whether there was something.
    fn judge(&mut self, now_ms: u64) -> bool {
        if self.wire.borrow_mut().is_misused(now_ms) {
            self.cut(End::Misconduct);
        } else if now_ms >= self.blocked_due_ms() || now_ms >= self.pong_due_ms() {
            self.cut(End::Timeout);
        } else if self.shared.is_draining() {
            if now_ms < self.end_due_ms() {
                return false;
            }
            // It does not even take that it has ended.
            self.cut(End::Clean);
        } else if self.shared.has_had_all() && self.shared.streams() == 0 {
            drop(self.shared.sender.take());
        } else if now_ms >= self.idle_due_ms() {
            self.wish = Some(End::Idle);
            drop(self.shared.sender.take());
        } else if now_ms >= self.ping_due_ms() {
            self.ping(now_ms);
        } else {
            return false;
        }
        true
    }

    fn ping(&mut self, now_ms: u64) {
        self.times.pinged_ms = now_ms;
        self.shared.pings.set(self.shared.pings.get() + 1);
        if let Some(ping_pong) = &mut self.ping_pong {
            // An error is the end of the connection, which tells itself.
            let _ = ping_pong.send_ping(Ping::opaque());
        }
    }

    /// Ends at once, with a reset.
    pub(super) fn cut(&mut self, end: End) {
        self.wire.borrow_mut().abort();
        self.end_with(end);
    }

    /// Notes the end, and tells the streams.
    fn end_with(&mut self, end: End) {
        if self.shared.end.get().is_none() {
            self.shared.end.set(Some(self.wish.unwrap_or(end)));
            self.shared.tls_failure.set(self.wire.borrow().tls_failure());
        }
        drop(self.shared.sender.take());
        self.shared.wake_waiting();
        self.h2 = None;
    }
}

impl<S: Dial> Drop for Driver<S> {
    /// However its task has ended.
    fn drop(&mut self) {
        self.end_with(End::Io);
    }
}
