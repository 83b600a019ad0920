//! How workers wake each other: an eventfd for each, the same that the control thread wakes them by.

use std::io;
use std::os::fd::RawFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::OpenConnections;
use crate::deadlines::DeadlineKey;
use crate::io::Wake;

/// Every worker of the process. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Peers(Arc<[Peer]>);

#[derive(Debug)]
struct Peer {
    wake: Wake,
    /// Locked while all endpoints of an upstream are full, and when the worker is woken.
    calls: Mutex<Calls>,
}

/// What others want of a worker.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    /// Tasks that it is to wake.
    pub(crate) tasks: Vec<DeadlineKey>,
    /// Endpoints, by their connections, that it is to close an idle connection to.
    pub(crate) rooms: Vec<Arc<OpenConnections>>,
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
        self.0[worker].calls().tasks.push(key);
        self.of(worker).wake();
    }

    /// Has a worker close an idle connection.
    pub(super) fn ask_for_room(&self, worker: usize, connections: &Arc<OpenConnections>) {
        self.0[worker].calls().rooms.push(connections.clone());
        self.of(worker).wake();
    }

    /// What a worker was called for since it last asked.
    pub(crate) fn take_calls(&self, worker: usize) -> Calls {
        std::mem::take(&mut *self.0[worker].calls())
    }
}

impl Peer {
    fn new() -> io::Result<Self> {
        Ok(Self { wake: Wake::new()?, calls: Mutex::default() })
    }

    /// A list is whole after each operation.
    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
