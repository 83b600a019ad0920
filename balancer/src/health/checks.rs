//! What the results of active checks make of an endpoint.

use std::time::Duration;

use crate::rendezvous::unit;

/// How results are counted. Both counts are of results in a row: one of the other kind begins anew. The first result of
/// all decides alone: before it nobody has seen the endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckRules {
    /// Checks that must pass until it is up. Default 2.
    pub rise: u32,
    /// Checks that must fail until it is down. Default 3.
    pub fall: u32,
    /// What it is before that.
    pub initial: Initial,
}

/// What a new endpoint is before it was checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Initial {
    /// It takes requests.
    #[default]
    Up,
    /// It takes none, so that nothing is sent to what nobody has seen yet.
    Down,
}

impl Default for CheckRules {
    fn default() -> Self {
        Self { rise: 2, fall: 3, initial: Initial::default() }
    }
}

/// When to check again: an interval, up to a tenth shorter or longer, so that checks of many endpoints by many proxies do not
/// come together.
#[must_use]
pub fn jittered(interval: Duration, random: u64) -> Duration {
    interval.mul_f64(0.9 + 0.2 * unit(random))
}

/// The results for one endpoint.
///
/// ```text
///            fall failures in a row
///       up ─────────────────────────► down
///          ◄─────────────────────────
///            rise passes in a row
/// ```
#[derive(Clone, Copy, Debug)]
pub(super) struct Checks {
    is_up: bool,
    /// Whether there was a result.
    is_checked: bool,
    /// The next result decides alone.
    is_new: bool,
    /// Results in a row that speak against what it is.
    against: u32,
}

impl Checks {
    pub(super) fn new(initial: Initial) -> Self {
        Self { is_up: initial == Initial::Up, is_checked: false, is_new: true, against: 0 }
    }

    /// It is checked in another way from now on: the results so far have made it what it is, and count no longer.
    pub(super) fn begin_anew(&mut self) {
        (self.is_new, self.against) = (true, 0);
    }

    pub(super) fn record(&mut self, rules: &CheckRules, passed: bool) {
        let needed = match (self.is_new, self.is_up) {
            (true, _) => 1,
            (false, true) => rules.fall,
            (false, false) => rules.rise,
        };
        (self.is_checked, self.is_new) = (true, false);
        self.against = if passed == self.is_up { 0 } else { self.against + 1 };
        if self.against >= needed.max(1) {
            (self.is_up, self.against) = (passed, 0);
        }
    }

    pub(super) fn is_up(&self) -> bool {
        self.is_up
    }

    pub(super) fn is_checked(&self) -> bool {
        self.is_checked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What it is after each result: `P`assed or `F`ailed.
    fn states(rules: &CheckRules, results: &str) -> String {
        let mut checks = Checks::new(rules.initial);
        let state = |result| {
            checks.record(rules, result == 'P');
            if checks.is_up() { 'u' } else { 'd' }
        };
        results.chars().map(state).collect()
    }

    #[test]
    fn both_counts_are_of_results_in_a_row() {
        let rules = CheckRules { rise: 3, fall: 2, initial: Initial::Up };
        for (results, expected) in [
            // gobetween took P F P F for two failures.
            ("PFPFPF", "uuuuuu"),
            ("PFFPPFPPP", "uuddddddu"),
            ("PPFFPFFPPFPPP", "uuudddddddddu"),
        ] {
            assert_eq!(states(&rules, results), expected, "{results}");
        }
    }

    #[test]
    fn the_first_result_decides_alone() {
        let rules = CheckRules { rise: 3, fall: 3, initial: Initial::Down };
        assert_eq!(states(&rules, "PFFF"), "uuud");
        assert_eq!(states(&rules, "FPPP"), "dddu");
        let rules = CheckRules { initial: Initial::Up, ..rules };
        assert_eq!(states(&rules, "FPPP"), "dddu");
        assert_eq!(states(&rules, "PFFPFFFPPP"), "uuuuuudddu");
    }

    #[test]
    fn so_does_the_first_of_another_kind() {
        let rules = CheckRules { rise: 3, fall: 3, initial: Initial::Up };
        let mut checks = Checks::new(rules.initial);
        checks.record(&rules, false);
        checks.record(&rules, true);
        checks.begin_anew();
        assert!(!checks.is_up() && checks.is_checked(), "it stays what it is until then");
        checks.record(&rules, true);
        assert!(checks.is_up());
    }

    #[test]
    fn intervals_differ_by_a_tenth_at_most() {
        let interval = Duration::from_secs(10);
        let drawn: Vec<f64> = (0..1_000).map(|random| jittered(interval, random).as_secs_f64()).collect();
        assert!(drawn.iter().all(|seconds| (9.0..11.0).contains(seconds)));
        assert!(drawn.iter().any(|&seconds| seconds < 9.1) && drawn.iter().any(|&seconds| seconds > 10.9));
    }

    #[test]
    fn zero_counts_are_as_one() {
        let rules = CheckRules { rise: 0, fall: 0, initial: Initial::Up };
        assert_eq!(states(&rules, "PFPFP"), "ududu");
    }
}
