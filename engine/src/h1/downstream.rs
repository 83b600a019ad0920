//! The client's side of an exchange over HTTP/1.

use std::io;
use std::task::{Context, Poll, ready};

use corelane_http1::{HeadLimits, HeadScanner, read_request};
use corelane_semantics::{BodyFraming, RequestHead};

use super::body::{BodyReader, BodyWriter};
use super::connection::Connection;
use crate::buffers::RECV_BYTES_MAX;
use crate::io::{ByteStream, Check, Dial, IdleState, Interest};
use crate::message::{BodyBatch, BodyStep, ClientSignal, Downstream, Lent, Moved, ReceiveError, RelayError};

/// A client's connection.
pub(crate) struct H1Downstream<S> {
    connection: Connection<S>,
    writer: BodyWriter,
    framing: BodyFraming,
    ending: Ending,
    /// The client closed its sending side.
    half_closed: bool,
    /// Bytes of further requests that are received while one is in progress; beyond them only a hang-up is watched for.
    pipeline_bytes_max: u32,
    /// That was so since it was last asked for.
    pipeline_full: bool,
}

/// Whether the connection ends with the response in progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    None,
    WithResponse,
    /// All of it was sent; what was sent last may wait for the end.
    Awaited,
}

impl<S: ByteStream> H1Downstream<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self {
            connection: Connection::new(stream, HeadScanner::new()),
            writer: BodyWriter::Nothing,
            framing: BodyFraming::None,
            ending: Ending::None,
            half_closed: false,
            pipeline_bytes_max: 0,
            pipeline_full: false,
        }
    }

    /// The stream that it runs over.
    pub(crate) fn stream(&mut self) -> &mut S {
        &mut self.connection.stream
    }

    /// Whether so many were received since the last call.
    pub(crate) fn take_pipeline_full(&mut self) -> bool {
        std::mem::take(&mut self.pipeline_full)
    }

    /// Waits for the client to send something or to leave, without receiving it.
    pub(crate) fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.connection.poll_readable(cx)
    }

    /// Receives what a new connection has brought, before it is waited for. Whether anything or the end has come; then
    /// also whether there is a request to serve.
    pub(crate) fn try_first(&mut self, lent: Lent<'_>) -> Option<bool> {
        if self.connection.stream.is_watched() {
            return None;
        }
        match self.connection.try_first(lent) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => None,
            received => Some(received.unwrap_or(false)),
        }
    }

    /// Whether what a new connection brings is the beginning of `opening`: waits for four bytes, unless fewer say no. What has
    /// come is kept.
    pub(crate) fn poll_begins_with(
        &mut self,
        cx: &mut Context<'_>,
        opening: &[u8],
        lent: Lent<'_>,
    ) -> Poll<bool> {
        loop {
            let held = self.connection.inbox.held();
            let is_like_it = held.iter().zip(opening).all(|(byte, expected)| byte == expected);
            if held.len() >= 4 || !is_like_it {
                return Poll::Ready(is_like_it);
            }
            if !matches!(ready!(self.connection.poll_watch(cx, lent, RECV_BYTES_MAX)), Ok(true)) {
                // Who receives next finds out why.
                return Poll::Ready(false);
            }
        }
    }

    /// Gives up the stream, with what was received of it.
    pub(crate) fn take_stream(&mut self) -> (S, Vec<u8>)
    where
        S: Dial,
    {
        let stream = std::mem::replace(&mut self.connection.stream, S::closed());
        (stream, self.connection.inbox.take_held())
    }

    /// Asks for a turn after the others: the next event of a stream that can be sent to.
    pub(crate) fn start_turn(&mut self) {
        self.connection.stream.rearm();
    }

    /// Waits for that turn.
    pub(crate) fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.connection.stream.poll_ready(cx, Interest::Write).map(drop)
    }

    /// Lets go of what waits for the end: over unread bytes, a mere close would throw it away.
    pub(crate) fn end(&mut self) {
        if self.ending == Ending::Awaited {
            self.connection.stream.shutdown_write();
        }
    }

    /// Receives and forgets; `Ok(false)` is the end of the stream. For a close that lets the client read the answer.
    pub(crate) fn poll_discard(&mut self, cx: &mut Context<'_>, lent: Lent<'_>) -> Poll<io::Result<bool>> {
        let filled = self.connection.poll_watch(cx, lent, RECV_BYTES_MAX);
        lent.scratch.with(|scratch| {
            self.connection.inbox.load(scratch);
            let length = self.connection.inbox.len();
            self.connection.inbox.consume(length);
            self.connection.inbox.settle(scratch, lent.buffers);
        });
        filled
    }
}

impl<S: ByteStream> Downstream for H1Downstream<S> {
    fn limit_pipeline(&mut self, bytes_max: usize) {
        self.pipeline_bytes_max = u32::try_from(bytes_max).unwrap_or(u32::MAX);
    }

