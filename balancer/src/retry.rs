//! How many attempts may be repeated, and when.

use std::time::Duration;

use crate::health::milliseconds;
use crate::rendezvous::unit;
use crate::window::{Counts, Window};

/// How many retries there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetRules {
    /// So many retries for a hundred requests. Default 20.
    pub percent: u32,
    /// So many whatever the requests, so that a single one can be retried too, and those that an endpoint had when it died.
    /// Default 100.
    pub retries_min: u32,
    /// Over so long a time. Default 10 s.
    pub window: Duration,
}

impl BudgetRules {
    /// What a worker keeps to that has its own budget: its part of the minimum, rounded up.
    #[must_use]
    pub fn of_each(self, workers: u32) -> Self {
        Self { retries_min: self.retries_min.div_ceil(workers.max(1)), ..self }
    }
}

impl Default for BudgetRules {
    fn default() -> Self {
        Self { percent: 20, retries_min: 100, window: Duration::from_secs(10) }
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
        self.requests(rules, 1, now_ms);
    }

    /// So many have.
    pub fn requests(&mut self, rules: &BudgetRules, count: u32, now_ms: u64) {
        self.window.add(Counts { all: count, of_kind: 0 }, milliseconds(rules.window), now_ms);
    }

    /// Whether one of them may be tried again now; it counts then.
    pub fn try_retry(&mut self, rules: &BudgetRules, now_ms: u64) -> bool {
        let window_ms = milliseconds(rules.window);
        let Counts { all: requests, of_kind: retries } = self.window.counts(window_ms, now_ms);
        let by_share = u64::from(requests) * u64::from(rules.percent) / 100;
        let may = u64::from(retries) < by_share + u64::from(rules.retries_min);
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
        bound.mul_f64(unit(random))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: BudgetRules = BudgetRules { percent: 20, retries_min: 0, window: Duration::from_secs(10) };

    /// Retries that are let through at a time.
    fn retries(budget: &mut RetryBudget, rules: &BudgetRules, now_ms: u64) -> usize {
        (0..100_000).take_while(|_| budget.try_retry(rules, now_ms)).count()
    }

    fn requests(budget: &mut RetryBudget, count: u32, now_ms: u64) {
        (0..count).for_each(|_| budget.request(&RULES, now_ms));
    }

    #[test]
    fn retries_are_a_share_of_the_requests() {
        let mut budget = RetryBudget::default();
        assert_eq!(retries(&mut budget, &RULES, 0), 0);
        requests(&mut budget, 1_000, 0);
        assert_eq!(retries(&mut budget, &RULES, 0), 200);
        requests(&mut budget, 100, 5_000);
        assert_eq!(retries(&mut budget, &RULES, 5_000), 20);
        // The first thousand are forgotten, and their retries.
        assert_eq!(retries(&mut budget, &RULES, 10_000), 0);
        requests(&mut budget, 100, 10_000);
        assert_eq!(retries(&mut budget, &RULES, 10_000), 20);
    }

    #[test]
    fn some_are_let_through_whatever_the_requests() {
        let rules = BudgetRules { retries_min: 30, ..RULES };
        let mut budget = RetryBudget::default();
        assert_eq!(retries(&mut budget, &rules, 0), 30);
        assert_eq!(retries(&mut budget, &rules, 9_999), 0);
        assert_eq!(retries(&mut budget, &rules, 10_000), 30);
        assert_eq!([0, 1, 16, 99].map(|workers| rules.of_each(workers).retries_min), [30, 30, 2, 1]);
        assert_eq!(RULES.of_each(16), RULES, "none is none");
    }

    #[test]
    fn an_outage_is_not_multiplied() {
        // Every attempt fails and wants another one, for a minute, at changing rates.
        let mut budget = RetryBudget::default();
        let (mut requests, mut attempts) = (0_u32, 0_u32);
        for now_ms in 0..60_000 {
            for _ in 0..now_ms / 10_000 {
                budget.request(&RULES, now_ms);
                requests += 1;
                attempts += 1;
                while budget.try_retry(&RULES, now_ms) {
                    attempts += 1;
                }
            }
        }
        assert!(attempts <= requests * 12 / 10, "{attempts} attempts of {requests} requests");
        assert!(attempts >= requests * 119 / 100, "{attempts} attempts of {requests} requests");
    }

    #[test]
    fn delays_double_up_to_the_bound_and_are_spread() {
        let backoff = Backoff::default();
        for (retry, bound_ms) in [(0, 25.0), (1, 50.0), (2, 100.0), (3, 200.0), (4, 250.0), (99, 250.0)] {
            let delays: Vec<f64> =
                (0..10_000).map(|random| backoff.delay(retry, random).as_secs_f64() * 1e3).collect();
            let mean = delays.iter().sum::<f64>() / 10_000.0;
            assert!(delays.iter().all(|&delay| delay < bound_ms), "{retry}");
            // Six standard deviations.
            assert!((mean / bound_ms - 0.5).abs() < 0.018, "{retry}: {mean}");
        }
    }
}
