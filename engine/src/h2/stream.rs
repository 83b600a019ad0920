//! One stream as the client's side of an exchange.
//!
//! What is received is given back to the client's windows when the other side has taken it. What is sent is copied once, into
//! pooled memory that the `h2` crate gets as a [`Piece`]: each of its bytes that goes out, and each that is thrown away with a
//! reset, is noted there. So an exchange knows without asking the connection whether the client takes what it has sent, and
//! sends nothing more while it does not: that bounds the memory of a stream.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes};
use corelane_http1::{HeadError, HeadLimits, HeadScanner, read_request};
use corelane_semantics::{BodyFraming, RequestHead};
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::request::Parts;
use http::{HeaderMap, Response};

use super::head;
use crate::io::Check;
use crate::message::{
    BATCH_SLICES_MAX, BodyBatch, BodyStep, ClientSignal, Downstream, Lent, Moved, ReceiveError, RelayError,
};

/// Bytes of a body on their way to the `h2` crate.
pub(super) struct Piece {
    bytes: Vec<u8>,
    gone: usize,
    outbox: Rc<Outbox>,
}

/// What a stream has given away and the connection not yet sent.
#[derive(Default)]
struct Outbox {
    waiting: Cell<usize>,
    accepted: Cell<u64>,
    /// The memory of the last piece, for the worker's free list.
    spare: RefCell<Vec<u8>>,
    waker: Cell<Option<Waker>>,
}

impl Piece {
    fn new(bytes: Vec<u8>, outbox: &Rc<Outbox>) -> Self {
        outbox.waiting.set(outbox.waiting.get() + bytes.len());
        Self { bytes, gone: 0, outbox: outbox.clone() }
    }
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.bytes.len() - self.gone
    }

    fn chunk(&self) -> &[u8] {
        &self.bytes[self.gone..]
    }

    fn advance(&mut self, count: usize) {
        assert!(count <= self.remaining(), "more sent than there is");
        self.gone += count;
        let Outbox { waiting, accepted, .. } = &*self.outbox;
        waiting.set(waiting.get() - count);
        accepted.set(accepted.get() + count as u64);
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        let Outbox { waiting, spare, waker, .. } = &*self.outbox;
        waiting.set(waiting.get() - self.remaining());
        spare.replace(std::mem::take(&mut self.bytes));
        if let Some(waker) = waker.take().filter(|_| waiting.get() == 0) {
            waker.wake();
        }
    }
}

/// Streams that have not ended for us: a client that resets one does not get its place before the exchange is over.
pub(crate) struct InProgress {
    count: Cell<usize>,
    driver: Cell<Option<Waker>>,
}

impl InProgress {
    pub(super) fn new() -> Rc<Self> {
        Rc::new(Self { count: Cell::new(0), driver: Cell::new(None) })
    }

    pub(super) fn count(&self) -> usize {
        self.count.get()
    }

    /// Ready when none is left.
    pub(crate) fn poll_none(&self, cx: &Context<'_>) -> Poll<()> {
        self.watch(cx);
        if self.count() == 0 { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Wakes the connection's task when one ends.
    pub(super) fn watch(&self, cx: &Context<'_>) {
        self.driver.set(Some(cx.waker().clone()));
    }

    fn enter(self: &Rc<Self>) -> Place {
        self.count.set(self.count() + 1);
        Place(self.clone())
    }
}

struct Place(Rc<InProgress>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.count.set(self.0.count() - 1);
        if let Some(driver) = self.0.driver.take() {
            driver.wake();
        }
    }
}

/// See the module.
pub(crate) struct H2Downstream {
    request: Parts,
    body: RecvStream,
    /// Received and not yet handed on: [`BATCH_SLICES_MAX`] pieces at most, the rest stays in h2.
    held: Vec<Bytes>,
    /// The end has been received, with these trailers behind what is held.
    trailers: Option<Vec<u8>>,
    /// Handed on, and not yet given back to the client's windows.
    unreleased: usize,
    /// All of it has been handed on.
    is_request_complete: bool,
    response: Sending,
    /// Whether the response has a body.
    sends_body: bool,
    outbox: Rc<Outbox>,
    _place: Place,
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
        in_progress: &Rc<InProgress>,
    ) -> Self {
        let (request, body) = request.into_parts();
        Self {
            request,
            is_request_complete: body.is_end_stream(),
            body,
            held: Vec::new(),
            trailers: None,
            unreleased: 0,
            response: Sending::Head(respond),
            sends_body: false,
            outbox: Rc::default(),
            _place: in_progress.enter(),
        }
    }

