//! How workers wake each other: an eventfd for each, the same that the control thread wakes them by.

use std::io;
use std::os::fd::RawFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::deadlines::DeadlineKey;
use crate::io::Wake;

/// Every worker of the process. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Peers(Arc<[Peer]>);

#[derive(Debug)]
struct Peer {
    wake: Wake,
    /// Whose tasks it is to wake; locked while all endpoints of an upstream are full, and when the worker is woken.
    called: Mutex<Vec<DeadlineKey>>,
}

impl Peers {
    /// So many workers, none of which has to run yet.
    ///
    /// # Errors
    ///
    /// When the process is out of descriptors.
    pub fn new(workers: usize) -> io::Result<Self> {
        Ok(Self((0..workers).map(|_| Peer::new()).collect::<io::Result<_>>()?))
    }

    /// How many workers there are.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.0.len()
    }

    /// What a worker needs to wake the others.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        self.0.iter().map(|peer| peer.wake.descriptor())
    }

    /// The eventfd of a worker.
    pub(crate) fn of(&self, worker: usize) -> &Wake {
        &self.0[worker].wake
    }

    /// Has a worker wake one of its tasks.
    pub(crate) fn call(&self, worker: usize, key: DeadlineKey) {
        self.0[worker].called().push(key);
        self.of(worker).wake();
    }

    /// The tasks that a worker was called for since it last asked.
    pub(crate) fn take_called(&self, worker: usize) -> Vec<DeadlineKey> {
        std::mem::take(&mut *self.0[worker].called())
    }
}

impl Peer {
    fn new() -> io::Result<Self> {
        Ok(Self { wake: Wake::new()?, called: Mutex::default() })
    }

    /// A list is whole after each operation.
    fn called(&self) -> MutexGuard<'_, Vec<DeadlineKey>> {
        self.called.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
