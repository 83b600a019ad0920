//! Where an attempt goes.

use super::Lease;
use crate::counters::EndpointCounters;
use crate::io::{Dial, clock};
use crate::local::{Attempt, LocalUpstream};
use crate::snapshot::{Endpoint, Upstream};

/// An endpoint, at which the request counts as outstanding for as long as this is held.
pub(super) struct Visit<'a, S> {
    pub(super) upstream: &'a Upstream,
    pub(super) local: &'a LocalUpstream<S>,
    pub(super) index: usize,
    /// When it began.
    pub(super) began_ms: u64,
    worker: usize,
    _lease: Lease<'a>,
}

impl<'a, S: Dial> Visit<'a, S> {
    pub(super) fn new(
        upstream: &'a Upstream,
        local: &'a LocalUpstream<S>,
        index: usize,
        worker: usize,
    ) -> Self {
        let lease = Lease::new(upstream.endpoints[index].counters.of(worker));
        Self { upstream, local, index, began_ms: clock::coarse_ms(), worker, _lease: lease }
    }

    pub(super) fn endpoint(&self) -> &'a Endpoint {
        &self.upstream.endpoints[self.index]
    }

    /// As its end is noted.
    pub(super) fn attempt(&self) -> Attempt {
        Attempt { endpoint: self.index, began_ms: self.began_ms }
    }

    pub(super) fn counters(&self) -> &'a EndpointCounters {
        self.endpoint().counters.of(self.worker)
    }
}
