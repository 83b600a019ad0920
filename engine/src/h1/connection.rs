//! One HTTP/1 connection: what both sides of an exchange share.

use std::io;
use std::task::{Context, Poll, ready};

use corelane_http1::HeadScanner;

use super::body::{BodyReader, BodyWriter};
use super::inbox::{Fill, Inbox};
use super::outbox::Outbox;
use crate::buffers::RECV_BYTES_MAX;
use crate::io::{ByteStream, Check, IdleState, Interest};
use crate::message::{BodyBatch, BodyStep, Lent, Moved, ReceiveError, RelayError};

/// Bytes received without waiting in between, at most: after a full receive the next is tried at once, but nobody may
/// keep the core for longer than it takes to move so much: about 50 µs, and 2 ms if it comes in chunks of one byte.
const BURST_BYTES_MAX: u64 = 256 * 1024;

/// What a new connection receives before it is watched, at most: it is copied.
const FIRST_BYTES_MAX: usize = 4096;

/// Reads the head that the bytes start with, and says where it ends if it is whole.
type ReadHead<'a> = dyn FnMut(&mut HeadScanner, &[u8]) -> Result<Option<usize>, ReceiveError> + 'a;

/// See the module.
pub(super) struct Connection<S> {
    pub(super) stream: S,
    pub(super) inbox: Inbox,
    pub(super) outbox: Outbox,
    pub(super) reader: BodyReader,
    /// Where the head in progress stands.
    scanner: HeadScanner,
    /// The last receive filled its buffer, or a pipe: more is likely there.
    pub(super) more_likely: bool,
    /// `inbox.received()` when the task last waited for this stream.
    burst_start: u64,
    /// What [`Self::take_moved`] has reported.
    reported: Moved,
}

impl<S: ByteStream> Connection<S> {
    pub(super) fn new(stream: S, scanner: HeadScanner) -> Self {
        Self {
            stream,
            inbox: Inbox::default(),
            outbox: Outbox::default(),
            reader: BodyReader::Done,
            scanner,
            more_likely: false,
            burst_start: 0,
            reported: Moved::default(),
        }
    }

