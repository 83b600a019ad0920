//! What is limited over all workers: connections of a listener, and of one client; requests at an endpoint, or at an
//! upstream; what an upstream's breaker lets through.
//!
//! This is the only state that workers share. A worker touches it when a connection begins and when it ends, and never for
//! a request but one whose endpoint or upstream has such limits; further exceptions are two relaxed loads of a line that is
//! written only while the limit is reached: for a response (`ConnectionLimit::is_crowded`) and when a connection becomes
//! idle (`ConnectionLimit::has_idle`).

use std::time::Duration;

mod breaker;
mod clients;
mod connections;
mod idle;
mod line;
mod peers;
mod permits;
mod places;

pub(crate) use self::breaker::Passing;
pub use self::breaker::{BreakerMove, SharedBreaker, UpstreamBreaker};
pub(crate) use self::clients::{ClientKey, ClientLimit};
pub(crate) use self::connections::ConnectionLimit;
#[cfg(test)]
pub(crate) use self::idle::ENTRY_BYTES as IDLE_ENTRY_BYTES;
pub(crate) use self::idle::{IdleEntries, IdleKey, IdleList};
pub use self::line::WaitingLine;
pub use self::peers::Peers;
pub(crate) use self::permits::Permit;
pub use self::permits::{EndpointConnections, OpenConnections};
pub(crate) use self::places::{Place, RetryPlace};
pub use self::places::{Places, RequestLimit, RetryLimit};

/// Who may wait at an upstream whose endpoints are all full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueRules {
    /// How many requests at once, over all workers.
    pub requests_max: u32,
    /// For how long. Default 1 s.
    pub timeout: Duration,
}

/// What the workers share of one listener. It belongs to the listener's name and survives reloads; the limits
/// themselves stand in the snapshot.
#[derive(Debug)]
pub struct SharedLimits {
    pub(crate) total: ConnectionLimit,
    pub(crate) clients: ClientLimit,
}

impl SharedLimits {
    /// With no connection open, for the workers that wake each other through `peers`.
    #[must_use]
    pub fn new(peers: &Peers) -> Self {
        Self { total: ConnectionLimit::new(peers), clients: ClientLimit::default() }
    }

    /// Connections that are open now, counted exactly.
    #[must_use]
    pub fn open(&self) -> usize {
        self.total.open()
    }

    /// Clients that have a connection open now, as far as they were counted.
    #[must_use]
    pub fn clients(&self) -> usize {
        self.clients.len()
    }
}
