//! What the end of an attempt says of its endpoint and its upstream: how long it takes, and whether it fails.

use super::{Exchange, Phase};
use crate::failure::{Failure, Fault};
use crate::io::{Dial, clock};
use crate::local::{Attempt, LocalUpstream};
use crate::message::Downstream;
use crate::snapshot::Upstream;

impl<S: Dial, D: Downstream> Exchange<S, D> {
    /// It has answered, or switched protocols.
    #[inline(always)]
    pub(super) fn note_answer(&self, upstream: &Upstream, local: &LocalUpstream<S>, attempt: Attempt) {
        if self.phase == Phase::Complete
            && let Some(latency_ns) = self.times.attempt_latency_ns()
        {
            local.choice().note_answer(attempt.endpoint, latency_ns);
        }
        local.note_answered(upstream, attempt, self.judged_status());
    }

    /// It has failed, by whoever's fault.
    #[cold]
    pub(super) fn note_failure(
        &mut self,
        upstream: &Upstream,
        local: &LocalUpstream<S>,
        attempt: Attempt,
        failure: Failure,
    ) {
        if failure.fault() == Fault::Upstream {
            local.choice().note_failure(attempt.endpoint);
        }
        let is_its_own = self.is_its_own(failure, attempt.began_ms);
        // What an earlier attempt has met counts for the upstream, too, unless a response has begun since.
        let had_failed = self.held.has_failed && self.phase == Phase::Head;
        self.held.has_failed = had_failed || (is_its_own && failure.fault() == Fault::Upstream);
        local.note_failed(upstream, attempt, is_its_own.then_some(failure));
    }

    /// Whether a failure of an attempt that began then says anything: clients that send or read slowly must not be able to
    /// have endpoints ejected, or a breaker opened.
    fn is_its_own(&self, failure: Failure, began_ms: u64) -> bool {
        match failure {
            // It may have been closed while it was idle.
            Failure::UpstreamClosed => !self.reused && !self.has_waited_for_client_since(began_ms),
            Failure::ResponseTruncated | Failure::ResponseBodyTimeout => {
                !self.has_waited_for_client_since(began_ms)
            }
            Failure::RequestTimeout => self.has_waited_since(began_ms),
            _ => true,
        }
    }

    /// Whether the client was waited for most of the time since then: who gave up first may have done so because of that.
    fn has_waited_for_client_since(&self, began_ms: u64) -> bool {
        let waited_ms = self.request_pace.waited_ms().max(self.response_pace.waited_ms());
        waited_ms > clock::coarse_ms().saturating_sub(began_ms) / 2
    }

    /// Whether most of the request's time has gone with waiting for an answer since then, and not with an earlier attempt or
    /// a client that sends or reads slowly.
    pub(super) fn has_waited_since(&self, began_ms: u64) -> bool {
        let waited_ms = clock::coarse_ms().saturating_sub(began_ms);
        self.phase == Phase::Head && self.request_sent && waited_ms >= self.timeouts.request_ms / 2
    }
}
