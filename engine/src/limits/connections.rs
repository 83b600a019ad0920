//! How many connections of a listener are open over all workers, who waits for one to end, and who makes room.
//!
//! ```text
//!            try_take                        give_back, nobody waits
//!  free ───────────────────▶ permit held ───────────────────────────▶ free
//!                                 ▲ │
//!            take_grant           │ │ give_back, a worker waits
//!  (Granted) ─────────────────────┘ └───────────────────────────────▶ (Granted) of that worker
//!
//!  each worker:  Idle ──wait──▶ Waiting ──another's give_back──▶ Granted ──take_grant──▶ Idle
//! ```
//!
//! A worker takes a permit before it accepts. When there is none it leaves its connections in the kernel's queue and
//! waits; a permit that is given back then goes to one of those who wait, never to one who comes later. `open` counts
//! the permits that are held or on their way, so it is exact.
//!
//! **No wake-up is lost.** All of the operations named here are `SeqCst`, so they have one order that all threads agree
//! on. Who waits (a) adds to `waiters`, (b) sets its state to Waiting, (c) tries to take once more. Who gives back (d)
//! subtracts from `open`, (e) reads `waiters`, and if that is not zero (f) reads the states. If (c) finds nothing free,
//! then (c) came before (d), so (a) and (b) came before (e) and (f), and the waiting worker is seen. What was found free
//! by (c) needs no wake-up. `waiters` is at least the number of workers in Waiting, because it is added to before and
//! subtracted from after; so reading zero means that there is none.
//!
//! **Making room.** Idle connections are closed for those who wait: `demand` of them, and `yielding` counts those that
//! were told to and have not ended. Whoever raises the demand (a worker that begins to wait, a yield that has ended or
//! was taken back, a permit that went to somebody else) looks at it afterwards and calls the other workers if any is
//! left. A worker that has nothing to yield is `dry` and is not called again; the next connection that becomes idle there
//! clears `dry` and then looks at the demand, while callers raise the demand and then look at `dry`: one of the two
//! sees the other, by the same argument.

use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize};

use super::Peers;
use crate::counters::Padded;

/// The state of a worker that does not wait.
const IDLE: u8 = 0;
/// It has connections in its queue and no permit for them.
const WAITING: u8 = 1;
/// A permit is its own, and it has been woken.
const GRANTED: u8 = 2;

/// See the module. 128 bytes for each worker and 256 more.
#[derive(Debug)]
pub(crate) struct ConnectionLimit {
    /// Written for each connection that begins or ends.
    open: Padded<AtomicUsize>,
    seldom: Padded<Seldom>,
    sides: Box<[Padded<Side>]>,
    peers: Peers,
}

/// Written only while the limit is reached, or by a reload.
#[derive(Debug, Default)]
struct Seldom {
    max: AtomicUsize,
    /// At least the workers in Waiting; more only for the length of a transition.
    waiters: AtomicUsize,
    /// Queues that connections were left in, and that were not found empty since.
    crowded: AtomicUsize,
    /// Connections that were told to close for those who wait, and have not ended.
    yielding: AtomicUsize,
    /// The worker that waits for all of them where they take from one queue, plus one.
    queue_waiter: AtomicUsize,
    /// Whom the next grant is offered to first, so that all get their turn.
    turn: AtomicUsize,
}

/// What belongs to one worker.
#[derive(Debug, Default)]
struct Side {
    state: AtomicU8,
    /// It is to look whether it can make room.
    is_called: AtomicBool,
    /// It has nothing to make room with. Written by this worker only.
    is_dry: AtomicBool,
}

impl ConnectionLimit {
    pub(super) fn new(peers: &Peers) -> Self {
        Self {
            open: Padded::default(),
            seldom: Padded::default(),
            sides: (0..peers.workers()).map(|_| Padded::default()).collect(),
            peers: peers.clone(),
        }
    }

    /// Permits that are held.
    pub(super) fn open(&self) -> usize {
        self.open.0.load(SeqCst)
    }

    /// Changes the limit. What is open above it stays; what it lets in is let in.
    pub(crate) fn set_max(&self, max: usize) {
        if self.seldom.0.max.load(Relaxed) != max {
            self.seldom.0.max.store(max, SeqCst);
            self.serve_waiters();
        }
    }

