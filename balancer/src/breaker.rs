//! What protects an upstream as a whole: limits, and a breaker that opens when it fails.

use std::time::Duration;

use crate::health::{Outcome, Outlier, OutlierRules, Trip, milliseconds};

/// Plain limits of one upstream; `None`: no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Connections to it.
    pub connections_max: Option<u64>,
    /// Requests that wait for a connection or an endpoint.
    pub pending_max: Option<u64>,
    /// Requests in progress.
    pub requests_max: Option<u64>,
    /// Retries in progress.
    pub retries_max: Option<u64>,
}

/// What is in use of an upstream, over all workers as far as known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InUse {
    /// Connections to it.
    pub connections: u64,
    /// Requests that wait.
    pub pending: u64,
    /// Requests in progress.
    pub requests: u64,
    /// Retries in progress.
    pub retries: u64,
}

/// What one wants one more of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// A connection.
    Connection,
    /// A place to wait.
    Pending,
    /// A request.
    Request,
    /// A retry.
    Retry,
}

impl Limits {
    /// Whether there may be one more.
    #[must_use]
    pub fn allow(&self, one_more: Resource, in_use: &InUse) -> bool {
        let (used, max) = match one_more {
            Resource::Connection => (in_use.connections, self.connections_max),
            Resource::Pending => (in_use.pending, self.pending_max),
            Resource::Request => (in_use.requests, self.requests_max),
            Resource::Retry => (in_use.retries, self.retries_max),
        };
        max.is_none_or(|max| used < max)
    }
}

/// When a breaker opens and closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerRules {
    /// When it opens.
    pub opens: OutlierRules,
    /// For how long nothing is sent then. Default 10 s.
    pub open_time: Duration,
    /// Requests in progress at most that probe whether it may close. Default 1.
    pub probes_max: u32,
    /// Probes that must succeed in a row until it closes. Default 5.
    pub successes: u32,
}

impl Default for BreakerRules {
    fn default() -> Self {
        Self {
            opens: OutlierRules::default(),
            open_time: Duration::from_secs(10),
            probes_max: 1,
            successes: 5,
        }
    }
}

/// Lets requests through, or not.
///
/// ```text
///            rules.opens tripped              open_time is over
///   closed ──────────────────────► open ◄────────────────────────► half-open
///      ▲                                     a probe fails             │
///      └───────────────────────────────────────────────────────────────┘
///                          so many probes in a row succeed
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Breaker {
    position: Position,
    /// How often it has moved: what was let through before says nothing about the position that it is in now.
    moves: u32,
    /// Counts while it is closed.
    outlier: Outlier,
}

/// Where a breaker is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Position {
    #[default]
    Closed,
    Open {
        until_ms: u64,
    },
    HalfOpen {
        probes: u32,
        successes: u32,
    },
}

/// Where a breaker is, for metrics and logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// Everything goes through.
    Closed,
    /// Nothing does.
    Open,
    /// Probes do.
    HalfOpen,
}

/// A request that a breaker let through; to be given back with its outcome.
#[derive(Debug)]
#[must_use = "a probe that is not given back holds its place"]
pub struct Passage {
    moves: u32,
}

impl Breaker {
    /// Whether a request may go through now.
    pub fn enter(&mut self, rules: &BreakerRules, now_ms: u64) -> Option<Passage> {
        if let Position::Open { until_ms } = self.position
            && now_ms >= until_ms
        {
            self.go(Position::HalfOpen { probes: 0, successes: 0 });
        }
        match &mut self.position {
            Position::Closed => {}
            Position::Open { .. } => return None,
            Position::HalfOpen { probes, .. } if *probes < rules.probes_max.max(1) => *probes += 1,
            Position::HalfOpen { .. } => return None,
        }
        Some(Passage { moves: self.moves })
    }

    /// It has ended; `None` if that says nothing about the upstream (the client left, say). Returns why a breaker that
    /// was closed opens, if it does.
    pub fn leave(
        &mut self,
        passage: Passage,
        rules: &BreakerRules,
        outcome: Option<Outcome>,
        now_ms: u64,
    ) -> Option<Trip> {
        if passage.moves != self.moves {
            return None;
        }
        let open = Position::Open { until_ms: now_ms.saturating_add(milliseconds(rules.open_time)) };
        match &mut self.position {
            Position::Closed => {
                let trip = self.outlier.record(&rules.opens, outcome?, now_ms)?;
                self.go(open);
                Some(trip)
            }
            Position::HalfOpen { probes, successes } => {
                *probes = probes.saturating_sub(1);
                match outcome? {
                    Outcome::Success if *successes + 1 < rules.successes => *successes += 1,
                    Outcome::Success => self.go(Position::Closed),
                    Outcome::Failure => self.go(open),
                }
                None
            }
            // Nothing is let through in this position.
            Position::Open { .. } => None,
        }
    }

