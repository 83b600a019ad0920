//! What an exchange leaves behind: a connection for the pool or none, and what the endpoint did wrong.

use corelane_semantics::Method;

use super::Exchange;
use crate::core::Core;
use crate::failure::Failure;
use crate::h1::Leftover;
use crate::io::{Dial, clock};
use crate::message::Downstream;
use crate::pool::{Pool, Pooled};
use crate::reputation::Offence;
use crate::snapshot::Upstream;
use crate::tripwire::Tripwire;

impl<S: Dial, D: Downstream> Exchange<S, D> {
    /// After a complete response: the connection goes to the pool, or it closes.
    // Exchanges over HTTP/1 and over HTTP/2 call it, which would make it a call for both.
    #[inline(always)]
    pub(super) fn retire(
        &mut self,
        core: &Core<S>,
        pool: &Pool<S>,
        upstream: &Upstream,
        leftover: Leftover<S>,
    ) {
        // What answered before it had the whole request, or might have switched protocols, may not agree about where the
        // next request begins.
        let may_switch = !self.words.upgrade.is_empty() || self.method == Method::Connect;
        let reusable = self.upstream_keeps
            && self.request_sent
            && !self.upload_over
            && !may_switch
            && !self.authenticates_connection;
        match leftover {
            Leftover::Idle(stream) if reusable => {
                let now_ms = clock::coarse_ms();
                match self.reserved.take() {
                    None => pool.check_in(Pooled { stream, permit: None }, now_ms, upstream, None),
                    Some(reserved) => {
                        let limit =
                            self.endpoint.and_then(|index| upstream.endpoints[index].connections.as_ref());
                        pool.check_in((*reserved).with(stream), now_ms, upstream, limit);
                    }
                }
                core.keep_ticking();
            }
            Leftover::Surplus => {
                self.note(Tripwire::SurplusBytes);
                pool.strike(Offence::Surplus, clock::coarse_ms(), upstream);
                core.keep_ticking();
            }
            Leftover::Idle(_) | Leftover::Unfit => {}
        }
    }

    /// Gives back what the attempt had at its endpoint.
    #[cold]
    #[inline(never)]
    pub(super) fn release(&mut self) {
        self.reserved = None;
    }

    /// After a failed attempt: whether the endpoint's connections can be trusted.
    pub(super) fn judge_endpoint(
        &mut self,
        core: &Core<S>,
        pool: &Pool<S>,
        upstream: &Upstream,
        failure: Failure,
    ) {
        let Some(offence) = failure.offence() else { return };
        // Over HTTP/2 each response has its own frames: where the next one begins is not in doubt.
        if pool.shared().is_spoken() {
            return;
        }
        if offence == Offence::ShortBody {
            self.note(Tripwire::ShortBody);
        }
        pool.strike(offence, clock::coarse_ms(), upstream);
        core.keep_ticking();
    }

    /// Notes a final response whose request was not sent in full. A refusal of it is usual; success is not.
    pub(super) fn note_early_response(&mut self) {
        // Both sides of a call speak when they like.
        if self.status < 400 && !self.call.is_some() {
            self.note(Tripwire::EarlyResponse);
        }
    }

    /// Notes something suspicious. Seldom: nobody waits for it.
    #[cold]
    pub(crate) fn note(&mut self, tripwire: Tripwire) {
        self.tripwires.add(tripwire);
        if let (true, Some(upstream), Some(endpoint)) =
            (tripwire.is_of_upstream(), self.upstream, self.endpoint)
        {
            let upstream = &self.snapshot().upstreams[upstream];
            upstream.endpoints[endpoint].counters.of(self.worker()).suspicious.add(tripwire);
        }
    }

    /// Notes the trailer fields that ended here.
    pub(super) fn note_trailers(&mut self) {
        if self.request_trailers.has_dropped() {
            self.note(Tripwire::RequestTrailerDropped);
        }
        if self.response_trailers.has_dropped() {
            self.note(Tripwire::ResponseTrailerDropped);
        }
    }

    /// Counts what was noted.
    #[cold]
    pub(super) fn count_tripwires(&self) {
        for tripwire in self.tripwires.iter() {
            self.count_listener(|counters| counters.suspicious.add(tripwire));
            if let Some(route) = self.route {
                self.snapshot().routes[route].counters.of(self.worker()).suspicious.add(tripwire);
            }
        }
    }
}
