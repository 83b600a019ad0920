//! Bodies on their way in. What is received is given back to the peer's windows when the other side has taken it.
//!
//! A piece that h2 has received keeps all the memory that was received at once alive, however small it is. So what nobody takes for
//! long is copied together now and then ([`Body::compact`]): whatever the peer's frames are like, it takes twice its own length.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use h2::{Reason, RecvStream};
use http::HeaderMap;

use super::head;
use super::places::InProgress;
use crate::message::{BATCH_SLICES_MAX, BodyBatch, BodyStep, ReceiveError, RelayError};

/// A body that is being received, if there is one. Its connection knows of it.
pub(super) struct Intake(Option<Rc<RefCell<Body>>>);

impl Intake {
    pub(super) fn new(body: RecvStream, in_progress: &InProgress) -> Self {
        if body.is_end_stream() { Self(None) } else { Self::known(Body::new(body), in_progress) }
    }

    /// Of a request for a tunnel: what comes is nobody's until there is one.
    pub(super) fn of_tunnel(body: RecvStream, in_progress: &InProgress) -> Self {
        Self::known(Body { is_complete: true, ..Body::new(body) }, in_progress)
    }

    fn known(body: Body, in_progress: &InProgress) -> Self {
        let body = Rc::new(RefCell::new(body));
        in_progress.know(&body);
        Self(Some(body))
    }

    /// What comes is the tunnel's from here on.
    pub(super) fn open_tunnel(&mut self) {
        if let Some(body) = &self.0 {
            let body = &mut *body.borrow_mut();
            (body.is_complete, body.is_tunnel) = (false, true);
        }
    }

    /// How the peer has reset the stream, if that is why the body ends early.
    pub(super) fn reset_by(&self) -> Option<Reason> {
        self.0.as_ref().and_then(|body| body.borrow().reset_by)
    }

    /// Whether all of it has been handed on.
    pub(super) fn is_complete(&self) -> bool {
        self.0.as_ref().is_none_or(|body| body.borrow().is_complete)
    }

    /// Hands on what is there, without waiting. If `accept` fails, it counts as not handed on.
    pub(super) fn lend(
        &mut self,
        accept: &mut dyn FnMut(&BodyBatch<'_>) -> io::Result<()>,
    ) -> Result<BodyStep, RelayError> {
        match &self.0 {
            Some(body) => body.borrow_mut().lend(accept),
            None => accept(&BodyBatch::end()).map(|()| BodyStep::End).map_err(|_| RelayError::Send),
        }
    }

    /// Hands on what there is, when there is something.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        accept: &mut dyn FnMut(&BodyBatch<'_>) -> io::Result<()>,
    ) -> Poll<Result<BodyStep, RelayError>> {
        match &self.0 {
            Some(body) => body.borrow_mut().poll(cx, accept),
            None => Poll::Ready(self.lend(accept)),
        }
    }

    /// Appends the whole body to `out` if it is there and not larger than `bytes_max`.
    pub(super) fn take_small(&mut self, bytes_max: usize, out: &mut Vec<u8>) -> bool {
        self.0.as_ref().is_none_or(|body| body.borrow_mut().take_small(bytes_max, out))
    }
}

/// See [`Intake`].
pub(super) struct Body {
    body: RecvStream,
    /// Received and not yet handed on: [`BATCH_SLICES_MAX`] pieces at most, the rest stays in h2.
    held: Vec<Bytes>,
    /// What stands between those and the rest, in memory of its own.
    compacted: Vec<u8>,
    /// The task that waits for more.
    waker: Option<Waker>,
    /// The end has been received, with these trailers behind what is held.
    trailers: Option<Vec<u8>>,
    /// Handed on, and not yet given back to the peer's windows.
    unreleased: usize,
    /// All of it has been handed on.
    is_complete: bool,
    is_tunnel: bool,
    /// How the peer has reset the stream.
    reset_by: Option<Reason>,
}

impl Body {
    fn new(body: RecvStream) -> Self {
        Self {
            body,
            held: Vec::new(),
            compacted: Vec::new(),
            waker: None,
            trailers: None,
            unreleased: 0,
            is_complete: false,
            is_tunnel: false,
            reset_by: None,
        }
    }

