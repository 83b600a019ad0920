//! What lets requests through to an upstream, or not, when it fails as a whole.

use std::time::Duration;

use crate::health::{Outcome, Outlier, OutlierRules, Trip, milliseconds};

/// When a breaker opens and closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerRules {
    /// When it opens.
    pub opens: OutlierRules,
    /// For how long nothing is sent then. Default 10 s.
    pub open_time: Duration,
    /// Requests in progress at most that probe whether it may close, up to [`PROBES_MAX`]. Default 1.
    pub probes_max: u32,
    /// Probes that must succeed in a row until it closes, up to [`PROBES_MAX`]. Default 5.
    pub successes: u32,
}

/// What a breaker can count of probes.
pub const PROBES_MAX: u32 = 65_535;

impl Default for BreakerRules {
    fn default() -> Self {
        Self {
            opens: OutlierRules::default(),
            open_time: Duration::from_secs(10),
            probes_max: 1,
            successes: 5,
        }
    }
}

/// Where a breaker is, in one word: threads share it by a compare-and-swap of [`Breaker::bits`].
///
/// ```text
///         trip: rules.opens broken         open_time is over
///   closed ──────────────────────► open ◄────────────────────────► half-open
///      ▲                                     a probe fails             │
///      └───────────────────────────────────────────────────────────────┘
///                          so many probes in a row succeed
/// ```
///
/// What it has counted while it is closed stands beside it, in a [`Tripper`] for each thread: nothing is written to
/// the word until it moves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Breaker {
    position: Position,
    /// How often it has moved: what was let through before says nothing about the position that it is in now. It wraps,
    /// after half an hour of moves at least; a request that is as old to the move would count as one of now.
    moves: u16,
}

/// Where a breaker is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Position {
    #[default]
    Closed,
    Open {
        /// Below [`TIME_END_MS`].
        until_ms: u64,
    },
    HalfOpen {
        probes: u16,
        successes: u16,
    },
}

/// Where a breaker is, for metrics and logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// Everything goes through.
    Closed,
    /// Nothing does.
    Open,
    /// Probes do.
    HalfOpen,
}

impl BreakerState {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::Closed, Self::Open, Self::HalfOpen];

    /// As it stands in logs and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// A request that a breaker let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passage {
    moves: u16,
    is_probe: bool,
}

impl Passage {
    /// Whether it holds the place of a probe, which [`Breaker::leave`] or [`Breaker::abandon`] gives back.
    #[must_use]
    pub fn is_probe(self) -> bool {
        self.is_probe
    }
}

/// A request that a breaker did not let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// For how long it will be refused at least; 0 while probes are on their way.
    pub retry_ms: u64,
}

impl Breaker {
    /// Lets a request through, or not. It is to be put in place of this one, if it is another one.
    ///
    /// # Errors
    ///
    /// [`Refused`].
    pub fn enter(self, rules: &BreakerRules, now_ms: u64) -> Result<(Self, Passage), Refused> {
        let after = match self.position {
            Position::Closed => return Ok((self, Passage { moves: self.moves, is_probe: false })),
            Position::Open { until_ms } if now_ms < until_ms => {
                return Err(Refused { retry_ms: until_ms - now_ms });
            }
            Position::Open { .. } => self.moved(Position::HalfOpen { probes: 1, successes: 0 }),
            Position::HalfOpen { probes, successes } if u32::from(probes) < rules.probes_max.max(1) => {
                let probes = probes.checked_add(1).ok_or(Refused { retry_ms: 0 })?;
                Self { position: Position::HalfOpen { probes, successes }, ..self }
            }
            Position::HalfOpen { .. } => return Err(Refused { retry_ms: 0 }),
        };
        Ok((after, Passage { moves: after.moves, is_probe: true }))
    }

    /// What it is after a probe has ended.
    #[must_use]
    pub fn leave(self, probe: Passage, rules: &BreakerRules, outcome: Outcome, now_ms: u64) -> Self {
        let after = self.abandon(probe);
        let Position::HalfOpen { probes, successes } = after.position else { return self };
        if !self.is_of_now(probe) {
            return self;
        }
        match outcome {
            Outcome::Success if u32::from(successes) + 1 < rules.successes.min(PROBES_MAX) => {
                Self { position: Position::HalfOpen { probes, successes: successes + 1 }, ..after }
            }
            Outcome::Success => self.moved(Position::Closed),
            Outcome::Failure => self.opened(rules, now_ms),
        }
    }

    /// What it is after a probe has ended in a way that says nothing about the upstream: the client left, say.
    #[must_use]
    pub fn abandon(self, probe: Passage) -> Self {
        match self.position {
            Position::HalfOpen { probes, successes } if self.is_of_now(probe) => {
                Self { position: Position::HalfOpen { probes: probes.saturating_sub(1), successes }, ..self }
            }
            _ => self,
        }
    }

