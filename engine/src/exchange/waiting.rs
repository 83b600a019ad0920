//! Waiting for a place at an upstream that is full, or whose endpoints all are.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use corelane_balancer::NoEndpoint;

use super::deadline::end_of_exchange;
use super::{Exchange, poll_gone};
use crate::caller::Caller;
use crate::core::{due, due_ms};
use crate::counters::UpstreamCounters;
use crate::failure::Failure;
use crate::io::{Dial, clock};
use crate::limits::QueueRules;
use crate::local::LocalUpstream;
use crate::message::Downstream;
use crate::snapshot::{Endpoint, Upstream};

impl<S: Dial, D: Downstream> Exchange<S, D> {
    /// No endpoint could be chosen: waits where that can help. Boxed and behind a table of functions, because it is seldom:
    /// the future of every exchange would hold it, and its code keep that of others from being inlined.
    #[cold]
    #[inline(never)]
    pub(super) fn without_endpoint<'a>(
        &'a mut self,
        caller: &'a mut Caller<'_, S, D>,
        upstream: &'a Upstream,
        local: &'a LocalUpstream<S>,
        why: NoEndpoint,
    ) -> Pin<Box<dyn Future<Output = Result<usize, Failure>> + 'a>> {
        Box::pin(async move {
            let waited = match why {
                NoEndpoint::Full => self.wait_for_place(caller, upstream, local).await,
                _ => Err(local.choice().no_endpoint(upstream, why)),
            };
            let counters = upstream.counters.of(self.worker());
            match waited {
                Err(Failure::UpstreamFull) => counters.refused_full.increment(),
                Err(Failure::QueueFull | Failure::QueueTimeout) if self.waits_for_upstream(upstream) => {
                    counters.refused_full.increment();
                }
                Err(
                    Failure::NoEndpoint
                    | Failure::NoHealthyEndpoint
                    | Failure::EndpointsFull
                    | Failure::QueueFull
                    | Failure::QueueTimeout,
                ) => counters.no_endpoint.increment(),
                // The breaker counts those that it refuses, and the others could have had one.
                _ => {}
            }
            waited
        })
    }

    /// Whether it is the upstream that is full, and not its endpoints.
    fn waits_for_upstream(&self, upstream: &Upstream) -> bool {
        let Some(limit) = self.lacks_place(upstream) else { return false };
        // A place may just have become free, for who waits longest.
        limit.is_full() || !upstream.endpoints.iter().any(Endpoint::is_limited)
    }

    /// Waits until there is a place, which is taken: in the upstream's line, where it has one, and for idle connections of
    /// other workers.
    async fn wait_for_place(
        &mut self,
        caller: &mut Caller<'_, S, D>,
        upstream: &Upstream,
        local: &LocalUpstream<S>,
    ) -> Result<usize, Failure> {
        let is_upstream = self.lacks_place(upstream).is_some();
        let full = if is_upstream { Failure::UpstreamFull } else { Failure::EndpointsFull };
        let limit = upstream.endpoints.iter().find_map(|endpoint| endpoint.connections.as_ref());
        let (line, rules) = match (&upstream.queue, limit) {
            (Some(queue), _) => (&queue.line, queue.rules),
            // It is a part of connecting: another worker closes one within some milliseconds, if it is not held up.
            (None, Some(limit)) if !is_upstream => {
                (limit.line(), QueueRules { requests_max: WAITERS_MAX, timeout: upstream.connect_timeout })
            }
            (None, _) => return Err(full),
        };
        let has_queue = upstream.queue.is_some();
        let why = |failure| if has_queue { failure } else { Failure::EndpointsFull };
        let (core, down, timer) = caller.parts();
        let turn = line.join(core.index, timer.key(), rules.requests_max);
        let turn = turn.ok_or(why(Failure::QueueFull))?;
        let counters = upstream.counters.of(core.index);
        counters.waited.increment();
        let _waiting = Waiting::new(counters);
        down.settle(core.lent());
        let over_ms = due(clock::coarse_ms(), rules.timeout);
        let exchange_due_ms = due_ms(self.started_ms, self.timeouts.request_ms);
        let finishes = self.client_may_finish();
        let choice = local.choice();
        let (mut is_turn, mut has_asked) = (turn.is_first(), false);
        if !is_turn && choice.has_room(upstream) {
            // Those before it may wait for endpoints that are full, after they have tried the one that is not: nobody would
            // give back a place there. They hand the call on.
            line.call();
        }
        let taken = poll_fn(|cx| {
            while std::mem::take(&mut is_turn) || turn.take_call() {
                match self.take_in_turn(upstream, local) {
                    Ok(index) => return Poll::Ready(self.pass_again(core, upstream).map(|()| index)),
                    Err(NoEndpoint::Full) => turn.pass_on(),
                    Err(why) => return Poll::Ready(Err(choice.no_endpoint(upstream, why))),
                }
                has_asked = false;
            }
            if self.lacks_place(upstream).is_none()
                && !std::mem::replace(&mut has_asked, true)
                && !choice.ask_for_room(upstream)
                && !has_queue
            {
                return Poll::Ready(Err(Failure::EndpointsFull));
            }
            if poll_gone(cx, core, down, finishes).is_ready() {
                return Poll::Ready(Err(Failure::ClientGone));
            }
            let over = timer.poll_until(cx, over_ms.min(exchange_due_ms));
            over.map(|()| {
                let failure = end_of_exchange(core, exchange_due_ms, over_ms);
                Err(self.ended_by(failure.unwrap_or(why(Failure::QueueTimeout))))
            })
        })
        .await;
        drop(turn);
        if choice.has_room(upstream) {
            // There may have been more places than calls, as when an endpoint has come up.
            line.call();
        }
        taken
    }
}

/// Who waits for an idle connection to close: they are bounded by the connections of clients.
const WAITERS_MAX: u32 = u32::MAX;

/// Counts a request as waiting for as long as it is held.
struct Waiting<'a>(&'a UpstreamCounters);

impl<'a> Waiting<'a> {
    fn new(counters: &'a UpstreamCounters) -> Self {
        counters.waiting.increment();
        Self(counters)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.decrement();
    }
}
