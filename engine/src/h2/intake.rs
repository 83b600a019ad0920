//! Bodies on their way in. What is received is given back to the peer's windows when the other side has taken it.

use std::io;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use h2::{Reason, RecvStream};
use http::HeaderMap;

use super::head;
use crate::message::{BATCH_SLICES_MAX, BodyBatch, BodyStep, ReceiveError, RelayError};

/// A body that is being received.
pub(super) struct Intake {
    body: RecvStream,
    /// Received and not yet handed on: [`BATCH_SLICES_MAX`] pieces at most, the rest stays in h2.
    held: Vec<Bytes>,
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

impl Intake {
    pub(super) fn new(body: RecvStream) -> Self {
        let is_complete = body.is_end_stream();
        Self {
            body,
            held: Vec::new(),
            trailers: None,
            unreleased: 0,
            is_complete,
            is_tunnel: false,
            reset_by: None,
        }
    }

    /// Of a request for a tunnel: what comes is nobody's until there is one.
    pub(super) fn of_tunnel(body: RecvStream) -> Self {
        Self { is_complete: true, ..Self::new(body) }
    }

    /// What comes is the tunnel's from here on.
    pub(super) fn open_tunnel(&mut self) {
        (self.is_complete, self.is_tunnel) = (false, true);
    }

    /// How the peer has reset the stream, if that is why the body ends early.
    pub(super) fn reset_by(&self) -> Option<Reason> {
        self.reset_by
    }

    /// Whether all of it has been handed on.
    pub(super) fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// Hands on what is there, without waiting. If `accept` fails, it counts as not handed on.
    pub(super) fn lend(
        &mut self,
        accept: &mut dyn FnMut(&BodyBatch<'_>) -> io::Result<()>,
    ) -> Result<BodyStep, RelayError> {
        self.collect(&mut Context::from_waker(Waker::noop())).map_err(RelayError::Receive)?;
        self.hand_on(accept)
    }

    /// Hands on what there is, when there is something.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
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

    /// Appends the whole body to `out` if it is there and not larger than `bytes_max`.
    pub(super) fn take_small(&mut self, bytes_max: usize, out: &mut Vec<u8>) -> bool {
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