    /// Takes a permit, if one is free.
    pub(crate) fn try_take(&self) -> bool {
        let mut open = self.open.0.load(SeqCst);
        while open < self.seldom.0.max.load(SeqCst) {
            match self.open.0.compare_exchange_weak(open, open + 1, SeqCst, SeqCst) {
                Ok(_) => return true,
                Err(now) => open = now,
            }
        }
        false
    }

    /// Takes a permit whether or not one is free: a listener that closes leaves nothing in its queue.
    pub(crate) fn take_regardless(&self) {
        self.open.0.fetch_add(1, SeqCst);
    }

    /// Gives a permit back: to a worker that waits, or to all.
    pub(crate) fn give_back(&self) {
        // Above the maximum (a reload has lowered it) a permit ends here.
        let is_within = || self.open() <= self.seldom.0.max.load(SeqCst);
        if self.seldom.0.waiters.load(SeqCst) > 0 && is_within() && self.grant() {
            return;
        }
        self.open.0.fetch_sub(1, SeqCst);
        self.serve_waiters();
    }

    /// Whether connections wait for others to end. May be a moment behind. Stays true while a worker that was granted a
    /// permit is about to find out whether more wait: nobody is in Waiting then.
    pub(crate) fn is_crowded(&self) -> bool {
        self.seldom.0.crowded.load(Relaxed) > 0
    }

    /// A worker is to leave connections in a queue. It calls [`Self::end_crowd`] once after.
    pub(crate) fn begin_crowd(&self) {
        self.seldom.0.crowded.fetch_add(1, Relaxed);
    }

    /// It has found that queue empty, or does not wait any more.
    pub(crate) fn end_crowd(&self) {
        let before = self.seldom.0.crowded.fetch_sub(1, Relaxed);
        debug_assert!(before > 0, "each crowd ends once");
    }

    /// Makes the worker the one that waits for all of them, where they take from one queue. False when another one is:
    /// that one looks at the queue again after it has given this up, and what this worker saw there is found then.
    pub(crate) fn begin_queue(&self, worker: usize) -> bool {
        self.seldom.0.queue_waiter.compare_exchange(0, worker + 1, SeqCst, SeqCst).is_ok()
    }

    /// The worker looks at the queue again, if it waited for all.
    pub(crate) fn end_queue(&self, worker: usize) {
        let _ = self.seldom.0.queue_waiter.compare_exchange(worker + 1, 0, SeqCst, SeqCst);
    }

    /// Begins to wait for a permit. True: there is one after all, and it is taken. Otherwise the worker is woken when
    /// one was granted.
    pub(crate) fn wait(&self, worker: usize) -> bool {
        debug_assert_eq!(self.sides[worker].0.state.load(SeqCst), IDLE, "a worker waits once");
        self.seldom.0.waiters.fetch_add(1, SeqCst);
        self.sides[worker].0.state.store(WAITING, SeqCst);
        if !self.try_take() {
            return false;
        }
        // It may have been granted one meanwhile, too.
        self.stop_waiting(worker);
        true
    }

    /// Takes the permit that was granted, if one was; then the worker waits no longer.
    pub(crate) fn take_grant(&self, worker: usize) -> bool {
        let state = &self.sides[worker].0.state;
        // Only the worker itself leaves Granted.
        let granted = state.load(SeqCst) == GRANTED;
        if granted {
            state.store(IDLE, SeqCst);
        }
        granted
    }

    /// Whether a permit was granted and not taken yet.
    pub(crate) fn is_granted(&self, worker: usize) -> bool {
        self.sides[worker].0.state.load(SeqCst) == GRANTED
    }

    /// Waits no longer. A permit that was granted goes on to the next.
    pub(crate) fn stop_waiting(&self, worker: usize) {
        match self.sides[worker].0.state.compare_exchange(WAITING, IDLE, SeqCst, SeqCst) {
            Ok(_) => {
                self.seldom.0.waiters.fetch_sub(1, SeqCst);
            }
            Err(_) => {
                if self.take_grant(worker) {
                    self.give_back();
                }
            }
        }
    }

