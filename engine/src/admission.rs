//! What a worker knows of one listener's limits, and the permit that each of its connections holds.

use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use crate::counters::{ListenerCounters, PerWorker};
use crate::deadlines::{DeadlineKey, Deadlines};
use crate::h2::Clients;
use crate::limits::{ClientKey, IdleEntries, IdleKey, IdleList, SharedLimits};
use crate::snapshot::Listener;
use crate::tls::{HandshakePlace, Handshakes, ServerTls};

/// Connections told to close in one go at most, so that a flood of newcomers does not keep the worker from the others.
const YIELD_BATCH: usize = 64;

/// Belongs to the listener's name, as the counters and the limits do: a listener that a reload renames gets another one
/// for its next connections. In an `Rc`, so that a connection does not touch a count that all cores share.
pub(crate) struct Admission {
    worker: usize,
    counters: PerWorker<ListenerCounters>,
    limits: Arc<SharedLimits>,
    idle: IdleList,
    handshakes: Handshakes,
    http2_clients: Clients,
}

/// The admissions of one worker that a listener or a connection still has: a name that comes back finds those that are
/// idle under it, as newcomers wait for them to make room.
#[derive(Default)]
pub(crate) struct Admissions {
    known: RefCell<Vec<Weak<Admission>>>,
    idle: Rc<IdleEntries>,
}

impl Admissions {
    /// That of a listener's name, with the limits of a new snapshot.
    pub(crate) fn of(&self, worker: usize, listener: &Listener) -> Rc<Admission> {
        let mut known = self.known.borrow_mut();
        known.retain(|admission| admission.strong_count() > 0);
        if let Some(same) = known.iter().filter_map(Weak::upgrade).find(|it| it.renew(listener)) {
            return same;
        }
        let new = Rc::new(Admission::new(worker, listener, &self.idle));
        known.push(Rc::downgrade(&new));
        new
    }
}

impl Admission {
    fn new(worker: usize, listener: &Listener, idle: &Rc<IdleEntries>) -> Self {
        let total = &listener.shared_limits.total;
        total.set_max(listener.limits.connections_max);
        // A call that came while the worker had no place for the name would keep others from being made.
        total.take_call(worker);
        Self {
            worker,
            counters: listener.counters.clone(),
            limits: listener.shared_limits.clone(),
            idle: IdleList::new(idle),
            handshakes: Handshakes::default(),
            http2_clients: Clients::default(),
        }
    }

    /// Takes the limits of a new snapshot over. False when it is another listener's.
    pub(crate) fn renew(&self, listener: &Listener) -> bool {
        let is_same = Arc::ptr_eq(&self.limits, &listener.shared_limits);
        if is_same {
            self.limits.total.set_max(listener.limits.connections_max);
        }
        is_same
    }

    /// The worker's counters.
    pub(crate) fn counters(&self) -> &ListenerCounters {
        self.counters.of(self.worker)
    }

