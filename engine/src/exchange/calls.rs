//! Requests that are calls (gRPC): how long they may take, how they end, and what their clients are told of failures.
//!
//! A client of gRPC learns how its call has ended from `grpc-status`, in the trailers of a response with status 200 or, where
//! there is nothing else to say, in its head. So that is how Corelane's own failures are told, and what is made of an
//! endpoint's answers: one that ends a call with `UNAVAILABLE` has answered 503 for all that judges it or asks again.

use corelane_filters::Body;
use corelane_grpc::web::{self, TextEncoder};
use corelane_grpc::{Dialect, Status, deadline, write_message};
use corelane_http1::write_field;
use corelane_semantics::{BodyFraming, RequestHead, ResponseHead, Span};

use super::{Exchange, Next, Phase};
use crate::caller::Caller;
use crate::core::{Core, due_ms};
use crate::failure::Failure;
use crate::grpc_web::{Dialects, GrpcWeb};
use crate::h2::H2Upstream;
use crate::io::{Dial, clock};
use crate::message::{BodyBatch, Downstream};
use crate::own_answer::CallAnswer;
use crate::reason::Word;

/// What an exchange knows of its call; nothing, if it is none.
#[derive(Default)]
pub(super) struct Call {
    /// How its client wants to be answered.
    dialect: Option<Dialect>,
    /// What is translated for the endpoint.
    translation: Option<Dialects>,
    /// What the head of its answer says, or Corelane.
    status: Option<Status>,
    /// Nothing of a message has gone out without the rest of it, as far as that is known: trailers in the body would be taken
    /// for its end.
    is_between_messages: bool,
    /// The exchange's time is what the client has set.
    has_deadline: bool,
}

impl Call {
    #[inline(always)]
    pub(super) fn is_some(&self) -> bool {
        self.dialect.is_some()
    }

    /// What is translated for the endpoint.
    #[inline(always)]
    pub(super) fn translation(&self) -> Option<Dialects> {
        self.translation
    }
}

impl<S: Dial, D: Downstream> Exchange<S, D> {
    /// Looks whether a request is a call, and how long its client waits for it.
    #[inline(never)]
    pub(super) fn note_call(&mut self, head: &RequestHead, bytes: &[u8], is_translated: bool) {
        let field = |name: &[u8]| {
            let field = head.fields.lines().iter().find(|it| it.name.bytes(bytes).eq_ignore_ascii_case(name));
            field.map(|field| field.value.bytes(bytes))
        };
        let request = field(b"content-type").and_then(Dialect::of);
        // A client of gRPC-Web says by Accept if it wants another form than it sends.
        let wanted = field(b"accept").and_then(Dialect::of).filter(|it| *it != Dialect::Grpc);
        self.call.dialect = request.map(|request| match request {
            Dialect::Grpc => Dialect::Grpc,
            request => wanted.unwrap_or(request),
        });
        let web =
            request.zip(self.call.dialect).filter(|(request, _)| is_translated && *request != Dialect::Grpc);
        self.call.translation = web.map(|(request, response)| Dialects { request, response });
        if self.call.is_some()
            && let Some(asked_ms) = field(b"grpc-timeout").and_then(deadline::milliseconds)
        {
            let (asked_ms, request_ms) = (asked_ms.max(1), &mut self.timeouts.request_ms);
            if *request_ms == 0 || asked_ms < *request_ms {
                *request_ms = asked_ms;
                self.call.has_deadline = true;
            }
        }
    }

    /// What has ended a wait, where that was the time that the client of a call has set: nobody's fault.
    #[cold]
    pub(super) fn ended_by(&self, failure: Failure) -> Failure {
        let is_deadline = self.call.has_deadline
            && matches!(failure, Failure::RequestTimeout | Failure::RequestBodyTimeout)
            && clock::coarse_ms() >= due_ms(self.started_ms, self.timeouts.request_ms);
        if is_deadline { Failure::CallTimeout } else { failure }
    }

    /// Looks how a call has ended whose answer is nothing but a head.
    ///
    /// # Errors
    ///
    /// It goes to another endpoint.
    #[inline(never)]
    pub(super) fn note_call_head(&mut self, head: &ResponseHead, bytes: &[u8]) -> Result<(), Failure> {
        let lines = Span { start: head.fields_start, end: head.fields_end };
        self.call.status = Status::in_lines(lines.bytes(bytes));
        let status = self.call.status.map_or(200, Status::to_http);
        if head.status == 200 && status >= 400 && self.retries_status(status) {
            return Err(Failure::StatusRetried(status));
        }
        Ok(())
    }

    /// The status that the endpoint has answered with; that of a call is how it has ended.
    #[inline(always)]
    pub(super) fn judged_status(&self) -> u16 {
        if self.call.is_some() { self.status_of_call() } else { self.status }
    }

    #[inline(never)]
    fn status_of_call(&self) -> u16 {
        match self.said_status() {
            Some(status) if self.status == 200 => status.to_http(),
            _ => self.status,
        }
    }

