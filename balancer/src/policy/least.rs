//! The endpoint with the fewest outstanding requests for its weight.
//!
//! One request more or less is no difference where weights are uneven: an idle endpoint of weight 1 beside one of weight
//! 100 that has a request would get every other one. So all are equal that have less, each for its weight, than any other
//! would have with one more; where the weights are the same, these are those with the least. At a low load nearly
//! all are equal.
//!
//! Of equals shares follow the weights: each has a clock of its own that goes on by a stride, in inverse proportion to its
//! weight, with every pick, and the one that is most behind is taken (stride scheduling). Who was not picked for a while,
//! since it had more than others, does not get those turns back.

use std::cmp::Ordering;

use crate::rendezvous::remainder;
use crate::tier::Entry;

/// The clocks.
#[derive(Clone, Debug)]
pub(crate) struct Least {
    /// At which time each entry is to be picked. 128 bits, so that they never overflow.
    due: Box<[u128]>,
    /// When the entry was due that was picked last.
    now: u128,
    /// All have the same weight.
    is_even: bool,
}

/// How far the clock of an entry goes with a pick, divided by its scaled weight.
const STRIDE: u64 = 1 << 48;

impl Least {
    pub(crate) fn new(entries: &[Entry], start: u64) -> Self {
        let eligible = entries.iter().filter(|entry| entry.weight > 0).count();
        let first = remainder(start, eligible).unwrap_or(0);
        let mut turn = 0;
        let due = entries.iter().map(|entry| {
            let is_before_first = turn < first;
            turn += usize::from(entry.weight > 0);
            u128::from(is_before_first)
        });
        let mut least = Self { due: due.collect(), now: 0, is_even: false };
        least.weigh(entries);
        least
    }

    /// Takes note of new weights.
    pub(crate) fn weigh(&mut self, entries: &[Entry]) {
        let mut weights = entries.iter().map(|entry| entry.scaled).filter(|&weight| weight > 0);
        let first = weights.next();
        self.is_even = weights.all(|weight| Some(weight) == first);
    }

    /// One of those with the fewest outstanding requests.
    #[inline]
    pub(crate) fn pick(
        &mut self,
        entries: &[Entry],
        may: impl Fn(&Entry) -> bool,
        outstanding: impl Fn(usize) -> u64,
    ) -> Option<usize> {
        let position = if self.is_even {
            self.fewest(entries, may, outstanding)
        } else {
            self.fewest_for_weight(entries, may, outstanding)
        };
        let position = position?;
        let due = &mut self.due[position];
        self.now = self.now.max(*due);
        *due = self.now + u128::from((STRIDE / entries[position].scaled).max(1));
        Some(position)
    }

    /// Where all weights are the same, one look at each is enough.
    fn fewest(
        &self,
        entries: &[Entry],
        may: impl Fn(&Entry) -> bool,
        outstanding: impl Fn(usize) -> u64,
    ) -> Option<usize> {
        let (mut best, mut fewest) = (None, 0);
        for (position, entry) in entries.iter().enumerate() {
            if !may(entry) {
                continue;
            }
            let count = outstanding(entry.endpoint);
            let is_better = match best {
                None => true,
                Some(_) if count != fewest => count < fewest,
                Some(best) => self.due[position] < self.due[best],
            };
            if is_better {
                (best, fewest) = (Some(position), count);
            }
        }
        best
    }

    fn fewest_for_weight(
        &self,
        entries: &[Entry],
        may: impl Fn(&Entry) -> bool,
        outstanding: impl Fn(usize) -> u64,
    ) -> Option<usize> {
        let of = |entry: &Entry| Quotient::new(outstanding(entry.endpoint), entry.scaled);
        let candidates = || entries.iter().enumerate().filter(|(_, entry)| may(entry));
        let least_after = candidates().map(|(_, entry)| of(entry).with_one_more()).min()?;
        let equals = candidates().filter(|(_, entry)| of(entry) < least_after);
        equals.min_by_key(|&(position, _)| self.due[position]).map(|(position, _)| position)
    }

    /// Goes on with the clocks of `known` for entries of the same name.
    pub(crate) fn take_over(&mut self, entries: &[Entry], known: &Self, known_entries: &[Entry]) {
        self.now = known.now;
        for (due, entry) in self.due.iter_mut().zip(entries) {
            let position = known_entries.iter().position(|it| it.name == entry.name);
            *due = position.map_or(known.now, |position| known.due[position]);
        }
    }
}

