//! The clocks that a worker reads.

use super::syscall;

/// Monotonic milliseconds at the scheduler's resolution (1-4 ms): for deadlines; about 5 ns a read.
pub(crate) fn coarse_ms() -> u64 {
    syscall::clock_ns(libc::CLOCK_MONOTONIC_COARSE) / 1_000_000
}

/// Monotonic nanoseconds: for durations in the access log.
pub(crate) fn monotonic_ns() -> u64 {
    syscall::clock_ns(libc::CLOCK_MONOTONIC)
}

/// Nanoseconds since 1970 (UTC), at the scheduler's resolution.
pub(crate) fn unix_coarse_ns() -> u64 {
    syscall::clock_ns(libc::CLOCK_REALTIME_COARSE)
}
