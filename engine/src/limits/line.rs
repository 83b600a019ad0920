//! Who waits for a place at an upstream whose endpoints are all full, in the order in which they came, over all workers.
//!
//! Whoever gives a place back calls the first who waits and was not called yet; its worker is woken through its eventfd. Who
//! was called tries to take a place, by its own knowledge of the endpoints; where it gets none, it keeps its turn and calls
//! the one behind it. Who leaves with a call that it has not used hands the call on.
//!
//! **No call is lost.** Who waits (a) adds to `waiting`, (b) tries to take a place if it is the first. Who gives back (c)
//! subtracts from the places taken, (d) reads `waiting`. All four are `SeqCst`: if (b) comes before (c), then (a) comes
//! before (d), and somebody is called. A call is taken before the place is tried, so that one that comes meanwhile stays.
//! Who comes behind others does not try: it relies on the first, which tries before it leaves.
//!
//! The lock is held for one operation on a small map, and only while all endpoints are full.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{OpenConnections, Peers};
use crate::counters::Padded;
use crate::deadlines::DeadlineKey;

/// See the module. An entry takes some 50 bytes; it belongs to the upstream and survives reloads.
#[derive(Debug)]
pub struct WaitingLine {
    /// How many `line` has: read for each request that gives a place back.
    waiting: Padded<AtomicUsize>,
    line: Mutex<Line>,
    peers: Peers,
}

#[derive(Debug)]
struct Line {
    next: u64,
    waiters: BTreeMap<u64, Waiter>,
    /// How many of them are called and have not tried yet, by worker.
    called: Box<[u32]>,
}

#[derive(Debug)]
struct Waiter {
    worker: usize,
    /// What wakes its task there.
    key: DeadlineKey,
    is_called: bool,
}

impl WaitingLine {
    /// Nobody waits; workers wake each other through `peers`.
    #[must_use]
    pub fn new(peers: &Peers) -> Self {
        let called = vec![0; peers.workers()].into();
        let line = Line { next: 0, waiters: BTreeMap::new(), called };
        Self { waiting: Padded::default(), line: Mutex::new(line), peers: peers.clone() }
    }

    /// Whether anybody waits.
    pub(crate) fn is_awaited(&self) -> bool {
        self.waiting() > 0
    }

