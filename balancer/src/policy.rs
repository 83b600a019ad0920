//! The choice of a policy, and one worker's state of it.

use crate::least_connections::LeastConnections;
use crate::round_robin::RoundRobin;
use crate::weighted::Weighted;

/// How an endpoint is chosen. An endpoint of weight 0 is never chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PolicyKind {
    /// Each in turn, weights ignored.
    #[default]
    RoundRobin,
    /// Smooth weighted round robin.
    Weighted,
    /// The fewest outstanding requests, as far as the caller counts them, in proportion to the weight.
    LeastConnections,
}

/// One worker's state of one upstream's policy.
#[derive(Debug, Clone)]
pub struct Picker(State);

#[derive(Debug, Clone)]
enum State {
    RoundRobin(RoundRobin),
    Weighted(Weighted),
    LeastConnections(LeastConnections),
}

impl Picker {
    /// `weights[i]` is that of endpoint `i`. `seed` moves the start of the cycle, so that workers with different seeds
    /// do not send their first requests to the same endpoint; 0 starts at the first.
    pub fn new(kind: PolicyKind, weights: &[u32], seed: u64) -> Self {
        Self(match kind {
            PolicyKind::RoundRobin => State::RoundRobin(RoundRobin::new(weights, seed)),
            PolicyKind::Weighted => State::Weighted(Weighted::new(weights, seed)),
            PolicyKind::LeastConnections => State::LeastConnections(LeastConnections::new(weights, seed)),
        })
    }

    /// The endpoint for the next exchange, or `None` when each one is excluded or has weight 0.
    ///
    /// `excluded` holds the endpoints that were tried already, in any order; indices out of range are ignored.
    /// `outstanding(i)` is the number of requests in progress at endpoint `i`, as far as the caller knows; only least
    /// connections asks for it, once for each endpoint that may be chosen.
    pub fn pick(&mut self, excluded: &[usize], outstanding: impl Fn(usize) -> u64) -> Option<usize> {
        match &mut self.0 {
            State::RoundRobin(policy) => policy.pick(excluded),
            State::Weighted(policy) => policy.pick(excluded),
            State::LeastConnections(policy) => policy.pick(excluded, outstanding),
        }
    }
}

/// Where a cycle of so many steps starts for a seed.
pub(crate) fn start(seed: u64, steps: usize) -> usize {
    match seed.checked_rem(steps as u64) {
        Some(step) => usize::try_from(step).expect("a remainder is below the divisor, which was a usize"),
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    const KINDS: [PolicyKind; 3] =
        [PolicyKind::RoundRobin, PolicyKind::Weighted, PolicyKind::LeastConnections];

    #[test]
    fn no_endpoints_no_pick() {
        for kind in KINDS {
            for weights in [&[][..], &[0], &[0, 0, 0]] {
                let mut picker = Picker::new(kind, weights, 7);
                assert_eq!(picker.pick(&[], |_| 0), None, "{kind:?} {weights:?}");
            }
        }
    }

    #[test]
    fn a_single_endpoint_takes_everything_until_excluded() {
        for kind in KINDS {
            let mut picker = Picker::new(kind, &[0, 3], u64::MAX);
            for _ in 0..10 {
                assert_eq!(picker.pick(&[], |_| u64::MAX), Some(1), "{kind:?}");
                assert_eq!(picker.pick(&[1], |_| 0), None, "{kind:?}");
                assert_eq!(picker.pick(&[0, 9, usize::MAX], |_| 0), Some(1), "{kind:?}");
            }
        }
    }

    #[test]
    fn seeds_spread_the_first_pick_over_equal_endpoints() {
        for kind in KINDS {
            let first: Vec<_> =
                (0..8).map(|seed| Picker::new(kind, &[1; 4], seed).pick(&[], |_| 0)).collect();
            let expected: Vec<_> = [0, 1, 2, 3, 0, 1, 2, 3].into_iter().map(Some).collect();
            assert_eq!(first, expected, "{kind:?}");
        }
    }

    #[test]
    fn the_largest_weights_do_not_overflow() {
        for kind in KINDS {
            let mut picker = Picker::new(kind, &[u32::MAX; 100], 3);
            for step in 0..1_000_usize {
                let picked = picker.pick(&[step % 100, (step + 1) % 100], |_| u64::MAX);
                assert!(picked.is_some_and(|endpoint| endpoint < 100));
            }
        }
    }

    proptest! {
        #[test]
        fn picks_an_eligible_endpoint_if_and_only_if_there_is_one(
            kind in 0..3_usize,
            weights in vec(prop_oneof![Just(0_u32), 1..4_u32, Just(65_535), any::<u32>()], 0..9),
            seed in any::<u64>(),
            rounds in vec((vec(0..10_usize, 0..6), vec(any::<u64>(), 9)), 1..60),
        ) {
            let mut picker = Picker::new(KINDS[kind], &weights, seed);
            for (excluded, outstanding) in rounds {
                let eligible = |&endpoint: &usize| weights[endpoint] > 0 && !excluded.contains(&endpoint);
                match picker.pick(&excluded, |endpoint| outstanding[endpoint]) {
                    Some(endpoint) => prop_assert!(eligible(&endpoint), "{} is not eligible", endpoint),
                    None => prop_assert!(!(0..weights.len()).any(|endpoint| eligible(&endpoint))),
                }
            }
        }

        #[test]
        fn the_same_seed_gives_the_same_picks(
            kind in 0..3_usize,
            weights in vec(0..9_u32, 1..6),
            seed in any::<u64>(),
        ) {
            let mut one = Picker::new(KINDS[kind], &weights, seed);
            let mut other = one.clone();
            for _ in 0..50 {
                prop_assert_eq!(one.pick(&[], |_| 0), other.pick(&[], |_| 0));
            }
        }
    }
}