    /// Puts what was received into memory of its own. It stays a part of the peer's windows.
    pub(super) fn compact(&mut self) {
        let Self { body, held, compacted, .. } = self;
        if !held.is_empty() {
            let behind = std::mem::take(compacted);
            held.drain(..).for_each(|piece| compacted.extend_from_slice(&piece));
            compacted.extend_from_slice(&behind);
        }
        if self.trailers.is_some() {
            return;
        }
        // It is who waits that h2 is to wake for more, as before.
        let mut cx = Context::from_waker(self.waker.as_ref().unwrap_or(Waker::noop()));
        while let Poll::Ready(Some(Ok(piece))) = body.poll_data(&mut cx) {
            compacted.extend_from_slice(&piece);
        }
    }

    fn lend(
        &mut self,
        accept: &mut dyn FnMut(&BodyBatch<'_>) -> io::Result<()>,
    ) -> Result<BodyStep, RelayError> {
        self.collect(&mut Context::from_waker(Waker::noop())).map_err(RelayError::Receive)?;
        self.hand_on(accept)
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        accept: &mut dyn FnMut(&BodyBatch<'_>) -> io::Result<()>,
    ) -> Poll<Result<BodyStep, RelayError>> {
        // Nothing is received for a side that is blocked: what was handed on before has been taken.
        self.release();
        self.collect(cx).map_err(RelayError::Receive)?;
        if self.held.is_empty() && self.trailers.is_none() {
            self.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(self.hand_on(accept))
    }

    fn take_small(&mut self, bytes_max: usize, out: &mut Vec<u8>) -> bool {
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

    /// Gives what was handed on back to the peer's windows.
    fn release(&mut self) {
        let released = std::mem::take(&mut self.unreleased);
        // An error means that the stream has ended, and its share of the window with it.
        let _ = self.body.flow_control().release_capacity(released);
    }

    /// Takes what there is from h2, for which the task is woken when there is more.
    fn collect(&mut self, cx: &mut Context<'_>) -> Result<(), ReceiveError> {
        if !self.compacted.is_empty() {
            self.held.push(Bytes::from(std::mem::take(&mut self.compacted)));
        }
        while self.held.len() < BATCH_SLICES_MAX && self.trailers.is_none() && !self.is_complete {
            match self.body.poll_data(cx) {
                Poll::Ready(Some(Ok(piece))) => self.held.push(piece),
                Poll::Ready(Some(Err(error))) if self.held.is_empty() => {
                    self.reset_by = reset_by(&error);
                    return Err(receive_error(error));
                }
                // What came before is handed on first, and the error comes again.
                Poll::Ready(Some(Err(_))) | Poll::Pending => break,
                Poll::Ready(None) => match self.body.poll_trailers(cx) {
                    // A tunnel has none.
                    Poll::Ready(Ok(_)) if self.is_tunnel => self.trailers = Some(Vec::new()),
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
        batch.end = self.trailers.is_some() || self.is_complete;
        batch.trailers = self.trailers.clone().unwrap_or_default();
        accept(&batch).map_err(|_| RelayError::Send)?;
        self.is_complete = batch.end;
        self.unreleased += self.held.iter().map(Bytes::len).sum::<usize>();
        self.held.clear();
        self.trailers = None;
        Ok(if self.is_complete { BodyStep::End } else { BodyStep::More })
    }
}

/// Trailers as lines.
fn lines_of(trailers: Result<Option<HeaderMap>, h2::Error>) -> Result<Vec<u8>, ReceiveError> {
    match trailers.map_err(receive_error)? {
        Some(trailers) => head::trailer_lines(&trailers),
        None => Ok(Vec::new()),
    }
}

/// The code of a peer's reset.
pub(super) fn reset_by(error: &h2::Error) -> Option<Reason> {
    error.reason().filter(|_| error.is_remote() && error.is_reset())
}

/// A stream ends early by a reset, or with its connection.
pub(super) fn receive_error(error: h2::Error) -> ReceiveError {
    error.into_io().map_or(ReceiveError::Closed, ReceiveError::Io)
}