    /// How many do.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.0.load(SeqCst)
    }

    /// The worker of the first who waits and was not called yet.
    pub(crate) fn next_worker(&self) -> Option<usize> {
        let line = self.lock();
        line.waiters.values().find(|waiter| !waiter.is_called).map(|waiter| waiter.worker)
    }

    /// Whether somebody at this worker was called and has not tried yet.
    pub(crate) fn is_called(&self, worker: usize) -> bool {
        self.lock().called[worker] > 0
    }

    /// Has a worker close an idle connection of these for somebody who waits.
    pub(crate) fn ask_for_room(&self, worker: usize, connections: &Arc<OpenConnections>) {
        self.peers.ask_for_room(worker, connections);
    }

    /// Waits behind all others, unless so many wait already.
    pub(crate) fn join(self: &Arc<Self>, worker: usize, key: DeadlineKey, max: u32) -> Option<Turn> {
        let mut line = self.lock();
        if line.waiters.len() >= max as usize {
            return None;
        }
        let number = line.next;
        line.next += 1;
        line.waiters.insert(number, Waiter { worker, key, is_called: false });
        self.waiting.0.fetch_add(1, SeqCst);
        Some(Turn { line: self.clone(), number })
    }

    /// A place may be free: calls the first.
    pub(crate) fn call(&self) {
        if self.is_awaited() {
            self.call_from(&mut self.lock(), Bound::Unbounded);
        }
    }

    /// Calls the first from there on who was not called yet.
    fn call_from(&self, line: &mut Line, from: Bound<u64>) {
        let mut behind = line.waiters.range_mut((from, Bound::Unbounded));
        if let Some((_, waiter)) = behind.find(|(_, waiter)| !waiter.is_called) {
            waiter.is_called = true;
            line.called[waiter.worker] += 1;
            self.peers.call(waiter.worker, waiter.key);
        }
    }

    /// The map is whole after each operation, whatever a thread that held it did next.
    fn lock(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A turn in the line; dropping it leaves.
#[derive(Debug)]
pub(crate) struct Turn {
    line: Arc<WaitingLine>,
    number: u64,
}

impl Turn {
    /// Whether nobody is before it.
    pub(crate) fn is_first(&self) -> bool {
        self.line.lock().waiters.first_key_value().is_some_and(|(&first, _)| first == self.number)
    }

    /// Whether it was called since it last asked.
    pub(crate) fn take_call(&self) -> bool {
        let line = &mut *self.line.lock();
        let Some(waiter) = line.waiters.get_mut(&self.number) else { return false };
        line.called[waiter.worker] -= u32::from(waiter.is_called);
        std::mem::take(&mut waiter.is_called)
    }

    /// It got nothing; one behind it may.
    pub(crate) fn pass_on(&self) {
        self.line.call_from(&mut self.line.lock(), Bound::Excluded(self.number));
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut line = self.line.lock();
        let left = line.waiters.remove(&self.number);
        self.line.waiting.0.fetch_sub(1, SeqCst);
        if let Some(left) = left.filter(|waiter| waiter.is_called) {
            line.called[left.worker] -= 1;
            self.line.call_from(&mut line, Bound::Unbounded);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deadlines::Deadlines;
    use crate::limits::RequestLimit;
    use std::time::Duration;

    fn line(workers: usize) -> (Arc<WaitingLine>, Peers) {
        let peers = Peers::new(workers).unwrap();
        (Arc::new(WaitingLine::new(&peers)), peers)
    }

    #[test]
    fn calls_go_in_order_and_are_handed_on() {
        let (line, peers) = line(2);
        let deadlines = Deadlines::new(0);
        let turns = [0, 1, 0].map(|worker| line.join(worker, deadlines.insert(), 3).unwrap());
        assert!(line.join(0, deadlines.insert(), 3).is_none(), "it is full");
        let [first, second, third] = turns;
        assert!(first.is_first() && !second.is_first());
        line.call();
        assert!(!second.take_call() && first.take_call() && !first.take_call());
        assert_eq!((peers.take_calls(0).tasks.len(), peers.take_calls(1).tasks.len()), (1, 0));
        first.pass_on();
        assert!(second.take_call() && !third.take_call());
        line.call();
        line.call();
        assert!(second.take_call(), "the first was called already");
        drop(first);
        assert!(second.take_call(), "the call goes on");
        drop(second);
        assert!(!third.take_call() && third.is_first());
        drop(third);
        assert!(!line.is_awaited());
    }

    #[test]
    fn no_call_is_lost_and_the_limit_is_exact() {
        const WORKERS: usize = 4;
        let (line, peers) = line(WORKERS);
        let limit = RequestLimit { requests_max: 2, places: Arc::default(), line: line.clone() };
        std::thread::scope(|scope| {
            for worker in 0..WORKERS {
                let (limit, line, peers) = (&limit, &line, &peers);
                scope.spawn(move || {
                    let key = Deadlines::new(0).insert();
                    for round in 0..20_000u32 {
                        let turn = line.join(worker, key, 100).unwrap();
                        let mut tries = turn.is_first();
                        if round % 7 == 0 {
                            // It leaves, perhaps with a call. Who is the first when it comes has tried: those behind it
                            // rely on that.
                            drop(tries.then(|| limit.try_take()));
                            continue;
                        }
                        let _place = loop {
                            if tries || turn.take_call() {
                                match limit.try_take() {
                                    Some(place) => break place,
                                    None => turn.pass_on(),
                                }
                                tries = false;
                                continue;
                            }
                            let wake = peers.of(worker);
                            assert!(wake.wait(Duration::from_secs(20)), "worker {worker} waits for ever");
                            wake.acknowledge();
                        };
                        drop(turn);
                        if !limit.is_full() {
                            line.call();
                        }
                    }
                });
            }
        });
        assert_eq!((limit.places.taken(), line.is_awaited()), (0, false));
    }
}
