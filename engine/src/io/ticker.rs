//! The worker's timers: timerfds waited for in the ring, asleep unless armed.

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::task::{Context, Poll};

use super::readiness::Pollable;
use super::{Interest, syscall};

/// Fires every interval, or once, when it is armed.
pub(crate) struct Ticker {
    fd: RawFd,
    pollable: Pollable,
}

impl Ticker {
    pub(crate) fn new() -> io::Result<Self> {
        let fd = syscall::timerfd()?;
        Ok(Self { fd: fd.as_fd().as_raw_fd(), pollable: Pollable::new(fd)? })
    }

    /// The descriptor for [`set`]; valid as long as the ticker.
    pub(crate) fn descriptor(&self) -> RawFd {
        self.fd
    }

    /// Waits for the next tick.
    pub(crate) fn poll_tick(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.pollable.poll_ready(cx, Interest::Read).is_ready() {
            if syscall::read_counter(self.pollable.raw()) > 0 {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }
}

/// Arms a ticker's descriptor to fire once, at this time ([`super::clock::monotonic_ns`]).
pub(crate) fn set_once(descriptor: RawFd, at_ns: u64) {
    syscall::timerfd_set_at(descriptor, at_ns);
}

/// Arms a ticker's descriptor to fire every `interval_ms`, or disarms it with 0.
pub(crate) fn set(descriptor: RawFd, interval_ms: u32) {
    syscall::timerfd_set(descriptor, interval_ms);
}
