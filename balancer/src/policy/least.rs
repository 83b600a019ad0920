//! The endpoint that has the least of something for its weight: outstanding requests, bytes per second.
//!
//! Of equals, and at a low load nearly all are, shares follow the weights: each has a clock of its own that goes on by
//! a stride, in inverse proportion to its weight, with every pick, and the one that is most behind is taken (stride
//! scheduling). Who was not picked for a while, since it had more than others, does not get those turns back.

use crate::picker::Entry;
use crate::rendezvous::remainder;
use crate::view::Share;

/// The clocks.
#[derive(Clone, Debug)]
pub(crate) struct Least {
    /// At which time each entry is to be picked. 128 bits, so that they never overflow.
    due: Box<[u128]>,
    /// When the entry was due that was picked last.
    now: u128,
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
        Self { due: due.collect(), now: 0 }
    }

    /// The smallest quotient of what `load` says and the weight.
    pub(crate) fn pick(
        &mut self,
        entries: &[Entry],
        may: impl Fn(&Entry) -> bool,
        load: impl Fn(usize) -> u64,
    ) -> Option<usize> {
        let mut best: Option<(usize, (u64, u64))> = None;
        for (position, entry) in entries.iter().enumerate() {
            if !may(entry) {
                continue;
            }
            // While it ramps it is judged by what it would have then: idle, it would win against all others.
            let one_more = u64::from(entry.share < Share::FULL);
            let quotient = (load(entry.endpoint).saturating_add(one_more), entry.scaled);
            let is_better = best.is_none_or(|(other, of_other)| {
                is_less(quotient, of_other)
                    || !is_less(of_other, quotient) && self.due[position] < self.due[other]
            });
            if is_better {
                best = Some((position, quotient));
            }
        }
        let (position, (_, weight)) = best?;
        let due = &mut self.due[position];
        self.now = self.now.max(*due);
        *due = self.now + u128::from((STRIDE / weight).max(1));
        Some(position)
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

/// Whether the quotient of a load and a weight is less than another, exactly: 64 + 64 bits do not overflow 128.
pub(crate) fn is_less((load, weight): (u64, u64), (other_load, other_weight): (u64, u64)) -> bool {
    u128::from(load) * u128::from(other_weight) < u128::from(other_load) * u128::from(weight)
}