    /// Gives the caller's permit to a worker that waits, and wakes it.
    fn grant(&self) -> bool {
        let workers = self.sides.len();
        let first = self.seldom.0.turn.load(Relaxed);
        for worker in (first..first + workers).map(|turn| turn % workers) {
            let state = &self.sides[worker].0.state;
            if state.load(SeqCst) == WAITING
                && state.compare_exchange(WAITING, GRANTED, SeqCst, SeqCst).is_ok()
            {
                self.seldom.0.waiters.fetch_sub(1, SeqCst);
                self.seldom.0.turn.store((worker + 1) % workers, Relaxed);
                self.peers.of(worker).wake();
                return true;
            }
        }
        false
    }

    /// Grants what is free. Each turn of the loop that grants nothing follows a change that another thread made, so one
    /// of them always moves on.
    fn serve_waiters(&self) {
        if self.seldom.0.waiters.load(SeqCst) == 0 {
            return;
        }
        let is_waiting = |side: &Padded<Side>| side.0.state.load(SeqCst) == WAITING;
        while self.sides.iter().any(is_waiting) && self.try_take() {
            if !self.grant() {
                self.open.0.fetch_sub(1, SeqCst);
            }
        }
        self.call_for_room();
    }

    /// How many more connections would have to end so that all who wait are served.
    fn demand(&self) -> usize {
        let Seldom { max, waiters, yielding, .. } = &self.seldom.0;
        let waiters = waiters.load(SeqCst);
        if waiters == 0 {
            return 0;
        }
        let occupied = waiters.saturating_add(self.open());
        occupied.saturating_sub(max.load(SeqCst).saturating_add(yielding.load(SeqCst)))
    }

    /// Whether an idle connection is to close. True: the caller tells one to.
    pub(crate) fn begin_yield(&self) -> bool {
        let yielding = &self.seldom.0.yielding;
        loop {
            let before = yielding.load(SeqCst);
            if self.demand() == 0 {
                return false;
            }
            if yielding.compare_exchange_weak(before, before + 1, SeqCst, SeqCst).is_ok() {
                return true;
            }
        }
    }

    /// The connection that was told to close has ended, and given its permit back before; or it does not close.
    pub(crate) fn end_yield(&self) {
        self.seldom.0.yielding.fetch_sub(1, SeqCst);
        self.call_for_room();
    }

    /// Calls the workers that may have idle connections, if some are to close.
    pub(crate) fn call_for_room(&self) {
        if self.demand() == 0 {
            return;
        }
        for (worker, Padded(side)) in self.sides.iter().enumerate() {
            if !side.is_dry.load(SeqCst) {
                self.call(worker);
            }
        }
    }

    /// Calls every worker.
    pub(crate) fn call_all(&self) {
        (0..self.sides.len()).for_each(|worker| self.call(worker));
    }

    /// Has a worker look at [`Self::take_call`]. One that was called and has not looked yet will see the demand, too.
    pub(crate) fn call(&self, worker: usize) {
        if !self.sides[worker].0.is_called.swap(true, SeqCst) {
            self.peers.of(worker).wake();
        }
    }

    /// Whether the worker was called since it last looked.
    pub(crate) fn take_call(&self, worker: usize) -> bool {
        let is_called = &self.sides[worker].0.is_called;
        is_called.load(SeqCst) && is_called.swap(false, SeqCst)
    }

    /// The worker has no idle connection and is not called until it has.
    pub(crate) fn run_dry(&self, worker: usize) {
        self.sides[worker].0.is_dry.store(true, SeqCst);
    }

    /// A connection has become idle on the worker. Returns whether the demand is to be looked at now: somebody waits, or
    /// may have begun to while the worker was not called.
    pub(crate) fn has_idle(&self, worker: usize) -> bool {
        let is_dry = &self.sides[worker].0.is_dry;
        if is_dry.load(Relaxed) {
            is_dry.store(false, SeqCst);
            return self.seldom.0.waiters.load(SeqCst) > 0;
        }
        // Not ordered with anything: whoever begins to wait now calls this worker.
        self.seldom.0.waiters.load(Relaxed) > 0
    }
}

