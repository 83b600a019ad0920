//! Smooth weighted round robin, as in nginx: shares follow the weights exactly over each cycle, and an endpoint's turns
//! are spread over the cycle instead of coming in a row (5:1:1 gives a a b a c a a).
//!
//! Every pick hands each candidate its weight as credit, takes the candidate with the most, and lets it pay back what was
//! handed out. So the sum of the credits never changes, also when some endpoints are excluded: those neither gain nor
//! pay, and the share that they would have had goes to the others by weight.

use crate::rendezvous::remainder;
use crate::tier::Entry;

/// The credits.
#[derive(Clone, Debug)]
pub(crate) struct Weighted {
    /// Each stays within a few cycles' length of zero: with weights below 2^40 that is far from overflow for any number
    /// of endpoints that fits in memory.
    credits: Box<[i64]>,
}

impl Weighted {
    pub(crate) fn new(entries: &[Entry], start: u64) -> Self {
        let mut policy = Self { credits: vec![0; entries.len()].into() };
        // A cycle has as many picks as the weights sum to, divided by what divides them all; starting inside it is
        // picking so many times unused.
        let divisor = entries.iter().map(|entry| entry.weight).fold(0, greatest_common_divisor).max(1);
        let cycle: u64 = entries.iter().map(|entry| u64::from(entry.weight / divisor)).sum();
        let picks_max = usize::try_from(cycle).unwrap_or(usize::MAX).min(STAGGER_PICKS_MAX);
        for _ in 0..remainder(start, picks_max).unwrap_or(0) {
            policy.pick(entries, |entry| entry.scaled > 0);
        }
        policy
    }

    pub(crate) fn pick(&mut self, entries: &[Entry], may: impl Fn(&Entry) -> bool) -> Option<usize> {
        let mut handed_out = 0;
        let mut best: Option<(usize, i64)> = None;
        for (position, (entry, credit)) in entries.iter().zip(&mut self.credits).enumerate() {
            if !may(entry) {
                continue;
            }
            let weight = entry.scaled.cast_signed();
            *credit += weight;
            handed_out += weight;
            // The first of equals.
            if best.is_none_or(|(_, most)| *credit > most) {
                best = Some((position, *credit));
            }
        }
        let (position, credit) = best?;
        self.credits[position] = credit - handed_out;
        Some(position)
    }

