//! How many requests are in progress at one endpoint, or upstream, over all workers, where that is limited: exact, because
//! a place is taken before a request is sent and given back when its exchange, or the attempt, has ended.
//!
//! It costs a request some atomic operations on memory that all workers share, and only where `requests_max` is set.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::SeqCst;

use super::WaitingLine;
use crate::counters::Padded;

/// See the module. It belongs to the endpoint, or the upstream, and survives reloads; the limit itself stands in the snapshot.
#[derive(Debug, Default)]
pub struct Places {
    taken: Padded<AtomicU32>,
}

/// The limit of an endpoint, or of an upstream.
#[derive(Clone, Debug)]
pub struct RequestLimit {
    /// How many requests may be in progress there.
    pub requests_max: u32,
    /// Those that are.
    pub places: Arc<Places>,
    /// Who waits for one, at whatever endpoint of the upstream.
    pub line: Arc<WaitingLine>,
}

impl RequestLimit {
    /// Whether there is no place now; the next moment it may be otherwise.
    pub(crate) fn is_full(&self) -> bool {
        self.places.taken() >= self.requests_max
    }

    /// Takes a place, if there is one.
    pub(crate) fn try_take(&self) -> Option<Place> {
        self.places.try_take(self.requests_max).then(|| Place(self.clone()))
    }
}

impl Places {
    /// How many are taken, exactly.
    #[must_use]
    pub fn taken(&self) -> u32 {
        self.taken.0.load(SeqCst)
    }

    /// Takes one, if fewer are taken.
    pub(super) fn try_take(&self, max: u32) -> bool {
        let is_free = |taken: u32| (taken < max).then_some(taken + 1);
        self.taken.0.fetch_update(SeqCst, SeqCst, is_free).is_ok()
    }

    pub(super) fn give_back(&self) {
        self.taken.0.fetch_sub(1, SeqCst);
    }
}

/// How many requests of an upstream may be retries.
#[derive(Clone, Debug)]
pub struct RetryLimit {
    /// How many at once.
    pub retries_max: u32,
    /// Those that are.
    pub places: Arc<Places>,
}

impl RetryLimit {
    /// Takes a place, if there is one.
    pub(crate) fn try_take(&self) -> Option<RetryPlace> {
        self.places.try_take(self.retries_max).then(|| RetryPlace(self.places.clone()))
    }
}

/// A place that a retry has; dropping it gives it back.
#[derive(Debug)]
pub(crate) struct RetryPlace(Arc<Places>);

impl Drop for RetryPlace {
    fn drop(&mut self) {
        self.0.give_back();
    }
}

/// A place that is taken; dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Place(RequestLimit);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.places.give_back();
        self.0.line.call();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Peers;

    fn limit(requests_max: u32) -> RequestLimit {
        let line = Arc::new(WaitingLine::new(&Peers::new(1).unwrap()));
        RequestLimit { requests_max, places: Arc::default(), line }
    }

    #[test]
    fn places_come_back() {
        let limit = limit(2);
        let (first, second) = (limit.try_take(), limit.try_take());
        assert!(first.is_some() && second.is_some() && limit.is_full() && limit.try_take().is_none());
        drop(first);
        assert!(!limit.is_full() && limit.try_take().is_some());
        drop(second);
        assert_eq!(limit.places.taken(), 0);
        let limit = RetryLimit { retries_max: 1, places: Arc::default() };
        let first = limit.try_take();
        assert!(first.is_some() && limit.try_take().is_none());
        drop(first);
        assert!(limit.try_take().is_some());
    }

    #[test]
    fn a_lowered_limit_lets_nobody_in_until_enough_have_left() {
        let before = limit(3);
        let mut taken: Vec<_> = (0..3).map(|_| before.try_take()).collect();
        let after = RequestLimit { requests_max: 1, ..before.clone() };
        for _ in 0..2 {
            taken.pop();
            assert!(after.try_take().is_none());
        }
        taken.pop();
        assert!(after.try_take().is_some());
    }

    #[test]
    fn is_exact_over_threads() {
        let limit = limit(3);
        let (held, most) = (AtomicU32::new(0), AtomicU32::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..50_000 {
                        if let Some(_place) = limit.try_take() {
                            most.fetch_max(held.fetch_add(1, SeqCst) + 1, SeqCst);
                            held.fetch_sub(1, SeqCst);
                        }
                    }
                });
            }
        });
        assert!(most.load(SeqCst) <= 3 && limit.places.taken() == 0);
    }
}
