//! What a worker measures at an endpoint, so that old measurements count less and less.

/// The latency of an endpoint: a moving average that rises at once and falls over time.
///
/// One slow answer counts at once, since whoever is sent there meanwhile waits as long; fast ones make up for it with
/// the time constant. Without any the average falls too, so that an endpoint that nobody is sent to is tried again.
///
/// Failures count beside it: as slow answers, but forgotten sooner, and those of one moment (all that was in progress when
/// a server ended) as little more than one.
#[derive(Clone, Copy, Debug, Default)]
pub struct PeakEwma {
    average: Decayed,
    failure: Decayed,
}

impl PeakEwma {
    /// An answer that took so long. `now_ms` is monotonic, in milliseconds, here and below.
    pub fn observe(&mut self, latency_us: u64, time_constant_ms: u64, now_ms: u64) {
        let kept = kept(now_ms.saturating_sub(self.average.at_ms), time_constant_ms);
        let (latency_us, average_us) = (latency_us.max(1) as f64, self.average.sum);
        let mean = average_us * kept + latency_us * (1.0 - kept);
        let sum = if latency_us > average_us { latency_us } else { mean };
        self.average = Decayed { sum, at_ms: now_ms };
    }

    /// An attempt that failed: a quick refusal must not look like a quick answer. It counts as twice as slow as the
    /// endpoint was, as [`FAILURE_US`] at least, and as ten times that at most.
    pub fn observe_failure(&mut self, time_constant_ms: u64, now_ms: u64) {
        let doubled_us = self.latency_us(time_constant_ms, now_ms).saturating_mul(2);
        let sum = doubled_us.clamp(FAILURE_US, FAILURE_US * 10) as f64;
        self.failure = Decayed { sum, at_ms: now_ms };
    }

    /// In microseconds; 0: there was no answer yet, or none for many time constants.
    #[must_use]
    pub fn latency_us(&self, time_constant_ms: u64, now_ms: u64) -> u64 {
        let average_us = self.average.value(time_constant_ms, now_ms);
        if self.failure.sum == 0.0 {
            return whole(average_us);
        }
        whole(average_us.max(self.failure.value(time_constant_ms / FAILURE_FADES, now_ms)))
    }
}

/// What a failure counts as at least: a guess, longer than answers that users like to wait for.
pub const FAILURE_US: u64 = 1_000_000;

/// So many times as fast as the average. A second is some ten time constants above answers of 100 us: an endpoint that has
/// failed once would be out for a minute and a half.
const FAILURE_FADES: u64 = 8;

/// A good time constant of [`PeakEwma`], as in Finagle's: 10 s.
pub const LATENCY_TIME_CONSTANT_MS: u64 = 10_000;

/// What an endpoint carries: bytes per second, and what the requests in progress will bring.
///
/// Without the latter all requests that come before the first bytes of the first flow would go to one endpoint.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bandwidth {
    bytes: Decayed,
    requests: Decayed,
}

impl Bandwidth {
    /// So many bytes were carried, and so many requests ended, since the last call.
    pub fn add(&mut self, bytes: u64, requests: u64, time_constant_ms: u64, now_ms: u64) {
        self.bytes.add(bytes, time_constant_ms, now_ms);
        self.requests.add(requests, time_constant_ms, now_ms);
    }

    /// What is carried, in bytes per second, and to be expected of so many requests in progress of `bytes_each`.
    #[must_use]
    pub fn bytes_per_second(
        &self,
        outstanding: u64,
        bytes_each: u64,
        time_constant_ms: u64,
        now_ms: u64,
    ) -> u64 {
        let expected = outstanding.saturating_mul(bytes_each) as f64;
        let bytes = self.bytes.value(time_constant_ms, now_ms) + expected;
        whole(bytes * 1000.0 / time_constant_ms.max(1) as f64)
    }

    /// How many bytes a request brings on average, over these endpoints.
    pub fn bytes_each<'a>(of: impl IntoIterator<Item = &'a Self>, time_constant_ms: u64, now_ms: u64) -> u64 {
        let (mut bytes, mut requests) = (0.0, 0.0);
        for one in of {
            bytes += one.bytes.value(time_constant_ms, now_ms);
            requests += one.requests.value(time_constant_ms, now_ms);
        }
        if requests > 0.0 { whole(bytes / requests) } else { 0 }
    }
}

/// A good time constant of [`Bandwidth`]. The longer it is, the less requests in progress count beside what flows, and the
/// longer an endpoint that has become slow looks idle: docs/balancing.md has the figures.
pub const BANDWIDTH_TIME_CONSTANT_MS: u64 = 500;

/// A sum in which what was added counts e times less after each time constant. At a constant rate it is that rate times
/// the time constant.
#[derive(Clone, Copy, Debug, Default)]
struct Decayed {
    sum: f64,
    at_ms: u64,
}

