//! Each endpoint in turn.

use crate::picker::Entry;
use crate::rendezvous::remainder;
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
    pub(crate) fn pick(&mut self, entries: &[Entry], may: impl Fn(&Entry) -> bool) -> Option<usize> {
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
            return Some(self.taken(position));
        }
        // All that may be ramp, and it is nobody's turn.
        passed_over.map(|position| self.taken(position))
    }

    fn taken(&mut self, position: usize) -> usize {
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
