//! One connection from a client, from its first byte to its last.
//!
//! An idle session is small: its entry in the worker's readiness set and this struct. What an exchange needs is in a box
//! of its own that lives while the connection is busy and for [`BUSY_GRACE`] after.

mod http2;

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use crate::admission::{Admission, Permit};
use crate::caller::Caller;
use crate::core::{Core, Timer, due};
use crate::counters::ListenerCounters;
use crate::exchange::{Next, serve};
use crate::h1::H1Downstream;
use crate::heads::ClientAddress;
use crate::io::{Check, Dial, clock};
use crate::limits::IdleKey;
use crate::listener::ListenerSlot;
use crate::message::Downstream;
use crate::stages::{Established, note_failure};
use crate::tls::Secured;

/// How long a connection counts as busy after a response: a client under load has its next request here by then, and
/// finds its exchange's memory still allocated, unless too many keep theirs (`footprint.rs`).
const BUSY_GRACE: Duration = Duration::from_secs(1);

/// How long an idle connection of a draining worker or a removed listener waits for one more request: a request that is
/// already on its way must not meet a closed connection.
const LAST_REQUEST_GRACE: Duration = Duration::from_secs(1);

/// How long a connection that has sent nothing yet is not closed to make room for others: its first request is on its
/// way.
const SILENT_GRACE: Duration = Duration::from_secs(1);

/// Exchanges without waiting for a request after which the others of the worker get a turn.
const EXCHANGES_A_TURN: u8 = 32;

/// The turn comes after this time at the latest: a client that does not read makes no event, and the deadlines of its
/// next exchange must begin.
const TURN_TIMEOUT: Duration = Duration::from_millis(100);

/// How long a closing connection is read on, so that the client can read the answer before its own bytes are refused.
const LINGER_TIMEOUT: Duration = Duration::from_secs(5);

/// The same while others wait for a place.
const LINGER_TIMEOUT_CROWDED: Duration = Duration::from_millis(500);

/// See the module.
pub(crate) struct Session<S: Dial> {
    pub(crate) core: Rc<Core<S>>,
    pub(crate) slot: Rc<ListenerSlot<S>>,
    pub(crate) client: ClientAddress,
    pub(crate) timer: Timer<S>,
    pub(crate) down: H1Downstream<S>,
    /// Requests so far, the one in progress included.
    requests: u64,
    /// Its place among the idle connections, while it waits for a request that has not begun.
    idle: Option<IdleKey>,
    /// Exchanges since the session last waited for a request.
    exchanges_in_turn: u8,
    /// It is one of those that keep the memory of an exchange for the next request.
    waits: bool,
    /// When it was accepted, its handshake was complete, or its last exchange ended.
    idle_since_ms: u64,
    /// The last field, so that it is given back when the stream is closed.
    permit: Permit,
}

impl<S: Dial> Session<S> {
    pub(crate) fn new(
        core: &Rc<Core<S>>,
        slot: &Rc<ListenerSlot<S>>,
        mut permit: Permit,
        established: Established<S>,
    ) -> Self {
        permit.admission().counters().connections_total.increment();
        permit.count_open();
        core.footprint.add_connection();
        core.counters().connections_total.increment();
        core.counters().connections.increment();
        Self {
            core: core.clone(),
            slot: slot.clone(),
            client: ClientAddress::new(established.peer),
            timer: Timer::new(core),
            down: H1Downstream::new(established.stream),
            requests: 0,
            idle: None,
            exchanges_in_turn: 0,
            waits: false,
            idle_since_ms: clock::coarse_ms(),
            permit,
        }
    }

    /// Takes note of what its handshake has settled. Its first request is awaited from here on.
    pub(crate) fn start_secured(&mut self, secured: Secured) {
        self.client.secure(secured);
        self.idle_since_ms = clock::coarse_ms();
    }

