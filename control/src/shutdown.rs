//! When the process stops: a state machine without a clock of its own.
//!
//! ```text
//! Running --signal--> Delay --shutdown_delay--> Draining --every worker drained--> the end
//!                                                        --drain_timeout---------> the end, connections cut
//! Delay or Draining --second signal--> the end, at once
//! ```

use std::time::{Duration, Instant};

/// How far stopping has come.
#[derive(Debug)]
pub(crate) struct Shutdown {
    stage: Stage,
    /// The workers that are still there and not drained.
    left: Vec<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Running,
    Delay { until: Instant, drain_timeout: Duration },
    Draining { until: Instant },
}

/// What is to be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Nothing yet.
    Wait,
    /// Close the listeners and let the workers finish.
    Drain,
    /// End: nothing is left to do.
    End,
    /// End although connections are left.
    Cut,
    /// End without another word; the signal's number.
    EndAtOnce(i32),
}

impl Action {
    /// This one, unless there is nothing in it to do.
    pub(crate) fn or(self, other: Self) -> Self {
        if self == Self::Wait { other } else { self }
    }
}

impl Shutdown {
    /// With so many workers running.
    pub(crate) fn new(workers: usize) -> Self {
        Self { stage: Stage::Running, left: vec![true; workers] }
    }

    /// A signal to stop. The first one starts the delay, which may be zero.
    pub(crate) fn on_signal(
        &mut self,
        number: i32,
        now: Instant,
        delay: Duration,
        drain_timeout: Duration,
    ) -> Action {
        if self.stage != Stage::Running {
            return Action::EndAtOnce(number);
        }
        self.stage = Stage::Delay { until: now + delay, drain_timeout };
        self.on_time(now)
    }

    /// When [`Shutdown::on_time`] is to be called.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.stage {
            Stage::Running => None,
            Stage::Delay { until, .. } | Stage::Draining { until } => Some(until),
        }
    }

    /// Time has passed.
    pub(crate) fn on_time(&mut self, now: Instant) -> Action {
        match self.stage {
            Stage::Delay { until, drain_timeout } if now >= until => {
                self.stage = Stage::Draining { until: now + drain_timeout };
                Action::Drain
            }
            Stage::Draining { until } if now >= until => Action::Cut,
            _ => Action::Wait,
        }
    }

    /// A worker has drained, or is gone.
    pub(crate) fn on_worker_done(&mut self, worker: usize) -> Action {
        self.left[worker] = false;
        match self.stage {
            Stage::Draining { .. } if !self.left.contains(&true) => Action::End,
            _ => Action::Wait,
        }
    }

    /// No signal to stop has come.
    pub(crate) fn is_running(&self) -> bool {
        self.stage == Stage::Running
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn drains_after_the_delay_and_ends_with_the_last_worker() {
        let start = Instant::now();
        let mut shutdown = Shutdown::new(2);
        assert_eq!(shutdown.deadline(), None);
        assert_eq!(shutdown.on_signal(15, start, SECOND, 30 * SECOND), Action::Wait);
        assert_eq!(shutdown.deadline(), Some(start + SECOND));
        assert_eq!(shutdown.on_time(start), Action::Wait);
        assert_eq!(shutdown.on_time(start + SECOND), Action::Drain);
        assert_eq!(shutdown.on_worker_done(1), Action::Wait);
        assert_eq!(shutdown.on_worker_done(1), Action::Wait);
        assert_eq!(shutdown.on_worker_done(0), Action::End);
    }

    #[test]
    fn cuts_what_is_left_after_the_drain_timeout() {
        let start = Instant::now();
        let mut shutdown = Shutdown::new(1);
        assert_eq!(shutdown.on_signal(2, start, Duration::ZERO, 30 * SECOND), Action::Drain);
        assert_eq!(shutdown.deadline(), Some(start + 30 * SECOND));
        assert_eq!(shutdown.on_time(start + 30 * SECOND), Action::Cut);
    }

    #[test]
    fn a_second_signal_ends_at_once() {
        let start = Instant::now();
        let mut shutdown = Shutdown::new(1);
        shutdown.on_signal(15, start, SECOND, SECOND);
        assert_eq!(shutdown.on_signal(2, start, SECOND, SECOND), Action::EndAtOnce(2));
    }

    #[test]
    fn a_lost_worker_is_not_waited_for() {
        let start = Instant::now();
        let mut shutdown = Shutdown::new(2);
        assert_eq!(shutdown.on_worker_done(0), Action::Wait);
        shutdown.on_signal(15, start, Duration::ZERO, SECOND);
        assert_eq!(shutdown.on_worker_done(1), Action::End);
    }
}
