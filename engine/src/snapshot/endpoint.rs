//! One endpoint of an upstream, as workers know it.

use std::sync::Arc;

use super::Address;
use crate::counters::{EndpointCounters, PerWorker};
use crate::limits::{EndpointConnections, RequestLimit};
use crate::outlier::FailureRow;
use crate::tls::ClientTls;

/// One address of an upstream.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Where it is; the identity of its pool over reloads, within its upstream.
    pub address: Address,
    /// As it stands in logs and metrics: the address.
    pub label: Arc<str>,
    /// Its share of the requests, 0 to 65 535; 0 takes none but those of clients that stay there.
    pub weight: u32,
    /// Who is asked first: the lowest.
    pub priority: u32,
    /// Whether it was up when the snapshot was built; a [`HealthUpdate`](crate::health::HealthUpdate) says what has become
    /// of it since. Always, where nothing checks it.
    pub is_up: bool,
    /// How it is spoken to over TLS. Absent: without.
    pub tls: Option<Arc<ClientTls>>,
    /// Whether it was not because it was ejected.
    pub is_ejected: bool,
    /// How many attempts there have failed in a row.
    pub failures: Arc<FailureRow>,
    /// How many requests may be in progress there, over all workers. Absent: any number.
    pub limit: Option<RequestLimit>,
    /// How many connections to it may be open, over all workers. Absent: any number.
    pub connections: Option<EndpointConnections>,
    /// Its counters.
    pub counters: PerWorker<EndpointCounters>,
}

impl Endpoint {
    /// Whether an attempt needs a place or a permit there.
    #[inline]
    pub(crate) fn is_limited(&self) -> bool {
        self.limit.is_some() | self.connections.is_some()
    }

    /// Of weight 1 and the first priority, and up.
    #[must_use]
    pub fn new(address: Address, label: Arc<str>, counters: PerWorker<EndpointCounters>) -> Self {
        Self {
            address,
            label,
            weight: 1,
            priority: 0,
            is_up: true,
            tls: None,
            is_ejected: false,
            failures: Arc::default(),
            limit: None,
            connections: None,
            counters,
        }
    }
}