    /// Gives what was handed on back to the client's windows.
    fn release(&mut self) {
        let released = std::mem::take(&mut self.unreleased);
        // An error means that the stream has ended, and its share of the window with it.
        let _ = self.body.flow_control().release_capacity(released);
    }

    /// Takes what there is of the body from h2, for which the task is woken when there is more.
    fn collect(&mut self, cx: &mut Context<'_>) -> Result<(), ReceiveError> {
        while self.held.len() < BATCH_SLICES_MAX && self.trailers.is_none() && !self.is_request_complete {
            match self.body.poll_data(cx) {
                Poll::Ready(Some(Ok(piece))) => self.held.push(piece),
                Poll::Ready(Some(Err(error))) if self.held.is_empty() => return Err(receive_error(error)),
                // What came before is handed on first, and the error comes again.
                Poll::Ready(Some(Err(_))) | Poll::Pending => break,
                Poll::Ready(None) => match self.body.poll_trailers(cx) {
                    Poll::Ready(trailers) => self.trailers = Some(lines_of(trailers)?),
                    Poll::Pending => break,
                },
            }
        }
        if self.trailers.is_none() && self.body.is_end_stream() {
            self.trailers = Some(Vec::new());
        }
        Ok(())
    }

    /// Hands on what is held.
    fn hand_on(
        &mut self,
        accept: &mut dyn FnMut(&BodyBatch<'_>) -> io::Result<()>,
    ) -> Result<BodyStep, RelayError> {
        let mut batch = BodyBatch::default();
        self.held.iter().for_each(|piece| batch.push(piece));
        batch.end = self.trailers.is_some() || self.is_request_complete;
        batch.trailers = self.trailers.clone().unwrap_or_default();
        accept(&batch).map_err(|_| RelayError::Send)?;
        self.is_request_complete = batch.end;
        self.unreleased += self.held.iter().map(Bytes::len).sum::<usize>();
        self.held.clear();
        self.trailers = None;
        Ok(if self.is_request_complete { BodyStep::End } else { BodyStep::More })
    }

    /// Ready when the stream has been reset, by whomever.
    fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.response {
            Sending::Head(respond) => respond.poll_reset(cx).map(drop),
            Sending::Body(stream) => stream.poll_reset(cx).map(drop),
        }
    }

    fn send_head(&mut self, response: Response<()>, is_end: bool) -> io::Result<()> {
        let Sending::Head(respond) = &mut self.response else {
            panic!("a response has one head");
        };
        self.response = Sending::Body(respond.send_response(response, is_end).map_err(send_error)?);
        Ok(())
    }
}

/// Trailers as lines.
fn lines_of(trailers: Result<Option<HeaderMap>, h2::Error>) -> Result<Vec<u8>, ReceiveError> {
    let mut lines = Vec::new();
    if let Some(trailers) = trailers.map_err(receive_error)? {
        head::write_trailers(&trailers, &mut lines)?;
    }
    Ok(lines)
}

/// A stream ends early by a reset, or with its connection.
fn receive_error(error: h2::Error) -> ReceiveError {
    error.into_io().map_or(ReceiveError::Closed, ReceiveError::Io)
}

