//! When an exchange gives up waiting, and why.

use super::{Exchange, Phase};
use crate::core::{Core, due, due_ms};
use crate::failure::Failure;
use crate::io::{Dial, clock};
use crate::message::{Downstream, Upstream, may_send_again};
use crate::snapshot::RATE_GRACE;

impl<S: Dial, D: Downstream> Exchange<S, D> {
    /// When the relay gives up, and why.
    // As `step_request`.
    #[inline(always)]
    pub(super) fn deadline<U: Upstream>(&mut self, core: &Core<S>, down: &D, up: &U) -> (u64, Failure) {
        if core.cutting.get() {
            return (0, Failure::DrainTimeout);
        }
        let (up_blocked, down_blocked) = (up.is_blocked(), down.is_blocked());
        self.request_progress.see(up.accepted());
        self.request_progress.watch(up_blocked, || up.taken());
        self.response_progress.see(down.accepted());
        self.response_progress.watch(down_blocked, || down.taken());
        let timeouts = self.timeouts;
        let listener = self.listener();
        let request_ms = self.request_progress.at_ms;
        let uploads = !self.upload_over && !down.is_request_complete();
        // Until it is told to go on, it is the upstream that the client waits for.
        let held_back = self.expects_continue && self.request_bytes == 0;
        // Which side of a call sends next is its own affair.
        let is_call = self.call.is_some();
        // Behind an answer that is no success neither side has to go on with the request (RFC 9112 §9.5).
        let is_unwanted = self.phase != Phase::Head && self.status >= 300;
        let mut first = if is_unwanted {
            (u64::MAX, Failure::RequestBodyTimeout)
        } else if up_blocked && !self.upload_over {
            (due_ms(request_ms, timeouts.response_head_ms), Failure::UpstreamStalled)
        } else if uploads && is_call && self.phase == Phase::Body {
            // Both may be silent for as long as the response may.
            (u64::MAX, Failure::RequestBodyTimeout)
        } else if uploads && (held_back || is_call) {
            // Nobody can tell whose fault it is, so it is not the endpoint's: any client could put it there.
            (due_ms(request_ms, timeouts.response_head_ms), Failure::RequestBodyTimeout)
        } else if uploads {
            (due(request_ms, listener.body_idle_timeout), Failure::RequestBodyTimeout)
        } else if self.phase == Phase::Head {
            (due_ms(request_ms, timeouts.response_head_ms), Failure::ResponseHeadTimeout)
        } else {
            (u64::MAX, Failure::ResponseHeadTimeout)
        };
        let mut sooner = |due_ms: u64, failure| {
            if due_ms < first.0 {
                first = (due_ms, failure);
            }
        };
        let response_ms = self.response_progress.at_ms;
        if down_blocked {
            sooner(due(response_ms, listener.send_timeout), Failure::ClientStalled);
        } else if self.phase == Phase::Body {
            sooner(due_ms(response_ms.max(request_ms), timeouts.body_idle_ms), Failure::ResponseBodyTimeout);
        }
        // A client that does not send its body must not put the blame on the endpoint.
        let awaits_client = uploads && !is_unwanted && !up_blocked;
        let exchange_failure =
            if awaits_client { Failure::RequestBodyTimeout } else { Failure::RequestTimeout };
        sooner(due_ms(self.started_ms, timeouts.request_ms), exchange_failure);
        let (body_rate_min, send_rate_min) = (listener.limits.body_rate_min, listener.limits.send_rate_min);
        let awaits_body = awaits_client && !held_back;
        let body_rate_min = if is_call { 0 } else { body_rate_min };
        sooner(self.request_pace.due(awaits_body, self.request_bytes, body_rate_min), Failure::BodyTooSlow);
        let taken = self.response_progress.taken;
        sooner(self.response_pace.due(down_blocked, taken, send_rate_min), Failure::ClientTooSlow);
        if self.phase == Phase::Head {
            sooner(self.tries.due_ms, Failure::TryTimeout);
        }
        if uploads && !up_blocked {
            first.0 = first.0.min(self.probe_due_ms());
        }
        first
    }

    /// When opening a connection is given up, and why.
    pub(super) fn connect_deadline(&self, core: &Core<S>, connect_due_ms: u64) -> (u64, Failure) {
        if core.cutting.get() {
            return (0, Failure::DrainTimeout);
        }
        let mut first = (connect_due_ms, Failure::ConnectTimeout);
        let exchange_due_ms = due_ms(self.started_ms, self.timeouts.request_ms);
        for other in [(exchange_due_ms, Failure::RequestTimeout), (self.tries.due_ms, Failure::TryTimeout)] {
            if other.0 < first.0 {
                first = other;
            }
        }
        first
    }

