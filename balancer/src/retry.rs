//! How many attempts may be repeated, and when.

use std::time::Duration;

use crate::health::milliseconds;
use crate::rendezvous::mix;
use crate::window::{Counts, Window};

/// How many retries there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetRules {
    /// So many retries for a hundred requests. Default 20.
    pub percent: u32,
    /// So many a second whatever the requests, so that a single one can be retried too. Default 3. A worker that has its
    /// own budget gets its part of those.
    pub per_second_min: u32,
    /// Over so long a time. Default 10 s.
    pub window: Duration,
}

impl Default for BudgetRules {
    fn default() -> Self {
        Self { percent: 20, per_second_min: 3, window: Duration::from_secs(10) }
    }
}

/// Keeps retries a share of the requests, so that they never multiply an outage: each worker has one for an upstream, of its
/// own requests.
#[derive(Clone, Copy, Debug, Default)]
pub struct RetryBudget {
    /// Requests, and retries as those of a kind.
    window: Window,
}

impl RetryBudget {
    /// A request has begun.
    pub fn request(&mut self, rules: &BudgetRules, now_ms: u64) {
        self.window.add(Counts { all: 1, of_kind: 0 }, milliseconds(rules.window), now_ms);
    }

    /// Whether one of them may be tried again now; it counts then.
    pub fn try_retry(&mut self, rules: &BudgetRules, now_ms: u64) -> bool {
        let window_ms = milliseconds(rules.window);
        let Counts { all: requests, of_kind: retries } = self.window.counts(window_ms, now_ms);
        let by_share = u64::from(requests) * u64::from(rules.percent) / 100;
        let by_time = u64::from(rules.per_second_min).saturating_mul(window_ms) / 1000;
        let may = u64::from(retries) < by_share.saturating_add(by_time);
        if may {
            self.window.add(Counts { all: 0, of_kind: 1 }, window_ms, now_ms);
        }
        may
    }
}

/// How long to wait before an attempt is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// At most so long before the first retry, and twice as long before each further one. Default 25 ms.
    pub first: Duration,
    /// Never longer. Default 250 ms.
    pub max: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { first: Duration::from_millis(25), max: Duration::from_millis(250) }
    }
}

impl Backoff {
    /// Before the retry with this number, from 0 on: evenly anything up to the bound, so that those that failed together do
    /// not come back together.
    #[must_use]
    pub fn delay(&self, retry: u32, random: u64) -> Duration {
        let doubled = 1_u32.checked_shl(retry).and_then(|times| self.first.checked_mul(times));
        let bound = doubled.unwrap_or(self.max).min(self.max);
        let part = (mix(random) >> 11) as f64 / (1_u64 << 53) as f64;
        bound.mul_f64(part)
    }
}