    /// A place for a client's handshake, if the listener's limits allow one more.
    pub(crate) fn handshake_place(
        &self,
        tls: &ServerTls,
        client: Option<IpAddr>,
    ) -> Option<HandshakePlace<'_>> {
        self.handshakes.place(self.counters(), tls, client)
    }

    /// What its clients cost that speak HTTP/2.
    pub(crate) fn http2_clients(&self) -> &Clients {
        &self.http2_clients
    }

    /// Whether connections wait for others to end, on any worker.
    pub(crate) fn is_crowded(&self) -> bool {
        self.limits.total.is_crowded()
    }

    /// A permit for one connection, if one is free.
    pub(crate) fn try_permit(self: &Rc<Self>) -> Option<Permit> {
        self.limits.total.try_take().then(|| Permit::new(self))
    }

    /// A permit although none may be free.
    pub(crate) fn permit_regardless(self: &Rc<Self>) -> Permit {
        self.limits.total.take_regardless();
        Permit::new(self)
    }

    /// Makes the worker the one that waits for all, where all take from one queue. False when another one is.
    pub(crate) fn begin_queue(&self) -> bool {
        self.limits.total.begin_queue(self.worker)
    }

    /// Begins to wait for a permit, unless there is one now, and has idle connections make room.
    pub(crate) fn wait(self: &Rc<Self>, deadlines: &Deadlines) -> Option<Permit> {
        if self.limits.total.wait(self.worker) {
            self.limits.total.end_queue(self.worker);
            return Some(Permit::new(self));
        }
        self.counters().connections_waited.increment();
        self.make_room(deadlines);
        // What this worker could not do, others may.
        self.limits.total.call_for_room();
        None
    }

    /// Whether a permit was granted since it began to wait.
    pub(crate) fn is_granted(&self) -> bool {
        self.limits.total.is_granted(self.worker)
    }

    /// That permit; then it does not wait any more.
    pub(crate) fn take_grant(self: &Rc<Self>) -> Option<Permit> {
        self.limits.total.take_grant(self.worker).then(|| {
            self.limits.total.end_queue(self.worker);
            Permit::new(self)
        })
    }

    /// Connections are to be left in a queue.
    pub(crate) fn begin_crowd(&self) {
        self.limits.total.begin_crowd();
    }

    /// That queue was found empty, or is none of the worker's any more.
    pub(crate) fn end_crowd(&self) {
        self.limits.total.end_crowd();
    }

    /// Does not wait any more.
    pub(crate) fn stop_waiting(&self) {
        self.limits.total.stop_waiting(self.worker);
        self.limits.total.end_queue(self.worker);
    }

    /// Has every worker look at its queue and whether it can make room.
    pub(crate) fn call_all(&self) {
        self.limits.total.call_all();
    }

    /// Does what another worker has called for. Returns whether one has.
    pub(crate) fn answer_call(&self, deadlines: &Deadlines) -> bool {
        let is_called = self.limits.total.take_call(self.worker);
        if is_called {
            self.make_room(deadlines);
        }
        is_called
    }

    /// Tells idle connections to close for those who wait, the longest idle first.
    fn make_room(&self, deadlines: &Deadlines) {
        let limit = &self.limits.total;
        for _ in 0..YIELD_BATCH {
            if self.idle.is_empty() {
                limit.run_dry(self.worker);
                return;
            }
            if !limit.begin_yield() {
                return;
            }
            if let Some(timer) = self.idle.call_first() {
                deadlines.wake(timer);
            }
        }
        limit.call(self.worker);
    }

    /// A connection waits for a request and could be closed for another one. Call it when its timer knows its task.
    pub(crate) fn link_idle(&self, timer: DeadlineKey, deadlines: &Deadlines) -> IdleKey {
        let key = self.idle.link(timer);
        if self.limits.total.has_idle(self.worker) {
            self.make_room(deadlines);
        }
        key
    }

    /// Whether the connection is to close.
    pub(crate) fn is_called(&self, key: IdleKey) -> bool {
        self.idle.is_called(key)
    }

    /// The connection is idle no longer. Returns whether it had been told to close; then a permit that yields is dropped
    /// next, or [`Self::refuse_to_yield`] called.
    pub(crate) fn unlink_idle(&self, key: IdleKey) -> bool {
        self.idle.remove(key)
    }

    /// A connection that was told to close has become busy: another one may have to.
    pub(crate) fn refuse_to_yield(&self) {
        self.limits.total.end_yield();
    }
}

/// One connection's place within the limits; given back when dropped, which must be after its socket is closed.
pub(crate) struct Permit {
    admission: Rc<Admission>,
    /// Under which client it is counted, if it is.
    client: Option<ClientKey>,
    yields: bool,
    /// Its connection is open, by the gauge.
    is_counted: bool,
}

impl Permit {
    fn new(admission: &Rc<Admission>) -> Self {
        Self { admission: admission.clone(), client: None, yields: false, is_counted: false }
    }

    /// By what it was admitted.
    pub(crate) fn admission(&self) -> &Rc<Admission> {
        &self.admission
    }

    /// Counts the connection under its client. False: it has `max` open already; 0 is no limit.
    pub(crate) fn admits_client(&mut self, ip: Option<IpAddr>, max: u32) -> bool {
        // A Unix socket has no address.
        let Some(ip) = ip.filter(|_| max > 0) else { return true };
        let client = ClientKey::new(ip);
        let is_admitted = self.admission.limits.clients.try_take(client, max);
        self.client = is_admitted.then_some(client);
        is_admitted
    }

    /// Counts the connection as open until its place has been given back: who sees by the gauge that none is open finds
    /// room for as many as there may be.
    pub(crate) fn count_open(&mut self) {
        debug_assert!(!self.is_counted, "a connection is counted once");
        self.admission.counters().connections.increment();
        self.is_counted = true;
    }

    /// The connection closes because it was told to.
    pub(crate) fn begin_yield(&mut self) {
        self.yields = true;
    }

    /// Whether it does.
    pub(crate) fn is_yielding(&self) -> bool {
        self.yields
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let SharedLimits { total, clients } = &*self.admission.limits;
        if let Some(client) = self.client {
            clients.give_back(client);
        }
        total.give_back();
        if self.is_counted {
            self.admission.counters().connections.decrement();
        }
        if self.yields {
            total.end_yield();
        }
    }
}
