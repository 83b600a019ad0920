//! The attempts of one exchange: which endpoints it has tried, whether there may be another, and at which endpoint it
//! counts as outstanding.

use std::future::poll_fn;
use std::task::Poll;

use corelane_balancer::{NoEndpoint, mix};

use super::deadline::end_of_exchange;
use super::{Exchange, poll_gone};
use crate::caller::Caller;
use crate::core::{due, due_ms};
use crate::counters::EndpointCounters;
use crate::failure::Failure;
use crate::io::{Dial, clock};
use crate::local::LocalUpstream;
use crate::message::Downstream;
use crate::reserved::Reserved;
use crate::retry::Retry;
use crate::snapshot::Upstream;

/// See the module.
pub(super) struct Tries {
    /// The endpoints that have failed. Empty, and so without memory of its own, until one has.
    excluded: Vec<usize>,
    /// Where the next attempt goes.
    pub(super) next: Option<usize>,
    /// When the attempt is to give way to another one, unless a response has begun; `u64::MAX` for never.
    pub(super) due_ms: u64,
    /// When the request goes to a second endpoint as well, unless a response has begun; `u64::MAX` for never.
    pub(super) hedge_due_ns: u64,
    /// The request may be done twice.
    pub(super) may_repeat: bool,
    /// All of the request is at hand.
    pub(super) is_resendable: bool,
    /// The endpoint has said that it had not begun with it.
    pub(super) was_unprocessed: bool,
}

impl Default for Tries {
    fn default() -> Self {
        Self {
            excluded: Vec::new(),
            next: None,
            due_ms: u64::MAX,
            hedge_due_ns: u64::MAX,
            may_repeat: false,
            is_resendable: false,
            was_unprocessed: false,
        }
    }
}

impl Tries {
    /// No further attempt goes there.
    pub(super) fn exclude(&mut self, endpoint: usize) {
        self.excluded.push(endpoint);
    }
}

impl<S: Dial, D: Downstream> Exchange<S, D> {
    /// Chooses where this attempt goes, and takes what is limited there, and of the upstream.
    ///
    /// # Errors
    ///
    /// [`NoEndpoint`]: there is none.
    #[inline(always)]
    pub(super) fn take_endpoint(
        &mut self,
        upstream: &Upstream,
        local: &LocalUpstream<S>,
    ) -> Result<usize, NoEndpoint> {
        let picked = match self.tries.next.take() {
            Some(next) => next,
            None if self.attempts == 0 => local.choice().pick(upstream, &self.wish, &[])?,
            // A retry that found none: it waits.
            None => return Err(NoEndpoint::Full),
        };
        if upstream.endpoints[picked].is_limited() || upstream.limit.is_some() {
            return self.reserve_behind(upstream, local, picked);
        }
        Ok(picked)
    }

    /// The same for who has waited and whose turn it is.
    pub(super) fn take_in_turn(
        &mut self,
        upstream: &Upstream,
        local: &LocalUpstream<S>,
    ) -> Result<usize, NoEndpoint> {
        let picked = local.choice().pick(upstream, &self.wish, &self.tries.excluded)?;
        self.reserve(upstream, local, picked)
    }

    /// Those that wait were here before, unless there is an idle connection for each of them and one more, and no place to
    /// take.
    #[inline(never)]
    fn reserve_behind(
        &mut self,
        upstream: &Upstream,
        local: &LocalUpstream<S>,
        picked: usize,
    ) -> Result<usize, NoEndpoint> {
        let endpoint = &upstream.endpoints[picked];
        let needs_place = self.lacks_place(upstream).is_some();
        if !endpoint.is_limited() && !needs_place {
            return Ok(picked);
        }
        let idle = match endpoint.limit.is_none() && !needs_place {
            true => endpoint.counters.of(self.worker()).idle.value(),
            false => 0,
        };
        let is_behind = |waiting: u64| waiting > 0 && waiting >= idle;
        if upstream.queue.as_ref().is_some_and(|queue| is_behind(queue.line.waiting() as u64)) {
            return Err(NoEndpoint::Full);
        }
        self.reserve(upstream, local, picked)
    }

    fn reserve(
        &mut self,
        upstream: &Upstream,
        local: &LocalUpstream<S>,
        picked: usize,
    ) -> Result<usize, NoEndpoint> {
        if let Some(limit) = self.lacks_place(upstream) {
            self.held.place = Some(limit.try_take().ok_or(NoEndpoint::Full)?);
        }
        let mut index = picked;
        // Allocates where another worker was faster.
        let mut refused = Vec::new();
        loop {
            if !upstream.endpoints[index].is_limited() {
                return Ok(index);
            }
            let pool = local.pool(index).ok_or(NoEndpoint::Down)?;
            if let Some(reserved) = Reserved::take(&upstream.endpoints[index], pool, upstream) {
                self.reserved = Some(Box::new(reserved));
                return Ok(index);
            }
            // Another worker was faster, or the retry was planned earlier.
            if refused.is_empty() {
                refused.extend_from_slice(&self.tries.excluded);
            }
            refused.push(index);
            index = local.choice().pick(upstream, &self.wish, &refused).map_err(|why| match why {
                NoEndpoint::Tried => NoEndpoint::Full,
                why => why,
            })?;
        }
    }

