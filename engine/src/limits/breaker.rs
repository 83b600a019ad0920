//! The breaker of one upstream, for all workers at once.
//!
//! Where it is stands in one word, which every request reads, and which is written when the breaker moves and by probes
//! alone. Failures are counted by each worker for itself; the one that has seen enough of them opens it for all.

use std::cell::RefCell;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;

use corelane_balancer::health::{Outcome, Trip};
use corelane_balancer::{Breaker, BreakerRules, BreakerState, Passage, Refused, Tripper};

use crate::core::due;
use crate::counters::Padded;
use crate::outlier::outcome_of;

/// See the module. It belongs to the upstream and survives reloads; the rules stand in the snapshot.
#[derive(Debug, Default)]
pub struct SharedBreaker {
    word: Padded<AtomicU64>,
}

impl SharedBreaker {
    /// Where it is now. It is half open from the first request after its `open_time` on.
    #[must_use]
    pub fn state(&self) -> BreakerState {
        self.load().state()
    }

    fn load(&self) -> Breaker {
        Breaker::from_bits(self.word.0.load(SeqCst))
    }

    /// Puts in place what `make` makes of it, unless that is the same. Returns what it was, and what it is.
    fn try_replace<T, E>(
        &self,
        make: impl Fn(Breaker) -> Result<(Breaker, T), E>,
    ) -> Result<(Breaker, Breaker, T), E> {
        let mut before = self.load();
        loop {
            let (after, made) = make(before)?;
            if after == before {
                return Ok((before, after, made));
            }
            match self.word.0.compare_exchange(before.bits(), after.bits(), SeqCst, SeqCst) {
                Ok(_) => return Ok((before, after, made)),
                Err(now) => before = Breaker::from_bits(now),
            }
        }
    }

    fn replace(&self, make: impl Fn(Breaker) -> Breaker) -> (Breaker, Breaker) {
        let Ok((before, after, ())) = self.try_replace(|breaker| Ok::<_, Infallible>((make(breaker), ())));
        (before, after)
    }
}

/// The breaker of an upstream and its rules.
#[derive(Clone, Debug)]
pub struct UpstreamBreaker {
    /// When it moves.
    pub rules: BreakerRules,
    /// Statuses that are failures of the upstream: the first and the last of each range.
    pub statuses: Box<[(u16, u16)]>,
    /// Where it is.
    pub shared: Arc<SharedBreaker>,
}

/// What a request that was let through holds.
#[derive(Debug, Default)]
pub(crate) enum Passing {
    /// Nothing: there is no breaker, or it has its outcome.
    #[default]
    Settled,
    /// The breaker was closed.
    Closed(Passage),
    /// It is a probe.
    Probe(Probe),
}

/// A probe on its way; dropping it gives its place back and says nothing about the upstream.
#[derive(Debug)]
pub(crate) struct Probe {
    breaker: Arc<SharedBreaker>,
    /// Until it is given back.
    passage: Option<Passage>,
    /// When it gives its place back, if it is its client that is waited for then.
    pub(crate) due_ms: u64,
}

impl Drop for Probe {
    fn drop(&mut self) {
        if let Some(passage) = self.passage {
            self.breaker.replace(|breaker| breaker.abandon(passage));
        }
    }
}

/// A breaker has moved, which one worker tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerMove {
    /// It was closed, and too much failed.
    Opened(Trip),
    /// A probe failed.
    OpenedAgain,
    /// Its `open_time` is over.
    HalfOpened,
    /// Enough probes have succeeded.
    Closed,
}

impl UpstreamBreaker {
    /// Lets a request through, or not.
    pub(crate) fn enter(&self, now_ms: u64) -> Result<(Passing, Option<BreakerMove>), Refused> {
        let (before, after, passage) =
            self.shared.try_replace(|breaker| breaker.enter(&self.rules, now_ms))?;
        if !passage.is_probe() {
            return Ok((Passing::Closed(passage), None));
        }
        let moved = (before.state() != after.state()).then_some(BreakerMove::HalfOpened);
        let due_ms = due(now_ms, self.rules.open_time);
        let probe = Probe { breaker: self.shared.clone(), passage: Some(passage), due_ms };
        Ok((Passing::Probe(probe), moved))
    }

    /// A request has ended with this. `tripper`: what this worker has counted.
    pub(crate) fn leave(
        &self,
        passing: Passing,
        tripper: &RefCell<Tripper>,
        outcome: Outcome,
        now_ms: u64,
    ) -> Option<BreakerMove> {
        match passing {
            Passing::Settled => None,
            Passing::Closed(passage) => {
                let breaker = self.shared.load();
                let trip = tripper.borrow_mut().record(breaker, passage, &self.rules, outcome, now_ms)?;
                let (before, after) = self.shared.replace(|it| it.trip(passage, &self.rules, now_ms));
                // Another worker may have been faster.
                (before != after).then_some(BreakerMove::Opened(trip))
            }
            Passing::Probe(mut probe) => {
                let passage = probe.passage.take()?;
                let (before, after) =
                    self.shared.replace(|it| it.leave(passage, &self.rules, outcome, now_ms));
                match after.state() {
                    state if state == before.state() => None,
                    BreakerState::Closed => Some(BreakerMove::Closed),
                    BreakerState::Open | BreakerState::HalfOpen => Some(BreakerMove::OpenedAgain),
                }
            }
        }
    }

