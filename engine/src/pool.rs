//! A worker's idle connections to one endpoint, the last used first, and those that requests share.

mod shared;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::command::Event;
use crate::counters::{EndpointCounters, PerWorker};
use crate::event::EventSender;
use crate::io::{ByteStream, Check, IdleState, clock};
use crate::limits::{EndpointConnections, Permit};
use crate::reputation::{Offence, Reputation};
use crate::snapshot::Upstream;
use crate::tripwire::Tripwire;

pub(crate) use self::shared::{Opener, Shared, Waiting};

/// Connections looked at per sweep: a dead one at the cold end is found within seconds, at a bounded cost per tick.
const SWEEP_MAX: usize = 64;

/// See the module.
pub(crate) struct Pool<S> {
    /// The coldest in front.
    idle: RefCell<VecDeque<Idle<S>>>,
    /// In HTTP/2.
    shared: Rc<Shared<S>>,
    reputation: RefCell<Reputation>,
    /// Its endpoint is gone: nothing is kept.
    is_over: Cell<bool>,
    place: Place,
}

struct Idle<S> {
    connection: Pooled<S>,
    since_ms: u64,
    /// The turn that it came in ([`clock::turn`]).
    since_turn: u32,
}

/// A connection that is kept, or was.
pub(crate) struct Pooled<S> {
    pub(crate) stream: S,
    /// Where connections are limited. Behind the stream: it is given back when that has closed.
    pub(crate) permit: Option<Permit>,
}

impl<S> Pooled<S> {
    /// Whether it is one of more than there may be, or older than the limit, so that nothing counts it.
    fn is_surplus(&self, limit: Option<&EndpointConnections>) -> bool {
        let is_counted = |limit| self.permit.as_ref().is_some_and(|permit| permit.is_of(limit));
        limit.is_some_and(|limit| limit.is_over() || !is_counted(limit))
    }
}

/// Whose connections they are.
pub(crate) struct Place {
    /// The upstream's name.
    pub(crate) upstream: Arc<str>,
    /// The endpoint's label.
    pub(crate) endpoint: Arc<str>,
    pub(crate) counters: PerWorker<EndpointCounters>,
    pub(crate) worker: usize,
    pub(crate) events: EventSender,
}

impl<S: ByteStream> Pool<S> {
    pub(crate) fn new(place: Place) -> Self {
        let (idle, shared) = (RefCell::default(), Rc::default());
        Self { idle, shared, reputation: RefCell::default(), is_over: Cell::default(), place }
    }

    /// Those that requests share.
    pub(crate) fn shared(&self) -> &Rc<Shared<S>> {
        &self.shared
    }

    /// An idle connection that is open and silent, with its permit if it has one; others are closed on the way, and the
    /// last one's permit is left.
    pub(crate) fn check_out(
        &self,
        now_ms: u64,
        upstream: &Upstream,
        permit: &mut Option<Permit>,
    ) -> Option<S> {
        loop {
            let idle = self.take_hottest()?;
            self.counters().idle.decrement();
            let Pooled { mut stream, permit: its } = idle.connection;
            if its.is_some() {
                *permit = its;
            }
            if is_expired(idle.since_ms, now_ms, upstream.idle_timeout) {
                continue;
            }
            // Events have been taken since it came in, or else the socket is asked: what followed the response would answer
            // somebody else's request.
            let check = if idle.since_turn == clock::turn() { Check::Socket } else { Check::Events };
            match stream.look(check) {
                IdleState::Silent => return Some(stream),
                unfit => self.dismiss(unfit, now_ms, upstream),
            }
        }
    }

    /// One of an earlier turn if there is one: of those the events tell enough, without a system call.
    fn take_hottest(&self) -> Option<Idle<S>> {
        let mut idle = self.idle.borrow_mut();
        let turn = clock::turn();
        if idle.back()?.since_turn != turn {
            return idle.pop_back();
        }
        match idle.partition_point(|idle| idle.since_turn != turn) {
            0 => idle.pop_back(),
            // What takes its place came in this turn, as all behind it.
            earlier => idle.swap_remove_back(earlier - 1),
        }
    }

