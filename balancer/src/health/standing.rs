//! What is known of an endpoint's health, and how workers get to know it.

use std::time::Duration;

use super::outlier::Trip;
use crate::slow_start::SlowStart;
use crate::view::Share;

/// Whether an endpoint is available.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It takes requests.
    Available,
    /// It does not.
    Unavailable(Reason),
}

/// Why an endpoint is not available.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// So many checks in a row have failed.
    ChecksFailed,
    /// It has not passed as many checks yet as it must to begin with.
    NotChecked,
    /// It is ejected: so many attempts in a row have failed.
    ConsecutiveFailures,
    /// It is ejected: too large a share of attempts has failed.
    FailureRate,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::ChecksFailed, Self::NotChecked, Self::ConsecutiveFailures, Self::FailureRate];

    /// Its word in logs and metrics.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::ChecksFailed => "checks_failed",
            Self::NotChecked => "not_checked",
            Self::ConsecutiveFailures => "consecutive_failures",
            Self::FailureRate => "failure_rate",
        }
    }
}

impl From<Trip> for Reason {
    fn from(trip: Trip) -> Self {
        match trip {
            Trip::ConsecutiveFailures => Self::ConsecutiveFailures,
            Trip::FailureRate => Self::FailureRate,
        }
    }
}

/// What workers have to know of an endpoint's health: one word, so that a plain atomic publishes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It takes no requests.
    Unavailable,
    /// It takes requests, since this time in monotonic milliseconds, of the clock that workers read; 0: since always, so
    /// that it does not ramp.
    Available {
        /// Since when.
        since_ms: u64,
    },
}

impl Standing {
    /// Available since always.
    pub const ALWAYS: Self = Self::Available { since_ms: 0 };

    /// As a word; 0 is [`Self::ALWAYS`], so that nothing need be written before anything is known.
    #[must_use]
    pub fn to_bits(self) -> u64 {
        match self {
            Self::Unavailable => u64::MAX,
            Self::Available { since_ms } => since_ms.min(u64::MAX - 1),
        }
    }

    /// From a word.
    #[must_use]
    pub fn from_bits(bits: u64) -> Self {
        if bits == u64::MAX { Self::Unavailable } else { Self::Available { since_ms: bits } }
    }

    /// What [`Picker::admit`](crate::Picker::admit) is to be told.
    #[must_use]
    pub fn share(self, slow_start: &SlowStart, now_ms: u64) -> Share {
        match self {
            Self::Unavailable => Share::NONE,
            Self::Available { since_ms: 0 } => Share::FULL,
            Self::Available { since_ms } => {
                slow_start.share(Duration::from_millis(now_ms.saturating_sub(since_ms)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_says_it_all() {
        assert_eq!(Standing::from_bits(0), Standing::ALWAYS);
        for standing in [Standing::Unavailable, Standing::ALWAYS, Standing::Available { since_ms: 77 }] {
            assert_eq!(Standing::from_bits(standing.to_bits()), standing);
        }
        let last = Standing::Available { since_ms: u64::MAX };
        assert_ne!(Standing::from_bits(last.to_bits()), Standing::Unavailable);
    }

    #[test]
    fn who_has_come_back_ramps() {
        let slow_start = SlowStart { time: Duration::from_secs(10), first: Share::new(16) };
        let share = |standing: Standing, now_ms| standing.share(&slow_start, now_ms).parts();
        let standing = Standing::Available { since_ms: 5_000 };
        assert_eq!([5_000, 10_000, 15_000].map(|now_ms| share(standing, now_ms)), [16, 136, 256]);
        assert_eq!(share(standing, 4_000), 16, "another clock");
        assert_eq!(share(Standing::ALWAYS, 1), 256);
        assert_eq!(share(Standing::Unavailable, 15_000), 0);
    }
}
