//! The ramp of an endpoint that has come, or has come back.

use std::time::Duration;

use crate::view::Share;

/// What its share is over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlowStart {
    /// For how long it has less than its full share. Zero, the default: never.
    pub time: Duration,
    /// What it begins with. Default: a tenth.
    pub first: Share,
}

impl Default for SlowStart {
    fn default() -> Self {
        Self { time: Duration::ZERO, first: Share::new(26) }
    }
}

impl SlowStart {
    /// The share of an endpoint that has been available for so long: rises evenly from `first` to all. Never none, so that
    /// it can be measured.
    #[must_use]
    pub fn share(&self, available_for: Duration) -> Share {
        if available_for >= self.time {
            return Share::FULL;
        }
        let first = self.first.parts().max(1);
        let rise = f64::from(Share::FULL.parts() - first) * available_for.div_duration_f64(self.time);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 255")]
        Share::new(first + rise as u16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_rises_evenly() {
        let slow_start = SlowStart { time: Duration::from_secs(10), ..SlowStart::default() };
        for (milliseconds, parts) in
            [(0, 26), (1, 26), (2_500, 83), (5_000, 141), (9_999, 255), (10_000, 256), (u64::MAX, 256)]
        {
            let share = slow_start.share(Duration::from_millis(milliseconds));
            assert_eq!(share.parts(), parts, "after {milliseconds} ms");
        }
    }

    #[test]
    fn it_never_begins_with_nothing() {
        let slow_start = SlowStart { time: Duration::from_secs(1), first: Share::NONE };
        assert_eq!(slow_start.share(Duration::ZERO).parts(), 1);
    }

    #[test]
    fn no_time_no_ramp() {
        assert_eq!(SlowStart::default().share(Duration::ZERO), Share::FULL);
    }
}