    /// Takes over what the translation of a call has met.
    ///
    /// # Errors
    ///
    /// It could not be translated.
    #[cold]
    pub(super) fn note_translated(&mut self, web: &GrpcWeb<H2Upstream>) -> Result<(), Failure> {
        self.call.status = web.status();
        self.call.is_between_messages = web.is_between_messages();
        if web.is_broken() { Err(Failure::CallText) } else { Ok(()) }
    }

    /// What head or trailers have said.
    fn said_status(&self) -> Option<Status> {
        self.call.status.or_else(|| self.response_trailers.call_status())
    }

    /// How a call has ended for its client; `None`: it is no call, or its status is in a body that passes unread.
    pub(crate) fn call_status(&self) -> Option<Status> {
        let dialect = self.call.dialect?;
        let unsaid = || match self.failure {
            Some(failure) => Some(of_failure(failure)),
            None if self.status != 200 => Some(Status::of_http(self.status)),
            None => (dialect == Dialect::Grpc || self.call.translation.is_some()).then_some(Status::Unknown),
        };
        self.said_status().or_else(unsaid)
    }

    /// Counts a call that is over.
    #[inline(never)]
    pub(super) fn count_call(&self) {
        if let Some((upstream, status)) = self.upstream.zip(self.call_status()) {
            self.snapshot().upstreams[upstream].counters.of(self.worker()).calls.add(status);
        }
    }

    /// Writes the answer to a call that Corelane ends itself, if it is one and the answer a failure.
    #[cold]
    pub(super) fn write_call_answer(&mut self, core: &Core<S>, failure: Failure, out: &mut Vec<u8>) -> bool {
        let Some(dialect) = self.call.dialect.filter(|_| !matches!(self.status, 200..=299)) else {
            return false;
        };
        let local = self.local.clone();
        let edits = self.filter_own_response(&local, failure);
        let status = of_failure(failure);
        let text = match edits.as_ref().and_then(|edits| edits.answer()).map(|answer| answer.body) {
            Some(Body::Text(text)) if text.len() <= MESSAGE_BYTES_MAX => Some(text),
            _ => None,
        };
        let own = self.own_message(core, failure);
        let answer = CallAnswer {
            dialect,
            status,
            message: text.unwrap_or(own.as_bytes()),
            edits: edits.as_deref().map(|edits| &edits.response),
            persistence: self.persistence,
        };
        core.with_date(|date| answer.write(date, out));
        drop(edits);
        self.call.status = Some(status);
        self.status = 200;
        true
    }

    /// Ends a call whose response has begun, so that its client learns why; returns what becomes of the connection, or `None`
    /// if it cannot be told.
    #[cold]
    pub(super) async fn end_call(&mut self, caller: &mut Caller<'_, S, D>, failure: Failure) -> Option<Next> {
        let dialect = self.call.dialect?;
        let may_follow = dialect == Dialect::Grpc || self.call.is_between_messages;
        if self.phase != Phase::Body || self.response_framing != BodyFraming::Chunked || !may_follow {
            return None;
        }
        let core = caller.core.clone();
        let (status, mut lines) = (of_failure(failure), Vec::new());
        write_field(&mut lines, b"grpc-status", status.digits().as_bytes());
        lines.extend_from_slice(b"grpc-message: ");
        write_message(self.own_message(&core, failure).as_bytes(), &mut lines);
        lines.extend_from_slice(b"\r\n");
        let body = trailers_frame(dialect, &lines);
        let trailers = if dialect == Dialect::Grpc { lines } else { Vec::new() };
        let batch = BodyBatch::of(&body, true, trailers);
        self.call.status = Some(status);
        let sent = caller.down.send_response(&mut Vec::new(), &batch, core.lent());
        if sent.is_err() || !self.flush_answer(caller).await {
            return Some(Next::Abort);
        }
        Some(Next::Linger)
    }

    fn own_message(&self, core: &Core<S>, failure: Failure) -> String {
        let id = self.request_id(core);
        format!("{} (request {})", failure.reason().name(), id.escape_ascii())
    }
}

/// The body that says trailers in a client's dialect; nothing, where they are trailers.
fn trailers_frame(dialect: Dialect, lines: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    if dialect == Dialect::Grpc {
        return frame;
    }
    web::write_trailers(lines, &mut frame);
    if dialect == Dialect::Web {
        return frame;
    }
    let (mut encoder, mut text) = (TextEncoder::default(), Vec::new());
    encoder.encode(&frame, &mut text);
    encoder.end(&mut text);
    text
}

/// How a call ends by a failure.
fn of_failure(failure: Failure) -> Status {
    match failure {
        Failure::ClientGone | Failure::ClientStalled | Failure::ClientTooSlow => Status::Cancelled,
        // Nothing was sent, or not all of it: the server has not taken its time.
        Failure::ConnectTimeout | Failure::UpstreamStalled => Status::Unavailable,
        failure => Status::of_http(failure.status()),
    }
}

/// A longer text of a filter is a page, and no message.
const MESSAGE_BYTES_MAX: usize = 1024;

impl Word for Status {
    const ALL: &'static [Self] = &Self::ALL;

    fn index(self) -> usize {
        usize::from(self as u8)
    }

    fn name(self) -> &'static str {
        self.word()
    }
}