    /// What it is after a [`Tripper`] has told that a rule was broken.
    #[must_use]
    pub fn trip(self, passage: Passage, rules: &BreakerRules, now_ms: u64) -> Self {
        if self.is_of_now(passage) { self.opened(rules, now_ms) } else { self }
    }

    /// Whether it has not moved since it let this request through.
    #[must_use]
    pub fn is_of_now(self, passage: Passage) -> bool {
        passage.moves == self.moves
    }

    /// Where it is.
    #[must_use]
    pub fn state(self) -> BreakerState {
        match self.position {
            Position::Closed => BreakerState::Closed,
            Position::Open { .. } => BreakerState::Open,
            Position::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    /// In one word: two bits for the position, sixteen for the moves, the rest for what the position has.
    #[must_use]
    pub fn bits(self) -> u64 {
        let (position, rest) = match self.position {
            Position::Closed => (CLOSED, 0),
            Position::Open { until_ms } => (OPEN, until_ms),
            Position::HalfOpen { probes, successes } => {
                (HALF_OPEN, u64::from(successes) << 16 | u64::from(probes))
            }
        };
        rest << 18 | u64::from(self.moves) << 2 | position
    }

    /// Of [`Breaker::bits`].
    #[must_use]
    pub fn from_bits(bits: u64) -> Self {
        let low = |bits: u64| (bits & 0xffff) as u16;
        let rest = bits >> 18;
        let position = match bits & 0b11 {
            OPEN => Position::Open { until_ms: rest },
            HALF_OPEN => Position::HalfOpen { probes: low(rest), successes: low(rest >> 16) },
            _ => Position::Closed,
        };
        Self { position, moves: low(bits >> 2) }
    }

    fn opened(self, rules: &BreakerRules, now_ms: u64) -> Self {
        let until_ms = now_ms.saturating_add(milliseconds(rules.open_time)).min(TIME_END_MS - 1);
        self.moved(Position::Open { until_ms })
    }

    fn moved(self, position: Position) -> Self {
        Self { position, moves: self.moves.wrapping_add(1) }
    }
}

const CLOSED: u64 = 0;
const OPEN: u64 = 1;
const HALF_OPEN: u64 = 2;

/// What is left of a word for a time: some two thousand years.
const TIME_END_MS: u64 = 1 << 46;

/// What one thread has counted of a closed breaker's requests.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tripper {
    outlier: Outlier,
    /// Of the breaker, when the count began.
    moves: u16,
}

impl Tripper {
    /// Counts a request that went through while the breaker was closed. Told is why the breaker opens, if it does:
    /// [`Breaker::trip`].
    pub fn record(
        &mut self,
        breaker: Breaker,
        passage: Passage,
        rules: &BreakerRules,
        outcome: Outcome,
        now_ms: u64,
    ) -> Option<Trip> {
        if !breaker.is_of_now(passage) {
            return None;
        }
        if self.moves != passage.moves {
            *self = Self { moves: passage.moves, ..Self::default() };
        }
        self.outlier.record(&rules.opens, outcome, now_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Outcome::{Failure, Success};

    const RULES: BreakerRules = BreakerRules {
        opens: OutlierRules { consecutive_failures: Some(3), failure_share: None },
        open_time: Duration::from_secs(10),
        probes_max: 2,
        successes: 3,
    };

    /// A breaker that one thread uses.
    #[derive(Default)]
    struct One {
        breaker: Breaker,
        tripper: Tripper,
    }

    impl One {
        fn enter(&mut self, now_ms: u64) -> Option<Passage> {
            let (after, passage) = self.breaker.enter(&RULES, now_ms).ok()?;
            self.set(after);
            Some(passage)
        }

        fn leave(&mut self, passage: Passage, outcome: Option<Outcome>, now_ms: u64) -> Option<Trip> {
            if passage.is_probe() {
                let leave = |outcome| self.breaker.leave(passage, &RULES, outcome, now_ms);
                self.set(outcome.map_or(self.breaker.abandon(passage), leave));
                return None;
            }
            let trip = self.tripper.record(self.breaker, passage, &RULES, outcome?, now_ms)?;
            self.set(self.breaker.trip(passage, &RULES, now_ms));
            Some(trip)
        }

        /// As another thread would see it.
        fn set(&mut self, after: Breaker) {
            assert_eq!(Breaker::from_bits(after.bits()), after);
            self.breaker = after;
        }

        fn request(&mut self, outcome: Outcome, now_ms: u64) -> Option<Trip> {
            let passage = self.enter(now_ms).expect("it goes through");
            self.leave(passage, Some(outcome), now_ms)
        }

        fn state(&self) -> BreakerState {
            self.breaker.state()
        }
    }

    /// Opened at 0.
    fn open() -> One {
        let mut one = One::default();
        let trips = [Failure; 3].map(|outcome| one.request(outcome, 0));
        assert_eq!(trips, [None, None, Some(Trip::ConsecutiveFailures)]);
        one
    }

    #[test]
    fn opens_half_opens_and_closes() {
        let mut one = open();
        assert_eq!(one.state(), BreakerState::Open);
        assert_eq!(one.breaker.enter(&RULES, 9_999), Err(Refused { retry_ms: 1 }));
        let first = one.enter(10_000).expect("a probe");
        assert_eq!(one.state(), BreakerState::HalfOpen);
        let second = one.enter(10_000).expect("another one");
        assert_eq!(one.breaker.enter(&RULES, 10_000), Err(Refused { retry_ms: 0 }), "two probes at once");
        assert_eq!(one.leave(first, Some(Success), 10_100), None);
        assert_eq!(one.leave(second, Some(Success), 10_100), None);
        assert_eq!(one.state(), BreakerState::HalfOpen);
        one.request(Success, 10_200);
        assert_eq!(one.state(), BreakerState::Closed);
        assert_eq!(one.request(Failure, 10_300), None, "it counts anew");
    }

    #[test]
    fn a_failed_probe_opens_it_again() {
        let mut one = open();
        one.request(Success, 10_000);
        one.request(Success, 10_000);
        one.request(Failure, 11_000);
        assert_eq!(one.state(), BreakerState::Open);
        assert_eq!(one.breaker.enter(&RULES, 11_000), Err(Refused { retry_ms: 10_000 }));
        assert!(one.enter(20_999).is_none());
        assert!(one.enter(21_000).is_some());
    }

    #[test]
    fn a_probe_that_says_nothing_gives_its_place_back() {
        let mut one = open();
        for _ in 0..5 {
            let passage = one.enter(10_000).expect("a probe");
            one.leave(passage, None, 10_000);
        }
        assert_eq!(one.state(), BreakerState::HalfOpen);
    }

    #[test]
    fn what_went_through_before_it_moved_says_nothing() {
        let mut one = One::default();
        let [early, late] = [0, 0].map(|now_ms| one.enter(now_ms).expect("it is closed"));
        let trips = [Failure; 3].map(|outcome| one.request(outcome, 0));
        assert_eq!(trips[2], Some(Trip::ConsecutiveFailures));
        let probe = one.enter(10_000).expect("a probe");
        let other = one.enter(10_000).expect("a probe");
        assert_eq!(one.leave(early, Some(Failure), 10_000), None);
        assert_eq!(one.state(), BreakerState::HalfOpen);
        one.leave(probe, Some(Failure), 10_000);
        one.leave(other, Some(Success), 20_000);
        one.leave(late, Some(Success), 20_000);
        assert_eq!(one.state(), BreakerState::Open);
        let next = one.enter(20_000).expect("a probe");
        one.leave(other, Some(Failure), 20_000);
        assert_eq!(one.state(), BreakerState::HalfOpen, "a probe of last time");
        one.leave(next, None, 20_000);
        assert!(one.enter(20_000).is_some() && one.enter(20_000).is_some() && one.enter(20_000).is_none());
    }

    #[test]
    fn a_thread_that_slept_through_an_outage_counts_anew() {
        let (mut here, mut there) = (One::default(), Tripper::default());
        for _ in 0..2 {
            let passage = here.enter(0).expect("it is closed");
            assert_eq!(there.record(here.breaker, passage, &RULES, Failure, 0), None);
        }
        here = open();
        for outcome in [Success; 3] {
            here.request(outcome, 10_000);
        }
        assert_eq!(here.state(), BreakerState::Closed);
        let trips = [(); 3].map(|()| {
            let passage = here.enter(10_000).expect("it is closed");
            there.record(here.breaker, passage, &RULES, Failure, 10_000)
        });
        assert_eq!(trips, [None, None, Some(Trip::ConsecutiveFailures)]);
    }

    #[test]
    fn a_word_holds_all_that_there_is_of_it() {
        let positions = [
            Position::Closed,
            Position::Open { until_ms: 0 },
            Position::Open { until_ms: TIME_END_MS - 1 },
            Position::HalfOpen { probes: u16::MAX, successes: 0 },
            Position::HalfOpen { probes: 0, successes: u16::MAX },
            Position::HalfOpen { probes: 1, successes: 2 },
        ];
        for position in positions {
            for moves in [0, 1, u16::MAX] {
                let breaker = Breaker { position, moves };
                assert_eq!(Breaker::from_bits(breaker.bits()), breaker);
            }
        }
        assert_eq!(Breaker::from_bits(0), Breaker::default());
        let rules = BreakerRules { open_time: Duration::MAX, probes_max: u32::MAX, ..RULES };
        let (_, passage) = Breaker::default().enter(&rules, 5).expect("it is closed");
        let open = Breaker::default().trip(passage, &rules, 5);
        assert_eq!(open.position, Position::Open { until_ms: TIME_END_MS - 1 });
        let full = Breaker { position: Position::HalfOpen { probes: u16::MAX, successes: 0 }, moves: 0 };
        assert_eq!(full.enter(&rules, 5), Err(Refused { retry_ms: 0 }));
    }
}
