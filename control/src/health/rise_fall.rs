//! What the results of checks in a row make of an endpoint. Pure.
//!
//! ```text
//!            fall failures in a row
//!       up ─────────────────────────► down
//!          ◄─────────────────────────
//!            rise passes in a row
//! ```
//!
//! The first result of all decides alone: before it nobody has seen the endpoint.

use crate::config::{Health, Initial};

/// The results for one endpoint.
#[derive(Clone, Copy, Debug)]
pub(super) struct RiseFall {
    rise: u32,
    fall: u32,
    is_up: bool,
    is_checked: bool,
    /// Results in a row that speak against what it is.
    against: u32,
}

impl RiseFall {
    pub(super) fn new(health: &Health) -> Self {
        let is_up = health.initial == Initial::Healthy;
        Self { rise: health.rise, fall: health.fall, is_up, is_checked: false, against: 0 }
    }

    pub(super) fn is_up(&self) -> bool {
        self.is_up
    }

    /// Whether the endpoint has changed by this result.
    pub(super) fn record(&mut self, passed: bool) -> bool {
        let needed = match (self.is_checked, self.is_up) {
            (false, _) => 1,
            (true, true) => self.fall,
            (true, false) => self.rise,
        };
        self.is_checked = true;
        self.against = if passed == self.is_up { 0 } else { self.against + 1 };
        let is_changed = self.against >= needed;
        if is_changed {
            (self.is_up, self.against) = (passed, 0);
        }
        is_changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(rise: u32, fall: u32, is_up: bool) -> RiseFall {
        RiseFall { rise, fall, is_up, is_checked: true, against: 0 }
    }

    /// What the endpoint is after each result: P passed, F failed; + up, - down.
    fn after(mut it: RiseFall, results: &str) -> String {
        let mut states = String::new();
        for result in results.chars() {
            let before = it.is_up();
            let is_changed = it.record(result == 'P');
            assert_eq!(is_changed, before != it.is_up());
            states.push(if it.is_up() { '+' } else { '-' });
        }
        states
    }

    #[test]
    fn counts_in_a_row_only() {
        for (rise, fall, is_up, results, states) in [
            (2, 3, true, "FFF", "++-"),
            // gobetween goes down here: it counts failures that passes stand between.
            (1, 2, true, "PFPFPFPF", "++++++++"),
            (2, 3, true, "FFPFFPFFF", "++++++++-"),
            (2, 3, false, "PFPFPP", "-----+"),
            (1, 1, true, "FPFP", "-+-+"),
            (3, 1, true, "FPPFPPP", "------+"),
        ] {
            assert_eq!(after(of(rise, fall, is_up), results), states, "{results}");
        }
    }

    #[test]
    fn the_first_result_decides() {
        let unseen = |is_up| RiseFall { is_checked: false, ..of(3, 3, is_up) };
        assert_eq!(after(unseen(true), "FPPP"), "---+");
        assert_eq!(after(unseen(true), "PFFF"), "+++-");
        assert_eq!(after(unseen(false), "PFFF"), "+++-");
        assert_eq!(after(unseen(false), "FPPP"), "---+");
    }
}
