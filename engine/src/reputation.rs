//! Whether connections to an endpoint are used again, as one worker sees it: an endpoint that puts them out of step
//! loses that for a while, because the next response on such a connection may be somebody else's.
//!
//! ```text
//!              strikes_max strikes within `time`
//!   trusted ──────────────────────────────────────▶ suspended
//!      ▲                                                │
//!      └──────────────────── after `time` ──────────────┘
//! ```

use std::collections::VecDeque;

use crate::core::due;
use crate::reason::{Reason, Word};
use crate::snapshot::Quarantine;
use crate::tripwire::Tripwire;

/// Cut responses so close together are one strike: a server that crashes or restarts cuts all of them at once.
const CUTS_TOGETHER_MS: u64 = 1000;

/// What an endpoint did. Closing or resetting an idle connection is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offence {
    /// Bytes that nobody asked for.
    Surplus,
    /// A response's body ended early.
    ShortBody,
    /// A response broke a rule of HTTP.
    Malformed(Reason),
}

impl Offence {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Surplus => Tripwire::SurplusBytes.name(),
            Self::ShortBody => Tripwire::ShortBody.name(),
            Self::Malformed(reason) => reason.name(),
        }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Reputation {
    /// When the last strikes were, the oldest in front; at most `strikes_max` of 8 bytes.
    strikes: VecDeque<u64>,
    last_cut_ms: Option<u64>,
    suspended_until_ms: Option<u64>,
}

impl Reputation {
    /// Notes an offence. Returns whether the suspension begins with it.
    pub(crate) fn strike(&mut self, now_ms: u64, offence: Offence, quarantine: Quarantine) -> bool {
        if quarantine.strikes_max == 0 || self.suspended_until_ms.is_some() {
            return false;
        }
        if offence == Offence::ShortBody {
            let together = |last_ms: u64| now_ms.saturating_sub(last_ms) < CUTS_TOGETHER_MS;
            if self.last_cut_ms.is_some_and(together) {
                return false;
            }
            self.last_cut_ms = Some(now_ms);
        }
        while self.strikes.front().is_some_and(|&first_ms| due(first_ms, quarantine.time) <= now_ms) {
            self.strikes.pop_front();
        }
        self.strikes.push_back(now_ms);
        if self.strikes.len() < quarantine.strikes_max as usize {
            return false;
        }
        *self = Self { suspended_until_ms: Some(due(now_ms, quarantine.time)), ..Self::default() };
        true
    }

    /// Whether reuse is suspended; it may be over by now ([`Self::ends`]).
    pub(crate) fn is_suspended(&self) -> bool {
        self.suspended_until_ms.is_some()
    }

    /// Whether the suspension ends now: its time is over, or the configuration wants none any more.
    pub(crate) fn ends(&mut self, now_ms: u64, quarantine: Quarantine) -> bool {
        let over = |until_ms: u64| until_ms <= now_ms || quarantine.strikes_max == 0;
        let ends = self.suspended_until_ms.is_some_and(over);
        if ends {
            self.suspended_until_ms = None;
        }
        ends
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const THREE: Quarantine = Quarantine { strikes_max: 3, time: Duration::from_secs(60) };

    #[test]
    fn suspends_at_the_third_strike_and_ends_after_the_time() {
        let mut reputation = Reputation::default();
        assert!(!reputation.strike(0, Offence::Surplus, THREE));
        assert!(!reputation.strike(10, Offence::Malformed(Reason::LengthInvalid), THREE));
        assert!(!reputation.is_suspended());
        assert!(reputation.strike(59_999, Offence::ShortBody, THREE));
        assert!(reputation.is_suspended());
        // What happens meanwhile neither counts nor prolongs it.
        assert!(!reputation.strike(60_000, Offence::Surplus, THREE));
        assert!(!reputation.ends(119_998, THREE));
        assert!(reputation.ends(119_999, THREE) && !reputation.is_suspended());
        assert!(!reputation.ends(120_000, THREE), "only once");
        assert!(!reputation.strike(120_000, Offence::Surplus, THREE), "the old strikes are forgotten");
    }

    #[test]
    fn strikes_count_within_any_window_of_the_time() {
        let mut reputation = Reputation::default();
        let mut strike = |now_ms| reputation.strike(now_ms, Offence::Surplus, THREE);
        // 0 is too old for 60 000; 59 000, 60 000 and 61 000 are close together.
        assert_eq!([0, 59_000, 60_000, 61_000].map(&mut strike), [false, false, false, true]);
        let mut reputation = Reputation::default();
        for step in 0..100 {
            assert!(!reputation.strike(step * 30_000, Offence::Surplus, THREE), "two within any minute");
        }
        assert!(reputation.strikes.len() <= 3);
    }

    #[test]
    fn responses_that_a_crash_cuts_are_one_strike() {
        let mut reputation = Reputation::default();
        for _ in 0..1000 {
            assert!(!reputation.strike(5, Offence::ShortBody, THREE));
        }
        assert!(!reputation.strike(1_005, Offence::ShortBody, THREE));
        assert!(reputation.strike(2_005, Offence::ShortBody, THREE), "but not those of a broken server");
    }

    #[test]
    fn zero_is_never_and_ends_what_is() {
        let never = Quarantine { strikes_max: 0, ..THREE };
        let once = Quarantine { strikes_max: 1, ..THREE };
        let mut reputation = Reputation::default();
        assert!(!reputation.strike(0, Offence::Surplus, never));
        assert!(reputation.strike(0, Offence::Surplus, once));
        assert!(reputation.ends(1, never));
    }
}
