//! What the control thread and a worker say to each other.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use corelane_balancer::health::Trip;

use crate::health::HealthUpdate;
use crate::io::clock::ThreadClock;
use crate::limits::BreakerMove;
use crate::outlier::FailureRow;
use crate::snapshot::{Address, Snapshot};
use crate::tls::TlsReport;

/// From the control thread to a worker.
#[derive(Debug)]
pub enum Command {
    /// Work from this snapshot from now on. Sockets of listeners that the worker does not have yet come along; those
    /// that the snapshot no longer names are drained of waiting connections and closed.
    Apply {
        /// The snapshot.
        snapshot: Arc<Snapshot>,
        /// A listening, non-blocking socket of its own for each new address.
        sockets: Vec<ListenSocket>,
    },
    /// Choose an endpoint from now on, or no longer.
    Health(Arc<HealthUpdate>),
    /// Accept what waits, close the listeners, finish what is in progress; then [`Event::Drained`].
    Drain,
}

/// A listening socket for one worker.
#[derive(Debug)]
pub struct ListenSocket {
    /// The address that it listens on.
    pub address: Address,
    /// The socket.
    pub fd: OwnedFd,
}

/// From a worker to the control thread.
#[derive(Debug)]
pub enum Event {
    /// The worker runs and accepts commands.
    Started {
        /// Which worker.
        worker: usize,
        /// What tells how long its thread has run for.
        clock: ThreadClock,
    },
    /// The worker works from this snapshot now.
    Applied {
        /// Which worker.
        worker: usize,
        /// The snapshot's serial.
        serial: u64,
    },
    /// The worker no longer needs this snapshot.
    Retired {
        /// Which worker.
        worker: usize,
        /// The snapshot.
        snapshot: Arc<Snapshot>,
    },
    /// The worker has closed its sockets of this address, after accepting what waited there.
    ListenerClosed {
        /// Which worker.
        worker: usize,
        /// The address.
        address: Address,
    },
    /// Attempts at an endpoint fail too often: it should be ejected.
    EndpointFailing {
        /// Which worker found it.
        worker: usize,
        /// The upstream's name.
        upstream: Arc<str>,
        /// The endpoint's address.
        address: Address,
        /// What was too much.
        trip: Trip,
        /// What was wrong with the last attempt.
        reason: String,
        /// For the control thread to put it on parole when it comes back.
        failures: Arc<FailureRow>,
    },
    /// Connections to an endpoint have been out of step too often: the worker uses none of them again for a while.
    ReuseSuspended {
        /// Which worker.
        worker: usize,
        /// The upstream's name.
        upstream: Arc<str>,
        /// The endpoint's label.
        endpoint: Arc<str>,
        /// The last thing that was wrong.
        reason: &'static str,
        /// For how long.
        time: Duration,
    },
    /// The breaker of an upstream has moved, for all workers.
    BreakerMoved {
        /// The worker that has moved it.
        worker: usize,
        /// The upstream's name.
        upstream: Arc<str>,
        /// Where to, and why.
        moved: BreakerMove,
    },
    /// TLS has failed: one failure of each kind in a minute is told.
    TlsFailed(TlsReport),
    /// After [`Command::Drain`]: no connection is left.
    Drained {
        /// Which worker.
        worker: usize,
    },
    /// The worker cannot go on: it could not start, could not listen, or its thread ended.
    Failed {
        /// Which worker.
        worker: usize,
        /// Why.
        reason: String,
    },
}