/// A load for its weight. Compared exactly: 64 + 64 bits do not overflow 128.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quotient {
    load: u64,
    weight: u64,
}

impl Quotient {
    /// The weight is not 0. There is room for one more.
    pub(crate) fn new(load: u64, weight: u64) -> Self {
        Self { load: load.min(u64::MAX - 1), weight }
    }

    pub(crate) fn with_one_more(self) -> Self {
        Self { load: self.load.saturating_add(1), ..self }
    }
}

impl Ord for Quotient {
    fn cmp(&self, other: &Self) -> Ordering {
        let crossed = |load: u64, weight: u64| u128::from(load) * u128::from(weight);
        crossed(self.load, other.weight).cmp(&crossed(other.load, self.weight))
    }
}

impl PartialOrd for Quotient {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Quotient {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Quotient {}

#[cfg(test)]
mod tests {
    use crate::{Ask, Group, Picker, Policy, Share};
    use proptest::collection::vec;
    use proptest::prelude::*;
    use std::cell::RefCell;
    use std::collections::HashSet;

    fn picker(weights: &[u32], start: u64) -> Picker {
        Picker::new(&Group::of_weights(Policy::LeastConnections, weights), start)
    }

    fn pick(picker: &mut Picker, excluded: &[usize], outstanding: impl Fn(usize) -> u64) -> Option<usize> {
        picker.pick(&Ask { excluded, ..Ask::default() }, &outstanding).ok()
    }

    #[test]
    fn takes_the_least_loaded_for_its_weight() {
        for (weights, outstanding, expected) in [
            (&[1, 1, 1][..], &[3, 2, 4][..], 1),
            (&[10, 1, 1], &[15, 2, 2], 0),
            (&[10, 1, 1], &[30, 2, 3], 1),
            (&[3, 2, 0], &[6, 5, 0], 0),
            (&[1, u32::MAX], &[u64::MAX, u64::MAX], 1),
            (&[1, 1], &[u64::MAX, u64::MAX - 1], 1),
            // Equal as floating-point numbers.
            (&[1, 1], &[(1 << 60) + 1, 1 << 60], 1),
        ] {
            for start in 0..3 {
                let picked = pick(&mut picker(weights, start), &[], |endpoint| outstanding[endpoint]);
                assert_eq!(picked, Some(expected), "{weights:?} {outstanding:?} {start}");
            }
        }
    }

    #[test]
    fn a_little_load_is_shared_by_weight() {
        // Each request stays until the next one has come.
        let mut picker = picker(&[100, 1, 1], 0);
        let (mut counts, mut last) = ([0; 3], None);
        for _ in 0..10_200 {
            let picked = pick(&mut picker, &[], |endpoint| u64::from(last == Some(endpoint)));
            last = picked;
            counts[picked.expect("all may be")] += 1;
        }
        assert_eq!(counts, [10_000, 100, 100]);
    }

    #[test]
    fn equals_take_turns() {
        let mut picker = picker(&[1; 4], 0);
        let idle: Vec<_> = (0..6).filter_map(|_| pick(&mut picker, &[], |_| 0)).collect();
        assert_eq!(idle, [0, 1, 2, 3, 0, 1]);
        let one_busy = |endpoint| u64::from(endpoint == 2);
        let one_busy: Vec<_> = (0..6).filter_map(|_| pick(&mut picker, &[], one_busy)).collect();
        assert_eq!(one_busy, [3, 0, 1, 3, 0, 1]);
    }

    #[test]
    fn equals_take_turns_by_weight() {
        let mut picker = picker(&[6, 3, 0, 1], 4);
        let mut counts = [0; 4];
        for _ in 0..10_000 {
            counts[pick(&mut picker, &[], |_| 0).expect("all are idle")] += 1;
        }
        assert_eq!(counts, [6_000, 3_000, 0, 1_000]);
    }

    #[test]
    fn who_was_busy_does_not_get_its_turns_back() {
        let mut picker = picker(&[1, 1], 0);
        let busy = |endpoint| u64::from(endpoint == 1);
        assert!((0..1_000).all(|_| pick(&mut picker, &[], busy) == Some(0)));
        let after: Vec<_> = (0..6).filter_map(|_| pick(&mut picker, &[], |_| 0)).collect();
        assert_eq!(after, [1, 0, 1, 0, 1, 0]);
    }

