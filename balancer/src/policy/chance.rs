//! By chance, in proportion to the weights.

use crate::rendezvous::{GOLDEN, mix};
use crate::tier::Entry;

/// The weights, summed up.
#[derive(Clone, Debug)]
pub(crate) struct Chance {
    /// The scaled weights of all entries up to each, itself included.
    sums: Box<[u64]>,
}

impl Chance {
    pub(crate) fn new(entries: &[Entry]) -> Self {
        let mut chance = Self { sums: vec![0; entries.len()].into() };
        chance.weigh(entries);
        chance
    }

    /// Takes note of new weights.
    pub(crate) fn weigh(&mut self, entries: &[Entry]) {
        let mut sum = 0;
        for (slot, entry) in self.sums.iter_mut().zip(entries) {
            sum += entry.scaled;
            *slot = sum;
        }
    }

    /// Each of those that may be, with a chance in proportion to its weight.
    pub(crate) fn pick(&self, entries: &[Entry], may: impl Fn(&Entry) -> bool, random: u64) -> Option<usize> {
        let all = *self.sums.last()?;
        for draw in 0..DRAWS_MAX {
            let drawn = part(draw_number(random, draw), all);
            let position = self.sums.partition_point(|&sum| sum <= drawn);
            if entries.get(position).is_some_and(&may) {
                return Some(position);
            }
        }
        // Nearly all are excluded, full or down: among the others.
        let weights = || entries.iter().enumerate().filter(|(_, entry)| may(entry));
        let all: u64 = weights().map(|(_, entry)| entry.scaled).sum();
        let drawn = part(draw_number(random, DRAWS_MAX), all);
        let mut sum = 0;
        weights().find_map(|(position, entry)| {
            sum += entry.scaled;
            (drawn < sum).then_some(position)
        })
    }

    /// Draws two different ones. `is_better(one, other)`: the other is to be preferred to the one that was drawn first.
    pub(crate) fn better_of_two(
        &self,
        entries: &[Entry],
        may: impl Fn(&Entry) -> bool,
        random: u64,
        is_better: impl Fn(&Entry, &Entry) -> bool,
    ) -> Option<usize> {
        let one = self.pick(entries, &may, random)?;
        let is_another = |entry: &Entry| entry.endpoint != entries[one].endpoint && may(entry);
        let other = self.pick(entries, is_another, mix(!random));
        Some(other.filter(|&other| is_better(&entries[one], &entries[other])).unwrap_or(one))
    }
}

/// The number of a draw. Those of requests whose chance is a counter do not meet.
fn draw_number(random: u64, draw: u64) -> u64 {
    mix(random.wrapping_add(draw.wrapping_mul(GOLDEN)))
}

/// Evenly one of `0..all`.
fn part(random: u64, all: u64) -> u64 {
    let part = (u128::from(random) * u128::from(all)) >> u64::BITS;
    u64::try_from(part).expect("it is below `all`")
}

