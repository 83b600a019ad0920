//! The memory of a worker: one hot scratch buffer, and a free list for what must outlive it.

use std::cell::RefCell;

/// Received at once at most: a 64 KiB body with a 16 KiB head fits, so that it is received and sent in one go.
pub(crate) const RECV_BYTES_MAX: usize = 80 * 1024;

/// The largest head that can be configured.
pub(crate) const HEAD_BYTES_MAX: usize = 64 * 1024;

/// The scratch buffer holds what was received before (a part of a head) and what is received now.
pub(crate) const SCRATCH_BYTES: usize = 2 * RECV_BYTES_MAX + HEAD_BYTES_MAX;

/// Buffers kept for reuse, and the capacity up to which one is kept: a worker holds at most 1024 × 64 KiB = 64 MiB of
/// them, and that only after so many connections were blocked at once.
pub(crate) const KEPT_MAX: usize = 1024;
/// See [`KEPT_MAX`].
pub(crate) const KEPT_CAPACITY_MAX: usize = 64 * 1024;

/// A free list of byte buffers.
#[derive(Default)]
pub(crate) struct Buffers {
    free: RefCell<Vec<Vec<u8>>>,
}

impl Buffers {
    /// An empty buffer, with the memory of an earlier one where there is one.
    pub(crate) fn take(&self) -> Vec<u8> {
        self.free.borrow_mut().pop().unwrap_or_default()
    }

    /// Keeps so many of those that are free.
    pub(crate) fn shrink_to(&self, count: usize) {
        let mut free = self.free.borrow_mut();
        free.truncate(count);
        free.shrink_to(count);
    }

    /// Gives a buffer back.
    pub(crate) fn give(&self, mut buffer: Vec<u8>) {
        let mut free = self.free.borrow_mut();
        if (1..=KEPT_CAPACITY_MAX).contains(&buffer.capacity()) && free.len() < KEPT_MAX {
            buffer.clear();
            free.push(buffer);
        }
    }
}

/// The scratch buffer of a worker. It is borrowed for one step of one task, and no step waits.
pub(crate) struct Scratch(RefCell<Box<[u8]>>);

impl Scratch {
    pub(crate) fn new() -> Self {
        Self(RefCell::new(vec![0; SCRATCH_BYTES].into_boxed_slice()))
    }

    /// Lends the buffer to one step.
    pub(crate) fn with<R>(&self, step: impl FnOnce(&mut [u8]) -> R) -> R {
        step(&mut self.0.borrow_mut())
    }
}