fn send_error(error: h2::Error) -> io::Error {
    error.into_io().unwrap_or_else(|| io::ErrorKind::ConnectionReset.into())
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
        let read =
            head::write_request(&self.request, !self.is_request_complete, limits.fields_max, &mut bytes)
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
        self.collect(&mut Context::from_waker(Waker::noop())).map_err(RelayError::Receive)?;
        self.hand_on(accept)
    }

    fn take_small_body(&mut self, _lent: Lent<'_>, bytes_max: usize, out: &mut Vec<u8>) -> bool {
        let collected = self.collect(&mut Context::from_waker(Waker::noop()));
        let length: usize = self.held.iter().map(Bytes::len).sum();
        let is_whole = self.trailers.as_ref().is_some_and(Vec::is_empty) && length <= bytes_max;
        if collected.is_err() || !is_whole {
            return false;
        }
        let taken = self.hand_on(&mut |batch| {
            batch.slices().for_each(|slice| out.extend_from_slice(slice));
            Ok(())
        });
        self.release();
        taken.is_ok()
    }

    /// Nothing is in the scratch buffer.
    fn settle(&mut self, _lent: Lent<'_>) {}

    fn poll_request_body(
        &mut self,
        cx: &mut Context<'_>,
        _lent: Lent<'_>,
        accept: &mut dyn FnMut(&BodyBatch<'_>) -> io::Result<()>,
    ) -> Poll<Result<BodyStep, RelayError>> {
        // Nothing is received for a side that is blocked: what was handed on before has been taken.
        self.release();
        self.collect(cx).map_err(RelayError::Receive)?;
        if self.held.is_empty() && self.trailers.is_none() {
            return Poll::Pending;
        }
        Poll::Ready(self.hand_on(accept))
    }

    fn is_request_complete(&self) -> bool {
        self.is_request_complete
    }

    fn poll_client(&mut self, cx: &mut Context<'_>, _lent: Lent<'_>) -> Poll<ClientSignal> {
        self.poll_reset(cx).map(|()| ClientSignal::Gone)
    }

    fn send_interim(&mut self, head: &[u8], _lent: Lent<'_>) -> io::Result<()> {
        let response = head::read_response(head)?;
        // The answer to a CONNECT that is granted: what follows is the tunnel.
        if !response.status().is_informational() {
            return self.send_head(response, false);
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
        let bytes = if self.sends_body { batch.bytes } else { 0 };
        let has_trailers = self.sends_body && !batch.trailers.is_empty();
        let is_end = batch.end && !has_trailers;
        if !head.is_empty() {
            let ends = is_end && bytes == 0;
            self.send_head(head::read_response(head)?, ends)?;
            if ends {
                return Ok(());
            }
        }
        let Sending::Body(stream) = &mut self.response else {
            panic!("a body follows a head");
        };
        if bytes > 0 || is_end {
            let mut piece = lent.buffers.take();
            if bytes > 0 {
                batch.slices().for_each(|slice| piece.extend_from_slice(slice));
            }
            stream.send_data(Piece::new(piece, &self.outbox), is_end).map_err(send_error)?;
        }
        if has_trailers {
            let lines = Bytes::copy_from_slice(&batch.trailers);
            stream.send_trailers(head::read_fields(&lines)?).map_err(send_error)?;
        }
        Ok(())
    }

    fn takes_pipes(&self) -> bool {
        false
    }

    fn is_blocked(&self) -> bool {
        self.outbox.waiting.get() > 0
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>, lent: Lent<'_>) -> Poll<io::Result<()>> {
        lent.buffers.give(self.outbox.spare.take());
        if self.poll_reset(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if !self.is_blocked() {
            return Poll::Ready(Ok(()));
        }
        self.outbox.waker.set(Some(cx.waker().clone()));
        Poll::Pending
    }

    /// Of bodies alone: what its heads take is compressed together with those of other streams.
    fn accepted(&self) -> u64 {
        self.outbox.accepted.get()
    }

    /// What the kernel still holds is the connection's, not the stream's.
    fn taken(&self) -> u64 {
        self.accepted()
    }

    fn start_tunnel(&mut self) {
        self.sends_body = true;
    }

    fn finish(&mut self) {
        if let Sending::Body(stream) = &mut self.response {
            // An error means that nobody is there to see the end.
            let _ = stream.send_data(Piece::new(Vec::new(), &self.outbox), true);
        }
    }

    fn reset(&mut self) {
        match &mut self.response {
            Sending::Head(respond) => respond.send_reset(Reason::INTERNAL_ERROR),
            Sending::Body(stream) => stream.send_reset(Reason::INTERNAL_ERROR),
        }
    }

    /// The connection counts what it moves.
    fn take_moved(&mut self) -> Moved {
        Moved::default()
    }
}