    fn poll_request_head(
        &mut self,
        cx: &mut Context<'_>,
        lent: Lent<'_>,
        limits: &HeadLimits,
        head: &mut RequestHead,
        accept: &mut dyn FnMut(&RequestHead, &[u8]),
    ) -> Poll<Result<(), ReceiveError>> {
        self.connection.poll_head(cx, lent, &mut |scanner, bytes| {
            let Some(place) = read_request(scanner, bytes, limits, head)? else { return Ok(None) };
            accept(head, &bytes[place.clone()]);
            Ok(Some(place.end))
        })
    }

    fn has_surplus(&self) -> bool {
        !self.connection.inbox.is_empty()
    }

    fn is_silent(&mut self, check: Check) -> bool {
        self.connection.inbox.is_empty() && self.connection.stream.look(check) == IdleState::Silent
    }

    fn start_body(&mut self, framing: BodyFraming) {
        self.framing = framing;
        self.connection.reader = BodyReader::new(framing);
    }

    fn lend_body(
        &mut self,
        lent: Lent<'_>,
        accept: &mut dyn FnMut(&BodyBatch<'_>) -> io::Result<()>,
    ) -> Result<BodyStep, RelayError> {
        let before = self.connection.reader.clone();
        let handed_on = self.connection.lend_body(lent, accept);
        if let Err(RelayError::Send) = handed_on {
            self.connection.reader = before;
        }
        handed_on
    }

    fn take_small_body(&mut self, lent: Lent<'_>, bytes_max: usize, out: &mut Vec<u8>) -> bool {
        let BodyFraming::Length(length) = self.framing else { return false };
        if length > bytes_max as u64 || length > self.connection.inbox.len() as u64 {
            return false;
        }
        let taken = self.lend_body(lent, &mut |batch| {
            batch.slices().for_each(|slice| out.extend_from_slice(slice));
            Ok(())
        });
        matches!(taken, Ok(BodyStep::End))
    }

    fn settle(&mut self, lent: Lent<'_>) {
        self.connection.settle(lent);
    }

    fn poll_request_body(
        &mut self,
        cx: &mut Context<'_>,
        lent: Lent<'_>,
        accept: &mut dyn FnMut(&BodyBatch<'_>) -> io::Result<()>,
    ) -> Poll<Result<BodyStep, RelayError>> {
        self.connection.poll_body(cx, lent, accept)
    }

    fn is_request_complete(&self) -> bool {
        self.connection.reader.is_done()
    }

    fn poll_client(&mut self, cx: &mut Context<'_>, lent: Lent<'_>) -> Poll<ClientSignal> {
        loop {
            if self.half_closed {
                return self.connection.stream.poll_ready(cx, Interest::Gone).map(|_| ClientSignal::Gone);
            }
            if !self.connection.stream.is_watched() {
                // Most requests are answered before that.
                self.connection.stream.watch_soon(cx);
                return Poll::Pending;
            }
            // A full pipeline buffer is not read into any further.
            let room = (self.pipeline_bytes_max as usize).saturating_sub(self.connection.inbox.len());
            let end = if room == 0 {
                self.pipeline_full = true;
                match self.connection.stream.poll_ready(cx, Interest::HangUp) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(outcome) => outcome.map(|()| false),
                }
            } else {
                match self.connection.poll_watch(cx, lent, room) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(outcome) => outcome,
                }
            };
            match end {
                Ok(true) => {}
                Ok(false) => {
                    self.half_closed = true;
                    return Poll::Ready(ClientSignal::HalfClosed);
                }
                Err(_) => return Poll::Ready(ClientSignal::Gone),
            }
        }
    }

    fn send_interim(&mut self, head: &[u8], lent: Lent<'_>) -> io::Result<()> {
        self.connection.send(BodyWriter::Nothing, head, &BodyBatch::default(), false, lent)
    }

    fn start_response(&mut self, framing: BodyFraming, closes: bool) {
        self.writer = BodyWriter::new(framing);
        self.ending = if closes { Ending::WithResponse } else { Ending::None };
    }

    fn send_response(&mut self, head: &mut Vec<u8>, batch: &BodyBatch<'_>, lent: Lent<'_>) -> io::Result<()> {
        let is_last = batch.end && self.ending != Ending::None;
        if is_last {
            self.ending = Ending::Awaited;
        }
        self.connection.send_behind(self.writer, head, batch, is_last, lent)
    }

    fn takes_pipes(&self) -> bool {
        self.writer == BodyWriter::Plain && self.connection.stream.splices()
    }

    fn is_blocked(&self) -> bool {
        self.connection.is_blocked()
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>, lent: Lent<'_>) -> Poll<io::Result<()>> {
        self.connection.poll_flush(cx, lent)
    }

    fn accepted(&self) -> u64 {
        self.connection.outbox.accepted()
    }

    fn taken(&self) -> u64 {
        self.connection.taken()
    }

    fn start_tunnel(&mut self) {
        self.connection.reader = BodyReader::UntilClose;
        self.writer = BodyWriter::Plain;
    }

    fn finish(&mut self) {
        self.connection.stream.shutdown_write();
    }

    fn reset(&mut self) {
        self.connection.stream.abort();
    }

    fn take_moved(&mut self) -> Moved {
        self.connection.take_moved()
    }
}
