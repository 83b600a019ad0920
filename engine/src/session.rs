//! One connection from a client, from its first byte to its last.
//!
//! An idle session is small: an armed poll and this struct. What an exchange needs is in a box of its own that lives
//! while the connection is busy and for [`BUSY_GRACE`] after.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::core::{Core, Timer};
use crate::counters::{ListenerCounters, PerWorker};
use crate::exchange::{Next, due, poll_deadline, serve};
use crate::h1::H1Downstream;
use crate::heads::ClientAddress;
use crate::io::{Dial, clock};
use crate::listener::ListenerSlot;
use crate::message::Downstream;
use crate::stages::Established;

/// How long a connection counts as busy after a response: a client under load has its next request here by then, and
/// finds its exchange's memory still allocated.
const BUSY_GRACE: Duration = Duration::from_secs(1);

/// How long a draining worker waits for one more request on an idle connection: a request that is already on its way
/// must not meet a closed connection.
const DRAIN_GRACE: Duration = Duration::from_secs(1);

/// How long a closing connection is read on, so that the client can read the answer before its own bytes are refused.
const LINGER_TIMEOUT: Duration = Duration::from_secs(5);

/// See the module.
pub(crate) struct Session<S: Dial> {
    pub(crate) core: Rc<Core<S>>,
    pub(crate) slot: Rc<ListenerSlot>,
    /// Those of the listener's name when the connection was accepted.
    counters: Rc<PerWorker<ListenerCounters>>,
    pub(crate) client: ClientAddress,
    pub(crate) timer: Timer<S>,
    pub(crate) down: H1Downstream<S>,
}

impl<S: Dial> Session<S> {
    pub(crate) fn new(core: &Rc<Core<S>>, slot: &Rc<ListenerSlot>, established: Established<S>) -> Self {
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
        }
    }

    /// Serves requests until the connection ends.
    pub(crate) async fn run(mut self) {
        let mut first = true;
        while self.wait_for_request(first).await {
            first = false;
            match Box::pin(self.serve_while_busy()).await {
                Next::Keep => {}
                Next::Close => break,
                Next::Linger => {
                    Box::pin(self.linger()).await;
                    break;
                }
                Next::Abort => {
                    self.down.abort();
                    break;
                }
            }
        }
    }

    /// Whether a request is coming; if not, the connection closes.
    async fn wait_for_request(&mut self, first: bool) -> bool {
        let started_ms = clock::coarse_ms();
        poll_fn(|cx| {
            if self.down.has_surplus() {
                return Poll::Ready(true);
            }
            match self.down.poll_readable(cx) {
                Poll::Ready(readable) => return Poll::Ready(readable.is_ok()),
                Poll::Pending => {}
            }
            let Some(due_ms) = self.idle_due(started_ms, first) else { return Poll::Ready(false) };
            if self.poll_idle_deadline(cx, due_ms).is_ready() {
                if !first && !self.core.draining.get() {
                    self.counters.of(self.core.index).keepalive_timeouts.increment();
                }
                return Poll::Ready(false);
            }
            Poll::Pending
        })
        .await
    }

    /// When an idle connection closes; `None`: now.
    fn idle_due(&self, started_ms: u64, first: bool) -> Option<u64> {
        let local = self.core.local.borrow();
        let listener = self.slot.index().map(|index| &local.snapshot().listeners[index]);
        let timeout = match listener {
            Some(listener) if first => listener.head_timeout,
            Some(listener) => listener.keepalive_timeout,
            // The listener is gone: as in a drain, one more request may be on its way.
            None => DRAIN_GRACE,
        };
        Some(due(started_ms, timeout))
    }

    fn poll_idle_deadline(&mut self, cx: &mut Context<'_>, due_ms: u64) -> Poll<()> {
        let drain_due_ms = due(self.core.draining_since_ms.get(), DRAIN_GRACE);
        poll_deadline(cx, &mut self.timer, due_ms.min(drain_due_ms))
    }

    async fn serve_while_busy(&mut self) -> Next {
        let counters = self.counters.clone();
        let counters = counters.of(self.core.index);
        counters.connections_active.increment();
        let _active = OnDrop(|| counters.connections_active.decrement());
        loop {
            let next = serve(self).await;
            if next != Next::Keep || !self.has_next_soon().await {
                return next;
            }
        }
    }

    /// Whether another request comes within the grace.
    async fn has_next_soon(&mut self) -> bool {
        let started_ms = clock::coarse_ms();
        poll_fn(|cx| {
            if self.down.has_surplus() {
                return Poll::Ready(true);
            }
            match self.down.poll_readable(cx) {
                // An error is found again by the receive that follows.
                Poll::Ready(_) => Poll::Ready(true),
                Poll::Pending => {
                    let due_ms = due(started_ms, BUSY_GRACE);
                    self.poll_idle_deadline(cx, due_ms).map(|()| false)
                }
            }
        })
        .await
    }

    /// Closes the sending side and reads on for a while: closing over unread bytes would reset the connection, and the
    /// client would lose the answer that it has not read yet.
    async fn linger(&mut self) {
        self.down.shutdown_write();
        let due_ms = due(clock::coarse_ms(), LINGER_TIMEOUT);
        poll_fn(|cx| {
            loop {
                match self.down.poll_discard(cx, self.core.lent()) {
                    Poll::Ready(Ok(true)) => {}
                    Poll::Ready(_) => return Poll::Ready(()),
                    Poll::Pending => return poll_deadline(cx, &mut self.timer, due_ms),
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
