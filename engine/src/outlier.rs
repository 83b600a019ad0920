//! When an endpoint is to be ejected because attempts at it fail, and what workers know of that together.
//!
//! ```text
//! workers: attempts ── FailureRow, shares of failures ── Event::EndpointFailing ── control thread ── HealthUpdate ── workers
//! ```
//!
//! Failures in a row are counted over all workers: with a count for each, an endpoint that has died would cost five
//! failures on every core before the last one knows. What succeeds only reads the count, which nobody writes while nothing
//! fails; so it costs a load.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};

use corelane_balancer::health::{Outcome, OutlierRules};

use crate::failure::{Failure, Fault};

/// The settings of an upstream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutlierDetection {
    /// How many failures are too many.
    pub rules: OutlierRules,
    /// Statuses of responses that are failures, 400 to 599: the first and the last of each range.
    pub statuses: Box<[(u16, u16)]>,
}

impl OutlierDetection {
    /// Whether nothing is ever too many.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.rules.consecutive_failures.is_none() && self.rules.failure_share.is_none()
    }

    /// What a response with this status says.
    pub(crate) fn of_status(&self, status: u16) -> Outcome {
        outcome_of(&self.statuses, status)
    }

    /// What a failure says; `None`: nothing.
    pub(crate) fn of_failure(&self, failure: Failure) -> Option<Outcome> {
        match failure {
            Failure::StatusRetried(status) => Some(self.of_status(status)),
            _ => (failure.fault() == Fault::Upstream).then_some(Outcome::Failure),
        }
    }
}

/// What a response with this status says, where those in the ranges, by their first and their last, are failures.
pub(crate) fn outcome_of(failures: &[(u16, u16)], status: u16) -> Outcome {
    let is_failure = failures.iter().any(|(first, last)| (*first..=*last).contains(&status));
    if is_failure { Outcome::Failure } else { Outcome::Success }
}

/// Failed attempts in a row at one endpoint, over all workers. It belongs to the endpoint, over reloads.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct FailureRow {
    /// With [`ON_PAROLE`].
    length: AtomicU32,
    /// The control thread was told, and has not decided yet.
    is_suspected: AtomicBool,
    /// When the control thread was told last.
    told_ms: AtomicU64,
}

/// How often the control thread is told of one endpoint at most: one that is not ejected goes on failing.
const TELL_AGAIN_MS: u64 = 500;

/// The endpoint was ejected, and no attempt has succeeded since.
const ON_PAROLE: u32 = 1 << 31;

impl FailureRow {
    /// Whether the last attempt did not fail, and a success says nothing new.
    #[inline(always)]
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.length.load(Relaxed) == 0
    }

    /// An attempt has succeeded.
    pub(crate) fn end(&self) {
        // All workers read the line: it is written only where there is news.
        if !self.is_over() {
            self.length.store(0, Relaxed);
        }
    }

    /// One more has failed. Returns how many it are now.
    pub(crate) fn add(&self) -> u32 {
        // Nobody waits for so many that it would reach the mark.
        (self.length.fetch_add(1, Relaxed) & !ON_PAROLE) + 1
    }

    /// Whether an attempt has succeeded since the endpoint was ejected last.
    #[must_use]
    pub fn has_worked(&self) -> bool {
        self.length.load(Relaxed) & ON_PAROLE == 0
    }

    /// Whether the control thread is to be told now; nobody else tells it for a while then.
    pub(crate) fn may_tell(&self, now_ms: u64) -> bool {
        let told_ms = self.told_ms.load(Relaxed);
        let is_due = told_ms == 0 || now_ms.saturating_sub(told_ms) >= TELL_AGAIN_MS;
        is_due && self.told_ms.compare_exchange(told_ms, now_ms, Relaxed, Relaxed).is_ok()
    }

    /// Whether the control thread was told, and has not decided yet: workers choose others meanwhile. So it does not
    /// matter how long that takes.
    #[inline(always)]
    pub(crate) fn is_suspected(&self) -> bool {
        self.is_suspected.load(Relaxed)
    }

    pub(crate) fn suspect(&self) {
        self.is_suspected.store(true, Relaxed);
    }

    /// The control thread has decided.
    pub fn note_decided(&self) {
        self.is_suspected.store(false, Relaxed);
    }

    /// The endpoint comes back and has to show that it works: the first failure is enough.
    pub fn put_on_parole(&self, rules: &OutlierRules) {
        let length = rules.consecutive_failures.unwrap_or(0).saturating_sub(1);
        self.length.store(length | ON_PAROLE, Relaxed);
        // It may be told of again at once.
        self.told_ms.store(0, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_of_all_threads_are_one_row() {
        let row = FailureRow::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1000).for_each(|_| assert!(row.add() <= 4000)));
            }
        });
        assert_eq!(row.add(), 4001);
        row.end();
        assert!(row.is_over() && !row.is_suspected());
        row.suspect();
        assert!(row.is_suspected());
        row.note_decided();
        assert!(!row.is_suspected());
        assert!(row.has_worked());
        row.put_on_parole(&OutlierRules::default());
        assert_eq!((row.is_over(), row.add(), row.has_worked()), (false, 5, false));
        row.put_on_parole(&OutlierRules { consecutive_failures: None, failure_share: None });
        assert_eq!((row.is_over(), row.add(), row.has_worked()), (false, 1, false));
        row.end();
        assert!(row.is_over() && row.has_worked());
    }

    #[test]
    fn the_control_thread_is_told_now_and_then() {
        let row = FailureRow::default();
        let told = |now_ms| row.may_tell(now_ms);
        assert_eq!([7, 8, 506, 507, 508, 2_000].map(told), [true, false, false, true, false, true]);
        row.put_on_parole(&OutlierRules::default());
        assert!(row.may_tell(2_001));
    }

    #[test]
    fn what_is_not_the_endpoints_fault_says_nothing() {
        let some =
            OutlierDetection { statuses: [(429, 429), (500, 599)].into(), ..OutlierDetection::default() };
        for (failure, outcome) in [
            (Failure::ConnectFailed, Some(Outcome::Failure)),
            (Failure::ResponseHeadTimeout, Some(Outcome::Failure)),
            (Failure::UpstreamClosed, Some(Outcome::Failure)),
            (Failure::StatusRetried(503), Some(Outcome::Failure)),
            (Failure::StatusRetried(404), Some(Outcome::Success)),
            (Failure::ClientGone, None),
            (Failure::RequestBodyTimeout, None),
            (Failure::Exhausted, None),
        ] {
            assert_eq!(some.of_failure(failure), outcome, "{failure:?}");
        }
        assert_eq!(
            [428, 429, 430].map(|it| some.of_status(it)),
            [Outcome::Success, Outcome::Failure, Outcome::Success]
        );
        assert!(!some.is_off());
    }
}
