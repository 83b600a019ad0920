//! What the access log is told of an exchange, and when.

use corelane_filters::Edits;
use corelane_semantics::RequestHead;

use super::Exchange;
use crate::action::SHARE_ALL;
use crate::caller::Caller;
use crate::heads::{ClientAddress, Sender};
use crate::io::Dial;
use crate::message::Downstream;
use crate::record::{AccessLog, Asked, Keeping, LogPolicy, Record, keep_response};

impl<S: Dial, D: Downstream> Exchange<S, D> {
    /// Keeps what records say of the request's head, in front of the head that goes upstream.
    #[inline]
    pub(super) fn keep_request_words(
        &mut self,
        head: &RequestHead,
        bytes: &[u8],
        (client, sender): (&ClientAddress, Sender),
        edits: Option<&Edits>,
    ) {
        let Some(log) = &self.local.snapshot().access_log else { return };
        let words = &log.format.words.request;
        if words.is_empty() {
            return;
        }
        let (user, api_key) = edits.map_or((&[][..], &[][..]), |edits| (edits.user(), edits.api_key()));
        Keeping { head, bytes, sender, is_http2: client.is_http2(), user, api_key }
            .keep(words, &mut self.head);
        self.kept.request = self.end_kept();
    }

    /// Keeps what records say of a response's head as it goes to the client, behind everything that is sent upstream.
    #[inline]
    pub(super) fn keep_response_words(&mut self, written: &[u8]) {
        let Some(log) = &self.local.snapshot().access_log else { return };
        let names = &log.format.words.response;
        if names.is_empty() {
            return;
        }
        let start = self.head.len();
        keep_response(written, names, &mut self.head);
        self.kept.response = corelane_semantics::Span::new(start, self.head.len());
    }

    /// The same for an answer of Corelane's own, which has a body of this length.
    pub(super) fn keep_own_answer(&mut self, written: &[u8], body_bytes: usize) {
        self.keep_response_words(written);
        self.kept.own_body_bytes = body_bytes as u64;
    }

    // A function of its own, so that profiles tell what the log costs.
    #[inline(never)]
    pub(super) fn log(&self, caller: &Caller<'_, S, D>) {
        let Some(log) = self.snapshot().access_log.as_deref() else { return };
        let Some(share) = self.sample(log) else {
            caller.core.counters().log_skipped.increment();
            return;
        };
        let (names, request_id) = (self.local.log_names(), self.request_id(caller.core));
        let record = Record {
            exchange: self,
            client: caller.client,
            connection_requests: caller.requests,
            // Heads and framing included.
            sent_bytes: caller.down.accepted() - self.sent_before,
            names,
            request_id,
            log,
            share,
        };
        caller.core.log_record(|batch, opening| record.write(batch, opening));
    }

    /// The share of requests like this one that have a record, if this one has.
    #[inline(always)]
    fn sample(&self, log: &AccessLog) -> Option<u32> {
        let policy = match self.route {
            Some(route) => &self.snapshot().routes[route].log,
            None => &log.unrouted,
        };
        match policy {
            LogPolicy::Off => None,
            LogPolicy::Rules(held) if held.is_empty() => Some(SHARE_ALL),
            LogPolicy::Rules(held) => {
                let asked = Asked {
                    status: self.status,
                    method: self.method,
                    method_token: self.words.method.bytes(&self.head),
                    duration_ns: self.times.duration_ns(),
                    has_failed: self.failure.is_some(),
                };
                self.local.log_spreads().sample(&log.sampling, held, &asked)
            }
        }
    }
}
