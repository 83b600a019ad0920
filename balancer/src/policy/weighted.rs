//! Smooth weighted round robin, as in nginx: shares follow the weights exactly over each cycle, and an endpoint's turns
//! are spread over the cycle instead of coming in a row (5:1:1 gives a a b a c a a).
//!
//! Every pick hands each candidate its weight as credit, takes the candidate with the most, and lets it pay back what was
//! handed out. So the sum of the credits never changes, also when some endpoints are excluded: those neither gain nor
//! pay, and the share that they would have had goes to the others by weight.

use crate::picker::Entry;
use crate::rendezvous::remainder;

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