    /// Serves requests until the connection ends.
    pub(crate) async fn run(mut self: Box<Self>) {
        while poll_fn(|cx| self.poll_request(cx)).await {
            match Box::pin(self.serve_while_busy()).await {
                Next::Keep => {}
                Next::Close => {
                    self.down.end();
                    if self.down.is_blocked() {
                        // TLS has not yet said that this was the end.
                        Box::pin(self.linger()).await;
                    }
                    break;
                }
                Next::Linger => {
                    Box::pin(self.linger()).await;
                    break;
                }
                Next::Abort => {
                    self.down.reset();
                    break;
                }
            }
        }
    }

    /// Waits for a request: whether one is coming; if not, the connection closes. No future of its own, so that the task of
    /// an idle connection stays small.
    fn poll_request(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let is_coming = ready!(self.poll_coming(cx));
        self.become_busy();
        Poll::Ready(is_coming)
    }

    fn poll_coming(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        if self.down.has_surplus() {
            return Poll::Ready(true);
        }
        // Most connections have brought their request with them.
        if let Some(has_request) = self.down.try_first(self.core.lent()) {
            return Poll::Ready(has_request);
        }
        if let Poll::Ready(readable) = self.down.poll_readable(cx) {
            return Poll::Ready(readable.is_ok());
        }
        if self.is_called() {
            return Poll::Ready(!self.try_yield());
        }
        let due_ms = self.idle_due();
        let silent_due_ms = due(self.idle_since_ms, SILENT_GRACE);
        if self.requests == 0 && self.timer.poll_until(cx, silent_due_ms.min(due_ms)).is_pending() {
            return Poll::Pending;
        }
        if self.timer.poll_until(cx, due_ms).is_pending() {
            self.become_idle();
            return Poll::Pending;
        }
        if self.requests > 0 && !self.slot.is_ending(&self.core) {
            self.counters().keepalive_timeouts.increment();
        }
        Poll::Ready(false)
    }

    /// From here on it may be closed to make room for another connection.
    fn become_idle(&mut self) {
        if self.idle.is_none() {
            self.idle = Some(self.permit.admission().link_idle(self.timer.key(), &self.core.deadlines));
        }
    }

    /// No longer.
    fn become_busy(&mut self) {
        if let Some(idle) = self.idle.take()
            && self.permit.admission().unlink_idle(idle)
            && !self.permit.is_yielding()
        {
            self.permit.admission().refuse_to_yield();
        }
    }

    /// Whether it is to make room.
    fn is_called(&self) -> bool {
        self.idle.is_some_and(|idle| self.permit.admission().is_called(idle))
    }

    /// Whether it does: a request whose first byte is here is served.
    fn try_yield(&mut self) -> bool {
        let yields = self.down.is_silent(Check::Socket);
        if yields {
            self.permit.begin_yield();
            self.counters().connections_yielded.increment();
        }
        yields
    }

