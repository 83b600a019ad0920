//! When attempts at an endpoint fail so often that it is to be ejected: one worker's view.

use std::time::Duration;

use crate::window::{Counts, Window};

/// When an endpoint is to be ejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutlierRules {
    /// After so many failures in a row. Default 5. `None`: never for that.
    pub consecutive_failures: Option<u32>,
    /// When so large a share of attempts fails. Default: never for that.
    pub failure_share: Option<FailureShare>,
}

impl OutlierRules {
    /// Whether so many failures in a row are too many.
    #[must_use]
    pub fn is_too_long(&self, row: u32) -> bool {
        self.consecutive_failures.is_some_and(|max| row >= max)
    }
}

/// Too large a share of failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailureShare {
    /// It is reached with so many percent. 1 to 100.
    pub percent: u8,
    /// Of so many attempts at least: fewer say nothing.
    pub attempts_min: u32,
    /// Over so long a time.
    pub window: Duration,
}

impl Default for OutlierRules {
    fn default() -> Self {
        Self { consecutive_failures: Some(5), failure_share: None }
    }
}

/// How an attempt ended. What counts as a failure (5xx, say) is the caller's choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The endpoint did its part.
    Success,
    /// It did not.
    Failure,
}

/// Which rule was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trip {
    /// [`OutlierRules::consecutive_failures`].
    ConsecutiveFailures,
    /// [`OutlierRules::failure_share`].
    FailureRate,
}

/// What one worker, or one group of workers, has seen of one endpoint.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outlier {
    consecutive: u32,
    window: Window,
}

impl Outlier {
    /// Counts an attempt. A trip is told once; what was counted is forgotten then.
    pub fn record(&mut self, rules: &OutlierRules, outcome: Outcome, now_ms: u64) -> Option<Trip> {
        let failed = outcome == Outcome::Failure;
        self.consecutive = if failed { self.consecutive.saturating_add(1) } else { 0 };
        let mut counts = None;
        if let Some(share) = &rules.failure_share {
            let window_ms = milliseconds(share.window);
            self.window.add(Counts { all: 1, of_kind: u32::from(failed) }, window_ms, now_ms);
            counts = failed.then(|| self.window.counts(window_ms, now_ms));
        }
        let trip = self.trip(rules, counts).filter(|_| failed)?;
        *self = Self::default();
        Some(trip)
    }

    fn trip(&self, rules: &OutlierRules, counts: Option<Counts>) -> Option<Trip> {
        if rules.is_too_long(self.consecutive) {
            return Some(Trip::ConsecutiveFailures);
        }
        let (share, counts) = (rules.failure_share.as_ref()?, counts?);
        let is_reached = u64::from(counts.of_kind) * 100 >= u64::from(counts.all) * u64::from(share.percent);
        (is_reached && counts.all >= share.attempts_min).then_some(Trip::FailureRate)
    }
}

/// Whole milliseconds.
pub(crate) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Outcome::{Failure, Success};

    /// Trips for a script of times and outcomes.
    fn trips(rules: &OutlierRules, script: &[(u64, Outcome)]) -> Vec<(u64, Trip)> {
        let mut outlier = Outlier::default();
        let trip =
            |&(now_ms, outcome): &(u64, Outcome)| Some((now_ms, outlier.record(rules, outcome, now_ms)?));
        script.iter().filter_map(trip).collect()
    }

    fn by_share(percent: u8, attempts_min: u32) -> OutlierRules {
        let window = Duration::from_secs(10);
        let failure_share = Some(FailureShare { percent, attempts_min, window });
        OutlierRules { consecutive_failures: None, failure_share }
    }

    #[test]
    fn failures_in_a_row() {
        let rules = OutlierRules { consecutive_failures: Some(3), failure_share: None };
        let script: Vec<_> = (0..)
            .zip([
                Failure, Failure, Success, Failure, Failure, Failure, // At 5.
                Failure, Failure, Failure, // At 8: it counts anew.
                Failure, Success, Failure, Failure,
            ])
            .collect();
        let trip = Trip::ConsecutiveFailures;
        assert_eq!(trips(&rules, &script), [(5, trip), (8, trip)]);
    }

    #[test]
    fn a_share_of_failures_of_enough_attempts() {
        let rules = by_share(50, 6);
        let alternating = [Failure, Success].into_iter().cycle();
        let script: Vec<_> = (0..).zip(alternating).take(20).collect();
        let trip = Trip::FailureRate;
        // The seventh is the first failure after six attempts, and then it counts anew.
        assert_eq!(trips(&rules, &script), [(6, trip), (12, trip), (18, trip)]);
        assert_eq!(trips(&by_share(51, 6), &script), [(6, trip)], "4 of 7, then never again");
        let rare: Vec<_> = (0..100).map(|n| (n * 2_000, Failure)).collect();
        assert_eq!(trips(&rules, &rare), [], "five in ten seconds are too few");
    }

    #[test]
    fn successes_never_trip() {
        let rules = OutlierRules { consecutive_failures: Some(0), ..by_share(1, 1) };
        assert_eq!(trips(&rules, &[(1, Success), (2, Success)]), []);
        assert_eq!(
            trips(&OutlierRules { consecutive_failures: None, failure_share: None }, &[(1, Failure)]),
            []
        );
    }
}
