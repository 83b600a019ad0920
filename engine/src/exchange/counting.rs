//! What an exchange counts, and where.

use super::Exchange;
use crate::counters::{EndpointCounters, ListenerCounters};
use crate::failure::{Failure, Fault};
use crate::io::Dial;
use crate::message::{Downstream, Upstream};

impl<S: Dial, D: Downstream> Exchange<S, D> {
    pub(super) fn count_listener(&self, count: impl FnOnce(&ListenerCounters)) {
        count(self.listener().counters.of(self.worker()));
    }

    pub(super) fn count_moved<U: Upstream>(&self, down: &mut D, up: &mut U, counters: &EndpointCounters) {
        let moved = down.take_moved();
        self.count_listener(|counters| {
            counters.received_bytes.add(moved.received);
            counters.sent_bytes.add(moved.sent);
        });
        let moved = up.take_moved();
        counters.received_bytes.add(moved.received);
        counters.sent_bytes.add(moved.sent);
    }

    pub(crate) fn worker(&self) -> usize {
        self.local.worker()
    }

    pub(super) fn count_failure(&self, failure: Failure) {
        self.count_listener(|counters| {
            counters.failures.add(failure.reason());
            match failure {
                Failure::ClientGone | Failure::ClientStalled | Failure::ClientTooSlow => {
                    counters.client_aborts.increment()
                }
                _ if failure.fault() == Fault::Downstream => counters.bad_requests.increment(),
                _ => {}
            }
        });
        if let Some(route) = self.route {
            self.snapshot().routes[route].counters.of(self.worker()).failures.add(failure.reason());
        }
    }
}

/// Counts the outcome of connecting; what is not the endpoint's fault is not counted here.
pub(crate) fn count_connect<S>(counters: &EndpointCounters, connected: &Result<S, Failure>) {
    match connected {
        Ok(_) => counters.connects.increment(),
        Err(failure) if failure.is_of_connecting() || *failure == Failure::TryTimeout => {
            counters.failures.add(failure.reason());
            match failure {
                Failure::ConnectTimeout | Failure::TryTimeout => counters.connect_timeouts.increment(),
                _ => counters.connect_failures.increment(),
            }
        }
        Err(_) => {}
    }
}

pub(crate) fn count_endpoint_failure(counters: &EndpointCounters, failure: Failure) {
    if failure.fault() == Fault::Upstream {
        counters.failures.add(failure.reason());
    }
    match failure {
        Failure::ResponseHeadTimeout | Failure::TryTimeout | Failure::ResponseBodyTimeout => {
            counters.response_timeouts.increment();
        }
        Failure::UpstreamClosed | Failure::ResponseTruncated => counters.resets.increment(),
        _ if failure.fault() == Fault::Upstream => counters.bad_responses.increment(),
        _ => {}
    }
}
