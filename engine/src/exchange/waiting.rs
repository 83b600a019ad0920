//! Waiting for a place at an upstream that is full, or whose endpoints all are.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use corelane_balancer::NoEndpoint;

use super::{Exchange, poll_client};
use crate::core::{due, due_ms};
use crate::counters::UpstreamCounters;
use crate::failure::Failure;
use crate::io::{Dial, clock};
use crate::local::Choice;
use crate::message::{ClientSignal, Downstream};
use crate::session::Session;
use crate::snapshot::{ClientHalfClose, Upstream};

impl<S: Dial> Exchange<S> {
    /// No endpoint could be chosen: waits where that can help. Boxed and behind a table of functions, because it is seldom:
    /// the future of every exchange would hold it, and its code keep that of others from being inlined.
    #[cold]
    #[inline(never)]
    pub(super) fn without_endpoint<'a>(
        &'a mut self,
        session: &'a mut Session<S>,
        upstream: &'a Upstream,
        choice: &'a Choice,
        why: NoEndpoint,
    ) -> Pin<Box<dyn Future<Output = Result<usize, Failure>> + 'a>> {
        Box::pin(async move {
            let waited = match why {
                NoEndpoint::Full => self.wait_for_place(session, upstream, choice).await,
                _ => Err(choice.no_endpoint(upstream, why)),
            };
            let counters = upstream.counters.of(self.worker());
            match waited {
                Err(Failure::UpstreamFull) => counters.refused_full.increment(),
                Err(failure) if failure.status() == 503 => counters.no_endpoint.increment(),
                _ => {}
            }
            waited
        })
    }

    /// Waits in the upstream's line, where it has one, until there is a place, which is taken.
    async fn wait_for_place(
        &mut self,
        session: &mut Session<S>,
        upstream: &Upstream,
        choice: &Choice,
    ) -> Result<usize, Failure> {
        let Some(queue) = &upstream.queue else {
            let is_upstream = upstream.limit.is_some() && self.held.place.is_none();
            return Err(if is_upstream { Failure::UpstreamFull } else { Failure::EndpointsFull });
        };
        let Session { core, down, timer, .. } = session;
        let turn = queue.line.join(core.index, timer.key(), queue.rules.requests_max);
        let turn = turn.ok_or(Failure::QueueFull)?;
        let counters = upstream.counters.of(core.index);
        counters.waited.increment();
        let _waiting = Waiting::new(counters);
        down.settle(core.lent());
        let over_ms = due(clock::coarse_ms(), queue.rules.timeout);
        let exchange_due_ms = due_ms(self.started_ms, self.timeouts.request_ms);
        let finishes = self.listener().client_half_close == ClientHalfClose::Finish;
        let mut is_turn = turn.is_first();
        let taken = poll_fn(|cx| {
            while std::mem::take(&mut is_turn) || turn.take_call() {
                match self.take_in_turn(upstream, choice) {
                    Ok(index) => return Poll::Ready(self.pass_again(core, upstream).map(|()| index)),
                    Err(NoEndpoint::Full) => turn.pass_on(),
                    Err(why) => return Poll::Ready(Err(choice.no_endpoint(upstream, why))),
                }
            }
            if down.is_request_complete()
                && let Poll::Ready(signal) = poll_client(cx, core, down)
                && (signal == ClientSignal::Gone || !finishes)
            {
                return Poll::Ready(Err(Failure::ClientGone));
            }
            timer.poll_until(cx, over_ms.min(exchange_due_ms)).map(|()| {
                Err(if core.cutting.get() {
                    Failure::DrainTimeout
                } else if exchange_due_ms <= over_ms {
                    Failure::RequestTimeout
                } else {
                    Failure::QueueTimeout
                })
            })
        })
        .await;
        drop(turn);
        if choice.has_room(upstream) {
            // There may have been more places than calls, as when an endpoint has come up.
            queue.line.call();
        }
        taken
    }
}

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
