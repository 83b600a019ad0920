//! The endpoint with the fewest outstanding requests for its weight.

use crate::policy::start;

/// The weights, and where the search starts.
#[derive(Debug, Clone)]
pub(crate) struct LeastConnections {
    /// Endpoints that take requests at all, with their weights.
    eligible: Box<[(usize, u32)]>,
    /// Of equals the first from here on wins, an index into `eligible`.
    first: usize,
}

impl LeastConnections {
    pub(crate) fn new(weights: &[u32], seed: u64) -> Self {
        let weighted = weights.iter().copied().enumerate();
        let eligible: Box<[(usize, u32)]> = weighted.filter(|&(_, weight)| weight > 0).collect();
        let first = start(seed, eligible.len());
        Self { eligible, first }
    }

    /// The smallest quotient of outstanding requests and weight; ties go round.
    pub(crate) fn pick(&mut self, excluded: &[usize], outstanding: impl Fn(usize) -> u64) -> Option<usize> {
        let mut best: Option<Candidate> = None;
        let from_first = (self.first..self.eligible.len()).chain(0..self.first);
        for position in from_first {
            let (endpoint, weight) = self.eligible[position];
            if excluded.contains(&endpoint) {
                continue;
            }
            let candidate = Candidate { position, endpoint, weight, outstanding: outstanding(endpoint) };
            if best.as_ref().is_none_or(|best| candidate.is_less_loaded_than(best)) {
                best = Some(candidate);
            }
        }
        let best = best?;
        self.first = if best.position + 1 == self.eligible.len() { 0 } else { best.position + 1 };
        Some(best.endpoint)
    }
}

struct Candidate {
    position: usize,
    endpoint: usize,
    weight: u32,
    outstanding: u64,
}

impl Candidate {
    /// Compares the quotients by cross-multiplication: exact, and 64 + 32 bits cannot overflow 128.
    fn is_less_loaded_than(&self, other: &Self) -> bool {
        u128::from(self.outstanding) * u128::from(other.weight)
            < u128::from(other.outstanding) * u128::from(self.weight)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    #[test]
    fn takes_the_least_loaded_for_its_weight() {
        for (weights, outstanding, expected) in [
            (&[1, 1, 1][..], &[3, 2, 4][..], 1),
            (&[10, 1, 1], &[15, 2, 2], 0),
            (&[10, 1, 1], &[25, 2, 3], 1),
            (&[3, 2, 0], &[7, 5, 0], 0),
            (&[1, u32::MAX], &[u64::MAX, u64::MAX], 1),
            (&[1, 1], &[u64::MAX, u64::MAX - 1], 1),
            // Equal as floating-point numbers.
            (&[1, 1], &[(1 << 60) + 1, 1 << 60], 1),
        ] {
            for seed in 0..3 {
                let mut policy = LeastConnections::new(weights, seed);
                let picked = policy.pick(&[], |endpoint| outstanding[endpoint]);
                assert_eq!(picked, Some(expected), "{weights:?} {outstanding:?} {seed}");
            }
        }
    }

    #[test]
    fn equals_take_turns() {
        let mut policy = LeastConnections::new(&[1; 4], 0);
        let idle: Vec<_> = (0..6).filter_map(|_| policy.pick(&[], |_| 0)).collect();
        assert_eq!(idle, [0, 1, 2, 3, 0, 1]);
        let one_busy: Vec<_> =
            (0..6).filter_map(|_| policy.pick(&[], |endpoint| u64::from(endpoint == 2))).collect();
        assert_eq!(one_busy, [3, 0, 1, 3, 0, 1]);
    }

    #[test]
    fn a_failed_pick_leaves_the_turn() {
        let mut policy = LeastConnections::new(&[1, 1, 1], 1);
        assert_eq!(policy.pick(&[0, 1, 2], |_| 0), None);
        assert_eq!(policy.pick(&[], |_| 0), Some(1));
    }

    #[test]
    fn asks_only_about_those_that_may_be_chosen() {
        let mut policy = LeastConnections::new(&[1, 0, 1, 1], 0);
        let asked = std::cell::RefCell::new(Vec::new());
        policy.pick(&[3, 9], |endpoint| {
            asked.borrow_mut().push(endpoint);
            0
        });
        assert_eq!(asked.into_inner(), [0, 2]);
    }

    #[test]
    fn requests_that_stay_are_spread_by_weight() {
        let weights = [5, 1, 3, 1];
        let mut policy = LeastConnections::new(&weights, 2);
        let mut outstanding = [0_u64; 4];
        for _ in 0..10_000 {
            outstanding[policy.pick(&[], |endpoint| outstanding[endpoint]).expect("all are eligible")] += 1;
        }
        assert_eq!(outstanding, [5_000, 1_000, 3_000, 1_000]);
    }

    proptest! {
        #[test]
        fn nobody_eligible_is_less_loaded_than_the_pick(
            endpoints in vec((1..=u32::MAX, any::<u64>()), 1..9),
            excluded in vec(0..9_usize, 0..4),
            seed in any::<u64>(),
        ) {
            let weights: Vec<u32> = endpoints.iter().map(|&(weight, _)| weight).collect();
            let mut policy = LeastConnections::new(&weights, seed);
            if let Some(picked) = policy.pick(&excluded, |endpoint| endpoints[endpoint].1) {
                let (weight, outstanding) = endpoints[picked];
                for (endpoint, &(other_weight, other)) in endpoints.iter().enumerate() {
                    let no_less = u128::from(other) * u128::from(weight)
                        >= u128::from(outstanding) * u128::from(other_weight);
                    prop_assert!(excluded.contains(&endpoint) || no_less);
                }
            }
        }
    }
}