    /// Receives until `read` finds a complete head in the bytes that are there, and says where it ends; then the head is
    /// used up, and what follows it is still in the scratch buffer.
    pub(super) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        lent: Lent<'_>,
        read: &mut ReadHead<'_>,
    ) -> Poll<Result<(), ReceiveError>> {
        if self.inbox.is_empty() {
            // Nearly always it has to be waited for: then the scratch buffer is not asked for.
            ready!(self.poll_turn(cx, BURST_BYTES_MAX))?;
            // The readiness is used up.
            self.more_likely = true;
        }
        lent.scratch.with(|scratch| {
            self.inbox.load(scratch);
            loop {
                if !self.inbox.is_empty()
                    && let Some(end) = read(&mut self.scanner, self.inbox.bytes(scratch))?
                {
                    self.scanner.restart();
                    self.inbox.consume(end);
                    return Poll::Ready(Ok(()));
                }
                match self.poll_fill(cx, scratch, RECV_BYTES_MAX) {
                    Poll::Pending => {
                        self.inbox.settle(scratch, lent.buffers);
                        return Poll::Pending;
                    }
                    Poll::Ready(Ok(true)) => {}
                    Poll::Ready(Ok(false)) => return Poll::Ready(Err(ReceiveError::Closed)),
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error.into())),
                }
            }
        })
    }

    /// Hands on what is there of the body, or waits for more, and leaves nothing in the scratch buffer.
    pub(super) fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        lent: Lent<'_>,
        accept: &mut dyn FnMut(&BodyBatch<'_>) -> io::Result<()>,
    ) -> Poll<Result<BodyStep, RelayError>> {
        if let Some(piped) = self.poll_piped(cx, lent, accept) {
            return piped;
        }
        lent.scratch.with(|scratch| {
            self.inbox.load(scratch);
            let step = loop {
                if !self.inbox.is_empty() || self.reader.is_done() {
                    break Poll::Ready(self.hand_on(scratch, lent, accept));
                }
                match self.poll_fill(cx, scratch, RECV_BYTES_MAX) {
                    Poll::Pending => break Poll::Pending,
                    Poll::Ready(Ok(true)) => {}
                    Poll::Ready(Ok(false)) => break Poll::Ready(self.end_of_stream(accept)),
                    Poll::Ready(Err(error)) => break Poll::Ready(Err(RelayError::Receive(error.into()))),
                }
            };
            self.inbox.settle(scratch, lent.buffers);
            step
        })
    }

    /// Hands on what is there of the body, which may be nothing, in one batch; never waits. If `accept` fails, the
    /// bytes of that batch stay; the reader must be started anew then.
    pub(super) fn lend_body(
        &mut self,
        lent: Lent<'_>,
        accept: &mut dyn FnMut(&BodyBatch<'_>) -> io::Result<()>,
    ) -> Result<BodyStep, RelayError> {
        lent.scratch.with(|scratch| {
            self.inbox.load(scratch);
            let mut batch = BodyBatch::default();
            let used = self
                .reader
                .read(self.inbox.bytes(scratch), &mut batch)
                .map_err(|error| RelayError::Receive(error.into()))?;
            let sent = accept(&batch);
            let end = batch.end;
            if sent.is_ok() {
                self.inbox.consume(used);
            }
            self.inbox.settle(scratch, lent.buffers);
            sent.map_err(|_| RelayError::Send)?;
            Ok(if end { BodyStep::End } else { BodyStep::More })
        })
    }

    /// Sends a head (or nothing) and body bytes; what does not go out at once is kept. `is_last`: the end of the stream
    /// follows at once.
    pub(super) fn send(
        &mut self,
        writer: BodyWriter,
        head: &[u8],
        batch: &BodyBatch<'_>,
        is_last: bool,
        lent: Lent<'_>,
    ) -> io::Result<()> {
        writer.send(head, batch, is_last, &mut self.outbox, &mut self.stream, lent.buffers)
    }

    /// As [`Self::send`]; the body may be put behind the head.
    pub(super) fn send_behind(
        &mut self,
        writer: BodyWriter,
        head: &mut Vec<u8>,
        batch: &BodyBatch<'_>,
        is_last: bool,
        lent: Lent<'_>,
    ) -> io::Result<()> {
        writer.send_behind(head, batch, is_last, &mut self.outbox, &mut self.stream, lent.buffers)
    }

    /// Sends what is kept; ready when nothing is.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>, lent: Lent<'_>) -> Poll<io::Result<()>> {
        self.outbox.poll_flush(cx, &mut self.stream, lent.buffers)
    }

    /// Whether bytes wait for the peer to take them.
    pub(super) fn is_blocked(&self) -> bool {
        self.outbox.is_blocked() || self.stream.holds_back()
    }

    /// Ends a step in which nothing will be handed on.
    pub(super) fn settle(&mut self, lent: Lent<'_>) {
        lent.scratch.with(|scratch| self.inbox.settle(scratch, lent.buffers));
    }

    fn hand_on(
        &mut self,
        scratch: &[u8],
        lent: Lent<'_>,
        accept: &mut dyn FnMut(&BodyBatch<'_>) -> io::Result<()>,
    ) -> Result<BodyStep, RelayError> {
        let mut batch = self.read_batch(scratch)?;
        if batch.end || self.inbox.is_empty() {
            if !batch.is_empty() {
                accept(&batch).map_err(|_| RelayError::Send)?;
            }
            return Ok(if batch.end { BodyStep::End } else { BodyStep::More });
        }
        // So many chunks that they do not fit a batch: small ones. A send for each batch would be thousands of packets.
        let mut gathered = lent.buffers.take();
        let (end, trailers) = loop {
            batch.slices().for_each(|slice| gathered.extend_from_slice(slice));
            if batch.end || self.inbox.is_empty() {
                break (batch.end, batch.trailers);
            }
            batch = self.read_batch(scratch)?;
        };
        let accepted = accept(&BodyBatch::of(&gathered, end, trailers)).map_err(|_| RelayError::Send);
        lent.buffers.give(gathered);
        accepted?;
        Ok(if end { BodyStep::End } else { BodyStep::More })
    }

    fn read_batch<'a>(&mut self, scratch: &'a [u8]) -> Result<BodyBatch<'a>, RelayError> {
        let mut batch = BodyBatch::default();
        let read = self.reader.read(self.inbox.bytes(scratch), &mut batch);
        self.inbox.consume(read.map_err(|error| RelayError::Receive(error.into()))?);
        Ok(batch)
    }

    /// Whether the last receive may have left something behind.
    pub(super) fn may_have_more(&self) -> bool {
        self.more_likely
    }

    pub(super) fn end_of_stream(
        &mut self,
        accept: &mut dyn FnMut(&BodyBatch<'_>) -> io::Result<()>,
    ) -> Result<BodyStep, RelayError> {
        if !matches!(self.reader, BodyReader::UntilClose) {
            return Err(RelayError::Receive(ReceiveError::Closed));
        }
        self.reader = BodyReader::Done;
        accept(&BodyBatch::end()).map_err(|_| RelayError::Send)?;
        Ok(BodyStep::End)
    }

    /// Receives once; `false` is the end of the stream.
    fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut [u8],
        bytes_max: usize,
    ) -> Poll<io::Result<bool>> {
        loop {
            ready!(self.poll_turn(cx, BURST_BYTES_MAX))?;
            if let Some(filled) = self.try_fill(scratch, bytes_max) {
                return Poll::Ready(filled);
            }
        }
    }

    /// As [`Self::poll_fill`], without waiting; `None`: nothing was there.
    fn try_fill(&mut self, scratch: &mut [u8], bytes_max: usize) -> Option<io::Result<bool>> {
        match self.inbox.fill(&mut self.stream, scratch, bytes_max) {
            Ok(Fill::Bytes { more_likely }) => {
                self.more_likely = more_likely;
                Some(Ok(true))
            }
            Ok(Fill::End) => Some(Ok(false)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.more_likely = false;
                None
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => None,
            Err(error) => Some(Err(error)),
        }
    }

    /// Waits until receiving is worth an attempt, unless the last one left something behind.
    pub(super) fn poll_turn(&mut self, cx: &mut Context<'_>, burst_bytes_max: u64) -> Poll<io::Result<()>> {
        let burst = self.inbox.received().wrapping_sub(self.burst_start);
        if !self.more_likely || burst >= burst_bytes_max {
            if std::mem::take(&mut self.more_likely) {
                // Others first: this stream gets its next turn with the next events.
                self.burst_start = self.inbox.received();
                self.stream.rearm();
            }
            ready!(self.stream.poll_ready(cx, Interest::Read))?;
            self.burst_start = self.inbox.received();
        }
        Poll::Ready(Ok(()))
    }

    /// Bytes that the peer has really taken since the connection began.
    pub(super) fn taken(&self) -> u64 {
        self.outbox.accepted().saturating_sub(self.stream.unacknowledged() as u64)
    }

    /// What was moved since the last call.
    pub(super) fn take_moved(&mut self) -> Moved {
        let now = Moved { received: self.inbox.received(), sent: self.outbox.accepted() };
        let before = std::mem::replace(&mut self.reported, now);
        Moved { received: now.received - before.received, sent: now.sent - before.sent }
    }

    /// Waits for something to receive; the next receive is tried without waiting again.
    pub(super) fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if std::mem::take(&mut self.more_likely) {
            // The last receive filled its buffer: whether there is more, the next event says.
            self.stream.rearm();
        }
        match self.stream.poll_ready(cx, Interest::Read)? {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(()) => {}
        }
        self.more_likely = true;
        self.burst_start = self.inbox.received();
        Poll::Ready(Ok(()))
    }

    /// Waits for something to receive, and leaves it there: whether it is bytes, and not the end.
    pub(super) fn poll_begun(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        loop {
            let ready = ready!(self.stream.poll_ready(cx, Interest::Read));
            let has_bytes = match self.stream.look(Check::Socket) {
                // It was the readiness of something earlier.
                IdleState::Silent if ready.is_ok() => continue,
                IdleState::Surplus(_) => true,
                IdleState::Silent | IdleState::Closed => false,
            };
            // The readiness is used up.
            self.more_likely = true;
            return Poll::Ready(has_bytes);
        }
    }

    /// Receives what is there without having waited for it; `Ok(false)` is the end of the stream.
    pub(super) fn try_first(&mut self, lent: Lent<'_>) -> io::Result<bool> {
        lent.scratch.with(|scratch| {
            let filled = self.inbox.fill(&mut self.stream, scratch, FIRST_BYTES_MAX);
            self.inbox.settle(scratch, lent.buffers);
            match filled? {
                Fill::Bytes { more_likely } => self.more_likely = more_likely,
                Fill::End => return Ok(false),
            }
            Ok(true)
        })
    }

    /// Watches a stream that should be silent or pipeline: `Ok(true)` for bytes, `bytes_max` at most, `Ok(false)` for the
    /// end.
    pub(super) fn poll_watch(
        &mut self,
        cx: &mut Context<'_>,
        lent: Lent<'_>,
        bytes_max: usize,
    ) -> Poll<io::Result<bool>> {
        loop {
            // Nearly always it is silent: then the scratch buffer is not asked for.
            ready!(self.poll_turn(cx, BURST_BYTES_MAX))?;
            let filled = lent.scratch.with(|scratch| {
                self.inbox.load(scratch);
                let filled = self.try_fill(scratch, bytes_max);
                self.inbox.settle(scratch, lent.buffers);
                filled
            });
            if let Some(filled) = filled {
                return Poll::Ready(filled);
            }
        }
    }
}
