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
    /// if there are two. Default 50.
    pub ejected_percent_max: u8,
}

impl Default for EjectionRules {
    fn default() -> Self {
        Self { time: Duration::from_secs(30), time_max: Duration::from_secs(300), ejected_percent_max: 50 }
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

    /// Why it is ejected, and until when.
    pub(super) fn current(&self) -> Option<(Trip, u64)> {
        self.now
    }
}
