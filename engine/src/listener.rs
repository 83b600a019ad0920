//! Accepting connections on one address.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use crate::command::Event;
use crate::core::{Core, Timer, due};
use crate::counters::{ListenerCounters, PerWorker};
use crate::io::{Dial, ListenerSocket, Socket, clock};
use crate::local::Local;
use crate::session::Session;
use crate::snapshot::Address;
use crate::stages;
use crate::task;

/// Connections accepted in one go at most, so that a flood of them does not starve those that are open.
const ACCEPT_BATCH: usize = 8;

/// Connections taken from the queue of a listener that closes, at most: the queue cannot be longer.
const CLOSING_BATCH: usize = 65_536;

/// How long accepting pauses when descriptors or memory have run out: trying again at once would only spin.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// What a worker keeps of a listener: its identity is its address, whatever a reload makes of the rest.
pub(crate) struct ListenerSlot<S: Dial> {
    pub(crate) address: Address,
    /// Its place in the snapshot in force, or in `removed`.
    index: Cell<usize>,
    /// The last snapshot that named it, if the one in force does not: its connections are served from that until they
    /// end.
    removed: RefCell<Option<Rc<Local<S>>>>,
    removed_since_ms: Cell<u64>,
    /// An `Rc` around, so that a session does not touch a count that all cores share.
    counters: RefCell<Rc<PerWorker<ListenerCounters>>>,
    closing: Cell<bool>,
    accepting: RefCell<Option<Waker>>,
}

impl<S: Dial> ListenerSlot<S> {
    pub(crate) fn new(address: Address, index: usize, counters: &PerWorker<ListenerCounters>) -> Self {
        Self {
            address,
            index: Cell::new(index),
            removed: RefCell::default(),
            removed_since_ms: Cell::new(u64::MAX),
            counters: RefCell::new(Rc::new(counters.clone())),
            closing: Cell::new(false),
            accepting: RefCell::default(),
        }
    }

    /// The place of a connection that no longer depends on it: one that is removed, with `local` as its last snapshot.
    pub(crate) fn leave(&self, local: Rc<Local<S>>) -> Self {
        Self {
            address: self.address.clone(),
            index: Cell::new(0),
            removed: RefCell::new(Some(local)),
            removed_since_ms: Cell::new(self.removed_since_ms.get()),
            counters: RefCell::new(self.counters()),
            closing: Cell::new(true),
            accepting: RefCell::default(),
        }
    }

    /// The snapshot that its connections are served from, and its place there.
    pub(crate) fn local(&self, core: &Core<S>) -> (Rc<Local<S>>, usize) {
        let local = match &*self.removed.borrow() {
            Some(removed) => removed.clone(),
            None => core.local.borrow().clone(),
        };
        (local, self.index.get())
    }

    /// Whether its connections take one more request at most: the worker drains, or it was removed.
    pub(crate) fn is_ending(&self, core: &Core<S>) -> bool {
        core.draining.get() || self.is_removed()
    }

    /// Whether the snapshot in force no longer names it.
    pub(crate) fn is_removed(&self) -> bool {
        self.removed.borrow().is_some()
    }

    /// Gives it its place in a new snapshot, and the counters that belong to its name there.
    pub(crate) fn place(&self, index: usize, counters: &PerWorker<ListenerCounters>) {
        self.index.set(index);
        *self.counters.borrow_mut() = Rc::new(counters.clone());
    }

    /// The counters of connections that are accepted now.
    pub(crate) fn counters(&self) -> Rc<PerWorker<ListenerCounters>> {
        self.counters.borrow().clone()
    }

    /// Its address is no longer in the snapshot in force: what waits is accepted and the socket closed.
    pub(crate) fn remove(&self, last: Rc<Local<S>>) {
        *self.removed.borrow_mut() = Some(last);
        self.removed_since_ms.set(clock::coarse_ms());
        self.close();
    }

    /// When that was ([`clock::coarse_ms`]); `u64::MAX` if it was not.
    pub(crate) fn removed_since_ms(&self) -> u64 {
        self.removed_since_ms.get()
    }

    /// Makes its accepting task take what waits and close the socket.
    pub(crate) fn close(&self) {
        self.closing.set(true);
        if let Some(waker) = &*self.accepting.borrow() {
            waker.wake_by_ref();
        }
    }
}

/// Accepts until the slot is closed.
pub(crate) async fn accept(
    core: Rc<Core<Socket>>,
    slot: Rc<ListenerSlot<Socket>>,
    mut socket: ListenerSocket,
) {
    let mut timer = Timer::new(&core);
    core.accepting.set(core.accepting.get() + 1);
    loop {
        poll_fn(|cx| {
            *slot.accepting.borrow_mut() = Some(cx.waker().clone());
            if slot.closing.get() { Poll::Ready(()) } else { socket.poll_ready(cx) }
        })
        .await;
        let closing = slot.closing.get();
        let batch = accept_batch(&core, &slot, &socket, if closing { CLOSING_BATCH } else { ACCEPT_BATCH });
        if closing {
            break;
        }
        if batch == Batch::Full {
            socket.rearm();
        }
        if batch == Batch::Exhausted {
            core.counters().accept_paused.increment();
            let due_ms = due(clock::coarse_ms(), EXHAUSTED_PAUSE);
            poll_fn(|cx| if slot.closing.get() { Poll::Ready(()) } else { timer.poll_until(cx, due_ms) })
                .await;
            socket.rearm();
        }
    }
    drop(socket);
    core.accepting.set(core.accepting.get() - 1);
    core.wake_main();
    core.events.send(Event::ListenerClosed { worker: core.index, address: slot.address.clone() });
}

/// How taking connections from the queue ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Batch {
    /// None waits.
    Empty,
    /// More may wait.
    Full,
    /// Descriptors or memory have run out.
    Exhausted,
}

/// Takes connections from the queue.
fn accept_batch(
    core: &Rc<Core<Socket>>,
    slot: &Rc<ListenerSlot<Socket>>,
    socket: &ListenerSocket,
    batch: usize,
) -> Batch {
    for _ in 0..batch {
        match socket.try_accept() {
            Ok(accepted) => {
                let session = Session::new(core, slot, stages::accepted(accepted));
                task::spawn(core, session.run());
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Batch::Empty,
            Err(error) if is_exhausted(&error) => return Batch::Exhausted,
            // The connection died in the queue: the next one may be fine.
            Err(error) if is_connections_own(&error) => {}
            // Unknown: trying again at once might be all that this worker does.
            Err(_) => return Batch::Exhausted,
        }
    }
    Batch::Full
}

/// Whether an accept failed for that one connection (accept(2): network errors of the new socket).
fn is_connections_own(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::ECONNABORTED
                | libc::EINTR
                | libc::EPROTO
                | libc::ENETDOWN
                | libc::EHOSTUNREACH
                | libc::EPERM
        )
    )
}

/// Whether descriptors or memory have run out, ours or the machine's.
pub(crate) fn is_exhausted(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM))
}
