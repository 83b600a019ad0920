//! Accepting connections on one address.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::admission::{Admission, Permit};
use crate::command::Event;
use crate::core::{Core, Timer, due};
use crate::io::{Dial, Incoming, ListenerSocket, Socket, clock};
use crate::local::Local;
use crate::session::Session;
use crate::snapshot::{Address, Listener};
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
    /// By which connections are admitted now.
    admission: RefCell<Rc<Admission>>,
    /// Connections are left in the queue until one has ended.
    waiting: Cell<bool>,
    /// The queue is to be looked at although no event has come.
    retrying: Cell<bool>,
    closing: Cell<bool>,
    accepting: RefCell<Option<Waker>>,
}

impl<S: Dial> ListenerSlot<S> {
    pub(crate) fn new(core: &Core<S>, index: usize, listener: &Listener) -> Self {
        Self {
            address: listener.address.clone(),
            index: Cell::new(index),
            removed: RefCell::default(),
            removed_since_ms: Cell::new(u64::MAX),
            admission: RefCell::new(core.admissions.of(core.index, listener)),
            waiting: Cell::new(false),
            retrying: Cell::new(false),
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
            admission: RefCell::new(self.admission()),
            waiting: Cell::new(false),
            retrying: Cell::new(false),
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

    /// Gives it its place in a new snapshot, and the limits and counters that belong to its name there.
    pub(crate) fn place(&self, core: &Core<S>, index: usize, listener: &Listener) {
        self.index.set(index);
        if !self.admission().renew(listener) {
            // Renamed. What it waits for under the old name does not matter any more.
            self.stop_waiting();
            *self.admission.borrow_mut() = core.admissions.of(core.index, listener);
            self.retry();
        }
    }

    /// By which connections are admitted now.
    pub(crate) fn admission(&self) -> Rc<Admission> {
        self.admission.borrow().clone()
    }

    /// Whether connections wait for one to end, on any worker: then each response is the last one of its connection.
    pub(crate) fn is_crowded(&self) -> bool {
        self.admission.borrow().is_awaited()
    }

    /// Another worker has woken this one, maybe for this listener: a permit was granted, or idle connections are to make
    /// room.
    pub(crate) fn attend(&self, core: &Core<S>) {
        let admission = self.admission();
        if self.waiting.get() && admission.is_granted() {
            self.wake_accepting();
        }
        if admission.answer_call(&core.deadlines) && self.is_shared() {
            // The worker that waited for all of them may be gone.
            self.retry();
        }
    }

    /// Whether all workers take connections from one queue.
    fn is_shared(&self) -> bool {
        matches!(self.address, Address::Unix(_))
    }

    fn retry(&self) {
        self.retrying.set(true);
        self.wake_accepting();
    }

    fn wake_accepting(&self) {
        if let Some(waker) = &*self.accepting.borrow() {
            waker.wake_by_ref();
        }
    }

    /// Does not wait for a permit any more; one that was granted goes to another worker.
    fn stop_waiting(&self) {
        if self.waiting.replace(false) {
            self.admission().stop_waiting();
        }
    }

    /// The worker ends: gives up its place among those who wait, and lets go of its accepting task.
    pub(crate) fn abandon(&self) {
        self.stop_waiting();
        if self.is_shared() {
            self.admission().call_all();
        }
        let accepting = self.accepting.take();
        // It may be the last that holds the task: no borrow is held.
        drop(accepting);
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
        // What waits is taken whatever the limit is.
        self.stop_waiting();
        self.wake_accepting();
    }

    /// Waits until connections may be accepted, with a permit that was granted for the first.
    fn poll_accepting(&self, cx: &mut Context<'_>, socket: &mut ListenerSocket) -> Poll<Option<Permit>> {
        *self.accepting.borrow_mut() = Some(cx.waker().clone());
        if self.closing.get() {
            return Poll::Ready(None);
        }
        if self.waiting.get() {
            let granted = self.admission().take_grant();
            if granted.is_some() {
                self.waiting.set(false);
                return Poll::Ready(granted);
            }
            return Poll::Pending;
        }
        if self.retrying.take() {
            return Poll::Ready(None);
        }
        socket.poll_ready(cx).map(|()| None)
    }

    /// A permit for the next connection in the queue. Without one it waits there.
    fn permit(&self, core: &Core<S>, socket: &ListenerSocket) -> Result<Permit, Batch> {
        let admission = self.admission();
        if self.closing.get() {
            return Ok(admission.permit_regardless());
        }
        if let Some(permit) = admission.try_permit() {
            return Ok(permit);
        }
        // Nobody waits unless a connection does: others would be closed for nothing.
        if !socket.has_waiting() {
            return Err(Batch::Empty);
        }
        // One that waits for all takes what this worker sees, too.
        if self.is_shared() && !admission.begin_queue() {
            return Err(Batch::Empty);
        }
        admission.wait(&core.deadlines).ok_or_else(|| {
            self.waiting.set(true);
            Batch::Limited
        })
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
        let granted = poll_fn(|cx| slot.poll_accepting(cx, &mut socket)).await;
        let closing = slot.closing.get();
        let size = if closing { CLOSING_BATCH } else { ACCEPT_BATCH };
        let batch = accept_batch(&core, &slot, &socket, size, granted);
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
    /// More may wait, but as many as may be are open; a permit will be granted.
    Limited,
    /// Descriptors or memory have run out.
    Exhausted,
}

/// Takes connections from the queue.
fn accept_batch(
    core: &Rc<Core<Socket>>,
    slot: &Rc<ListenerSlot<Socket>>,
    socket: &ListenerSocket,
    size: usize,
    mut granted: Option<Permit>,
) -> Batch {
    for _ in 0..size {
        let permit = match granted.take().map_or_else(|| slot.permit(core, socket), Ok) {
            Ok(permit) => permit,
            Err(batch) => return batch,
        };
        match socket.try_accept().and_then(|incoming| open(core, slot, incoming, permit)) {
            Ok(()) => {}
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

/// Begins a connection's session, unless its client has too many open.
fn open(
    core: &Rc<Core<Socket>>,
    slot: &Rc<ListenerSlot<Socket>>,
    incoming: Incoming,
    mut permit: Permit,
) -> io::Result<()> {
    let (local, index) = slot.local(core);
    let client_max = local.snapshot().listeners[index].limits.client_connections_max;
    if !permit.admits_client(incoming.peer.map(|peer| peer.ip()), client_max) {
        permit.admission().counters().connections_refused.increment();
        incoming.refuse();
        return Ok(());
    }
    let session = Session::new(core, slot, permit, stages::accepted(incoming.open()?));
    // Each future that a value is moved into has room for it twice: the argument and the variable.
    task::spawn(core, Box::new(session).run());
    Ok(())
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