impl Decayed {
    fn add(&mut self, amount: u64, time_constant_ms: u64, now_ms: u64) {
        self.sum = self.value(time_constant_ms, now_ms) + amount as f64;
        self.at_ms = now_ms;
    }

    fn value(&self, time_constant_ms: u64, now_ms: u64) -> f64 {
        self.sum * kept(now_ms.saturating_sub(self.at_ms), time_constant_ms)
    }
}

/// Which part is left after so long.
fn kept(after_ms: u64, time_constant_ms: u64) -> f64 {
    (-(after_ms as f64) / time_constant_ms.max(1) as f64).exp()
}

#[expect(clippy::cast_possible_truncation, reason = "a conversion saturates, and none is negative")]
fn whole(number: f64) -> u64 {
    number as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000;

    /// `(time, latency)` observed with a time constant of a second.
    fn latency(observed: &[(u64, u64)], now_ms: u64) -> u64 {
        let mut meter = PeakEwma::default();
        for &(at_ms, latency_us) in observed {
            meter.observe(latency_us, SECOND, at_ms);
        }
        meter.latency_us(SECOND, now_ms)
    }

    #[test]
    fn a_peak_counts_at_once_and_fast_answers_make_up_for_it_over_time() {
        assert_eq!(latency(&[], 5_000), 0);
        assert_eq!(latency(&[(5_000, 700)], 5_000), 700);
        assert_eq!(latency(&[(5_000, 700), (5_001, 90_000)], 5_001), 90_000);
        // 90 000 / e + 1 000 (1 - 1 / e).
        assert_eq!(latency(&[(5_000, 90_000), (6_000, 1_000)], 6_000), 33_741);
        // Answers that come in no time say little.
        assert_eq!(latency(&[(5_000, 90_000), (5_000, 1_000)], 5_000), 90_000);
    }

    #[test]
    fn constant_latencies_are_told_as_they_are() {
        let observed: Vec<_> = (0..10_000).map(|n| (n, 3_000)).collect();
        assert_eq!(latency(&observed, 9_999), 3_000);
    }

    #[test]
    fn nothing_heard_is_forgotten() {
        assert_eq!(latency(&[(5_000, 90_000)], 6_000), 33_109);
        assert_eq!(latency(&[(5_000, 90_000)], 25_000), 0);
        assert_eq!(latency(&[(5_000, 90_000)], 4_000), 90_000, "a clock that goes back changes nothing");
    }

    #[test]
    fn a_failure_is_no_quick_answer() {
        let mut meter = PeakEwma::default();
        meter.observe_failure(SECOND, 1);
        assert_eq!(meter.latency_us(SECOND, 1), FAILURE_US);
        meter.observe_failure(SECOND, 1);
        meter.observe_failure(SECOND, 1);
        assert_eq!(meter.latency_us(SECOND, 1), 4 * FAILURE_US);
    }

    #[test]
    fn what_fails_at_once_is_soon_forgotten() {
        let mut meter = PeakEwma::default();
        meter.observe(300, SECOND, 1);
        (0..1_000).for_each(|_| meter.observe_failure(SECOND, 1));
        meter.observe(300, SECOND, 2);
        assert!(meter.latency_us(SECOND, 2) > 9 * FAILURE_US, "an answer that was on its way says little");
        assert!(meter.latency_us(SECOND, 1_000) > 1_000);
        assert_eq!(meter.latency_us(SECOND, 2_000), 40, "what the answers say");
    }

    #[test]
    fn a_constant_rate_is_told_as_it_is() {
        let mut meter = Bandwidth::default();
        for now_ms in 0..20_000 {
            meter.add(50, u64::from(now_ms % 10 == 0), 2_000, now_ms);
        }
        // A request every 10 ms brings 500 bytes.
        let rate = meter.bytes_per_second(0, 0, 2_000, 19_999);
        assert!(rate.abs_diff(50_000) < 100, "{rate}");
        let each = Bandwidth::bytes_each([&meter, &Bandwidth::default()], 2_000, 19_999);
        assert!(each.abs_diff(500) < 3, "{each}");
        assert!(meter.bytes_per_second(0, 0, 2_000, 21_999).abs_diff(18_394) < 40, "a time constant later");
        assert_eq!(meter.bytes_per_second(0, 0, 2_000, 100_000), 0);
    }

    #[test]
    fn requests_in_progress_count_with_what_they_will_bring() {
        let meter = Bandwidth::default();
        assert_eq!(meter.bytes_per_second(8, 500, 2_000, 1), 2_000);
        assert_eq!(Bandwidth::bytes_each([&meter], 2_000, 1), 0);
    }
}
