//! How many attempts a worker may make again at one upstream.

use std::cell::Cell;

use corelane_balancer::{BudgetRules, RetryBudget};

/// See the module. Requests are not counted one by one: when one is to be sent again, all that came since the last time
/// are, so that what needs no retry pays nothing.
#[derive(Clone, Default)]
pub(crate) struct Budget {
    budget: Cell<RetryBudget>,
    /// The upstream's requests on this worker when they were last counted, and when that was.
    counted: Cell<u64>,
    counted_ms: Cell<u64>,
}

impl Budget {
    /// Whether one may be sent again; it counts then. `requests`: the upstream's on this worker.
    pub(crate) fn try_retry(&self, rules: &BudgetRules, requests: u64, now_ms: u64) -> bool {
        let since_ms = now_ms.saturating_sub(self.counted_ms.replace(now_ms)).max(1);
        let came = requests.saturating_sub(self.counted.replace(requests));
        // Of a longer time the part that the window has, as if they had come evenly.
        let window_ms = u64::try_from(rules.window.as_millis()).unwrap_or(u64::MAX);
        let of_window = if since_ms > window_ms { came.saturating_mul(window_ms) / since_ms } else { came };
        let mut budget = self.budget.get();
        budget.requests(rules, u32::try_from(of_window).unwrap_or(u32::MAX), now_ms);
        let may = budget.try_retry(rules, now_ms);
        self.budget.set(budget);
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: BudgetRules =
        BudgetRules { percent: 20, retries_min: 10, window: std::time::Duration::from_secs(10) };

    fn retries(budget: &Budget, requests: u64, now_ms: u64) -> usize {
        (0..1000).take_while(|_| budget.try_retry(&RULES, requests, now_ms)).count()
    }

    #[test]
    fn a_share_of_the_requests_may_be_sent_again() {
        let budget = Budget::default();
        // Ten at least, and a fifth of those of the last while.
        assert_eq!(retries(&budget, 100, 5_000), 10 + 20);
        assert_eq!(retries(&budget, 150, 5_000), 10);
        assert_eq!(retries(&budget, 150, 60_000), 10);
    }

    #[test]
    fn requests_of_long_ago_do_not_count() {
        let budget = Budget::default();
        assert_eq!(retries(&budget, 0, 1_000), 10);
        // 1000 in a hundred seconds are a hundred in the last ten.
        assert_eq!(retries(&budget, 1000, 101_000), 10 + 20);
    }
}
