//! Quantiles from histograms, as Prometheus' `histogram_quantile` has them: values are taken to lie evenly in their bucket.

use corelane_engine::counters::PerWorker;
use corelane_engine::histogram::{Durations, Histogram, Unit};

use super::Quantiles;

impl Quantiles {
    /// What was measured until now, over all workers.
    pub(super) fn sample<T>(counters: &PerWorker<T>, of: impl Fn(&T) -> Option<&Durations>) -> Self {
        let sum = counters.distribution_of(|set| of(set).map(|durations| durations as &dyn Histogram));
        Self { buckets: sum.map_or_else(Vec::new, |sum| sum.buckets), ..Self::default() }
    }

    /// What was measured since `before`.
    pub(super) fn since(&mut self, before: &Self) {
        let began_again = self.buckets.iter().zip(&before.buckets).any(|(now, before)| now < before);
        if !began_again {
            for (now, before) in self.buckets.iter_mut().zip(&before.buckets) {
                *now -= before;
            }
        }
        self.work_out();
    }

    /// Of all of these together.
    pub(super) fn over<'a>(all: impl Iterator<Item = &'a Self>) -> Self {
        let mut sum = Self { buckets: vec![0; Unit::Duration.bounds().len()], ..Self::default() };
        for it in all {
            for (sum, bucket) in sum.buckets.iter_mut().zip(&it.buckets) {
                *sum = sum.wrapping_add(*bucket);
            }
        }
        sum.work_out();
        sum
    }

    fn work_out(&mut self) {
        self.p50_seconds = quantile(&self.buckets, 0.5);
        self.p99_seconds = quantile(&self.buckets, 0.99);
    }
}

/// The value in seconds that this share of the values does not exceed. What is above the last bound is taken to be there.
fn quantile(buckets: &[u64], share: f64) -> Option<f64> {
    let rank = share * buckets.iter().sum::<u64>() as f64;
    let mut below = 0.0;
    let mut lower = 0.0;
    for (bucket, &bound) in buckets.iter().zip(Unit::Duration.bounds()) {
        let count = *bucket as f64;
        let upper = if bound == u64::MAX { lower } else { bound as f64 };
        if count > 0.0 && below + count >= rank {
            let ns = lower + (upper - lower) * (rank - below) / count;
            // Whole microseconds are more than buckets know.
            return Some((ns / 1e3).round() / 1e6);
        }
        below += count;
        lower = upper;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets(counts: &[(usize, u64)]) -> Quantiles {
        let mut buckets = vec![0; Unit::Duration.bounds().len()];
        counts.iter().for_each(|&(index, count)| buckets[index] = count);
        Quantiles { buckets, ..Quantiles::default() }
    }

    #[test]
    fn values_lie_evenly_in_their_bucket() {
        let of = |mut it: Quantiles| {
            it.work_out();
            (it.p50_seconds, it.p99_seconds)
        };
        assert_eq!(of(buckets(&[])), (None, None));
        assert_eq!(of(Quantiles::default()), (None, None));
        // Up to 50 us, up to 100 us, the one above the last bound of a minute.
        assert_eq!(of(buckets(&[(0, 10)])), (Some(0.000_025), Some(0.000_05)));
        assert_eq!(of(buckets(&[(0, 50), (1, 50)])), (Some(0.000_05), Some(0.000_099)));
        let last = Unit::Duration.bounds().len() - 1;
        assert_eq!(of(buckets(&[(0, 10), (last, 90)])), (Some(60.0), Some(60.0)));
    }

    #[test]
    fn only_what_is_new_counts() {
        let mut now = buckets(&[(0, 1000), (1, 10)]);
        now.since(&buckets(&[(0, 1000)]));
        assert_eq!(now.p50_seconds, Some(0.000_075));
        let mut now = buckets(&[(0, 10)]);
        now.since(&buckets(&[(0, 1000)]));
        assert_eq!(now.p50_seconds, Some(0.000_025), "began again");
        let mut now = buckets(&[(0, 10)]);
        now.since(&Quantiles::default());
        assert_eq!(now.p50_seconds, Some(0.000_025), "had none before");
        let both = Quantiles::over([&now, &buckets(&[(1, 10)]), &Quantiles::default()].into_iter());
        assert_eq!(both.p50_seconds, Some(0.000_05));
    }
}
