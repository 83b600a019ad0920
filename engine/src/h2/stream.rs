//! One stream as the client's side of an exchange.

use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use corelane_http1::{HeadError, HeadLimits, HeadScanner, read_request};
use corelane_semantics::{BodyFraming, RequestHead};
use h2::ext::Protocol;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::Response;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, StatusCode, header};

use super::blocks::Blocks;
use super::intake::Intake;
use super::piece::{Load, Outbox, Piece, send_error};
use super::places::{InProgress, Place};
use super::turns::{Turn, Turns};
use super::{head, websocket};
use crate::io::Check;
use crate::message::{BodyBatch, BodyStep, ClientSignal, Downstream, Lent, Moved, ReceiveError, RelayError};

/// RFC 9218 §5.
const PRIORITY: HeaderName = HeaderName::from_static("priority");

/// See the module.
pub(crate) struct H2Downstream {
    request: Parts,
    body: Intake,
    /// A CONNECT.
    is_connect: bool,
    /// For a server that is asked for a WebSocket.
    key: Option<websocket::Key>,
    response: Sending,
    /// Whether the response has a body.
    sends_body: bool,
    outbox: Rc<Outbox>,
    /// Where the client has named priorities.
    turn: Option<Turn>,
    /// What waits for its turn.
    load: Option<Load>,
    /// For the head.
    blocks: Rc<Blocks>,
    /// Its number.
    stream: u32,
    place: Option<Place>,
}

/// Where the response stands.
enum Sending {
    Head(SendResponse<Piece>),
    Body(SendStream<Piece>),
}

impl H2Downstream {
    pub(super) fn new(
        request: http::Request<RecvStream>,
        respond: SendResponse<Piece>,
        blocks: Rc<Blocks>,
        in_progress: &InProgress,
        turns: &Rc<Turns>,
    ) -> Self {
        let (request, body) = request.into_parts();
        let is_connect = request.method == Method::CONNECT;
        let protocol = request.extensions.get::<Protocol>();
        let is_websocket =
            protocol.is_some_and(|it| it.as_str().as_bytes().eq_ignore_ascii_case(websocket::WEBSOCKET));
        let priority = request.headers.get(PRIORITY).map(HeaderValue::as_bytes);
        Self {
            turn: turns.enter(respond.stream_id().as_u32(), priority),
            load: None,
            request,
            body: if is_connect {
                Intake::of_tunnel(body, in_progress)
            } else {
                Intake::new(body, in_progress)
            },
            is_connect,
            key: is_websocket.then(websocket::random_key),
            stream: respond.stream_id().as_u32(),
            response: Sending::Head(respond),
            sends_body: false,
            outbox: Rc::default(),
            blocks,
            place: None,
        }
    }

    /// It has its place among those that are in progress.
    pub(super) fn enter(&mut self, in_progress: &Rc<InProgress>) {
        self.place = Some(in_progress.enter());
    }

    /// Whether the stream has ended before it was in progress.
    pub(super) fn is_reset(&mut self) -> bool {
        self.poll_reset(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    /// Ready when the stream has been reset, by whomever.
    fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.response {
            Sending::Head(respond) => respond.poll_reset(cx).map(drop),
            Sending::Body(stream) => stream.poll_reset(cx).map(drop),
        }
    }

    /// Sends a final head that `heads.rs` has written.
    fn send_head(&mut self, head: &[u8], is_end: bool) -> io::Result<()> {
        self.blocks.write(self.stream, head)?;
        // What it says is what has just been written.
        let begun = self.begin_response(Response::new(()), is_end);
        begun.inspect_err(|_| self.blocks.forget(self.stream))
    }

    fn begin_response(&mut self, response: Response<()>, is_end: bool) -> io::Result<()> {
        let Sending::Head(respond) = &mut self.response else {
            panic!("a response has one head");
        };
        self.response = Sending::Body(respond.send_response(response, is_end).map_err(send_error)?);
        Ok(())
    }

    /// Streams that are in progress on the connection, this one included.
    pub(crate) fn streams_in_progress(&self) -> usize {
        self.place.as_ref().map_or(0, Place::streams)
    }
}

impl Downstream for H2Downstream {
    /// There is none: each request has its stream.
    fn limit_pipeline(&mut self, _bytes_max: usize) {}

    fn poll_request_head(
        &mut self,
        _cx: &mut Context<'_>,
        lent: Lent<'_>,
        limits: &HeadLimits,
        head: &mut RequestHead,
        accept: &mut dyn FnMut(&RequestHead, &[u8]),
    ) -> Poll<Result<(), ReceiveError>> {
        let mut bytes = lent.buffers.take();
        let (has_body, key) = (!self.body.is_complete(), self.key.as_ref());
        let read = head::write_request(&self.request, has_body, key, limits.fields_max, &mut bytes)
            .and_then(|()| read_request(&mut HeadScanner::new(), &bytes, limits, head))
            .and_then(|place| place.ok_or(HeadError::NotOneHead));
        if read.is_ok() {
            accept(head, &bytes);
        }
        lent.buffers.give(bytes);
        Poll::Ready(read.map(drop).map_err(ReceiveError::from))
    }