    /// Keeps a connection for the next exchange; the coldest makes room.
    pub(crate) fn check_in(
        &self,
        connection: Pooled<S>,
        now_ms: u64,
        upstream: &Upstream,
        limit: Option<&EndpointConnections>,
    ) {
        if self.is_over.get() || self.is_suspended(now_ms, upstream) {
            return;
        }
        if let Some(limit) = limit {
            self.check_in_limited(connection, now_ms, upstream, limit);
        } else {
            self.push(connection, now_ms, upstream);
        }
    }

    #[inline(never)]
    fn check_in_limited(
        &self,
        connection: Pooled<S>,
        now_ms: u64,
        upstream: &Upstream,
        limit: &EndpointConnections,
    ) {
        if connection.is_surplus(Some(limit)) {
            return;
        }
        self.push(connection, now_ms, upstream);
        if limit.is_awaited() {
            self.offer(limit);
        }
    }

    /// Closes what is idle, and keeps nothing any more: exchanges that began with the snapshot before may use it still, but
    /// nobody sweeps it, or closes its connections for those that wait.
    pub(crate) fn end(&self) {
        self.is_over.set(true);
        self.shared.close_all();
        let idle = self.idle.take();
        idle.iter().for_each(|_| self.counters().idle.decrement());
    }

    fn push(&self, connection: Pooled<S>, now_ms: u64, upstream: &Upstream) {
        let mut idle = self.idle.borrow_mut();
        while idle.len() >= upstream.idle_connections_max {
            if idle.pop_front().is_none() {
                return;
            }
            self.counters().idle.decrement();
        }
        idle.push_back(Idle { connection, since_ms: now_ms, since_turn: clock::turn() });
        self.counters().idle.increment();
    }

    /// Somebody waits: at this worker for an idle connection, at another one for its permit.
    #[cold]
    fn offer(&self, limit: &EndpointConnections) {
        match limit.line().next_worker() {
            Some(worker) if worker == self.place.worker => limit.line().call(),
            Some(_) => self.close_coldest(),
            // All of them were called, and ask again if they get nothing.
            None => {}
        }
    }

    /// Closes an idle connection, or lets one that is shared end, for a request that waits at another worker.
    pub(crate) fn make_room(&self, limit: &EndpointConnections) {
        if limit.line().next_worker().is_none() || limit.line().is_called(self.place.worker) {
            return;
        }
        if self.idle.borrow().is_empty() && !self.shared.close_one() {
            // It was used meanwhile: who waits is to ask again.
            limit.line().call();
        }
        self.close_coldest();
    }

    fn close_coldest(&self) {
        let coldest = self.idle.borrow_mut().pop_front();
        if coldest.is_some() {
            self.counters().idle.decrement();
            self.counters().yielded.increment();
        }
    }

    /// Closes what has expired, died or is too much at the cold end, and ends a suspension in time. Returns whether nothing is
    /// left to look after.
    pub(crate) fn sweep(
        &self,
        now_ms: u64,
        upstream: &Upstream,
        limit: Option<&EndpointConnections>,
    ) -> bool {
        for _ in 0..SWEEP_MAX {
            let Some(mut coldest) = self.idle.borrow_mut().pop_front() else { break };
            if is_expired(coldest.since_ms, now_ms, upstream.idle_timeout)
                || coldest.connection.is_surplus(limit)
            {
                self.counters().idle.decrement();
                continue;
            }
            match coldest.connection.stream.look(Check::Events) {
                IdleState::Silent => {
                    self.idle.borrow_mut().push_front(coldest);
                    break;
                }
                unfit => {
                    self.counters().idle.decrement();
                    self.dismiss(unfit, now_ms, upstream);
                }
            }
        }
        !self.is_suspended(now_ms, upstream) && self.idle.borrow().is_empty()
    }

