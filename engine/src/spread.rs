//! A share of what comes, spread evenly and exact over time: which requests are mirrored, and which have a record.

use std::cell::Cell;

use crate::action::SHARE_ALL;

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Spread {
    /// What was due and not given yet, in the unit of [`SHARE_ALL`].
    due: Cell<u32>,
}

impl Default for Spread {
    fn default() -> Self {
        // The count is rounded to the nearest then, instead of down on each worker.
        Self { due: Cell::new(SHARE_ALL / 2) }
    }
}

impl Spread {
    /// Whether this is one of those that a share of all takes.
    pub(crate) fn takes(&self, share: u32) -> bool {
        let due = self.due.get() + share;
        let takes = due >= SHARE_ALL;
        self.due.set(if takes { due - SHARE_ALL } else { due });
        takes
    }
}
