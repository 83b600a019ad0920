//! What an exchange says to its two sides, whatever protocol they speak.
//!
//! HTTP/1 implements [`Downstream`] and [`Upstream`] over byte streams, HTTP/2 over its streams. Received bytes are
//! lent for the length of a call and handed on at once; a side that cannot send them at once keeps them and says so
//! ([`Downstream::poll_flush`]), and nothing more is read for it meanwhile: that is the backpressure.

use std::cell::Cell;
use std::io;
use std::task::{Context, Poll};

use corelane_http1::{ChunkError, HeadError, HeadLimits};
use corelane_semantics::{BodyFraming, FramingError, RequestHead, ResponseHead};

use crate::buffers::Buffers;
use crate::io::{Check, Pipe, Pipes};

/// Slices of one batch at most; more small chunks than this take another turn.
pub(crate) const BATCH_SLICES_MAX: usize = 16;

/// Body bytes that were received together.
#[derive(Default)]
pub(crate) struct BodyBatch<'a> {
    first: &'a [u8],
    /// Not there, and so not written, for most batches.
    others: Option<[&'a [u8]; BATCH_SLICES_MAX - 1]>,
    count: usize,
    /// How many bytes the slices have in all.
    pub(crate) bytes: u64,
    /// Bytes that came in a pipe, instead of slices: for the one who sends the batch to take.
    pub(crate) pipe: Cell<Option<Pipe>>,
    /// Whether the body ends with this batch.
    pub(crate) end: bool,
    /// Trailer field lines, each with its CRLF; only with `end`.
    pub(crate) trailers: Vec<u8>,
}

impl<'a> BodyBatch<'a> {
    /// Adds a slice. An empty one is left out.
    pub(crate) fn push(&mut self, slice: &'a [u8]) {
        if !slice.is_empty() {
            match self.count.checked_sub(1) {
                None => self.first = slice,
                Some(place) => self.others.get_or_insert_default()[place] = slice,
            }
            self.count += 1;
            self.bytes += slice.len() as u64;
        }
    }

    /// One slice.
    pub(crate) fn of(slice: &'a [u8], end: bool, trailers: Vec<u8>) -> Self {
        let mut batch = Self { end, trailers, ..Self::default() };
        batch.push(slice);
        batch
    }

    /// What a pipe holds.
    pub(crate) fn of_pipe(pipe: Pipe, end: bool) -> Self {
        Self { bytes: pipe.held() as u64, pipe: Cell::new(Some(pipe)), end, ..Self::default() }
    }

    /// The same with other trailers.
    pub(crate) fn with_trailers(&self, trailers: Vec<u8>) -> Self {
        let Self { first, others, count, bytes, end, .. } = *self;
        Self { first, others, count, bytes, pipe: Cell::new(self.pipe.take()), end, trailers }
    }

    /// A batch that only ends a body.
    pub(crate) fn end() -> Self {
        Self { end: true, ..Self::default() }
    }

    /// The number of slices.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// The slice, if there is one and no other.
    pub(crate) fn only_slice(&self) -> Option<&'a [u8]> {
        (self.count == 1).then_some(self.first)
    }

    /// The slices.
    pub(crate) fn slices(&self) -> impl Iterator<Item = &'a [u8]> {
        let others = self.others.as_ref().map_or(&[][..], |others| &others[..self.count - 1]);
        (self.count > 0).then_some(self.first).into_iter().chain(others.iter().copied())
    }

    /// Whether there is nothing to say.
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes == 0 && !self.end
    }
}

/// What reading a body brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyStep {
    /// Bytes were handed on; more are to come.
    More,
    /// The end was handed on.
    End,
}