    /// Goes on with the credits of `known` for entries of the same name, as far as the new weights can make sense of them.
    pub(crate) fn take_over(&mut self, entries: &[Entry], known: &Self, known_entries: &[Entry]) {
        let cycle: i64 = entries.iter().map(|entry| entry.scaled.cast_signed()).sum();
        for (credit, entry) in self.credits.iter_mut().zip(entries) {
            let position = known_entries.iter().position(|it| it.name == entry.name);
            *credit = position.map_or(0, |position| known.credits[position]).clamp(-cycle, cycle);
        }
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
    use crate::{Ask, Group, Picker, Policy, Share};
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn picker(weights: &[u32], start: u64) -> Picker {
        Picker::new(&Group::of_weights(Policy::Weighted, weights), start)
    }

    fn pick(picker: &mut Picker, excluded: &[usize]) -> Option<usize> {
        picker.pick(&Ask { excluded, ..Ask::default() }, &()).ok()
    }

    fn picks(picker: &mut Picker, count: usize) -> Vec<usize> {
        (0..count).map_while(|_| pick(picker, &[])).collect()
    }

    fn counts<const N: usize>(picker: &mut Picker, picks: u32) -> [u32; N] {
        let mut counts = [0; N];
        for _ in 0..picks {
            counts[pick(picker, &[]).expect("one is eligible")] += 1;
        }
        counts
    }

    #[test]
    fn spreads_the_turns_of_heavy_endpoints() {
        let order = [0, 0, 1, 0, 2, 0, 0];
        assert_eq!(picks(&mut picker(&[5, 1, 1], 0), 14), [order, order].concat());
        assert_eq!(picks(&mut picker(&[50, 10, 10], 0), 7), order, "only the proportion counts");
        assert_eq!(picks(&mut picker(&[1, 1, 0, 1], 0), 6), [0, 1, 3, 0, 1, 3]);
    }

    #[test]
    fn starts_inside_the_cycle() {
        assert_eq!(picks(&mut picker(&[5, 1, 1], 2), 7), [1, 0, 2, 0, 0, 0, 0]);
        assert_eq!(picks(&mut picker(&[5, 1, 1], 7 * 5 + 4), 7), [2, 0, 0, 0, 0, 1, 0]);
    }

    #[test]
    fn shares_are_exact_over_many_picks() {
        assert_eq!(counts(&mut picker(&[5, 1, 1, 3], 6), 10_000), [5_000, 1_000, 1_000, 3_000]);
        assert_eq!(counts(&mut picker(&[65_535, 1], 9), 65_536 * 2), [65_535 * 2, 2]);
    }

    #[test]
    fn the_share_of_a_dead_endpoint_goes_to_the_others_by_weight() {
        let mut picker = picker(&[4, 3, 1], 0);
        let mut counts = [0_u32; 3];
        for _ in 0..8_000 {
            let mut endpoint = pick(&mut picker, &[]);
            if endpoint == Some(0) {
                endpoint = pick(&mut picker, &[0]);
            }
            counts[endpoint.expect("two are eligible")] += 1;
        }
        assert_eq!(counts, [0, 6_000, 2_000]);
    }

    #[test]
    fn a_failed_pick_changes_nothing() {
        let mut picker = picker(&[5, 1, 1], 0);
        let mut undisturbed = picker.clone();
        for _ in 0..14 {
            assert_eq!(pick(&mut picker, &[0, 1, 2]), None);
            assert_eq!(pick(&mut picker, &[]), pick(&mut undisturbed, &[]));
        }
    }

    #[test]
    fn no_endpoint_waits_longer_than_its_weight_says() {
        // Smoothness: of any n picks in a row an endpoint gets its share of n, give or take less than two.
        let weights = [13_u32, 7, 5, 3, 2, 1, 1];
        let all: u32 = weights.iter().sum();
        let picks = picks(&mut picker(&weights, 5), 10 * all as usize);
        for (endpoint, weight) in weights.into_iter().enumerate() {
            for from in 0..picks.len() {
                let mut got = 0;
                for (upto, &pick) in (1_u32..).zip(&picks[from..]) {
                    got += u32::from(pick == endpoint);
                    assert!(
                        (upto * weight).abs_diff(got * all) < 2 * all,
                        "{endpoint} from {from} to {upto}"
                    );
                }
            }
        }
    }

    #[test]
    fn who_ramps_gets_a_part_of_its_share() {
        let mut picker = picker(&[2, 2, 4], 0);
        let _ = picker.admit(|endpoint| if endpoint == 0 { Share::new(128) } else { Share::FULL });
        assert_eq!(counts(&mut picker, 7_000), [1_000, 2_000, 4_000]);
        let _ = picker.admit(|_| Share::FULL);
        let after: [u32; 3] = counts(&mut picker, 8_000);
        assert!(after[0].abs_diff(2_000) < 3 && after[1].abs_diff(2_000) < 3, "{after:?}");
    }

    #[test]
    fn a_reload_that_adds_an_endpoint_goes_on_with_the_cycle() {
        let mut before = picker(&[5, 1, 1], 0);
        picks(&mut before, 4);
        let mut after = picker(&[5, 1, 1, 1], 0);
        after.take_over(&before);
        // As before it is the turn of 2; a begin would have been with 0.
        assert_eq!(picks(&mut after, 8), [2, 0, 0, 3, 0, 0, 1, 0]);
        let mut same = picker(&[5, 1, 1], 0);
        same.take_over(&before);
        assert_eq!(picks(&mut same, 14), picks(&mut before, 14));
    }

    proptest! {
        #[test]
        fn each_cycle_has_exact_shares_wherever_it_starts(
            weights in vec(0..40_u32, 7),
            start in any::<u64>(),
            offset in 0..100_u32,
        ) {
            let cycle: u32 = weights.iter().sum();
            prop_assume!(cycle > 0);
            let mut picker = picker(&weights, start);
            counts::<7>(&mut picker, offset);
            prop_assert_eq!(counts::<7>(&mut picker, cycle).to_vec(), weights);
        }

        #[test]
        fn exclusions_leave_no_lasting_mark(
            weights in vec(0..40_u32, 7),
            exclusions in vec(vec(0..8_usize, 0..5), 0..400),
        ) {
            let cycle: u32 = weights.iter().sum();
            prop_assume!(cycle > 0);
            let mut picker = picker(&weights, 0);
            for excluded in &exclusions {
                pick(&mut picker, excluded);
            }
            // Old credits are paid back once; after that each cycle is exact again.
            counts::<7>(&mut picker, cycle * 8);
            prop_assert_eq!(counts::<7>(&mut picker, cycle).to_vec(), weights);
        }

        #[test]
        fn no_credit_runs_away(
            weights in vec(0..40_u32, 1..8),
            exclusions in vec(vec(0..8_usize, 0..5), 0..400),
        ) {
            let entries = crate::tier::entries(&weights);
            let mut policy = Weighted::new(&entries, 0);
            let bound = i64::from(weights.iter().sum::<u32>()) * 256 * weights.len() as i64;
            for excluded in &exclusions {
                policy.pick(&entries, |it| it.scaled > 0 && !excluded.contains(&it.endpoint));
                prop_assert!(policy.credits.iter().all(|credit| credit.abs() <= bound));
                prop_assert_eq!(policy.credits.iter().sum::<i64>(), 0);
            }
        }
    }
}