    fn has_surplus(&self) -> bool {
        false
    }

    fn is_silent(&mut self, _check: Check) -> bool {
        true
    }

    /// Where the body ends h2 knows.
    fn start_body(&mut self, _framing: BodyFraming) {}

    fn lend_body(
        &mut self,
        _lent: Lent<'_>,
        accept: &mut dyn FnMut(&BodyBatch<'_>) -> io::Result<()>,
    ) -> Result<BodyStep, RelayError> {
        self.body.lend(accept)
    }

    fn take_small_body(&mut self, _lent: Lent<'_>, bytes_max: usize, out: &mut Vec<u8>) -> bool {
        self.body.take_small(bytes_max, out)
    }

    /// Nothing is in the scratch buffer.
    fn settle(&mut self, _lent: Lent<'_>) {}

    fn poll_request_body(
        &mut self,
        cx: &mut Context<'_>,
        _lent: Lent<'_>,
        accept: &mut dyn FnMut(&BodyBatch<'_>) -> io::Result<()>,
    ) -> Poll<Result<BodyStep, RelayError>> {
        self.body.poll(cx, accept)
    }

    fn is_request_complete(&self) -> bool {
        self.body.is_complete()
    }

    fn poll_client(&mut self, cx: &mut Context<'_>, _lent: Lent<'_>) -> Poll<ClientSignal> {
        self.poll_reset(cx).map(|()| ClientSignal::Gone)
    }

    fn send_interim(&mut self, head: &[u8], _lent: Lent<'_>) -> io::Result<()> {
        let mut response = head::read_response(head)?;
        // The answer to a CONNECT that is granted, and what follows is the tunnel.
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let accepted = response.headers_mut().remove(header::SEC_WEBSOCKET_ACCEPT);
            if let Some(key) = &self.key
                && accepted.is_none_or(|accepted| accepted.as_bytes() != websocket::accept_of(key))
            {
                return Err(io::ErrorKind::InvalidData.into());
            }
            *response.status_mut() = StatusCode::OK;
        }
        if !response.status().is_informational() {
            return self.begin_response(response, false);
        }
        let Sending::Head(respond) = &mut self.response else {
            panic!("an interim response comes before the head");
        };
        respond.send_informational(response).map_err(send_error)
    }

    fn start_response(&mut self, framing: BodyFraming, _closes: bool) {
        self.sends_body = framing != BodyFraming::None;
    }

    fn send_response(&mut self, head: &mut Vec<u8>, batch: &BodyBatch<'_>, lent: Lent<'_>) -> io::Result<()> {
        let says_nothing = !self.sends_body || (batch.bytes == 0 && batch.trailers.is_empty());
        let is_end = batch.end && says_nothing;
        if !head.is_empty() {
            if let Some(turn) = &self.turn
                && let Some(value) = head::field(head, PRIORITY.as_str().as_bytes())
            {
                turn.merge(value);
            }
            self.send_head(head, is_end)?;
            if is_end {
                return Ok(());
            }
        }
        let Sending::Body(stream) = &mut self.response else {
            panic!("a body follows a head");
        };
        if self.sends_body {
            let load = Load::of(batch, lent);
            if let Some(turn) = &self.turn
                && load.len() > 0
                && !turn.take(load.len())
            {
                self.load = Some(load);
                return Ok(());
            }
            return self.outbox.give(stream, load);
        }
        if is_end {
            self.outbox.finish(stream);
        }
        Ok(())
    }

    fn takes_pipes(&self) -> bool {
        false
    }

    fn is_blocked(&self) -> bool {
        self.load.is_some() || self.outbox.is_blocked()
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>, lent: Lent<'_>) -> Poll<io::Result<()>> {
        if self.poll_reset(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if let (Some(turn), Some(_), Sending::Body(stream)) = (&self.turn, &self.load, &mut self.response) {
            ready!(turn.poll(cx));
            self.load.take().map_or(Ok(()), |load| self.outbox.give(stream, load))?;
        }
        self.outbox.poll_empty(cx, lent).map(Ok)
    }

    /// Of bodies alone: the connection has the heads.
    fn accepted(&self) -> u64 {
        self.outbox.accepted()
    }

    /// What the kernel still holds is the connection's, not the stream's.
    fn taken(&self) -> u64 {
        self.accepted()
    }

    fn poll_left(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_reset(cx)
    }

    fn start_tunnel(&mut self) {
        self.sends_body = true;
        self.body.open_tunnel();
    }

    fn finish(&mut self) {
        if let Sending::Body(stream) = &mut self.response {
            self.outbox.finish(stream);
        }
    }

    fn reset(&mut self) {
        // RFC 8441 §5: as a tunnel's end is told.
        let reason = if self.is_connect { Reason::CANCEL } else { Reason::INTERNAL_ERROR };
        match &mut self.response {
            Sending::Head(respond) => respond.send_reset(reason),
            Sending::Body(stream) => stream.send_reset(reason),
        }
    }

    /// The connection counts what it moves.
    fn take_moved(&mut self) -> Moved {
        Moved::default()
    }
}
