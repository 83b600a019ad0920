//! How long something has not changed.

/// A count, and since when it has been the same; `u64::MAX`: nobody waits for it to change.
#[derive(Clone, Copy)]
pub(super) struct Since {
    count: u64,
    pub(super) at_ms: u64,
}

impl Since {
    pub(super) const NEVER: Self = Self { count: 0, at_ms: u64::MAX };

    /// Notes whether somebody waits for `count` to change.
    pub(super) fn note(&mut self, now_ms: u64, is_waiting: bool, count: u64) {
        if !is_waiting {
            self.at_ms = u64::MAX;
        } else if self.at_ms == u64::MAX || self.count != count {
            *self = Self { count, at_ms: now_ms };
        }
    }
}
