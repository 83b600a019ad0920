//! Smooth weighted round robin, as in nginx: shares follow the weights exactly over each cycle, and an endpoint's turns
//! are spread over the cycle instead of coming in a row (5:1:1 gives a a b a c a a).
//!
//! Every pick hands each candidate its weight as credit, takes the candidate with the most, and lets it pay back what was
//! handed out. So the credits always sum to zero, also when some endpoints are excluded: those neither gain nor pay,
//! and the share that they would have had goes to the others by weight.

use crate::policy::start;

/// The credits.
#[derive(Debug, Clone)]
pub(crate) struct Weighted {
    endpoints: Box<[Share]>,
}

#[derive(Debug, Clone)]
struct Share {
    /// Divided by the greatest common divisor of all.
    weight: u32,
    /// Stays within a few cycles' length of zero: with weights below 2^32 that is far from overflow for any number of
    /// endpoints that fits in memory.
    credit: i64,
}

impl Weighted {
    pub(crate) fn new(weights: &[u32], seed: u64) -> Self {
        let divisor = weights.iter().copied().fold(0, greatest_common_divisor).max(1);
        let share = |&weight: &u32| Share { weight: weight / divisor, credit: 0 };
        let mut policy = Self { endpoints: weights.iter().map(share).collect() };
        // A cycle has as many picks as the weights sum to; starting inside it is picking so many times unused.
        let cycle: u64 = policy.endpoints.iter().map(|share| u64::from(share.weight)).sum();
        let picks_max = usize::try_from(cycle).unwrap_or(usize::MAX).min(STAGGER_PICKS_MAX);
        for _ in 0..start(seed, picks_max) {
            policy.pick(&[]);
        }
        policy
    }

    pub(crate) fn pick(&mut self, excluded: &[usize]) -> Option<usize> {
        let mut handed_out = 0;
        let mut best: Option<(usize, i64)> = None;
        for (endpoint, share) in self.endpoints.iter_mut().enumerate() {
            if share.weight == 0 || excluded.contains(&endpoint) {
                continue;
            }
            let weight = i64::from(share.weight);
            share.credit += weight;
            handed_out += weight;
            // The first of equals.
            if best.is_none_or(|(_, credit)| share.credit > credit) {
                best = Some((endpoint, share.credit));
            }
        }
        let (endpoint, credit) = best?;
        self.endpoints[endpoint].credit = credit - handed_out;
        debug_assert_eq!(self.endpoints.iter().map(|share| i128::from(share.credit)).sum::<i128>(), 0);
        Some(endpoint)
    }
}

fn greatest_common_divisor(mut a: u32, mut b: u32) -> u32 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// Bounds the work of making a picker, which is this times the number of endpoints. A guess: more than any machine has
/// workers to keep apart.
const STAGGER_PICKS_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn picks(policy: &mut Weighted, picks: usize) -> Vec<usize> {
        (0..picks).filter_map(|_| policy.pick(&[])).collect()
    }

    fn counts(policy: &mut Weighted, picks: u32) -> Vec<u32> {
        let mut counts = vec![0; policy.endpoints.len()];
        for _ in 0..picks {
            counts[policy.pick(&[]).expect("one is eligible")] += 1;
        }
        counts
    }

    #[test]
    fn spreads_the_turns_of_heavy_endpoints() {
        let order = [0, 0, 1, 0, 2, 0, 0];
        assert_eq!(picks(&mut Weighted::new(&[5, 1, 1], 0), 14), [order, order].concat());
        assert_eq!(picks(&mut Weighted::new(&[50, 10, 10], 0), 7), order, "only the proportion counts");
        assert_eq!(picks(&mut Weighted::new(&[1, 1, 0, 1], 0), 6), [0, 1, 3, 0, 1, 3]);
    }

    #[test]
    fn a_seed_starts_inside_the_cycle() {
        assert_eq!(picks(&mut Weighted::new(&[5, 1, 1], 2), 7), [1, 0, 2, 0, 0, 0, 0]);
        assert_eq!(picks(&mut Weighted::new(&[5, 1, 1], 7 * 5 + 4), 7), [2, 0, 0, 0, 0, 1, 0]);
    }

    #[test]
    fn shares_are_exact_over_many_picks() {
        assert_eq!(counts(&mut Weighted::new(&[5, 1, 1, 3], 6), 10_000), [5_000, 1_000, 1_000, 3_000]);
        let heavy = counts(&mut Weighted::new(&[65_535, 1], 9), 65_536 * 2);
        assert_eq!(heavy, [65_535 * 2, 2]);
    }

    #[test]
    fn the_share_of_a_dead_endpoint_goes_to_the_others_by_weight() {
        let mut policy = Weighted::new(&[4, 3, 1], 0);
        let mut counts = [0_u32; 3];
        for _ in 0..8_000 {
            let mut endpoint = policy.pick(&[]).expect("all are eligible");
            if endpoint == 0 {
                endpoint = policy.pick(&[0]).expect("two are eligible");
            }
            counts[endpoint] += 1;
        }
        assert_eq!(counts, [0, 6_000, 2_000]);
    }

    #[test]
    fn a_failed_pick_changes_nothing() {
        let mut policy = Weighted::new(&[5, 1, 1], 0);
        let mut undisturbed = policy.clone();
        for _ in 0..14 {
            assert_eq!(policy.pick(&[0, 1, 2]), None);
            assert_eq!(policy.pick(&[]), undisturbed.pick(&[]));
        }
    }

    proptest! {
        #[test]
        fn each_cycle_has_exact_shares_wherever_it_starts(
            weights in vec(0..40_u32, 1..8),
            seed in any::<u64>(),
            offset in 0..100_u32,
        ) {
            let cycle: u32 = weights.iter().sum();
            prop_assume!(cycle > 0);
            let mut policy = Weighted::new(&weights, seed);
            counts(&mut policy, offset);
            prop_assert_eq!(counts(&mut policy, cycle), weights);
        }

        #[test]
        fn exclusions_leave_no_lasting_mark(
            weights in vec(0..40_u32, 1..8),
            exclusions in vec(vec(0..8_usize, 0..5), 0..400),
        ) {
            let cycle: u32 = weights.iter().sum();
            prop_assume!(cycle > 0);
            let mut policy = Weighted::new(&weights, 0);
            for excluded in &exclusions {
                policy.pick(excluded);
                // Neither the number nor the order of exclusions lets a credit run away.
                let bound = i64::from(cycle) * i64::try_from(weights.len()).expect("few");
                prop_assert!(policy.endpoints.iter().all(|share| share.credit.abs() <= bound));
            }
            // Old credits are paid back once; after that each cycle is exact again.
            counts(&mut policy, cycle * 8);
            prop_assert_eq!(counts(&mut policy, cycle), weights);
        }
    }
}