    /// As its exchanges see it.
    pub(crate) fn caller(&mut self) -> Caller<'_, S, H1Downstream<S>> {
        let Self { core, slot, client, timer, down, requests, .. } = self;
        Caller { core, slot, client, timer, down, requests: *requests }
    }

    /// By which it was admitted.
    pub(crate) fn admission(&self) -> Rc<Admission> {
        self.permit.admission().clone()
    }

    fn counters(&self) -> &ListenerCounters {
        self.permit.admission().counters()
    }

    /// When the connection closes for want of a request.
    fn idle_due(&self) -> u64 {
        let (local, index) = self.slot.local(&self.core);
        let listener = &local.snapshot().listeners[index];
        let timeout = if self.requests > 0 { listener.keepalive_timeout } else { listener.head_timeout };
        let last_since_ms = self.core.draining_since_ms.get().min(self.slot.removed_since_ms());
        // The client may have taken the end of a response for leave to send the next request.
        let last_due_ms = due(last_since_ms.max(self.idle_since_ms), LAST_REQUEST_GRACE);
        due(self.idle_since_ms, timeout).min(if last_since_ms == u64::MAX { u64::MAX } else { last_due_ms })
    }

    async fn serve_while_busy(&mut self) -> Next {
        let core = self.core.clone();
        core.footprint.add_exchange();
        let _held = OnDrop(|| core.footprint.remove_exchange());
        loop {
            self.exchanges_in_turn += 1;
            if self.exchanges_in_turn > EXCHANGES_A_TURN {
                self.exchanges_in_turn = 0;
                self.let_others_run().await;
            }
            let admission = self.permit.admission().clone();
            let counters = admission.counters();
            counters.connections_active.increment();
            let active = OnDrop(|| counters.connections_active.decrement());
            self.requests += 1;
            let next = serve(&mut self.caller()).await;
            drop(active);
            if self.down.take_pipeline_full() {
                counters.pipeline_full.increment();
            }
            self.idle_since_ms = clock::coarse_ms();
            if next != Next::Keep || !self.has_next_soon().await {
                return next;
            }
        }
    }

    /// A client that pipelines can keep its session from ever waiting.
    async fn let_others_run(&mut self) {
        self.down.start_turn();
        let due_ms = due(clock::coarse_ms(), TURN_TIMEOUT);
        poll_fn(|cx| match self.down.poll_turn(cx) {
            Poll::Ready(()) => Poll::Ready(()),
            Poll::Pending => self.timer.poll_until(cx, due_ms),
        })
        .await;
    }

    /// Whether another request comes within the grace.
    async fn has_next_soon(&mut self) -> bool {
        let has_next = poll_fn(|cx| {
            if self.down.has_surplus() {
                return Poll::Ready(true);
            }
            match self.down.poll_readable(cx) {
                // An error is found again by the receive that follows.
                Poll::Ready(_) => Poll::Ready(true),
                Poll::Pending if self.is_called() => Poll::Ready(false),
                Poll::Pending if !self.may_wait() => Poll::Ready(false),
                Poll::Pending => {
                    self.exchanges_in_turn = 0;
                    let due_ms = self.idle_due().min(due(self.idle_since_ms, BUSY_GRACE));
                    let over = self.timer.poll_until(cx, due_ms);
                    if over.is_pending() {
                        self.become_idle();
                    }
                    over.map(|()| false)
                }
            }
        })
        .await;
        self.end_wait();
        // Otherwise it stays idle, in its place among the others.
        if has_next {
            self.become_busy();
        }
        has_next
    }

    /// Whether the memory of an exchange may be kept for the next one.
    fn may_wait(&mut self) -> bool {
        self.waits = self.waits || self.core.footprint.try_wait();
        self.waits
    }

    fn end_wait(&mut self) {
        if std::mem::take(&mut self.waits) {
            self.core.footprint.end_wait();
        }
    }

    /// Closes the sending side and reads on for a while: closing over unread bytes would reset the connection, and the
    /// client would lose the answer that it has not read yet.
    async fn linger(&mut self) {
        self.down.finish();
        // Its place may be wanted: what a client does not read within this time it is not waiting for.
        let timeout = if self.slot.is_crowded() { LINGER_TIMEOUT_CROWDED } else { LINGER_TIMEOUT };
        let due_ms = due(clock::coarse_ms(), timeout);
        poll_fn(|cx| {
            loop {
                match self.down.poll_discard(cx, self.core.lent()) {
                    Poll::Ready(Ok(true)) => {}
                    Poll::Ready(_) => return Poll::Ready(()),
                    Poll::Pending => return self.timer.poll_until(cx, due_ms),
                }
            }
        })
        .await;
    }

    /// Counts what was moved outside of exchanges, or after them.
    fn count_moved(&mut self) {
        let moved = self.down.take_moved();
        let counters = self.permit.admission().counters();
        counters.received_bytes.add(moved.received);
        counters.sent_bytes.add(moved.sent);
    }
}

impl<S: Dial> Drop for Session<S> {
    fn drop(&mut self) {
        self.count_moved();
        // What failed in the handshake was counted there.
        if self.client.secured().is_some()
            && let Some((failure, alert)) = self.down.stream().tls_failure()
        {
            note_failure(self, failure, alert);
        }
        self.become_busy();
        self.core.footprint.remove_connection();
        self.core.counters().connections.decrement();
        self.end_wait();
        self.core.wake_main();
    }
}

/// Runs a closure when dropped, however the scope ends.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}