#[cfg(test)]
impl ConnectionLimit {
    fn is_awaited(&self) -> bool {
        self.seldom.0.waiters.load(SeqCst) > 0
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;
    use std::time::Duration;

    use super::*;

    fn limit(workers: usize, max: usize) -> ConnectionLimit {
        let limit = ConnectionLimit::new(&Peers::new(workers).unwrap());
        limit.set_max(max);
        limit
    }

    /// A wake-up that does not come in this time is lost.
    const LOST: Duration = Duration::from_secs(20);

    /// Takes a permit, waiting for it where there is none.
    fn take(limit: &ConnectionLimit, worker: usize) {
        if limit.try_take() || limit.wait(worker) {
            return;
        }
        limit.call_for_room();
        while !limit.take_grant(worker) {
            assert!(limit.peers.of(worker).wait(LOST), "worker {worker} waits for ever: {limit:?}");
            limit.peers.of(worker).acknowledge();
        }
    }

    #[test]
    fn a_permit_goes_to_who_waits_and_not_to_who_comes_later() {
        let limit = limit(3, 1);
        assert!(limit.try_take() && !limit.try_take());
        assert!(!limit.wait(2) && limit.is_awaited());
        assert!(!limit.wait(1));
        limit.give_back();
        assert!(!limit.try_take(), "it is on its way");
        assert!(limit.take_grant(1) ^ limit.take_grant(2), "one of those who wait has it");
        assert!(limit.is_awaited());
        limit.give_back();
        assert!(limit.take_grant(1) ^ limit.take_grant(2), "then the other");
        assert!(!limit.is_awaited());
        limit.give_back();
        assert_eq!(limit.open(), 0);
    }

    #[test]
    fn a_grant_that_is_not_used_goes_on() {
        let limit = limit(2, 1);
        assert!(limit.try_take() && !limit.wait(0) && !limit.wait(1));
        limit.give_back();
        let granted = if limit.is_granted(0) { 0 } else { 1 };
        limit.stop_waiting(granted);
        assert!(limit.is_granted(1 - granted) && !limit.is_awaited());
        limit.stop_waiting(1 - granted);
        assert_eq!(limit.open(), 0);
    }

    #[test]
    fn one_worker_waits_for_all_at_one_queue() {
        let limit = limit(3, 1);
        assert!(limit.begin_queue(1) && !limit.begin_queue(0) && !limit.begin_queue(1));
        limit.end_queue(0);
        assert!(!limit.begin_queue(2), "only the one that waits gives up");
        limit.end_queue(1);
        assert!(limit.begin_queue(2));
    }

    #[test]
    fn a_changed_maximum_holds_for_the_next() {
        let limit = limit(3, 1);
        assert!(limit.try_take() && !limit.wait(0) && !limit.wait(1) && !limit.wait(2));
        limit.set_max(3);
        assert_eq!(limit.open(), 3, "two of three are served");
        assert!(limit.is_awaited());
        limit.set_max(1);
        limit.give_back();
        limit.give_back();
        assert_eq!((limit.open(), limit.is_awaited()), (1, true), "above the maximum nothing is granted");
        limit.give_back();
        assert_eq!((limit.open(), limit.is_awaited()), (1, false));
        limit.take_regardless();
        assert_eq!(limit.open(), 2);
    }

    #[test]
    fn as_many_yield_as_wait() {
        let limit = limit(2, 2);
        assert!(limit.try_take() && limit.try_take() && !limit.begin_yield());
        assert!(!limit.wait(0));
        assert!(limit.begin_yield() && !limit.begin_yield());
        assert!(!limit.wait(1));
        assert!(limit.begin_yield() && !limit.begin_yield());
        // One turned out to be busy.
        limit.end_yield();
        assert!(limit.take_call(0) && limit.take_call(1) && !limit.take_call(1), "the others are asked");
        assert!(limit.begin_yield());
        limit.give_back();
        limit.end_yield();
        assert!(!limit.begin_yield());
        limit.set_max(1);
        assert!(limit.begin_yield() && !limit.begin_yield(), "one more to get below the maximum");
    }

    #[test]
    fn a_dry_worker_is_left_alone_until_it_has_something() {
        let limit = limit(2, 1);
        assert!(limit.try_take() && !limit.wait(0));
        limit.run_dry(1);
        limit.call_for_room();
        assert!(limit.take_call(0) && !limit.take_call(1));
        assert!(limit.has_idle(1), "somebody waits");
        limit.call_for_room();
        assert!(limit.take_call(1));
    }

    #[test]
    fn no_wake_up_is_lost_and_the_limit_is_exact() {
        const WORKERS: usize = 4;
        const ROUNDS: usize = 100_000;
        for max in [1, 2, 3] {
            let limit = limit(WORKERS, max);
            let (held, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
            std::thread::scope(|scope| {
                for worker in 0..WORKERS {
                    let (limit, held, most) = (&limit, &held, &most);
                    scope.spawn(move || {
                        for round in 0..ROUNDS {
                            take(limit, worker);
                            let now = held.fetch_add(1, SeqCst) + 1;
                            most.fetch_max(now, SeqCst);
                            if round % 64 == worker {
                                // Whoever runs now finds the limit reached.
                                std::thread::yield_now();
                            }
                            held.fetch_sub(1, SeqCst);
                            limit.give_back();
                        }
                    });
                }
            });
            assert!(most.load(SeqCst) <= max, "{} held at once", most.load(SeqCst));
            assert_eq!((limit.open(), limit.is_awaited()), (0, false));
        }
    }

    #[test]
    fn nothing_is_lost_when_waiters_leave_and_the_maximum_changes() {
        const WORKERS: usize = 4;
        const ROUNDS: u64 = 50_000;
        let limit = limit(WORKERS, 2);
        let running = AtomicU64::new(WORKERS as u64);
        std::thread::scope(|scope| {
            for worker in 0..WORKERS {
                let (limit, running) = (&limit, &running);
                scope.spawn(move || {
                    for round in 0..ROUNDS {
                        if round % 3 == worker as u64 % 3 {
                            // It finds its queue empty after all.
                            if limit.try_take() || limit.wait(worker) {
                                limit.give_back();
                            } else {
                                limit.stop_waiting(worker);
                            }
                        } else {
                            take(limit, worker);
                            limit.give_back();
                        }
                    }
                    running.fetch_sub(1, SeqCst);
                });
            }
            let mut max = 1;
            while running.load(SeqCst) > 0 {
                max = max % 3 + 1;
                limit.set_max(max);
            }
        });
        assert_eq!((limit.open(), limit.is_awaited()), (0, false));
    }

    /// A worker that keeps what it took as idle connections, and closes them when it is called.
    struct Keeper<'a> {
        limit: &'a ConnectionLimit,
        worker: usize,
        idle: usize,
        told: usize,
    }

    impl Keeper<'_> {
        fn keep(&mut self) {
            self.idle += 1;
            if self.limit.has_idle(self.worker) {
                self.make_room();
            }
        }

        fn make_room(&mut self) {
            while self.limit.demand() > 0 {
                if self.idle == 0 {
                    self.limit.run_dry(self.worker);
                    return;
                }
                if self.limit.begin_yield() {
                    self.told += 1;
                    // Some turn out to be busy.
                    if !self.told.is_multiple_of(5) {
                        self.idle -= 1;
                        self.limit.give_back();
                    }
                    self.limit.end_yield();
                }
            }
        }

        /// Waits to be woken, for so long at most, and does what is to be done then.
        fn attend(&mut self, time: Duration) -> bool {
            let wake = self.limit.peers.of(self.worker);
            let woken = wake.wait(time);
            wake.acknowledge();
            if self.limit.take_call(self.worker) {
                self.make_room();
            }
            woken
        }

        fn take(&mut self) {
            if !self.limit.try_take() && !self.limit.wait(self.worker) {
                self.make_room();
                self.limit.call_for_room();
                while !self.limit.take_grant(self.worker) {
                    assert!(self.attend(LOST), "worker {} waits for ever: {:?}", self.worker, self.limit);
                }
            }
            self.keep();
        }
    }

    #[test]
    fn no_call_for_room_is_lost() {
        const WORKERS: usize = 4;
        for max in [1, 2, 6] {
            let limit = limit(WORKERS, max);
            let left = AtomicUsize::new(WORKERS);
            std::thread::scope(|scope| {
                for worker in 0..WORKERS {
                    let (limit, left) = (&limit, &left);
                    scope.spawn(move || {
                        let mut keeper = Keeper { limit, worker, idle: 0, told: 0 };
                        (0..20_000).for_each(|_| keeper.take());
                        left.fetch_sub(1, SeqCst);
                        while left.load(SeqCst) > 0 {
                            keeper.attend(Duration::from_millis(1));
                        }
                        (0..keeper.idle).for_each(|_| limit.give_back());
                    });
                }
            });
            assert_eq!((limit.open(), limit.is_awaited()), (0, false));
        }
    }
}