/// Why a message could not be received.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReceiveError {
    /// The head breaks a rule.
    #[error("{0}")]
    Head(#[from] HeadError),
    /// The length of the body cannot be told.
    #[error("{0}")]
    Framing(#[from] FramingError),
    /// The chunked coding breaks a rule.
    #[error("{0}")]
    Chunk(#[from] ChunkError),
    /// The peer closed its sending side before the message was complete.
    #[error("the peer closed the connection early")]
    Closed,
    /// The request asks for a tunnel, and the endpoint takes no such requests.
    #[error("the endpoint does not take extended CONNECT")]
    NoTunnel,
    /// The connection failed.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Why a body could not be moved from one side to the other.
#[derive(Debug)]
pub(crate) enum RelayError {
    /// Receiving failed.
    Receive(ReceiveError),
    /// Sending failed; how does not matter, what is received next tells.
    Send,
}

/// Bytes on the wire, both ways.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Moved {
    pub(crate) received: u64,
    pub(crate) sent: u64,
}

/// What the worker lends to every step.
#[derive(Clone, Copy)]
pub(crate) struct Lent<'a> {
    /// The scratch buffer.
    pub(crate) scratch: &'a crate::buffers::Scratch,
    /// The free list.
    pub(crate) buffers: &'a Buffers,
    /// The pipes, where the other side takes them.
    pub(crate) pipes: Option<&'a Pipes>,
}

impl Lent<'_> {
    /// The same for a step whose bytes go to a side that takes pipes, or does not.
    pub(crate) fn towards(self, takes_pipes: bool) -> Self {
        Self { pipes: self.pipes.filter(|_| takes_pipes), ..self }
    }
}

/// What a client's sending side does while its response is awaited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientSignal {
    /// It closed its sending side; it may still read.
    HalfClosed,
    /// The connection is gone.
    Gone,
}

/// The client's side of an exchange.
pub(crate) trait Downstream {
    /// Begins an exchange that may receive so many bytes of further requests.
    fn limit_pipeline(&mut self, bytes_max: usize);

    /// Receives a request head and lends it to `accept` with its bytes. What follows it must be handed on
    /// ([`Downstream::lend_body`]) or settled ([`Downstream::settle`]) before the task waits.
    fn poll_request_head(
        &mut self,
        cx: &mut Context<'_>,
        lent: Lent<'_>,
        limits: &HeadLimits,
        head: &mut RequestHead,
        accept: &mut dyn FnMut(&RequestHead, &[u8]),
    ) -> Poll<Result<(), ReceiveError>>;

    /// Whether anything has been received that no request has made use of.
    fn has_surplus(&self) -> bool;

    /// Whether nothing has come since the last request, and the connection is open.
    fn is_silent(&mut self, check: Check) -> bool;

    /// Decides the framing of the request's body.
    fn start_body(&mut self, framing: BodyFraming);

