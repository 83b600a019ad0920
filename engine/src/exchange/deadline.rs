//! When an exchange gives up waiting, and why.

use super::{Exchange, Phase};
use crate::core::due;
use crate::failure::Failure;
use crate::io::{Dial, clock};
use crate::message::{Downstream, Upstream};

impl<S: Dial> Exchange<S> {
    /// When the relay gives up, and why.
    pub(super) fn deadline<D: Downstream, U: Upstream>(&mut self, down: &D, up: &U) -> (u64, Failure) {
        self.request_progress.see(up.accepted());
        self.response_progress.see(down.accepted());
        let Some(route) = self.route else { return (u64::MAX, Failure::NoRoute) };
        let upstream = &self.snapshot().upstreams[self.snapshot().routes[route].upstream];
        let listener = self.listener();
        let request_ms = self.request_progress.at_ms;
        let request_deadline = if up.is_blocked() && !self.upload_over {
            (due(request_ms, upstream.response_head_timeout), Failure::UpstreamStalled)
        } else if !down.is_request_complete() && !self.upload_over {
            (due(request_ms, listener.body_idle_timeout), Failure::RequestBodyTimeout)
        } else if self.phase == Phase::Head {
            (due(request_ms, upstream.response_head_timeout), Failure::ResponseHeadTimeout)
        } else {
            (u64::MAX, Failure::ResponseHeadTimeout)
        };
        let response_ms = self.response_progress.at_ms;
        let response_deadline = if down.is_blocked() {
            (due(response_ms, listener.send_timeout), Failure::ClientStalled)
        } else if self.phase == Phase::Body {
            (due(response_ms.max(request_ms), upstream.body_idle_timeout), Failure::ResponseBodyTimeout)
        } else {
            (u64::MAX, Failure::ClientStalled)
        };
        let exchange_deadline = due(self.started_ms, upstream.request_timeout);
        let mut first = request_deadline;
        for other in [response_deadline, (exchange_deadline, Failure::RequestTimeout)] {
            if other.0 < first.0 {
                first = other;
            }
        }
        first
    }
}

/// What a side had accepted when it was last seen to move.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Progress {
    pub(super) accepted: u64,
    pub(super) at_ms: u64,
}

impl Progress {
    /// Notes that a side has taken more since it was last looked at.
    fn see(&mut self, accepted: u64) {
        if accepted != self.accepted {
            *self = Self { accepted, at_ms: clock::coarse_ms() };
        }
    }
}
