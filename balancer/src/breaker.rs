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
    is_probe: bool,
}

impl Breaker {
    /// Whether a request may go through now.
    pub fn enter(&mut self, rules: &BreakerRules, now_ms: u64) -> Option<Passage> {
        if let Position::Open { until_ms } = self.position
            && now_ms >= until_ms
        {
            self.position = Position::HalfOpen { probes: 0, successes: 0 };
        }
        match &mut self.position {
            Position::Closed => Some(Passage { is_probe: false }),
            Position::Open { .. } => None,
            Position::HalfOpen { probes, .. } => {
                let may = *probes < rules.probes_max.max(1);
                *probes += u32::from(may);
                may.then_some(Passage { is_probe: true })
            }
        }
    }

    /// It has ended; `None` if that says nothing about the upstream (the client left, say).
    pub fn leave(
        &mut self,
        passage: Passage,
        rules: &BreakerRules,
        outcome: Option<Outcome>,
        now_ms: u64,
    ) -> Option<Trip> {
        match &mut self.position {
            Position::Closed if !passage.is_probe => {
                let trip = self.outlier.record(&rules.opens, outcome?, now_ms)?;
                self.open(rules, now_ms);
                Some(trip)
            }
            Position::HalfOpen { probes, successes } if passage.is_probe => {
                *probes = probes.saturating_sub(1);
                match outcome? {
                    Outcome::Failure => self.open(rules, now_ms),
                    Outcome::Success if *successes + 1 < rules.successes => *successes += 1,
                    Outcome::Success => *self = Self::default(),
                }
                None
            }
            // It was let through before the breaker moved.
            _ => None,
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

    fn open(&mut self, rules: &BreakerRules, now_ms: u64) {
        self.position = Position::Open { until_ms: now_ms.saturating_add(milliseconds(rules.open_time)) };
    }
}
