//! How many connections to one endpoint are open over all workers, idle ones included, where that is limited: exact, because
//! a permit is taken before a connection is opened and given back after it has closed.
//!
//! A worker uses its own idle connections first, and cannot use another's. So where the limit is reached, idle connections
//! are closed for requests that wait at other workers: who waits asks a worker that has one
//! ([`WaitingLine::ask_for_room`]), and who gets one back while somebody waits looks who that is.
//!
//! **No idle connection is overlooked.** Who keeps one (a) counts it, (b) reads whether anybody waits. Who waits (c) joins
//! the line, (d) reads what the workers have. A fence stands between the two steps of each: either (b) sees who waits, or (d)
//! sees the connection.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::fence;

use super::{Places, WaitingLine};

/// See the module. It belongs to the endpoint and survives reloads; the limit itself stands in the snapshot.
#[derive(Debug)]
pub struct OpenConnections {
    open: Places,
    line: Arc<WaitingLine>,
}

impl OpenConnections {
    /// None is open. Who waits for one, at whatever endpoint of the upstream, does so in `line`.
    #[must_use]
    pub fn new(line: Arc<WaitingLine>) -> Self {
        Self { open: Places::default(), line }
    }

    /// How many are, exactly.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.open.taken()
    }
}

/// The limit of an endpoint.
#[derive(Clone, Debug)]
pub struct EndpointConnections {
    /// How many connections may be open to it.
    pub connections_max: u32,
    /// Those that are.
    pub open: Arc<OpenConnections>,
}

impl EndpointConnections {
    /// Who waits.
    pub(crate) fn line(&self) -> &Arc<WaitingLine> {
        &self.open.line
    }

    /// Whether there may be no more now.
    pub(crate) fn is_full(&self) -> bool {
        self.open.count() >= self.connections_max
    }

    /// Takes a permit for a connection, if there is one.
    pub(crate) fn try_take(&self) -> Option<Permit> {
        self.open.open.try_take(self.connections_max).then(|| Permit(self.open.clone()))
    }

    /// Whether a connection that could be kept is to be closed: a reload has lowered the limit.
    pub(crate) fn is_over(&self) -> bool {
        self.open.count() > self.connections_max
    }

    /// Of who has counted an idle connection: whether anybody waits.
    pub(crate) fn is_awaited(&self) -> bool {
        fence(SeqCst);
        self.line().is_awaited()
    }
}

/// For one connection, from before it is opened; dropping it, after the connection, gives it back.
#[derive(Debug)]
pub(crate) struct Permit(Arc<OpenConnections>);

impl Permit {
    /// Whether it counts for this limit: not if that is younger than the connection.
    pub(crate) fn is_of(&self, limit: &EndpointConnections) -> bool {
        Arc::ptr_eq(&self.0, &limit.open)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.open.give_back();
        self.0.line.call();
    }
}
