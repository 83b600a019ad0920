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