    /// An attempt begins.
    // Exchanges over HTTP/1 and over HTTP/2 call it, which would make it a call for both.
    #[inline(always)]
    pub(super) fn start_try(&mut self, retry: &Retry) {
        if !retry.per_try_timeout.is_zero() {
            self.tries.due_ms = due(clock::coarse_ms(), retry.per_try_timeout);
        }
        if !retry.hedge_after.is_zero() {
            self.tries.hedge_due_ns = self.hedge_due_ns(retry);
        }
        self.times.start_try();
    }

    /// Whether an attempt that has taken its time gives way to another one, which is planned then. It goes on where there
    /// is none, or where sending again is not safe.
    #[cold]
    pub(super) fn gives_up(&mut self, is_safe: bool) -> bool {
        self.tries.due_ms = u64::MAX;
        is_safe && self.plan_retry(Failure::TryTimeout)
    }

    /// Chooses where the next attempt goes, if there may be one after this failure of the last.
    #[cold]
    pub(super) fn plan_retry(&mut self, failure: Failure) -> bool {
        let local = self.local.clone();
        let Some(upstream_index) = self.upstream else { return false };
        let (upstream, Some(local_upstream)) =
            (&local.snapshot().upstreams[upstream_index], local.upstream(upstream_index))
        else {
            return false;
        };
        if self.attempts >= upstream.attempts_max || !upstream.retry.is_after(failure) {
            return false;
        }
        self.tries.excluded.extend(self.endpoint);
        let excluded = &self.tries.excluded;
        let next = match local_upstream.choice().pick(upstream, &self.wish, excluded) {
            Ok(next) => Some(next),
            // It can wait, but what is at hand is better than that: a response, or an attempt that goes on.
            Err(NoEndpoint::Full)
                if upstream.queue.is_some()
                    && !matches!(failure, Failure::StatusRetried(_) | Failure::TryTimeout) =>
            {
                None
            }
            Err(_) => return false,
        };
        let had_place = self.held.retry.is_some();
        if !self.may_retry(upstream) {
            return false;
        }
        let counters = upstream.counters.of(self.worker());
        let (rules, now_ms) = (&upstream.retry.budget, clock::coarse_ms());
        if !local_upstream.budget().try_retry(rules, counters.requests.value(), now_ms) {
            counters.retries_refused.increment();
            if !had_place {
                self.held.retry = None;
            }
            return false;
        }
        self.tries.next = next;
        true
    }

    /// Whether a response with this status is dropped, and the request sent to another endpoint.
    #[cold]
    pub(super) fn retries_status(&mut self, status: u16) -> bool {
        self.tries.may_repeat
            && self.tries.is_resendable
            && self.interims_sent == 0
            && self.plan_retry(Failure::StatusRetried(status))
    }

    /// Waits before another attempt.
    pub(super) async fn back_off(
        &mut self,
        caller: &mut Caller<'_, S, D>,
        upstream: &Upstream,
    ) -> Result<(), Failure> {
        let retry = &upstream.retry;
        if retry.backoff.first.is_zero() {
            return Ok(());
        }
        caller.down.settle(caller.core.lent());
        let delay = retry.backoff.delay(self.attempts - 1, mix(clock::monotonic_ns() ^ self.number));
        let over_ms = due(clock::coarse_ms(), delay);
        let exchange_due_ms = due_ms(self.started_ms, self.timeouts.request_ms);
        let finishes = self.client_may_finish();
        let (core, down, timer) = caller.parts();
        poll_fn(|cx| {
            if poll_gone(cx, core, down, finishes).is_ready() {
                return Poll::Ready(Err(Failure::ClientGone));
            }
            if over_ms == u64::MAX {
                // Less than a millisecond.
                return Poll::Ready(Ok(()));
            }
            let over = timer.poll_until(cx, over_ms.min(exchange_due_ms));
            over.map(|()| {
                let failure = end_of_exchange(core, exchange_due_ms, over_ms);
                failure.map_or(Ok(()), |failure| Err(self.ended_by(failure)))
            })
        })
        .await?;
        self.pass_again(core, upstream)
    }
}

/// Counts a request as outstanding for as long as it is held.
pub(crate) struct Lease<'a>(&'a EndpointCounters);

impl<'a> Lease<'a> {
    pub(crate) fn new(counters: &'a EndpointCounters) -> Self {
        counters.outstanding.increment();
        Self(counters)
    }

    /// Of the endpoint.
    pub(super) fn counters(&self) -> &'a EndpointCounters {
        self.0
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        self.0.outstanding.decrement();
    }
}