    #[test]
    fn who_ramps_never_has_more_than_its_part() {
        let mut picker = picker(&[1; 3], 0);
        let _ = picker.admit(|endpoint| if endpoint == 0 { Share::new(64) } else { Share::FULL });
        let idle = (0..9_000).filter(|_| pick(&mut picker, &[], |_| 0) == Some(0)).count();
        assert!(idle.abs_diff(1_000) < 3, "{idle}");
        let one = |outstanding: [u64; 3]| move |endpoint: usize| outstanding[endpoint];
        for (outstanding, takes_it) in [([1, 3, 3], false), ([1, 5, 5], true), ([2, 7, 7], false)] {
            let picks: Vec<_> = (0..50).filter_map(|_| pick(&mut picker, &[], one(outstanding))).collect();
            assert_eq!(picks.contains(&0), takes_it, "{outstanding:?}");
        }
    }

    #[test]
    fn a_failed_pick_leaves_the_turn() {
        let mut picker = picker(&[1, 1, 1], 1);
        assert_eq!(pick(&mut picker, &[0, 1, 2], |_| 0), None);
        assert_eq!(pick(&mut picker, &[], |_| 0), Some(1));
    }

    #[test]
    fn a_reload_that_adds_an_endpoint_does_not_flood_it() {
        let mut before = picker(&[1, 1], 0);
        for _ in 0..1_001 {
            pick(&mut before, &[], |_| 0);
        }
        let mut after = picker(&[1, 1, 1], 0);
        after.take_over(&before);
        let picks: Vec<_> = (0..6).filter_map(|_| pick(&mut after, &[], |_| 0)).collect();
        assert_eq!(picks, [1, 2, 0, 1, 2, 0]);
    }

    #[test]
    fn asks_only_about_those_that_may_be_chosen() {
        for weights in [[1, 0, 1, 1], [1, 0, 2, 1]] {
            let asked = RefCell::new(HashSet::new());
            pick(&mut picker(&weights, 0), &[3, 9], |endpoint| {
                asked.borrow_mut().insert(endpoint);
                0
            });
            assert_eq!(asked.into_inner(), HashSet::from([0, 2]));
        }
    }

    #[test]
    fn requests_that_stay_are_spread_by_weight() {
        let mut picker = picker(&[5, 1, 3, 1], 2);
        let mut outstanding = [0_u64; 4];
        for _ in 0..10_000 {
            let endpoint = pick(&mut picker, &[], |endpoint| outstanding[endpoint]);
            outstanding[endpoint.expect("all are eligible")] += 1;
        }
        assert_eq!(outstanding, [5_000, 1_000, 3_000, 1_000]);
    }

    proptest! {
        #[test]
        fn nobody_eligible_would_have_less_with_the_request_than_the_pick_has_without(
            endpoints in vec((1..=u32::MAX, 0..u64::MAX), 1..9),
            excluded in vec(0..9_usize, 0..4),
            start in any::<u64>(),
        ) {
            let weights: Vec<u32> = endpoints.iter().map(|&(weight, _)| weight).collect();
            if let Some(picked) = pick(&mut picker(&weights, start), &excluded, |it| endpoints[it].1) {
                let (weight, outstanding) = endpoints[picked];
                for (endpoint, &(other_weight, other)) in endpoints.iter().enumerate() {
                    let is_more = u128::from(other + 1) * u128::from(weight)
                        > u128::from(outstanding) * u128::from(other_weight);
                    prop_assert!(excluded.contains(&endpoint) || is_more);
                }
            }
        }

        #[test]
        fn nobody_eligible_of_the_same_weight_has_less_than_the_pick(
            outstanding in vec(any::<u64>(), 1..9),
            excluded in vec(0..9_usize, 0..4),
            start in any::<u64>(),
        ) {
            let mut picker = picker(&vec![3; outstanding.len()], start);
            if let Some(picked) = pick(&mut picker, &excluded, |it| outstanding[it]) {
                let others = outstanding.iter().enumerate().filter(|(it, _)| !excluded.contains(it));
                prop_assert_eq!(Some(outstanding[picked]), others.map(|(_, &it)| it).min());
            }
        }
    }
}
