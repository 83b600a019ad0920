//! One connection from a client, from its first byte to its last.
//!
//! An idle session is small: its entry in the worker's readiness set and this struct. What an exchange needs is in a box
//! of its own that lives while the connection is busy and for [`BUSY_GRACE`] after.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use crate::core::{Core, Timer, due};
use crate::counters::{ListenerCounters, PerWorker};
use crate::exchange::{Next, serve};
use crate::h1::H1Downstream;
use crate::heads::ClientAddress;
use crate::io::{Dial, clock};
use crate::listener::ListenerSlot;
use crate::message::Downstream;
use crate::stages::Established;

/// How long a connection counts as busy after a response: a client under load has its next request here by then, and
/// finds its exchange's memory still allocated.
const BUSY_GRACE: Duration = Duration::from_secs(1);

/// How long an idle connection of a draining worker or a removed listener waits for one more request: a request that is
/// already on its way must not meet a closed connection.
const LAST_REQUEST_GRACE: Duration = Duration::from_secs(1);

/// Exchanges without waiting for a request after which the others of the worker get a turn.
const EXCHANGES_A_TURN: u32 = 32;

/// The turn comes after this time at the latest: a client that does not read makes no event, and the deadlines of its
/// next exchange must begin.
const TURN_TIMEOUT: Duration = Duration::from_millis(100);

/// How long a closing connection is read on, so that the client can read the answer before its own bytes are refused.
const LINGER_TIMEOUT: Duration = Duration::from_secs(5);

/// See the module.
pub(crate) struct Session<S: Dial> {
    pub(crate) core: Rc<Core<S>>,
    pub(crate) slot: Rc<ListenerSlot<S>>,
    /// Those of the listener's name when the connection was accepted.
    counters: Rc<PerWorker<ListenerCounters>>,
    pub(crate) client: ClientAddress,
    pub(crate) timer: Timer<S>,
    pub(crate) down: H1Downstream<S>,
    has_served: bool,
    /// Exchanges since the session last waited for a request.
    exchanges_in_turn: u32,
    /// When it was accepted, or when its last exchange ended.
    idle_since_ms: u64,
}

impl<S: Dial> Session<S> {
    pub(crate) fn new(core: &Rc<Core<S>>, slot: &Rc<ListenerSlot<S>>, established: Established<S>) -> Self {
        let counters = slot.counters();
        counters.of(core.index).connections_total.increment();
        counters.of(core.index).connections.increment();
        core.connections.set(core.connections.get() + 1);
        Self {
            core: core.clone(),
            slot: slot.clone(),
            counters,
            client: ClientAddress::new(established.peer),
            timer: Timer::new(core),
            down: H1Downstream::new(established.stream),
            has_served: false,
            exchanges_in_turn: 0,
            idle_since_ms: clock::coarse_ms(),
        }
    }

    /// Serves requests until the connection ends.
    pub(crate) async fn run(mut self) {
        while self.wait_for_request().await {
            match Box::pin(self.serve_while_busy()).await {
                Next::Keep => {}
                Next::Close => break,
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

    /// Whether a request is coming; if not, the connection closes.
    async fn wait_for_request(&mut self) -> bool {
        poll_fn(|cx| {
            if self.down.has_surplus() {
                return Poll::Ready(true);
            }
            if let Poll::Ready(readable) = self.down.poll_readable(cx) {
                return Poll::Ready(readable.is_ok());
            }
            let due_ms = self.idle_due();
            if self.timer.poll_until(cx, due_ms).is_pending() {
                return Poll::Pending;
            }
            if self.has_served && !self.slot.is_ending(&self.core) {
                self.counters.of(self.core.index).keepalive_timeouts.increment();
            }
            Poll::Ready(false)
        })
        .await
    }

    /// When the connection closes for want of a request.
    fn idle_due(&self) -> u64 {
        let (local, index) = self.slot.local(&self.core);
        let listener = &local.snapshot().listeners[index];
        let timeout = if self.has_served { listener.keepalive_timeout } else { listener.head_timeout };
        let last_since_ms = self.core.draining_since_ms.get().min(self.slot.removed_since_ms());
        // The client may have taken the end of a response for leave to send the next request.
        let last_due_ms = due(last_since_ms.max(self.idle_since_ms), LAST_REQUEST_GRACE);
        due(self.idle_since_ms, timeout).min(if last_since_ms == u64::MAX { u64::MAX } else { last_due_ms })
    }

    async fn serve_while_busy(&mut self) -> Next {
        loop {
            self.exchanges_in_turn += 1;
            if self.exchanges_in_turn > EXCHANGES_A_TURN {
                self.exchanges_in_turn = 0;
                self.let_others_run().await;
            }
            let counters = self.counters.clone();
            let counters = counters.of(self.core.index);
            counters.connections_active.increment();
            let active = OnDrop(|| counters.connections_active.decrement());
            let next = serve(self).await;
            drop(active);
            self.has_served = true;
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
        poll_fn(|cx| {
            if self.down.has_surplus() {
                return Poll::Ready(true);
            }
            match self.down.poll_readable(cx) {
                // An error is found again by the receive that follows.
                Poll::Ready(_) => Poll::Ready(true),
                Poll::Pending => {
                    self.exchanges_in_turn = 0;
                    let due_ms = self.idle_due().min(due(self.idle_since_ms, BUSY_GRACE));
                    self.timer.poll_until(cx, due_ms).map(|()| false)
                }
            }
        })
        .await
    }

    /// Closes the sending side and reads on for a while: closing over unread bytes would reset the connection, and the
    /// client would lose the answer that it has not read yet.
    async fn linger(&mut self) {
        self.down.finish();
        let due_ms = due(clock::coarse_ms(), LINGER_TIMEOUT);
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
    pub(crate) fn count_moved(&mut self) {
        let moved = self.down.take_moved();
        let counters = self.counters.of(self.core.index);
        counters.received_bytes.add(moved.received);
        counters.sent_bytes.add(moved.sent);
    }
}

impl<S: Dial> Drop for Session<S> {
    fn drop(&mut self) {
        self.count_moved();
        self.counters.of(self.core.index).connections.decrement();
        self.core.connections.set(self.core.connections.get() - 1);
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
