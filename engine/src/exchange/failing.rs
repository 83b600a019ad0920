//! What follows from a failure: an answer where one can still be given, and what becomes of the connection.

use std::future::poll_fn;
use std::task::Poll;

use corelane_filters::Body;
use corelane_semantics::{BodyFraming, Method};

use super::{Exchange, Next, Phase};
use crate::caller::Caller;
use crate::core::{Core, due};
use crate::error_page::Facts;
use crate::failure::Failure;
use crate::io::{Dial, clock};
use crate::message::{BodyBatch, Downstream};
use crate::own_answer::{Content, OwnAnswer, page_for};

impl<S: Dial, D: Downstream> Exchange<S, D> {
    /// Answers a failure, if the response has not begun, and decides about the connection.
    pub(super) async fn fail(&mut self, caller: &mut Caller<'_, S, D>, failure: Failure) -> Next {
        self.release();
        let failure = match failure {
            // A filter's answer with 2xx would be taken for a tunnel.
            _ if self.is_connect && matches!(failure.status(), 200..=299) => Failure::UpgradeRefused,
            // The connection was cut with all its streams.
            Failure::ClientGone if caller.core.cutting.get() => Failure::DrainTimeout,
            failure => failure,
        };
        self.settle_failed(caller.core, failure);
        if failure.is_failure() {
            self.failure = Some(failure);
            self.count_failure(failure);
        }
        caller.down.settle(caller.core.lent());
        if self.phase == Phase::Switched {
            // Its end has told both sides.
            return Next::Close;
        }
        if matches!(failure, Failure::ClientGone | Failure::ClientStalled | Failure::ClientTooSlow) {
            self.status = if self.status == 0 { failure.status() } else { self.status };
            return if failure == Failure::ClientGone { Next::Close } else { Next::Abort };
        }
        if self.phase != Phase::Head {
            if self.call.is_some()
                && let Some(next) = self.end_call(caller, failure).await
            {
                return next;
            }
            // The response has begun: only its framing, or a reset, can tell the client that it is not complete.
            return if self.response_framing == BodyFraming::UntilClose { Next::Abort } else { Next::Close };
        }
        self.status = failure.status();
        let discarded = !failure.ends_connection() && self.discard_body(caller);
        self.request_complete = discarded;
        let core = caller.core.clone();
        self.persistence = self.persistence_with(&core, true);
        let mut out = core.buffers.take();
        let is_told = self.call.is_some() && self.write_call_answer(&core, failure, &mut out);
        let body_bytes = if is_told { 0 } else { self.write_answer(&core, failure, &mut out) };
        self.keep_own_answer(&out, body_bytes);
        let (head_bytes, mut body) = (out.len() - body_bytes, core.buffers.take());
        body.extend_from_slice(&out[head_bytes..]);
        out.truncate(head_bytes);
        caller.down.start_response(BodyFraming::Length(body_bytes as u64), false);
        let batch = BodyBatch::of(&body, true, Vec::new());
        let sent = caller.down.send_response(&mut out, &batch, core.lent());
        core.buffers.give(out);
        core.buffers.give(body);
        if sent.is_err() || !self.flush_answer(caller).await {
            return Next::Abort;
        }
        if self.persistence.stays() { Next::Keep } else { Next::Linger }
    }

    /// Returns the length of its body.
    // Exchanges over HTTP/1 and over HTTP/2 call it, which would make it a call for both.
    #[inline(always)]
    fn write_answer(&self, core: &Core<S>, failure: Failure, out: &mut Vec<u8>) -> usize {
        let (status, listener) = (self.status, self.listener());
        let edits = self.filter_own_response(&self.local, failure);
        let page = || Content::Page(page_for(&listener.error_pages, status, &self.head[self.head_start..]));
        let content = match edits.as_ref().and_then(|edits| edits.answer()).map(|answer| answer.body) {
            Some(Body::Empty) => Content::Empty,
            Some(Body::Text(text)) => Content::Text(text),
            Some(Body::Page) | None => page(),
        };
        let answer = OwnAnswer {
            facts: Facts { status, reason: failure.reason(), request_id: &self.request_id(core) },
            content,
            edits: edits.as_deref().map(|edits| &edits.response),
            persistence: self.persistence,
            methods_refused: &listener.rules.methods_refused,
            retry_after_s: failure.retry_after_s(),
            with_body: self.method != Method::Head,
        };
        core.with_date(|date| answer.write(date, out))
    }

    /// Whether the rest of the request's body is there, and gone now.
    fn discard_body(&self, caller: &mut Caller<'_, S, D>) -> bool {
        while !caller.down.is_request_complete() {
            let had = caller.down.has_surplus();
            let read = caller.down.lend_body(caller.core.lent(), &mut |_| Ok(()));
            if read.is_err() || !had {
                return false;
            }
        }
        true
    }

    pub(super) async fn flush_answer(&self, caller: &mut Caller<'_, S, D>) -> bool {
        let (core, down, timer) = caller.parts();
        let due_ms = due(clock::coarse_ms(), self.listener().send_timeout);
        poll_fn(|cx| match down.poll_flush(cx, core.lent()) {
            Poll::Ready(flushed) => Poll::Ready(flushed.is_ok()),
            Poll::Pending => timer.poll_until(cx, due_ms).map(|()| false),
        })
        .await
    }
}
