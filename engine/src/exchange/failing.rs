//! What follows from a failure: an answer where one can still be given, and what becomes of the connection.

use std::future::poll_fn;
use std::task::Poll;

use corelane_filters::Body;
use corelane_semantics::{BodyFraming, Method};

use super::{Exchange, Next, Phase};
use crate::core::{Core, due};
use crate::error_page::Facts;
use crate::failure::Failure;
use crate::io::{Dial, clock};
use crate::message::{BodyBatch, Downstream};
use crate::own_answer::{Content, OwnAnswer, page_for};
use crate::session::Session;

impl<S: Dial> Exchange<S> {
    /// Answers a failure, if the response has not begun, and decides about the connection.
    pub(super) async fn fail(&mut self, session: &mut Session<S>, failure: Failure) -> Next {
        self.release();
        self.settle_failed(&session.core, failure);
        if failure.is_failure() {
            self.failure = Some(failure);
            self.count_failure(failure);
        }
        session.down.settle(session.core.lent());
        if self.phase == Phase::Switched {
            // Its end has told both sides.
            return Next::Close;
        }
        if matches!(failure, Failure::ClientGone | Failure::ClientStalled | Failure::ClientTooSlow) {
            self.status = if self.status == 0 { failure.status() } else { self.status };
            return if failure == Failure::ClientGone { Next::Close } else { Next::Abort };
        }
        if self.phase != Phase::Head {
            // The response has begun: only its framing, or a reset, can tell the client that it is not complete.
            return if self.response_framing == BodyFraming::UntilClose { Next::Abort } else { Next::Close };
        }
        self.status = failure.status();
        let discarded = !failure.ends_connection() && self.discard_body(session);
        self.request_complete = discarded;
        let core = session.core.clone();
        self.persistence = self.persistence_with(&core, true);
        let mut out = core.buffers.take();
        let body_bytes = self.write_answer(&core, failure, &mut out);
        self.keep_own_answer(&out, body_bytes);
        session.down.start_response(BodyFraming::None, false);
        let nothing = BodyBatch::default();
        let sent = session.down.send_response(&mut out, &nothing, core.lent());
        core.buffers.give(out);
        if sent.is_err() || !self.flush_answer(session).await {
            return Next::Abort;
        }
        if self.persistence.stays() { Next::Keep } else { Next::Linger }
    }

    /// Returns the length of its body.
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
    fn discard_body(&self, session: &mut Session<S>) -> bool {
        while !session.down.is_request_complete() {
            let had = session.down.has_surplus();
            let read = session.down.lend_body(session.core.lent(), &mut |_| Ok(()));
            if read.is_err() || !had {
                return false;
            }
        }
        true
    }

    async fn flush_answer(&self, session: &mut Session<S>) -> bool {
        let Session { core, down, timer, .. } = session;
        let due_ms = due(clock::coarse_ms(), self.listener().send_timeout);
        poll_fn(|cx| match down.poll_flush(cx, core.lent()) {
            Poll::Ready(flushed) => Poll::Ready(flushed.is_ok()),
            Poll::Pending => timer.poll_until(cx, due_ms).map(|()| false),
        })
        .await
    }
}
