//! When what happened in an exchange.
//!
//! Read from the exact clock, and only where somebody wants to know: once when the response's head comes, once at the end.
//! The other times are the worker's last reading ([`clock::recent_ns`]), which is at most one step of another exchange
//! behind.

use super::{Exchange, Phase};
use crate::failure::Failure;
use crate::io::{Dial, clock};
use crate::message::Downstream;
use crate::snapshot::Snapshot;

/// See the module. Monotonic nanoseconds; 0 where it has not happened, and all are 0 in an exchange that is not timed.
#[derive(Debug, Default)]
pub(crate) struct Times {
    /// The request's first byte.
    started_ns: u64,
    /// The last attempt began, be it with connecting.
    try_ns: u64,
    /// It began to send.
    attempt_ns: u64,
    /// It last made progress with that, before the response's head.
    sent_ns: u64,
    /// The response's head came.
    head_ns: u64,
    /// The response's last byte came.
    response_end_ns: u64,
    /// Everything was over.
    ended_ns: u64,
    /// How long the last connect took, timed or not.
    pub(crate) connect_ns: Option<u64>,
}

impl Times {
    #[inline]
    pub(super) fn starting(snapshot: &Snapshot) -> Self {
        let started_ns = if snapshot.is_timed() { clock::recent_ns() } else { 0 };
        Self { started_ns, ..Self::default() }
    }

    #[inline]
    pub(super) fn start_try(&mut self) {
        if self.is_kept() {
            self.try_ns = clock::recent_ns();
        }
    }

    #[inline]
    pub(super) fn start_attempt(&mut self) {
        // One that came before was dropped.
        self.head_ns = 0;
        self.note_sent();
        self.attempt_ns = self.sent_ns;
    }

    /// What is sent after the response's head cannot have held it up.
    #[inline]
    pub(super) fn note_sent(&mut self) {
        if self.is_kept() && self.head_ns == 0 {
            self.sent_ns = clock::recent_ns();
        }
    }

    /// Not for interim responses.
    #[inline]
    pub(super) fn note_response_head(&mut self) {
        if self.is_kept() {
            self.head_ns = clock::monotonic_ns();
        }
    }

    #[inline]
    pub(super) fn note_response_end(&mut self) {
        if self.is_kept() {
            self.response_end_ns = clock::recent_ns();
        }
    }

    #[inline]
    pub(super) fn end(&mut self) {
        if self.is_kept() {
            self.ended_ns = clock::monotonic_ns();
        }
    }

    /// The request's first byte.
    pub(crate) fn started_ns(&self) -> u64 {
        self.started_ns
    }

    /// From the request's first byte to the response's head.
    pub(crate) fn response_head_ns(&self) -> Option<u64> {
        (self.head_ns != 0).then(|| self.head_ns.saturating_sub(self.started_ns))
    }

    /// The attempt that goes on is another one, which began beside it.
    pub(super) fn take_over(&mut self, try_ns: u64, sent_ns: u64, connect_ns: Option<u64>) {
        if self.is_kept() {
            (self.try_ns, self.attempt_ns, self.sent_ns) = (try_ns, sent_ns, sent_ns);
        }
        self.connect_ns = connect_ns.or(self.connect_ns);
    }

    /// From the beginning of the last attempt, connecting included, to the response's head, or to now.
    pub(super) fn try_ns(&self) -> u64 {
        let end_ns = if self.head_ns != 0 { self.head_ns } else { clock::monotonic_ns() };
        end_ns.saturating_sub(self.try_ns)
    }

    /// From when the last attempt began to send to the response's head.
    pub(super) fn attempt_latency_ns(&self) -> Option<u64> {
        (self.head_ns != 0).then(|| self.head_ns.saturating_sub(self.attempt_ns))
    }

    /// From the request's first byte to the end of everything.
    pub(crate) fn duration_ns(&self) -> u64 {
        self.ended_ns.saturating_sub(self.started_ns)
    }

    /// From when the last attempt's request was sent to the response's head.
    #[inline]
    fn upstream_head_ns(&self) -> u64 {
        self.head_ns.saturating_sub(self.sent_ns)
    }

    /// From when the last attempt began to send to the response's last byte.
    #[inline]
    fn upstream_duration_ns(&self) -> u64 {
        self.response_end_ns.saturating_sub(self.attempt_ns)
    }

    #[inline]
    fn is_kept(&self) -> bool {
        self.started_ns != 0
    }
}

impl<S: Dial, D: Downstream> Exchange<S, D> {
    /// Adds an exchange that is over to the histograms of its route and its upstream.
    // A function of its own, so that profiles tell what the histograms cost.
    #[inline(never)]
    pub(super) fn observe(&self) {
        let (snapshot, worker, times) = (self.snapshot(), self.worker(), &self.times);
        let Some(route) = self.route.map(|route| &snapshot.routes[route]) else { return };
        let of_route = route.counters.of(worker).histograms.get_or_init(Box::default);
        if let Some(head_ns) = times.response_head_ns().or_else(|| self.own_head_ns()) {
            of_route.response_head.add(head_ns);
        }
        // A tunnel lasts as long as its client likes.
        if self.phase != Phase::Switched {
            of_route.duration.add(times.duration_ns());
            of_route.request_body.add(self.request_bytes);
            of_route.response_body.add(self.response_bytes);
        }
        // Until a final head has come it is the attempt that failed which would be seen here.
        if self.phase == Phase::Head {
            return;
        }
        let Some(upstream) = self.upstream.map(|upstream| &snapshot.upstreams[upstream]) else { return };
        let of_upstream = upstream.counters.of(worker).histograms.get_or_init(Box::default);
        of_upstream.response_head.add(times.upstream_head_ns());
        if self.phase == Phase::Complete {
            of_upstream.duration.add(times.upstream_duration_ns());
        }
    }

    /// The upstream's status, and the time to its head, where its response has begun for the client; and how long all of it
    /// took, if it is complete.
    pub(crate) fn upstream_response(&self) -> Option<(u16, u64, Option<u64>)> {
        let is_complete = match self.phase {
            Phase::Head => return None,
            Phase::Complete => true,
            Phase::Body | Phase::Switched => false,
        };
        let duration_ns = is_complete.then(|| self.times.upstream_duration_ns());
        Some((self.status, self.times.upstream_head_ns(), duration_ns))
    }

    /// The time to the head of an answer of Corelane's own, which goes out as a whole; none if nobody was there to get it.
    fn own_head_ns(&self) -> Option<u64> {
        let is_gone = matches!(
            self.failure,
            Some(Failure::ClientGone | Failure::ClientStalled | Failure::ClientTooSlow)
        );
        (!is_gone).then(|| self.times.duration_ns())
    }
}
