//! What an exchange holds of its upstream as a whole: its passage through the breaker, a place, the place of a retry.

use corelane_balancer::health::Outcome;

use super::Exchange;
use crate::command::Event;
use crate::core::Core;
use crate::failure::{Failure, Fault};
use crate::io::{Dial, clock};
use crate::limits::{BreakerMove, Passing, Place, RequestLimit, RetryPlace, UpstreamBreaker};
use crate::local::LocalUpstream;
use crate::message::Downstream;
use crate::snapshot::Upstream;

/// See the module. Nothing, where the upstream has neither a breaker nor limits; what is dropped is given back.
#[derive(Default)]
pub(super) struct Held {
    passing: Passing,
    /// What its attempts have met says something of the upstream.
    pub(super) has_failed: bool,
    /// One of the upstream's `requests_max`.
    pub(super) place: Option<Place>,
    /// One of its `retries_max`, from the first retry on.
    pub(super) retry: Option<RetryPlace>,
}

impl<S: Dial, D: Downstream> Exchange<S, D> {
    /// Passes the upstream's breaker, where it has one.
    #[inline(always)]
    pub(super) fn pass_breaker(&mut self, core: &Core<S>, upstream: &Upstream) -> Result<(), Failure> {
        if upstream.breaker.is_some() {
            self.held.passing = pass(core, upstream)?;
        }
        Ok(())
    }

    /// The breaker learns what came of the request, by the status of its response, unless it knows already.
    #[inline(always)]
    pub(super) fn settle_answered(&mut self, core: &Core<S>) {
        if !matches!(self.held.passing, Passing::Settled) {
            self.settle(core, None);
        }
    }

    /// The same as soon as the head of the response is there, if it is a probe: others wait for what comes of it, and it may
    /// last for hours.
    #[inline(always)]
    pub(super) fn settle_probe(&mut self, core: &Core<S>) {
        if matches!(self.held.passing, Passing::Probe(_)) {
            self.settle(core, None);
        }
    }

    /// When a probe gives its place back, if it is its client that is waited for then; `u64::MAX` for never.
    #[inline(always)]
    pub(super) fn probe_due_ms(&self) -> u64 {
        match &self.held.passing {
            Passing::Probe(probe) => probe.due_ms,
            Passing::Settled | Passing::Closed(_) => u64::MAX,
        }
    }

    /// Gives the place of such a probe back, and returns whether it is one: a client that sends slowly must not keep the
    /// breaker from closing.
    #[cold]
    pub(super) fn abandons_probe(&mut self) -> bool {
        let is_over = clock::coarse_ms() >= self.probe_due_ms();
        if is_over {
            self.held.passing = Passing::Settled;
        }
        is_over
    }

    /// The same for one that has failed. Where nothing was asked of the upstream, or its failures may be the client's doing,
    /// it says nothing of it.
    #[cold]
    pub(super) fn settle_failed(&mut self, core: &Core<S>, failure: Failure) {
        if !self.held.has_failed {
            self.held.passing = Passing::Settled;
        }
        self.settle(core, Some(failure));
    }

    #[inline(never)]
    fn settle(&mut self, core: &Core<S>, failure: Option<Failure>) {
        let passing = std::mem::take(&mut self.held.passing);
        let Some(index) = self.upstream else { return };
        let upstream = &self.local.snapshot().upstreams[index];
        if let Some(local) = self.local.upstream(index) {
            leave(core, upstream, local, passing, failure.map_or(Ok(self.judged_status()), Err));
        }
    }

    /// The upstream's own limit, where it has one and the request has no place yet.
    pub(super) fn lacks_place<'a>(&self, upstream: &'a Upstream) -> Option<&'a RequestLimit> {
        upstream.limit.as_ref().filter(|_| self.held.place.is_none())
    }

    /// Passes the breaker again, if it has moved while the request waited.
    pub(super) fn pass_again(&mut self, core: &Core<S>, upstream: &Upstream) -> Result<(), Failure> {
        if let Some(breaker) = &upstream.breaker
            && breaker.has_moved_since(&self.held.passing)
        {
            self.held.passing = pass(core, upstream)?;
        }
        Ok(())
    }

    /// Whether the upstream lets a request be sent again; a place is taken for it where they are limited.
    pub(super) fn may_retry(&mut self, upstream: &Upstream) -> bool {
        let has_moved = |breaker: &UpstreamBreaker| breaker.has_moved_since(&self.held.passing);
        if upstream.breaker.as_ref().is_some_and(has_moved) {
            return false;
        }
        let Some(limit) = upstream.retry_limit.as_ref().filter(|_| self.held.retry.is_none()) else {
            return true;
        };
        self.held.retry = limit.try_take();
        if self.held.retry.is_none() {
            upstream.counters.of(self.worker()).retries_refused_full.increment();
        }
        self.held.retry.is_some()
    }
}

/// Passes the upstream's breaker, where it has one, or is refused.
#[inline(never)]
pub(crate) fn pass<S: Dial>(core: &Core<S>, upstream: &Upstream) -> Result<Passing, Failure> {
    let Some(breaker) = &upstream.breaker else { return Ok(Passing::default()) };
    match breaker.enter(clock::coarse_ms()) {
        Ok((passing, moved)) => {
            tell(core, upstream, moved);
            Ok(passing)
        }
        Err(refused) => {
            upstream.counters.of(core.index).refused_breaker.increment();
            let seconds = refused.retry_ms.div_ceil(1000).max(1);
            Err(Failure::BreakerOpen(u16::try_from(seconds).unwrap_or(u16::MAX)))
        }
    }
}

/// The upstream's breaker learns what came of a request: the status of its response, or its failure.
pub(crate) fn leave<S: Dial>(
    core: &Core<S>,
    upstream: &Upstream,
    local: &LocalUpstream<S>,
    passing: Passing,
    answered: Result<u16, Failure>,
) {
    let (Some(breaker), Some(tripper)) = (&upstream.breaker, local.tripper()) else { return };
    let outcome = match answered {
        Ok(status) => breaker.outcome_of(status),
        Err(failure) if failure.fault() == Fault::Upstream => Outcome::Failure,
        // It says nothing about the upstream.
        Err(_) => return,
    };
    tell(core, upstream, breaker.leave(passing, tripper, outcome, clock::coarse_ms()));
}

fn tell<S: Dial>(core: &Core<S>, upstream: &Upstream, moved: Option<BreakerMove>) {
    let Some(moved) = moved else { return };
    if matches!(moved, BreakerMove::Opened(_) | BreakerMove::OpenedAgain) {
        upstream.counters.of(core.index).breaker_opens.increment();
    }
    core.events.send(Event::BreakerMoved { worker: core.index, upstream: upstream.name.clone(), moved });
}