    /// Notes that the endpoint put a connection out of step. The worker's ticker must run after it.
    pub(crate) fn strike(&self, offence: Offence, now_ms: u64, upstream: &Upstream) {
        // What is never reused cannot be suspended.
        if upstream.idle_connections_max == 0
            || !self.reputation.borrow_mut().strike(now_ms, offence, upstream.quarantine)
        {
            return;
        }
        self.counters().reuse_suspended.increment();
        self.counters().reuse_suspensions.increment();
        self.close_all();
        self.place.events.send(Event::ReuseSuspended {
            worker: self.place.worker,
            upstream: self.place.upstream.clone(),
            endpoint: self.place.endpoint.clone(),
            reason: offence.name(),
            time: upstream.quarantine.time,
        });
    }

    /// A connection that cannot be used again is about to be closed.
    #[cold]
    fn dismiss(&self, unfit: IdleState, now_ms: u64, upstream: &Upstream) {
        self.counters().stale.increment();
        match unfit {
            IdleState::Silent | IdleState::Closed => {}
            IdleState::Surplus(bytes) if is_timeout_notice(bytes.as_slice()) => {
                self.counters().suspicious.add(Tripwire::UnsolicitedTimeout);
            }
            IdleState::Surplus(_) => {
                self.counters().suspicious.add(Tripwire::SurplusBytes);
                self.strike(Offence::Surplus, now_ms, upstream);
            }
        }
    }

    fn is_suspended(&self, now_ms: u64, upstream: &Upstream) -> bool {
        let mut reputation = self.reputation.borrow_mut();
        if reputation.ends(now_ms, upstream.quarantine) {
            self.counters().reuse_suspended.decrement();
        }
        reputation.is_suspended()
    }
}

impl<S> Pool<S> {
    fn counters(&self) -> &EndpointCounters {
        self.place.counters.of(self.place.worker)
    }

    fn close_all(&self) {
        for idle in self.idle.take() {
            self.counters().idle.decrement();
            drop(idle);
        }
    }
}

impl<S> Drop for Pool<S> {
    fn drop(&mut self) {
        self.close_all();
        if self.reputation.borrow().is_suspended() {
            self.counters().reuse_suspended.decrement();
        }
    }
}

fn is_expired(since_ms: u64, now_ms: u64, idle_timeout: Duration) -> bool {
    !idle_timeout.is_zero() && u128::from(now_ms.saturating_sub(since_ms)) >= idle_timeout.as_millis()
}

