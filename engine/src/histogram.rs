//! Distributions of durations and sizes that one worker writes and the control thread reads.
//!
//! A histogram has a cell for each bucket and one for the sum; how many values there were is the sum of the buckets. The
//! bounds are fixed, at most one from one power of two to the next: so the bucket of a value is found by its leading
//! zeros, a table and one comparison.

use crate::counters::Cell;

/// What the values of a histogram are, and so where its buckets end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Nanoseconds, exported as seconds: from 50 µs to 60 s.
    Duration,
    /// Bytes: from 256 B to 1 GiB.
    Size,
}

impl Unit {
    /// The largest value of each bucket; the last bucket takes what is above all others.
    #[must_use]
    pub fn bounds(self) -> &'static [u64] {
        match self {
            Self::Duration => &DURATIONS.bounds,
            Self::Size => &SIZES.bounds,
        }
    }
}

/// The values of one histogram, summed over workers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Distribution {
    /// What the values are.
    pub unit: Unit,
    /// How many values each bucket got, by [`Unit::bounds`].
    pub buckets: Vec<u64>,
    /// The sum of the values. Wraps at 2^64.
    pub sum: u64,
}

impl Distribution {
    /// Of no values.
    #[must_use]
    pub fn empty(unit: Unit) -> Self {
        Self { unit, buckets: vec![0; unit.bounds().len()], sum: 0 }
    }

    /// How many values there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().fold(0, |count, bucket| count.wrapping_add(*bucket))
    }
}

/// What [`Durations`] and [`Sizes`] have in common for whoever reads them.
pub trait Histogram {
    /// What the values are.
    fn unit(&self) -> Unit;

    /// Adds the values so far to `sum`, which is of the same unit.
    fn add_to(&self, sum: &mut Distribution);
}

/// A histogram of durations.
#[derive(Debug, Default)]
pub struct Durations(Buckets<{ DURATIONS.bounds.len() }>);

impl Durations {
    /// Counts a duration in nanoseconds. Only the owning worker calls this.
    pub fn add(&self, duration_ns: u64) {
        self.0.add(&DURATIONS, duration_ns);
    }
}

impl Histogram for Durations {
    fn unit(&self) -> Unit {
        Unit::Duration
    }

    fn add_to(&self, sum: &mut Distribution) {
        self.0.add_to(sum);
    }
}

/// A histogram of sizes.
#[derive(Debug, Default)]
pub struct Sizes(Buckets<{ SIZES.bounds.len() }>);

impl Sizes {
    /// Counts a size in bytes. Only the owning worker calls this.
    pub fn add(&self, bytes: u64) {
        self.0.add(&SIZES, bytes);
    }
}

impl Histogram for Sizes {
    fn unit(&self) -> Unit {
        Unit::Size
    }

    fn add_to(&self, sum: &mut Distribution) {
        self.0.add_to(sum);
    }
}

#[derive(Debug)]
struct Buckets<const N: usize> {
    sum: Cell,
    counts: [Cell; N],
}

impl<const N: usize> Default for Buckets<N> {
    fn default() -> Self {
        Self { sum: Cell::default(), counts: std::array::from_fn(|_| Cell::default()) }
    }
}

impl<const N: usize> Buckets<N> {
    #[inline]
    fn add(&self, scale: &Scale<N>, value: u64) {
        self.counts[scale.bucket(value)].increment();
        self.sum.add(value);
    }

    fn add_to(&self, sum: &mut Distribution) {
        for (sum, count) in sum.buckets.iter_mut().zip(&self.counts) {
            *sum = sum.wrapping_add(count.value());
        }
        sum.sum = sum.sum.wrapping_add(self.sum.value());
    }
}

/// Where buckets end.
struct Scale<const N: usize> {
    /// In ascending order; the last is the largest number there is.
    bounds: [u64; N],
    /// For each octave, from a power of two to the next, the first bucket that a value in it may belong to.
    octaves: [u8; OCTAVES],
}

const OCTAVES: usize = u64::BITS as usize;

