//! Two counts over the last while: how many there were, and how many of them were of a kind.

use crate::rendezvous::remainder;

/// The counts of a sliding window, kept in [`SLOTS`] slots: what is older than the window is forgotten a slot at a time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Window {
    slots: [Counts; SLOTS],
    /// The number of the newest slot, counted from time 0.
    newest: u64,
}

/// What is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) all: u32,
    pub(crate) of_kind: u32,
}

/// A window is exact to a tenth of its length.
const SLOTS: usize = 10;

impl Window {
    /// Counts one, now.
    pub(crate) fn add(&mut self, counts: Counts, window_ms: u64, now_ms: u64) {
        self.advance(window_ms, now_ms);
        let slot = self.slot(self.newest);
        slot.all = slot.all.saturating_add(counts.all);
        slot.of_kind = slot.of_kind.saturating_add(counts.of_kind);
    }

    /// What was counted in the window that ends now.
    pub(crate) fn counts(&mut self, window_ms: u64, now_ms: u64) -> Counts {
        self.advance(window_ms, now_ms);
        let sum = |of: fn(&Counts) -> u32| self.slots.iter().map(of).fold(0, u32::saturating_add);
        Counts { all: sum(|slot| slot.all), of_kind: sum(|slot| slot.of_kind) }
    }

    /// Empties the slots that are older than the window. Time that goes back changes nothing.
    fn advance(&mut self, window_ms: u64, now_ms: u64) {
        let now = now_ms / (window_ms / SLOTS as u64).max(1);
        let passed = now.saturating_sub(self.newest).min(SLOTS as u64);
        for slot in 0..passed {
            *self.slot(now - slot) = Counts::default();
        }
        self.newest = self.newest.max(now);
    }

    /// Where the slot with this number is kept.
    fn slot(&mut self, number: u64) -> &mut Counts {
        &mut self.slots[remainder(number, SLOTS).unwrap_or(0)]
    }
}