    /// Whether it has moved since it let this request through: what has failed is not sent again then.
    pub(crate) fn has_moved_since(&self, passing: &Passing) -> bool {
        let passage = match passing {
            Passing::Settled => return false,
            Passing::Closed(passage) => Some(*passage),
            Passing::Probe(probe) => probe.passage,
        };
        passage.is_some_and(|passage| !self.shared.load().is_of_now(passage))
    }

    /// Whether a status is a failure of the upstream.
    pub(crate) fn outcome_of(&self, status: u16) -> Outcome {
        outcome_of(&self.statuses, status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Outcome::{Failure, Success};
    use corelane_balancer::health::OutlierRules;
    use std::sync::atomic::AtomicU32;
    use std::time::Duration;

    fn breaker(probes_max: u32) -> UpstreamBreaker {
        let opens = OutlierRules { consecutive_failures: Some(2), failure_share: None };
        let open_time = Duration::from_millis(100);
        UpstreamBreaker {
            rules: BreakerRules { opens, open_time, probes_max, successes: 2 },
            statuses: [(500, 500), (502, 504)].into(),
            shared: Arc::default(),
        }
    }

    /// What a worker makes of one request, if it goes through.
    fn request(
        breaker: &UpstreamBreaker,
        tripper: &RefCell<Tripper>,
        outcome: Outcome,
        now_ms: u64,
    ) -> Option<[Option<BreakerMove>; 2]> {
        let (passing, entered) = breaker.enter(now_ms).ok()?;
        Some([entered, breaker.leave(passing, tripper, outcome, now_ms)])
    }

    #[test]
    fn what_one_worker_sees_opens_it_for_all() {
        let breaker = breaker(1);
        let (here, there) = (RefCell::default(), RefCell::default());
        assert_eq!(request(&breaker, &here, Failure, 0), Some([None, None]));
        assert_eq!(request(&breaker, &there, Failure, 0), Some([None, None]), "each counts for itself");
        let opened = BreakerMove::Opened(Trip::ConsecutiveFailures);
        assert_eq!(request(&breaker, &here, Failure, 0), Some([None, Some(opened)]));
        assert_eq!(
            (request(&breaker, &there, Success, 99), breaker.shared.state()),
            (None, BreakerState::Open)
        );
        let half = Some(BreakerMove::HalfOpened);
        assert_eq!(request(&breaker, &there, Failure, 100), Some([half, Some(BreakerMove::OpenedAgain)]));
        assert_eq!(request(&breaker, &there, Success, 200), Some([half, None]));
        assert_eq!(request(&breaker, &here, Success, 200), Some([None, Some(BreakerMove::Closed)]));
        assert_eq!(Arc::strong_count(&breaker.shared), 1);
    }

    #[test]
    fn a_probe_that_is_dropped_gives_its_place_back() {
        let breaker = breaker(1);
        let tripper = RefCell::default();
        let (late, _) = breaker.enter(0).unwrap();
        for _ in 0..2 {
            request(&breaker, &tripper, Failure, 0);
        }
        assert!(breaker.has_moved_since(&late) && !breaker.has_moved_since(&Passing::Settled));
        let (probe, _) = breaker.enter(100).unwrap();
        assert!(breaker.enter(100).is_err() && !breaker.has_moved_since(&probe));
        drop((probe, late));
        assert!(breaker.enter(100).is_ok());
        assert_eq!(Arc::strong_count(&breaker.shared), 1);
    }

    #[test]
    fn statuses_that_are_failures() {
        let breaker = breaker(1);
        let statuses = [200, 499, 500, 501, 502, 503, 504, 505];
        let failures = statuses.map(|status| breaker.outcome_of(status) == Failure);
        assert_eq!(failures, [false, false, true, false, true, true, true, false]);
    }

    #[test]
    fn no_thread_lets_more_probes_through_than_may() {
        const PROBES_MAX: u32 = 3;
        let breaker = breaker(PROBES_MAX);
        let (probes, most, opened, closed) =
            (AtomicU32::new(0), AtomicU32::new(0), AtomicU32::new(0), AtomicU32::new(0));
        std::thread::scope(|scope| {
            for thread in 0..4u64 {
                let (breaker, probes, most) = (&breaker, &probes, &most);
                let (opened, closed) = (&opened, &closed);
                scope.spawn(move || {
                    let tripper = RefCell::default();
                    for round in 0..100_000 {
                        let random = corelane_balancer::mix(round * 4 + thread);
                        let Ok((passing, _)) = breaker.enter(round) else { continue };
                        let is_probe = matches!(passing, Passing::Probe(_));
                        if is_probe {
                            most.fetch_max(probes.fetch_add(1, SeqCst) + 1, SeqCst);
                            probes.fetch_sub(1, SeqCst);
                        }
                        if random.is_multiple_of(8) {
                            drop(passing);
                            continue;
                        }
                        let outcome = if random % 4 == 1 { Failure } else { Success };
                        match breaker.leave(passing, &tripper, outcome, round) {
                            Some(BreakerMove::Opened(_)) => opened.fetch_add(1, SeqCst),
                            Some(BreakerMove::Closed) => closed.fetch_add(1, SeqCst),
                            _ => 0,
                        };
                    }
                });
            }
        });
        let most = most.into_inner();
        assert!((1..=PROBES_MAX).contains(&most), "{most} probes at once");
        // Each opening is told once, and between two of them it has closed.
        let (opened, closed) = (opened.into_inner(), closed.into_inner());
        assert!(closed > 10 && (closed..=closed + 1).contains(&opened), "opened {opened}, closed {closed}");
    }
}
