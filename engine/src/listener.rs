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
use crate::tls::{TlsFailure, Transport};

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
    /// That was so, and the queue has not been found empty since; the admission counts it.
    crowded: Cell<bool>,
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
            crowded: Cell::new(false),
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
            crowded: Cell::new(false),
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
        self.admission.borrow().is_crowded()
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
        self.end_crowd();
        // Another slot of this worker may wait under the same name.
        if self.waiting.replace(false) {
            self.admission().stop_waiting();
        }
    }

    /// Connections are to be left in the queue.
    fn begin_crowd(&self) {
        if !self.crowded.replace(true) {
            self.admission().begin_crowd();
        }
    }

    /// None is, or it does not matter any more.
    fn end_crowd(&self) {
        if self.crowded.replace(false) {
            self.admission().end_crowd();
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

    /// After a batch: whether connections are still left in the queue, if some were.
    fn learn(&self, batch: Batch, socket: &ListenerSocket) {
        let is_left = match batch {
            Batch::Limited => true,
            // The next batch tells, and comes for certain if nobody else takes from this queue.
            Batch::Full => self.crowded.get() && !self.is_shared() && socket.has_waiting(),
            // Nobody knows how long descriptors will be missing: no connection would be kept meanwhile.
            Batch::Empty | Batch::Exhausted => false,
        };
        if !is_left {
            self.end_crowd();
        }
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
        // Before others are called to make room: what they answer from then on is the last response of its connection.
        self.begin_crowd();
        admission.wait(&core.deadlines).ok_or_else(|| {
            self.waiting.set(true);
            Batch::Limited
        })
    }
}

/// Accepts until the slot is closed.
pub(crate) async fn accept(
    core: Rc<Core<Transport<Socket>>>,
    slot: Rc<ListenerSlot<Transport<Socket>>>,
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
        slot.learn(batch, &socket);
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
    core: &Rc<Core<Transport<Socket>>>,
    slot: &Rc<ListenerSlot<Transport<Socket>>>,
    socket: &ListenerSocket,
    size: usize,
    mut granted: Option<Permit>,
) -> Batch {
    for _ in 0..size {
        let permit = match granted.take().map_or_else(|| slot.permit(core, socket), Ok) {
            Ok(permit) => permit,
            Err(batch) => return batch,
        };
        match socket.try_accept() {
            Ok(incoming) => open(core, slot, incoming, permit),
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
    core: &Rc<Core<Transport<Socket>>>,
    slot: &Rc<ListenerSlot<Transport<Socket>>>,
    incoming: Incoming,
    mut permit: Permit,
) {
    let (local, index) = slot.local(core);
    let client_max = local.snapshot().listeners[index].limits.client_connections_max;
    if !permit.admits_client(incoming.peer.map(|peer| peer.ip()), client_max) {
        permit.admission().counters().connections_refused.increment();
        incoming.refuse();
        return;
    }
    let accepted = stages::accepted(incoming.open());
    let Some(config) = local.tls_config(index) else {
        let session = Session::new(core, slot, permit, accepted);
        if local.snapshot().listeners[index].http2.is_some() {
            return task::spawn(core, Box::new(session).run_either());
        }
        // Each future that a value is moved into has room for it twice: the argument and the variable.
        return task::spawn(core, Box::new(session).run());
    };
    match stages::with_tls(accepted, config) {
        Ok(established) => {
            let session = Session::new(core, slot, permit, established);
            task::spawn(core, stages::run_secured(Box::new(session)));
        }
        Err(_) => permit.admission().counters().tls_failures.add(TlsFailure::Internal),
    }
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

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::OwnedFd;

    use super::*;
    use crate::core::CoreParts;
    use crate::counters::PerWorker;
    use crate::driver::{Driver, block_on};
    use crate::event::event_channel;
    use crate::exchange_tests::snapshot;
    use crate::io::readiness;
    use crate::limits::{Peers, SharedLimits};

    /// A listener with room for one connection, under a name of its own.
    fn named(name: &str) -> Listener {
        let mut listener = snapshot().listeners.remove(0);
        listener.name = name.into();
        listener.shared_limits = SharedLimits::new(&Peers::new(1).unwrap()).into();
        listener.limits.connections_max = 1;
        listener
    }

    fn is_crowded(listener: &Listener) -> bool {
        listener.shared_limits.total.is_crowded()
    }

    /// One worker's listener on a port of its own.
    struct Queue {
        core: Rc<Core<Transport<Socket>>>,
        slot: Rc<ListenerSlot<Transport<Socket>>>,
        socket: ListenerSocket,
        port: TcpListener,
        clients: Vec<TcpStream>,
    }

    impl Queue {
        fn of(listener: &Listener) -> Self {
            let (events, _receiver) = event_channel().unwrap();
            let counters = PerWorker::new(1);
            let core = Rc::new(Core::new(CoreParts {
                index: 0,
                counters,
                events,
                log: None,
                spans: None,
                ticker: -1,
                alarm: -1,
                table_workers: 1,
                trim: || {},
                spawn: drop,
            }));
            let local = Local::new(snapshot().into(), &Local::empty(0), 0, core.events.clone());
            core.local.replace(Rc::new(local));
            let slot = Rc::new(ListenerSlot::new(&core, 0, listener));
            let port = TcpListener::bind("127.0.0.1:0").unwrap();
            port.set_nonblocking(true).unwrap();
            let socket = ListenerSocket::new(OwnedFd::from(port.try_clone().unwrap())).unwrap();
            Self { core, slot, socket, port, clients: Vec::new() }
        }

        /// So many clients come; none of them sends anything.
        fn come(&mut self, clients: usize) {
            let address = self.port.local_addr().unwrap();
            self.clients.extend((0..clients).map(|_| TcpStream::connect(address).unwrap()));
        }

        /// What the accepting task does when it is woken. Returns how its batch ended; `None`: it goes on waiting.
        async fn accept(&mut self) -> Option<Batch> {
            let (slot, socket) = (&self.slot, &mut self.socket);
            let ready = poll_fn(|cx| match slot.poll_accepting(cx, socket) {
                Poll::Ready(granted) => Poll::Ready(Some(granted)),
                // Epoll is not asked here: without an event it looks at its queue all the same.
                Poll::Pending => Poll::Ready((!slot.waiting.get()).then_some(None)),
            });
            let granted = ready.await?;
            let batch = accept_batch(&self.core, &self.slot, &self.socket, ACCEPT_BATCH, granted);
            self.slot.learn(batch, &self.socket);
            Some(batch)
        }
    }

    /// Runs `test` where sockets can be made.
    fn on_a_worker<F: Future>(test: F) {
        block_on(Driver::Epoll, async {
            let _closing = readiness::install(PerWorker::new(1), 0).unwrap();
            test.await;
        })
        .unwrap();
    }

    #[test]
    fn a_crowd_lasts_until_the_queue_is_found_empty() {
        on_a_worker(async {
            let web = named("web");
            let mut queue = Queue::of(&web);
            let held = queue.slot.admission().try_permit();
            assert_eq!(queue.accept().await, Some(Batch::Empty));
            assert!(!is_crowded(&web), "nobody waits");
            queue.come(2);
            assert_eq!(queue.accept().await, Some(Batch::Limited));
            assert_eq!((queue.accept().await, is_crowded(&web)), (None, true));
            drop(held);
            assert!(queue.slot.admission().is_granted() && is_crowded(&web), "nobody waits for a moment");
            assert_eq!(queue.accept().await, Some(Batch::Limited));
            assert!(is_crowded(&web), "one is left");
            web.shared_limits.total.set_max(3);
            assert!(is_crowded(&web), "it may not be the last one");
            assert_eq!((queue.accept().await, is_crowded(&web)), (Some(Batch::Empty), false));
            // And all over again.
            queue.come(2);
            assert_eq!((queue.accept().await, is_crowded(&web)), (Some(Batch::Limited), true));
        });
    }

    #[test]
    fn a_crowd_ends_with_a_full_batch_that_leaves_nobody() {
        on_a_worker(async {
            let web = named("web");
            let mut queue = Queue::of(&web);
            let held = queue.slot.admission().try_permit();
            queue.come(ACCEPT_BATCH + 1);
            assert_eq!(queue.accept().await, Some(Batch::Limited));
            drop(held);
            web.shared_limits.total.set_max(100);
            assert_eq!((queue.accept().await, is_crowded(&web)), (Some(Batch::Full), true));
            queue.come(ACCEPT_BATCH - 1);
            assert_eq!((queue.accept().await, is_crowded(&web)), (Some(Batch::Full), false));
        });
    }

    #[test]
    fn a_crowd_ends_with_what_it_waited_for() {
        let ends: [fn(&Queue, &Listener); 4] = [
            |queue, other| queue.slot.place(&queue.core, 0, other),
            |queue, _| queue.slot.remove(queue.core.local.borrow().clone()),
            |queue, _| queue.slot.close(),
            |queue, _| queue.slot.abandon(),
        ];
        on_a_worker(async {
            // While it waits, and when a permit has been granted.
            for (end, is_granted) in ends.into_iter().flat_map(|end| [(end, false), (end, true)]) {
                let [web, other] = [named("web"), named("other")];
                let mut queue = Queue::of(&web);
                let mut held = queue.slot.admission().try_permit();
                queue.come(1);
                assert_eq!(queue.accept().await, Some(Batch::Limited));
                queue.slot.place(&queue.core, 0, &web);
                assert!(is_crowded(&web), "a reload that changes nothing");
                held.take_if(|_| is_granted);
                end(&queue, &other);
                assert!(!is_crowded(&web) && !is_crowded(&other));
                // The end of an end counts nothing twice.
                queue.slot.abandon();
                assert!(!is_crowded(&web) && !is_crowded(&other));
            }
        });
    }

    #[test]
    fn a_name_that_moves_to_another_queue_begins_a_crowd_there() {
        on_a_worker(async {
            let web = named("web");
            let mut queues = [Queue::of(&web), Queue::of(&web)];
            let _held = queues[0].slot.admission().try_permit();
            queues.iter_mut().for_each(|queue| queue.come(1));
            assert_eq!(queues[0].accept().await, Some(Batch::Limited));
            queues[0].slot.close();
            assert!(!is_crowded(&web));
            assert_eq!(queues[1].accept().await, Some(Batch::Limited));
            queues[0].slot.abandon();
            assert!(is_crowded(&web), "the other one's does not end with it");
            queues[1].slot.abandon();
            assert!(!is_crowded(&web));
        });
    }
}