/// Some servers say 408 before they close an idle connection (RFC 9110 §15.5.9); it answers nothing.
fn is_timeout_notice(surplus: &[u8]) -> bool {
    matches!(surplus, [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'0' | b'1', b' ', b'4', b'0', b'8', ..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{EventReceiver, event_channel};
    use crate::exchange_tests::snapshot;
    use crate::io::memory::{Faults, MemoryStream, pair};
    use std::io::IoSlice;

    /// A pool of the tests' upstream, and its events.
    fn pool() -> (Pool<MemoryStream>, Upstream, EventReceiver) {
        let (events, received) = event_channel().unwrap();
        let upstream = snapshot().upstreams.remove(0);
        let counters = PerWorker::new(1);
        let place = Place { upstream: "up".into(), endpoint: "end".into(), counters, worker: 0, events };
        (Pool::new(place), upstream, received)
    }

    /// Checks a connection in and returns its other end.
    fn keep(pool: &Pool<MemoryStream>, upstream: &Upstream, now_ms: u64) -> MemoryStream {
        let (near, far) = pair(Faults::none());
        pool.check_in(Pooled { stream: near, permit: None }, now_ms, upstream, None);
        far
    }

    fn suspicious(pool: &Pool<MemoryStream>) -> Vec<(&'static str, u64)> {
        pool.counters().suspicious.counted().collect()
    }

    #[test]
    fn surplus_bytes_suspend_reuse_for_a_while() {
        let (pool, upstream, events) = pool();
        let quarantine = upstream.quarantine;
        for strike in 1..=quarantine.strikes_max {
            let mut far = keep(&pool, &upstream, 0);
            far.try_send(&[IoSlice::new(b"HTTP/1.1 200 OK\r\n")]).unwrap();
            // Found at check-out and by the sweep alike.
            if strike % 2 == 0 {
                assert!(pool.check_out(0, &upstream, &mut None).is_none());
            } else {
                pool.sweep(0, &upstream, None);
            }
        }
        assert_eq!(suspicious(&pool), [("surplus_bytes", u64::from(quarantine.strikes_max))]);
        assert_eq!(pool.counters().reuse_suspended.value(), 1);
        let event = events.try_recv().unwrap();
        let Event::ReuseSuspended { worker: 0, upstream: name, endpoint, reason, time } = event else {
            panic!("{event:?}")
        };
        assert_eq!((&*name, &*endpoint, reason, time), ("up", "end", "surplus_bytes", quarantine.time));
        assert!(events.try_recv().is_none(), "one line a suspension");

        let end_ms = u64::try_from(quarantine.time.as_millis()).unwrap();
        let _far = keep(&pool, &upstream, end_ms - 1);
        assert!(pool.check_out(end_ms - 1, &upstream, &mut None).is_none(), "nothing is kept");
        assert!(!pool.sweep(end_ms - 1, &upstream, None), "the worker goes on ticking");
        assert!(pool.sweep(end_ms, &upstream, None));
        assert_eq!(pool.counters().reuse_suspended.value(), 0);
        let _far = keep(&pool, &upstream, end_ms);
        assert!(pool.check_out(end_ms, &upstream, &mut None).is_some());
        assert_eq!(pool.counters().idle.value(), 0);
    }

    #[test]
    fn suspending_closes_what_is_idle() {
        let (pool, upstream, _events) = pool();
        let _far = [(); 5].map(|()| keep(&pool, &upstream, 0));
        assert_eq!(pool.counters().idle.value(), 5);
        for _ in 0..upstream.quarantine.strikes_max {
            pool.strike(Offence::Surplus, 0, &upstream);
        }
        assert_eq!(pool.counters().idle.value(), 0);
        assert!(pool.check_out(0, &upstream, &mut None).is_none());
        let counters = pool.place.counters.clone();
        drop(pool);
        assert_eq!(counters.of(0).reuse_suspended.value(), 0, "the gauge goes with the pool");
    }

    #[test]
    fn closing_an_idle_connection_is_no_strike() {
        let (pool, upstream, events) = pool();
        for round in 0..20 {
            let mut far = keep(&pool, &upstream, 0);
            match round % 3 {
                0 => drop(far),
                1 => far.abort(),
                // A notice before the close, as some servers send.
                _ => drop(far.try_send(&[IoSlice::new(b"HTTP/1.1 408 Request Timeout\r\n\r\n")])),
            }
            assert!(pool.check_out(0, &upstream, &mut None).is_none());
        }
        assert_eq!(suspicious(&pool), [("unsolicited_timeout", 6)]);
        assert_eq!(pool.counters().stale.value(), 20);
        assert_eq!(pool.counters().reuse_suspended.value(), 0);
        assert!(events.try_recv().is_none());
    }

    #[test]
    fn what_comes_back_to_an_endpoint_that_is_gone_is_closed() {
        let (pool, upstream, _events) = pool();
        let _far = keep(&pool, &upstream, 0);
        pool.end();
        assert_eq!(pool.counters().idle.value(), 0);
        let _far = keep(&pool, &upstream, 0);
        assert!(pool.check_out(0, &upstream, &mut None).is_none());
        assert_eq!(pool.counters().idle.value(), 0);
    }

    #[test]
    fn what_is_never_reused_is_not_suspended() {
        let (pool, mut upstream, events) = pool();
        upstream.idle_connections_max = 0;
        for _ in 0..10 {
            pool.strike(Offence::Surplus, 0, &upstream);
        }
        assert_eq!(pool.counters().reuse_suspensions.value(), 0);
        assert!(events.try_recv().is_none());
    }
}
