//! What the end of an attempt says of its endpoint: how long it takes, and whether it fails.

use super::{Exchange, Phase};
use crate::failure::{Failure, Fault};
use crate::io::{Dial, clock};
use crate::local::{Attempt, LocalUpstream};
use crate::snapshot::Upstream;

impl<S: Dial> Exchange<S> {
    /// It has answered, or switched protocols.
    #[inline(always)]
    pub(super) fn note_answer(&self, upstream: &Upstream, local: &LocalUpstream<S>, attempt: Attempt) {
        if self.phase == Phase::Complete
            && let Some(latency_ns) = self.times.attempt_latency_ns()
        {
            local.choice().note_answer(attempt.endpoint, latency_ns);
        }
        local.note_answered(upstream, attempt, self.status);
    }

    /// It has failed, by whoever's fault.
    #[cold]
    pub(super) fn note_failure(
        &self,
        upstream: &Upstream,
        local: &LocalUpstream<S>,
        attempt: Attempt,
        failure: Failure,
    ) {
        if failure.fault() == Fault::Upstream {
            local.choice().note_failure(attempt.endpoint);
        }
        let is_its_own = match failure {
            // It may have been closed while it was idle.
            Failure::UpstreamClosed => !self.reused,
            Failure::RequestTimeout => self.has_waited_since(attempt.began_ms),
            _ => true,
        };
        local.note_failed(upstream, attempt, is_its_own.then_some(failure));
    }

    /// Whether most of the request's time has gone with waiting for an answer since then, and not with an earlier attempt or
    /// a client that sends or reads slowly: clients must not be able to have endpoints ejected.
    fn has_waited_since(&self, began_ms: u64) -> bool {
        let waited_ms = clock::coarse_ms().saturating_sub(began_ms);
        self.phase == Phase::Head && self.request_sent && waited_ms >= self.timeouts.request_ms / 2
    }
}
