//! How workers wake each other: an eventfd for each, the same that the control thread wakes them by.

use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;

use crate::io::Wake;

/// Every worker of the process. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Peers(Arc<[Wake]>);

impl Peers {
    /// So many workers, none of which has to run yet.
    ///
    /// # Errors
    ///
    /// When the process is out of descriptors.
    pub fn new(workers: usize) -> io::Result<Self> {
        Ok(Self((0..workers).map(|_| Wake::new()).collect::<io::Result<_>>()?))
    }

    /// How many workers there are.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.0.len()
    }

    /// What a worker needs to wake the others.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        self.0.iter().map(Wake::descriptor)
    }

    /// The eventfd of a worker.
    pub(crate) fn of(&self, worker: usize) -> &Wake {
        &self.0[worker]
    }
}
