//! For how long an endpoint is ejected.

use std::time::Duration;

use super::outlier::{Trip, milliseconds};

/// How long ejections last, and how many there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EjectionRules {
    /// The first one lasts so long, each further one so much longer. Default 30 s.
    pub time: Duration,
    /// None lasts longer. Default 5 min.
    pub time_max: Duration,
    /// So many percent of an upstream's endpoints may be unavailable after an ejection, checks included; at least one may,
    /// if there are two, and one is always left. Default 100.
    pub ejected_percent_max: u8,
}

impl Default for EjectionRules {
    fn default() -> Self {
        Self { time: Duration::from_secs(30), time_max: Duration::from_secs(300), ejected_percent_max: 100 }
    }
}

/// The ejections of one endpoint.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ejection {
    /// Why, and until when.
    now: Option<(Trip, u64)>,
    /// How many there were; one is forgotten for each `time` without another one.
    count: u32,
    /// When `count` was right.
    counted_ms: u64,
}

impl Ejection {
    /// Ejects it. Ignored while it is ejected: what fails then was sent before.
    pub(super) fn eject(&mut self, rules: &EjectionRules, trip: Trip, now_ms: u64) {
        if self.now.is_some() {
            return;
        }
        let time_ms = milliseconds(rules.time).max(1);
        let forgotten = now_ms.saturating_sub(self.counted_ms) / time_ms;
        self.count =
            self.count.saturating_sub(u32::try_from(forgotten).unwrap_or(u32::MAX)).saturating_add(1);
        let lasts_ms = time_ms.saturating_mul(self.count.into()).min(milliseconds(rules.time_max));
        let until_ms = now_ms.saturating_add(lasts_ms);
        self.counted_ms = until_ms;
        self.now = Some((trip, until_ms));
    }

    /// Ends it when its time is over.
    pub(super) fn advance(&mut self, now_ms: u64) {
        self.now = self.now.filter(|&(_, until_ms)| now_ms < until_ms);
    }

    /// Ends it now. It still counts.
    pub(super) fn end(&mut self, now_ms: u64) {
        if self.now.take().is_some() {
            self.counted_ms = now_ms;
        }
    }

    /// Ends it now, and forgets those before: it was not this endpoint alone that failed.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Why it is ejected, and until when.
    pub(super) fn current(&self) -> Option<(Trip, u64)> {
        self.now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: EjectionRules = EjectionRules {
        time: Duration::from_secs(10),
        time_max: Duration::from_secs(25),
        ejected_percent_max: 50,
    };

    /// For how long each of the ejections lasts that are wanted at these times.
    fn lasts(wanted: &[u64]) -> Vec<Option<u64>> {
        let mut ejection = Ejection::default();
        let last = |&now_ms: &u64| {
            ejection.advance(now_ms);
            let before = ejection.current();
            ejection.eject(&RULES, Trip::FailureRate, now_ms);
            let (_, until_ms) = ejection.current().filter(|_| before.is_none())?;
            Some(until_ms - now_ms)
        };
        wanted.iter().map(last).collect()
    }

    #[test]
    fn each_one_lasts_longer_up_to_the_longest() {
        assert_eq!(lasts(&[0, 10_000, 30_000, 55_000]), [10_000, 20_000, 25_000, 25_000].map(Some));
    }

    #[test]
    fn what_fails_meanwhile_was_sent_before() {
        assert_eq!(lasts(&[0, 9_999, 10_000]), [Some(10_000), None, Some(20_000)]);
    }

    #[test]
    fn good_times_make_up_for_bad_ones() {
        // Each ten seconds after an ejection forget one.
        assert_eq!(lasts(&[0, 20_000]), [10_000, 10_000].map(Some));
        assert_eq!(lasts(&[0, 10_000, 30_000, 65_000]), [10_000, 20_000, 25_000, 25_000].map(Some));
        assert_eq!(lasts(&[0, 10_000, 30_000, 75_000]), [10_000, 20_000, 25_000, 20_000].map(Some));
        assert_eq!(lasts(&[0, 10_000, 30_000, 900_000]), [10_000, 20_000, 25_000, 10_000].map(Some));
    }
}