    /// Hands on what has been received of the body, which may be nothing, without waiting. If `accept` fails, the
    /// bytes count as not handed on. Only before any of the body was handed on.
    fn lend_body(
        &mut self,
        lent: Lent<'_>,
        accept: &mut dyn FnMut(&BodyBatch<'_>) -> io::Result<()>,
    ) -> Result<BodyStep, RelayError>;

    /// Appends the whole body to `out` if it has been received and is not larger than `bytes_max`; then the request is
    /// complete. For a request that may have to be sent again.
    fn take_small_body(&mut self, lent: Lent<'_>, bytes_max: usize, out: &mut Vec<u8>) -> bool;

    /// Moves what is left in the scratch buffer to memory of the connection's own.
    fn settle(&mut self, lent: Lent<'_>);

    /// Receives body bytes and hands them to `accept`.
    fn poll_request_body(
        &mut self,
        cx: &mut Context<'_>,
        lent: Lent<'_>,
        accept: &mut dyn FnMut(&BodyBatch<'_>) -> io::Result<()>,
    ) -> Poll<Result<BodyStep, RelayError>>;

    /// Whether the whole request was received.
    fn is_request_complete(&self) -> bool;

    /// Watches a client whose request is complete. Never ready for one that merely waits or pipelines.
    fn poll_client(&mut self, cx: &mut Context<'_>, lent: Lent<'_>) -> Poll<ClientSignal>;

    /// Sends an interim response head.
    fn send_interim(&mut self, head: &[u8], lent: Lent<'_>) -> io::Result<()>;

    /// Sets the framing of the response whose head follows. `closes`: when the whole of it has been sent, the connection
    /// ends at once.
    fn start_response(&mut self, framing: BodyFraming, closes: bool);

    /// Sends a response head (or nothing) and body bytes. What does not go out at once is kept. The body may be put
    /// behind the head, for both to go out as one piece.
    fn send_response(&mut self, head: &mut Vec<u8>, batch: &BodyBatch<'_>, lent: Lent<'_>) -> io::Result<()>;

    /// Whether body bytes may come in pipes: they are sent as they are, over a stream that splices.
    fn takes_pipes(&self) -> bool;

    /// Whether something is kept.
    fn is_blocked(&self) -> bool;

    /// Sends what is kept; ready when nothing is.
    fn poll_flush(&mut self, cx: &mut Context<'_>, lent: Lent<'_>) -> Poll<io::Result<()>>;

    /// Bytes that the client's side has taken since its connection began.
    fn accepted(&self) -> u64;

    /// Those of them that the client has really taken: what the kernel still holds for it is not counted. Maybe a system
    /// call: for seldom use.
    fn taken(&self) -> u64;

    /// Whether a client that has sent all that it will in a tunnel has left all the same. HTTP/1 notices when it is sent
    /// something.
    fn poll_left(&mut self, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }

    /// From here on both sides are bytes without framing: the rest of what was received counts as the request's body,
    /// which lasts until the client closes its sending side.
    fn start_tunnel(&mut self);

    /// Tells the client that nothing more will be sent. Only when nothing is kept.
    fn finish(&mut self);

    /// Makes the end that follows an error: what the client got must not look complete.
    fn reset(&mut self);

    /// What was moved since the last call, for the counters.
    fn take_moved(&mut self) -> Moved;
}

/// The upstream's side of an exchange.
pub(crate) trait Upstream {
    /// Sends the request head (or nothing) and body bytes. What does not go out at once is kept.
    fn send_request(&mut self, head: &[u8], batch: &BodyBatch<'_>, lent: Lent<'_>) -> io::Result<()>;

    /// Whether body bytes may come in pipes: they are sent as they are, over a stream that splices.
    fn takes_pipes(&self) -> bool;

    /// Whether something is kept.
    fn is_blocked(&self) -> bool;

    /// Sends what is kept; ready when nothing is.
    fn poll_flush(&mut self, cx: &mut Context<'_>, lent: Lent<'_>) -> Poll<io::Result<()>>;

    /// Receives a response head and lends it to `accept`. What follows it must be handed on
    /// ([`Upstream::lend_response_body`]) before the task waits.
    fn poll_response_head(
        &mut self,
        cx: &mut Context<'_>,
        lent: Lent<'_>,
        head: &mut ResponseHead,
        accept: &mut dyn FnMut(&ResponseHead, &[u8]),
    ) -> Poll<Result<(), ReceiveError>>;

    /// Keeps what follows an interim head for the next call.
    fn settle(&mut self, lent: Lent<'_>);

    /// Decides the framing of the response whose head was just received (RFC 9112 §6.3).
    fn start_body(&mut self, framing: BodyFraming);

    /// Hands on what has been received of the body, which may be nothing, without waiting.
    fn lend_response_body(
        &mut self,
        lent: Lent<'_>,
        accept: &mut dyn FnMut(&BodyBatch<'_>) -> io::Result<()>,
    ) -> Result<BodyStep, RelayError>;

    /// Receives body bytes and hands them to `accept`.
    fn poll_response_body(
        &mut self,
        cx: &mut Context<'_>,
        lent: Lent<'_>,
        accept: &mut dyn FnMut(&BodyBatch<'_>) -> io::Result<()>,
    ) -> Poll<Result<BodyStep, RelayError>>;

    /// Whether the whole response was received.
    fn is_response_complete(&self) -> bool;

    /// Whether any byte of a response was received in this exchange.
    fn has_received(&self) -> bool;

    /// Bytes that the upstream's side has taken in this exchange.
    fn accepted(&self) -> u64;

    /// Those of them that the upstream has really taken, as [`Downstream::taken`].
    fn taken(&self) -> u64;

    /// From here on both sides are bytes without framing: what was received behind the response head counts as its body,
    /// which lasts until the upstream closes its sending side.
    fn start_tunnel(&mut self);

    /// Tells the upstream that nothing more will be sent. Only when nothing is kept.
    fn finish(&mut self);

    /// Makes the end that follows an error: what the upstream got must not look complete.
    fn reset(&mut self);

    /// What was moved since the last call, for the counters.
    fn take_moved(&mut self) -> Moved;
}

/// Whether a request may be sent again after its connection failed without a byte of response: either nothing of it
/// left, or acting on it twice is the same as once (RFC 9110 §9.2.2), or said to be.
pub(crate) fn may_send_again(may_repeat: bool, accepted: u64) -> bool {
    accepted == 0 || may_repeat
}
