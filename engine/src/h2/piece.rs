//! Bodies on their way out.
//!
//! What is sent is copied once, into pooled memory that the `h2` crate gets as a [`Piece`]: each of its bytes that goes out, and
//! each that is thrown away with a reset, is noted there. So an exchange knows without asking the connection whether its peer
//! takes what it has sent, and sends nothing more while it does not: that bounds the memory of a stream.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes};
use h2::SendStream;

use super::head;
use crate::message::{BodyBatch, Lent};

/// Bytes of a body on their way to the `h2` crate.
pub(super) struct Piece {
    bytes: Vec<u8>,
    gone: usize,
    outbox: Rc<Outbox>,
}

/// What a batch brings of a body.
pub(super) struct Load {
    bytes: Vec<u8>,
    /// As lines.
    trailers: Bytes,
    /// The body ends with the bytes.
    is_end: bool,
}

impl Load {
    pub(super) fn of(batch: &BodyBatch<'_>, lent: Lent<'_>) -> Self {
        let is_end = batch.end && batch.trailers.is_empty();
        let mut bytes = Vec::new();
        if batch.bytes > 0 || is_end {
            bytes = lent.buffers.take();
            // No more than that: one that grows by doubling may grow beyond what is kept.
            bytes.reserve_exact(batch.slices().map(<[u8]>::len).sum());
            batch.slices().for_each(|slice| bytes.extend_from_slice(slice));
        }
        Self { bytes, trailers: Bytes::copy_from_slice(&batch.trailers), is_end }
    }

    /// How much of the body it is.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }
}

/// What a stream has given away and the connection not yet sent.
#[derive(Default)]
pub(super) struct Outbox {
    waiting: Cell<usize>,
    accepted: Cell<u64>,
    /// The memory of the last piece, for the worker's free list.
    spare: RefCell<Vec<u8>>,
    waker: Cell<Option<Waker>>,
}

impl Outbox {
    /// Sends what a batch brings of a body. Trailers go only behind a body that has an end of its own.
    ///
    /// # Errors
    ///
    /// The stream is over.
    pub(super) fn send(
        self: &Rc<Self>,
        stream: &mut SendStream<Piece>,
        batch: &BodyBatch<'_>,
        lent: Lent<'_>,
    ) -> io::Result<()> {
        self.give(stream, Load::of(batch, lent))
    }

    /// The same with what was loaded before.
    ///
    /// # Errors
    ///
    /// The stream is over.
    pub(super) fn give(self: &Rc<Self>, stream: &mut SendStream<Piece>, load: Load) -> io::Result<()> {
        let Load { bytes, trailers, is_end } = load;
        if !bytes.is_empty() || is_end {
            stream.send_data(Piece::new(bytes, self), is_end).map_err(send_error)?;
        }
        if !trailers.is_empty() {
            stream.send_trailers(head::read_fields(&trailers)?).map_err(send_error)?;
        }
        Ok(())
    }

    /// Ends what is sent.
    pub(super) fn finish(self: &Rc<Self>, stream: &mut SendStream<Piece>) {
        // An error means that nobody is there to see the end.
        let _ = stream.send_data(Piece::new(Vec::new(), self), true);
    }

    /// Whether something has not gone yet.
    pub(super) fn is_blocked(&self) -> bool {
        self.waiting.get() > 0
    }

    /// Ready when all has gone, be it by a reset.
    pub(super) fn poll_empty(&self, cx: &Context<'_>, lent: Lent<'_>) -> Poll<()> {
        lent.buffers.give(self.spare.take());
        if !self.is_blocked() {
            return Poll::Ready(());
        }
        self.waker.set(Some(cx.waker().clone()));
        Poll::Pending
    }

    /// Bytes of bodies that have gone.
    pub(super) fn accepted(&self) -> u64 {
        self.accepted.get()
    }
}

pub(super) fn send_error(error: h2::Error) -> io::Error {
    error.into_io().unwrap_or_else(|| io::ErrorKind::ConnectionReset.into())
}

impl Piece {
    pub(super) fn new(bytes: Vec<u8>, outbox: &Rc<Outbox>) -> Self {
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
