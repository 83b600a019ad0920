//! By chance, in proportion to the weights.

use crate::picker::Entry;
use crate::rendezvous::mix;

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
            let drawn = part(mix(random.wrapping_add(draw)), all);
            let position = self.sums.partition_point(|&sum| sum <= drawn);
            if entries.get(position).is_some_and(&may) {
                return Some(position);
            }
        }
        // Nearly all are excluded, full or down: among the others.
        let weights = || entries.iter().enumerate().filter(|(_, entry)| may(entry));
        let all: u64 = weights().map(|(_, entry)| entry.scaled).sum();
        let drawn = part(mix(random.wrapping_add(DRAWS_MAX)), all);
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

/// Evenly one of `0..all`.
fn part(random: u64, all: u64) -> u64 {
    let part = (u128::from(random) * u128::from(all)) >> u64::BITS;
    u64::try_from(part).expect("it is below `all`")
}

/// Draws before all entries are looked at. While those that may be hold half of the weight, one pick in a million comes
/// to that.
const DRAWS_MAX: u64 = 20;
