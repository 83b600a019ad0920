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

#[cfg(test)]
mod tests {
    use super::*;

    fn one(of_kind: u32) -> Counts {
        Counts { all: 1, of_kind }
    }

    #[test]
    fn forgets_what_is_older_than_the_window() {
        let mut window = Window::default();
        window.add(one(1), 1_000, 50);
        window.add(one(0), 1_000, 550);
        assert_eq!(window.counts(1_000, 599), Counts { all: 2, of_kind: 1 });
        assert_eq!(window.counts(1_000, 999), Counts { all: 2, of_kind: 1 });
        assert_eq!(window.counts(1_000, 1_000), Counts { all: 1, of_kind: 0 });
        assert_eq!(window.counts(1_000, 1_499), Counts { all: 1, of_kind: 0 });
        assert_eq!(window.counts(1_000, 1_500), Counts::default());
        window.add(one(0), 1_000, u64::MAX);
        assert_eq!(window.counts(1_000, u64::MAX), one(0));
    }

    #[test]
    fn a_clock_that_goes_back_forgets_nothing() {
        let mut window = Window::default();
        window.add(one(0), 1_000, 5_000);
        window.add(one(0), 1_000, 2_000);
        assert_eq!(window.counts(1_000, 1_000).all, 2);
    }

    #[test]
    fn counts_stop_at_their_largest() {
        let mut window = Window::default();
        for now_ms in [0, 0, 100] {
            window.add(Counts { all: u32::MAX, of_kind: 1 }, 1_000, now_ms);
        }
        assert_eq!(window.counts(1_000, 100), Counts { all: u32::MAX, of_kind: 3 });
        window.add(one(0), 0, 7);
    }
}
