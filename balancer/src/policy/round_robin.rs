//! Each endpoint in turn.

use crate::rendezvous::remainder;
use crate::tier::Entry;
use crate::view::Share;

/// The turn.
#[derive(Clone, Debug)]
pub(crate) struct RoundRobin {
    /// Whose turn it is, as a position.
    next: usize,
    /// While an endpoint ramps it takes a part of its turns only: what it has gathered for the next one it takes.
    due: Box<[u16]>,
}

impl RoundRobin {
    pub(crate) fn new(entries: &[Entry], start: u64) -> Self {
        let eligible = || entries.iter().enumerate().filter(|(_, entry)| entry.weight > 0);
        let first = remainder(start, eligible().count()).unwrap_or(0);
        let next = eligible().nth(first).map_or(0, |(position, _)| position);
        Self { next, due: vec![0; entries.len()].into() }
    }

    /// The first one from `next` on that may be; the turn goes to the one after it.
    #[inline]
    pub(crate) fn pick(&mut self, entries: &[Entry], may: impl Fn(&Entry) -> bool) -> Option<usize> {
        let position = self.next;
        let entry = entries.get(position)?;
        if entry.share == Share::FULL && may(entry) {
            return Some(self.take(position));
        }
        self.search(entries, may)
    }

    #[cold]
    fn search(&mut self, entries: &[Entry], may: impl Fn(&Entry) -> bool) -> Option<usize> {
        let mut passed_over = None;
        for position in (self.next..entries.len()).chain(0..self.next) {
            let entry = &entries[position];
            if !may(entry) {
                continue;
            }
            if entry.share < Share::FULL {
                self.due[position] += entry.share.parts();
                if self.due[position] < Share::FULL.parts() {
                    passed_over = passed_over.or(Some(position));
                    continue;
                }
                self.due[position] -= Share::FULL.parts();
            }
            return Some(self.take(position));
        }
        // All that may be ramp, and it is nobody's turn.
        passed_over.map(|position| self.take(position))
    }

    fn take(&mut self, position: usize) -> usize {
        self.next = if position + 1 == self.due.len() { 0 } else { position + 1 };
        position
    }

    /// The turn goes to the entry that has it in `known`, or to the first one behind it that is still there.
    pub(crate) fn take_over(&mut self, entries: &[Entry], known: &Self, known_entries: &[Entry]) {
        let (passed, ahead) = known_entries.split_at(known.next.min(known_entries.len()));
        let mut in_turn = ahead.iter().chain(passed);
        let next = in_turn.find_map(|known| entries.iter().position(|entry| entry.name == known.name));
        self.next = next.unwrap_or(self.next);
    }
}

#[cfg(test)]
mod tests {
    use crate::{Ask, Group, Member, Picker, Policy, Share};

    fn picker(weights: &[u32], start: u64) -> Picker {
        Picker::new(&Group::of_weights(Policy::RoundRobin, weights), start)
    }

    fn picks(picker: &mut Picker, excluded: &[usize], count: usize) -> Vec<usize> {
        let ask = Ask { excluded, ..Ask::default() };
        (0..count).map_while(|_| picker.pick(&ask, &()).ok()).collect()
    }

    #[test]
    fn takes_turns_and_skips_weight_zero() {
        assert_eq!(picks(&mut picker(&[5, 0, 1, 9], 0), &[], 7), [0, 2, 3, 0, 2, 3, 0]);
    }

    #[test]
    fn every_endpoint_gets_the_same_number_of_requests() {
        let picks = picks(&mut picker(&[1, 2, 3, 4, 5], 123), &[], 10_000);
        assert_eq!([0, 1, 2, 3, 4].map(|it| picks.iter().filter(|&&pick| pick == it).count()), [2_000; 5]);
    }

    #[test]
    fn a_failed_pick_leaves_the_turn() {
        let mut picker = picker(&[1, 1, 1], 1);
        assert_eq!(picks(&mut picker, &[0, 1, 2], 1), []);
        assert_eq!(picks(&mut picker, &[], 1), [1]);
    }

    #[test]
    fn the_load_of_a_dead_endpoint_is_spread_over_the_others() {
        let mut picker = picker(&[1; 4], 0);
        let mut counts = [0; 4];
        for _ in 0..9_000 {
            let endpoint = picks(&mut picker, &[], 1)[0];
            counts[if endpoint == 0 { picks(&mut picker, &[0], 1)[0] } else { endpoint }] += 1;
        }
        assert_eq!(counts, [0, 3_000, 3_000, 3_000]);
    }

    #[test]
    fn who_ramps_takes_a_part_of_its_turns() {
        let mut picker = picker(&[1; 3], 0);
        let _ = picker.admit(|endpoint| if endpoint == 1 { Share::new(64) } else { Share::FULL });
        assert_eq!(picks(&mut picker, &[], 18), [0, 2, 0, 2, 0, 2, 0, 1, 2, 0, 2, 0, 2, 0, 2, 0, 1, 2]);
        let _ = picker.admit(|_| Share::new(1));
        assert_eq!(
            picks(&mut picker, &[], 6),
            [0, 1, 2, 0, 1, 2],
            "if all ramp, they share as they do otherwise"
        );
    }

    #[test]
    fn the_turn_survives_a_change_of_members() {
        let group = |names: &[u64]| {
            let member = |&name: &u64| Member { name, weight: 1, priority: 0 };
            Group::new(Default::default(), &names.iter().map(member).collect::<Vec<_>>())
        };
        let mut before = Picker::new(&group(&[10, 11, 12, 13]), 0);
        picks(&mut before, &[], 2);
        // 12 has the turn.
        for (names, turn) in [(&[13, 12, 11][..], 1), (&[10, 11, 13], 2), (&[7, 11, 10], 2), (&[8, 9], 0)] {
            let mut after = Picker::new(&group(names), 0);
            after.take_over(&before);
            assert_eq!(picks(&mut after, &[], 1), [turn], "{names:?}");
        }
    }
}
