//! The upstream's side of an exchange over HTTP/1.

use std::io;
use std::task::{Context, Poll};

use corelane_http1::{HeadLimits, HeadScanner, read_response};
use corelane_semantics::{BodyFraming, ResponseHead};

use super::body::{BodyReader, BodyWriter};
use super::connection::Connection;
use crate::io::{ByteStream, Check, IdleState};
use crate::message::{BodyBatch, BodyStep, Lent, Moved, ReceiveError, RelayError, Upstream};
use crate::tls::{Alert, Secure, TlsFailure};

/// A connection to an endpoint, for one exchange.
pub(crate) struct H1Upstream<S> {
    connection: Connection<S>,
    writer: BodyWriter,
    limits: HeadLimits,
}

impl<S: ByteStream> H1Upstream<S> {
    /// A request whose body is framed so goes out on this stream.
    pub(crate) fn new(stream: S, request_framing: BodyFraming, limits: HeadLimits) -> Self {
        let connection = Connection::new(stream, HeadScanner::for_response());
        Self { connection, writer: BodyWriter::new(request_framing), limits }
    }

    /// Waits until there is something to receive: whether it is a response, and not the end.
    pub(crate) fn poll_begun(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        self.connection.poll_begun(cx)
    }

    /// What is left of the connection after a response.
    #[inline(always)]
    pub(crate) fn into_leftover(self) -> Leftover<S> {
        let Self { mut connection, .. } = self;
        if !connection.reader.is_done() {
            Leftover::Unfit
        } else if !connection.inbox.is_empty() {
            Leftover::Surplus
        } else if connection.is_blocked() {
            Leftover::Unfit
        } else if !connection.may_have_more() {
            Leftover::Idle(connection.stream)
        } else {
            match connection.stream.look(Check::Socket) {
                IdleState::Silent => Leftover::Idle(connection.stream),
                IdleState::Surplus(_) => Leftover::Surplus,
                IdleState::Closed => Leftover::Unfit,
            }
        }
    }
}

impl<S: Secure> H1Upstream<S> {
    /// Why TLS with the endpoint failed, if it did, and by which alert.
    pub(crate) fn tls_failure(&self) -> Option<(TlsFailure, Option<Alert>)> {
        self.connection.stream.tls_failure()
    }
}

/// See [`H1Upstream::into_leftover`].
pub(crate) enum Leftover<S> {
    /// It stands exactly at the end of a response.
    Idle(S),
    /// Bytes that nobody asked for follow the response.
    Surplus,
    /// A message is incomplete, or more may follow; or the connection is another's.
    Unfit,
}

impl<S: ByteStream> Upstream for H1Upstream<S> {
    fn send_request(&mut self, head: &[u8], batch: &BodyBatch<'_>, lent: Lent<'_>) -> io::Result<()> {
        self.connection.send(self.writer, head, batch, false, lent)
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

    fn poll_response_head(
        &mut self,
        cx: &mut Context<'_>,
        lent: Lent<'_>,
        head: &mut ResponseHead,
        accept: &mut dyn FnMut(&ResponseHead, &[u8]),
    ) -> Poll<Result<(), ReceiveError>> {
        let Self { connection, limits, .. } = self;
        connection.poll_head(cx, lent, &mut |scanner, bytes| {
            let Some(place) = read_response(scanner, bytes, limits, head)? else { return Ok(None) };
            accept(head, &bytes[place.clone()]);
            Ok(Some(place.end))
        })
    }

    fn settle(&mut self, lent: Lent<'_>) {
        self.connection.settle(lent);
    }

    fn start_body(&mut self, framing: BodyFraming) {
        self.connection.reader = BodyReader::new(framing);
    }

    fn lend_response_body(
        &mut self,
        lent: Lent<'_>,
        accept: &mut dyn FnMut(&BodyBatch<'_>) -> io::Result<()>,
    ) -> Result<BodyStep, RelayError> {
        self.connection.lend_body(lent, accept)
    }

    fn poll_response_body(
        &mut self,
        cx: &mut Context<'_>,
        lent: Lent<'_>,
        accept: &mut dyn FnMut(&BodyBatch<'_>) -> io::Result<()>,
    ) -> Poll<Result<BodyStep, RelayError>> {
        self.connection.poll_body(cx, lent, accept)
    }

    fn is_response_complete(&self) -> bool {
        self.connection.reader.is_done()
    }

    fn has_received(&self) -> bool {
        self.connection.inbox.received() > 0
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
