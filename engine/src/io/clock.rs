//! The clocks that a worker reads.

use std::cell::Cell;

use super::syscall;

thread_local! {
    static NOW_MS: Cell<u64> = const { Cell::new(0) };
    static TURN: Cell<u32> = const { Cell::new(0) };
    /// What was read last since the events were dispatched; 0: nothing.
    static RECENT_NS: Cell<u64> = const { Cell::new(0) };
}

/// Reads the time for [`coarse_ms`]. Everything that a worker does follows from a dispatch of events, which calls this.
pub(crate) fn refresh() {
    start_turn();
    RECENT_NS.set(0);
    NOW_MS.set(syscall::clock_ns(libc::CLOCK_MONOTONIC_COARSE) / 1_000_000);
}

/// Monotonic milliseconds when the events were dispatched that the worker acts on: for deadlines. A step takes well
/// under a millisecond, and deadlines are coarser by far.
pub(crate) fn coarse_ms() -> u64 {
    let now_ms = NOW_MS.get();
    if now_ms != 0 {
        return now_ms;
    }
    refresh();
    NOW_MS.get()
}

/// The next dispatch of events, at the same time.
pub(crate) fn start_turn() {
    TURN.set(TURN.get().wrapping_add(1));
}

/// Which dispatch of events that was: it differs between any two that follow each other.
pub(crate) fn turn() -> u32 {
    TURN.get()
}

/// Monotonic nanoseconds: for durations that are told to others. A reading is 21 ns.
pub fn monotonic_ns() -> u64 {
    let now_ns = syscall::clock_ns(libc::CLOCK_MONOTONIC);
    RECENT_NS.set(now_ns);
    now_ns
}

/// The same as it was last read since the events were dispatched that the worker acts on: one step behind at most, and one
/// reading for all that begins in between.
pub(crate) fn recent_ns() -> u64 {
    match RECENT_NS.get() {
        0 => monotonic_ns(),
        now_ns => now_ns,
    }
}

/// Which thread's CPU time it is that others want to know.
#[derive(Clone, Copy, Debug)]
pub struct ThreadClock(libc::clockid_t);

impl ThreadClock {
    /// Of the calling thread.
    #[must_use]
    pub fn of_this_thread() -> Self {
        // The kernel's MAKE_THREAD_CPUCLOCK with CPUCLOCK_SCHED, which is what pthread_getcpuclockid(3) gives.
        Self(!syscall::thread_id() << 3 | 0b110)
    }

    /// Nanoseconds that the thread has run for, in the kernel too. 0 when it has ended.
    #[must_use]
    pub fn cpu_ns(self) -> u64 {
        syscall::clock_ns(self.0)
    }
}

/// Nanoseconds that all threads of the process have run for.
#[must_use]
pub fn process_cpu_ns() -> u64 {
    syscall::clock_ns(libc::CLOCK_PROCESS_CPUTIME_ID)
}

/// Nanoseconds since 1970 (UTC): for spans, which other machines' spans are put beside.
pub(crate) fn unix_ns() -> u64 {
    syscall::clock_ns(libc::CLOCK_REALTIME)
}

/// Nanoseconds since 1970 (UTC), at the scheduler's resolution.
pub(crate) fn unix_coarse_ns() -> u64 {
    syscall::clock_ns(libc::CLOCK_REALTIME_COARSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_another_thread_grows_while_it_runs() {
        let (sender, clocks) = std::sync::mpsc::channel();
        let (running, stopped) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            sender.send(ThreadClock::of_this_thread()).unwrap();
            while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {}
        });
        let clock = clocks.recv().unwrap();
        let process_ns = process_cpu_ns();
        while clock.cpu_ns() < 1_000_000 {
            std::thread::yield_now();
        }
        assert!(process_cpu_ns() > process_ns);
        drop(running);
        thread.join().unwrap();
        assert_eq!(clock.cpu_ns(), 0);
    }
}
