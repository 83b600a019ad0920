//! Each endpoint in turn.

use crate::policy::start;

/// The turn.
#[derive(Debug, Clone)]
pub(crate) struct RoundRobin {
    /// The endpoints that take requests at all.
    eligible: Box<[usize]>,
    /// Whose turn it is, as an index into `eligible`.
    next: usize,
}

impl RoundRobin {
    pub(crate) fn new(weights: &[u32], seed: u64) -> Self {
        let weighted = weights.iter().enumerate().filter(|&(_, &weight)| weight > 0);
        let eligible: Box<[usize]> = weighted.map(|(endpoint, _)| endpoint).collect();
        let next = start(seed, eligible.len());
        Self { eligible, next }
    }

    /// The first one from `next` on that is not excluded; the turn goes to the one after it.
    pub(crate) fn pick(&mut self, excluded: &[usize]) -> Option<usize> {
        for _ in 0..self.eligible.len() {
            let endpoint = self.eligible[self.next];
            self.next = if self.next + 1 == self.eligible.len() { 0 } else { self.next + 1 };
            if !excluded.contains(&endpoint) {
                return Some(endpoint);
            }
        }
        // All were looked at: the turn is where it was.
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_turns_and_skips_weight_zero() {
        let mut policy = RoundRobin::new(&[5, 0, 1, 9], 0);
        let picks: Vec<_> = (0..7).filter_map(|_| policy.pick(&[])).collect();
        assert_eq!(picks, [0, 2, 3, 0, 2, 3, 0]);
    }

    #[test]
    fn every_endpoint_gets_the_same_number_of_requests() {
        let mut policy = RoundRobin::new(&[1, 2, 3, 4, 5], 123);
        let mut counts = [0; 5];
        for _ in 0..10_000 {
            counts[policy.pick(&[]).expect("all are eligible")] += 1;
        }
        assert_eq!(counts, [2_000; 5]);
    }

    #[test]
    fn a_failed_pick_leaves_the_turn() {
        let mut policy = RoundRobin::new(&[1, 1, 1], 1);
        assert_eq!(policy.pick(&[0, 1, 2]), None);
        assert_eq!(policy.pick(&[]), Some(1));
    }

    #[test]
    fn the_load_of_a_dead_endpoint_is_spread_over_the_others() {
        let mut policy = RoundRobin::new(&[1; 4], 0);
        let mut counts = [0; 4];
        for _ in 0..9_000 {
            let mut endpoint = policy.pick(&[]).expect("all are eligible");
            if endpoint == 0 {
                endpoint = policy.pick(&[0]).expect("three are eligible");
            }
            counts[endpoint] += 1;
        }
        assert_eq!(counts, [0, 3_000, 3_000, 3_000]);
    }
}