impl<const N: usize> Scale<N> {
    const fn new(bounds: [u64; N]) -> Self {
        assert!(bounds[N - 1] == u64::MAX, "every value has a bucket");
        let mut octaves = [0; OCTAVES];
        let (mut octave, mut below) = (0, 0);
        while octave < OCTAVES {
            let start = 1 << octave;
            while bounds[below as usize] < start {
                below += 1;
            }
            octaves[octave] = below;
            let next = below as usize + 1;
            assert!(next >= N || bounds[next].ilog2() as usize > octave, "at most one bound an octave");
            octave += 1;
        }
        Self { bounds, octaves }
    }

    /// The first bucket that does not end below the value.
    #[inline]
    fn bucket(&self, value: u64) -> usize {
        // Zero goes with one.
        let octave = (value | 1).ilog2();
        let first = usize::from(self.octaves[octave as usize]);
        first + usize::from(value > self.bounds[first])
    }
}

const US: u64 = 1_000;
const MS: u64 = 1_000 * US;
const S: u64 = 1_000 * MS;

static DURATIONS: Scale<20> = Scale::new([
    50 * US,
    100 * US,
    250 * US,
    500 * US,
    MS,
    2_500 * US,
    5 * MS,
    10 * MS,
    25 * MS,
    50 * MS,
    100 * MS,
    250 * MS,
    500 * MS,
    S,
    2_500 * MS,
    5 * S,
    10 * S,
    30 * S,
    60 * S,
    u64::MAX,
]);

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

static SIZES: Scale<13> = Scale::new([
    256,
    KIB,
    4 * KIB,
    16 * KIB,
    64 * KIB,
    256 * KIB,
    MIB,
    4 * MIB,
    16 * MIB,
    64 * MIB,
    256 * MIB,
    1024 * MIB,
    u64::MAX,
]);

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition: the first bucket whose bound is not below the value.
    fn expected(unit: Unit, value: u64) -> usize {
        unit.bounds().iter().position(|bound| value <= *bound).unwrap()
    }

    fn is_right(value: u64) {
        assert_eq!(DURATIONS.bucket(value), expected(Unit::Duration, value), "{value} ns");
        assert_eq!(SIZES.bucket(value), expected(Unit::Size, value), "{value} bytes");
    }

    #[test]
    fn bounds_belong_to_the_bucket_that_they_end() {
        for unit in [Unit::Duration, Unit::Size] {
            assert!(unit.bounds().is_sorted_by(|one, next| one < next));
            for &bound in unit.bounds() {
                is_right(bound - 1);
                is_right(bound);
                is_right(bound.saturating_add(1));
            }
        }
        assert_eq!([50_000, 50_001].map(|ns| DURATIONS.bucket(ns)), [0, 1]);
        assert_eq!([60_000_000_000, 60_000_000_001].map(|ns| DURATIONS.bucket(ns)), [18, 19]);
        assert_eq!([0, 256, 257, 1 << 30, (1 << 30) + 1].map(|bytes| SIZES.bucket(bytes)), [0, 0, 1, 11, 12]);
    }

    #[test]
    fn every_octave_has_the_right_buckets() {
        for octave in 0..u64::BITS {
            let start = 1u64 << octave;
            for value in [start, start + start / 3, start + start / 2, start + (start - 1)] {
                is_right(value);
            }
        }
        is_right(0);
    }

    #[test]
    fn adds_up() {
        let (one, other) = (Sizes::default(), Sizes::default());
        for bytes in [0, 256, 257, 5_000_000_000] {
            one.add(bytes);
        }
        other.add(1024);
        let mut sum = Distribution::empty(one.unit());
        one.add_to(&mut sum);
        other.add_to(&mut sum);
        assert_eq!(sum.buckets, [2, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!((sum.count(), sum.sum), (5, 5_000_000_000 + 1024 + 257 + 256));

        let durations = Durations::default();
        durations.add(2 * S);
        let mut sum = Distribution::empty(Unit::Duration);
        durations.add_to(&mut sum);
        assert_eq!((sum.buckets[14], sum.count(), sum.sum), (1, 1, 2 * S));
    }
}