    /// Where it is.
    #[must_use]
    pub fn state(&self) -> BreakerState {
        match self.position {
            Position::Closed => BreakerState::Closed,
            Position::Open { .. } => BreakerState::Open,
            Position::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    fn go(&mut self, position: Position) {
        (self.position, self.outlier) = (position, Outlier::default());
        self.moves = self.moves.wrapping_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Outcome::{Failure, Success};

    const RULES: BreakerRules = BreakerRules {
        opens: OutlierRules { consecutive_failures: Some(3), failure_share: None },
        open_time: Duration::from_secs(10),
        probes_max: 2,
        successes: 3,
    };

    fn request(breaker: &mut Breaker, outcome: Outcome, now_ms: u64) -> Option<Trip> {
        let passage = breaker.enter(&RULES, now_ms).expect("it goes through");
        breaker.leave(passage, &RULES, Some(outcome), now_ms)
    }

    /// Opened at 0.
    fn open() -> Breaker {
        let mut breaker = Breaker::default();
        let trips = [Failure; 3].map(|outcome| request(&mut breaker, outcome, 0));
        assert_eq!(trips, [None, None, Some(Trip::ConsecutiveFailures)]);
        breaker
    }

    #[test]
    fn opens_half_opens_and_closes() {
        let mut breaker = open();
        assert_eq!(breaker.state(), BreakerState::Open);
        assert!(breaker.enter(&RULES, 9_999).is_none());
        let first = breaker.enter(&RULES, 10_000).expect("a probe");
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
        let second = breaker.enter(&RULES, 10_000).expect("another one");
        assert!(breaker.enter(&RULES, 10_000).is_none(), "two probes at once");
        assert_eq!(breaker.leave(first, &RULES, Some(Success), 10_100), None);
        assert_eq!(breaker.leave(second, &RULES, Some(Success), 10_100), None);
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
        request(&mut breaker, Success, 10_200);
        assert_eq!(breaker.state(), BreakerState::Closed);
        assert_eq!(request(&mut breaker, Failure, 10_300), None, "it counts anew");
    }

    #[test]
    fn a_failed_probe_opens_it_again() {
        let mut breaker = open();
        request(&mut breaker, Success, 10_000);
        request(&mut breaker, Success, 10_000);
        request(&mut breaker, Failure, 11_000);
        assert_eq!(breaker.state(), BreakerState::Open);
        assert!(breaker.enter(&RULES, 20_999).is_none());
        assert!(breaker.enter(&RULES, 21_000).is_some());
    }

    #[test]
    fn a_probe_that_says_nothing_gives_its_place_back() {
        let mut breaker = open();
        for _ in 0..5 {
            let passage = breaker.enter(&RULES, 10_000).expect("a probe");
            breaker.leave(passage, &RULES, None, 10_000);
        }
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
    }

    #[test]
    fn what_went_through_before_it_moved_says_nothing() {
        let mut breaker = Breaker::default();
        let [early, late] = [0, 0].map(|now_ms| breaker.enter(&RULES, now_ms).expect("it is closed"));
        let trips = [Failure; 3].map(|outcome| request(&mut breaker, outcome, 0));
        assert_eq!(trips[2], Some(Trip::ConsecutiveFailures));
        let probe = breaker.enter(&RULES, 10_000).expect("a probe");
        assert_eq!(breaker.leave(early, &RULES, Some(Failure), 10_000), None);
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
        breaker.leave(probe, &RULES, Some(Failure), 10_000);
        breaker.leave(late, &RULES, Some(Success), 20_000);
        assert_eq!(breaker.state(), BreakerState::Open);
    }

    #[test]
    fn limits_are_for_one_more() {
        let limits = Limits { requests_max: Some(2), retries_max: Some(0), ..Limits::default() };
        let mut in_use = InUse { connections: 9, pending: 9, requests: 1, retries: 0 };
        for (resource, allowed) in [
            (Resource::Connection, true),
            (Resource::Pending, true),
            (Resource::Request, true),
            (Resource::Retry, false),
        ] {
            assert_eq!(limits.allow(resource, &in_use), allowed, "{resource:?}");
        }
        in_use.requests = 2;
        assert!(!limits.allow(Resource::Request, &in_use));
        let limits = Limits { connections_max: Some(9), pending_max: Some(10), ..Limits::default() };
        assert!(!limits.allow(Resource::Connection, &in_use) && limits.allow(Resource::Pending, &in_use));
    }
}
