//! Waking another thread through an eventfd: no waker of the runtime ever leaves its thread.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::task::{Context, Poll};

use super::readiness::Pollable;
use super::{Interest, syscall};

/// Wakes whoever waits on the other end. Cloning shares it.
#[derive(Clone, Debug)]
pub(crate) struct Wake(Arc<OwnedFd>);

impl Wake {
    /// A new pair's sending end.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(Arc::new(syscall::eventfd()?)))
    }

    /// Makes the descriptor readable until it is acknowledged.
    pub(crate) fn wake(&self) {
        syscall::eventfd_add(self.0.as_fd());
    }

    /// Makes the descriptor unreadable again.
    pub(crate) fn acknowledge(&self) {
        syscall::read_counter(self.0.as_raw_fd());
    }

    /// Blocks until it is readable, for so long at most. Returns whether it is.
    #[cfg(test)]
    pub(crate) fn wait(&self, time: std::time::Duration) -> bool {
        syscall::is_readable(self.0.as_raw_fd(), i32::try_from(time.as_millis()).unwrap_or(i32::MAX))
    }

    /// A descriptor to poll for reading: the same object, so it is acknowledged through [`Wake::acknowledge`].
    pub(crate) fn descriptor(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// The receiving end on a worker.
pub(crate) struct WakeListener(Pollable);

impl WakeListener {
    /// Must be made on the worker's thread.
    pub(crate) fn new(wake: &Wake) -> io::Result<Self> {
        Ok(Self(Pollable::of_shared(wake.0.try_clone()?)?))
    }

    /// Waits for [`Wake::wake`] and acknowledges it.
    pub(crate) fn poll_woken(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.0.poll_ready(cx, Interest::Read).is_ready() {
            syscall::read_counter(self.0.raw());
            return Poll::Ready(());
        }
        Poll::Pending
    }
}