/// Draws before all entries are looked at. While those that may be hold half of the weight, one pick in a million comes
/// to that.
const DRAWS_MAX: u64 = 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Ask, Group, Picker, Policy, View};

    fn random(number: u64) -> Ask<'static> {
        Ask { random: mix(number), ..Ask::default() }
    }

    #[test]
    fn evenly_one_of_all() {
        assert_eq!((part(0, 7), part(u64::MAX, 7), part(u64::MAX, u64::MAX)), (0, 6, u64::MAX - 1));
        assert_eq!(part(u64::MAX / 2, 10), 4);
        assert_eq!(part(5, 0), 0);
    }

    #[test]
    fn finds_the_only_one_that_may_be_among_a_thousand_by_chance() {
        let entries = crate::tier::entries(&[1; 1_000]);
        let chance = Chance::new(&entries);
        for draw in 0..100 {
            assert_eq!(chance.pick(&entries, |it| it.endpoint == 617, draw), Some(617));
            assert_eq!(chance.pick(&entries, |_| false, draw), None);
        }
    }

    #[test]
    fn those_that_are_left_keep_their_proportion() {
        // So few that the draws do not find them.
        let mut weights = vec![1_000_000; 50];
        weights.extend([1, 3]);
        let entries = crate::tier::entries(&weights);
        let chance = Chance::new(&entries);
        let picks = (0..10_000).filter_map(|draw| chance.pick(&entries, |it| it.endpoint >= 50, mix(draw)));
        let lighter = picks.filter(|&position| position == 50).count();
        // Four standard deviations are 173.
        assert!(lighter.abs_diff(2_500) < 173, "{lighter}");
    }

    #[test]
    fn two_by_chance_never_take_the_busiest() {
        let mut picker = Picker::new(&Group::of_weights(Policy::P2c, &[1; 4]), 0);
        let mut counts = [0_u32; 4];
        for number in 0..10_000 {
            let endpoint = picker.pick(&random(number), &|endpoint: usize| endpoint as u64 * 10);
            counts[endpoint.expect("all may be")] += 1;
        }
        // Of the six pairs the first is in three, and so on.
        assert!(counts[0].abs_diff(5_000) < 200 && counts[1].abs_diff(3_333) < 190, "{counts:?}");
        assert!(counts[2].abs_diff(1_667) < 150 && counts[3] == 0, "{counts:?}");
    }

    #[test]
    fn equals_are_chosen_by_weight() {
        for policy in [Policy::P2c, Policy::Ewma, Policy::Random, Policy::Hash] {
            let mut picker = Picker::new(&Group::of_weights(policy, &[1, 4, 0]), 0);
            let picks = (0..10_000).filter_map(|number| picker.pick(&random(number), &()).ok());
            let lighter = picks.filter(|&endpoint| endpoint == 0).count();
            assert!(lighter.abs_diff(2_000) < 160, "{policy:?}: {lighter}");
        }
    }

    #[test]
    fn two_by_chance_rather_take_the_one_with_less_bandwidth() {
        struct Rates([u64; 2], u64);
        impl View for Rates {
            fn outstanding(&self, _endpoint: usize) -> u64 {
                0
            }
            fn bytes_per_second(&self, endpoint: usize) -> u64 {
                self.0[endpoint]
            }
            fn request_bytes_per_second(&self) -> u64 {
                self.1
            }
        }
        for (rates, one_request, weights, firsts) in [
            ([0, 0], 1, [1, 1], 5_000),
            ([50_000, 0], 1, [1, 1], 0),
            // The square of 4/5 stays where it was drawn first.
            ([50_000, 40_000], 1, [1, 1], 3_200),
            ([50_000, 40_000], 10_000, [1, 1], 5_000),
            ([50_000, 10_000], 1, [5, 1], 8_333),
            ([0, 50_000], 1, [1, 5], 10_000),
        ] {
            let mut picker = Picker::new(&Group::of_weights(Policy::LeastBandwidth, &weights), 0);
            let view = Rates(rates, one_request);
            let picks = (0..10_000).filter_map(|number| picker.pick(&random(number), &view).ok());
            let first = picks.filter(|&endpoint| endpoint == 0).count();
            // Four standard deviations.
            assert!(first.abs_diff(firsts) < 200, "{rates:?} {weights:?}: {first}");
        }
    }

    /// Latency and outstanding requests of each.
    struct Known([(u64, u64); 2]);

    impl View for Known {
        fn outstanding(&self, endpoint: usize) -> u64 {
            self.0[endpoint].1
        }

        fn latency_us(&self, endpoint: usize) -> u64 {
            self.0[endpoint].0
        }
    }

    #[test]
    fn ewma_takes_the_one_that_is_expected_to_answer_first() {
        for (of_first, of_second, weights, expected) in [
            ((1_000, 0), (900, 0), [1, 1], 1),
            ((1_000, 1), (3_000, 0), [1, 1], 0),
            ((1_000, 3), (3_000, 0), [1, 1], 1),
            // The first can do four at once.
            ((1_000, 11), (1_000, 3), [4, 1], 0),
            ((1_000, 17), (1_000, 3), [4, 1], 1),
            // Not known: one at a time.
            ((1_000, 0), (0, 0), [1, 1], 1),
            ((9_000, 50), (0, 1), [1, 1], 0),
        ] {
            let mut picker = Picker::new(&Group::of_weights(Policy::Ewma, &weights), 0);
            let view = Known([of_first, of_second]);
            for number in 0..50 {
                assert_eq!(picker.pick(&random(number), &view), Ok(expected), "{of_first:?} {of_second:?}");
            }
        }
    }
}
