//! A worker's idle connections to one endpoint, the last used first.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::time::Duration;

use crate::counters::{EndpointCounters, PerWorker};
use crate::io::{ByteStream, Check};

/// Connections looked at per sweep: a dead one at the cold end is found within seconds, at a bounded cost per tick.
const SWEEP_MAX: usize = 64;

/// See the module.
pub(crate) struct Pool<S> {
    /// The coldest in front.
    idle: RefCell<VecDeque<Idle<S>>>,
    counters: PerWorker<EndpointCounters>,
    worker: usize,
}

struct Idle<S> {
    stream: S,
    since_ms: u64,
}

impl<S: ByteStream> Pool<S> {
    pub(crate) fn new(counters: PerWorker<EndpointCounters>, worker: usize) -> Self {
        Self { idle: RefCell::default(), counters, worker }
    }

    /// An idle connection that is open and silent; others are closed on the way.
    pub(crate) fn check_out(&self, now_ms: u64, idle_timeout: Duration, check: Check) -> Option<S> {
        let counters = self.counters.of(self.worker);
        loop {
            let mut idle = self.idle.borrow_mut().pop_back()?;
            counters.idle.decrement();
            if is_expired(idle.since_ms, now_ms, idle_timeout) {
                continue;
            }
            if idle.stream.is_clean(check) {
                return Some(idle.stream);
            }
            counters.stale.increment();
        }
    }

    /// Keeps a connection for the next exchange; the coldest makes room.
    pub(crate) fn check_in(&self, stream: S, now_ms: u64, idle_connections_max: usize) {
        let mut idle = self.idle.borrow_mut();
        let counters = self.counters.of(self.worker);
        while idle.len() >= idle_connections_max {
            if idle.pop_front().is_none() {
                return;
            }
            counters.idle.decrement();
        }
        idle.push_back(Idle { stream, since_ms: now_ms });
        counters.idle.increment();
    }

    /// Closes what has expired or died at the cold end. Returns whether none is left.
    pub(crate) fn sweep(&self, now_ms: u64, idle_timeout: Duration) -> bool {
        let mut idle = self.idle.borrow_mut();
        let counters = self.counters.of(self.worker);
        for _ in 0..SWEEP_MAX {
            let Some(mut coldest) = idle.pop_front() else { return true };
            if is_expired(coldest.since_ms, now_ms, idle_timeout) {
                counters.idle.decrement();
            } else if coldest.stream.is_clean(Check::Events) {
                idle.push_front(coldest);
                break;
            } else {
                counters.idle.decrement();
                counters.stale.increment();
            }
        }
        idle.is_empty()
    }
}

impl<S> Drop for Pool<S> {
    fn drop(&mut self) {
        for _ in 0..self.idle.borrow().len() {
            self.counters.of(self.worker).idle.decrement();
        }
    }
}

fn is_expired(since_ms: u64, now_ms: u64, idle_timeout: Duration) -> bool {
    !idle_timeout.is_zero() && u128::from(now_ms.saturating_sub(since_ms)) >= idle_timeout.as_millis()
}
