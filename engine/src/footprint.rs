//! What a worker's connections hold, and when memory that they no longer need goes back to the system.
//!
//! An allocator keeps what is freed until somebody allocates again, and on a worker whose burst is over nobody does: the
//! memory of ten thousand exchanges would stay resident beside ten thousand idle connections.

use std::cell::Cell;

/// Connections that keep the memory of an exchange although none is in progress, at most: 1.5 MiB. Those beyond them
/// allocate it for each request.
const WAITING_MAX: usize = 1024;

/// The weights of a connection and of an exchange: half a KiB each.
const CONNECTION_WEIGHT: usize = 1;
const EXCHANGE_WEIGHT: usize = 3;

/// Less than this is given back only when no exchange is left: 64 KiB. Freed memory can be many times what was freed last,
/// because an allocator gives back pages, of which each may have been kept by one exchange.
const SLACK_WEIGHT: usize = 128;

/// Entries that a worker's tables of connections have room for from the start, some MiB in all. Room that was never used is
/// not resident. A table that grows in the middle of a burst would leave its earlier halves behind, and lie where the
/// burst's memory has been, which then could not be given back.
pub(crate) const ENTRIES_RESERVED: usize = 65_536;

/// How long after memory was given back it is not looked at again: a worker whose load goes up and down keeps what it
/// needs at the next peak.
const TRIM_INTERVAL_MS: u64 = 1000;

/// See the module.
#[derive(Default)]
pub(crate) struct Footprint {
    connections: Cell<usize>,
    exchanges: Cell<usize>,
    waiting: Cell<usize>,
    /// The most that was held since memory was given back.
    most: Cell<usize>,
    trimmed_ms: Cell<u64>,
}

impl Footprint {
    /// A connection begins.
    pub(crate) fn add_connection(&self) {
        self.connections.set(self.connections.get() + 1);
        self.note();
    }

    /// A connection has ended.
    pub(crate) fn remove_connection(&self) {
        self.connections.set(self.connections.get() - 1);
    }

    /// Connections that are open.
    pub(crate) fn connections(&self) -> usize {
        self.connections.get()
    }

    /// A connection gets the memory of an exchange.
    pub(crate) fn add_exchange(&self) {
        self.exchanges.set(self.exchanges.get() + 1);
        self.note();
    }

    /// It has given it back.
    pub(crate) fn remove_exchange(&self) {
        self.exchanges.set(self.exchanges.get() - 1);
    }

    /// Connections that have it.
    pub(crate) fn exchanges(&self) -> usize {
        self.exchanges.get()
    }

    /// Whether a connection may keep it while it waits for the next request.
    pub(crate) fn try_wait(&self) -> bool {
        let may_wait = self.waiting.get() < WAITING_MAX;
        self.waiting.set(self.waiting.get() + usize::from(may_wait));
        may_wait
    }

    /// It does not wait any more.
    pub(crate) fn end_wait(&self) {
        self.waiting.set(self.waiting.get() - 1);
    }

    /// Whether so much less is held than before that it is to be given back now. `is_last`: nobody may ask again soon.
    pub(crate) fn take_slack(&self, now_ms: u64, is_last: bool) -> bool {
        let slack = self.most.get().saturating_sub(self.held());
        let is_early = now_ms < self.trimmed_ms.get() + TRIM_INTERVAL_MS && !is_last;
        let is_worth_it = slack >= SLACK_WEIGHT || (slack > 0 && self.exchanges.get() == 0);
        if is_early || !is_worth_it {
            return false;
        }
        self.most.set(self.held());
        self.trimmed_ms.set(now_ms);
        true
    }

    fn held(&self) -> usize {
        self.connections.get() * CONNECTION_WEIGHT + self.exchanges.get() * EXCHANGE_WEIGHT
    }

    fn note(&self) {
        self.most.set(self.most.get().max(self.held()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_burst_is_noticed_once() {
        let footprint = Footprint::default();
        for _ in 0..1000 {
            footprint.add_connection();
            footprint.add_exchange();
        }
        assert!(!footprint.take_slack(5_000, false), "all is in use");
        (0..30).for_each(|_| footprint.remove_exchange());
        assert!(!footprint.take_slack(5_000, false), "not worth it");
        (0..940).for_each(|_| footprint.remove_exchange());
        assert!(footprint.take_slack(5_000, false));
        assert!(!footprint.take_slack(9_000, true), "nothing was freed since");
        (0..30).for_each(|_| footprint.remove_exchange());
        assert!(footprint.take_slack(9_000, false), "the last one may keep a page");
        (0..1000).for_each(|_| footprint.add_exchange());
        (0..1000).for_each(|_| footprint.remove_exchange());
        assert!(!footprint.take_slack(9_900, false), "too early");
        assert!(footprint.take_slack(10_000, false));
        (0..1000).for_each(|_| footprint.add_exchange());
        (0..1000).for_each(|_| footprint.remove_exchange());
        assert!(footprint.take_slack(10_100, true), "or never");
    }

    #[test]
    fn so_many_may_wait_and_no_more() {
        let footprint = Footprint::default();
        assert!((0..WAITING_MAX).all(|_| footprint.try_wait()));
        assert!(!footprint.try_wait());
        footprint.end_wait();
        assert!(footprint.try_wait() && !footprint.try_wait());
    }
}
