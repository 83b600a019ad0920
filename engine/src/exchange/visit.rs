//! Where an attempt goes.

use super::Lease;
use crate::counters::EndpointCounters;
use crate::io::{Dial, clock};
use crate::local::{Attempt, LocalUpstream};
use crate::pool::Pool;
use crate::reserved::Reserved;
use crate::snapshot::{Endpoint, Upstream};

/// An endpoint, at which the request counts as outstanding for as long as this is held.
pub(super) struct Visit<'a, S> {
    pub(super) upstream: &'a Upstream,
    pub(super) local: &'a LocalUpstream<S>,
    /// The endpoint's.
    pub(super) pool: &'a Pool<S>,
    pub(super) index: usize,
    /// When it began.
    pub(super) began_ms: u64,
    lease: Lease<'a>,
}

impl<'a, S: Dial> Visit<'a, S> {
    pub(super) fn new(
        upstream: &'a Upstream,
        local: &'a LocalUpstream<S>,
        pool: &'a Pool<S>,
        index: usize,
        worker: usize,
    ) -> Self {
        let lease = Lease::new(upstream.endpoints[index].counters.of(worker));
        Self { upstream, local, pool, index, began_ms: clock::coarse_ms(), lease }
    }

    pub(super) fn endpoint(&self) -> &'a Endpoint {
        &self.upstream.endpoints[self.index]
    }

    /// An idle connection there.
    #[inline(always)]
    pub(super) fn check_out(&self, reserved: &mut Option<Box<Reserved<S>>>) -> Option<S> {
        match reserved {
            None => self.pool.check_out(self.began_ms, self.upstream, &mut None),
            Some(reserved) => reserved.check_out(self.pool, self.upstream),
        }
    }

    /// As its end is noted.
    pub(super) fn attempt(&self) -> Attempt {
        Attempt { endpoint: self.index, began_ms: self.began_ms }
    }

    pub(super) fn counters(&self) -> &'a EndpointCounters {
        self.lease.counters()
    }
}
