//! When a name is to be looked up again. Pure.

use std::time::Duration;

/// The schedule of one name.
#[derive(Debug)]
pub(crate) struct Refresh {
    ttl_min: Duration,
    ttl_max: Duration,
    /// The pause after the next failure.
    retry: Duration,
}

impl Refresh {
    /// No pause is shorter than `ttl_min` or longer than `ttl_max`.
    pub(crate) fn new(ttl_min: Duration, ttl_max: Duration) -> Self {
        let ttl_min = ttl_min.max(PAUSE_MIN);
        Self { ttl_min, ttl_max: ttl_max.max(ttl_min), retry: ttl_min }
    }

    /// The pause after an answer that is good for `ttl`.
    pub(crate) fn after_answer(&mut self, ttl: Duration) -> Duration {
        self.retry = self.ttl_min;
        ttl.clamp(self.ttl_min, self.ttl_max)
    }

    /// The pause after a lookup that failed: twice as long each time.
    pub(crate) fn after_failure(&mut self) -> Duration {
        let pause = self.retry;
        self.retry = self.retry.saturating_mul(2).min(self.ttl_max);
        pause
    }
}

/// A `ttl_min` of zero must not become a busy loop.
const PAUSE_MIN: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn clamps_the_time_to_live() {
        let mut refresh = Refresh::new(seconds(1), seconds(300));
        assert_eq!(refresh.after_answer(seconds(0)), seconds(1));
        assert_eq!(refresh.after_answer(seconds(60)), seconds(60));
        assert_eq!(refresh.after_answer(seconds(86_400)), seconds(300));
        assert_eq!(Refresh::new(Duration::ZERO, Duration::ZERO).after_answer(Duration::ZERO), PAUSE_MIN);
    }

    #[test]
    fn waits_longer_after_each_failure_until_an_answer_comes() {
        let mut refresh = Refresh::new(seconds(1), seconds(5));
        let pauses: Vec<_> = (0..5).map(|_| refresh.after_failure()).collect();
        assert_eq!(pauses, [1, 2, 4, 5, 5].map(seconds));
        refresh.after_answer(seconds(2));
        assert_eq!(refresh.after_failure(), seconds(1));
    }
}