    /// Whether a deadline that has passed is none: because the side that seemed to stand still has taken bytes from the
    /// kernel, which wakes nobody before a good part of the socket's buffer is free; because no other attempt can be made; or
    /// because it was that of a probe, whose request goes on.
    pub(super) fn is_reprieved<U: Upstream>(&mut self, failure: Failure, down: &D, up: &U) -> bool {
        let uploads = !self.upload_over && !down.is_request_complete();
        if uploads && !up.is_blocked() && self.abandons_probe() {
            return true;
        }
        match failure {
            Failure::ClientStalled | Failure::ClientTooSlow => self.response_progress.see_taken(down.taken()),
            Failure::UpstreamStalled => self.request_progress.see_taken(up.taken()),
            Failure::TryTimeout => {
                let is_safe = self.tries.is_resendable
                    && !up.has_received()
                    && may_send_again(self.tries.may_repeat, up.accepted());
                !self.gives_up(is_safe)
            }
            _ => false,
        }
    }
}

/// Why a wait that ends at `over_ms`, or with its exchange, ends the exchange; `None`: it does not.
pub(super) fn end_of_exchange<S: Dial>(
    core: &Core<S>,
    exchange_due_ms: u64,
    over_ms: u64,
) -> Option<Failure> {
    if core.cutting.get() {
        Some(Failure::DrainTimeout)
    } else {
        (exchange_due_ms <= over_ms).then_some(Failure::RequestTimeout)
    }
}

/// What a side had accepted when it was last seen to move.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Progress {
    pub(super) accepted: u64,
    /// What the peer had really taken when that was last asked; only of meaning while it is waited for.
    pub(super) taken: u64,
    pub(super) at_ms: u64,
    is_blocked: bool,
}

impl Progress {
    pub(super) fn starting_at(at_ms: u64) -> Self {
        Self { at_ms, ..Self::default() }
    }

    /// From the moment on that a peer is waited for, what it really takes is progress too.
    pub(super) fn watch(&mut self, is_blocked: bool, taken: impl FnOnce() -> u64) {
        if is_blocked && !self.is_blocked {
            self.taken = taken();
        }
        self.is_blocked = is_blocked;
    }

    /// Notes what the peer has really taken. Returns whether it is more than was known.
    pub(super) fn see_taken(&mut self, taken: u64) -> bool {
        let has_moved = taken > self.taken;
        if has_moved {
            (self.taken, self.at_ms) = (taken, clock::coarse_ms());
        }
        has_moved
    }

    /// Notes that a side has taken more since it was last looked at.
    fn see(&mut self, accepted: u64) {
        if accepted != self.accepted {
            (self.accepted, self.at_ms) = (accepted, clock::coarse_ms());
        }
    }
}

/// How fast a client moves, counting only the time in which it is the one that is waited for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    /// What had moved when it began.
    start_bytes: u64,
    waited_ms: u64,
    /// Since when it is waited for; 0: it is not.
    waits_since_ms: u64,
}

impl Pace {
    pub(super) fn starting_at(bytes: u64) -> Self {
        Self { start_bytes: bytes, ..Self::default() }
    }

    /// For how long it was waited for.
    pub(super) fn waited_ms(&self) -> u64 {
        let since_ms = if self.waits_since_ms == 0 { u64::MAX } else { self.waits_since_ms };
        self.waited_ms + clock::coarse_ms().saturating_sub(since_ms)
    }

    /// When the client is too slow, if nothing more moves; `u64::MAX` for never. `waits`: whether it is waited for from
    /// now on.
    fn due(&mut self, waits: bool, bytes: u64, rate_min: u64) -> u64 {
        if !waits && self.waits_since_ms == 0 {
            return u64::MAX;
        }
        let now_ms = clock::coarse_ms();
        if self.waits_since_ms != 0 {
            self.waited_ms += now_ms.saturating_sub(self.waits_since_ms);
        }
        self.waits_since_ms = if waits { now_ms.max(1) } else { 0 };
        if !waits || rate_min == 0 {
            return u64::MAX;
        }
        let moved = bytes.saturating_sub(self.start_bytes);
        let allowed_ms = GRACE_MS.saturating_add(moved.saturating_mul(1000) / rate_min);
        now_ms.saturating_add(allowed_ms.saturating_sub(self.waited_ms))
    }
}

/// See [`RATE_GRACE`].
const GRACE_MS: u64 = RATE_GRACE.as_secs() * 1000;
